"""What stands behind one decorated function."""

from __future__ import annotations

import functools
import string
import weakref
from collections.abc import Awaitable, Callable, Mapping, Sequence
from heapq import nlargest
from inspect import Signature
from types import FunctionType
from typing import Any, Final, TypeAlias, TypeVar

from .. import defaults
from ..cache.policy import CachePolicy
from ..entry import Entry
from ..errors import CoalesceKitError
from ..fleet_port import SharingCoalescer
from ..keys import KeyRecipe
from ..protocols import INHERIT, Coalescer, FlightInfo, FlightTerms, Key, Reserve
from ..stats.counters import NO_GAUGES, CoalescerStats, Counters, Gauges
from ..stats.observer import Invalidated, Observers
from ..stats.registry import StatsRegistry
from ..stats.showing import NO_LIMITS, FlightSeen, Limits
from ..tickets import Tickets
from .asking import Asking
from .call import Wiring, compile_call
from .explain import Explanation, explain_key, explain_off, explain_refusal
from .invalidation import Invalidation
from .keeping import Caching, Keeping, KeepingNothing, KeepingResults
from .methods import InstanceWatch
from .sharing import KeepingShared
from .wrapping import AsyncCallable, counted_origin, label

R = TypeVar("R")

WORKINGS: Final = "__coalesced__"
"""The attribute of a decorated function under which its workings stand."""

Arguments: TypeAlias = tuple[Any, ...]
KeywordArguments: TypeAlias = Mapping[str, Any]


class Workings:
    """Everything that belongs to one decorated function. The function holds it; it holds the function weakly.

    Args:
        function: the wrapped function, already found fit.
        recipe: how its arguments become a key.
        terms: the terms of its fetches.
        backend: its coalescer; ``None`` for the default one, looked up when first needed.
        caching: how its results are kept; ``None`` if they are not.
        copy: makes what each caller receives; ``None`` where they share one object.
        enabled: whether it coalesces at all.
        is_name_given: its author named it.

    Raises:
        ConfigurationError: its backend shares results, and its cannot be shared.

    Attributes:
        origin: the wrapped function as an async function that counts its calls.
        origin_name: ``module.qualname`` of the wrapped function.
    """

    __slots__ = (
        "__weakref__",
        "_asking",
        "_compiled",
        "_copy",
        "_enabled",
        "_first",
        "_function",
        "_keeping",
        "_policy",
        "_recipe",
        "_sharing",
        "_terms",
        "_tickets",
        "_watch",
        "_wrapped_for_tests",
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
        caching: Caching | None,
        copy: Callable[[Any], Any] | None,
        enabled: bool,
        is_name_given: bool,
    ) -> None:
        self.origin_name: Final = label(function)
        self.origin: Final = counted_origin(function, terms.counters if enabled else None)
        self._function = function
        self._recipe = recipe
        self._terms = terms
        self._tickets = Tickets()
        self._asking = Asking(backend)
        self._copy = copy
        self._policy = None if caching is None else caching.policy
        self._enabled = enabled
        self._wrapped_for_tests: AsyncCallable | None = None
        self._keeping: Keeping
        self._sharing: KeepingShared | None = None
        if isinstance(backend, SharingCoalescer):
            self._keeping = self._sharing = KeepingShared(
                Caching(CachePolicy(), None, None) if caching is None else caching,
                self._tickets,
                terms,
                asking=self._asking,
                backend=backend,
                function=function,
                recipe=recipe,
                is_name_given=is_name_given,
            )
        elif caching is None:
            self._keeping = KeepingNothing(self._tickets, terms, asking=self._asking)
        else:
            self._keeping = KeepingResults(
                caching, self._tickets, terms, asking=self._asking, of_method=recipe.instance
            )

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
                get_or_fetch=self._ask_first if self._asking.uses_default else self._asking.find().get_or_fetch,
                watch=self._watch,
                caching=self._keeping.wiring if isinstance(self._keeping, KeepingResults) else None,
                copy=self._copy,
            )
        )
        self._keeping.wire(self._compiled.helpers)
        if self._watch is not None:
            self._watch.end = functools.partial(self._compiled.change_over, "on")
        self.switch(enabled=self._enabled)
        setattr(call, WORKINGS, self)
        return call

    # ---- what the function's attributes do, for arguments that begin with an instance where there is one ----

    def invalidate_call(self, args: Arguments, kwargs: KeywordArguments) -> Invalidation:
        """Drop the result of one call's key and detach its fetch."""
        try:
            shallow = self._compiled.shallow_key(*args, **kwargs)
        except TypeError as error:
            if outside := self._recipe.outside:  # such as a session, which who invalidates has none of
                error.add_note(f"invalidate_key takes the names of the key alone, without {', '.join(outside)}")
            raise
        return self._void(self._recipe.deepen(shallow)) if self._enabled else Invalidation(0)

    def invalidate_names(self, names: Mapping[str, object]) -> Invalidation:
        """Do the same for the key that is made of these names."""
        key = self._recipe.key_from_names(names)
        return self._void(key) if self._enabled else Invalidation(0)

    def invalidate_all(self) -> Invalidation:
        """Do the same for every key."""
        if not self._enabled:
            return Invalidation(0)
        voided = self.void_all()
        if self.observers is not None:
            self.observers.invalidated(Invalidated(function=self.name, voided=voided, scope="function"))
        return Invalidation(voided, () if self._sharing is None else (self._sharing.tell_void_all(),))

    async def refresh_call(self, args: Arguments, kwargs: KeywordArguments) -> Any:
        """Return a new value for one call."""
        shallow = self._compiled.shallow_key(*args, **kwargs)
        if not self._enabled:
            return await self._function(*args, **kwargs)
        arguments = self._compiled.gather(*args, **kwargs)
        value = await self._keeping.refresh(self._recipe.deepen(shallow), arguments)
        return value if self._copy is None else self._copy(value)

    def prime_call(self, value: object, args: Arguments, kwargs: KeywordArguments) -> None:
        """Keep a value as the result of one call."""
        shallow = self._compiled.shallow_key(*args, **kwargs)
        if self._enabled:
            self._keeping.prime(self._recipe.deepen(shallow), self._compiled.gather(*args, **kwargs), value)

    def peek_call(self, args: Arguments, kwargs: KeywordArguments) -> Entry | None:
        """Return what is kept for one call."""
        shallow = self._compiled.shallow_key(*args, **kwargs)
        return self._keeping.peek(self._recipe.deepen(shallow)) if self._enabled else None

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
        not_kept = self._keeping.why_not_kept(key)
        return explain_key(
            [flight for flight in self._flights() if flight.key == key],
            self._keeping.look(key),
            function=self.name,
            key=text,
            notes=notes if not_kept is None else (*notes, f"the last result was not kept: {not_kept}"),
        )

    def stats(self) -> CoalescerStats:
        """Return the numbers of this function as they are now; two of them subtract."""
        return defaults.get_stats_registry().stats(self.name)

    # ---- what defaults.py and the test kit ask ----

    @property
    def name(self) -> str:
        """The label of the function."""
        return self._terms.name

    def function(self) -> FunctionType | None:
        """Return the decorated function, if it still lives."""
        return self._compiled.function()

    @property
    def first(self) -> str:
        """The name of the first parameter; empty without parameters."""
        return self._first

    @property
    def policy(self) -> CachePolicy | None:
        """How long results are used; ``None`` if none is kept."""
        return self._policy

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
        return self._asking.found

    def forget_default(self) -> None:
        """Look the default coalescer up again at the next call."""
        if self._asking.uses_default:
            self._asking.forget_default()
            self._compiled.set_cell("get_or_fetch", self._ask_first)

    def register(self, registry: StatsRegistry) -> None:
        """Show its numbers in ``registry``."""
        reference = weakref.ref(self)

        def gauges() -> Gauges:
            workings = reference()
            return NO_GAUGES if workings is None else workings.gauges()

        def limits() -> Limits:
            workings = reference()
            return NO_LIMITS if workings is None else workings.limits()

        def flights(at_most: int) -> Sequence[FlightSeen]:
            workings = reference()
            return () if workings is None else workings.oldest_flights(at_most)

        registry.register(self.name, self.counters, gauges=gauges, limits=limits, flights=flights)

    def void_all(self) -> int:
        """Void all its tickets, count that, and return how many fetches were in flight. Tells no observer."""
        if not self._enabled:
            return 0
        self.counters.invalidations += 1
        return self._keeping.void_all()

    def void_tags(self, tags: Sequence[str]) -> int:
        """Invalidate what has one of ``tags``; return how many fetches in flight were detached. Tells no observer."""
        return self._keeping.void_tags(tags) if self._enabled else 0

    def clear(self) -> None:
        """Drop every result, detach every fetch, forget what it was warned of, and count nothing: for tests."""
        self._keeping.void_all()
        self._keeping.forget_warnings()
        if self._watch is not None:
            self._watch.never_shared = False

    @property
    def refreshing(self) -> int:
        """How many refreshes run in the background."""
        return self._keeping.refreshing

    async def drain(self, *, deadline_seconds: float) -> None:
        """Wait for its refreshes in the background on the running loop."""
        await self._keeping.drain(deadline_seconds=deadline_seconds)

    def gauges(self) -> Gauges:
        """Look at its fetches in flight."""
        flights = self._flights()
        gauges = Gauges(
            waiters=sum(flight.waiters for flight in flights),
            oldest_flight_seconds=max((flight.age_seconds for flight in flights), default=0.0),
            zombies=sum(flight.zombie for flight in flights),
            pending_keys=len({flight.key for flight in flights if flight.joinable}),
            cached_entries=self._keeping.held,
            refreshes_running=self._keeping.refreshing,
            never_shared=int(self._watch is not None and self._watch.never_shared),
        )
        return gauges if self._sharing is None else self._sharing.with_gauges(gauges)

    def limits(self) -> Limits:
        """Look at how long its callers wait and its fetches run."""
        max_wait = self._terms.max_wait_seconds
        return Limits(
            max_wait_seconds=self._asking.max_wait_seconds() if max_wait is INHERIT else max_wait,
            fetch_timeout_seconds=self._terms.fetch_timeout_seconds,
            max_flight_seconds=self._asking.max_flight_seconds(),
        )

    def oldest_flights(self, at_most: int) -> list[FlightSeen]:
        """Look at its oldest fetches in flight, with their keys as text."""
        return [
            FlightSeen(
                function=self.name,
                key=self._terms.describe(flight.key),
                age_seconds=flight.age_seconds,
                waiters=flight.waiters,
                zombie=flight.zombie,
                joinable=flight.joinable,
            )
            for flight in nlargest(at_most, self._flights(), key=lambda flight: flight.age_seconds)
        ]

    def exchange_origin(self, wrap: Callable[[AsyncCallable], AsyncCallable]) -> Callable[[], None]:
        """Have fetches run ``wrap(function)`` until what is returned is called: for tests."""
        wrapped = wrap(self._function if self._wrapped_for_tests is None else self._wrapped_for_tests)
        before, self._wrapped_for_tests = self._wrapped_for_tests, wrapped
        self._compiled.set_cell("origin", wrapped)

        def undo() -> None:
            self._wrapped_for_tests = before
            self._compiled.set_cell("origin", self._function if before is None else before)

        return undo

    @property
    def enabled(self) -> bool:
        """Whether it coalesces."""
        return self._enabled

    def switch(self, *, enabled: bool) -> None:
        """Coalesce from now on, or run the original with nothing counted: for tests."""
        self._enabled = enabled
        watching = self._watch is not None and not self._watch.ended
        self._compiled.change_over("off" if not enabled else "watching" if watching else "on")

    # ---- inside ----

    def _ask_first(
        self, key: Key, fetch: Callable[[], Awaitable[R]], /, *, reserve: Reserve, terms: FlightTerms
    ) -> Awaitable[R]:
        """Look up the default coalescer, and have every later call ask it directly."""
        coalescer = self._asking.find()
        self._compiled.set_cell("get_or_fetch", coalescer.get_or_fetch)
        return coalescer.get_or_fetch(key, fetch, reserve=reserve, terms=terms)

    def _void(self, key: Key) -> Invalidation:
        # First: a key that has no name in the store was never shared, and is refused before anything is done.
        record = None if self._sharing is None else self._sharing.record_of(key)
        voided = self._keeping.void(key)
        self.counters.invalidations += 1
        if self.observers is not None:
            self.observers.invalidated(
                Invalidated(function=self.name, voided=voided, key=key, describe=self._recipe.text)
            )
        tellings = () if self._sharing is None or record is None else (self._sharing.tell_void(record),)
        return Invalidation(voided, tellings)

    def _flights(self) -> list[FlightInfo]:
        coalescer = self.coalescer()
        if coalescer is None:
            return []
        return [
            flight
            for flight in coalescer.flights()
            if isinstance(flight.key, tuple) and flight.key and flight.key[0] is self._recipe
        ]
