"""``make demo``: the same herd of clients three times, and what the upstream saw of it.

Each time the first client's request is sent alone; the others follow once the upstream has seen it; the first hangs up
as soon as another waits beside it; and the upstream, which has held its answers back so far, releases them when
everybody has come. No step waits for a time: each waits for the event before it.
"""

from __future__ import annotations

import asyncio
import math
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from .processes import interrupt_on_signals
from .serve import Pair, running_pair

CLIENTS: Final = 100
QUESTION: Final = "/optic-odds/fixtures/nfl?live=true&limit=5"
PATIENCE_SECONDS: Final = 30.0
BETWEEN_LOOKS_SECONDS: Final = 0.005


@dataclass(frozen=True, slots=True)
class Row:
    """What came of one herd.

    Attributes:
        name: how the service shared the work.
        requests: how many clients asked.
        seconds: of each client that was answered, how long it took.
        bodies: the answers that are different from each other.
        errors: clients that got something other than an answer.
        hung_up: clients that left without one.
        upstream_calls: calls that reached the upstream, by its own counter.
        refused: those among them that it answered with 429.
    """

    name: str
    requests: int
    seconds: Sequence[float]
    bodies: frozenset[bytes]
    errors: int
    hung_up: int
    upstream_calls: int
    refused: int

    @property
    def answers(self) -> int:
        """Clients that were answered."""
        return len(self.seconds)

    def percentile_ms(self, percent: float) -> float | None:
        """Return how many milliseconds so many percent of the answers took at most; none without answers."""
        if not self.seconds:
            return None
        rank = math.ceil(len(self.seconds) * percent / 100)
        return 1000 * sorted(self.seconds)[rank - 1]


@dataclass(frozen=True, slots=True)
class Demonstration:
    """What the demonstration showed.

    Attributes:
        uncoalesced: every request is a call.
        naive: a dict of shared tasks.
        coalesced: coalesce_kit.
        registry: the service's table of its functions' numbers.
        pair: the processes that ran; they have ended.
    """

    uncoalesced: Row
    naive: Row
    coalesced: Row
    registry: str
    pair: Pair


@dataclass(frozen=True, slots=True)
class Upstream:
    """The control address of the odds API."""

    client: httpx.AsyncClient
    url: str

    async def reset(self) -> None:
        """Start counting anew, with nothing used of the rate limit, and let answers go."""
        await self._post("reset")

    async def hold(self) -> None:
        """Hold the answers back."""
        await self._post("hold")

    async def release(self) -> None:
        """Let the answers go."""
        await self._post("release")

    async def seen(self, calls: int) -> dict[str, int]:
        """Wait until so many calls have reached the upstream, and return its counters."""
        response = await self.client.get(f"{self.url}/control/arrivals", params={"at_least": calls})
        counters: dict[str, int] = response.raise_for_status().json()
        return counters

    async def _post(self, action: str) -> None:
        (await self.client.post(f"{self.url}/control/{action}")).raise_for_status()


async def send_herd(
    name: str, *, url: str, upstream: Upstream, everybody_came: Callable[[int], Awaitable[object]]
) -> Row:
    """Send one herd and return what came of it.

    Args:
        name: of the row.
        url: what all clients ask for.
        upstream: the control address.
        everybody_came: waits until so many of the clients have reached the point where they wait for the answer.
    """
    answers: list[tuple[float, bytes]] = []
    async with httpx.AsyncClient(timeout=PATIENCE_SECONDS, limits=httpx.Limits(max_connections=None)) as clients:

        async def ask() -> None:
            began = time.perf_counter()
            response = await clients.get(url)
            response.raise_for_status()
            answers.append((time.perf_counter() - began, response.content))

        await upstream.reset()
        await upstream.hold()
        first = asyncio.create_task(ask())
        try:
            await upstream.seen(1)
            others = [asyncio.create_task(ask()) for _ in range(CLIENTS - 1)]
            await everybody_came(2)
            first.cancel()
            await asyncio.wait([first])  # its socket is closed before anything else happens
            await everybody_came(CLIENTS)
        finally:
            await upstream.release()
        outcomes = await asyncio.gather(first, *others, return_exceptions=True)
    counters = await upstream.seen(0)
    return Row(
        name=name,
        requests=len(outcomes),
        seconds=[seconds for seconds, _ in answers],
        bodies=frozenset(body for _, body in answers),
        errors=sum(isinstance(outcome, Exception) for outcome in outcomes),
        hung_up=sum(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes),
        upstream_calls=counters["calls"],
        refused=counters["refused"],
    )


async def demonstrate(pair: Pair) -> Demonstration:
    """Send the three herds to a running pair of processes that nobody else is using."""
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
        table = await client.get(f"{service}/health/coalescer.txt")
    return Demonstration(uncoalesced, naive, coalesced, table.text, pair)


def run_demonstration() -> Demonstration:
    """Start both processes, demonstrate, and stop them."""
    with tempfile.TemporaryDirectory() as logs, running_pair(with_harmful_rows=True, logs=Path(logs)) as pair:
        try:
            return asyncio.run(demonstrate(pair))
        except Exception as error:
            error.add_note((Path(logs) / "service.log").read_text())
            raise


def as_text(shown: Demonstration) -> str:
    """Render the demonstration for a terminal of 100 columns."""
    rows = (shown.uncoalesced, shown.naive, shown.coalesced)
    heads = ("", "requests", "answers", "errors", "hung up", "upstream calls", "429s", "p50", "p99")
    cells = [heads, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(heads))]
    table = "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    )
    meanings = zip(rows, _meanings(shown), strict=True)
    seen = "\n".join(f"{row.name.ljust(widths[0])}  {meaning}" for row, meaning in meanings)
    return (
        f"{CLIENTS} clients send GET {QUESTION} at once.\n"
        "The upstream takes 150 ms, allows five calls a second, and holds its answers back until all have\n"
        "come; meanwhile the first client hangs up. Times are those of answers, from asking to reading.\n\n"
        f"{table}\n\n{seen}\n\n"
        "The service's own numbers of its coalesced functions:\n\n"
        f"{shown.registry}"
    )


def _cells(row: Row) -> tuple[str, ...]:
    counts = (row.requests, row.answers, row.errors, row.hung_up, row.upstream_calls, row.refused)
    times = (row.percentile_ms(50), row.percentile_ms(99))
    return (row.name, *map(str, counts), *("–" if ms is None else f"{ms:.0f} ms" for ms in times))


def _meanings(shown: Demonstration) -> tuple[str, str, str]:
    spared = shown.coalesced.requests - shown.coalesced.upstream_calls
    return (
        f"every request was a call of its own, and the upstream refused {shown.uncoalesced.refused} of them",
        f"the first client's hang-up cancelled the task that {shown.naive.errors} others were waiting for",
        f"the upstream was spared {spared} calls, and {shown.coalesced.answers} clients had its answer all the same",
    )


def main() -> None:
    """Run the demonstration and print it."""
    interrupt_on_signals()
    try:
        print(as_text(run_demonstration()))
    except KeyboardInterrupt:
        sys.exit("interrupted: both processes are stopped")


if __name__ == "__main__":
    main()
