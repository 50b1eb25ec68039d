"""The health of the example service: a pure function of a snapshot."""

from __future__ import annotations

import pytest

from coalesce_kit import CoalescerStats
from coalesce_kit.stats.registry import RegistrySnapshot
from examples.odds_service.health import health_of


def health(**numbers: float) -> dict[str, object]:
    """The health of a service with one function that has these numbers."""
    stats = CoalescerStats(name="odds", instance="one", pid=1, **numbers)
    totals = CoalescerStats(name="total", instance="one", pid=1, **numbers)
    gone = CoalescerStats(name="gone", instance="one", pid=1)
    snapshot = RegistrySnapshot(
        instance="one", pid=1, started_seconds_ago=1.0, functions={"odds": stats}, gone=gone, totals=totals
    )
    return health_of(snapshot, max_wait_seconds=5.0, max_flight_seconds=60.0)


def test_no_reason_is_healthy():
    """A function that has done nothing wrong is healthy"""
    assert health(fetches=20)["status"] == "healthy"
    assert health(fetches=20)["reasons"] == []


@pytest.mark.parametrize("number", ["wait_timeouts", "slow_fetches", "zombies"])
def test_one_of_them_is_a_warning(number):
    """Any wait time-out, slow fetch or zombie is a warning that names the function"""
    told = health(**{number: 1})
    assert told["status"] == "warning"
    assert told["reasons"] == [{"severity": "warning", "code": number, "function": "odds", "value": 1, "threshold": 0}]


def test_an_over_age_flight_is_degraded():
    """A flight older than max_flight_seconds is degraded, also beside a warning"""
    told = health(oldest_flight_seconds=60.5, slow_fetches=1)
    assert told["status"] == "degraded"
    assert [reason["code"] for reason in told["reasons"]] == ["flight_too_old", "slow_fetches"]


@pytest.mark.parametrize(
    ("fetches", "fetch_errors", "fetch_timeouts", "status"),
    [(19, 19, 0, "healthy"), (20, 10, 0, "healthy"), (20, 11, 0, "degraded"), (20, 6, 5, "degraded")],
)
def test_more_than_half_of_twenty_fetches_failed(fetches, fetch_errors, fetch_timeouts, status):
    """Degraded from twenty fetches on, when more than half of them failed"""
    assert health(fetches=fetches, fetch_errors=fetch_errors, fetch_timeouts=fetch_timeouts)["status"] == status


def test_the_seven_names_are_the_totals():
    """The seven original names stand at the top, with the totals"""
    told = health(led_requests=1, coalesced_requests=3, fetches=1)
    assert (told["total_requests"], told["api_calls_made"], told["hit_rate_percent"]) == (4, 1, 75.0)
