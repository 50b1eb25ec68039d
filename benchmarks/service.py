"""What does it do to my service? Requests per second and p99 of one endpoint: bare, with ours, with each rival.

Every server runs in a process of its own, on one core; the clients run here, on another where there is one. Bursts of
the bare server and of the one compared with it alternate. All requests ask for one key that is kept, so what is
compared is the price of a hit; *bare* returns the same answer at once, which no real origin does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from . import behaviours, subjects
from .children import HANGS, ROOT, SubjectError
from .environment import describe, has_uvloop, last_core
from .harness import quartiles
from .progress import Progress
from .report import environment_lines, shown, text_table
from .subjects import OURS

COLUMNS = ("subject", "style", "does", "loop", "rps", "p50 ms", "p99 ms", "cpu µs", "cpu ratio", "from", "to")

CONNECTIONS = 32
BARE = "bare"
_PATIENCE_SECONDS = 30.0


class Server:
    """One server process, for as long as the block is."""

    def __init__(self, name: str, style: str, loop: str, core: int | None) -> None:
        self._job = json.dumps({"name": name, "style": style, "loop": loop, "core": core})
        self._process: asyncio.subprocess.Process | None = None
        self.port = 0

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "benchmarks.endpoint",
            self._job,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), _PATIENCE_SECONDS)
            if not line:
                raise SubjectError("cannot start")
            self.port = int(line)
            await asyncio.wait_for(self._until_it_answers(), _PATIENCE_SECONDS)
        except BaseException as error:
            await self._end()
            raise SubjectError("cannot start") from error
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._end()

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self._process is None or self._process.returncode is not None

    async def cpu_seconds(self) -> float:
        """Return the CPU time that the server has used so far."""
        client = await Client.connect(self.port, "/cpu")
        try:
            return float(await asyncio.wait_for(client.ask(), _PATIENCE_SECONDS))
        except TimeoutError:
            raise SubjectError(HANGS) from None
        finally:
            client.close()

    async def _until_it_answers(self) -> None:
        while True:
            try:
                await self.cpu_seconds()
            except (OSError, EOFError):
                await asyncio.sleep(0.05)
            else:
                return

    async def _end(self) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


class Client:
    """One kept-alive connection that asks one question over and over; no more HTTP than that takes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> None:
        self._reader = reader
        self._writer = writer
        self._request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()

    @classmethod
    async def connect(cls, port: int, path: str) -> Client:
        """Open a connection to a port of this machine."""
        return cls(*await asyncio.open_connection("127.0.0.1", port), path)

    async def ask(self) -> bytes:
        """Return the body of the answer.

        Raises:
            SubjectError: it is not 200.
        """
        self._writer.write(self._request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        status = head.split(b" ", 2)[1]
        if status != b"200":
            raise SubjectError(f"answers {status.decode()}")
        _, _, rest = head.lower().partition(b"content-length:")
        return await self._reader.readexactly(int(rest.partition(b"\r\n")[0]))

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


@dataclass
class Bursts:
    """What one server did in its bursts."""

    rps: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)


async def burst(server: Server, requests: int, into: Bursts | None) -> None:
    """Send so many requests over some connections, each asking again when it is answered."""
    left = requests
    waits: list[float] = []

    async def client() -> None:
        nonlocal left
        connection = await Client.connect(server.port, "/odds/nfl")
        try:
            while left > 0:
                left -= 1
                began = time.perf_counter()
                await connection.ask()
                waits.append(time.perf_counter() - began)
        finally:
            connection.close()

    cpu = await server.cpu_seconds()
    began = time.perf_counter()
    clients = [asyncio.ensure_future(client()) for _ in range(CONNECTIONS)]
    try:
        await asyncio.wait_for(asyncio.gather(*clients), _PATIENCE_SECONDS)
    except (TimeoutError, OSError, EOFError) as error:
        raise SubjectError(HANGS if isinstance(error, TimeoutError) else "hangs up") from error
    finally:
        for one in clients:
            one.cancel()
    seconds = time.perf_counter() - began
    if into is not None:
        into.rps.append(requests / seconds)
        into.cpu.append((await server.cpu_seconds() - cpu) / requests * 1e6)
        into.waits += waits


async def answer(rivals: Sequence[str] | None, *, quick: bool) -> dict[str, Any]:
    """Serve with every subject."""
    cards, missing = subjects.rivals(rivals)
    environment = describe(
        ["fastapi", "uvicorn", *(card.distribution for card in cards)],
        pinned="servers on one core, clients on the others",
        clock="CPU time of the server, and real time for rates and waits",
    )
    print("\n".join(environment_lines(environment)), flush=True)
    rows: list[dict[str, Any]] = []
    loops = ("asyncio", "uvloop") if has_uvloop() else ("asyncio",)
    # the second loop with the first style only: what differs between loops is the server, not the subject
    everybody = [
        (loop, card, style)
        for loop in loops
        for card in (subjects.card(OURS), *cards)
        for style in (list(card.styles)[:1] if card.name == OURS or loop == "uvloop" else card.styles)
    ]
    print("  finding out what each one does", flush=True)
    does = await behaviours.traits_of({(card.name, style) for _, card, style in everybody})
    progress = Progress(len(everybody))
    with _a_core_for_servers() as core:
        for loop in loops:
            async with Server(BARE, "", loop, core) as bare:
                baseline = Bursts()
                await burst(bare, 500, None)
                for card, style in ((card, style) for at, card, style in everybody if at == loop):
                    row = await _row(card.name, style, loop, core, bare, baseline, quick=quick)
                    head = {"subject": card.label, "style": style, "does": does[card.name, style], "loop": loop}
                    rows.append(head | row)
                    progress.did(f"{card.label}, {style}, {loop}: {shown(row['cpu ratio'])} x bare")
                rows.append({"subject": BARE, "loop": loop, **_numbers(baseline)})
    print("\n" + text_table(rows, COLUMNS))
    return {"question": "service", "quick": quick, "environment": environment, "not installed": missing, "rows": rows}


async def _row(
    name: str, style: str, loop: str, core: int | None, bare: Server, baseline: Bursts, *, quick: bool
) -> dict[str, Any]:
    rounds, requests = (2, 500) if quick else (7, 1_000)
    mine = Bursts()
    ratios: list[float] = []
    try:
        async with Server(name, style, loop, core) as server:
            await burst(server, requests // 2, None)
            for number in range(rounds):
                pair = [(server, mine), (bare, baseline)]
                for one, into in reversed(pair) if number % 2 else pair:
                    await burst(one, requests, into)
                ratios.append(mine.cpu[-1] / baseline.cpu[-1])
    except (SubjectError, OSError, EOFError) as error:
        if bare.has_ended:  # then nothing can be said of the subject, or of those after it
            raise RuntimeError("the bare server has ended") from error
        return {"cpu ratio": str(error) if isinstance(error, SubjectError) else "hangs up"}
    low, middle, high = quartiles(ratios)
    return {**_numbers(mine), "cpu ratio": middle, "from": low, "to": high}


def _numbers(bursts: Bursts) -> dict[str, float]:
    waits = sorted(bursts.waits)
    return {
        "rps": statistics.median(bursts.rps),
        "p50 ms": statistics.median(waits) * 1000,
        "p99 ms": waits[int(len(waits) * 0.99)] * 1000,
        "cpu µs": statistics.median(bursts.cpu),
    }


@contextlib.contextmanager
def _a_core_for_servers() -> Iterator[int | None]:
    """Keep this process, the clients, off one core while the block runs, if there are several; the core is given."""
    core = last_core()
    if core is None or len(os.sched_getaffinity(0)) == 1:
        yield core
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, before - {core})
    try:
        yield core
    finally:  # whatever is asked next has all of them again
        os.sched_setaffinity(0, before)
