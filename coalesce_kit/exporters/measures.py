"""What the exporters show of every function: each number's name, kind, and the words that explain it.

One table for all of them, so that a number has the same name wherever it is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Final, Literal

from ..stats.counters import CoalescerStats, Counters, Gauges
from ..stats.latency import BOUNDS_SECONDS, LatencySnapshot
from ..stats.showing import Limits

PREFIX: Final = "coalesce_kit"

FUNCTION_LABEL: Final = "function"
"""The label that every row has. There is none for the key: keys are unbounded, and some are secrets."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One number, or several that are told apart by a label.

    Attributes:
        name: without prefix and suffix.
        kind: ``"counter"`` only grows; ``"gauge"`` is what is the case now, and adds up over functions and processes;
            ``"maximum"`` is the case now, too, and does not add up.
        text: what it says, for people.
        parts: the fields of ``CoalescerStats`` by the label's value; ``""`` where there is no label.
        label: what tells the parts apart; empty for one part.
        counted: what one of it is, in the singular; ``"second"`` for times.
        of_store: a function without a store does not have it.
    """

    name: str
    kind: Literal["counter", "gauge", "maximum"]
    text: str
    parts: Mapping[str, str]
    label: str = ""
    counted: str = "request"
    of_store: bool = False

    def is_shown_of(self, stats: CoalescerStats) -> bool:
        """Whether a function with these numbers has this one; one that has a store has moved some number of it."""
        return not self.of_store or any(getattr(stats, number) for number in OF_STORE)


@dataclass(frozen=True, slots=True)
class Duration:
    """A latency, shown as a histogram in seconds.

    Attributes:
        name: without prefix and unit.
        text: what it says, for people.
        latency: the field of ``CoalescerStats`` with the buckets.
        seconds: the field with the sum.
    """

    name: str
    text: str
    latency: str
    seconds: str

    def latency_of(self, stats: CoalescerStats) -> LatencySnapshot:
        """Return the buckets."""
        latency: LatencySnapshot = getattr(stats, self.latency)
        return latency

    def seconds_of(self, stats: CoalescerStats) -> float:
        """Return the sum of all samples."""
        seconds: float = getattr(stats, self.seconds)
        return seconds


def _counter(name: str, counted: str, text: str) -> Measure:
    return Measure(name, "counter", text, {"": name}, counted=counted)


def _gauge(name: str, counted: str, text: str) -> Measure:
    return Measure(name, "gauge", text, {"": name}, counted=counted)


def _maximum(name: str, counted: str, text: str) -> Measure:
    return Measure(name, "maximum", text, {"": name}, counted=counted)


_NAMED: Final = (
    Measure(
        "requests",
        "counter",
        "Calls, by what became of each: answered by a fresh or a stale value at hand, coalesced with a fetch in flight,"
        " led a fetch, or rejected.",
        {
            "hit": "cache_hits",
            "stale": "stale_hits",
            "coalesced": "coalesced_requests",
            "led": "led_requests",
            "rejected": "rejected_requests",
        },
        "outcome",
    ),
    _counter("bypassed_requests", "request", "Calls of origin, which went straight to the function."),
    _counter("fetches", "fetch", "Runs of the function, refreshes included: what the upstream saw."),
    Measure(
        "fetch_failures",
        "counter",
        "Fetches that returned nothing: an error, a cancellation, or fetch_timeout_seconds.",
        {"error": "fetch_errors", "cancelled": "fetch_cancelled", "timeout": "fetch_timeouts"},
        "reason",
        "fetch",
    ),
    _counter("slow_fetches", "fetch", "Fetches that outlasted max_wait_seconds."),
    _counter("abandoned_fetches", "fetch", "Fetches that were cancelled because their last caller had left."),
    _counter("refreshes", "fetch", "Fetches begun for no caller's request."),
    _counter("refresh_errors", "fetch", "Refreshes that failed."),
    _counter("stale_on_error", "request", "Callers given a stale value because their fetch failed or took too long."),
    _counter("stale_after_wait", "request", "Callers given a stale value because stale_wait_seconds was over."),
    _counter("wait_timeouts", "request", "Waits that lasted longer than max_wait_seconds."),
    _counter("error_fanout", "request", "Callers who were given the failure of a fetch that another had begun."),
    _counter("errors_shared_as_is", "request", "Of these, callers given the original, which could not be twinned."),
    _counter("stale_publishes_refused", "fetch", "Results delivered and not kept, as something was invalidated."),
    _counter("invalidations", "invalidation", "Calls of invalidate, invalidate_key and invalidate_all."),
    _counter("recursions_refused", "request", "Calls rejected because they would have waited for themselves."),
    _counter("remembered_errors_served", "request", "Hits that were a remembered error."),
    _counter("policy_errors", "fetch", "Results not kept because a ttl, cache_if, tag or size callable raised."),
    _counter("evictions", "entry", "Results dropped to make room."),
    _counter("oversized_results", "fetch", "Results not kept because they alone are larger than the cache."),
    _counter("primes", "entry", "Values handed in by prime."),
    _gauge("in_flight", "fetch", "Fetches in the air, detached ones and zombies included."),
    _gauge("waiters", "request", "Callers waiting for a fetch begun by another."),
    _maximum("oldest_flight_seconds", "second", "Age of the oldest fetch in the air."),
    _gauge("zombies", "fetch", "Fetches that were given up and still run."),
    _gauge("refreshes_running", "fetch", "Fetches running for no caller."),
    _gauge("cached_entries", "entry", "Results held."),
    _gauge("pending_keys", "key", "Keys with a fetch in flight that a new caller could join."),
    _gauge("never_shared", "function", "Methods of which every call came from another instance: nothing is shared."),
    _maximum("max_concurrent_waiters", "request", "The most callers, the leader apart, that waited for one fetch."),
)

_WITH_A_STORE: Final = tuple(
    replace(measure, of_store=True)
    for measure in (
        _counter("store_hits", "fetch", "Answers that the store had."),
        _counter(
            "store_errors", "fetch", "Times the store could not be asked or told; callers were answered without it."
        ),
        _counter("leases_won", "fetch", "Fetches made by this process for all of them."),
        _counter("leases_lapsed", "fetch", "Fetches that lost their lease while they ran."),
        _counter("lease_renewals", "renewal", "Leases prolonged."),
        _counter("fenced_publishes", "fetch", "Results that the store refused because their lease was no longer good."),
        _counter("unshared_results", "fetch", "Results that could not be written to the store."),
        _counter(
            "unreadable_records", "record", "Records in the store that are not ours, damaged, or of another type."
        ),
        _counter("store_waits", "fetch", "Waits for another process's fetch."),
        _counter("wakeups", "signal", "Signals that ended such a wait."),
        _counter("wakeups_early", "signal", "Signals that came before the wait for them had begun."),
        _counter("wakeups_ignored", "signal", "Signals about a lease that nobody waited for any more."),
        _counter("wait_timers", "fetch", "Waits for another process that ended by the clock, as no signal came."),
        _counter("refreshes_elected", "fetch", "Refreshes made by this process for all of them."),
        _counter("incoherent_hits", "request", "Local results served while the store could not confirm them."),
        _maximum("invalidations_pending", "invalidation", "Invalidations that the store was not told yet."),
        _maximum("breaker_state", "state", "Of the store: 0 closed, 1 half open, 2 open."),
        _gauge("untrusted_entries", "entry", "Results held that are not served before the store has confirmed them."),
    )
)

OF_STORE: Final = tuple(number for measure in _WITH_A_STORE for number in measure.parts.values())
"""The numbers that only a function with a store moves."""

DURATIONS: Final = (
    Duration("fetch_duration", "How long fetches ran, however they ended.", "fetch_latency", "fetch_seconds_total"),
    Duration(
        "wait_duration", "How long callers waited for a fetch begun by another.", "wait_latency", "wait_seconds_total"
    ),
)

LIMITS: Final = tuple(limit.name.removesuffix("_seconds") for limit in fields(Limits))
"""What a function's limits limit."""

UNSHOWN: Final = frozenset({"resets"})
"""What only says how to read the other numbers."""


def measures_of(counters: Iterable[str], gauges: Iterable[str]) -> Iterator[Measure]:
    """Yield the table, then whatever of these is not in it: what somebody counts is shown.

    Args:
        counters: the names of the numbers that are counted.
        gauges: the names of those that are looked at.
    """
    yield from (*_NAMED, *_WITH_A_STORE)
    shown = {part for measure in (*_NAMED, *_WITH_A_STORE) for part in measure.parts.values()}
    shown.update(part for duration in DURATIONS for part in (duration.latency, duration.seconds))
    shown |= UNSHOWN
    yield from (_counter(name, "", f"See Counters.{name}.") for name in counters if name not in shown)
    yield from (_gauge(name, "", f"See Gauges.{name}.") for name in gauges if name not in shown)


MEASURES: Final = tuple(
    measures_of((number.name for number in fields(Counters)), (gauge.name for gauge in fields(Gauges)))
)

DEFAULT_BOUNDS_SECONDS: Final = BOUNDS_SECONDS[40:161:5]
"""Upper bounds of the exported histograms: 100 µs to 100 s, four in every decade."""
