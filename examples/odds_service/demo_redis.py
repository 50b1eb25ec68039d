"""``make demo-redis``: a hundred clients at once, spread over four workers: each worker for itself, then over Redis.

Then the same question again, and another one with the Redis server killed. The upstream holds its answers back until
everybody has come, so that no step races a clock.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from .control import Upstream
from .herd import CLIENTS, PATIENCE_SECONDS, Crowd, Row, any_number_of_clients
from .processes import interrupt_on_signals
from .redis_server import RedisServer, running_redis
from .serve import Crew, running_crew

WORKERS: Final = 4
QUESTION: Final = "/optic-odds/fixtures/nfl?live=true&limit=5"
ANOTHER: Final = "/optic-odds/fixtures/nba?live=true&limit=5"
ENVIRONMENT: Final = {"ODDS_FRESH_SECONDS": "60"}
BETWEEN_LOOKS_SECONDS: Final = 0.005


@dataclass(frozen=True, slots=True)
class Shown:
    """What the demonstration showed.

    Attributes:
        alone: every worker shares for itself.
        shared: all share over Redis.
        again: the same question once more.
        without: another question, the Redis server killed.
        log: what a worker logged about that.
        crews: the processes that ran; they have ended.
    """

    alone: Row
    shared: Row
    again: Row
    without: Row
    log: Sequence[str]
    crews: tuple[Crew, Crew]

    @property
    def rows(self) -> tuple[Row, ...]:
        """Every row, in the order of the table."""
        return (self.alone, self.shared, self.again, self.without)


async def _requests(client: httpx.AsyncClient, crew: Crew) -> int:
    """How many calls have reached the coalesced functions of all workers."""
    total = 0
    for worker in crew.workers:
        response = await client.get(f"{worker.url}/health/coalescer")
        total += int(response.raise_for_status().json()["total_requests"])
    return total


async def _crowd(name: str, crew: Crew, question: str) -> Row:
    """Send the clients, one after the other to the next worker, and return what came of them."""
    async with any_number_of_clients() as clients, httpx.AsyncClient(timeout=PATIENCE_SECONDS) as client:
        upstream = Upstream(client, crew.upstream.url)
        crowds = [Crowd(clients, f"{worker.url}{question}") for worker in crew.workers]
        before = await _requests(client, crew)
        await upstream.reset()
        await upstream.hold()
        asking = [asyncio.create_task(crowds[number % len(crowds)].ask()) for number in range(CLIENTS)]
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while await _requests(client, crew) - before < CLIENTS:  # noqa: ASYNC110 - the event is in other processes
                    await asyncio.sleep(BETWEEN_LOOKS_SECONDS)
        finally:
            await upstream.release()
        outcomes = await asyncio.gather(*asking, return_exceptions=True)
        together = Crowd(clients, question)
        for crowd in crowds:
            together.seconds += crowd.seconds
            together.bodies |= crowd.bodies
        return together.row(name, outcomes, await upstream.seen(0))


def run_demonstration() -> Shown:
    """Start the processes, demonstrate, and stop them."""
    with tempfile.TemporaryDirectory() as directory:
        logs = Path(directory)
        with running_crew(WORKERS, redis_url=None, environment=ENVIRONMENT, logs=logs) as apart:
            alone = asyncio.run(_crowd("each for itself", apart, QUESTION))
        with (
            running_redis() as redis,
            running_crew(WORKERS, redis_url=redis.url, environment=ENVIRONMENT, logs=logs) as together,
        ):
            shared, again, without = asyncio.run(_over(redis, together))
        log = [line for line in (logs / "service-1.log").read_text().splitlines() if " store_" in line]
    return Shown(alone, shared, again, without, log, (apart, together))


async def _over(redis: RedisServer, crew: Crew) -> tuple[Row, Row, Row]:
    shared = await _crowd("over Redis", crew, QUESTION)
    again = await _crowd("once more", crew, QUESTION)
    redis.kill()
    return shared, again, await _crowd("Redis is killed", crew, ANOTHER)


def as_text(shown: Shown) -> str:
    """Render the demonstration for a terminal of 100 columns."""
    heads = ("", "requests", "answers", "errors", "different", "upstream calls", "p50", "p99")
    cells = [heads, *(_cells(row) for row in shown.rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(heads))]
    table = "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    )
    return (
        f"{CLIENTS} clients send GET {QUESTION} at once, to {WORKERS} workers in turn.\n"
        "The upstream takes 150 ms and holds its answers back until all have come.\n\n"
        f"{table}\n\n"
        "Without a server each worker makes its own call; over Redis one worker calls, and the others are\n"
        f"given its answer. With the server killed nobody gets an error: each worker calls for itself again.\n\n"
        f"A worker's log of that:\n{_shortened(shown.log)}"
    )


def _shortened(lines: Sequence[str]) -> str:
    return "\n".join(line if len(line) <= 100 else f"{line[:99]}…" for line in lines)


def _cells(row: Row) -> tuple[str, ...]:
    counts = (row.requests, row.answers, row.errors, len(row.bodies), row.upstream_calls)
    times = (row.percentile_ms(50), row.percentile_ms(99))
    return (row.name, *map(str, counts), *("–" if ms is None else f"{ms:.0f} ms" for ms in times))


def main() -> None:
    """Run the demonstration and print it."""
    interrupt_on_signals()
    try:
        print(as_text(run_demonstration()))
    except KeyboardInterrupt:
        sys.exit("interrupted: all processes are stopped")


if __name__ == "__main__":
    main()
