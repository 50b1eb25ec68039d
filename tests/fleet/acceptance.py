"""What is promised in figures, measured: ``python -m tests.fleet acceptance [words of a figure ...]``.

Each measurement runs worker processes over a server of its own and returns figures: what was seen, beside its bound.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tests.fleet.conductor import LEASE_SECONDS, Fleet, WorkerProcess, fleet_over
from tests.fleet.invariants import Entry
from tests.stores.servers import BINARIES, Server, running, running_cluster

PROCESSES = 4
CALLERS = 250
SUCCESSION_MARGIN_SECONDS = 0.1
SMALL, OVER_A_MESSAGE, OVER_A_SCRIPT = 300, 8_000, 40_000
"""Bytes of results: those that ride in a message, those that a script returns, and those that are read plainly."""


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        what: of what.
        seen: what was measured.
        bound: what it must be, in words.
        holds: whether it is.
    """

    what: str
    seen: str
    bound: str
    holds: bool


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        runs: cold keys on a single server.
        runs_on_a_cluster: cold keys on a cluster.
        kills: leaders that are killed.
        margin_seconds: by how much a busy machine may be late.
    """

    runs: int = 100
    runs_on_a_cluster: int = 20
    kills: int = 12
    margin_seconds: float = 0.0


Measurement = Callable[[Size], Awaitable[list[Figure]]]
MEASUREMENTS: dict[str, Measurement] = {}


def measurement(name: str) -> Callable[[Measurement], Measurement]:
    """List a measurement under a name."""

    def note(measure: Measurement) -> Measurement:
        MEASUREMENTS[name] = measure
        return measure

    return note


@asynccontextmanager
async def new_fleet() -> AsyncIterator[Fleet]:
    """A fleet over a server of its own."""
    with running(BINARIES[0]) as server:
        async with fleet_over(server) as fleet:
            yield fleet


@asynccontextmanager
async def watching(server: Server) -> AsyncIterator[Counter[str]]:
    """Count the commands that clients send while the block runs; what scripts do is not counted."""
    seen: Counter[str] = Counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=2**24)
    writer.write(b"MONITOR\r\n")
    await reader.readline()

    async def listen() -> None:
        while b"the-last-one" not in (line := await reader.readline()):
            if b" lua] " not in line[:80]:
                seen[line.split(b'"', 2)[1].decode().upper()] += 1

    listening = asyncio.ensure_future(listen())
    try:
        yield seen
    finally:
        await asyncio.to_thread(server.say, "ECHO", "the-last-one")
        await listening
        writer.close()


def scripts_run(server: Server) -> int:
    """How many scripts the server has run since ``CONFIG RESETSTAT``, by its own count."""
    total = 0
    for line in server.say("INFO", "commandstats").decode().splitlines():
        if line.lower().startswith(("cmdstat_evalsha:", "cmdstat_eval:")):
            total += int(line.partition("calls=")[2].partition(",")[0])
    return total


def about(story: Sequence[Entry], what: str, **facts: Any) -> list[Entry]:
    """The entries of a log with these facts."""
    return [entry for entry in story if entry["what"] == what and all(entry.get(name) == facts[name] for name in facts)]


# ---- one call ----


async def _cold_keys(fleet: Fleet, runs: int, where: str, **options: Any) -> list[Figure]:
    names = [f"w{number}" for number in range(PROCESSES)]
    workers = await fleet.spawn_all(*names, fetch=0.1, lease=3.0, **options)
    keys = [f"k{100 + run}" for run in range(runs)]
    answered = failed = 0
    for key in keys:
        for said in await asyncio.gather(*(worker.ask("call", key=key, callers=CALLERS) for worker in workers)):
            answered += said["answered"]
            failed += said["failed"]
    await fleet.close()
    fetches = [len(about(fleet.story, "fetch", key=key)) for key in keys]
    asked = [len(about(fleet.story, "acquire", key=key)) for key in keys]
    published = sum(len(about(fleet.story, "publish", key=key)) for key in keys)
    slowest = max(entry["at"] - entry["began"] for entry in about(fleet.story, "call") if entry["key"] in keys)
    what = f"{PROCESSES} processes × {CALLERS} callers, one cold key, {runs} runs {where}"
    return [
        Figure(
            f"origin calls: {what}",
            f"{min(fetches)} to {max(fetches)} a run, {sum(fetches)} in all",
            f"1 a run, {runs} in all",
            set(fetches) == {1},
        ),
        Figure(
            f"answers: {what}",
            f"{answered}, {failed} failures, the slowest after {slowest:.2f} s (the fetch: 0.1 s)",
            f"{runs * PROCESSES * CALLERS}, 0 failures",
            (answered, failed) == (runs * PROCESSES * CALLERS, 0),
        ),
        Figure(
            f"questions: {what}",
            f"at most {max(asked)} acquires a run, {published} publishes in all",
            f"at most {PROCESSES} a run, {runs} in all",
            max(asked) <= PROCESSES and published == runs,
        ),
    ]


@measurement("one call, single server")
async def one_call(size: Size) -> list[Figure]:
    """Four processes with a crowd each ask for a cold key, over and over."""
    async with new_fleet() as fleet:
        return await _cold_keys(fleet, size.runs, "on a single server")


@measurement("one call, cluster")
async def one_call_on_a_cluster(size: Size) -> list[Figure]:
    """The same over three primaries."""
    with running_cluster(BINARIES[0]) as nodes:
        async with fleet_over(nodes[0]) as fleet:
            return await _cold_keys(fleet, size.runs_on_a_cluster, "on a cluster of 3", is_cluster=True)


# ---- a leader dies ----


@measurement("a leader is killed")
async def killed_leaders(size: Size) -> list[Figure]:
    """One leader after the other is killed at a random moment of its fetch, while three processes wait for it."""
    dice = random.Random(7)
    fetch_seconds = 0.3
    keys = [f"k{100 + number}" for number in range(size.kills)]
    async with new_fleet() as fleet:
        waiting = await fleet.spawn_all("w0", "w1", "w2", fetch=fetch_seconds)
        for number, key in enumerate(keys):
            leader = await fleet.spawn(f"leader{number}", fetch=60.0)
            leader.tell("call", key=key, callers=5).add_done_callback(lambda done: done.exception())
            await fleet.until_noted("fetch", key=key)
            calls = asyncio.gather(*(worker.call(key, callers=10) for worker in waiting))
            await asyncio.sleep(dice.uniform(0.1, 1.5 * LEASE_SECONDS))
            leader.kill()
            await calls
    runs = [_succession(fleet.story, key) for key in keys]
    most_seconds = LEASE_SECONDS + SUCCESSION_MARGIN_SECONDS
    after = [run.started_after for run in runs]
    answered = [run.answered_after for run in runs]
    is_in_time = max(after) <= most_seconds + size.margin_seconds
    are_answered = max(answered) <= most_seconds + fetch_seconds + 0.05 + size.margin_seconds
    what = f"{size.kills} leaders killed, 3 processes × 10 callers wait, lease {LEASE_SECONDS:g} s"
    return [
        Figure(
            f"origin calls: {what}",
            f"{min(run.fetches for run in runs)} to {max(run.fetches for run in runs)} each",
            "2 each: one more",
            {run.fetches for run in runs} == {2},
        ),
        Figure(
            f"the next call begins after the last renewal: {what}",
            f"{min(after):.3f} to {max(after):.3f} s",
            f"lease + {SUCCESSION_MARGIN_SECONDS:g} s = {most_seconds:.1f} s",
            is_in_time,
        ),
        Figure(
            f"the last caller is answered after the last renewal: {what}",
            f"{min(answered):.3f} to {max(answered):.3f} s",
            f"that + one fetch ({fetch_seconds:g} s)",
            are_answered,
        ),
        Figure(
            f"questions after the lease has lapsed: {what}",
            f"at most {max(run.acquires for run in runs)} acquires, {max(run.publishes for run in runs)} publish",
            "at most 3 (one a process), 1",
            max(run.acquires for run in runs) <= 3 and {run.publishes for run in runs} == {1},
        ),
    ]


@dataclass(frozen=True)
class _Succession:
    fetches: int
    started_after: float
    answered_after: float
    acquires: int
    publishes: int


def _succession(story: Sequence[Entry], key: str) -> _Succession:
    first, *later = about(story, "fetch", key=key)
    won = about(story, "acquire", key=key, who=first["who"], answer="Won")[0]
    renewals = [entry["sent"] for entry in about(story, "renew", who=first["who"]) if entry["answer"] == [True]]
    last = max([won["sent"], *renewals])
    lapsed = last + LEASE_SECONDS  # before, they may have asked whether it was renewed
    return _Succession(
        1 + len(later),
        min((entry["at"] for entry in later), default=float("inf")) - last,
        max(entry["at"] for entry in about(story, "call", key=key)) - last,
        sum(entry["sent"] > lapsed for entry in about(story, "acquire", key=key)),
        sum(entry["sent"] > lapsed for entry in about(story, "publish", key=key)),
    )


# ---- scripts ----


async def _cost(server: Server, asking: Callable[[], Awaitable[Any]]) -> tuple[int, int]:
    """How many scripts, and how many plain reads, something costs."""
    server.say("CONFIG", "RESETSTAT")
    async with watching(server) as seen:
        await asking()
    return scripts_run(server), seen["HMGET"]


@measurement("scripts per call")
async def scripts_per_call(_size: Size) -> list[Figure]:
    """What leading, waiting and hitting cost at the server, for results of three sizes."""
    figures: list[Figure] = []
    async with new_fleet() as fleet:
        leader, waiter, late = await fleet.spawn_all("a", "b", "c", lease=3.0, coherence=60.0)
        for bytes_, name in ((SMALL, "300 B"), (OVER_A_MESSAGE, "8 kB"), (OVER_A_SCRIPT, "40 kB")):
            await asyncio.gather(*(one.ask("set", fetch=0.3, bytes=bytes_) for one in (leader, waiter, late)))
            at = 100 + len(figures) * 10
            # The server learns the texts of the scripts, and everybody the versions of the tags.
            await _led_and_waited(leader, waiter, fleet, f"k{at}")
            await asyncio.gather(late.call(f"k{at}"), late.call(f"k{at + 9}"))
            lead = await _cost(fleet.server, lambda at=at: leader.call(f"k{at + 1}", callers=20))
            key = f"k{at + 2}"
            both = await _cost(fleet.server, lambda key=key: _led_and_waited(leader, waiter, fleet, key))
            hit = await _cost(fleet.server, lambda key=key: late.call(key, callers=20))
            wait = both[0] - lead[0]
            most_wait, most_reads = (1 if bytes_ == SMALL else 2), (1 if bytes_ == OVER_A_SCRIPT else 0)
            figures += [
                Figure(f"scripts of a leader, {name}", str(lead[0]), "2", lead == (2, 0)),
                Figure(
                    f"scripts of a waiting process, {name}",
                    f"{wait}{_reads(both[1])}",
                    f"{most_wait}{_reads(most_reads)}",
                    (wait, both[1]) == (most_wait, most_reads),
                ),
                Figure(
                    f"scripts of a hit, {name}",
                    f"{hit[0]}{_reads(hit[1])}",
                    f"1{_reads(most_reads)}",
                    hit == (1, most_reads),
                ),
            ]
    asked = Counter((entry["who"], entry["key"]) for entry in about(fleet.story, "acquire") if entry["answer"] != "Hit")
    most = max(asked.values())
    renewals = len(about(fleet.story, "renew"))
    what = "questions of one process for one key, fetches of 0.3 s, lease 3 s"
    return [*figures, Figure(what, f"{most}, {renewals} renewals", "1, 0 renewals", (most, renewals) == (1, 0))]


def _reads(count: int) -> str:
    return f" + {count} plain read" if count else ""


async def _led_and_waited(leader: WorkerProcess, waiter: WorkerProcess, fleet: Fleet, key: str) -> None:
    leading = asyncio.ensure_future(leader.call(key, callers=20))
    await fleet.until_noted("fetch", key=key)
    await asyncio.gather(leading, waiter.call(key, callers=20))
