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
import math
import sys
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import ContextVar
from typing import Any, Final

from ..clock import clock
from ..protocols import FlightInfo, FlightTerms, Key, Reserve, Ticket
from ..sharing import Failure, refuse_unshareable
from .counting import End, count_end, count_waits
from .recursion import Waiting
from .table import FlightTable
from .telling import tell_ended, tell_started
from .wording import as_told, cancelled, fetch_timeout, note_of_leader, wait_timeout

logger = logging.getLogger(__name__)

_SAME_MOMENT: Final = 1e-6
"""Seconds by which a timer may ring before the clock says so; what is due within it is due."""

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


@types.coroutine
def _boarding() -> Generator[None, None, None]:
    """Suspend once, whoever drives the coroutine."""
    yield


class PendingRequest:
    """One fetch in the air and all who wait for it. Used on its own loop only, ``info`` and ``send_away`` apart.

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
        inside: the flight in which its leader stands; ``None`` where that is none, and once the task is done.
        joinable_until: the moment after which it is over age.
    """

    __slots__ = (
        "_began",
        "_detached",
        "_held",
        "_leader_left",
        "_look",
        "_patient",
        "_run_timer",
        "_verdict",
        "_wait_timer",
        "callers",
        "decided",
        "given_up",
        "inside",
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
        self, key: Key, terms: FlightTerms, table: FlightTable[PendingRequest], now: float, max_wait: float | None
    ) -> None:
        self.key: Key = key
        self.terms = terms
        self.table = table
        self.ticket: Ticket | None = None
        self.task: asyncio.Task[None] | None = None
        self.leader: asyncio.Future[Any] | None = None
        self.callers: dict[asyncio.Future[Any], float] = {}
        self.waits_for: dict[Waiting, int] | None = None
        self.inside: PendingRequest | None = None
        self.max_wait = max_wait
        self.joinable_until = now + table.max_flight_seconds
        self.started = now  # the slot was taken
        self.running = True
        self.decided = False
        self.given_up = False
        self._began: float | None = None  # the origin was called
        self._detached = False  # it has lost its slot
        self._held = terms.on_abandon == "finish"  # it counts as its own caller
        self._look = terms.look  # what it finds is the answer, unless somebody has joined who wants a new one
        self._patient: set[asyncio.Future[Any]] | None = None  # the callers whose wait is not bounded
        self._leader_left: float | None = None
        self._wait_timer: asyncio.TimerHandle | None = None
        self._run_timer: asyncio.TimerHandle | None = None

    # ---- looking ----

    @property
    def waiters(self) -> int:
        """How many callers wait for it now, the leader apart."""
        return len(self.callers) - (self.leader is not None)

    def may_be_joined(self, now: float) -> bool:
        """Whether a new caller may have its answer: not over age, nothing invalidated, not cancelled at the start."""
        ticket = self.ticket
        return (
            now <= self.joinable_until
            and (ticket is None or ticket.is_good())
            and (self._began is not None or (task := self.task) is None or not task.cancelling())
        )

    def will_run(self) -> bool:
        """Whether its answer is one that the function gives, and not one that another process may have already."""
        return self._began is not None or self.terms.anew or not self.terms.waits_first

    def hold(self) -> None:
        """Have it count as its own caller from now on: it ends although nobody waits for it any more."""
        if not self._held:
            self._held = True
            if self._began is not None or self.terms.waits_first:
                self._bound_what_is_held()

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
        if not self.running:
            return f"<{type(self).__name__} ended>"
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
            task = self._make_task(coroutine)
        except BaseException:
            coroutine.close()
            raise
        if self.running:
            self.task = task

    def _make_task(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        loop = self.table.loop
        if sys.exception() is not None:
            # The leader is handling an exception. To an eager step inside the leader that would be the context of
            # whatever the fetch raises, and other callers would get it with the fetch's failure.
            return asyncio.Task(coroutine, loop=loop, name="coalesce_kit.fetch")
        return loop.create_task(coroutine, name="coalesce_kit.fetch")

    async def _run(self, fetch: Callable[[], Awaitable[object]], reserve: Reserve | None) -> None:
        try:
            await _boarding()
            if self.inside is not None and self.table.detached and self._may_be_in_vain():
                # x → y → x → ...: a fetch that is given up leaves its slot at once and what it waits for a turn later.
                # By then that one would have asked for the free slot: the cancellation would follow it for ever.
                await _boarding()
            current_flight.set(self)
            if self.task is None:  # eager: the caller is still creating it
                self.task = asyncio.current_task()
            result = None if self._look is None else self._look(self.key)
            if result is None:
                if reserve is not None:
                    self.ticket = reserve()
                if self.terms.waits_first:
                    self._stand_by()
                else:
                    self.begin()
                result = await fetch()
                refuse_unshareable(result, name=self.terms.name)
        except BaseException as error:
            if self._fail(error):
                raise
        else:
            self._end(result, None, "returned")

    def _may_be_in_vain(self) -> bool:
        """Whether a fetch that it was begun in, at whatever depth, was given up and is about to stop."""
        outer = self.inside
        while outer is not None and not (outer.given_up and outer.running):
            outer = outer.inside
        return outer is not None

    def _stand_by(self) -> None:
        """Bound every caller, the leader included: what the fetch does first is to wait for another process."""
        if self.max_wait is not None and self._wait_timer is None:
            left = max(self.started + self.max_wait - clock.now(), 0.0)
            self._wait_timer = self._call_later(left, self._let_go, self.max_wait)
        if self._held:
            self._bound_what_is_held()

    def begin(self) -> None:
        """Count and time the fetch from here: the next thing that runs is the origin."""
        terms = self.terms
        if self._run_timer is not None:
            self._run_timer.cancel()
            self._run_timer = None
        self._began = clock.now()
        terms.counters.fetches += 1
        self.table.totals.fetches += 1
        if terms.fetch_timeout_seconds is not None:
            self._run_timer = self._call_later(terms.fetch_timeout_seconds, self._time_out)
        elif self._held:
            self._bound_what_is_held()
        if terms.observers is not None:
            tell_started(terms.observers, terms, self.key, flight=self)

    def _fail(self, error: BaseException) -> bool:
        """End with what the fetch raised; return whether it has to go on from here."""
        if self.table.loop.is_closed():  # the garbage collector closes the coroutine: nobody can be woken
            self.crash()
            return True
        stops_the_loop = isinstance(error, KeyboardInterrupt | SystemExit)
        if stops_the_loop and self.task is not None:
            self.task.add_done_callback(asyncio.Task.exception)  # retrieved: the loop itself raises it
        told = as_told(error, self.describe)
        if told is error:
            self._end(None, error, "failed")
        else:
            told.__cause__ = error
            self._end(None, told, "failed" if isinstance(error, StopIteration) else "cancelled")
        return stops_the_loop

    def _end(self, result: object, error: BaseException | None, end: End) -> None:
        """Bring the fetch to its end; what a fetch that was given up brings is dropped."""
        observers = self.terms.observers
        waiters = 0 if observers is None else max(0, self.waiters)
        if not self.decided:
            self._decide(result, error, end)
        try:
            if observers is not None and self._began is not None:
                if self.given_up:
                    kind, arguments, end = self._verdict
                    error = kind(*arguments)
                tell_ended(
                    observers,
                    self.terms,
                    self.key,
                    flight=self,
                    began=self._began,
                    waiters=waiters,
                    error=error,
                    cancelled=end == "cancelled",
                )
        finally:  # an observer may end the program, and a flight that never lands would be counted for ever
            self._land()

    # ---- the callers ----

    def welcome(self) -> None:
        """Note that a waiter has joined; the first one starts the one timer that serves them all."""
        crowd = len(self.callers) - (self.leader is not None)
        counters, totals = self.terms.counters, self.table.totals
        if crowd > counters.max_concurrent_waiters:
            counters.max_concurrent_waiters = crowd
        if crowd > totals.max_concurrent_waiters:
            totals.max_concurrent_waiters = crowd
        if self._wait_timer is None and self.max_wait is not None:
            self._wait_timer = self._call_later(self.max_wait, self._let_go, self.max_wait)

    def adapt_to(self, terms: FlightTerms, future: asyncio.Future[Any]) -> None:
        """Take over what a waiter asks for who comes under other terms than the leader did."""
        if terms.anew:
            self._look = None
        if terms.patient:
            self._patient = self._patient or set()
            self._patient.add(future)
        if terms.on_abandon == "finish":
            self.hold()

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
            count_waits(self.terms.counters, self.table.totals, [arrived], now)
        if not self.callers and not self._held:
            self._abandon("its last caller has left")

    def _let_go(self, max_wait: float) -> None:
        """Time out the waiters whose time is over; they stand in the order of their deadlines, so wait for the next."""
        now = clock.now()
        due: dict[asyncio.Future[Any], float] = {}
        self._wait_timer = None
        elsewhere = self.terms.waits_first and self._began is None
        unbounded = None if elsewhere and not self.terms.patient else self.leader
        patient = self._patient or ()
        for future, arrived in self.callers.items():
            if future is unbounded or future in patient or future.done():  # done: cancelled, about to leave by itself
                continue
            left = arrived + max_wait - now
            if left > _SAME_MOMENT:
                self._wait_timer = self._call_later(left, self._let_go, max_wait)
                break
            due[future] = arrived
        if not due:
            return
        for future in due:
            del self.callers[future]
        expired = len(due)
        for counters in (self.terms.counters, self.table.totals):
            counters.wait_timeouts += expired
        waits = [arrived for future, arrived in due.items() if future is not self.leader]
        if self.leader in due:
            self.leader, self._leader_left = None, now
        if waits:
            count_waits(self.terms.counters, self.table.totals, waits, now)
        last = not self.callers and not self._held
        key, age = self.describe(), now - self.started
        for future, arrived in due.items():
            error = wait_timeout(key, waited=now - arrived, age=age, last=last, elsewhere=elsewhere)
            future.set_result(Failure(error, shared=False))
        if last:
            self._abandon("its last caller waited longer than max_wait_seconds")

    # ---- deciding ----

    def send_away(self) -> bool:
        """Have later callers lead anew; return whether they would have joined. Any thread.

        Only marks the flight: the next caller detaches it, on its own loop.
        """
        joinable = self.info().joinable
        self.joinable_until = -math.inf
        return joinable

    def detach(self) -> None:
        """Take the slot away: the callers stay and get their answer, later ones lead anew."""
        if self.running and not self._detached:
            self._leave_slot()
            self._detached = True
            self.table.detached.add(self)

    def _leave_slot(self) -> None:
        pending = self.table.pending
        try:
            if pending.get(self.key) is self:
                del pending[self.key]
        except Exception:  # a key whose own __hash__ or __eq__ raises by now; the next caller takes the slot from us
            logger.debug("slot_not_left", exc_info=True)

    def give_up(self, error: BaseException, reason: str, end: End = "cancelled") -> None:
        """Answer all callers with ``error`` at once, and tell the task to stop."""
        if not self.decided:
            self.detach()
            self.given_up = True
            # For observers, who hear of it when it has stopped: the error itself leads to callers who were given it.
            self._verdict: tuple[type[BaseException], tuple[object, ...], End] = type(error), error.args, end
            self._decide(None, error, end)
            if self.task is not None:
                self.task.cancel(reason)

    def crash(self) -> None:
        """Forget the flight of a loop that was closed under it: nobody can be woken any more."""
        if self.running:
            self.detach()
            self.decided = True
            self.callers.clear()
            self._land()

    def _abandon(self, reason: str) -> None:
        for counters in (self.terms.counters, self.table.totals):
            counters.abandoned_fetches += 1
        self.give_up(cancelled(self.describe(), reason), reason)

    def _time_out(self) -> None:
        limit = self.terms.fetch_timeout_seconds or 0.0
        self.give_up(fetch_timeout(self.describe(), limit), "fetch_timeout_seconds is over", end="timed out")

    def _bound_what_is_held(self) -> None:
        if self._run_timer is None:  # else this was done, or fetch_timeout_seconds bounds it
            left = max(self.started + self.table.max_flight_seconds - clock.now(), 0.0)
            self._run_timer = self._call_later(left, self._stop_holding)

    def _stop_holding(self) -> None:
        """A flight that nobody needs is held to ``max_flight_seconds``; callers who still wait keep it beyond."""
        self._held = False
        if not self.callers:
            self._abandon("nobody waits for it, and max_flight_seconds is over")

    def _decide(self, result: object, error: BaseException | None, end: End) -> None:
        """Retire the slot, then hand the outcome to every caller. The value was published before, inside the fetch."""
        self.decided = True
        now = clock.now()
        callers, self.callers = self.callers, {}
        if self._wait_timer is not None:
            self._wait_timer.cancel()
        if self._run_timer is not None:
            self._run_timer.cancel()
        waiters = len(callers) - (self.leader is not None)
        if not self._detached:
            self._leave_slot()
        if self._began is not None:
            count_end(self.terms, self.table.totals, now - self._began, end, self.max_wait)
        if waiters:
            count_waits(self.terms.counters, self.table.totals, [*callers.values()][-waiters:], now)
        outcome = result if error is None else self._failure(error, now, waiters)
        self.leader = None
        for future in callers:
            if not future.done():
                future.set_result(outcome)

    def _failure(self, error: BaseException, now: float, waiters: int) -> Failure:
        names = self.terms.outside_key
        left = self._leader_left
        note = None if left is None or not names else note_of_leader(names, now - left)
        failure = Failure(error, shared=waiters > 0, note=note)
        as_is = 0 if failure.can_be_twinned else waiters
        for counters in (self.terms.counters, self.table.totals):
            counters.error_fanout += waiters
            counters.errors_shared_as_is += as_is
        return failure

    def _land(self) -> None:
        """The task is done: drop what hangs on it, as a context that outlives the fetch may still name this flight."""
        self.running = False
        self.joinable_until = -math.inf
        self.task = self.key = self.ticket = self.waits_for = self.inside = self._patient = None
        if self._detached:
            self.table.detached.discard(self)
        self.table.totals.in_flight -= 1
        self.terms.counters.in_flight -= 1  # the last number to move: a function that is gone is settled when it is 0

    def _call_later(self, seconds: float, callback: Callable[..., None], *args: object) -> asyncio.TimerHandle:
        return self.table.loop.call_later(seconds, callback, *args, context=self.table.context)
