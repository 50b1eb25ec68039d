"""``demo``: a stampede in this process, without coalescing and with it. Needs nothing but the standard library."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from .. import coalesced, get_stats_registry

CALLERS: Final = 100
ALLOWED: Final = 5
ANSWER_SECONDS: Final = 0.3


class TooManyRequestsError(Exception):
    """The upstream's own 429."""


class Upstream:
    """An odds API that answers slowly, and only so many at a time."""

    def __init__(self) -> None:
        self.calls = 0
        self._working = 0

    async def fixtures(self, league: str) -> tuple[str, ...]:
        """Answer after a while, or refuse."""
        self.calls += 1
        if self._working >= ALLOWED:
            raise TooManyRequestsError(f"more than {ALLOWED} calls at once")
        self._working += 1
        try:
            await asyncio.sleep(ANSWER_SECONDS)
        finally:
            self._working -= 1
        return (f"{league}: Bears – Bills", f"{league}: Eagles – Giants")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one stampede."""

    answered: int
    refused: int
    calls: int
    seconds: float


async def stampede(upstream: Upstream, ask: Callable[[str], Awaitable[tuple[str, ...]]]) -> Outcome:
    """Let everybody ask for the same thing at once."""
    calls, began = upstream.calls, time.perf_counter()
    answers = await asyncio.gather(*(ask("nfl") for _ in range(CALLERS)), return_exceptions=True)
    refused = sum(isinstance(answer, TooManyRequestsError) for answer in answers)
    return Outcome(CALLERS - refused, refused, upstream.calls - calls, time.perf_counter() - began)


async def show() -> None:
    """Run the stampedes and print what came of them."""
    upstream = Upstream()

    @coalesced(key="fixtures:{league}", ttl=30, name="fixtures")
    async def fixtures(league: str) -> tuple[str, ...]:
        return await upstream.fixtures(league)

    _print(f"{CALLERS} callers ask for the same fixtures at the same moment.")
    _print(f"The upstream takes {ANSWER_SECONDS} s, and answers {ALLOWED} calls at once; it refuses the others.")
    _print("")
    _print(f"{'':24}{'answered':>10}{'refused':>10}{'upstream calls':>16}{'seconds':>10}")
    for name, ask in (
        ("without", upstream.fixtures),
        ("with @coalesced(ttl=30)", fixtures),
        ("and once more", fixtures),
    ):
        outcome = await stampede(upstream, ask)
        counts = f"{outcome.answered:>10}{outcome.refused:>10}{outcome.calls:>16}"
        _print(f"{name:24}{counts}{outcome.seconds:>10.3f}")
    _print("")
    _print("print(get_stats_registry()):")
    _print("")
    _print(str(get_stats_registry()))


def run_demo() -> None:
    """Run the demonstration in a loop of its own."""
    asyncio.run(show())


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
