"""An outage: the upstream is down for three times the ttl, while a client asks every 100 ms, and then for longer."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Final

import httpx

from .control import Upstream
from .herd import PATIENCE_SECONDS, Crowd, Row, any_number_of_clients

FRESH_SECONDS: Final = 1.0
REVALIDATE_SECONDS: Final = 1.0
FALLBACK_SECONDS: Final = 4.0
USABLE_SECONDS: Final = FRESH_SECONDS + FALLBACK_SECONDS
OUTAGE_SECONDS: Final = 3 * FRESH_SECONDS
BETWEEN_REQUESTS_SECONDS: Final = 0.1

ENVIRONMENT: Final = {
    "ODDS_FRESH_SECONDS": str(FRESH_SECONDS),
    "ODDS_REVALIDATE_SECONDS": str(REVALIDATE_SECONDS),
    "ODDS_FALLBACK_SECONDS": str(FALLBACK_SECONDS),
}
"""The service's policy for this: as shipped, the same would take five minutes."""


@dataclass(frozen=True, slots=True)
class Outage:
    """What callers met while the upstream was down.

    Attributes:
        row: of the requests in the first three ttls of it.
        oldest_seconds: the age of the oldest answer among these.
        error_after_seconds: how long after the last good fetch the first caller got an error.
        error_status: the status that the error had.
        status_afterwards: what the first caller got when the upstream was up again.
    """

    row: Row
    oldest_seconds: float
    error_after_seconds: float
    error_status: int
    status_afterwards: int


async def endure_outage(name: str, *, url: str, upstream: Upstream) -> Outage:
    """Have one answer fetched, put the upstream out of order, go on asking, and return what came of it.

    Args:
        name: of the row.
        url: what is asked for; the service runs with ``ENVIRONMENT``.
        upstream: the control address.
    """
    async with any_number_of_clients() as clients:
        await upstream.reset()
        await Crowd(clients, url).ask()
        fetched = time.perf_counter()
        await upstream.reset()
        await upstream.go_down()
        crowd = Crowd(clients, url)
        outcomes: list[object] = []
        for number in range(round(OUTAGE_SECONDS / BETWEEN_REQUESTS_SECONDS)):
            await asyncio.sleep(fetched + number * BETWEEN_REQUESTS_SECONDS - time.perf_counter())
            outcomes += await asyncio.gather(crowd.ask(), return_exceptions=True)
        row = crowd.row(name, outcomes, await upstream.seen(0))
        oldest_seconds = crowd.oldest_seconds
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (error := await _error_of(crowd)) is None:  # noqa: ASYNC110 - as before, one request after the other
                await asyncio.sleep(BETWEEN_REQUESTS_SECONDS)
        error_after_seconds = time.perf_counter() - fetched
        await upstream.come_up()
        afterwards = await clients.get(url)
    return Outage(
        row=row,
        oldest_seconds=oldest_seconds,
        error_after_seconds=error_after_seconds,
        error_status=error.response.status_code,
        status_afterwards=afterwards.status_code,
    )


async def _error_of(crowd: Crowd) -> httpx.HTTPStatusError | None:
    try:
        await crowd.ask()
    except httpx.HTTPStatusError as error:
        return error
    return None
