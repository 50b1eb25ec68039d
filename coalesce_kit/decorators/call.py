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

so that the interpreter binds the arguments and fills in the defaults. Every name that is not a parameter is a closure
cell. A function has several *bodies* over the same cells, on, off and watching; to change over is one assignment to
``__code__``, and what is not in the body costs nothing. ``ck_load`` is what a caller brings along in case it leads: a
list with room for the ticket, bound to two plain functions, which is the cheapest pair of closures to make for the
many who never call them.

Source: ``dataclasses`` and ``attrs``, which generate ``__init__`` in this way.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import Parameter, Signature
from types import CodeType, FunctionType, MethodType
from typing import Any, cast

from .. import defaults
from ..keys import ATOMS, KeyRecipe
from ..protocols import FlightTerms
from ..stats.counters import Counters
from ..tickets import Tickets
from .source import write_maker
from .wrapping import AsyncCallable, bare_name, body_of, present, takes_by_keyword


@dataclass(frozen=True, slots=True)
class Wiring:
    """What the cells of one function's compiled call hold at first.

    Attributes:
        function: the wrapped function.
        signature: the parameters that its callers see.
        recipe: how its arguments become a key.
        terms: the terms of its fetches.
        tickets: the live tickets of its keys.
        get_or_fetch: its coalescer's, or what finds the default coalescer at the first call.
        watch: told the instance of each call while the watching body is in place; ``None`` where there is none.
    """

    function: AsyncCallable
    signature: Signature
    recipe: KeyRecipe
    terms: FlightTerms
    tickets: Tickets
    get_or_fetch: Callable[..., Any]
    watch: Callable[[object], None] | None


class CompiledCall:
    """The bodies and cells of one decorated function, which it does not keep alive.

    Attributes:
        shallow_key: takes the function's arguments, returns its shallow key.
    """

    __slots__ = ("_call", "_codes", "_names", "_source", "shallow_key")

    def __init__(
        self,
        call: FunctionType,
        codes: Mapping[str, CodeType],
        shallow_key: Callable[..., tuple[object, ...]],
        names: Mapping[str, str],
        source: defaults.GeneratedSource,
    ) -> None:
        self.shallow_key = shallow_key
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
            cells[self._names[role]].cell_contents = value

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
    maker = write_maker(
        name=bare_name(wiring.function),
        signature=wiring.signature,
        by_keyword=takes_by_keyword(wiring.function, wiring.signature),
        parts=wiring.recipe.parts,
        bindings=wiring.recipe.bindings,
        watches=wiring.watch is not None,
    )
    source = defaults.compiled_source(maker.text, title=maker.title)
    namespace: dict[str, Any] = {}
    exec(source.code, getattr(body_of(wiring.function), "__globals__", {}), namespace)
    make = namespace[maker.names["make"]]
    cells: dict[str, object] = {
        "atoms": ATOMS,
        "bind": MethodType,
        "deepen": wiring.recipe.deepen,
        "get_or_fetch": wiring.get_or_fetch,
        "origin": wiring.function,
        "recipe": wiring.recipe,
        "refusal": _refuser(wiring.recipe, None),
        "refuse": _refuser(wiring.recipe, wiring.terms.counters),
        "release": wiring.tickets.release,
        "take": wiring.tickets.reserve,
        "terms": wiring.terms,
        "watch": wiring.watch,
    }
    bodies, shallow_key = make(**{maker.names[role]: value for role, value in cells.items()}, **wiring.recipe.bindings)
    call = cast(FunctionType, bodies["on"])
    present(call, wiring.function)
    qualname = call.__qualname__
    codes = {body: made.__code__.replace(co_qualname=qualname) for body, made in bodies.items()}
    call.__code__ = codes["on"]
    shallow_key.__qualname__ = qualname  # the interpreter's own messages about arguments name it
    for made in (call, shallow_key):
        _set_defaults(made, wiring.signature)
    return call, CompiledCall(call, codes, shallow_key, maker.names, source)


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


def _set_defaults(made: FunctionType, signature: Signature) -> None:
    parameters = signature.parameters.values()
    given = [parameter for parameter in parameters if parameter.default is not Parameter.empty]
    made.__defaults__ = tuple(one.default for one in given if one.kind is not Parameter.KEYWORD_ONLY) or None
    made.__kwdefaults__ = {one.name: one.default for one in given if one.kind is Parameter.KEYWORD_ONLY}
