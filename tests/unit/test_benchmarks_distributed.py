"""The question about a fleet: who is asked, and what is made of what they say."""

from __future__ import annotations

from benchmarks import distributed, fleets
from benchmarks.subjects import OURS


def test_ours_is_always_asked() -> None:
    """And cannot be chosen away."""
    assert OURS in fleets.FLEETS
    assert OURS not in fleets.RIVALS
    assert set(fleets.RIVALS) < set(fleets.FLEETS)


def test_what_workers_say_is_put_together() -> None:
    """Waits of all, errors added up."""
    said = [{"waits": [0.1] * 98 + [0.5], "errors": {"A": 1}}, {"waits": [0.2], "errors": {"A": 1, "B": 1}}]
    assert distributed._waits(said) == {"p50 ms": 100.0, "p99 ms": 500.0, "errors": "2 A, 1 B"}


def test_every_column_of_a_scenario_is_shown() -> None:
    """What stands in a row stands in the table."""
    assert {"p50 ms", "p99 ms", "errors"} <= set(distributed.COLUMNS)
