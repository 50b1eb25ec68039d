"""How flights move the numbers: each of them once for the function and once for the coalescer."""

from __future__ import annotations

import logging
from typing import Literal, TypeAlias

from ..protocols import FlightTerms
from ..stats.counters import Counters
from ..stats.latency import bucket_of

logger = logging.getLogger(__name__)

End: TypeAlias = Literal["returned", "failed", "cancelled", "timed out"]
"""How a fetch ended, as its callers see it."""


def count_waits(function: Counters, totals: Counters, arrivals: list[float], now: float) -> None:
    """Count waits that end now, given when each began, the earliest first."""
    seconds = len(arrivals) * now - sum(arrivals)
    for counters in (function, totals):
        counters.wait_seconds_total += seconds
        counters.wait_latency.record_since(arrivals, now)


def count_end(terms: FlightTerms, totals: Counters, seconds: float, end: End, max_wait: float | None) -> None:
    """Count a fetch that has ended after ``seconds``."""
    function = terms.counters
    bucket = bucket_of(seconds)
    function.fetch_seconds_total += seconds
    totals.fetch_seconds_total += seconds
    function.fetch_latency.buckets[bucket] += 1
    totals.fetch_latency.buckets[bucket] += 1
    if end != "returned":
        failed, cancelled, timed_out = end == "failed", end == "cancelled", end == "timed out"
        for counters in (function, totals):
            counters.fetch_errors += failed
            counters.fetch_cancelled += cancelled
            counters.fetch_timeouts += timed_out
    if max_wait is not None and seconds > max_wait:
        _count_slow(terms, totals, seconds, max_wait)


def _count_slow(terms: FlightTerms, totals: Counters, seconds: float, max_wait: float) -> None:
    if terms.counters.slow_fetches == 0:
        logger.warning(
            "slow_fetch: a fetch of %s ran for %.1f s and max_wait_seconds is %g: alone a caller gets its answer, in a"
            " crowd the others get WaitTimeoutError; raise max_wait_seconds above the function's normal time, or None",
            terms.name,
            seconds,
            max_wait,
            extra={"function": terms.name, "seconds": seconds, "max_wait_seconds": max_wait},
        )
    for counters in (terms.counters, totals):
        counters.slow_fetches += 1
