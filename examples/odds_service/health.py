"""Health of the coalesced functions: a pure function of the registry's snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple, TypeAlias

from coalesce_kit import CoalescerStats
from coalesce_kit.stats.registry import RegistrySnapshot

FEWEST_FETCHES: Final = 20
TOLERATED_FAILURES_PERCENT: Final = 50.0
ORIGINAL_NAMES: Final = (
    "total_requests",
    "coalesced_requests",
    "api_calls_made",
    "hit_rate_percent",
    "avg_wait_time_ms",
    "max_concurrent_waiters",
    "pending_keys",
)

Status: TypeAlias = Literal["healthy", "warning", "degraded"]


class Reason(NamedTuple):
    """Why the status is not healthy: one number of one function that is beyond its threshold."""

    severity: Literal["warning", "degraded"]
    code: str
    function: str
    value: float
    threshold: float


def reasons_in(stats: CoalescerStats, *, function: str, max_flight_seconds: float) -> Iterator[Reason]:
    """Find what is wrong with one function."""
    if stats.oldest_flight_seconds > max_flight_seconds:
        yield Reason("degraded", "flight_too_old", function, stats.oldest_flight_seconds, max_flight_seconds)
    failures = stats.fetch_errors + stats.fetch_timeouts
    if stats.fetches >= FEWEST_FETCHES and 100 * failures / stats.fetches > TOLERATED_FAILURES_PERCENT:
        percent = 100 * failures / stats.fetches
        yield Reason("degraded", "fetches_fail", function, percent, TOLERATED_FAILURES_PERCENT)
    for code, value in (
        ("wait_timeouts", stats.wait_timeouts),
        ("slow_fetches", stats.slow_fetches),
        ("zombies", stats.zombies),
    ):
        if value:
            yield Reason("warning", code, function, value, 0)


def health_of(
    snapshot: RegistrySnapshot, *, max_wait_seconds: float | None, max_flight_seconds: float
) -> dict[str, object]:
    """Return what ``GET /health/coalescer`` answers.

    Args:
        snapshot: the numbers.
        max_wait_seconds: the coalescer's limit for one waiter, told to the reader.
        max_flight_seconds: the age from which a flight is a reason to be degraded.
    """
    reasons = [
        reason
        for function, stats in snapshot.functions.items()
        for reason in reasons_in(stats, function=function, max_flight_seconds=max_flight_seconds)
    ]
    severities = {reason.severity for reason in reasons}
    status: Status = "degraded" if "degraded" in severities else "warning" if "warning" in severities else "healthy"
    return {
        "status": status,
        "reasons": [reason._asdict() for reason in reasons],
        **{name: getattr(snapshot.totals, name) for name in ORIGINAL_NAMES},
        "max_wait_seconds": max_wait_seconds,
        "functions": {function: stats.as_dict() for function, stats in snapshot.functions.items()},
    }
