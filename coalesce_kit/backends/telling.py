"""How observers are told of flights: one function per event, called only where somebody observes."""

from __future__ import annotations

from ..clock import clock
from ..protocols import FlightTerms, Key
from ..stats.observer import FetchEnded, FetchStarted, Observers, WaiterJoined, WaiterLeft


def tell_started(observers: Observers, terms: FlightTerms, key: Key) -> None:
    """Tell that the next thing that runs is the origin."""
    observers.fetch_started(FetchStarted(function=terms.name, key=key, describe=terms.describe, refresh=terms.refresh))


def tell_ended(
    observers: Observers, terms: FlightTerms, key: Key, *, began: float, waiters: int, error: BaseException | None
) -> None:
    """Tell that a fetch has ended, and with what error."""
    elapsed = clock.now() - began
    observers.fetch_ended(
        FetchEnded(
            function=terms.name,
            key=key,
            describe=terms.describe,
            elapsed_seconds=elapsed,
            waiters=waiters,
            error=error,
        )
    )


def tell_joined(observers: Observers, terms: FlightTerms, key: Key, *, waiters: int, age_seconds: float) -> None:
    """Tell that a caller waits for a fetch that another began ``age_seconds`` ago."""
    observers.waiter_joined(
        WaiterJoined(
            function=terms.name, key=key, describe=terms.describe, waiters=waiters, flight_age_seconds=age_seconds
        )
    )


def tell_left(
    observers: Observers, terms: FlightTerms, key: Key, *, arrived: float, error: BaseException | None
) -> None:
    """Tell that a caller waits no longer, and with what error."""
    waited = clock.now() - arrived
    observers.waiter_left(
        WaiterLeft(function=terms.name, key=key, describe=terms.describe, waited_seconds=waited, error=error)
    )
