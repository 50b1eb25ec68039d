"""How does a fleet ask? Several worker processes over one Redis: cold keys, a leader that dies, and hits.

The server is one of this program's own, on a free port, with nothing kept on disk. *commands* are those that clients
have sent, counted by ``MONITOR``; what a script does inside the server is not one.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Self

from .children import Child, SubjectError
from .environment import describe, version_of
from .fleet_worker import ORIGIN_SECONDS
from .fleets import FLEETS, LEASE_SECONDS, RIVALS
from .report import environment_lines, text_table

COLUMNS = (
    *("scenario", "subject", "style", "processes", "keys", "callers", "origin calls", "commands per call"),
    *("p50 ms", "p99 ms", "calls/s", "cpu µs", "successor s", "errors"),
)
SERVERS = ("redis-server", "valkey-server")
PROCESSES = 4
_PATIENCE_SECONDS = 30.0


@contextlib.asynccontextmanager
async def server() -> AsyncIterator[int]:
    """Run a server and return its port.

    Raises:
        SubjectError: none is installed.
    """
    binary = next((found for name in SERVERS if (found := shutil.which(name))), None)
    if binary is None:
        raise SubjectError("no redis-server and no valkey-server is installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        options = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder)
        null = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(binary, *options, stdout=null, stderr=null)
        try:
            while True:
                with contextlib.suppress(OSError):
                    if b"PONG" in await say(port, "PING"):
                        break
                await asyncio.sleep(0.02)
            yield port
        finally:
            process.kill()
            await process.wait()


async def say(port: int, command: str) -> bytes:
    """Send one command over a connection of its own and return the start of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(command.encode() + b"\r\n")
    answer = await reader.read(65536)
    writer.close()
    return answer


class Counting:
    """Counts the commands that clients send, for as long as the block is."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.commands = 0

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=2**24)
        self._writer.write(b"MONITOR\r\n")
        await self._reader.readline()
        self._listening = asyncio.ensure_future(self._listen())
        return self

    async def __aexit__(self, *_error: object) -> None:
        await say(self._port, "ECHO the-last-one")
        await self._listening
        self._writer.close()

    async def _listen(self) -> None:
        while line := await self._reader.readline():
            if b"the-last-one" in line:
                return
            # `1700000000.1 [0 lua] "HSET" ...` was done by a script.
            if b" lua] " not in line[:60]:
                self.commands += 1


class Crew:
    """The workers of one subject over one server."""

    def __init__(self, name: str, port: int, log: Path, processes: int) -> None:
        job = {"name": name, "url": f"redis://127.0.0.1:{port}/0", "log": str(log)}
        self._children = [
            Child("benchmarks.fleet_worker", job, patience_seconds=_PATIENCE_SECONDS) for _ in range(processes)
        ]
        self._stack = contextlib.AsyncExitStack()
        self._log = log
        self.port = port

    async def __aenter__(self) -> Self:
        for child in self._children:
            await self._stack.enter_async_context(child)
        await self.all("crowd", "warm-up", 1)  # connections, scripts, subscriptions
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._stack.aclose()

    async def all(self, what: str, *rest: object) -> list[dict[str, Any]]:
        """Give all the same order, for the same moment, and return what each says."""
        at = time.monotonic() + 0.2
        return list(await asyncio.gather(*(self._order(child, what, at, *rest) for child in self._children)))

    async def one_dies(self, key: str, callers: int) -> list[dict[str, Any]]:
        """Have the first lead and die, the others come a moment later; return what they say."""
        at = time.monotonic() + 0.2
        leader, *others = self._children
        leading = asyncio.ensure_future(self._order(leader, "die", at, key))
        try:
            said = await asyncio.gather(*(self._order(child, "crowd", at + 0.05, key, callers) for child in others))
        finally:
            await asyncio.gather(leading, return_exceptions=True)
        return list(said)

    async def _order(self, child: Child, what: str, at: float, *rest: object) -> dict[str, Any]:
        answer: dict[str, Any] = await child.ask(" ".join(map(str, (what, at, *rest))))
        return answer

    def calls(self, *keys: str) -> list[float]:
        """When the origin was called for some keys, or somebody died."""
        lines = [line.split() for line in self._log.read_text().splitlines()]
        return sorted(float(at) for key, at, _ in lines if key in keys)


async def cold(crew: Crew, keys: int, callers: int) -> dict[str, Any]:
    """Everybody asks for cold keys at the same moment."""
    names = [f"cold{keys}-{number}" for number in range(keys)]
    async with Counting(crew.port) as counting:
        said = await crew.all("crowd", ",".join(names), callers)
    calls = sum(len(one["waits"]) for one in said)
    return {
        "callers": calls,
        "origin calls": len(crew.calls(*names)),
        "commands per call": counting.commands / calls,
        **_waits(said),
    }


async def hits(crew: Crew, keys: int, callers: int, seconds: float) -> dict[str, Any]:
    """Everybody asks over and over for keys that are kept."""
    names = ",".join(f"hit{number}" for number in range(keys))
    await crew.all("crowd", names, 1)
    async with Counting(crew.port) as counting:  # what MONITOR costs the server, no figure shall pay for
        counted = await crew.all("hits", names, callers, min(seconds / 4, 0.5))
    said = await crew.all("hits", names, callers, seconds)
    calls = sum(len(one["waits"]) for one in said)
    return {
        "callers": callers * len(said),
        "commands per call": counting.commands / sum(len(one["waits"]) for one in counted),
        "calls/s": calls / statistics.fmean(one["seconds"] for one in said),
        "cpu µs": sum(one["cpu"] for one in said) / calls * 1e6,
        **_waits(said),
    }


async def succession(crew: Crew, callers: int) -> dict[str, Any]:
    """The leader is killed while it fetches, and the others wait for it."""
    said = await crew.one_dies("dies", callers)
    died = crew.calls("died")[0]
    later = [at for at in crew.calls("dies") if at > died]
    return {
        "callers": sum(len(one["waits"]) for one in said),
        "origin calls": len(crew.calls("dies")),
        "successor s": later[0] - died if later else None,
        **_waits(said),
    }


def _waits(said: Sequence[dict[str, Any]]) -> dict[str, Any]:
    waits = sorted(wait for one in said for wait in one["waits"])
    errors: dict[str, int] = {}
    for one in said:
        for name, number in one["errors"].items():
            errors[name] = errors.get(name, 0) + number
    return {
        "p50 ms": statistics.median(waits) * 1000,
        "p99 ms": waits[min(len(waits) - 1, int(len(waits) * 0.99))] * 1000,
        "errors": ", ".join(f"{number} {name}" for name, number in errors.items()) or "none",
    }


async def answer(names: Sequence[str] | None, *, quick: bool) -> dict[str, Any]:
    """Run every scenario with every subject that is installed."""
    chosen = {name: fleet for name, fleet in FLEETS.items() if names is None or name in names or name not in RIVALS}
    missing = [fleet.label for fleet in chosen.values() if fleet.distribution and not version_of(fleet.distribution)]
    environment = describe(
        ["redis", "msgspec", *(fleet.distribution for fleet in chosen.values() if fleet.distribution)]
    )
    print("\n".join(environment_lines(environment)), flush=True)
    callers, seconds = (25, 1.0) if quick else (100, 4.0)
    scenarios = {
        "cold, 1 key": (1, lambda crew: cold(crew, 1, callers)),
        "cold, 20 keys": (20, lambda crew: cold(crew, 20, callers // 10)),
        "hits, 20 keys": (20, lambda crew: hits(crew, 20, 25, seconds)),
        "the leader dies": (1, lambda crew: succession(crew, 10)),
    }
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, fleet in chosen.items():
            if fleet.label in missing:
                continue
            head = {"subject": fleet.label, "style": fleet.style, "processes": PROCESSES}
            try:
                async with server() as port, Crew(name, port, Path(folder) / name, PROCESSES) as crew:
                    for scenario, (keys, play) in scenarios.items():
                        try:
                            row = await play(crew)
                        except SubjectError as error:
                            row = {"errors": str(error)}
                        rows.append({"scenario": scenario, **head, "keys": keys, **row})
            except SubjectError as error:
                rows.append({"scenario": "cold, 1 key", **head, "errors": str(error)})
            print(f"  {fleet.label}: done", flush=True)
    rows.sort(key=lambda row: list(scenarios).index(row["scenario"]))
    print("\n" + text_table(rows, COLUMNS))
    limits = {"origin seconds": ORIGIN_SECONDS, "lease seconds": LEASE_SECONDS}
    return {
        "question": "distributed",
        "quick": quick,
        "environment": environment,
        "not installed": missing,
        "workload": limits,
        "rows": rows,
    }


def run(rivals: Sequence[str] | None, *, quick: bool) -> dict[str, Any]:
    """Answer the question, from a program without a loop."""
    return asyncio.run(answer(rivals, quick=quick))
