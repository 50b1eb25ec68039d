"""How the flights of one event loop are brought to an end."""

from __future__ import annotations

import asyncio

from ..clock import clock
from ..errors import CoalescerClosedError
from ..protocols import CUT_GRACE_SECONDS, FlightTerms, Key
from .flight import PendingRequest, current_flight
from .table import FlightTable
from .wording import cancelled


def refuse_unless_draining(
    inside: PendingRequest | None, table: FlightTable[PendingRequest], terms: FlightTerms, key: Key
) -> None:
    """Refuse a call on a closed table, unless a flight that is being drained needs the answer in order to end.

    Raises:
        CoalescerClosedError: the call is refused.
    """
    if inside is None or inside.table is not table or inside.given_up:
        raise CoalescerClosedError(
            f"the coalescer is closed on this event loop, so '{terms.describe(key)}' is not fetched; "
            "close it when no call can come any more, or make a new one"
        )


async def drain(table: FlightTable[PendingRequest], seconds: float) -> tuple[int, list[PendingRequest]]:
    """Wait for the table's flights; return how many ended, and those that had not when the time was over."""
    deadline = clock.now() + seconds
    myself = current_flight.get()
    finished = 0
    while True:
        flights = [flight for flight in table.flights() if flight is not myself]
        tasks = [flight.task for flight in flights if flight.task is not None]
        left = deadline - clock.now()
        if not tasks or left <= 0:
            return finished, flights
        done, _ = await asyncio.wait(tasks, timeout=left)
        finished += len(done)


async def cut(flights: list[PendingRequest], reason: str) -> tuple[str, ...]:
    """Give up flights, wait for their tasks as long as is decent, and return their keys as text."""
    keys = tuple(flight.describe() for flight in flights)
    tasks = [flight.task for flight in flights if flight.task is not None]
    for flight in flights:
        flight.give_up(cancelled(flight.describe(), reason), reason)
    if tasks:
        await asyncio.wait(tasks, timeout=CUT_GRACE_SECONDS)
    return keys
