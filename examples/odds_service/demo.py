"""``make demo``: the same herd of clients three times and what the upstream saw of it, then the cache, then an outage.

The herds meet a service whose answers are fresh for a minute, so that no step of theirs races a clock. The outage has
one of its own, whose answers are fresh for a second and of use for five.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from .control import Upstream
from .herd import CLIENTS, PATIENCE_SECONDS, Row, ask_again, send_herd
from .outage import ENVIRONMENT, OUTAGE_SECONDS, USABLE_SECONDS, Outage, endure_outage
from .processes import interrupt_on_signals
from .serve import Pair, running_pair

QUESTION: Final = "/optic-odds/fixtures/nfl?live=true&limit=5"
BETWEEN_LOOKS_SECONDS: Final = 0.005
HERDS_ENVIRONMENT: Final = {"ODDS_FRESH_SECONDS": "60"}


@dataclass(frozen=True, slots=True)
class Herds:
    """What came of the herds.

    Attributes:
        uncoalesced: every request is a call.
        naive: a dict of shared tasks.
        coalesced: coalesce_kit.
        kept: the same once more, from its cache.
        registry: the service's table of its functions' numbers.
    """

    uncoalesced: Row
    naive: Row
    coalesced: Row
    kept: Row
    registry: str


@dataclass(frozen=True, slots=True)
class Demonstration:
    """What the demonstration showed.

    Attributes:
        herds: three of them, and the cache.
        outage: the upstream was down.
        pairs: the processes that ran; they have ended.
    """

    herds: Herds
    outage: Outage
    pairs: tuple[Pair, Pair]

    @property
    def rows(self) -> tuple[Row, ...]:
        """Every row, in the order of the table."""
        herds = self.herds
        return (herds.uncoalesced, herds.naive, herds.coalesced, herds.kept, self.outage.row)


async def send_herds(pair: Pair) -> Herds:
    """Send the herds to a running pair of processes that nobody else is using."""
    service = pair.service.url
    async with httpx.AsyncClient(timeout=PATIENCE_SECONDS) as client:
        upstream = Upstream(client, pair.upstream.url)

        async def look_until(count: Callable[[], Awaitable[int]], reached: int) -> None:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while await count() < reached:  # noqa: ASYNC110 - the event is another process's: it can only be looked for
                    await asyncio.sleep(BETWEEN_LOOKS_SECONDS)

        async def asked_of_naive() -> int:
            response = await client.get(f"{service}/naive/asked")
            return int(response.raise_for_status().json()["asked"])

        async def asked_of_coalesced() -> int:
            response = await client.get(f"{service}/health/coalescer")
            return int(response.raise_for_status().json()["total_requests"])

        uncoalesced = await send_herd(
            "without coalescing",
            url=f"{service}/uncoalesced{QUESTION}",
            upstream=upstream,
            everybody_came=upstream.seen,
        )
        naive = await send_herd(
            "naive shared tasks",
            url=f"{service}/naive{QUESTION}",
            upstream=upstream,
            everybody_came=lambda clients: look_until(asked_of_naive, clients),
        )
        coalesced = await send_herd(
            "coalesce_kit",
            url=f"{service}{QUESTION}",
            upstream=upstream,
            everybody_came=lambda clients: look_until(asked_of_coalesced, clients),
        )
        kept = await ask_again("and its cache", url=f"{service}{QUESTION}", upstream=upstream)
        table = await client.get(f"{service}/health/coalescer.txt")
    return Herds(uncoalesced, naive, coalesced, kept, table.text)


async def show_outage(pair: Pair) -> Outage:
    """Put the upstream of a pair out of order that runs with the outage's policy and that nobody else is using."""
    async with httpx.AsyncClient(timeout=PATIENCE_SECONDS) as client:
        upstream = Upstream(client, pair.upstream.url)
        return await endure_outage("upstream down", url=f"{pair.service.url}{QUESTION}", upstream=upstream)


def run_demonstration() -> Demonstration:
    """Start the processes, demonstrate, and stop them."""
    with tempfile.TemporaryDirectory() as directory:
        logs = Path(directory)
        try:
            with running_pair(with_harmful_rows=True, environment=HERDS_ENVIRONMENT, logs=logs) as first:
                herds = asyncio.run(send_herds(first))
            with running_pair(environment=ENVIRONMENT, logs=logs) as second:
                outage = asyncio.run(show_outage(second))
        except Exception as error:
            log = logs / "service.log"
            if log.exists():
                error.add_note(log.read_text())
            raise
    return Demonstration(herds, outage, (first, second))


def as_text(shown: Demonstration) -> str:
    """Render the demonstration for a terminal of 100 columns."""
    heads = ("", "requests", "answers", "errors", "hung up", "upstream calls", "429s", "p50", "p99")
    cells = [heads, *(_cells(row) for row in shown.rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(heads))]
    table = "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    )
    indent = "\n" + " " * (widths[0] + 2)
    meanings = zip(shown.rows, _meanings(shown), strict=True)
    seen = "\n".join(f"{row.name.ljust(widths[0])}  {indent.join(lines)}" for row, lines in meanings)
    return (
        f"{CLIENTS} clients send GET {QUESTION} at once.\n"
        "The upstream takes 150 ms, allows five calls a second, and holds its answers back until all have\n"
        "come; meanwhile the first client hangs up. Times are those of answers, from asking to reading.\n\n"
        f"{table}\n\n{seen}\n\n"
        "The service's own numbers of its coalesced functions, after the herds:\n\n"
        f"{shown.herds.registry}"
    )


def _cells(row: Row) -> tuple[str, ...]:
    counts = (row.requests, row.answers, row.errors, row.hung_up, row.upstream_calls, row.refused)
    times = (row.percentile_ms(50), row.percentile_ms(99))
    return (row.name, *map(str, counts), *("–" if ms is None else f"{ms:.0f} ms" for ms in times))


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _meanings(shown: Demonstration) -> tuple[tuple[str, ...], ...]:
    herds, outage = shown.herds, shown.outage
    spared = herds.coalesced.requests - herds.coalesced.upstream_calls
    return (
        (f"every request was a call of its own, and the upstream refused {herds.uncoalesced.refused} of them",),
        (f"the first client's hang-up cancelled the task that {herds.naive.errors} others were waiting for",),
        (f"the upstream was spared {spared} calls, and {herds.coalesced.answers} clients had its answer all the same",),
        (f"{herds.kept.requests} more requests, one after another: answered from what the herd had fetched",),
        (
            f"a client asked every 100 ms for {OUTAGE_SECONDS:.0f} s, three times the ttl: {outage.row.errors} errors;",
            (
                f"the upstream was tried {_times(outage.row.upstream_calls)} meanwhile, and the oldest answer was "
                f"{outage.oldest_seconds:.1f} s old;"
            ),
            (
                f"after {outage.error_after_seconds:.1f} s, past the stale window of {USABLE_SECONDS:.0f} s, a caller "
                f"got the error: a {outage.error_status}"
            ),
        ),
    )


def main() -> None:
    """Run the demonstration and print it."""
    interrupt_on_signals()
    try:
        print(as_text(run_demonstration()))
    except KeyboardInterrupt:
        sys.exit("interrupted: all processes are stopped")


if __name__ == "__main__":
    main()
