"""The flights of one event loop."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Generic, TypeVar

from ..protocols import Key
from ..stats.counters import Counters

F = TypeVar("F")


class FlightTable(Generic[F]):
    """The flights of one coalescer on one event loop. Written on that loop's thread only.

    Attributes:
        loop: the event loop they run on.
        totals: where the coalescer counts, whatever the function.
        max_flight_seconds: the age from which on a flight is not joined any more.
        pending: the flight that holds each key's slot.
        detached: flights that run without a slot: over age, forgotten, or given up and not yet stopped.
        closed: no new call is accepted.
        context: what timers run in; empty, so that a cancelled timer keeps no caller's context alive.
    """

    __slots__ = ("closed", "context", "detached", "loop", "max_flight_seconds", "pending", "totals")

    def __init__(self, loop: asyncio.AbstractEventLoop, totals: Counters, max_flight_seconds: float) -> None:
        self.loop = loop
        self.totals = totals
        self.max_flight_seconds = max_flight_seconds
        self.pending: dict[Key, F] = {}
        self.detached: set[F] = set()
        self.closed = False
        self.context = contextvars.Context()

    def flights(self) -> list[F]:
        """Every flight whose task is not done. Any thread."""
        return [*self.pending.values(), *self.detached]
