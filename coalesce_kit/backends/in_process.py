"""Single flight in this process: callers who ask for the same key at the same moment share one fetch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from ..clock import clock
from ..durations import Duration, to_seconds, to_seconds_or_none
from ..errors import ConfigurationError, RecursiveFetchError
from ..protocols import INHERIT, CloseReport, FlightInfo, FlightTerms, Key, OnAbandon, Reserve
from ..sharing import Failure, keep_context
from ..stats.counters import CoalescerStats, Counters, Gauges
from ..stats.observer import Observer, Observers
from .closing import cut, drain, refuse_unless_draining
from .flight import PendingRequest, current_flight, detached_context
from .recursion import stop_waiting, wait_inside
from .table import FlightTable
from .telling import tell_joined, tell_left

__all__ = ["PendingRequest", "RequestCoalescer", "detached_context"]

R = TypeVar("R")


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
        self._tables: Final[dict[asyncio.AbstractEventLoop, FlightTable[PendingRequest]]] = {}

    # ---- asking ----

    async def get_or_fetch(  # noqa: PLR0912  # a frame in between would cost every waiter
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
            flight, leads = self._flight_for(cache_key, terms, table, inside, now)
        except Exception as refusal:
            self._count_rejected(terms, refusal)
            raise
        # From here on the call is decided and counted; the slot, the edge and the caller stand before the task exists.
        future: asyncio.Future[Any] = loop.create_future()
        flight.callers[future] = now
        watched = None if leads else terms.observers
        try:
            if leads:
                if not terms.refresh:
                    terms.counters.led_requests += 1
                    self._totals.led_requests += 1
                flight.leader = future
                flight.take_off(fetch_fn, reserve)
            else:
                del fetch_fn, reserve  # nobody will call them; they would weigh on every waiter for as long as it waits
                if not terms.refresh:
                    terms.counters.coalesced_requests += 1
                    self._totals.coalesced_requests += 1
                flight.welcome()
                if terms is not flight.terms:
                    flight.adapt_to(terms, future)
                if watched is not None:
                    age = now - flight.started
                    tell_joined(
                        watched,
                        flight.terms,
                        flight.key,
                        flight=flight,
                        waiter=future,
                        waiters=flight.waiters,
                        age_seconds=age,
                    )
            outcome = await future
        except BaseException as error:
            flight.leave(future)
            if watched is not None:
                tell_left(watched, terms, cache_key, flight=flight, waiter=future, arrived=now, error=error)
            raise
        finally:
            if inside is not None:
                stop_waiting(inside, flight)
        failure = None
        if outcome.__class__ is Failure:
            failure = outcome.original() if leads else outcome.twin()
        if watched is not None:
            tell_left(watched, terms, cache_key, flight=flight, waiter=future, arrived=now, error=failure)
        if failure is not None:
            context = failure.__context__
            try:
                raise failure
            finally:
                keep_context(failure, context)
                del failure, context, outcome, future, flight  # all lead to the error, and its traceback leads here
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
                merged.update(table.pending.copy())  # at once: that loop's thread may be at work
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
        if _running_loop() is None:
            flights = [table.pending.get(cache_key) for table in self._open_tables()]
            return sum(flight.send_away() for flight in flights if flight is not None) > 0  # each of them
        flight = self._pending.get(cache_key)
        if flight is None:
            return False
        flight.detach()
        return True

    async def drain(self, *, deadline_seconds: Duration = 10.0) -> CloseReport:
        """Let the running loop's fetches end, cancel those that have not by the deadline, and report both.

        Calls are accepted all the while. A fetch that ignores its cancellation is left behind as a zombie; its callers
        have got ``FetchCancelledError`` by then.

        Cancellation:
            Stops the waiting; fetches that run then go on.
        """
        seconds = to_seconds(deadline_seconds, name="deadline_seconds", zero=True)
        table = self._tables.get(asyncio.get_running_loop())
        if table is None:
            return CloseReport(0)
        finished, unfinished = await drain(table, seconds)
        return CloseReport(finished, await cut(unfinished, f"drained: it had not ended within {seconds:g} s"))

    async def aclose(self, *, deadline_seconds: Duration = 10.0) -> CloseReport:
        """Close the coalescer for the running loop: refuse new calls, drain to the deadline, cancel the rest.

        What a fetch that is being drained asks for is still answered, so that it can end. Closing twice is harmless.
        Other loops are not touched.

        Cancellation:
            Stops the waiting; the coalescer stays closed, fetches that run then go on.
        """
        seconds = to_seconds(deadline_seconds, name="deadline_seconds", zero=True)
        self._drop_closed_loops()
        loop = asyncio.get_running_loop()
        table = self._tables.get(loop) or self._open(loop)
        table.closed = True
        return await self.drain(deadline_seconds=seconds)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    # ---- within ----

    def _flight_for(
        self,
        key: Key,
        terms: FlightTerms,
        table: FlightTable[PendingRequest],
        inside: PendingRequest | None,
        now: float,
    ) -> tuple[PendingRequest, bool]:
        """Return the flight that has the key's slot, or a new one in its place, and whether it is new."""
        if table.closed:
            refuse_unless_draining(inside, table, terms, key)
        flight = table.pending.get(key)
        if flight is not None and not (flight.may_be_joined(now) and (not terms.anew or flight.will_run())):
            flight.detach()
            flight = None
        leads = flight is None
        if flight is None:
            max_wait = self.max_wait_seconds if terms.max_wait_seconds is INHERIT else terms.max_wait_seconds
            flight = PendingRequest(key, terms, table, now, max_wait)
            table.pending[key] = flight
        if inside is not None:
            wait_inside(inside, flight)
            if leads:
                flight.inside = inside
        return flight, leads

    def _begin_anew(self) -> None:
        """Have nobody join what is in the air, on any loop, and the numbers begin at zero: for tests."""
        for table in self._open_tables():
            for flight in table.flights():
                flight.send_away()
        self._totals.reset()

    def _count_rejected(self, terms: FlightTerms, refusal: Exception) -> None:
        if terms.refresh:
            return  # nobody's request: the refresh counts its own errors
        recursions = int(isinstance(refusal, RecursiveFetchError))
        for counters in (terms.counters, self._totals):
            counters.rejected_requests += 1
            counters.recursions_refused += recursions

    def _open(self, loop: asyncio.AbstractEventLoop) -> FlightTable[PendingRequest]:
        """Make the table of a loop that is seen for the first time, and drop those of the loops that are gone.

        A weak map would never free them: flight → task → loop.
        """
        self._drop_closed_loops()
        return self._tables.setdefault(loop, FlightTable(loop, self._totals, self.max_flight_seconds))

    def _open_tables(self) -> list[FlightTable[PendingRequest]]:
        return [table for table in list(self._tables.values()) if not table.loop.is_closed()]

    def _drop_closed_loops(self) -> None:
        for loop in list(self._tables):
            if loop.is_closed():
                table = self._tables.pop(loop, None)
                for flight in table.flights() if table is not None else ():
                    flight.crash()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
