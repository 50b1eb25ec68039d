"""One picture of ``top``: what is in it at every width, how it is sorted, and what hostile names do to it."""

from __future__ import annotations

import pytest

from coalesce_kit.cli.client import Reason
from coalesce_kit.cli.screen import COLUMNS, SORT_KEYS, Choice, Moment, render_screen
from coalesce_kit.cli.workers import Line, Rates, View
from coalesce_kit.stats.counters import Counters, Gauges

MOMENT = Moment(address="http://localhost:8000/health/coalescer", clock="12:00:00")


BY_RATE = Choice()


def line(name, *, requests=0, fetches=0, rate=None, in_flight=0, oldest=0.0):
    counters = Counters(cache_hits=requests - fetches, led_requests=fetches, fetches=fetches, in_flight=in_flight)
    counters.fetch_latency.record(0.25, fetches)
    return Line(counters.snapshot(name, Gauges(oldest_flight_seconds=oldest)), rate)


def view(*lines, status="healthy", reasons=()):
    return View(
        status=status,
        reasons=[Reason("oldest_flight", "f", text) for text in reasons],
        functions={each.stats.name: each for each in lines},
        gone=Counters().snapshot("gone"),
        totals=line("total", requests=1000, fetches=10, rate=Rates(12.5, 0.125)),
        answers=[],
        answering=0,
        left_out=[],
    )


THREE = view(
    line("shop.fixtures", requests=900, fetches=9, rate=Rates(12.0, 0.1), in_flight=2, oldest=3.25),
    line("shop.odds", requests=90, fetches=1, rate=Rates(0.5, 0.025)),
    line("shop.lineup", requests=10),
)


EIGHTY_COLUMNS = """\
12:00:00  http://localhost:8000/health/coalescer
healthy  0 workers
12.5 requests/s, 0.12 fetches/s, 99.0% saved, 0 in flight, 0 waiting

function            ↓req/s   fetch/s   saved   flying   oldest    p99   requests
shop.fixtures         12.0      0.10   99.0%        2    3.25s  237ms        900
shop.odds             0.50      0.03   98.9%        0        -  237ms         90
shop.lineup              -         -  100.0%        0        -      -         10
total                 12.5      0.12   99.0%        0        -  237ms       1000

q quit  sort: n name  r req/s  f fetch/s  s saved  i flying  o oldest  p p99"""


def screen(what, choice=BY_RATE, *, width=80, height=24, colour=False, keys=True, moment=MOMENT):
    return render_screen(what, moment, choice, width=width, height=height, colour=colour, keys=keys)


def names(lines):
    start = next(index for index, each in enumerate(lines) if each.startswith("function"))
    return [each.split()[0] for each in lines[start + 1 : start + 4]]


def test_a_picture_of_eighty_columns():
    """Who, how well, the rates, the functions, the total, and the keys"""
    assert screen(THREE) == EIGHTY_COLUMNS.split("\n")


@pytest.mark.parametrize("width", [1, 40, 60, 80, 100, 200])
def test_no_line_is_wider_than_the_screen(width):
    """Columns that do not fit are left out, from the least wanted on"""
    reasons = ["x" * 500]
    lines = screen(view(line("x" * 10_000, requests=10**9), status="degraded", reasons=reasons), width=width)
    assert max(map(len, lines)) <= max(width, 40)


def test_a_wide_screen_shows_every_column():
    """Every column has its place, and its key in the last line"""
    lines = screen(THREE, width=200)
    head = next(each for each in lines if each.startswith("function"))
    assert all(column.label in head for column in COLUMNS)
    assert all(f"{column.key} {column.label}" in lines[-1] for column in COLUMNS)


def test_more_functions_than_lines():
    """What does not fit is counted, and the total and the keys stay"""
    lines = screen(view(*(line(f"shop.section_{number}", requests=number) for number in range(200))), height=24)
    assert len(lines) == 24
    assert lines[-3].startswith("total, 184 more")
    assert lines[-1].startswith("q quit")


def test_a_screen_without_end_shows_all():
    """Below each other, as in a file, every function has its line"""
    lines = screen(view(*(line(f"shop.section_{number}") for number in range(200))), height=None, keys=False)
    assert sum(each.startswith("shop.section") for each in lines) == 200


@pytest.mark.parametrize(
    ("choice", "order"),
    [
        (Choice("n"), ["shop.fixtures", "shop.lineup", "shop.odds"]),
        (Choice("n", reverse=True), ["shop.odds", "shop.lineup", "shop.fixtures"]),
        (Choice("r"), ["shop.fixtures", "shop.odds", "shop.lineup"]),
        (Choice("s"), ["shop.lineup", "shop.fixtures", "shop.odds"]),
        (Choice("s", reverse=True), ["shop.odds", "shop.fixtures", "shop.lineup"]),
        (Choice("o"), ["shop.fixtures", "shop.odds", "shop.lineup"]),
        (Choice("e"), ["shop.fixtures", "shop.odds", "shop.lineup"]),
    ],
)
def test_sorted_by_what_was_chosen(choice, order):
    """The most first, names from a; among equals the busier first"""
    assert names(screen(THREE, choice)) == order


def test_every_sort_key_sorts():
    """No key is taken twice, none is that of quitting, and each has a column"""
    assert len(set(SORT_KEYS)) == len(SORT_KEYS)
    assert "q" not in SORT_KEYS
    for key in SORT_KEYS:
        assert len(names(screen(THREE, Choice(key)))) == 3


def test_the_same_key_again_turns_the_order_round():
    """Another key begins anew, and what is no key changes nothing"""
    choice = Choice().after("s")
    assert choice == Choice("s")
    assert choice.after("s") == Choice("s", reverse=True)
    assert choice.after("s").after("n") == Choice("n")
    assert choice.after("x") is choice
    assert choice.after("") is choice


def test_hostile_names_and_reasons_are_one_line():
    """Escapes, line breaks and turned writing are question marks, an endless name is cut"""
    hostile = ["\x1b[2J\x1b[31mred", "two\nlines", "right\u202eleft", "y" * 10_000]
    lines = screen(view(*(line(name) for name in hostile), reasons=["It\nhangs \x1b]0;title\x07"]))
    assert all(each.isprintable() for each in lines)
    text = "\n".join(lines)
    assert "?[2J?[31mred" in text
    assert "two?lines" in text
    assert "right?left" in text
    assert "  oldest_flight: It?hangs ?]0;title?" in lines


def test_colour_only_where_it_is_welcome():
    """Without colour there is no escape at all"""
    assert "\x1b" not in "".join(screen(THREE))
    coloured = screen(view(line("f"), status="degraded"), colour=True)
    assert coloured[1] == "\x1b[31mdegraded  0 workers\x1b[0m"


def test_without_an_answer_the_last_numbers_stay():
    """The problem is told above what was known before"""
    moment = Moment(address="http://x", clock="12:00:00", problem="nobody listens at http://x")
    lines = screen(THREE, moment=moment)
    assert lines[1] == "no answer: nobody listens at http://x"
    assert names(lines) == ["shop.fixtures", "shop.odds", "shop.lineup"]
    assert screen(None, moment=moment) == lines[:2]


def test_without_functions_it_says_how_to_begin():
    """An empty table helps nobody"""
    assert "no function is decorated yet: put @coalesced on one and call it" in screen(view())


def test_many_reasons_leave_room_for_the_table():
    """Three are shown, the rest is counted"""
    lines = screen(view(line("f"), reasons=[f"reason {number}" for number in range(9)]))
    assert sum("oldest_flight" in each for each in lines) == 3
    assert "  and 6 reasons more" in lines


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.0, "-"), (2e-6, "2µs"), (0.0123, "12.3ms"), (0.9996, "1s"), (12.34, "12.3s"), (4321.0, "4321s")],
)
def test_times_are_short(seconds, shown):
    """Three digits and a unit"""
    lines = screen(view(line("f", oldest=seconds)))
    assert next(each for each in lines if each.startswith("f ")).split()[5] == shown


@pytest.mark.parametrize(
    ("count", "shown"), [(999_999, "999999"), (1_234_567, "1.2M"), (5 * 10**9, "5.0G"), (10**13, "1.0e+13")]
)
def test_counts_are_short(count, shown):
    """A million and more has a unit"""
    lines = screen(view(line("f", requests=count)), width=200)
    assert next(each for each in lines if each.startswith("f ")).split()[7] == shown
