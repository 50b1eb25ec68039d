"""What stands behind one decorated function; its public methods are the function's attributes."""

from __future__ import annotations

import functools
import string
import weakref
from collections.abc import Awaitable, Callable, Mapping
from inspect import Signature
from types import FunctionType
from typing import Any, Final, TypeAlias, TypeVar

from .. import defaults
from ..errors import CoalesceKitError
from ..keys import KeyRecipe
from ..protocols import Coalescer, FlightInfo, FlightTerms, Key, Reserve
from ..stats.counters import NO_GAUGES, CoalescerStats, Counters, Gauges
from ..stats.observer import Invalidated, Observers
from ..stats.registry import StatsRegistry
from ..tickets import Tickets
from .call import Wiring, compile_call
from .explain import Explanation, explain_flights, explain_off, explain_refusal
from .invalidation import Invalidation
from .methods import FIRST_PARAMETERS, InstanceWatch, require_instance
from .wrapping import AsyncCallable, counted_origin, label

R = TypeVar("R")

WORKINGS: Final = "__coalesced__"
"""The attribute of a decorated function under which its workings stand."""

_ATTRIBUTES: Final = ("invalidate", "invalidate_key", "invalidate_all", "origin", "cache_key", "explain", "stats")

Arguments: TypeAlias = tuple[Any, ...]
KeywordArguments: TypeAlias = Mapping[str, Any]


class Workings:
    """Everything that belongs to one decorated function. The function holds it; it holds the function weakly.

    Args:
        function: the wrapped function, already found fit.
        recipe: how its arguments become a key.
        terms: the terms of its fetches.
        backend: its coalescer; ``None`` for the default one, looked up when first needed.
        enabled: whether it coalesces at all.

    Attributes:
        origin: the wrapped function as an async function that counts its calls.
        origin_name: ``module.qualname`` of the wrapped function.
    """

    __slots__ = (
        "__weakref__",
        "_backend",
        "_compiled",
        "_default",
        "_enabled",
        "_first",
        "_function",
        "_recipe",
        "_terms",
        "_tickets",
        "_watch",
        "origin",
        "origin_name",
    )

    def __init__(
        self,
        function: AsyncCallable,
        *,
        recipe: KeyRecipe,
        terms: FlightTerms,
        backend: Coalescer | None,
        enabled: bool,
    ) -> None:
        self.origin_name: Final = label(function)
        self.origin: Final = counted_origin(function, terms.counters if enabled else None)
        self._function = function
        self._recipe = recipe
        self._terms = terms
        self._tickets = Tickets()
        self._backend = backend
        self._default: Coalescer | None = None  # once looked up
        self._enabled = enabled

    def compile(self, signature: Signature) -> FunctionType:
        """Return the decorated function, with its attributes. Called once."""
        self._first = next(iter(signature.parameters), "")
        self._watch = InstanceWatch(self.name, first=self._first) if self._recipe.instance else None
        call, self._compiled = compile_call(
            Wiring(
                function=self._function,
                signature=signature,
                recipe=self._recipe,
                terms=self._terms,
                tickets=self._tickets,
                get_or_fetch=self._ask_default if self._backend is None else self._backend.get_or_fetch,
                watch=self._watch,
            )
        )
        if self._watch is not None:
            self._watch.end = functools.partial(self._compiled.change_over, "on")
        self.switch(enabled=self._enabled)
        for attribute in _ATTRIBUTES:
            setattr(call, attribute, getattr(self, attribute))
        setattr(call, WORKINGS, self)
        return call

    # ---- the function's attributes ----

    def invalidate(self, /, *args: Any, **kwargs: Any) -> Invalidation:
        """Detach the fetch of one call's key: its callers keep its result, later ones lead anew.

        Takes what the function takes. Acts at the call, in any thread, with or without a running loop.

        Raises:
            TypeError: the function does not take these arguments; or it is a method and the first is no instance of its
                class, as in ``service.odds.invalidate("nba")``, which cannot see the service.
            KeyDerivationError: the arguments make no key.
        """
        self._require_instance("invalidate", args, kwargs)
        return self.invalidate_call(args, kwargs)

    def invalidate_key(self, /, **names: object) -> Invalidation:
        """Detach the fetch of one key, given by the names that it is made of.

        For keys that leave parameters out. Dotted parts as written: ``**{"user.id": 7}``; ``self=`` where the instance
        is in the key; the values of ``vary`` come from the current context.

        Raises:
            TypeError: a name is missing or not in the key, or the key comes from a function.
        """
        key = self._recipe.key_from_names(names)
        return self._void(key) if self._enabled else Invalidation(0)

    def invalidate_all(self) -> Invalidation:
        """Detach every fetch of this function."""
        if not self._enabled:
            return Invalidation(0)
        voided = self.void_all()
        if self.observers is not None:
            self.observers.invalidated(Invalidated(function=self.name, voided=voided, scope="function"))
        return Invalidation(voided)

    def cache_key(self, /, *args: Any, **kwargs: Any) -> str:
        """Return the key of one call as text, for people and logs.

        Raises:
            TypeError: the function does not take these arguments.
        """
        self._require_instance("cache_key", args, kwargs)
        return self.text_of_call(args, kwargs)

    def explain(self, /, *args: Any, **kwargs: Any) -> Explanation:
        """Say what would become of one call, and why. Counts and touches nothing.

        Raises:
            TypeError: the function does not take these arguments.
        """
        self._require_instance("explain", args, kwargs)
        return self.explain_call(args, kwargs)

    def stats(self) -> CoalescerStats:
        """Return the numbers of this function as they are now; two of them subtract."""
        return defaults.get_stats_registry().stats(self.name)

    # ---- the same for arguments that begin with an instance known to be one ----

    def invalidate_call(self, args: Arguments, kwargs: KeywordArguments) -> Invalidation:
        """Detach the fetch of one call's key."""
        shallow = self._compiled.shallow_key(*args, **kwargs)
        return self._void(self._recipe.deepen(shallow)) if self._enabled else Invalidation(0)

    def text_of_call(self, args: Arguments, kwargs: KeywordArguments) -> str:
        """Return the key of one call as text."""
        return self._recipe.text(self._compiled.shallow_key(*args, **kwargs))

    def names_with_instance(self, instance: object, names: Mapping[str, object]) -> dict[str, object]:
        """Return ``names`` with what the key is made of and the instance tells: itself, or ``self.tenant``."""
        told = {
            part.name: string.Formatter().get_field(part.name, (), {self._first: instance})[0]
            for part in self._recipe.parts
            if part.parameter == self._first and part.name not in names
        }
        return {**told, **names}

    def explain_call(self, args: Arguments, kwargs: KeywordArguments) -> Explanation:
        """Say what would become of one call."""
        notes = (self._watch.way_out(),) if self._watch is not None and self._watch.never_shared else ()
        text = f"{self.name}(...)"
        try:
            shallow = self._compiled.shallow_key(*args, **kwargs)
            text = self._recipe.text(shallow)
            key = self._recipe.deepen(shallow)
        except CoalesceKitError as error:
            if self._enabled:
                return explain_refusal(error, function=self.name, key=text, notes=notes)
        if not self._enabled:
            return explain_off(function=self.name, key=text)
        flights = [flight for flight in self._flights() if flight.key == key]
        return explain_flights(flights, function=self.name, key=text, notes=notes)

    # ---- what defaults.py and the test kit ask ----

    @property
    def name(self) -> str:
        """The label of the function."""
        return self._terms.name

    @property
    def counters(self) -> Counters:
        """Where its numbers are counted."""
        return self._terms.counters

    @property
    def observers(self) -> Observers | None:
        """Who is told what happens to it."""
        return self._terms.observers

    def coalescer(self) -> Coalescer | None:
        """Return its backend, or the default coalescer if it uses that and has looked it up."""
        return self._default if self._backend is None else self._backend

    def forget_default(self) -> None:
        """Look the default coalescer up again at the next call."""
        if self._backend is None:
            self._default = None
            self._compiled.set_cell("get_or_fetch", self._ask_default)

    def register(self, registry: StatsRegistry) -> None:
        """Show its numbers in ``registry``."""
        reference = weakref.ref(self)

        def gauges() -> Gauges:
            workings = reference()
            return NO_GAUGES if workings is None else workings.gauges()

        registry.register(self.name, self.counters, gauges=gauges)

    def void_all(self) -> int:
        """Void all its tickets, count that, and return how many fetches were in flight. Tells no observer."""
        if not self._enabled:
            return 0
        self.counters.invalidations += 1
        return self._tickets.void_all()

    def gauges(self) -> Gauges:
        """Look at its fetches in flight."""
        flights = self._flights()
        return Gauges(
            waiters=sum(flight.waiters for flight in flights),
            oldest_flight_seconds=max((flight.age_seconds for flight in flights), default=0.0),
            zombies=sum(flight.zombie for flight in flights),
            pending_keys=len({flight.key for flight in flights if flight.joinable}),
        )

    def switch(self, *, enabled: bool) -> None:
        """Coalesce from now on, or run the original with nothing counted: for tests."""
        self._enabled = enabled
        watching = self._watch is not None and not self._watch.ended
        self._compiled.change_over("off" if not enabled else "watching" if watching else "on")

    # ---- inside ----

    def _ask_default(
        self, key: Key, fetch: Callable[[], Awaitable[R]], /, *, reserve: Reserve, terms: FlightTerms
    ) -> Awaitable[R]:
        """Look up the default coalescer, and have every later call ask it directly."""
        coalescer = self._default = defaults.get_request_coalescer()
        self._compiled.set_cell("get_or_fetch", coalescer.get_or_fetch)
        return coalescer.get_or_fetch(key, fetch, reserve=reserve, terms=terms)

    def _void(self, key: Key) -> Invalidation:
        voided = self._tickets.void(key)
        self.counters.invalidations += 1
        if self.observers is not None:
            self.observers.invalidated(
                Invalidated(function=self.name, voided=voided, key=key, describe=self._recipe.text)
            )
        return Invalidation(voided)

    def _flights(self) -> list[FlightInfo]:
        coalescer = self.coalescer()
        if coalescer is None:
            return []
        return [
            flight
            for flight in coalescer.flights()
            if isinstance(flight.key, tuple) and flight.key and flight.key[0] is self._recipe
        ]

    def _require_instance(self, attribute: str, args: Arguments, kwargs: KeywordArguments) -> None:
        call = self._compiled.function()
        if self._first in FIRST_PARAMETERS and call is not None:
            first = args[0] if args else kwargs.get(self._first)
            require_instance(first, call, attribute=attribute)
