"""What is too much of what, for health to say so."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthThresholds:
    """From when on a number is a reason for a warning, and from when on for being degraded.

    A number must be above its threshold; ``math.inf`` switches one off. Numbers of events are those of a window.

    Attributes:
        window_seconds: how far back errors, time-outs and slow fetches count.
        fewest_fetches: with fewer fetches, or waits, in the window there is no percentage of them; but of two or more
            that failed without exception there is a warning.
        fewest_fetches_for_p99: with fewer fetches altogether nobody knows what is usual for a function.
        flight_p99_factor: a fetch may run so many times the function's p99 ...
        degraded_flight_p99_factor: ... and so many times until it is degraded, and never less than
            ``max_wait_seconds``. Where the p99 is not known, these are ``max_wait_seconds`` and twice that.
        flight_seconds: no fetch younger than this is too old.
        unlimited_flight_seconds: stands for ``max_wait_seconds`` where there is no such limit.
        zombies: fetches that were given up and still run.
        degraded_zombies: the same.
        failed_fetches_percent: fetches that failed or timed out, of those that ended.
        degraded_failed_fetches_percent: the same.
        wait_timeouts_percent: waits that ended at ``max_wait_seconds``, of those that ended.
        degraded_wait_timeouts_percent: the same.
        slow_fetches_percent: fetches that outlasted ``max_wait_seconds``, of those that ended.
        breaker_state: 0 while the store is in use, 1 while it is tried again, 2 while it is out of use.
        degraded_breaker_state: the same.
        invalidations_pending: invalidations that the store was not told yet.
        untrusted_entries: results at hand that are not served before the store has confirmed them.
        recovery_seconds: how long a number must be good again until the status gets better; two looks at least.
        recovery_margin_percent: how far below its threshold a number must be to be good again.
    """

    window_seconds: float = 60.0
    fewest_fetches: int = 5
    fewest_fetches_for_p99: int = 20
    flight_p99_factor: float = 3.0
    degraded_flight_p99_factor: float = 10.0
    flight_seconds: float = 1.0
    unlimited_flight_seconds: float = 60.0
    zombies: float = 0
    degraded_zombies: float = 10
    failed_fetches_percent: float = 20.0
    degraded_failed_fetches_percent: float = 50.0
    wait_timeouts_percent: float = 0.0
    degraded_wait_timeouts_percent: float = 50.0
    slow_fetches_percent: float = 0.0
    breaker_state: float = 0
    degraded_breaker_state: float = 1
    invalidations_pending: float = 0
    untrusted_entries: float = 0
    recovery_seconds: float = 10.0
    recovery_margin_percent: float = 20.0

    def __post_init__(self) -> None:
        for threshold in fields(self):
            value = getattr(self, threshold.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
                raise ValueError(f"{threshold.name} must be a number that is at least 0, not {value!r}")
        if not 0 < self.window_seconds < math.inf:
            raise ValueError(f"window_seconds must be greater than 0 and finite, not {self.window_seconds!r}")
        if self.recovery_margin_percent > 100:
            raise ValueError(f"recovery_margin_percent must be at most 100, not {self.recovery_margin_percent!r}")


DEFAULT_THRESHOLDS: Final = HealthThresholds()
