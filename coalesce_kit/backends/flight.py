"""One fetch in the air: the task that runs it, the callers who wait for it, and how both come to an end.

The flight belongs to no caller. Every caller waits on a private future of its own, which its own cancellation may end
without touching the task. A value or a failure is handed over as the future's *result*, never as its exception, so that
a caller who leaves in the same tick leaves no "exception was never retrieved" behind.

Source: the reference-counted flight of .NET's HybridCache and of async-lru, with removal by identity instead of by key.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import ContextVar
from typing import Any, Final, Literal, TypeAlias

from ..clock import clock
from ..errors import FetchCancelledError, FetchTimeoutError, WaitTimeoutError
from ..protocols import FlightInfo, FlightTerms, Key, Reserve, Ticket
from ..sharing import Failure, refuse_unshareable
from ..stats.counters import Counters
from ..stats.latency import bucket_of
from ..stats.observer import FetchEnded, FetchStarted
from .recursion import Waiting

logger = logging.getLogger(__name__)

_SAME_MOMENT: Final = 1e-6
"""Seconds by which a timer may ring before the clock says so; what is due within it is due."""

End: TypeAlias = Literal["returned", "failed", "cancelled", "timed out"]
"""How a fetch ended, as its callers see it."""

current_flight: Final[ContextVar[PendingRequest | None]] = ContextVar("coalesce_kit_flight", default=None)
"""The flight that a context was made for; ``None`` outside any."""


def detached_context() -> contextvars.Context:
    """Return a copy of the current context that belongs to no flight.

    A task that a fetch starts counts as a part of that fetch: if it asks for the fetch's own key while the fetch runs,
    it gets ``RecursiveFetchError``. Started with this context, it is a caller like any other::

        asyncio.create_task(warm_up(), context=detached_context())
    """
    context = contextvars.copy_context()
    context.run(current_flight.set, None)
    return context


class FlightTable:
    """The flights of one coalescer on one event loop. Written on that loop's thread, ``forget`` apart.

    Attributes:
        loop: the event loop they run on.
        totals: where the coalescer counts, whatever the function.
        pending: the flight that holds each key's slot.
        detached: flights that run without a slot: over age, forgotten, or given up and not yet stopped.
        closed: no new call is accepted.
        context: what timers run in; empty, so that a cancelled timer keeps no caller's context alive.
    """

    __slots__ = ("closed", "context", "detached", "loop", "pending", "totals")

    def __init__(self, loop: asyncio.AbstractEventLoop, totals: Counters) -> None:
        self.loop = loop
        self.totals = totals
        self.pending: dict[Key, PendingRequest] = {}
        self.detached: set[PendingRequest] = set()
        self.closed = False
        self.context = contextvars.Context()

    def flights(self) -> list[PendingRequest]:
        """Every flight whose task is not done. Any thread."""
        return [*self.pending.values(), *self.detached]


@types.coroutine
def _boarding() -> Generator[None, None, None]:
    """Suspend once, whoever drives the coroutine."""
    yield


class PendingRequest:
    """One fetch in the air and all who wait for it. Used on its own loop only, ``info`` and ``detach`` apart.

    It is *decided* when its callers have their answer or none is left, *given up* when that happened before the fetch
    ended, and *running* until its task is done. A flight that is given up and still running is a zombie.

    Attributes:
        key: what it was begun under.
        terms: limits, counters and observers of the function.
        ticket: taken in the task's first step; ``None`` before, or when nobody asked for one.
        task: runs the fetch; ``None`` once it is done.
        leader: the future of the caller who began it; ``None`` once that caller has left.
        callers: each caller's private future and when it arrived, in that order; emptied when the flight is decided.
        waits_for: the flights that are waited for inside this one, and by how many.
        joinable_until: the moment after which it is over age.
    """

    __slots__ = (
        "_began",
        "_decided",
        "_detached",
        "_held",
        "_leader_left",
        "_run_timer",
        "_wait_timer",
        "callers",
        "given_up",
        "joinable_until",
        "key",
        "leader",
        "max_wait",
        "running",
        "started",
        "table",
        "task",
        "terms",
        "ticket",
        "waits_for",
    )

    def __init__(
        self, key: Key, terms: FlightTerms, table: FlightTable, now: float, max_wait: float | None, max_flight: float
    ) -> None:
        self.key: Key = key
        self.terms = terms
        self.table = table
        self.ticket: Ticket | None = None
        self.task: asyncio.Task[None] | None = None
        self.leader: asyncio.Future[Any] | None = None
        self.callers: dict[asyncio.Future[Any], float] = {}
        self.waits_for: dict[Waiting, int] | None = None
        self.max_wait = max_wait
        self.joinable_until = now + max_flight
        self.started = now  # the slot was taken
        self.running = True
        self.given_up = False
        self._began: float | None = None  # the origin was called
        self._decided = False
        self._detached = False  # it has lost its slot
        self._held = terms.on_abandon == "finish"  # it counts as its own caller
        self._leader_left: float | None = None
        self._wait_timer: asyncio.TimerHandle | None = None
        self._run_timer: asyncio.TimerHandle | None = None

    # ---- looking ----

    @property
    def waiters(self) -> int:
        """How many callers wait for it now, the leader apart."""
        return len(self.callers) - (self.leader is not None)

    def may_be_joined(self, now: float) -> bool:
        """Whether a new caller may have its answer: not over age, nothing invalidated, no task cancelled at the start."""
        ticket = self.ticket
        return (
            now <= self.joinable_until
            and (ticket is None or ticket.is_good())
            and (self._began is not None or self.task is None or not self.task.cancelling())
        )

    def describe(self) -> str:
        """Return the key as people read it."""
        return self.terms.describe(self.key)

    def info(self) -> FlightInfo:
        """Return what can be seen of it from outside. Any thread."""
        now = clock.now()
        ticket = self.ticket
        return FlightInfo(
            key=self.key,
            age_seconds=now - self.started,
            waiters=max(0, self.waiters),
            zombie=self.given_up,
            joinable=not self._detached and self.may_be_joined(now),
            good=ticket is None or ticket.is_good(),
        )

    def __repr__(self) -> str:
        state = "given up" if self.given_up else "detached" if self._detached else "in flight"
        age = clock.now() - self.started
        return f"<{type(self).__name__} '{self.describe()}' {state} for {age:.3f} s, waiters={max(0, self.waiters)}>"

    # ---- the fetch ----

    def take_off(self, fetch: Callable[[], Awaitable[object]], reserve: Reserve | None) -> None:
        """Start the task. The slot is taken and the leader waits already: an eager task runs its first step in here."""
        self.terms.counters.in_flight += 1
        self.table.totals.in_flight += 1
        coroutine = self._run(fetch, reserve)
        # Up to its first suspension, inside its try: a task that is cancelled before its first step would never enter
        # the coroutine, no `except` in there would run, and the callers would hang.
        coroutine.send(None)
        try:
            task = self.table.loop.create_task(coroutine, name="coalesce_kit.fetch")
        except BaseException:
            coroutine.close()
            raise
        if self.running:
            self.task = task

    async def _run(self, fetch: Callable[[], Awaitable[object]], reserve: Reserve | None) -> None:
        try:
            await _boarding()
            current_flight.set(self)
            if self.task is None:  # eager: the caller is still creating it
                self.task = asyncio.current_task()
            if reserve is not None:
                self.ticket = reserve()
            self._begin()
            result = await fetch()
            refuse_unshareable(result, name=self.terms.name)
        except BaseException as error:
            if self._fail(error):
                raise
        else:
            self._end(result, None, "returned")

    def _begin(self) -> None:
        """Count and time the fetch from here: the next thing that runs is the origin."""
        terms = self.terms
        self._began = clock.now()
        terms.counters.fetches += 1
        self.table.totals.fetches += 1
        if terms.fetch_timeout_seconds is not None:
            self._run_timer = self._call_later(terms.fetch_timeout_seconds, self._time_out)
        elif self._held:
            self._run_timer = self._call_later(self.joinable_until - self._began, self._stop_holding)
        if terms.observers is not None:
            terms.observers.fetch_started(FetchStarted(function=terms.name, key=self.key, describe=terms.describe))

    def _fail(self, error: BaseException) -> bool:
        """End with what the fetch raised; return whether it has to go on from here.

        A ``CancelledError`` that a caller did not ask for makes a ``TaskGroup`` finish as if nothing had happened, and
        ``KeyboardInterrupt`` raised from a waiter would stop the loop twice: callers get ``FetchCancelledError``.
        """
        if isinstance(error, GeneratorExit) and self.table.loop.is_closed():
            self.crash()
            return True
        stops_the_loop = isinstance(error, KeyboardInterrupt | SystemExit)
        if stops_the_loop:
            task = asyncio.current_task()
            if task is not None:
                task.add_done_callback(asyncio.Task.exception)  # retrieved: the loop itself raises it
        cancelled = stops_the_loop or isinstance(error, asyncio.CancelledError | GeneratorExit)
        told = error
        if cancelled:
            told = FetchCancelledError(
                f"the fetch of '{self.describe()}' ended in {type(error).__name__}, which none of its callers asked for"
            )
        elif isinstance(error, StopIteration):
            told = RuntimeError(f"the fetch of '{self.describe()}' raised StopIteration")
        if told is not error:
            told.__cause__ = error
        self._end(None, told, "cancelled" if cancelled else "failed")
        return stops_the_loop

    def _end(self, result: object, error: BaseException | None, end: End) -> None:
        """Bring the fetch to its end; what a fetch that was given up brings is dropped."""
        observers = self.terms.observers
        waiters = 0 if observers is None else max(0, self.waiters)
        if not self._decided:
            self._decide(result, error, end)
        if observers is not None and self._began is not None:
            observers.fetch_ended(
                FetchEnded(
                    function=self.terms.name,
                    key=self.key,
                    describe=self.terms.describe,
                    elapsed_seconds=clock.now() - self._began,
                    waiters=waiters,
                    error=error,
                )
            )
        self._land()

    # ---- the callers ----

    def leave(self, future: asyncio.Future[Any]) -> None:
        """Let a caller go who does not wait any longer; the last one to go takes the fetch along."""
        arrived = self.callers.pop(future, None)
        if arrived is None or self.table.loop.is_closed():
            return
        now = clock.now()
        if future is self.leader:
            self.leader = None
            self._leader_left = now
        else:
            self._count_waits([arrived], now)
        if not self.callers and not self._held:
            self._abandon("its last caller has left")

    def welcome(self) -> None:
        """Note that a waiter has joined; the first one starts the one timer that serves them all."""
        crowd = len(self.callers) - (self.leader is not None)
        if crowd > self.terms.counters.max_concurrent_waiters:
            self.terms.counters.max_concurrent_waiters = crowd
        if crowd > self.table.totals.max_concurrent_waiters:
            self.table.totals.max_concurrent_waiters = crowd
        if self._wait_timer is None and self.max_wait is not None:
            self._wait_timer = self._call_later(self.max_wait, self._let_go, self.max_wait)

    def _let_go(self, max_wait: float) -> None:
        """Time out the waiters whose time is over; as they stand in the order of their deadlines, wait for the next's."""
        now = clock.now()
        due: dict[asyncio.Future[Any], float] = {}
        self._wait_timer = None
        for future, arrived in self.callers.items():
            if future is self.leader or future.done():  # done here means cancelled: it is about to leave by itself
                continue
            left = arrived + max_wait - now
            if left > _SAME_MOMENT:
                self._wait_timer = self._call_later(left, self._let_go, max_wait)
                break
            due[future] = arrived
        for future in due:
            del self.callers[future]
        if due:
            expired = len(due)
            for counters in (self.terms.counters, self.table.totals):
                counters.wait_timeouts += expired
            self._count_waits([*due.values()], now)
        last = not self.callers and not self._held
        for future, arrived in due.items():
            future.set_result(Failure(self._wait_timeout(now - arrived, now, last=last), shared=False))
        if last:
            self._abandon("its last caller waited longer than max_wait_seconds")

    def _wait_timeout(self, waited: float, now: float, *, last: bool) -> WaitTimeoutError:
        fate = (
            "which was cancelled with you, its last caller"
            if last
            else "which goes on; raise max_wait_seconds above the function's normal time, or None"
        )
        return WaitTimeoutError(
            f"waited {waited:.1f} s for '{self.describe()}', which another caller began {now - self.started:.1f} s ago"
            f" and {fate}"
        )

    # ---- deciding ----

    def detach(self) -> None:
        """Take the slot away: the callers stay and get their answer, later ones lead anew. Any thread."""
        if not self._detached:
            self._detached = True
            self.table.detached.add(self)
            if self.table.pending.get(self.key) is self:
                self.table.pending.pop(self.key, None)

    def give_up(self, error: BaseException, reason: str, end: End = "cancelled") -> None:
        """Answer all callers with ``error`` at once, and tell the task to stop."""
        if not self._decided:
            self.detach()
            self.given_up = True
            self._decide(None, error, end)
            if self.task is not None:
                self.task.cancel(reason)

    def crash(self) -> None:
        """Forget the flight of a loop that was closed under it: nobody can be woken any more."""
        if self.running:
            self.detach()
            self._decided = True
            self.callers.clear()
            self._land()

    def _abandon(self, reason: str) -> None:
        for counters in (self.terms.counters, self.table.totals):
            counters.abandoned_fetches += 1
        self.give_up(FetchCancelledError(f"the fetch of '{self.describe()}' was cancelled: {reason}"), reason)

    def _time_out(self) -> None:
        limit = self.terms.fetch_timeout_seconds
        self.give_up(
            FetchTimeoutError(
                f"the fetch of '{self.describe()}' ran longer than fetch_timeout_seconds={limit:g} and was cancelled"
            ),
            "fetch_timeout_seconds is over",
            end="timed out",
        )

    def _stop_holding(self) -> None:
        """A flight that nobody needs is held to ``max_flight_seconds``; callers who still wait keep it beyond."""
        self._held = False
        if not self.callers:
            self._abandon("nobody waits for it, and max_flight_seconds is over")

    def _decide(self, result: object, error: BaseException | None, end: End) -> None:
        """Retire the slot, then hand the outcome to every caller. The value was published before, inside the fetch."""
        self._decided = True
        now = clock.now()
        callers, self.callers = self.callers, {}
        if self._wait_timer is not None:
            self._wait_timer.cancel()
        if self._run_timer is not None:
            self._run_timer.cancel()
        waiters = len(callers) - (self.leader is not None)
        outcome = result if error is None else self._failure(error, now, waiters)
        try:
            if not self._detached and self.table.pending.get(self.key) is self:
                del self.table.pending[self.key]
            if self._began is not None:
                self._count_end(now - self._began, end)
            if waiters:
                self._count_waits([*callers.values()][-waiters:], now)
        finally:  # whatever a key's own __hash__ or __eq__ does, nobody is left waiting
            self.leader = None
            for future in callers:
                if not future.done():
                    future.set_result(outcome)

    def _failure(self, error: BaseException, now: float, waiters: int) -> Failure:
        names = self.terms.outside_key
        if self._leader_left is not None and names:
            theirs = ", ".join(f"'{name}'" for name in names)
            error.add_note(
                f"led by a caller who left {now - self._leader_left:.2f} s earlier; "
                f"{theirs} {'was' if len(names) == 1 else 'were'} theirs: open it inside the function"
            )
        failure = Failure(error, shared=waiters > 0)
        as_is = 0 if failure.can_be_twinned else waiters
        for counters in (self.terms.counters, self.table.totals):
            counters.error_fanout += waiters
            counters.errors_shared_as_is += as_is
        return failure

    def _land(self) -> None:
        """The task is done: drop what hangs on it, as a context that outlives the fetch may still name this flight."""
        self.running = False
        self.task = self.key = self.waits_for = None
        if self._detached:
            self.table.detached.discard(self)
        self.table.totals.in_flight -= 1
        self.terms.counters.in_flight -= 1  # the last number to move: a function that is gone is settled when it is 0

    def _call_later(self, seconds: float, callback: Callable[..., None], *args: object) -> asyncio.TimerHandle:
        return self.table.loop.call_later(seconds, callback, *args, context=self.table.context)

    # ---- counting: once for the function, once for the coalescer ----

    def _count_waits(self, arrivals: list[float], now: float) -> None:
        seconds = len(arrivals) * now - sum(arrivals)
        for counters in (self.terms.counters, self.table.totals):
            counters.wait_seconds_total += seconds
            counters.wait_latency.record_since(arrivals, now)

    def _count_end(self, seconds: float, end: End) -> None:
        function, totals = self.terms.counters, self.table.totals
        bucket = bucket_of(seconds)
        function.fetch_seconds_total += seconds
        totals.fetch_seconds_total += seconds
        function.fetch_latency.buckets[bucket] += 1
        totals.fetch_latency.buckets[bucket] += 1
        if end != "returned":
            failed, cancelled, timed_out = end == "failed", end == "cancelled", end == "timed out"
            for counters in (function, totals):
                counters.fetch_errors += failed
                counters.fetch_cancelled += cancelled
                counters.fetch_timeouts += timed_out
        if self.max_wait is not None and seconds > self.max_wait:
            self._count_slow(seconds, self.max_wait)

    def _count_slow(self, seconds: float, max_wait: float) -> None:
        name = self.terms.name
        if self.terms.counters.slow_fetches == 0:
            logger.warning(
                "slow_fetch: a fetch of %s ran for %.1f s and max_wait_seconds is %g: alone a caller gets its answer, in a"
                " crowd the others get WaitTimeoutError; raise max_wait_seconds above the function's normal time, or None",
                name,
                seconds,
                max_wait,
                extra={"function": name, "seconds": seconds, "max_wait_seconds": max_wait},
            )
        for counters in (self.terms.counters, self.table.totals):
            counters.slow_fetches += 1
