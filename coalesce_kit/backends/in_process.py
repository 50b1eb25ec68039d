"""Single flight in this process: callers who ask for the same key at the same moment share one fetch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from ..clock import clock
from ..durations import Duration, to_seconds, to_seconds_or_none
from ..errors import CoalescerClosedError, ConfigurationError, FetchCancelledError, RecursiveFetchError
from ..protocols import INHERIT, CloseReport, FlightInfo, FlightTerms, Key, OnAbandon, Reserve
from ..sharing import Failure
from ..stats.counters import CoalescerStats, Counters, Gauges
from ..stats.observer import Observer, Observers, WaiterJoined, WaiterLeft
from .flight import FlightTable, PendingRequest, current_flight, detached_context
from .recursion import stop_waiting, wait_inside

__all__ = ["PendingRequest", "RequestCoalescer", "detached_context"]

R = TypeVar("R")

_CUT_GRACE_SECONDS: Final = 1.0
"""How long closing waits for fetches that it has cancelled; one that takes longer ignores its cancellation."""


class RequestCoalescer:
    """Shares one run of a fetch among all who ask for its key while it runs. Nothing is kept afterwards.

    The fetch runs in a task of its own and belongs to no caller: whoever leaves, the others get their answer; when the
    last has left, the fetch is cancelled. Example::

        coalescer = RequestCoalescer()
        fixtures = await coalescer.get_or_fetch("fixtures:nfl", lambda: fetch_fixtures("nfl"))

    Args:
        max_wait_seconds: the longest that one caller waits for a fetch begun by another; ``None`` without limit. The
            caller who began it is not bounded.
        max_flight_seconds: the age from which on a fetch in flight is not joined any more: it keeps its callers, and
            the next caller leads a new one.
        fetch_timeout_seconds: the longest run of a fetch; ``None`` without limit.
        on_abandon: ``"cancel"`` the fetch when its last caller leaves, or let it ``"finish"``, held to
            ``fetch_timeout_seconds`` or, without one, to ``max_flight_seconds``.
        observers: told of fetches and waiters of the calls that bring no terms of their own.

    Raises:
        ConfigurationError: a duration is not greater than 0, or ``on_abandon`` is another word.

    Concurrency:
        One coalescer may serve any number of event loops in any number of threads, each with flights of its own.
    """

    def __init__(
        self,
        *,
        max_wait_seconds: Duration | None = 5.0,
        max_flight_seconds: Duration = 60.0,
        fetch_timeout_seconds: Duration | None = None,
        on_abandon: OnAbandon = "cancel",
        observers: Iterable[Observer] = (),
    ) -> None:
        if on_abandon not in ("cancel", "finish"):
            raise ConfigurationError(f'on_abandon must be "cancel" or "finish", not {on_abandon!r}')
        self.max_wait_seconds: Final = to_seconds_or_none(max_wait_seconds, name="max_wait_seconds")
        self.max_flight_seconds: Final = to_seconds(max_flight_seconds, name="max_flight_seconds")
        self._terms: Final = FlightTerms(
            fetch_timeout_seconds=to_seconds_or_none(fetch_timeout_seconds, name="fetch_timeout_seconds"),
            on_abandon=on_abandon,
            observers=Observers.of(observers),
        )
        self._totals: Final = Counters()
        self._tables: Final[dict[asyncio.AbstractEventLoop, FlightTable]] = {}

    # ---- asking ----

    async def get_or_fetch(
        self,
        cache_key: Key,
        fetch_fn: Callable[[], Awaitable[R]],
        *,
        reserve: Reserve | None = None,
        terms: FlightTerms | None = None,
    ) -> R:
        """Return what ``fetch_fn()`` returns, sharing one run of it among all who ask for ``cache_key`` meanwhile.

        Args:
            cache_key: what is asked for; anything hashable.
            fetch_fn: called without arguments, only if no fetch of the key is in flight.
            reserve: called right before ``fetch_fn``, in the same step; returns the ticket that says whether the
                flight may still be joined.
            terms: limits, counters and observers of the function that asks; the coalescer's own without.

        Raises:
            WaitTimeoutError: this caller waited longer than ``max_wait_seconds`` for a fetch begun by another.
            FetchTimeoutError: the fetch ran longer than ``fetch_timeout_seconds``.
            FetchCancelledError: the fetch was cancelled although this caller was not.
            RecursiveFetchError: the call stands inside a fetch that it would wait for.
            UnshareableResultError: the result can be used only once.
            CoalescerClosedError: ``aclose()`` was called on this loop.
            Exception: whatever the fetch raised; the caller who began it gets the original, everybody else a twin.

        Cancellation:
            Ends this caller's wait and nobody else's. The fetch is cancelled with its last caller.
        """
        loop = asyncio.get_running_loop()
        table = self._tables.get(loop) or self._open(loop)
        if terms is None:
            terms = self._terms
        inside = current_flight.get()
        if inside is not None and not (inside.running and inside.table.loop is loop):
            inside = None  # a task that outlived its fetch is free, and what another loop waits for is not known here
        now = clock.now()
        try:
            if table.closed:
                _refuse_unless_draining(inside, table, terms, cache_key)
            flight = table.pending.get(cache_key)
            if flight is not None and not flight.may_be_joined(now):
                flight.detach()
                flight = None
            leads = flight is None
            if flight is None:
                max_wait = self.max_wait_seconds if terms.max_wait_seconds is INHERIT else terms.max_wait_seconds
                flight = PendingRequest(cache_key, terms, table, now, max_wait, self.max_flight_seconds)
                table.pending[cache_key] = flight
            if inside is not None:
                wait_inside(inside, flight)
        except Exception as refusal:
            self._count_rejected(terms, refusal)
            raise
        # From here on the call is decided and counted; the slot, the edge and the caller stand before the task exists.
        future: asyncio.Future[Any] = loop.create_future()
        flight.callers[future] = now
        watched = None if leads else terms.observers
        try:
            if leads:
                terms.counters.led_requests += 1
                self._totals.led_requests += 1
                flight.leader = future
                flight.take_off(fetch_fn, reserve)
            else:
                terms.counters.coalesced_requests += 1
                self._totals.coalesced_requests += 1
                flight.welcome()
                if watched is not None:
                    _tell_joined(watched, flight, now)
            outcome = await future
        except BaseException as error:
            flight.leave(future)
            if watched is not None:
                _tell_left(watched, terms, cache_key, now, error)
            raise
        finally:
            if inside is not None:
                stop_waiting(inside, flight)
        failure = None
        if outcome.__class__ is Failure:
            failure = outcome.original() if leads else outcome.twin()
        if watched is not None:
            _tell_left(watched, terms, cache_key, now, failure)
        if failure is not None:
            try:
                raise failure
            finally:
                del failure, outcome, future, flight  # all lead to the error, and its traceback leads here
        answer: R = outcome
        return answer

    # ---- looking ----

    @property
    def _pending(self) -> dict[Key, PendingRequest]:
        """The flights that hold a slot: the running loop's own table; outside a loop a merged copy of all."""
        try:
            table = self._tables.get(asyncio.get_running_loop())
        except RuntimeError:
            merged: dict[Key, PendingRequest] = {}
            for table in self._open_tables():
                merged.update(table.pending)
            return merged
        return {} if table is None else table.pending

    @property
    def pending_keys(self) -> tuple[Key, ...]:
        """The keys with a fetch in flight, on the running loop; outside a loop on all of them."""
        return tuple(self._pending)

    def flights(self) -> tuple[FlightInfo, ...]:
        """Return every fetch in the air, of every loop, detached ones and zombies included. Any thread."""
        return tuple(flight.info() for table in self._open_tables() for flight in table.flights() if flight.running)

    def statistics(self) -> CoalescerStats:
        """Return the numbers of every call that reached this coalescer, whatever function made it. Any thread."""
        flights = self.flights()
        return self._totals.snapshot(
            type(self).__name__,
            Gauges(
                waiters=sum(flight.waiters for flight in flights),
                oldest_flight_seconds=max((flight.age_seconds for flight in flights), default=0.0),
                zombies=sum(flight.zombie for flight in flights),
                pending_keys=sum(flight.joinable for flight in flights),
            ),
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} in flight: {len(self.flights())}, max_wait_seconds={self.max_wait_seconds}>"

    # ---- ending ----

    def forget(self, cache_key: Key) -> bool:
        """Detach the fetch of ``cache_key`` in flight, if any: it keeps its callers, the next caller leads anew.

        Acts on the running loop's flight; outside a loop, on every loop's. Returns whether there was one.
        """
        flights = [self._pending.get(cache_key)]
        if _running_loop() is None:
            flights = [table.pending.get(cache_key) for table in self._open_tables()]
        for flight in flights:
            if flight is not None:
                flight.detach()
        return any(flight is not None for flight in flights)

    async def drain(self, *, deadline_seconds: Duration = 10.0) -> CloseReport:
        """Let the running loop's fetches end, cancel those that have not by the deadline, and report both.

        Calls are accepted all the while. A fetch that ignores its cancellation is left behind as a zombie; its callers
        have got ``FetchCancelledError`` by then.

        Cancellation:
            Stops the waiting; fetches that run then go on.
        """
        table = self._tables.get(asyncio.get_running_loop())
        if table is None:
            return CloseReport(0)
        reason = f"drained: it had not ended within {to_seconds(deadline_seconds, name='deadline_seconds', zero=True):g} s"
        finished, unfinished = await _drain(table, to_seconds(deadline_seconds, name="deadline_seconds", zero=True))
        return CloseReport(finished, await _cut(unfinished, reason))

    async def aclose(self, *, deadline_seconds: Duration = 10.0) -> CloseReport:
        """Close the coalescer for the running loop: refuse new calls, drain to the deadline, cancel the rest.

        What a fetch that is being drained asks for is still answered, so that it can end. Closing twice is harmless.
        Other loops are not touched.

        Cancellation:
            Stops the waiting; the coalescer stays closed, fetches that run then go on.
        """
        self._drop_closed_loops()
        loop = asyncio.get_running_loop()
        table = self._tables.get(loop) or self._open(loop)
        table.closed = True
        return await self.drain(deadline_seconds=deadline_seconds)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    # ---- within ----

    def _count_rejected(self, terms: FlightTerms, refusal: Exception) -> None:
        recursions = int(isinstance(refusal, RecursiveFetchError))
        for counters in (terms.counters, self._totals):
            counters.rejected_requests += 1
            counters.recursions_refused += recursions

    def _open(self, loop: asyncio.AbstractEventLoop) -> FlightTable:
        """Make the table of a loop that is seen for the first time, and drop those of the loops that are gone.

        A weak map would never free them: flight → task → loop.
        """
        self._drop_closed_loops()
        return self._tables.setdefault(loop, FlightTable(loop, self._totals))

    def _open_tables(self) -> list[FlightTable]:
        return [table for table in list(self._tables.values()) if not table.loop.is_closed()]

    def _drop_closed_loops(self) -> None:
        for loop in list(self._tables):
            if loop.is_closed():
                table = self._tables.pop(loop, None)
                for flight in table.flights() if table is not None else ():
                    flight.crash()


def _refuse_unless_draining(
    inside: PendingRequest | None, table: FlightTable, terms: FlightTerms, key: Key
) -> None:
    if inside is None or inside.table is not table or inside.given_up:
        raise CoalescerClosedError(
            f"the coalescer is closed on this event loop, so '{terms.describe(key)}' is not fetched; "
            "close it when no call can come any more, or make a new one"
        )


async def _drain(table: FlightTable, seconds: float) -> tuple[int, list[PendingRequest]]:
    """Wait for the table's flights; return how many ended, and those that had not when the time was over."""
    deadline = clock.now() + seconds
    myself = current_flight.get()
    finished = 0
    while True:
        flights = [flight for flight in table.flights() if flight is not myself]
        tasks = [flight.task for flight in flights if flight.task is not None]
        left = deadline - clock.now()
        if not tasks or left <= 0:
            return finished, flights
        done, _ = await asyncio.wait(tasks, timeout=left)
        finished += len(done)


async def _cut(flights: list[PendingRequest], reason: str) -> tuple[str, ...]:
    cut = tuple(flight.describe() for flight in flights)
    tasks = [flight.task for flight in flights if flight.task is not None]
    for flight in flights:
        flight.give_up(FetchCancelledError(f"the fetch of '{flight.describe()}' was cancelled: {reason}"), reason)
    if tasks:
        await asyncio.wait(tasks, timeout=_CUT_GRACE_SECONDS)
    return cut


def _tell_joined(observers: Observers, flight: PendingRequest, now: float) -> None:
    observers.waiter_joined(
        WaiterJoined(
            function=flight.terms.name,
            key=flight.key,
            describe=flight.terms.describe,
            waiters=flight.waiters,
            flight_age_seconds=now - flight.started,
        )
    )


def _tell_left(
    observers: Observers, terms: FlightTerms, key: Key, arrived: float, error: BaseException | None
) -> None:
    waited = clock.now() - arrived
    observers.waiter_left(
        WaiterLeft(function=terms.name, key=key, describe=terms.describe, waited_seconds=waited, error=error)
    )


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
