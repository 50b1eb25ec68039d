"""A herd: a hundred clients who ask the same thing at once, the first of whom hangs up.

The first client's request is sent alone; the others follow once the upstream has seen it; the first hangs up as soon
as another waits beside it; and the upstream, which has held its answers back so far, releases them when everybody has
come. No step waits for a time: each waits for the event before it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import httpx

from .app import AGE_HEADER
from .control import Upstream

CLIENTS: Final = 100
PATIENCE_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Row:
    """What came of the requests of one kind.

    Attributes:
        name: how the service shared the work.
        requests: how many there were.
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


class Crowd:
    """Clients who all ask for one thing, and what came of it.

    Args:
        clients: sends their requests.
        url: what they ask for.

    Attributes:
        seconds: of each that was answered, how long it took.
        bodies: the answers that are different from each other.
        oldest_seconds: the greatest age of an answer, as the service told it.
    """

    def __init__(self, clients: httpx.AsyncClient, url: str) -> None:
        self._clients = clients
        self._url = url
        self.seconds: list[float] = []
        self.bodies: set[bytes] = set()
        self.oldest_seconds = 0.0

    async def ask(self) -> None:
        """Ask once, as one of them.

        Raises:
            httpx.HTTPStatusError: the answer was none.
        """
        began = time.perf_counter()
        response = await self._clients.get(self._url)
        response.raise_for_status()
        self.seconds.append(time.perf_counter() - began)
        self.bodies.add(response.content)
        self.oldest_seconds = max(self.oldest_seconds, float(response.headers.get(AGE_HEADER, 0)))

    def row(self, name: str, outcomes: Sequence[object], counters: Mapping[str, int]) -> Row:
        """Sum up: how each ``ask`` ended, and what the upstream counted meanwhile."""
        return Row(
            name=name,
            requests=len(outcomes),
            seconds=tuple(self.seconds),
            bodies=frozenset(self.bodies),
            errors=sum(isinstance(outcome, Exception) for outcome in outcomes),
            hung_up=sum(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes),
            upstream_calls=counters["calls"],
            refused=counters["refused"],
        )


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
    async with any_number_of_clients() as clients:
        crowd = Crowd(clients, url)
        await upstream.reset()
        await upstream.hold()
        first = asyncio.create_task(crowd.ask())
        try:
            await upstream.seen(1)
            others = [asyncio.create_task(crowd.ask()) for _ in range(CLIENTS - 1)]
            await everybody_came(2)
            first.cancel()
            await asyncio.wait([first])  # its socket is closed before anything else happens
            await everybody_came(CLIENTS)
        finally:
            await upstream.release()
        outcomes = await asyncio.gather(first, *others, return_exceptions=True)
    return crowd.row(name, outcomes, await upstream.seen(0))


async def ask_again(name: str, *, url: str, upstream: Upstream) -> Row:
    """Ask as often, one after another, for what a herd has just been answered, and return what came of it."""
    async with any_number_of_clients() as clients:
        crowd = Crowd(clients, url)
        await upstream.reset()
        outcomes: list[object] = []
        for _ in range(CLIENTS):
            outcomes += await asyncio.gather(crowd.ask(), return_exceptions=True)
    return crowd.row(name, outcomes, await upstream.seen(0))


def any_number_of_clients() -> httpx.AsyncClient:
    """Make what sends requests, however many at once."""
    return httpx.AsyncClient(timeout=PATIENCE_SECONDS, limits=httpx.Limits(max_connections=None))
