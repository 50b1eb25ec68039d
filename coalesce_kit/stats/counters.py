"""Counting: the numbers of one function, the rule by which each of them moves, and their snapshot."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields, replace
from hashlib import blake2b
from typing import Any, Final

from .latency import NO_LATENCY, LatencyHistogram, LatencySnapshot

_SEED: Final = os.urandom(16)


def process_instance() -> str:
    """Return this process's random name: 16 hexadecimal digits, another one after a fork."""
    # Derived, not stored: a forked worker inherits the seed but not the number of its process.
    return blake2b(str(os.getpid()).encode(), key=_SEED, digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class Gauges:
    """What is the case now, and is therefore looked at and never counted.

    Attributes:
        waiters: callers waiting for a fetch, leaders apart.
        oldest_flight_seconds: the age of the oldest fetch still running; 0 without one.
        zombies: fetches that were given up (cancelled or timed out) and still run.
        refreshes_running: fetches running for no caller.
        cached_entries: results held.
        pending_keys: keys with a fetch in flight that a new caller could join.
        never_shared: methods whose first hundred calls came from a hundred instances, so that nothing was shared.
        invalidations_pending: invalidations that the store was not told yet; of several functions the largest.
        breaker_state: of the store: 0 closed, 1 half open, 2 open; of several functions the largest.
        untrusted_entries: results held that are not served before the store has confirmed them.
    """

    waiters: int = 0
    oldest_flight_seconds: float = 0.0
    zombies: int = 0
    refreshes_running: int = 0
    cached_entries: int = 0
    pending_keys: int = 0
    never_shared: int = 0
    invalidations_pending: int = 0
    breaker_state: int = 0
    untrusted_entries: int = 0

    def __add__(self, other: Gauges) -> Gauges:
        return Gauges(
            waiters=self.waiters + other.waiters,
            oldest_flight_seconds=max(self.oldest_flight_seconds, other.oldest_flight_seconds),
            zombies=self.zombies + other.zombies,
            refreshes_running=self.refreshes_running + other.refreshes_running,
            cached_entries=self.cached_entries + other.cached_entries,
            pending_keys=self.pending_keys + other.pending_keys,
            never_shared=self.never_shared + other.never_shared,
            invalidations_pending=max(self.invalidations_pending, other.invalidations_pending),
            breaker_state=max(self.breaker_state, other.breaker_state),
            untrusted_entries=self.untrusted_entries + other.untrusted_entries,
        )


NO_GAUGES: Final = Gauges()


@dataclass(slots=True, eq=False)
class Counters:
    """The numbers of one function, moved in place by whoever works for it.

    How to move one: ``counters.fetches += 1``, or ``+=`` a local. Never ``+=`` a call: in ``c.n += clock() - began``
    another thread may run between the reading and the writing of ``n``, and its update is lost; compute the amount into
    a local first. ``setattr(c, name, getattr(c, name) + 1)`` is such a call, and with eight threads at work loses most
    of its updates. In the right form none is lost on CPython with the GIL; on free-threaded builds the numbers may fall
    short, the results may not. Totals are computed from their parts when somebody looks, never counted beside them.

    **Calls.** Each is counted in exactly one of the first five, once, in the step in which it is decided what becomes
    of it and before it first waits; what happens to it afterwards moves other numbers. A coroutine that is never
    awaited is no call.

    ``cache_hits``
        The compiled call: the answer was at hand and fresh (a remembered error included).
    ``stale_hits``
        The compiled call: the answer was at hand and stale, and policy lets it be given without waiting.
    ``coalesced_requests``
        The coalescer: the call joined a fetch already in flight. It stays one of these if it later leaves, times out or
        is given a stale value.
    ``led_requests``
        The coalescer: the call took the slot and a fetch begins for it; counted before the fetch's task exists.
    ``rejected_requests``
        Whoever refuses: the call was refused before it waited (recursion, closed coalescer, no key can be derived).
    ``bypassed_requests``
        ``origin``: a call that went straight to the function. Outside the sum of the five above.

    **Fetches.** One fetch is one run of the function by a flight, for a caller or to refresh; ``origin`` is none.
    It ends, for these numbers, when its callers have their outcome or it is told to stop, whichever is first; what one
    that was told to stop does afterwards is counted nowhere. A fetch that has ended has returned, or is one of errors,
    cancelled, timeouts, and never two of them.

    ``fetches``
        The flight, in its own first step, right before it calls the function. A flight cancelled earlier has led and
        not fetched.
    ``fetch_errors``
        The flight, at its end: the function raised something other than a cancellation, or returned what cannot be
        shared.
    ``fetch_cancelled``
        The flight, at its end: it was cancelled from inside, or told to stop (its last caller left, ``aclose()``).
    ``fetch_timeouts``
        The flight, at its end: ``fetch_timeout_seconds`` was over, and it was told to stop.
    ``slow_fetches``
        The flight, at its end: it ran longer than ``max_wait_seconds``, whether or not somebody waited that long.
    ``abandoned_fetches``
        The flight, when its last caller has left and nothing else holds it: it was told to stop. In ``fetch_cancelled``
        too, unless that was before it called the function.
    ``refreshes``
        Whoever begins one: a fetch for no caller's request, in the background or by ``refresh()``. In ``fetches`` too.
    ``refresh_errors``
        The refresh, at its end: it failed. In ``fetch_errors``, ``fetch_cancelled`` or ``fetch_timeouts`` too.
    ``stale_on_error``
        Whoever gives it: a caller whose fetch failed, or whose wait for one timed out, was given the stale value
        instead. One per caller.
    ``stale_after_wait``
        The read-through: ``stale_wait_seconds`` was over before the fetch, and the caller was given the stale value.
    ``fetch_seconds_total``, ``fetch_latency``
        The flight, at its end, however it ended: both in the same step. ``fetch_latency.count`` is therefore the number
        of fetches that have ended.

    **Waiting.** A wait is what a coalesced call does until it has its answer or leaves; leaders wait too, but theirs is
    the fetch's time.

    ``wait_timeouts``
        The flight's timer: ``max_wait_seconds`` was over first, whether the waiter then got ``WaitTimeoutError`` or a
        stale value.
    ``wait_seconds_total``, ``wait_latency``
        The flight, when a wait ends in whatever way: both in the same step. ``ended_waits`` is the histogram's count.
    ``max_concurrent_waiters``
        Whoever joins: the most callers, the leader apart, that waited for one flight at the same moment. A maximum:
        ``if n > c.max_concurrent_waiters: c.max_concurrent_waiters = n`` with ``n`` a local and nothing in between.
    ``error_fanout``
        The flight, when it fails: callers other than the leader who are given its failure.
    ``errors_shared_as_is``
        Whoever hands out a failure: one of the callers in ``error_fanout`` was given the original, as it could not be
        twinned.

    **Everything else.**

    ``stale_publishes_refused``
        The publishing flight: its result was delivered and not kept, its ticket being void or the kept entry younger.
    ``invalidations``
        ``invalidate``, ``invalidate_key``, ``invalidate_all``: one per call for this function, whatever it found.
    ``recursions_refused``
        The coalescer: the wait would have waited for itself. In ``rejected_requests`` too.
    ``remembered_errors_served``
        The compiled call: the hit was a remembered error, which is raised. In ``cache_hits`` too.
    ``policy_errors``
        The read-through: a ``ttl``, ``cache_if``, tag or size callable raised; the value was delivered, not kept.
    ``evictions``
        The cache: an entry of this function was dropped to make room.
    ``oversized_results``
        The read-through: a result was delivered and not kept, as it alone is larger than the cache.
    ``primes``
        ``prime``: a value made elsewhere was handed in, whether or not it was kept.
    ``in_flight``
        The coalescer: a gauge, ``+= 1`` before a flight's task is created and ``-= 1`` when that task is done, as the
        last number a flight moves; detached flights and zombies included. ``reset`` leaves it alone.
    ``resets``
        ``reset``: so that a difference over one is recognised.

    **With a store.** All are 0 without one. Several of them may move for one fetch.

    ``store_hits``
        A flight: the store had the answer, fresh or allowed to be given stale, or said that what is at hand still is.
    ``store_errors``
        A flight: the store could not be asked or told, and the callers were answered without it.
    ``leases_won``
        A flight: it is the one that calls the function, for the whole fleet.
    ``leases_lapsed``
        A renewal: the lease of a fetch that still runs was somebody else's, or gone.
    ``lease_renewals``
        A renewal: a lease was prolonged.
    ``fenced_publishes``
        A flight: the store refused its result, because the lease was somebody else's, voided or gone; its own callers
        got it.
    ``unshared_results``
        A flight: what the function returned was for its own callers only: it cannot be written, comes back as something
        else, or is larger than ``max_body_bytes``.
    ``unreadable_records``
        A flight: what the store had was not ours, damaged, of another type, or has a tag that was invalidated.
    ``store_waits``
        A flight: somebody else holds the lease, and it waits for that one's end.
    ``wakeups``, ``wakeups_early``, ``wakeups_ignored``
        A flight, told how a lease has ended: it was waiting for that; it was still asking, and had to wait no more; it
        was waiting for another one.
    ``wait_timers``
        A flight: nobody told it, and the lease had lapsed by the time that it was told.
    ``refreshes_elected``
        A refresh in the background: it is the one, of all processes, that calls the function.
    ``incoherent_hits``
        The read-through: a local result was served although it is not known whether it is still valid, because the
        store is out of reach. In ``cache_hits`` or ``stale_hits`` too, or in the fetch that met the store's absence.
    """

    cache_hits: int = 0
    stale_hits: int = 0
    coalesced_requests: int = 0
    led_requests: int = 0
    rejected_requests: int = 0
    bypassed_requests: int = 0
    fetches: int = 0
    fetch_errors: int = 0
    fetch_cancelled: int = 0
    fetch_timeouts: int = 0
    slow_fetches: int = 0
    abandoned_fetches: int = 0
    refreshes: int = 0
    refresh_errors: int = 0
    stale_on_error: int = 0
    stale_after_wait: int = 0
    wait_timeouts: int = 0
    error_fanout: int = 0
    errors_shared_as_is: int = 0
    stale_publishes_refused: int = 0
    invalidations: int = 0
    recursions_refused: int = 0
    remembered_errors_served: int = 0
    policy_errors: int = 0
    evictions: int = 0
    oversized_results: int = 0
    primes: int = 0
    store_hits: int = 0
    store_errors: int = 0
    leases_won: int = 0
    leases_lapsed: int = 0
    lease_renewals: int = 0
    fenced_publishes: int = 0
    unshared_results: int = 0
    unreadable_records: int = 0
    store_waits: int = 0
    wakeups: int = 0
    wakeups_early: int = 0
    wakeups_ignored: int = 0
    wait_timers: int = 0
    refreshes_elected: int = 0
    incoherent_hits: int = 0
    fetch_seconds_total: float = 0.0
    wait_seconds_total: float = 0.0
    max_concurrent_waiters: int = 0
    in_flight: int = 0
    resets: int = 0
    fetch_latency: LatencyHistogram = field(default_factory=LatencyHistogram)
    wait_latency: LatencyHistogram = field(default_factory=LatencyHistogram)

    def snapshot(self, name: str, gauges: Gauges = NO_GAUGES) -> CoalescerStats:
        """Return the numbers as they are now, under ``name``, together with ``gauges``."""
        values: dict[str, Any] = {number: getattr(self, number) for number in _PLAIN}
        values.update((gauge, getattr(gauges, gauge)) for gauge in _GAUGES)
        return CoalescerStats(
            name=name,
            instance=process_instance(),
            pid=os.getpid(),
            fetch_latency=self.fetch_latency.snapshot(),
            wait_latency=self.wait_latency.snapshot(),
            **values,
        )

    def fold(self, other: CoalescerStats) -> None:
        """Add what ``other`` counted, and keep the larger maximum; ``in_flight`` stays this one's own.

        Concurrency: for numbers that nobody else moves meanwhile, such as those of functions that are gone.
        """
        for number in _SUMS:
            setattr(self, number, getattr(self, number) + getattr(other, number))
        self.max_concurrent_waiters = max(self.max_concurrent_waiters, other.max_concurrent_waiters)
        self.resets = max(self.resets, other.resets)
        self.fetch_latency.fold(other.fetch_latency)
        self.wait_latency.fold(other.wait_latency)

    def reset(self) -> None:
        """Set every number to zero, except ``in_flight`` (the flights will still end) and ``resets`` (one more)."""
        for number in _SUMS:
            setattr(self, number, 0.0 if number.endswith("_seconds_total") else 0)
        self.max_concurrent_waiters = 0
        self.fetch_latency.reset()
        self.wait_latency.reset()
        self.resets += 1


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class CoalescerStats:
    """The numbers of one function, or of a coalescer used alone, at one moment. ``Counters`` says what moves each.

    ``later - earlier`` is what happened between the two: counters and histograms are subtracted, ratios recomputed, and
    gauges and maxima are the later one's. When the numbers were reset in between, it is what happened since the reset.

    Attributes:
        name: the function's name.
        instance: random per process.
        pid: the process's number on its host.
    """

    name: str
    instance: str
    pid: int

    cache_hits: int = 0
    stale_hits: int = 0
    coalesced_requests: int = 0
    led_requests: int = 0
    rejected_requests: int = 0
    bypassed_requests: int = 0
    fetches: int = 0
    fetch_errors: int = 0
    fetch_cancelled: int = 0
    fetch_timeouts: int = 0
    slow_fetches: int = 0
    abandoned_fetches: int = 0
    refreshes: int = 0
    refresh_errors: int = 0
    stale_on_error: int = 0
    stale_after_wait: int = 0
    wait_timeouts: int = 0
    error_fanout: int = 0
    errors_shared_as_is: int = 0
    stale_publishes_refused: int = 0
    invalidations: int = 0
    recursions_refused: int = 0
    remembered_errors_served: int = 0
    policy_errors: int = 0
    evictions: int = 0
    oversized_results: int = 0
    primes: int = 0
    store_hits: int = 0
    store_errors: int = 0
    leases_won: int = 0
    leases_lapsed: int = 0
    lease_renewals: int = 0
    fenced_publishes: int = 0
    unshared_results: int = 0
    unreadable_records: int = 0
    store_waits: int = 0
    wakeups: int = 0
    wakeups_early: int = 0
    wakeups_ignored: int = 0
    wait_timers: int = 0
    refreshes_elected: int = 0
    incoherent_hits: int = 0
    fetch_seconds_total: float = 0.0
    wait_seconds_total: float = 0.0

    max_concurrent_waiters: int = 0
    in_flight: int = 0
    resets: int = 0
    waiters: int = 0
    oldest_flight_seconds: float = 0.0
    zombies: int = 0
    refreshes_running: int = 0
    cached_entries: int = 0
    pending_keys: int = 0
    never_shared: int = 0
    invalidations_pending: int = 0
    breaker_state: int = 0
    untrusted_entries: int = 0

    fetch_latency: LatencySnapshot = NO_LATENCY
    wait_latency: LatencySnapshot = NO_LATENCY

    @property
    def total_requests(self) -> int:
        """Every call, however it was answered: hits, stale hits, coalesced, led and rejected."""
        return self.cache_hits + self.stale_hits + self.coalesced_requests + self.led_requests + self.rejected_requests

    @property
    def api_calls_made(self) -> int:
        """How often the function ran: ``fetches``."""
        return self.fetches

    @property
    def hit_rate_percent(self) -> float:
        """100 x coalesced / total requests; shown to people as "coalesced". 0 without requests."""
        return _percent(self.coalesced_requests, self.total_requests)

    @property
    def calls_saved_percent(self) -> float:
        """100 x (1 - fetches / total requests): what the upstream was spared. Never below 0; 0 without requests."""
        return _percent(max(self.total_requests - self.fetches, 0), self.total_requests)

    @property
    def ended_waits(self) -> int:
        """Waits that have ended, in whatever way."""
        return self.wait_latency.count

    @property
    def avg_wait_time_ms(self) -> float:
        """The mean of the waits that have ended, in milliseconds. 0 without one."""
        ended = self.ended_waits
        return 1000 * self.wait_seconds_total / ended if ended > 0 else 0.0

    @property
    def fetch_p50_seconds(self) -> float:
        """The median fetch."""
        return self.fetch_latency.p50_seconds

    @property
    def fetch_p95_seconds(self) -> float:
        """The 95th percentile of the fetches."""
        return self.fetch_latency.p95_seconds

    @property
    def fetch_p99_seconds(self) -> float:
        """The 99th percentile of the fetches."""
        return self.fetch_latency.p99_seconds

    @property
    def wait_p50_seconds(self) -> float:
        """The median wait."""
        return self.wait_latency.p50_seconds

    @property
    def wait_p95_seconds(self) -> float:
        """The 95th percentile of the waits."""
        return self.wait_latency.p95_seconds

    @property
    def wait_p99_seconds(self) -> float:
        """The 99th percentile of the waits."""
        return self.wait_latency.p99_seconds

    def gauges(self) -> Gauges:
        """Return the gauges among the numbers."""
        return Gauges(**{gauge: getattr(self, gauge) for gauge in _GAUGES})

    def __sub__(self, earlier: CoalescerStats) -> CoalescerStats:
        if not isinstance(earlier, CoalescerStats):
            return NotImplemented
        mine, theirs = (self.name, self.instance, self.pid), (earlier.name, earlier.instance, earlier.pid)
        if mine != theirs:
            raise ValueError(
                f"only two snapshots of one function in one process subtract, not {_whose(self)} and {_whose(earlier)}"
            )
        if self.resets < earlier.resets:
            raise ValueError(
                f"subtract the earlier snapshot of {self.name} from the later one, not the other way round"
            )
        if self.resets > earlier.resets:
            return self  # the numbers began again at zero after the earlier one was taken
        differences: dict[str, Any] = {number: getattr(self, number) - getattr(earlier, number) for number in _SUMS}
        return replace(
            self,
            fetch_latency=self.fetch_latency - earlier.fetch_latency,
            wait_latency=self.wait_latency - earlier.wait_latency,
            **differences,
        )

    def as_dict(self) -> dict[str, object]:
        """Return every field, total and ratio under its name, ready for JSON; histograms are dictionaries too."""
        latencies = {"fetch": self.fetch_latency.as_dict(), "wait": self.wait_latency.as_dict()}
        values: dict[str, object] = {number: getattr(self, number) for number in _IDENTITY}
        for number in _DERIVED:
            latency, _, percentile = number.partition("_")
            # a percentile is a walk over the histogram, and each was taken on that walk already
            known = latencies.get(latency, {})
            values[number] = known[percentile] if percentile in known else getattr(self, number)
        values.update((number, getattr(self, number)) for number in (*_PLAIN, *_GAUGES))
        values.update((f"{latency}_latency", known) for latency, known in latencies.items())
        return values

    def __repr__(self) -> str:
        """Show what has been counted: totals, ratios and every number that is not zero."""
        shown = [("name", self.name), *((number, getattr(self, number)) for number in (*_DERIVED, *_PLAIN, *_GAUGES))]
        return f"CoalescerStats({', '.join(f'{number}={_short(value)}' for number, value in shown if value)})"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else repr(value)


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole > 0 else 0.0


def _whose(stats: CoalescerStats) -> str:
    return f"{stats.name!r} of process {stats.instance} (pid {stats.pid})"


_IDENTITY: Final = ("name", "instance", "pid")
_DERIVED: Final = tuple(name for name, member in vars(CoalescerStats).items() if isinstance(member, property))
_GAUGES: Final = tuple(gauge.name for gauge in fields(Gauges))
_PLAIN: Final = tuple(number.name for number in fields(Counters) if not number.name.endswith("_latency"))
_SUMS: Final = tuple(number for number in _PLAIN if number not in ("max_concurrent_waiters", "in_flight", "resets"))
