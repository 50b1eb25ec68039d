"""What exporters show by function: numbers that never go back or leap, whoever comes and goes."""

from __future__ import annotations

import dataclasses
import gc

import pytest

from coalesce_kit.exporters.measures import DURATIONS, MEASURES, UNSHOWN, measures_of
from coalesce_kit.exporters.rows import MOST_LABEL_CHARACTERS, MOST_REMEMBERED, Rows, label_of
from coalesce_kit.stats.counters import Counters, Gauges
from coalesce_kit.stats.registry import GONE_NAME, StatsRegistry


@pytest.fixture
def registry():
    return StatsRegistry()


@pytest.fixture
def rows(registry):
    return Rows(registry)


def function(registry, name="odds", *, hits=0, samples=0):
    """Register a function that has counted ``hits``, and fetched ``samples`` times for a second each."""
    counters = Counters(cache_hits=hits)
    for _ in range(samples):
        counters.fetch_seconds_total += 1.0
        counters.fetch_latency.record(1.0)
    registry.register(name, counters, gauges=lambda: Gauges(waiters=3))
    return counters


def hits(rows):
    """What is shown as hits, by label."""
    return {row.label: row.stats.cache_hits for row in rows.look().rows}


def test_every_number_that_is_counted_is_shown_once():
    """Whatever the counters and gauges hold is a part of one measure or of one duration."""
    shown = [number for measure in MEASURES for number in measure.parts.values()]
    shown += [number for duration in DURATIONS for number in (duration.latency, duration.seconds)]
    counted = {number.name for holder in (Counters, Gauges) for number in dataclasses.fields(holder)}
    assert sorted(shown) == sorted(counted - UNSHOWN)


def test_a_number_that_the_table_does_not_know_is_shown_by_its_name():
    """What somebody begins to count is exported, with words that say where to read more."""
    *known, counter, gauge = measures_of(["fetches", "resets", "new_ones"], ["waiters", "others"])
    assert "fetches" in {measure.name for measure in known}
    assert (counter.name, counter.kind, counter.parts) == ("new_ones", "counter", {"": "new_ones"})
    assert (gauge.name, gauge.kind, gauge.parts) == ("others", "gauge", {"": "others"})


def test_a_measure_is_a_name_and_a_sentence():
    """Names are lower case and different; texts end with a full stop."""
    names = [measure.name for measure in (*MEASURES, *DURATIONS)]
    assert len(set(names)) == len(names)
    assert [name for name in names if not name.replace("_", "").isalpha() or name != name.lower()] == []
    assert [measure.name for measure in (*MEASURES, *DURATIONS) if not measure.text.endswith(".")] == []


def test_a_living_function_is_shown_as_it_is(registry, rows):
    """Its row is the registry's."""
    function(registry, hits=5)
    look = rows.look()
    [row] = look.rows
    assert (row.label, row.living) == ("odds", True)
    assert row.stats == look.snapshot.functions["odds"]


def test_a_registry_that_is_gone_has_no_rows():
    """What shows a registry does not keep it alive."""
    registry = StatsRegistry()
    rows = Rows(registry)
    del registry
    gc.collect()
    assert rows.look() is None


def test_a_function_that_is_gone_keeps_its_row_and_nothing_leaps(registry, rows):
    """Its counters stay what they were, and are not counted among the others that are gone."""
    counters = function(registry, hits=5)
    assert hits(rows) == {"odds": 5}
    registry.fold("odds", counters)
    assert hits(rows) == {"odds": 5}
    assert [row.living for row in rows.look().rows] == [False]


def test_what_a_function_counted_after_the_last_look_is_shown_as_gone(registry, rows):
    """Nothing is lost between the last look and the end."""
    counters = function(registry, hits=5)
    rows.look()
    counters.cache_hits += 2
    registry.fold("odds", counters)
    assert hits(rows) == {"odds": 5, GONE_NAME: 2}


def test_a_function_that_nobody_looked_at_is_shown_as_gone(registry, rows):
    """It came and went between two looks."""
    rows.look()
    registry.fold("odds", function(registry, hits=5))
    assert hits(rows) == {GONE_NAME: 5}


def test_a_function_by_the_same_name_counts_on(registry, rows):
    """The row goes on where the earlier function left it, gauges apart."""
    registry.fold("odds", function(registry, hits=5, samples=2))
    rows = Rows(registry)
    counters = function(registry, hits=5, samples=2)
    rows.look()
    registry.fold("odds", counters)
    rows.look()
    function(registry, hits=1, samples=1)
    shown = {row.label: row.stats for row in rows.look().rows}
    assert shown["odds"].cache_hits == 6
    assert shown["odds"].fetch_latency.count == 3
    assert shown["odds"].fetch_seconds_total == 3.0
    assert shown["odds"].waiters == 3
    assert shown[GONE_NAME].cache_hits == 5


def test_a_function_replaced_between_two_looks_is_recognised(registry, rows):
    """One that is gone and one that came by its name are told apart by their numbers."""
    counters = function(registry, hits=5)
    rows.look()
    counters.cache_hits += 1
    registry.fold("odds", counters)
    len(registry)  # it is buried when somebody looks, and its name is free
    function(registry, hits=2)
    assert hits(rows) == {"odds": 7, GONE_NAME: 1}


def test_the_sum_of_the_rows_never_goes_back(registry, rows):
    """Through coming, counting, going and coming again, what is shown adds up to what the registry counted."""
    counters = function(registry, hits=1)
    sums, counted = [], 1
    for step in range(12):
        sums.append((sum(hits(rows).values()), counted))
        if step % 3 == 2:
            registry.fold("odds", counters)
            len(registry)
            counters = function(registry)
        counters.cache_hits += step
        counted += step
    assert [shown for shown, _ in sums] == [counted for _, counted in sums]


def test_a_reset_begins_again(registry, rows):
    """After a reset nothing of what was before is shown."""
    gone, counters = function(registry, "gone", hits=7), function(registry, hits=5)
    rows.look()
    registry.fold("gone", gone)
    rows.look()
    registry.reset()
    counters.cache_hits += 1
    assert hits(rows) == {"odds": 1}


def test_a_fetch_that_outlives_its_function_is_shown(registry, rows):
    """The gauges of fetches in the air are shown among the functions that are gone."""
    counters = function(registry, hits=5)
    counters.in_flight = 1
    rows.look()
    registry.fold("odds", counters)
    by_label = {row.label: row for row in rows.look().rows}
    assert by_label["odds"].stats.cache_hits == 5
    assert by_label[GONE_NAME].living
    assert by_label[GONE_NAME].stats.in_flight == 1


def test_only_so_many_are_remembered(registry, rows):
    """Functions that come and go for ever leave a bounded number of rows, and the sum is right all the same."""
    for number in range(MOST_REMEMBERED + 50):
        counters = function(registry, f"odds {number}", hits=1)
        rows.look()
        registry.fold(f"odds {number}", counters)
    shown = hits(rows)
    assert len(shown) == MOST_REMEMBERED + 1
    assert shown[GONE_NAME] == 50
    assert sum(shown.values()) == MOST_REMEMBERED + 50


@pytest.mark.parametrize(
    "name", ["odds", "module.<locals>.odds", '<script>"\\\n', "\N{SNOWMAN}" * MOST_LABEL_CHARACTERS]
)
def test_a_label_is_the_name(name):
    """A name that a label can bear is left alone."""
    assert label_of(name) == name


@pytest.mark.parametrize("name", ["x" * 10_000, "\ud800", "\ud800" * 10_000])
def test_a_name_that_no_label_can_bear_is_changed(name):
    """It becomes short and UTF-8, and stays apart from others that begin like it."""
    label = label_of(name)
    assert len(label) <= MOST_LABEL_CHARACTERS
    assert label.encode()
    assert label not in (label_of(name + "y"), name)
