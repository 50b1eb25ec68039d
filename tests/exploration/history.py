"""What happened in one run: every call, fetch and invalidation, each with the moments at which it began and ended.

Moments are numbers in the order of events, all different. Times are the virtual clock's, and may be equal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from tests.model import Rules

NEVER = 10**9
"""A moment that does not come."""


class OriginError(Exception):
    """A fetch has failed; its first argument is the number of the fetch."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What fetch ``number`` of ``key`` returned."""

    key: str
    number: int


@dataclass(slots=True, eq=False)
class Fetch:
    """One run of the origin, or one value that was primed.

    Attributes:
        number: those that began later have greater ones.
        leader: the call in whose context it runs; ``None`` if it was primed.
        in_background: it is a refresh that a reader of a stale value has started.
        was_stopped: it was told to stop, and went on.
        was_cut_inside: what it ran inside was cancelled, by none of its callers.
        end: ``returned``, ``raised`` or ``cancelled``; ``None`` if it has not ended.
        flight: in which it runs; ``None`` if it was primed.
        is_wanted_anew: somebody waits for it who would not take what is kept.
    """

    key: str
    number: int
    leader: Call | None
    began: int
    began_at: float
    in_background: bool = False
    was_stopped: bool = False
    was_cut_inside: bool = False
    ended: int = NEVER
    ended_at: float = float("inf")
    end: str | None = None
    error: BaseException | None = None
    flight: Any = None
    is_wanted_anew: bool = False

    @property
    def was_primed(self) -> bool:
        return self.leader is None

    @property
    def for_a_call(self) -> bool:
        """Whether a call that asks for a value has led it."""
        return self.leader is not None and not self.leader.is_refresh and not self.in_background


@dataclass(slots=True, eq=False)
class Call:
    """One call of the function, or of its ``refresh``.

    Attributes:
        loop: on which it is made.
        inside: the fetch that makes it; ``None`` for a caller's own.
        was_cancelled: by the environment, before it had ended.
        result: what it returned.
        answer: the number of the fetch whose outcome it got; ``None`` if it got none.
    """

    name: str
    key: str
    began: int
    began_at: float
    is_refresh: bool = False
    loop: object = None
    inside: Fetch | None = None
    ended: int = NEVER
    ended_at: float = float("inf")
    was_cancelled: bool = False
    result: object = None
    answer: int | None = None
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Invalidation:
    """An invalidation of some keys; by their tags, if there are any."""

    at: int
    keys: frozenset[str]
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Closing:
    """How all that was open was ended: the moments, the times, and how many seconds it was given."""

    began: int
    began_at: float
    seconds: float
    ended: int
    ended_at: float


@dataclass(slots=True)
class History:
    """One run.

    Attributes:
        rules: its windows, for the reference model; ``None`` where that is not asked.
        tags: of every result, as templates.
        fresh_seconds: the ttl; 0 where nothing is kept.
        usable_seconds: the ttl and the longest stale window.
        max_wait_seconds: of a waiter.
        max_flight_seconds: after which a fetch is not joined.
        error_seconds: how long a failure is remembered.
        may_be_unwanted: a fetch may go on for nobody's call: it is to finish, or a refresh has joined it.
        finishes: a fetch goes on when all have left.
        fetch_timeout: how long a fetch may take.
        closed: the moment from which on calls are refused.
        closing: how all that was open was ended, if it was.
        allowed: errors that a caller may get beside the origin's.
    """

    rules: Rules | None = None
    tags: tuple[str, ...] = ()
    fresh_seconds: float = 0.0
    usable_seconds: float = 0.0
    max_wait_seconds: float | None = None
    max_flight_seconds: float = 60.0
    error_seconds: float = 0.0
    may_be_unwanted: bool = False
    finishes: bool = False
    fetch_timeout: float | None = None
    closed: int = NEVER
    closing: Closing | None = None
    allowed: tuple[type[BaseException], ...] = ()
    calls: list[Call] = field(default_factory=list)
    fetches: list[Fetch] = field(default_factory=list)
    invalidations: list[Invalidation] = field(default_factory=list)
    moments: Iterator[int] = field(default_factory=count)

    def moment(self) -> int:
        return next(self.moments)

    def fetch(self, number: int) -> Fetch:
        return self.fetches[number - 1]

    def begin_fetch(self, key: str, leader: Call | None, at: float, *, is_refresh: bool = False) -> Fetch:
        in_background = is_refresh and leader is not None and not leader.is_refresh
        fetch = Fetch(key, len(self.fetches) + 1, leader, self.moment(), at, in_background)
        fetch.is_wanted_anew = any(call.is_refresh and call.key == key and call.ended == NEVER for call in self.calls)
        self.fetches.append(fetch)
        return fetch

    def end_fetch(self, fetch: Fetch, error: BaseException | None, at: float) -> None:
        fetch.ended, fetch.ended_at, fetch.error = self.moment(), at, error
        cancelled = isinstance(error, asyncio.CancelledError | GeneratorExit)
        fetch.end = "returned" if error is None else "cancelled" if cancelled else "raised"

    def begin_call(
        self,
        name: str,
        key: str,
        at: float,
        *,
        is_refresh: bool = False,
        loop: object = None,
        inside: Fetch | None = None,
    ) -> Call:
        call = Call(name, key, self.moment(), at, is_refresh, loop, inside)
        self.calls.append(call)
        return call

    def end_call(self, call: Call, result: Any, error: BaseException | None, at: float) -> None:
        call.ended, call.ended_at, call.error = self.moment(), at, error
        if error is None:
            call.result = result
            call.answer = result.number if isinstance(result, Answer) else None
        elif isinstance(error, OriginError):
            call.answer = error.args[0]

    def invalidated(self, key: str, after: int, before: int) -> bool:
        """Whether ``key`` was invalidated between two moments."""
        return any(after < one.at < before and key in one.keys for one in self.invalidations)
