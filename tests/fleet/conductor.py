"""Runs workers as processes over one server, tells them what to do, and hurts them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

from tests.fleet.journal import Journal, Truth, entries
from tests.stores.servers import Server

LEASE_SECONDS = 1.0
COHERENCE_SECONDS = 1.0
MAX_WAIT_SECONDS = 6.0
FETCH_SECONDS = 0.3
TTL_SECONDS = 30.0
PATIENCE_SECONDS = 30.0

Entry = dict[str, Any]


class Ended(Exception):
    """The worker ended before it answered."""


class WorkerProcess:
    """One worker, seen from outside."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.process = process
        self._numbers = itertools.count()
        self._answers: dict[int, asyncio.Future[Entry]] = {}
        self._listening = asyncio.ensure_future(self._listen())

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid

    async def _listen(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            answer = json.loads(line)
            self._answers.pop(answer.pop("id")).set_result(answer)
        for waiting in self._answers.values():
            waiting.set_exception(Ended(self.name))
            waiting.exception()  # nobody has to look
        self._answers.clear()

    def tell(self, do: str, **options: Any) -> asyncio.Future[Entry]:
        """Send a command; the future is its answer."""
        assert self.process.stdin is not None
        number = next(self._numbers)
        answer: asyncio.Future[Entry] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        self.process.stdin.write((json.dumps({"id": number, "do": do, **options}) + "\n").encode())
        return answer

    async def ask(self, do: str, **options: Any) -> Entry:
        """Send a command and wait for its answer."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.tell(do, **options)

    async def call(self, key: str, *, callers: int = 5) -> None:
        """Have so many callers ask for a key, and wait until all have ended."""
        await self.ask("call", key=key, callers=callers)

    async def change(self, key: str) -> None:
        """Have the truth changed and the key invalidated, and wait until the store was told."""
        await self.ask("change", key=key)

    async def arm(self, step: str, number: signal.Signals) -> None:
        """Have it get a signal when it reaches a step."""
        await self.ask("arm", step=step, signal=int(number))

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send it a signal."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    async def end(self) -> None:
        """Let it end in order, or make it."""
        self.kill(signal.SIGCONT)
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            async with asyncio.timeout(5):
                await self.process.wait()
        except TimeoutError:
            self.kill()
            await self.process.wait()
        await self._listening


class Fleet:
    """The workers of one scenario, over one server, with one log.

    Args:
        server: the server.
        folder: for the log and the truth.

    Attributes:
        server: the server.
        log: where all write.
        story: what was written, once the fleet is closed.
        journal: what the conductor writes into.
        workers: all that were started, the dead ones included.
    """

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.log = folder / "log"
        self.story: list[Entry] = []
        self._truth_path = folder / "truth"
        Truth.create(self._truth_path)
        self.journal = Journal(self.log, "conductor")
        self.workers: list[WorkerProcess] = []
        self._losses = itertools.count()
        self._is_closed = False

    async def spawn(self, name: str, *, url: str | None = None, **options: Any) -> WorkerProcess:
        """Start a worker and wait until it listens."""
        given = {
            "name": name,
            "url": url or self.server.url,
            "is_cluster": False,
            "log": str(self.log),
            "truth": str(self._truth_path),
            "lease": LEASE_SECONDS,
            "max_wait": MAX_WAIT_SECONDS,
            "coherence": COHERENCE_SECONDS,
            "consistency": "announced",
            "fetch": FETCH_SECONDS,
            "ttl": TTL_SECONDS,
            **options,
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.fleet.worker", json.dumps(given)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"{}\n"
        worker = WorkerProcess(name, process)
        self.workers.append(worker)
        return worker

    async def spawn_all(self, *names: str, **options: Any) -> list[WorkerProcess]:
        """Start several at once; each has asked once for a key of its own, so that it is connected."""
        workers = await asyncio.gather(*(self.spawn(name, **options) for name in names))
        await asyncio.gather(*(worker.call(f"k{40 + at}", callers=1) for at, worker in enumerate(workers)))
        return list(workers)

    async def until(self, is_it: Callable[[Entry], bool]) -> Entry:
        """Wait for an entry of the log and return it."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                found = next((entry for entry in entries(self.log) if is_it(entry)), None)
                if found is not None:
                    return found
                await asyncio.sleep(0.01)

    async def until_noted(self, what: str, **facts: Any) -> Entry:
        """Wait for an entry with these facts."""
        return await self.until(
            lambda entry: entry["what"] == what and all(entry.get(name) == value for name, value in facts.items())
        )

    @contextlib.contextmanager
    def losing_data(self, how: str) -> Iterator[None]:
        """Write down that the server loses what it has, some time while the block runs."""
        loss = next(self._losses)
        self.journal.note("losing data", how=how, loss=loss)
        try:
            yield
        finally:
            self.journal.note("lost data", how=how, loss=loss)

    def thaw(self, worker: WorkerProcess) -> None:
        """Let a stopped worker go on."""
        self.journal.note("thawed", worker=worker.name)
        worker.kill(signal.SIGCONT)

    async def close(self) -> None:
        """End every worker; once."""
        if self._is_closed:
            return
        self._is_closed = True
        await asyncio.gather(*(worker.end() for worker in self.workers))
        self.journal.close()
        self.story = entries(self.log)


@contextlib.asynccontextmanager
async def fleet_over(server: Server) -> AsyncIterator[Fleet]:
    """Run a fleet for as long as the block runs."""
    with tempfile.TemporaryDirectory(prefix="coalesce-kit-chaos-") as folder:
        fleet = Fleet(server, Path(folder))
        try:
            yield fleet
        finally:
            await fleet.close()
