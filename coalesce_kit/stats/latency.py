"""Latencies as log-bucket histograms: cheap to record, exact to add and subtract, percentiles to within 6 %."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from operator import add, sub
from typing import Final

BUCKETS_PER_DECADE: Final = 20

BOUNDS_SECONDS: Final[tuple[float, ...]] = tuple(
    # Rounded to four digits, so that every platform's pow() gives the same bounds and every power of ten is one.
    float(f"{10 ** (step / BUCKETS_PER_DECADE):.4g}")
    for step in range(-6 * BUCKETS_PER_DECADE, 4 * BUCKETS_PER_DECADE + 1)
)
"""Upper bounds of the buckets, 1 µs to 10 000 s; a sample equal to one lies below it. A last bucket holds the rest."""

RELATIVE_ERROR: Final = 0.06
"""The most by which a percentile between 1 µs and 10 000 s differs from the sample it stands for, as a fraction.

Neighbouring bounds differ by 10 ** (1 / 20) = 1.122, and a bucket answers with its geometric middle: 5.93 %.
"""

_BOUNDS: Final = list(BOUNDS_SECONDS)  # bisect is faster over a list; never written
_BOUND_TEXTS: Final = (*(f"{bound:g}" for bound in BOUNDS_SECONDS), "+Inf")
_EMPTY: Final = (0,) * (len(_BOUNDS) + 1)


@dataclass(frozen=True, slots=True, repr=False)
class LatencySnapshot:
    """What a histogram held at one moment.

    Attributes:
        buckets: samples per bucket, one more than there are ``BOUNDS_SECONDS``.
    """

    buckets: tuple[int, ...] = _EMPTY

    @property
    def count(self) -> int:
        """How many samples were recorded."""
        return sum(self.buckets)

    @property
    def p50_seconds(self) -> float:
        """The median."""
        return self.percentile_seconds(50)

    @property
    def p95_seconds(self) -> float:
        """The 95th percentile."""
        return self.percentile_seconds(95)

    @property
    def p99_seconds(self) -> float:
        """The 99th percentile."""
        return self.percentile_seconds(99)

    def percentile_seconds(self, percent: float) -> float:
        """Return the nearest-rank percentile, within ``RELATIVE_ERROR``; 0 without samples.

        Samples of at most 1 µs answer 1 µs, those above 10 000 s answer 10 000 s.

        Args:
            percent: above 0 and at most 100.

        Raises:
            ValueError: ``percent`` is outside that range.
        """
        return self.percentiles_seconds(percent)[0]

    def percentiles_seconds(self, *percents: float) -> list[float]:
        """Return several percentiles at little more than the price of one.

        Raises:
            ValueError: one is not above 0 and at most 100.
        """
        # A difference taken in the wrong order, or over a lost update, may hold negative buckets: they are no samples.
        filled = [(index, samples) for index, samples in enumerate(self.buckets) if samples > 0]
        total = sum(samples for _, samples in filled)
        return [_percentile_seconds(filled, total, percent) for percent in percents]

    def __sub__(self, earlier: LatencySnapshot) -> LatencySnapshot:
        if not isinstance(earlier, LatencySnapshot):
            return NotImplemented
        return LatencySnapshot(tuple(map(sub, self.buckets, earlier.buckets)))

    def as_dict(self) -> dict[str, object]:
        """Return count, percentiles and the buckets that are not empty by their upper bound, ready for JSON."""
        p50, p95, p99 = self.percentiles_seconds(50, 95, 99)
        return {
            "count": self.count,
            "p50_seconds": p50,
            "p95_seconds": p95,
            "p99_seconds": p99,
            "buckets": {text: samples for text, samples in zip(_BOUND_TEXTS, self.buckets, strict=True) if samples},
        }

    def __repr__(self) -> str:
        return f"<{self.count} samples, p50 {self.p50_seconds:.3g} s, p99 {self.p99_seconds:.3g} s>"


NO_LATENCY: Final = LatencySnapshot()


class LatencyHistogram:
    """Counts durations in buckets whose bounds grow by 12 %: 201 bounds from 1 µs to 10 000 s, 1.6 KB.

    Concurrency: any thread may record; exact on CPython with the GIL, since no other thread runs between reading
    and writing a bucket. Nothing is locked.

    Source: the bounds are those of an HDR-like histogram with a decimal base, so that 1 ms, 10 ms, 100 ms and 1 s are
    bounds and an exporter can merge buckets by decades without loss.

    Attributes:
        buckets: samples per bucket, never rebound; who records one sample in two histograms asks ``bucket_of`` once.
    """

    __slots__ = ("buckets",)

    def __init__(self) -> None:
        self.buckets = list(_EMPTY)

    def record(self, seconds: float, times: int = 1) -> None:
        """Count one sample of ``seconds``, or ``times`` equal ones at the same price."""
        index = bisect_left(_BOUNDS, seconds)  # a local first: what is between read and write must run no call
        self.buckets[index] += times

    def record_since(self, moments: Sequence[float], now: float) -> None:
        """Count ``now - moment`` for each of ``moments``, which ascend; a crowd costs little more than one sample."""
        start = 0
        while start < len(moments):
            index = bisect_left(_BOUNDS, now - moments[start])
            # the waits descend, so those in the same bucket are neighbours: find where the next bucket begins
            end = bisect_left(moments, now - _BOUNDS[index - 1], start + 1) if index else len(moments)
            samples = end - start
            self.buckets[index] += samples
            start = end

    def fold(self, other: LatencySnapshot) -> None:
        """Add the samples of ``other`` to this histogram, into which nobody records meanwhile."""
        self.buckets[:] = map(add, self.buckets, other.buckets)

    def reset(self) -> None:
        """Forget every sample."""
        self.buckets[:] = _EMPTY  # in place: a sample being recorded now is kept or forgotten, never put aside

    def snapshot(self) -> LatencySnapshot:
        """Return what is held now."""
        return LatencySnapshot(tuple(self.buckets))


def bucket_of(seconds: float) -> int:
    """Return the index of the bucket that a sample of ``seconds`` is counted in."""
    return bisect_left(_BOUNDS, seconds)


def _percentile_seconds(filled: Sequence[tuple[int, int]], total: int, percent: float) -> float:
    if not 0 < percent <= 100:
        raise ValueError(f"percent must be above 0 and at most 100, not {percent!r}")
    rank = math.ceil(total * percent / 100)
    seen = 0
    for index, samples in filled:
        seen += samples
        if seen >= rank:
            return _middle_seconds(index)
    return 0.0


def _middle_seconds(index: int) -> float:
    if index == 0:
        return BOUNDS_SECONDS[0]
    if index == len(BOUNDS_SECONDS):
        return BOUNDS_SECONDS[-1]
    return math.sqrt(BOUNDS_SECONDS[index - 1] * BOUNDS_SECONDS[index])
