"""One loop's link to the store: its subscription, the flights that it wakes, its leases, its work in the background.

Made when a loop asks for the first time, and never before: a coalescer that was made before a fork has none.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, Protocol, TypeVar

from ..clock import clock
from ..protocols import CUT_GRACE_SECONDS
from ..store_port import (
    Connected,
    Dropped,
    Finished,
    HeardUpTo,
    LeaseStore,
    Lost,
    Signal,
    SignalStream,
    TagMoved,
    Voided,
)
from .leases import STORE_ERRORS, Leases

logger = logging.getLogger(__name__)

R = TypeVar("R")

FIRST_CONNECTION_SECONDS: Final = 0.1
"""How long the first questions of a loop wait for its subscription. Without one they could not be woken."""

_LISTEN_AGAIN_SECONDS: Final = 1.0
"""After how long a stream of signals that broke down, which none should, or has ended, is opened again."""


class Flight(Protocol):
    """A fetch that may be waiting for another process, as far as this file looks at it."""

    record: str

    def receive(self, signal: Finished | Voided) -> None:
        """Take what has become of somebody's lease."""
        ...

    def may_have_missed(self) -> None:
        """Take note that signals may have been lost: ask again."""
        ...

    def let_nobody_join(self) -> None:
        """Take note that an invalidation may have been missed: who comes from now on asks anew."""
        ...


class Hears(Protocol):
    """What announcements act on: the whole process."""

    def heard_up_to(self, link: Link, moment: float) -> None:
        """Everything announced before ``moment`` was handed out."""
        ...

    def begin_generation(self, link: Link, *, connected: bool) -> None:
        """The subscription begins, or is gone: before now, announcements may have been missed."""
        ...

    def hear_dropped(self, record: str) -> None:
        """A record was invalidated or replaced."""
        ...

    def hear_tag_moved(self, tag: str) -> None:
        """A tag has another version."""
        ...


class Link:
    """One loop's link to the store. Used on that loop only.

    Args:
        store: the store.
        hears: what announcements act on.
        heartbeat_seconds: how often the subscription has to prove that it lives.
        lease_seconds: how long a lease lasts.

    Attributes:
        loop: the loop.
        leases: those that it holds.
        tellings: questions for the versions of tags that begin in this turn of the loop.
        is_connected: whether its subscription stands: somebody who waits will be woken.
    """

    def __init__(self, store: LeaseStore, hears: Hears, *, heartbeat_seconds: float, lease_seconds: float) -> None:
        self.loop: Final = asyncio.get_running_loop()
        self.leases: Final = Leases(
            store, lease_seconds=lease_seconds, loop=self.loop, spawn=self.spawn, abandon=self.abandon
        )
        self.is_connected = False
        self._store = store
        self._hears = hears
        self._heartbeat_seconds = heartbeat_seconds
        self._flights: dict[str, list[Flight]] = {}
        self.tellings: Final[dict[tuple[str, ...], asyncio.Task[Mapping[str, str] | None]]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._alone: asyncio.Task[None] | None = None
        self._is_called = False
        self._first: asyncio.Future[None] | None = self.loop.create_future()
        self._stream: SignalStream | None = None
        self._listening: asyncio.Task[None] | None = self._start(self._listen(), "coalesce_kit.signals")

    # ---- work in the background ----

    def spawn(self, work: Coroutine[Any, Any, R]) -> asyncio.Task[R]:
        """Run something that belongs to no caller, and is waited for at the end."""
        task = self._start(work, "coalesce_kit.store")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def spawn_alone(self, make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run such work unless the last that was run by this has not ended yet."""
        if self._alone is None or self._alone.done():
            self._alone = self.spawn(make())

    def call(self, work: Callable[[Link], None]) -> bool:
        """Have the loop do something soon, once for many calls; return whether it can. Any thread."""
        if not self._is_called:
            self._is_called = True
            try:
                self.loop.call_soon_threadsafe(self._answer_call, work)
            except RuntimeError:  # it was closed
                self._is_called = False
        return self._is_called

    def _answer_call(self, work: Callable[[Link], None]) -> None:
        self._is_called = False  # first: who calls from now on may come too late for the work
        work(self)

    def abandon(self, record: str, token: str) -> None:
        """End a lease without a result; on a loop that was closed it lapses."""
        if not self.loop.is_closed():
            self.spawn(self._abandon(record, token))

    async def _abandon(self, record: str, token: str) -> None:
        try:
            await self._store.abandon(record, token=token)
        except STORE_ERRORS as error:
            logger.debug("lease_not_abandoned: %s", str(error))  # then it lapses

    def _start(self, work: Coroutine[Any, Any, R], name: str) -> asyncio.Task[R]:
        # Not by the loop's factory: an eager first step would run inside a caller. And in a context of its own: what
        # outlives a call must not belong to the call's flight.
        return asyncio.Task(work, loop=self.loop, name=name, context=contextvars.Context())

    # ---- flights ----

    async def wait_for_the_first_connection(self) -> None:
        """Wait until the subscription stands for the first time, if that is soon."""
        if self._first is not None:
            await asyncio.wait([self._first], timeout=FIRST_CONNECTION_SECONDS)
            self._let_go_of_the_first()

    def join(self, flight: Flight) -> None:
        """Have a flight told what becomes of its record's leases."""
        self._flights.setdefault(flight.record, []).append(flight)

    def leave(self, flight: Flight) -> None:
        """Tell a flight nothing more."""
        flights = self._flights[flight.record]
        flights.remove(flight)
        if not flights:
            del self._flights[flight.record]

    def flights(self) -> list[Flight]:
        """Return all that have joined."""
        return [flight for flights in self._flights.values() for flight in flights]

    def void_what_has_asked(self) -> None:
        """Have nobody join a flight that has asked before now: an invalidation may have been missed since."""
        for flight in self.flights():
            flight.let_nobody_join()

    # ---- hearing ----

    async def _listen(self) -> None:
        while True:
            self._stream = stream = self._store.signals(heartbeat_seconds=self._heartbeat_seconds)
            try:
                async for signal in stream:
                    self._hear(signal)
            except Exception as error:  # whatever it was, nobody here is woken without them
                logger.warning("signals_broke_down: %s: %s", type(error).__name__, str(error))
            finally:
                self._stream = None
                await stream.aclose()
            if self.is_connected:
                self._hear(Lost())
            self._let_go_of_the_first()
            await asyncio.sleep(_LISTEN_AGAIN_SECONDS)

    def _hear(self, signal: Signal) -> None:
        if isinstance(signal, HeardUpTo):
            self._hears.heard_up_to(self, signal.moment)
        elif isinstance(signal, Finished | Voided):
            for flight in tuple(self._flights.get(signal.key, ())):
                flight.receive(signal)
        elif isinstance(signal, Dropped):
            self._hears.hear_dropped(signal.key)
        elif isinstance(signal, TagMoved):
            self._hears.hear_tag_moved(signal.tag)
        else:
            self.is_connected = isinstance(signal, Connected)
            self._hears.begin_generation(self, connected=self.is_connected)
            if self.is_connected:
                for flight in self.flights():
                    flight.may_have_missed()
            self._let_go_of_the_first()

    def _let_go_of_the_first(self) -> None:
        if self._first is not None:
            self._first.set_result(None)
            self._first = None

    # ---- ending ----

    async def aclose(self, *, deadline_seconds: float) -> None:
        """Let the work in the background end, to the deadline, then hear nothing more."""
        until = clock.now() + max(deadline_seconds, CUT_GRACE_SECONDS)
        while self._tasks and (left := until - clock.now()) > 0:  # some of it begins more of it
            await asyncio.wait(tuple(self._tasks), timeout=left)
        self.leases.stop()
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.cancel()
            await asyncio.wait([listening])
        for task in tuple(self._tasks):
            task.cancel()
        self._let_go_of_the_first()
