"""The compiled call: a real function with the wrapped function's own parameters, generated once at decoration.

What is generated for ``async def fixtures(sport, live=True, limit=5)`` reads::

    async def fixtures(sport, live, limit):
        try:
            ck_key = (ck_recipe, sport.__class__, sport, live.__class__, live, limit.__class__, limit)
            if not (sport.__class__ in ck_atoms and live.__class__ in ck_atoms and limit.__class__ in ck_atoms):
                ck_key = ck_deepen(ck_key)
        except Exception as ck_error:
            raise ck_refuse(ck_error)
        ck_load = [None, ck_key, sport, live, limit]
        return await ck_get_or_fetch(
            ck_key, ck_bind(ck_fetch, ck_load),
            reserve=ck_bind(ck_reserve, ck_load), terms=ck_terms,
        )

and with ``ttl=30``, where a fresh hit is answered in line::

    async def fixtures(sport, live, limit):
        try:
            ck_key = (ck_recipe, sport.__class__, sport, live.__class__, live, limit.__class__, limit)
        except Exception as ck_error:
            raise ck_refuse(ck_error)
        try:
            ck_entry = ck_find(ck_key)
        except Exception:
            ck_entry = None
        if ck_entry is not None and ck_time() < ck_entry.fresh_until:
            ck_entry.uses += 1
            ck_counters.cache_hits += 1
            return ck_entry.value
        return await ck_miss(ck_key, [sport, live, limit])

The interpreter binds the arguments and fills in the defaults. Every name that is not a parameter is a closure cell. A
function has several *bodies* over the same cells, on, off and watching; to change over is one assignment to
``__code__``. What is not in the body costs nothing, and what is not in any body has no cell, as the interpreter copies
every cell at every call. ``ck_load`` is what a caller brings along in case it leads: a list with room for the ticket,
bound to two plain functions, which is the cheapest pair of closures to make for the many who never call them.

Source: ``dataclasses`` and ``attrs``, which generate ``__init__`` in this way.
"""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable, Mapping
from inspect import Parameter, Signature
from types import CodeType, FunctionType, MethodType
from typing import Any, NamedTuple, cast

from .. import defaults
from ..cache.tags import TagTable
from ..clock import clock
from ..fleet_port import Trust
from ..keys import ATOMS, CompiledTags, KeyRecipe
from ..protocols import FlightTerms
from ..stats.counters import Counters
from ..tickets import Tickets
from .source import Features, write_maker
from .wrapping import AsyncCallable, bare_name, body_of, present, takes_by_keyword


class BroughtCall:
    """A call's arguments and what can be made of them, for the read-through to ask of a caller who leads."""

    __slots__ = ("_arguments", "_run", "_tags")

    def __init__(
        self,
        run: Callable[[list[Any]], Awaitable[object]],
        tags: Callable[[list[Any]], tuple[str, ...]],
        arguments: list[Any],
    ) -> None:
        self._run = run
        self._tags = tags
        self._arguments = arguments

    @property
    def instance(self) -> object:
        """Nothing: the address of no instance is in the key."""
        return None

    def run(self) -> Awaitable[object]:
        """Call the wrapped function."""
        return self._run(self._arguments)

    def tags(self) -> tuple[str, ...]:
        """Render the call's tags."""
        return self._tags(self._arguments)


class BroughtMethodCall(BroughtCall):
    """The same for a method whose key holds the address of its instance."""

    __slots__ = ()

    @property
    def instance(self) -> object:
        """The instance."""
        return self._arguments[0]


class CachedWiring(NamedTuple):
    """What the cells of a compiled call hold if results are kept.

    Attributes:
        answer: the read-through's.
        find: looks a key up in the cache's storage; ``None`` if only the cache itself may.
        tagged: knows the epoch of the function's tags.
        tags: the tags' expression and what it needs; ``None`` without tags.
        refreshes_ahead: a fresh hit may start a refresh.
        trust: knows until when local results can be trusted; ``None`` where they are nobody else's.
    """

    answer: Callable[..., Awaitable[Any]]
    find: Callable[[object], Any] | None
    tagged: TagTable
    tags: CompiledTags | None
    refreshes_ahead: bool
    trust: Trust | None = None


class Wiring(NamedTuple):
    """What the cells of one function's compiled call hold at first.

    Attributes:
        function: the wrapped function.
        signature: the parameters that its callers see.
        recipe: how its arguments become a key.
        terms: the terms of its fetches.
        tickets: the live tickets of its keys.
        get_or_fetch: its coalescer's, or what finds the default coalescer at the first call.
        watch: told the instance of each call while the watching body is in place; ``None`` where there is none.
        caching: its part of a cache and the path through it; ``None`` where nothing is kept.
        copy: makes what each caller receives; ``None`` where they share one object.
    """

    function: AsyncCallable
    signature: Signature
    recipe: KeyRecipe
    terms: FlightTerms
    tickets: Tickets
    get_or_fetch: Callable[..., Any]
    watch: Callable[[object], None] | None
    caching: CachedWiring | None = None
    copy: Callable[[Any], Any] | None = None


class CompiledCall:
    """The bodies and cells of one decorated function, which it does not keep alive.

    Attributes:
        shallow_key: takes the function's arguments, returns its shallow key.
        gather: takes the function's arguments, returns them as a list.
        helpers: the two functions that run for a caller who leads: fetch and reserve, or run and tags.
    """

    __slots__ = ("_call", "_codes", "_names", "_source", "gather", "helpers", "shallow_key")

    def __init__(
        self,
        call: FunctionType,
        codes: Mapping[str, CodeType],
        *,
        shallow_key: Callable[..., tuple[object, ...]],
        gather: Callable[..., list[Any]],
        helpers: tuple[Callable[..., Any], Callable[..., Any]],
        names: Mapping[str, str],
        source: defaults.GeneratedSource,
    ) -> None:
        self.shallow_key = shallow_key
        self.gather = gather
        self.helpers = helpers
        self._call = weakref.ref(call)
        self._codes = codes
        self._names = names
        self._source = source  # readable by tracebacks as long as this lives

    def function(self) -> FunctionType | None:
        """Return the decorated function, if it still lives."""
        return self._call()

    def set_cell(self, role: str, value: object) -> None:
        """Exchange what one cell holds, for all calls that begin from now on."""
        call = self._call()
        if call is not None:
            cells = dict(zip(call.__code__.co_freevars, call.__closure__ or (), strict=True))
            cell = cells.get(self._names[role])
            if cell is not None:  # a function that keeps results asks its coalescer elsewhere
                cell.cell_contents = value

    def change_over(self, body: str) -> None:
        """Put another body in place, for all calls that begin from now on: "on", "off" or "watching"."""
        call = self._call()
        if call is not None:
            call.__code__ = self._codes[body]


def compile_call(wiring: Wiring) -> tuple[FunctionType, CompiledCall]:
    """Generate the decorated function, with the body "on" in place.

    Raises:
        ConfigurationError: the wrapped function cannot be called with the parameters that it shows.
    """
    caching = wiring.caching
    tags = None if caching is None else caching.tags
    bindings = {**wiring.recipe.bindings, **({} if tags is None else tags.bindings)}
    maker = write_maker(
        name=bare_name(wiring.function),
        signature=wiring.signature,
        by_keyword=takes_by_keyword(wiring.function, wiring.signature),
        parts=wiring.recipe.parts,
        bindings=bindings,
        features=Features(
            watches=wiring.watch is not None,
            caches=caching is not None,
            looks_in_line=caching is not None and caching.find is not None,
            refreshes_ahead=caching is not None and caching.refreshes_ahead,
            shares=caching is not None and caching.trust is not None,
            copies=wiring.copy is not None,
            tags=None if tags is None else tags.source,
        ),
    )
    source = defaults.compiled_source(maker.text, title=maker.title)
    namespace: dict[str, Any] = {}
    exec(source.code, getattr(body_of(wiring.function), "__globals__", {}), namespace)
    make = namespace[maker.names["make"]]
    cells: dict[str, object] = {
        "answer": None if caching is None else caching.answer,
        "atoms": ATOMS,
        "bind": MethodType,
        "bring": BroughtMethodCall if wiring.recipe.instance else BroughtCall,
        "copy": wiring.copy,
        "counters": wiring.terms.counters,
        "deepen": wiring.recipe.deepen,
        "find": None if caching is None else caching.find,
        "get_or_fetch": wiring.get_or_fetch,
        "origin": wiring.function,
        "recipe": wiring.recipe,
        "refusal": _refuser(wiring.recipe, None),
        "refuse": _refuser(wiring.recipe, wiring.terms.counters),
        "release": wiring.tickets.release,
        "tagged": None if caching is None else caching.tagged,
        "take": wiring.tickets.reserve,
        "terms": wiring.terms,
        "trust": None if caching is None else caching.trust,
        "time": clock.now,  # and from the next step on whatever the clock's own cell holds
        "watch": wiring.watch,
    }
    made, *helpers = make(**{maker.names[role]: value for role, value in cells.items()}, **bindings)
    shallow_key, gather, bodies = made.pop("shallow_key"), made.pop("gather"), made
    call = _on_the_clock(cast(FunctionType, bodies["on"]), maker.names["time"])
    present(call, wiring.function)
    qualname = call.__qualname__
    codes = {body: function.__code__.replace(co_qualname=qualname) for body, function in bodies.items()}
    call.__code__ = codes["on"]
    shallow_key.__qualname__ = gather.__qualname__ = qualname  # the interpreter's messages about arguments name it
    for function in (call, shallow_key, gather):
        _set_defaults(function, wiring.signature)
    compiled = CompiledCall(
        call,
        codes,
        shallow_key=shallow_key,
        gather=gather,
        helpers=(helpers[0], helpers[1]),
        names=maker.names,
        source=source,
    )
    return call, compiled


def _refuser(recipe: KeyRecipe, counters: Counters | None) -> Callable[[Exception], Exception]:
    """Return what turns whatever a key's expression raised into what the call raises, and counts it if it is a call."""

    def refuse(error: Exception) -> Exception:
        if counters is not None:
            counters.rejected_requests += 1
        refusal = recipe.refusal(error)
        if refusal is not error:
            refusal.__cause__ = error
        return refusal

    return refuse


def _on_the_clock(made: FunctionType, name: str) -> FunctionType:
    """Return the same function with the clock's own cell in the place of the one called ``name``, if it has that."""
    cells = zip(made.__code__.co_freevars, made.__closure__ or (), strict=True)
    closure = tuple(clock.cell if free == name else cell for free, cell in cells)
    return FunctionType(made.__code__, made.__globals__, made.__name__, None, closure)


def _set_defaults(made: FunctionType, signature: Signature) -> None:
    parameters = signature.parameters.values()
    given = [parameter for parameter in parameters if parameter.default is not Parameter.empty]
    made.__defaults__ = tuple(one.default for one in given if one.kind is not Parameter.KEYWORD_ONLY) or None
    made.__kwdefaults__ = {one.name: one.default for one in given if one.kind is Parameter.KEYWORD_ONLY}
