"""The process in which a subject lives in simulated time: five minutes of callers in a few seconds.

Every clock that Python code can read shows the loop's virtual time; that is arranged before the subject is imported.
A subject that reads the time elsewhere, in a core of its own or in a thread, cannot be simulated; ``CLOCK`` says so.
"""

from __future__ import annotations

import asyncio
import bisect
import datetime as dt
import itertools
import logging
import random
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from coalesce_kit.testing.clock import VirtualClock, VirtualLoop

from .children import SubjectError, answering
from .subjects import Subject

TTL_SECONDS = 10.0
KEYS = 1_000
CALLS_PER_SECOND = 100
_START_SECONDS = 1_000_000.0


@dataclass(frozen=True)
class Call:
    """One caller of the workload: when it comes, in seconds from the start, and what it asks for."""

    at: float
    key: str


def workload(seconds: float) -> list[Call]:
    """Return the callers of so many seconds: they come at random, and ask by Zipf's law. The same every time."""
    chance = random.Random(7)
    weights = list(itertools.accumulate(1 / rank**0.9 for rank in range(1, KEYS + 1)))
    at = 0.0
    calls = []
    while (at := at + chance.expovariate(CALLS_PER_SECOND)) < seconds:
        calls.append(Call(at, f"key-{bisect.bisect(weights, chance.random() * weights[-1])}"))
    return calls


class Timepiece:
    """What ``time``'s functions are replaced by: one clock, which each run exchanges."""

    def __init__(self) -> None:
        self.clock = VirtualClock(_START_SECONDS)

    def install(self) -> None:
        """Replace them, for every module that is imported from now on."""
        time.monotonic = time.time = time.perf_counter = lambda: self.clock.now()
        time.monotonic_ns = time.time_ns = time.perf_counter_ns = lambda: int(self.clock.now() * 1e9)
        dt.datetime = _SimulatedDatetime  # type: ignore[misc]


class _SimulatedDatetime(dt.datetime):
    """A ``datetime`` whose present is the simulated one."""

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> Self:
        return cls.fromtimestamp(time.time(), tz)

    @classmethod
    def utcnow(cls) -> Self:
        return cls.fromtimestamp(time.time(), dt.UTC).replace(tzinfo=None)


async def live(subject: Subject, policy: str, seconds: float) -> dict[str, Any]:
    """Let the callers of the workload come, and return what they and the origin saw."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)
    latency = random.Random(11)
    origin_calls = errors = stale = 0
    oldest = 0.0
    waits: list[float] = []

    async def fixtures(sport: str) -> tuple[str, float]:
        nonlocal origin_calls
        origin_calls += 1
        await asyncio.sleep(latency.lognormvariate(-2.1, 0.6))  # about 120 ms, one in a hundred over 0.5 s
        return sport, loop.time()

    call = subject.module.policies(fixtures, ttl_seconds=TTL_SECONDS, size=2 * KEYS)[policy]

    async def caller(key: str) -> None:
        nonlocal errors, stale, oldest
        began = loop.time()
        try:
            with subject.scope():
                _, fetched_at = await call(key)
        except Exception:
            errors += 1
            return
        now = loop.time()
        waits.append(now - began)
        oldest = max(oldest, now - fetched_at)
        stale += now - fetched_at > TTL_SECONDS + 1e-6

    tasks = []
    for coming in workload(seconds):
        await asyncio.sleep(max(0.0, _START_SECONDS + coming.at - loop.time()))
        tasks.append(asyncio.ensure_future(caller(coming.key)))
    await asyncio.wait(tasks, timeout=60)
    waits.sort()
    return {
        "calls": len(tasks),
        "origin calls": origin_calls,
        "saved %": 100 * (1 - origin_calls / len(tasks)),
        "waited %": 100 * sum(wait > 0 for wait in waits) / len(waits),
        "stale %": 100 * stale / len(waits),
        "oldest s": oldest,
        "mean ms": 1000 * sum(waits) / len(waits),
        "p99 ms": 1000 * waits[int(len(waits) * 0.99)],
        "errors": errors + len(tasks) - len(waits) - errors,
    }


def make(job: dict[str, Any]) -> Callable[[str], object]:
    """Return what answers ``policies`` with their names, and a name with what that policy did."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    timepiece = Timepiece()
    timepiece.install()
    subject = Subject.load(job["name"], "")

    def answer(line: str) -> object:
        timepiece.clock = VirtualClock(_START_SECONDS)
        random.seed(1)
        loop = VirtualLoop(timepiece.clock)
        try:
            if line == "policies":
                return loop.run_until_complete(_names(subject))
            return loop.run_until_complete(live(subject, line, job["seconds"]))
        finally:
            for task in asyncio.all_tasks(loop):
                task.cancel()

    return answer


async def _names(subject: Subject) -> list[str]:
    if subject.offers("CLOCK"):
        raise SubjectError(subject.module.CLOCK)
    if not subject.offers("policies"):
        raise SubjectError("-")

    async def fixtures(sport: str) -> str:
        return sport

    return list(subject.module.policies(fixtures, ttl_seconds=TTL_SECONDS, size=1))


if __name__ == "__main__":
    answering(make)
