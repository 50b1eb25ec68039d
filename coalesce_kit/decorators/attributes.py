"""The attributes of a decorated function."""

from __future__ import annotations

from types import FunctionType
from typing import Any, Final

from ..entry import Entry
from ..stats.counters import CoalescerStats
from .explain import Explanation
from .invalidation import Invalidation
from .methods import FIRST_PARAMETERS, require_instance
from .workings import Arguments, KeywordArguments, Workings

_ATTRIBUTES: Final = (
    "invalidate",
    "invalidate_key",
    "invalidate_all",
    "refresh",
    "prime",
    "peek",
    "origin",
    "cache_key",
    "explain",
    "stats",
)


def give_attributes(call: FunctionType, workings: Workings) -> None:
    """Put the attributes on a decorated function."""
    attributes = Attributes(workings)
    for name in _ATTRIBUTES:
        setattr(call, name, getattr(attributes, name))


class Attributes:
    """What a decorated function can do beside being called. Takes what the function takes.

    A method's attribute takes the instance first. Reached through an instance it cannot see that, and raises a
    ``TypeError`` that says so, instead of acting on nothing.
    """

    __slots__ = ("_workings", "origin")

    def __init__(self, workings: Workings) -> None:
        self._workings = workings
        self.origin = workings.origin

    def invalidate(self, /, *args: Any, **kwargs: Any) -> Invalidation:
        """Drop the result of one call and detach its fetch: who waits keeps its result, later callers lead anew.

        Acts at the call, in any thread, with or without a running loop.

        Raises:
            TypeError: the function does not take these arguments; or it is a method and the first is no instance of its
                class, as in ``service.odds.invalidate("nba")``, which cannot see the service.
            KeyDerivationError: the arguments make no key.
        """
        self._require_instance("invalidate", args, kwargs)
        return self._workings.invalidate_call(args, kwargs)

    def invalidate_key(self, /, **names: object) -> Invalidation:
        """Drop the result and detach the fetch of one key, given by the names that it is made of.

        For keys that leave parameters out. Dotted parts as written: ``**{"user.id": 7}``; ``self=`` where the instance
        is in the key; the values of ``vary`` come from the current context.

        Raises:
            TypeError: a name is missing or not in the key, or the key comes from a function.
        """
        return self._workings.invalidate_names(names)

    def invalidate_all(self) -> Invalidation:
        """Drop every result and detach every fetch of this function."""
        return self._workings.invalidate_all()

    async def refresh(self, /, *args: Any, **kwargs: Any) -> Any:
        """Return a new value: join a fetch in flight, or lead one. Outside the sum of requests.

        Raises:
            Exception: the fetch's; the old value stays.
        """
        self._require_instance("refresh", args, kwargs)
        return await self._workings.refresh_call(args, kwargs)

    def prime(self, value: object, /, *args: Any, **kwargs: Any) -> None:
        """Keep a value made elsewhere as the result of one call; what is in the air is not kept any more."""
        self._require_instance("prime", args, kwargs)
        self._workings.prime_call(value, args, kwargs)

    def peek(self, /, *args: Any, **kwargs: Any) -> Entry | None:
        """Return what is kept for one call, fresh or stale, without counting or touching it."""
        self._require_instance("peek", args, kwargs)
        return self._workings.peek_call(args, kwargs)

    def cache_key(self, /, *args: Any, **kwargs: Any) -> str:
        """Return the key of one call as text, for people and logs.

        Raises:
            TypeError: the function does not take these arguments.
        """
        self._require_instance("cache_key", args, kwargs)
        return self._workings.text_of_call(args, kwargs)

    def explain(self, /, *args: Any, **kwargs: Any) -> Explanation:
        """Say what would become of one call, and why. Counts and touches nothing.

        Raises:
            TypeError: the function does not take these arguments.
        """
        self._require_instance("explain", args, kwargs)
        return self._workings.explain_call(args, kwargs)

    def stats(self) -> CoalescerStats:
        """Return the numbers of this function as they are now; two of them subtract."""
        return self._workings.stats()

    def _require_instance(self, attribute: str, args: Arguments, kwargs: KeywordArguments) -> None:
        call = self._workings.function()
        if self._workings.first in FIRST_PARAMETERS and call is not None:
            first = args[0] if args else kwargs.get(self._workings.first)
            require_instance(first, call, attribute=attribute)
