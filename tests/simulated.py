"""Simulated processes: several coalescers in one loop, each with a store of its own over one server in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from coalesce_kit import DistributedCoalescer, coalesced
from coalesce_kit.decorators.workings import WORKINGS
from coalesce_kit.errors import StoreUnavailableError
from coalesce_kit.stats.counters import CoalescerStats
from coalesce_kit.store_port import Signal
from coalesce_kit.stores.memory import MemoryServer, MemoryStore, Wire
from tests.fakes import Origin, turns

Operation = tuple[str, str]


class FaultyWire(Wire):
    """A wire that a test can cut, and on which questions, answers and signals can be lost or held.

    Attributes:
        is_cut: every question fails.
        lost_questions, lost_answers: names of operations; the next of each name is lost, once.
        held: names of operations whose questions wait for ``let_go``.
        deaf: no signal arrives.
        asked: the operations that were asked, in order.
    """

    def __init__(self) -> None:
        self.is_cut = False
        self.lost_questions: list[str] = []
        self.lost_answers: list[str] = []
        self.held: set[str] = set()
        self.held_answers: set[str] = set()
        self.deaf = False
        self.asked: list[str] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._signals: list[Callable[[], None]] = []
        self.holds_signals = False

    async def ask(self, operation: str, key: str) -> None:
        self.asked.append(operation)
        await super().ask(operation, key)
        await self._hold(operation, self.held)
        self._fail(operation, self.lost_questions)

    async def answer(self, operation: str, key: str) -> None:
        await super().answer(operation, key)
        await self._hold(operation, self.held_answers)
        self._fail(operation, self.lost_answers)

    def push(self, signal: Signal, deliver: Callable[[], None]) -> None:
        if self.deaf:
            return
        if self.holds_signals:
            self._signals.append(deliver)
        else:
            deliver()

    def let_go(self) -> None:
        """Let everything that is held go on."""
        self.held.clear()
        self.held_answers.clear()
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def let_signals_go(self) -> None:
        """Deliver the signals that are held."""
        self.holds_signals = False
        signals, self._signals = self._signals, []
        for deliver in signals:
            deliver()

    async def _hold(self, operation: str, held: set[str]) -> None:
        if operation in held:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            await future

    def _fail(self, operation: str, lost: list[str]) -> None:
        if self.is_cut:
            raise StoreUnavailableError("the wire is cut")
        if operation in lost:
            lost.remove(operation)
            raise StoreUnavailableError(f"{operation} was lost")


class SimulatedProcess:
    """One process: its coalescer, its wire, and the decorated function.

    Attributes:
        origin: what its function asks, shared by all or its own.
        odds: the function.
    """

    def __init__(self, server: MemoryServer, origin: Callable[..., Coroutine[Any, Any, Any]], **options: Any) -> None:
        of_backend = {name: options.pop(name) for name in tuple(options) if name in OF_BACKEND}
        self.wire = FaultyWire()
        self.store = MemoryStore(server, wire=self.wire, **options.pop("store", {}))
        self.fleet = DistributedCoalescer(self.store, **of_backend)

        async def odds(league: str) -> str:
            return await origin(league)

        self.odds: Any = coalesced(name="odds", backend=self.fleet, **options)(odds)

    @property
    def numbers(self) -> CoalescerStats:
        """The numbers of this process alone: a reloaded function shares its row with the others."""
        workings = getattr(self.odds, WORKINGS)
        counted: CoalescerStats = workings.counters.snapshot("odds", workings.gauges())
        return counted

    async def die(self) -> None:
        """End as a killed process does: nothing is given back, nothing is told."""
        self.wire.is_cut = self.wire.deaf = True
        await self.fleet.aclose(deadline_seconds=0)


OF_BACKEND = {
    "lease_seconds", "coherence_seconds", "consistency", "when_degraded", "shared_errors", "share_error_messages",
    "codec", "max_body_bytes", "max_flight_seconds",
}  # fmt: skip


class World:
    """A server, an origin that answers when told to, and processes."""

    def __init__(self) -> None:
        self.server = MemoryServer()
        self.origin = Origin()
        self.processes: list[SimulatedProcess] = []

    def start(self, count: int, **options: Any) -> list[SimulatedProcess]:
        """Start processes."""
        options = options if "policy" in options else {"ttl": 30, **options}
        started = [SimulatedProcess(self.server, self.origin, **options) for _ in range(count)]
        self.processes += started
        return started

    async def primed(self, value: str, *processes: SimulatedProcess, league: str = "nba") -> None:
        """Have the processes hold a value, fetched once by the first."""
        for process in processes:
            asking = asyncio.ensure_future(process.odds(league))
            await turns(30)
            if self.origin.working:
                self.origin.answer(value)
            assert await asking == value

    def calls_of(self, operation: str) -> int:
        """How often the server did something."""
        return self.server.calls.get(operation, 0)


@asynccontextmanager
async def simulated_world() -> AsyncIterator[World]:
    """A world whose processes are closed at the end."""
    world = World()
    try:
        yield world
    finally:
        for process in world.processes:
            process.wire.let_go()
            await process.fleet.aclose(deadline_seconds=0)
        world.processes.clear()  # pytest holds the world longer than the test, and its functions hold their names
