"""What can be wrong with a function, as numbers beside their limits: each symptom is measured here, and judged there.

A symptom is a function of what is seen of one coalesced function, or of all of them together. To watch for something
else, write one more and put it into ``SYMPTOMS`` or ``SHARED_SYMPTOMS``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Final, TypeAlias

from .counters import CoalescerStats
from .showing import Limits
from .table import shortened
from .thresholds import HealthThresholds

NAME_COLUMNS: Final = 80
"""The most characters of a function's name that stand in a sentence."""

_FEWEST_OF_ALL: Final = 2
"""One failure is no rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Of one function the numbers of events that symptoms are made of: since the process began, or in a window."""

    fetches_ended: int = 0
    fetches_failed: int = 0
    slow_fetches: int = 0
    waits_ended: int = 0
    wait_timeouts: int = 0

    @classmethod
    def of(cls, stats: CoalescerStats) -> Counted:
        """Take them from a function's numbers."""
        return cls(
            fetches_ended=stats.fetch_latency.count,
            fetches_failed=stats.fetch_errors + stats.fetch_timeouts,
            slow_fetches=stats.slow_fetches,
            waits_ended=stats.ended_waits,
            wait_timeouts=stats.wait_timeouts,
        )

    def since(self, earlier: Counted) -> Counted:
        """Return what happened after ``earlier``; everything, if a number went back: it began again at zero."""
        differences = {
            number.name: getattr(self, number.name) - getattr(earlier, number.name) for number in fields(Counted)
        }
        return self if min(differences.values()) < 0 else Counted(**differences)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What is seen of one function, or of all.

    Attributes:
        stats: the numbers; the gauges and percentiles among them are read.
        recent: what happened in the window.
        limits: how long its callers wait.
    """

    stats: CoalescerStats
    recent: Counted
    limits: Limits

    @property
    def title(self) -> str:
        """The function's name as it stands in a sentence: in one line, and not too long."""
        return one_line(self.stats.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One number beside its thresholds.

    Attributes:
        code: what is measured.
        value: how much of it there is.
        warning_above: more is a reason for a warning.
        degraded_above: more is a reason to be degraded.
        say: what is wrong, for people, given the threshold that is exceeded.
    """

    code: str
    value: float
    warning_above: float
    degraded_above: float
    say: Callable[[float], str]


Symptom: TypeAlias = Callable[[Sight, HealthThresholds], Iterator[Measured]]


def one_line(name: str, *, columns: int = NAME_COLUMNS) -> str:
    """Return a name as it can stand in a sentence: in one line, and not longer than so many characters."""
    return "".join(character if character.isprintable() else "?" for character in shortened(name, columns))


def flight_too_old(sight: Sight, limits: HealthThresholds) -> Iterator[Measured]:
    """The oldest fetch in the air, against what is usual for the function."""
    age = sight.stats.oldest_flight_seconds
    if not age:
        return  # most functions, most of the time: what is usual need not be worked out
    max_wait = sight.limits.max_wait_seconds
    patience = limits.unlimited_flight_seconds if max_wait is None else max_wait
    if sight.stats.fetch_latency.count >= limits.fewest_fetches_for_p99:
        usual = sight.stats.fetch_p99_seconds
        warning = limits.flight_p99_factor * usual
        degraded = max(limits.degraded_flight_p99_factor * usual, patience)
        known = f"99 % of its fetches end within {usual:.2g} s"
    else:
        warning, degraded = patience, 2 * patience
        known = "what is usual for it is not known yet"
    yield Measured(
        code="flight_too_old",
        value=age,
        warning_above=max(warning, limits.flight_seconds),
        degraded_above=max(degraded, warning, limits.flight_seconds),
        say=lambda above: (
            f"the oldest fetch of {sight.title} has been running for {age:.1f} s, more than {above:.2g} s; {known}"
        ),
    )


def zombies(sight: Sight, limits: HealthThresholds) -> Iterator[Measured]:
    """Fetches that were given up, ignore their cancellation and still hold what they hold."""
    count = sight.stats.zombies
    yield Measured(
        code="zombies",
        value=count,
        warning_above=limits.zombies,
        degraded_above=limits.degraded_zombies,
        say=lambda _: (
            f"{count} fetches of {sight.title} were given up and still run: the function ignores cancellation"
        ),
    )


def fetches_fail(sight: Sight, limits: HealthThresholds) -> Iterator[Measured]:
    """Fetches that failed or timed out, of those that ended in the window."""
    ended, failed = sight.recent.fetches_ended, sight.recent.fetches_failed
    few = ended < limits.fewest_fetches
    # A few say something only when none succeeded: while an old value is given meanwhile, not many are tried.
    if not ended or (few and (failed < ended or ended < _FEWEST_OF_ALL)):
        return
    yield Measured(
        code="fetches_fail",
        value=100 * failed / ended,
        warning_above=limits.failed_fetches_percent,
        degraded_above=math.inf if few else limits.degraded_failed_fetches_percent,
        say=lambda above: f"{failed} of the last {ended} fetches of {sight.title} failed, more than {above:g} %",
    )


def wait_timeouts(sight: Sight, limits: HealthThresholds) -> Iterator[Measured]:
    """Callers who waited for another's fetch until ``max_wait_seconds`` were over."""
    ended, timeouts = sight.recent.waits_ended, sight.recent.wait_timeouts
    if not ended:
        return
    yield Measured(
        code="wait_timeouts",
        value=100 * timeouts / ended,
        warning_above=limits.wait_timeouts_percent,
        # a share of a few is no share
        degraded_above=limits.degraded_wait_timeouts_percent if ended >= limits.fewest_fetches else math.inf,
        say=lambda above: (
            f"{timeouts} of the last {ended} waits for {sight.title} ended at max_wait_seconds, more than {above:g} %"
        ),
    )


def slow_fetches(sight: Sight, limits: HealthThresholds) -> Iterator[Measured]:
    """Fetches that outlasted ``max_wait_seconds``: alone a caller gets the answer, in a crowd the others do not."""
    ended, slow = sight.recent.fetches_ended, sight.recent.slow_fetches
    if not ended:
        return
    yield Measured(
        code="slow_fetches",
        value=100 * slow / ended,
        warning_above=limits.slow_fetches_percent,
        degraded_above=math.inf,
        say=lambda above: (
            f"{slow} of the last {ended} fetches of {sight.title} outlasted max_wait_seconds, more than {above:g} %"
        ),
    )


def never_shared(sight: Sight, _: HealthThresholds) -> Iterator[Measured]:
    """Methods of services that are built anew for every request."""
    yield Measured(
        code="never_shared",
        value=sight.stats.never_shared,
        warning_above=0,
        degraded_above=math.inf,
        say=lambda _: (
            f"the first calls of {sight.title} all came from different instances, so none was shared: build the "
            "service once, or name in the key what tells its answers apart"
        ),
    )


def breaker_open(sight: Sight, limits: HealthThresholds) -> Iterator[Measured]:
    """A store that is out of reach: callers are answered in process."""
    state = sight.stats.breaker_state
    tried = "is being tried again" if state == 1 else "is out of reach"
    yield Measured(
        code="breaker_open",
        value=state,
        warning_above=limits.breaker_state,
        degraded_above=limits.degraded_breaker_state,
        say=lambda _: f"a store {tried}: callers are answered without it, each process for itself",
    )


def invalidations_pending(sight: Sight, limits: HealthThresholds) -> Iterator[Measured]:
    """Invalidations that other processes may not have heard of."""
    count = sight.stats.invalidations_pending
    yield Measured(
        code="invalidations_pending",
        value=count,
        warning_above=limits.invalidations_pending,
        degraded_above=math.inf,
        say=lambda _: f"{count} invalidations could not be told to a store yet: other processes may serve what is void",
    )


def untrusted_entries(sight: Sight, limits: HealthThresholds) -> Iterator[Measured]:
    """Results at hand that may have been invalidated elsewhere."""
    count = sight.stats.untrusted_entries
    yield Measured(
        code="untrusted_entries",
        value=count,
        warning_above=limits.untrusted_entries,
        degraded_above=math.inf,
        say=lambda _: f"{count} results at hand are not served until a store has confirmed that they are still valid",
    )


SYMPTOMS: Final[tuple[Symptom, ...]] = (
    flight_too_old,
    zombies,
    fetches_fail,
    wait_timeouts,
    slow_fetches,
    never_shared,
)
"""Everything that is looked for in every function."""

SHARED_SYMPTOMS: Final[tuple[Symptom, ...]] = (breaker_open, invalidations_pending, untrusted_entries)
"""What is looked for once in all functions together: a store is shared by many of them."""
