"""``bound``: the attributes of a decorated method, for one instance."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Generic, ParamSpec, TypeVar, cast

from ..entry import Entry
from ..stats.counters import CoalescerStats
from .explain import Explanation
from .invalidation import Invalidation
from .workings import WORKINGS, Workings
from .wrapping import bare_name

P = ParamSpec("P")
R = TypeVar("R")


class BoundFunction(Generic[P, R]):
    """The attributes of a decorated method with its instance filled in: what ``bound`` returns.

    ``invalidate_all`` and ``stats`` are the function's: of all instances.
    """

    __slots__ = ("_instance", "_workings")

    def __init__(self, workings: Workings, instance: object) -> None:
        self._workings = workings
        self._instance = instance

    def __repr__(self) -> str:
        return f"<{self._workings.name} bound to {type(self._instance).__name__} at {id(self._instance):#x}>"

    async def origin(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the wrapped method without a key, counted as bypassed."""
        return cast(R, await self._workings.origin(self._instance, *args, **kwargs))

    def invalidate(self, /, *args: P.args, **kwargs: P.kwargs) -> Invalidation:
        """Drop the result of this call's key and detach its fetch: who waits keeps its result, later callers lead."""
        return self._workings.invalidate_call((self._instance, *args), kwargs)

    def invalidate_key(self, /, **names: object) -> Invalidation:
        """Do the same for a key, given by the names that it is made of; those of the instance are filled in."""
        return self._workings.invalidate_names(self._workings.names_with_instance(self._instance, names))

    def invalidate_all(self) -> Invalidation:
        """Do the same for every key of this method, of whatever instance."""
        return self._workings.invalidate_all()

    async def refresh(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return a new value: join a fetch in flight, or lead one; its failure is raised, and the old value stays."""
        return cast(R, await self._workings.refresh_call((self._instance, *args), kwargs))

    def prime(self, value: object, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Keep a value made elsewhere as a call's result; what is in the air is not kept any more."""
        self._workings.prime_call(value, (self._instance, *args), kwargs)

    def peek(self, /, *args: P.args, **kwargs: P.kwargs) -> Entry | None:
        """Return what is kept for a call, fresh or stale, without counting or touching it."""
        return self._workings.peek_call((self._instance, *args), kwargs)

    def cache_key(self, /, *args: P.args, **kwargs: P.kwargs) -> str:
        """Return the key of a call as text, for people and logs."""
        return self._workings.text_of_call((self._instance, *args), kwargs)

    def explain(self, /, *args: P.args, **kwargs: P.kwargs) -> Explanation:
        """Say what would become of a call, and why. Counts and touches nothing."""
        return self._workings.explain_call((self._instance, *args), kwargs)

    def stats(self) -> CoalescerStats:
        """Return the method's numbers, of all instances."""
        return self._workings.stats()


def bound(method: Callable[P, Coroutine[Any, Any, R]], /) -> BoundFunction[P, R]:
    """Return the attributes of a decorated method for the instance that it was reached through.

    ``bound(service.odds).invalidate("nba")`` is ``OddsService.odds.invalidate(service, "nba")``, except that it finds
    the method of ``service``'s own class, if that overrides it.

    Raises:
        TypeError: it is no method of an instance, or not decorated with ``@coalesced``.
    """
    function = getattr(method, "__func__", None)
    if function is None:
        way_out = "; its attributes are its own: write {0}.invalidate(...)" if hasattr(method, WORKINGS) else ""
        name = bare_name(method) if callable(method) else repr(method)
        raise TypeError(f"bound takes a method of an instance, bound(service.odds), not {name}{way_out.format(name)}")
    workings = getattr(function, WORKINGS, None)
    if not isinstance(workings, Workings):
        raise TypeError(f"{bare_name(method)} of {type(method.__self__).__name__} is not decorated with @coalesced")  # type: ignore[attr-defined]  # a bound method has it
    return BoundFunction(workings, method.__self__)  # type: ignore[attr-defined]  # a bound method has it
