"""The table of numbers: aligned, at most 100 columns wide, pleasant with no function, one and two hundred."""

from __future__ import annotations

import pytest

from coalesce_kit.stats.counters import CoalescerStats, Counters
from coalesce_kit.stats.registry import StatsRegistry
from coalesce_kit.stats.table import MAX_COLUMNS, render_table, shortened


def registry_of(**functions: Counters) -> StatsRegistry:
    """Make a registry; two underscores stand for the dot in a name."""
    registry = StatsRegistry()
    for name, counters in functions.items():
        registry.register(name.replace("__", "."), counters)
    return registry


def herd() -> Counters:
    """Count a hundred callers who shared one fetch of 150 ms."""
    counters = Counters(led_requests=1, coalesced_requests=99, fetches=1)
    counters.fetch_latency.record(0.15)
    return counters


def latency_cell(seconds: float) -> str:
    """Show one latency as the table does."""
    counters = Counters()
    counters.fetch_latency.record(seconds)
    return str(registry_of(f=counters)).splitlines()[2].split()[-1]


def requests_cell(number: int) -> str:
    """Show one count as the table does."""
    return str(registry_of(f=Counters(led_requests=number))).splitlines()[2].split()[3]


def test_without_a_function_it_says_so():
    """With nothing to show there is a sentence, not an empty table."""
    assert str(StatsRegistry()) == "no function is decorated yet: put @coalesced on one and call it"


def test_one_function():
    """Calls saved lead, the hit rate is called coalesced, a line of totals ends it."""
    assert str(registry_of(app__fixtures=herd())).splitlines() == [
        "function      saved  coalesced  requests  fetches  errors  fetch p50    p99",
        "---------------------------------------------------------------------------",
        "app.fixtures  99.0%      99.0%       100        1       0      150ms  150ms",
        "---------------------------------------------------------------------------",
        "total         99.0%      99.0%       100        1       0      150ms  150ms",
    ]


def test_a_function_that_was_never_called_shows_no_ratio():
    """A ratio of nothing is a dash."""
    assert str(registry_of(f=Counters())).splitlines()[2].split() == ["f", "-", "-", "0", "0", "0", "-", "-"]


def test_the_busiest_function_comes_first():
    """Rows are ordered by requests, then fetches, then name."""
    registry = registry_of(
        idle=Counters(), b=Counters(led_requests=5), a=Counters(led_requests=5), busy=Counters(led_requests=9)
    )
    assert [line.split()[0] for line in str(registry).splitlines()[2:-2]] == ["busy", "a", "b", "idle"]


def test_of_equally_busy_functions_the_one_that_fetches_more_comes_first():
    """Fetches decide before names."""
    registry = registry_of(a=Counters(led_requests=5, fetches=1), b=Counters(led_requests=5, fetches=5))
    assert [line.split()[0] for line in str(registry).splitlines()[2:-2]] == ["b", "a"]


def test_hits_and_timeouts_have_a_column_once_there_are_any():
    """A column that would hold zeros alone is left out."""
    assert "hits" not in str(registry_of(f=herd()))
    hits = str(registry_of(f=Counters(cache_hits=3, stale_hits=4))).splitlines()
    assert (hits[0].split()[4], hits[2].split()[4]) == ("hits", "7")
    timeouts = str(registry_of(f=Counters(fetch_timeouts=1, wait_timeouts=2))).splitlines()
    assert (timeouts[0].split()[6], timeouts[2].split()[6]) == ("timeouts", "3")


def test_a_column_is_there_for_one_function_of_many():
    """It is enough that one row has a number in it."""
    assert "hits" in str(registry_of(f=Counters(cache_hits=3), g=herd()))


@pytest.mark.parametrize("counted", ["led_requests", "fetches", "bypassed_requests"])
def test_whatever_gone_functions_have_counted_they_have_a_line(counted: str):
    """A refresh and a call of ``origin`` are no requests, and leave a line all the same."""
    registry, gone = registry_of(f=herd()), Counters(**{counted: 1})
    registry.register("g", gone)
    registry.fold("g", gone)
    assert "(functions that are gone)" in str(registry)


def test_functions_that_are_gone_have_a_line_together():
    """The lines add up to the totals also when some functions are gone."""
    registry, gone = registry_of(f=Counters(led_requests=1)), Counters(led_requests=2)
    registry.register("g", gone)
    registry.fold("g", gone)
    lines = str(registry).splitlines()
    assert lines[3].startswith("(functions that are gone)")
    assert lines[-1].split()[3] == "3"


def test_two_hundred_functions_with_long_names_stay_within_100_columns():
    """Every function has its line, all are equally wide, and the ends of names survive."""
    registry = StatsRegistry()
    for number in range(200):
        counters = Counters(
            cache_hits=10**number if number < 20 else number, led_requests=10**13, fetches=10**12, wait_timeouts=10**9
        )
        counters.fetch_latency.record(10.0 ** (number % 12 - 7))
        registry.register(f"company.product.services.sports.OddsService.method_number_{number:03}", counters)
    lines = str(registry).splitlines()
    assert len(lines) == 200 + 4
    assert {len(line) for line in lines} == {len(lines[0])}
    assert len(lines[0]) <= MAX_COLUMNS == 100
    assert {line.split()[0][-3:] for line in lines[2:-2]} == {f"{number:03}" for number in range(200)}


@pytest.mark.parametrize("width", range(3, 12))
def test_a_long_name_is_shortened_in_the_middle(width: int):
    """The shortened name is as wide as asked, and keeps its beginning and its end."""
    short = shortened("abcdefghijklmnop#2", width)
    assert len(short) == width
    head, tail = short.split("…")
    assert "abcdefghijklmnop#2".startswith(head)
    assert "abcdefghijklmnop#2".endswith(tail)
    assert len(tail) >= len(head)


@pytest.mark.parametrize(("width", "short"), [(9, "ab…mnop#2"), (10, "abc…mnop#2")])
def test_a_third_of_a_shortened_name_is_its_beginning(width: int, short: str):
    """What is left beside the ellipsis is divided one to two."""
    assert shortened("abcdefghijklmnop#2", width) == short


def test_a_name_that_fits_is_not_shortened():
    """A name exactly as wide as its column stays whole."""
    assert shortened("abc", 3) == "abc"


def test_a_name_cannot_break_the_table():
    """Line breaks and control characters in a name are shown as question marks."""
    assert "odd?name?" in str(registry_of(**{"odd\nname\x1b": herd()}))


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (9_999_999, "9999999"),
        (10_000_000, "10.0M"),
        (10**9, "1.0G"),
        (1_000_500_000, "1.0G"),
        (1_234_567_890, "1.2G"),
        (5 * 10**12, "5.0T"),
        (10**18, "1.0e+18"),
    ],
)
def test_large_numbers_are_rounded(number: int, shown: str):
    """From ten million on a number is shown with its unit."""
    assert requests_cell(number) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(8e-5, "84µs"), (0.0015, "1.5ms"), (0.15, "150ms"), (1.2, "1.19s"), (2.0, "2.11s"), (5000.0, "4732s")],
)
def test_times_are_shown_in_the_unit_that_fits(seconds: float, shown: str):
    """Microseconds, milliseconds and seconds, to three digits."""
    assert latency_cell(seconds) == shown


def test_it_renders_snapshots_made_by_hand():
    """The table is a function of snapshots alone."""
    stats = CoalescerStats(name="f", instance="here", pid=1, led_requests=1)
    nothing = CoalescerStats(name="gone", instance="here", pid=1)
    assert render_table([stats], gone=nothing, totals=stats).count("\n") == 4
