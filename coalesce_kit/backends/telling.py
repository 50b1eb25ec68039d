"""How observers are told of flights: one function per event, called only where somebody observes.

Flights and callers are numbered by their addresses: that costs nothing while nobody observes, and whoever tells holds
the flight, and the caller's future, until the last event about them is told.
"""

from __future__ import annotations

from ..clock import clock
from ..protocols import FlightTerms, Key
from ..stats.observer import FetchEnded, FetchStarted, Observers, WaiterJoined, WaiterLeft


def tell_started(observers: Observers, terms: FlightTerms, key: Key, *, flight: object) -> None:
    """Tell that the next thing that runs is the origin."""
    observers.fetch_started(
        FetchStarted(function=terms.name, key=key, describe=terms.describe, flight=id(flight), refresh=terms.refresh)
    )


def tell_ended(
    observers: Observers,
    terms: FlightTerms,
    key: Key,
    *,
    flight: object,
    began: float,
    waiters: int,
    error: BaseException | None,
    cancelled: bool,
) -> None:
    """Tell that a fetch has ended, and with what error."""
    elapsed = clock.now() - began
    observers.fetch_ended(
        FetchEnded(
            function=terms.name,
            key=key,
            describe=terms.describe,
            flight=id(flight),
            elapsed_seconds=elapsed,
            waiters=waiters,
            error=error,
            cancelled=cancelled,
        )
    )


def tell_joined(
    observers: Observers,
    terms: FlightTerms,
    key: Key,
    *,
    flight: object,
    waiter: object,
    waiters: int,
    age_seconds: float,
) -> None:
    """Tell that a caller waits for a fetch that another began ``age_seconds`` ago."""
    observers.waiter_joined(
        WaiterJoined(
            function=terms.name,
            key=key,
            describe=terms.describe,
            flight=id(flight),
            waiter=id(waiter),
            waiters=waiters,
            flight_age_seconds=age_seconds,
        )
    )


def tell_left(
    observers: Observers,
    terms: FlightTerms,
    key: Key,
    *,
    flight: object,
    waiter: object,
    arrived: float,
    error: BaseException | None,
) -> None:
    """Tell that a caller waits no longer, and with what error."""
    waited = clock.now() - arrived
    observers.waiter_left(
        WaiterLeft(
            function=terms.name,
            key=key,
            describe=terms.describe,
            flight=id(flight),
            waiter=id(waiter),
            waited_seconds=waited,
            error=error,
        )
    )
