"""Counters and their snapshots: what is summed, what is derived, and what subtracts."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import re
import sys
import threading
from multiprocessing import get_context

import pytest
from hypothesis import given, strategies as st

from coalesce_kit.stats.counters import CoalescerStats, Counters, Gauges, process_instance
from coalesce_kit.stats.latency import LatencyHistogram, LatencySnapshot

CALLS = ("cache_hits", "stale_hits", "coalesced_requests", "led_requests", "rejected_requests")
NAMES = tuple(field.name for field in dataclasses.fields(Counters))
HISTOGRAMS = ("fetch_latency", "wait_latency")
MAXIMA_AND_GAUGES = ("max_concurrent_waiters", "in_flight", "resets")
SUMS = tuple(name for name in NAMES if name not in HISTOGRAMS + MAXIMA_AND_GAUGES)


def stats(name: str = "f", **numbers) -> CoalescerStats:
    """Make a snapshot by hand."""
    return CoalescerStats(name=name, instance="here", pid=1, **numbers)


def counted(**numbers) -> Counters:
    """Make counters that have counted something."""
    return Counters(**numbers)


def test_every_number_has_its_rule():
    """The docstring of ``Counters`` says of each number what moves it, and of no other."""
    headings = re.findall(r"^(``\w+``(?:, ``\w+``)*)$", inspect.getdoc(Counters), re.MULTILINE)
    assert sorted(re.findall(r"``(\w+)``", " ".join(headings))) == sorted(NAMES)


def test_a_snapshot_holds_every_number_and_gauge():
    """Whatever is counted or looked at is a field of the snapshot under the same name."""
    fields = {field.name for field in dataclasses.fields(CoalescerStats)}
    gauges = {field.name for field in dataclasses.fields(Gauges)}
    assert fields == {"name", "instance", "pid"} | set(NAMES) | gauges


def test_a_snapshot_shows_each_number_under_its_own_name():
    """No number is shown as another one."""
    counters = counted(**{name: position for position, name in enumerate(SUMS + MAXIMA_AND_GAUGES, 1)})
    snapshot = counters.snapshot("f", Gauges(41, 42.0, 43, 44, 45, 46))
    assert [getattr(snapshot, name) for name in SUMS + MAXIMA_AND_GAUGES] == list(range(1, len(NAMES) - 1))
    assert snapshot.gauges() == Gauges(41, 42.0, 43, 44, 45, 46)
    assert (snapshot.waiters, snapshot.pending_keys) == (41, 46)


def test_everything_begins_at_zero():
    """Counters, gauges and a snapshot made by hand hold nothing that nobody has counted."""
    for made in (Counters(), Gauges(), stats()):
        shown = {field.name: getattr(made, field.name) for field in dataclasses.fields(made)}
        numbers = {name: value for name, value in shown.items() if isinstance(value, int | float) and name != "pid"}
        assert numbers == dict.fromkeys(numbers, 0)
        assert len(numbers) >= len(dataclasses.fields(Gauges))


def test_a_snapshot_says_where_it_was_taken():
    """Name, random instance and process number stand in every snapshot."""
    snapshot = Counters().snapshot("f")
    assert (snapshot.name, snapshot.instance, snapshot.pid) == ("f", process_instance(), os.getpid())
    assert re.fullmatch("[0-9a-f]{16}", snapshot.instance)


def test_a_snapshot_is_frozen():
    """Nobody changes a snapshot."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        stats().fetches = 1


@given(st.fixed_dictionaries({name: st.integers(0, 10**9) for name in (*CALLS, "bypassed_requests", "refreshes")}))
def test_g19_total_requests_is_the_sum_of_its_parts(numbers: dict[str, int]):
    """Hits, stale hits, coalesced, led and rejected make the total; what bypasses or refreshes does not."""
    assert counted(**numbers).snapshot("f").total_requests == sum(numbers[name] for name in CALLS)


def test_ratios_of_nothing_are_zero():
    """Without a request every ratio, mean and percentile is 0."""
    nothing = Counters().snapshot("f")
    derived = {name for name, member in vars(CoalescerStats).items() if isinstance(member, property)}
    assert {name: getattr(nothing, name) for name in derived} == dict.fromkeys(derived, 0)


def test_a_herd_of_a_hundred_with_one_fetch():
    """Of 100 callers 99 were coalesced, and 99 calls were saved."""
    herd = stats(led_requests=1, coalesced_requests=99, fetches=1)
    assert (herd.total_requests, herd.api_calls_made) == (100, 1)
    assert (herd.hit_rate_percent, herd.calls_saved_percent) == (99.0, 99.0)


def test_the_hit_rate_counts_the_coalesced_alone():
    """``hit_rate_percent`` is the share of coalesced calls; hits of the cache are none of them."""
    assert stats(cache_hits=60, coalesced_requests=30, led_requests=10).hit_rate_percent == 30.0


def test_calls_saved_is_never_negative():
    """More fetches than requests, as with refreshes, save nothing."""
    assert stats(led_requests=1, fetches=5).calls_saved_percent == 0.0
    assert stats(fetches=5).calls_saved_percent == 0.0


def test_the_mean_wait_is_that_of_the_waits_that_ended():
    """A caller who still waits has no part in the mean."""
    counters = counted(coalesced_requests=3, wait_seconds_total=0.5)
    counters.wait_latency.record(0.1)
    counters.wait_latency.record(0.4)
    snapshot = counters.snapshot("f", Gauges(waiters=1))
    assert (snapshot.ended_waits, snapshot.avg_wait_time_ms) == (2, 250.0)


def test_one_call_and_one_wait_have_ratios_too():
    """A share of one request is all of it, and the mean of one wait is that wait."""
    counters = counted(coalesced_requests=1, wait_seconds_total=0.5)
    counters.wait_latency.record(0.5)
    snapshot = counters.snapshot("f")
    assert (snapshot.hit_rate_percent, snapshot.calls_saved_percent, snapshot.avg_wait_time_ms) == (100.0, 100.0, 500.0)


def test_fetches_and_waits_have_their_own_percentiles():
    """The six percentiles are those of the two histograms."""
    counters = Counters()
    for milliseconds in range(1, 101):
        counters.fetch_latency.record(milliseconds / 1000)
        counters.wait_latency.record(milliseconds / 100)
    snapshot = counters.snapshot("f")
    fetch = (snapshot.fetch_p50_seconds, snapshot.fetch_p95_seconds, snapshot.fetch_p99_seconds)
    wait = (snapshot.wait_p50_seconds, snapshot.wait_p95_seconds, snapshot.wait_p99_seconds)
    assert fetch == pytest.approx((0.050, 0.095, 0.099), rel=0.06)
    assert wait == pytest.approx((0.50, 0.95, 0.99), rel=0.06)


def test_the_difference_is_what_happened_in_between():
    """Counters and histograms subtract, ratios follow, gauges and maxima are the later ones."""
    counters = counted(led_requests=10, coalesced_requests=0, fetches=10, fetch_seconds_total=1.0)
    counters.max_concurrent_waiters, counters.in_flight = 7, 3
    counters.fetch_latency.record(0.1, 10)
    counters.wait_latency.record(0.1, 3)
    earlier = counters.snapshot("f", Gauges(waiters=9, oldest_flight_seconds=4.0))
    counters.led_requests += 1
    counters.coalesced_requests += 3
    counters.fetches += 1
    counters.fetch_seconds_total += 2.0
    counters.fetch_latency.record(2.0)
    counters.wait_latency.record(2.0, 2)
    counters.in_flight = 1
    difference = counters.snapshot("f", Gauges(waiters=2, oldest_flight_seconds=1.0)) - earlier
    assert (difference.total_requests, difference.fetches, difference.fetch_seconds_total) == (4, 1, 2.0)
    assert (difference.hit_rate_percent, difference.calls_saved_percent) == (75.0, 75.0)
    assert (difference.fetch_latency.count, difference.fetch_p50_seconds) == (1, pytest.approx(2.0, rel=0.06))
    assert difference.ended_waits == 2
    assert (difference.waiters, difference.oldest_flight_seconds) == (2, 1.0)
    assert (difference.in_flight, difference.max_concurrent_waiters) == (1, 7)


def test_a_difference_holds_each_counter_under_its_own_name():
    """Every counter subtracts, and no other one is taken for it."""
    later = counted(**{name: 100 + position for position, name in enumerate(SUMS)}).snapshot("f")
    earlier = counted(**dict.fromkeys(SUMS, 100)).snapshot("f")
    assert [getattr(later - earlier, name) for name in SUMS] == list(range(len(SUMS)))


@pytest.mark.parametrize("other", [{"name": "g"}, {"instance": "there"}, {"pid": 2}], ids=str)
def test_another_functions_or_processs_snapshot_does_not_subtract(other: dict[str, object]):
    """Only two snapshots of one function in one process have a difference."""
    with pytest.raises(ValueError, match="one function in one process") as refusal:
        stats() - dataclasses.replace(stats(), **other)
    assert "not 'f' of process here (pid 1) and" in str(refusal.value)


def test_only_snapshots_subtract():
    """Something that is no snapshot is a ``TypeError``."""
    with pytest.raises(TypeError):
        stats() - 1


def test_a_difference_over_a_reset_is_what_happened_since_it():
    """What the earlier snapshot held was forgotten by the reset, so nothing is subtracted."""
    counters = counted(led_requests=10)
    earlier = counters.snapshot("f")
    counters.reset()
    counters.led_requests += 2
    later = counters.snapshot("f")
    assert (later - earlier).led_requests == 2
    with pytest.raises(ValueError, match="not the other way round"):
        earlier - later


def test_reset_sets_numbers_to_zero_and_leaves_what_is_in_flight():
    """The flights in the air will still end, so their number stays."""
    counters = counted(**dict.fromkeys(SUMS + MAXIMA_AND_GAUGES, 5))
    counters.fetch_latency.record(1.0)
    counters.wait_latency.record(1.0)
    counters.reset()
    assert counters.snapshot("f") == dataclasses.replace(Counters().snapshot("f"), in_flight=5, resets=6)
    assert isinstance(counters.fetch_seconds_total, float)
    assert isinstance(counters.fetches, int)
    assert {name: getattr(counters, name) for name in SUMS} == dict.fromkeys(SUMS, 0)


def test_folding_adds_numbers_and_keeps_the_larger_maximum():
    """Counters into which a snapshot is folded hold the numbers of both."""
    counters = counted(**dict.fromkeys(SUMS, 1), max_concurrent_waiters=4, in_flight=2)
    other = counted(**dict.fromkeys(SUMS, 2), max_concurrent_waiters=3, in_flight=9)
    other.wait_latency.record(1.0, 5)
    other.fetch_latency.record(2.0)
    counters.fold(other.snapshot("g"))
    assert [getattr(counters, name) for name in SUMS] == [3] * len(SUMS)
    assert (counters.max_concurrent_waiters, counters.in_flight) == (4, 2)
    assert (counters.wait_latency.snapshot().count, counters.fetch_latency.snapshot().count) == (5, 1)


def test_gauges_add_and_ages_do_not():
    """The sum of gauges has the age of the oldest."""
    assert Gauges(1, 2.0, 3, 4, 5, 6) + Gauges(10, 1.0, 30, 40, 50, 60) == Gauges(11, 2.0, 33, 44, 55, 66)


def test_as_dict_is_json_with_fields_totals_and_ratios():
    """Every field and property is there under its name, and JSON takes it as it is."""
    counters = counted(led_requests=1, coalesced_requests=99, fetches=1)
    counters.fetch_latency.record(0.15)
    snapshot = counters.snapshot("f", Gauges(pending_keys=1))
    data = snapshot.as_dict()
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    properties = {name for name, member in vars(CoalescerStats).items() if isinstance(member, property)}
    assert set(data) == properties | {field.name for field in dataclasses.fields(CoalescerStats)}
    assert {name: value for name, value in data.items() if name not in HISTOGRAMS} == {
        name: getattr(snapshot, name) for name in data if name not in HISTOGRAMS
    }
    assert data["fetch_latency"]["count"] == 1


def test_its_repr_shows_what_is_not_zero():
    """A snapshot prints in one line of the numbers that say something."""
    shown = repr(stats(led_requests=1, coalesced_requests=2, fetches=1))
    assert shown == (
        "CoalescerStats(name='f', total_requests=3, api_calls_made=1, hit_rate_percent=66.67, "
        "calls_saved_percent=66.67, coalesced_requests=2, led_requests=1, fetches=1)"
    )


def test_the_empty_snapshot_has_empty_histograms():
    """A snapshot made by hand needs only its name and place."""
    assert stats().fetch_latency == stats().wait_latency == LatencyHistogram().snapshot() == LatencySnapshot()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_is_another_instance():
    """A worker forked after the import has an instance of its own."""
    context = get_context("fork")
    mine, theirs = context.Pipe(duplex=False)
    child = context.Process(target=lambda: theirs.send(process_instance()))
    child.start()
    child.join()
    assert mine.recv() != process_instance() == process_instance()
    mine.close()
    theirs.close()


@pytest.mark.skipif(not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="exact with the GIL only")
def test_numbers_moved_by_the_rule_are_exact_over_threads():
    """Eight threads that count as the docstring says lose no update, no sample and no maximum."""
    counters, threads, rounds = Counters(), 8, 5_000
    lost_maxima = []

    def work(number: int) -> None:
        for step in range(rounds):
            seconds = 0.5
            counters.led_requests += 1
            counters.fetch_seconds_total += seconds
            counters.fetch_latency.record(seconds)
            waiters = step * threads + number
            if waiters > counters.max_concurrent_waiters:
                counters.max_concurrent_waiters = waiters
            if counters.max_concurrent_waiters < waiters:
                lost_maxima.append(waiters)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        sys.setswitchinterval(interval)
    assert counters.led_requests == threads * rounds
    assert counters.fetch_seconds_total == threads * rounds * 0.5
    assert counters.fetch_latency.snapshot().count == threads * rounds
    assert lost_maxima == []
