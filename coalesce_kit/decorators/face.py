"""What a decorated function is to a type checker: callable like the wrapped one, with attributes typed like it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from types import CoroutineType
from typing import Any, Concatenate, ParamSpec, Protocol, Self, TypeVar, overload

from ..entry import Entry
from ..stats.counters import CoalescerStats
from .explain import Explanation
from .invalidation import Invalidation

P = ParamSpec("P")
P2 = ParamSpec("P2")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
S_contra = TypeVar("S_contra", contravariant=True)
S = TypeVar("S")


class CoalescedFunction(Protocol[P, R_co]):
    """An async function whose callers at the same moment share one execution.

    Reached through a class it is this; reached through an instance it is an ordinary bound method, and ``bound`` finds
    the attributes again: ``bound(service.odds).invalidate("nba")``.
    """

    __name__: str
    __qualname__: str

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> CoroutineType[Any, Any, R_co]:
        """Run the function, or share a run that others began."""
        ...

    @property
    def __wrapped__(self) -> Callable[P, Coroutine[Any, Any, R_co]]:
        """The wrapped function itself: no key, nothing counted."""
        ...

    def origin(self, *args: P.args, **kwargs: P.kwargs) -> CoroutineType[Any, Any, R_co]:
        """Run the wrapped function without a key, counted as bypassed."""
        ...

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> Invalidation:
        """Drop the result of this call's key and detach its fetch: who waits keeps its result, later callers lead."""
        ...

    def invalidate_key(self, **names: object) -> Invalidation:
        """Do the same for a key, given by the names that it is made of."""
        ...

    def invalidate_all(self) -> Invalidation:
        """Do the same for every key of this function."""
        ...

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> CoroutineType[Any, Any, R_co]:
        """Return a new value: join a fetch in flight, or lead one; its failure is raised, and the old value stays."""
        ...

    def prime(self, value: object, *args: P.args, **kwargs: P.kwargs) -> None:
        """Keep a value made elsewhere as this call's result; what is in the air is not kept any more."""
        ...

    def peek(self, *args: P.args, **kwargs: P.kwargs) -> Entry | None:
        """Return what is kept for this call, fresh or stale, without counting or touching it."""
        ...

    def cache_key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """Return the key of a call as text, for people and logs."""
        ...

    def explain(self, *args: P.args, **kwargs: P.kwargs) -> Explanation:
        """Say what would become of a call, and why. Counts and touches nothing."""
        ...

    def stats(self) -> CoalescerStats:
        """Return the function's numbers as they are now; two of them subtract."""
        ...

    @overload
    def __get__(self, instance: None, owner: type[Any] | None = None, /) -> Self: ...
    @overload
    def __get__(
        self: CoalescedFunction[Concatenate[S, P2], R], instance: S, owner: type[Any] | None = None, /
    ) -> Callable[P2, Coroutine[Any, Any, R]]: ...


class Decorator(Protocol):
    """``@coalesced(...)`` with its options, waiting for the function."""

    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> CoalescedFunction[P, R]:
        """Decorate it."""
        ...
