"""Latency histograms: what a percentile may be off by, and what adding and subtracting keeps."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import example, given, strategies as st

from coalesce_kit.stats.latency import BOUNDS_SECONDS, RELATIVE_ERROR, LatencyHistogram, LatencySnapshot, bucket_of


def histogram_of(*samples: float) -> LatencyHistogram:
    """Record each of the samples."""
    histogram = LatencyHistogram()
    for seconds in samples:
        histogram.record(seconds)
    return histogram


def test_powers_of_ten_are_bounds():
    """1 µs, 1 ms, 1 s and 10 000 s are bounds of buckets, to the last bit."""
    assert {1e-6, 1e-3, 1.0, 1e4} <= set(BOUNDS_SECONDS)
    assert (BOUNDS_SECONDS[0], BOUNDS_SECONDS[-1]) == (1e-6, 1e4)


def test_a_decade_has_twenty_bounds_and_what_is_above_them_a_bucket():
    """201 bounds over ten decades, one bucket more; neighbours are so close that the documented error holds."""
    assert (len(BOUNDS_SECONDS), len(LatencySnapshot().buckets)) == (201, 202)
    assert RELATIVE_ERROR == 0.06


def test_bounds_ascend():
    """Every bound is larger than the one before it."""
    assert list(BOUNDS_SECONDS) == sorted(set(BOUNDS_SECONDS))


@given(st.floats(min_value=1e-6, max_value=1e4))
def test_one_sample_is_its_own_percentiles(seconds: float):
    """Between 1 µs and 10 000 s a percentile is off by at most the documented relative error."""
    snapshot = histogram_of(seconds).snapshot()
    for percentile in (snapshot.p50_seconds, snapshot.p95_seconds, snapshot.p99_seconds):
        assert abs(percentile - seconds) <= RELATIVE_ERROR * seconds


@given(st.lists(st.floats(min_value=1e-6, max_value=1e4), min_size=1, max_size=50), st.integers(1, 100))
def test_percentiles_are_nearest_rank(samples: list[float], percent: int):
    """A percentile is, to the documented error, the sample that stands at its rank."""
    at_rank = sorted(samples)[math.ceil(len(samples) * percent / 100) - 1]
    assert abs(histogram_of(*samples).snapshot().percentile_seconds(percent) - at_rank) <= RELATIVE_ERROR * at_rank


def test_each_percentile_stands_at_its_own_rank():
    """Of a hundred samples the 50th, the 95th and the 99th answer, and the hundredth is the largest."""
    snapshot = histogram_of(*[0.001] * 50, *[0.1] * 45, *[10.0] * 4, 1000.0).snapshot()
    shown = (snapshot.p50_seconds, snapshot.p95_seconds, snapshot.p99_seconds, snapshot.percentile_seconds(100))
    assert shown == pytest.approx((0.001, 0.1, 10.0, 1000.0), rel=RELATIVE_ERROR)


def test_the_rank_in_a_crowd_is_exact():
    """The 500th of a thousand samples is the median, although the 499 before it are shorter."""
    assert histogram_of(*[0.001] * 499, *[1.0] * 501).snapshot().p50_seconds == pytest.approx(1.0, rel=RELATIVE_ERROR)


def test_percentiles_of_nothing_are_zero():
    """Without samples every percentile is 0."""
    empty = LatencyHistogram().snapshot()
    assert (empty.count, empty.p50_seconds, empty.p95_seconds, empty.p99_seconds) == (0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("seconds", [0.0, -0.001, 1e-9])
def test_what_is_below_the_scale_answers_its_beginning(seconds: float):
    """Samples of at most 1 µs, a negative one of a clock that lies included, count as 1 µs."""
    assert histogram_of(seconds).snapshot().p50_seconds == 1e-6


@pytest.mark.parametrize("seconds", [1e5, math.inf])
def test_what_is_above_the_scale_answers_its_end(seconds: float):
    """Samples above 10 000 s count as 10 000 s."""
    assert histogram_of(seconds).snapshot().p50_seconds == 1e4


@pytest.mark.parametrize("percent", [0, -1, 100.1, math.nan])
def test_a_percentile_outside_its_range_is_refused(percent: float):
    """Only percentiles above 0 and up to 100 exist."""
    with pytest.raises(ValueError, match="above 0 and at most 100"):
        histogram_of(1.0).snapshot().percentile_seconds(percent)


def test_equal_samples_are_recorded_at_once():
    """``record(seconds, times)`` is the same as recording the sample so many times."""
    at_once = LatencyHistogram()
    at_once.record(0.2, 3)
    assert at_once.snapshot() == histogram_of(0.2, 0.2, 0.2).snapshot()


@given(st.lists(st.integers(min_value=0, max_value=200_000), max_size=60))
@example([*range(100_000, 204_800, 1000)])  # waits in every bucket of a decade, and in each of its neighbours
def test_a_crowd_is_recorded_as_its_members_one_by_one(ticks: list[int]):
    """``record_since`` counts each moment's distance to now where ``record`` would have."""
    now = 200.0
    moments = sorted(tick / 1024 for tick in ticks)
    crowd = LatencyHistogram()
    crowd.record_since(moments, now)
    assert crowd.snapshot() == histogram_of(*(now - moment for moment in moments)).snapshot()


def test_a_crowd_beyond_either_end_of_the_scale_is_recorded():
    """Waits of more than 10 000 s and of nothing at all stand in the outermost buckets."""
    crowd = LatencyHistogram()
    crowd.record_since([0.0, 1.0, 20_000.0, 20_000.0], 20_000.0)
    assert (crowd.buckets[0], crowd.buckets[-1]) == (2, 2)


@given(st.floats(min_value=0, allow_nan=False))
def test_the_bucket_of_a_sample_is_where_it_is_counted(seconds: float):
    """Who records one sample in two histograms may look its bucket up once."""
    by_hand = LatencyHistogram()
    by_hand.buckets[bucket_of(seconds)] += 1
    assert by_hand.snapshot() == histogram_of(seconds).snapshot()


def test_a_snapshot_stays_as_it_was():
    """What is recorded afterwards does not change a snapshot."""
    histogram = histogram_of(0.1)
    before = histogram.snapshot()
    histogram.record(0.1)
    assert (before.count, histogram.snapshot().count) == (1, 2)


@given(st.lists(st.floats(1e-6, 1e4), max_size=20), st.lists(st.floats(1e-6, 1e4), max_size=20))
def test_the_difference_holds_what_came_in_between(earlier: list[float], between: list[float]):
    """Later less earlier is the histogram of the samples in between."""
    histogram = histogram_of(*earlier)
    before = histogram.snapshot()
    for seconds in between:
        histogram.record(seconds)
    assert histogram.snapshot() - before == histogram_of(*between).snapshot()


def test_a_difference_taken_backwards_has_no_samples():
    """Negative buckets are no samples: percentiles of such a difference are 0."""
    assert (LatencyHistogram().snapshot() - histogram_of(0.1).snapshot()).p99_seconds == 0.0


def test_only_snapshots_subtract():
    """Something that is no snapshot is a ``TypeError``."""
    with pytest.raises(TypeError):
        LatencySnapshot() - 1


def test_folding_adds_the_samples():
    """A histogram into which another one is folded holds the samples of both."""
    histogram = histogram_of(0.1)
    histogram.fold(histogram_of(0.2, 5.0).snapshot())
    assert histogram.snapshot() == histogram_of(0.1, 0.2, 5.0).snapshot()


def test_reset_forgets_every_sample():
    """After ``reset`` a histogram is an empty one, and records again."""
    histogram = histogram_of(0.1, 0.2)
    histogram.reset()
    assert histogram.snapshot() == LatencySnapshot()
    histogram.record(0.3)
    assert histogram.snapshot().count == 1


def test_as_dict_is_json_with_the_filled_buckets_by_bound():
    """Only filled buckets appear, under the upper bound of each."""
    data = histogram_of(0.001, 0.001, 1e5).snapshot().as_dict()
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert data["buckets"] == {"0.001": 2, "+Inf": 1}


def test_as_dict_has_count_and_percentiles_under_their_names():
    """What the properties answer stands under their names."""
    snapshot = histogram_of(*[0.001] * 50, *[0.1] * 45, *[10.0] * 4, 1000.0).snapshot()
    names = ("count", "p50_seconds", "p95_seconds", "p99_seconds")
    data = snapshot.as_dict()
    assert {name: data.get(name) for name in names} == {name: getattr(snapshot, name) for name in names}


def test_its_repr_is_short():
    """A snapshot shows count and percentiles, not two hundred buckets."""
    assert repr(histogram_of(1.0).snapshot()) == "<1 samples, p50 0.944 s, p99 0.944 s>"
