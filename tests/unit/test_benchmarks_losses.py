"""The list of what we lose: found in the results, whoever is better and however little he does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import check, losses
from benchmarks.progress import Progress, lasting

PLACE = {"group": "hit", "row": "fresh hit, 3 parameters", "loop": "asyncio", "gc": "on"}
OURS = PLACE | {"subject": "@coalesced", "ratio": 1.5, "from": 1.4, "to": 1.6}


def lost(tmp_path: Path, question: str, **answer: Any) -> str:
    """The page over one answer."""
    (tmp_path / f"{question}.json").write_text(json.dumps({"question": question, **answer}))
    return losses.page(tmp_path)


def test_nothing_kept_is_nothing_lost(tmp_path: Path) -> None:
    """Without results there is a page without tables."""
    assert "|" not in losses.page(tmp_path)


def test_a_rival_below_us_is_named(tmp_path: Path) -> None:
    """With what it does; who is above us, or was measured elsewhere, is not."""
    rows = [
        OURS,
        PLACE | {"subject": "x, documented", "rival": "x", "ratio": 0.4, "does": "..B.."},
        PLACE | {"subject": "y, documented", "rival": "y", "ratio": 1.6},
        PLACE | {"subject": "z, documented", "rival": "z", "ratio": None},
        PLACE | {"subject": "u, documented", "rival": "u", "ratio": 0.4, "loop": "uvloop"},
    ]
    page = lost(tmp_path, "overhead", rows=rows)
    assert "| fresh hit, 3 parameters | asyncio | on | 1.50 | x, documented 0.400 (..B..) |" in page


def test_a_row_short_of_its_budget_is_named_with_its_cause(tmp_path: Path) -> None:
    """Each cause once, with the places it holds for, and whether the budget lies within the spread."""
    short = {"row": "leader, nobody joins", "verdict": "short", "budget": 1.5, "ratio": 1.6, "to": 1.7}
    rows = [
        OURS | short | {"gc": "off", "from": 1.55},
        OURS | short | {"from": 1.45},
        OURS | {"verdict": "pass", "budget": 1.45},
    ]
    page = lost(tmp_path, "check", rows=rows)
    assert page.count("| leader, nobody joins |") == 2
    assert page.count(check.WHY["leader, nobody joins", None, None]) == 1
    assert "(@coalesced, asyncio, collector off; @coalesced, asyncio, collector on, the budget lies within" in page


def test_a_cause_may_depend_on_where(tmp_path: Path) -> None:
    """That of the loop and the collector's state goes before that of the row alone; what is not known is said."""
    assert check.why({"row": "leader, nobody joins", "loop": "uvloop", "gc": "on"}).startswith("as on asyncio")
    assert "one task" in check.why({"row": "waiter, 1 000 on one key", "rival": "theine"})
    for unknown in ({"row": "something new"}, {"row": "leader, nobody joins", "rival": "theine"}):
        assert check.why(unknown) == "no cause is known"


def test_every_cause_is_of_a_row_that_has_a_budget() -> None:
    """No explanation outlives its row."""
    there = {row.row for row in check.overhead.our_rows() if row.budget is not None} | {"import coalesce_kit"}
    assert {row for row, _, _ in check.WHY} <= there


def test_a_callers_harm_is_ours_to_show(tmp_path: Path) -> None:
    """Hurt callers stand there, and who is later by a tenth than somebody who hurt nobody either."""
    calm = {"scenario": "calm", "hurt": 0, "errors": "none", "origin calls": 1}
    rows = [
        calm | {"subject": "@coalesced", "p99 ms": 120.0},
        calm | {"subject": "x, documented", "p99 ms": 100.0},
        calm | {"subject": "y, documented", "p99 ms": 100.0, "hurt": 3},
        {"scenario": "first leaves", "subject": "@coalesced", "hurt": 2, "errors": "2 CancelledError"},
    ]
    page = lost(tmp_path, "stampede", rows=rows)
    assert "| calm | p99 120 ms | x, documented 100 ms (-) |" in page
    assert "| first leaves | 2 hurt, 2 CancelledError | - |" in page


def test_a_policy_counts_only_if_none_of_ours_equals_it(tmp_path: Path) -> None:
    """Equal in everything at once, or nearly; what could not be simulated is not compared."""
    mine = {"subject": "coalesce_kit", "policy": "ttl", "origin calls": 100, "waited %": 10.0, "stale %": 0.0}
    rows = [
        mine | {"p99 ms": 100.0},
        mine | {"subject": "x", "p99 ms": 99.0},
        mine | {"subject": "y", "waited %": 5.0, "p99 ms": 100.0},
        {"subject": "z", "errors": "its clock is inside its Rust core"},
    ]
    page = lost(tmp_path, "zipf", rows=rows)
    assert "| y | ttl |" in page
    assert "| x |" not in page


def test_eviction_is_compared_room_by_room(tmp_path: Path) -> None:
    """Who sees the future is nobody's rival."""
    rows = [
        {"policy": "coalesce_kit S3-FIFO", "10": 0.5, "20": 0.6},
        {"policy": "optimum (sees the future)", "10": 0.9, "20": 0.9},
        {"policy": "x", "10": 0.55, "20": "hangs"},
    ]
    page = lost(tmp_path, "trace", sizes=[10, 20], rows=rows)
    assert "| 10 | 0.5000 | x 0.5500 |" in page
    assert "| 20 |" not in page


def test_an_endpoint_says_whether_a_difference_is_one(tmp_path: Path) -> None:
    """Within the quartiles it is none."""
    rows = [
        {"subject": "coalesce_kit", "loop": "asyncio", "cpu ratio": 1.2, "from": 1.1, "to": 1.3},
        {"subject": "x", "style": "documented", "loop": "asyncio", "cpu ratio": 1.0, "from": 0.9, "to": 1.05},
        {"subject": "y", "style": "documented", "loop": "asyncio", "cpu ratio": 1.1, "from": 1.0, "to": 1.2},
        {"subject": "z", "style": "documented", "loop": "asyncio", "cpu ratio": "hangs"},
        {"subject": "bare", "loop": "asyncio", "cpu µs": 1.0},
    ]
    page = lost(tmp_path, "service", rows=rows)
    assert "| asyncio | 1.20 | x, documented 1.00, y, documented 1.10 (within the quartiles) |" in page


def test_our_weak_cells_are_left_in(tmp_path: Path) -> None:
    """With who does it as a caller would want."""
    subjects = [
        {"subject": "coalesce_kit", "style": "@coalesced", "seen": {"mutated": {"well": False, "says": "all see it"}}},
        {"subject": "x", "style": "documented", "seen": {"mutated": {"well": True, "says": "only his own"}}},
        {"subject": "y", "style": "documented", "seen": {"mutated": None}},
    ]
    questions = {"mutated": {"when": "a caller changes the result", "wanted": "only his own"}}
    page = lost(tmp_path, "behaviours", subjects=subjects, questions=questions)
    assert "| a caller changes the result | only his own | all see it | x, documented |" in page


def test_a_fleet_that_is_better_pays_with_what_stands_beside_it(tmp_path: Path) -> None:
    """More origin calls and errors are named."""
    row = {"scenario": "cold", "p99 ms": 100.0, "origin calls": 1, "errors": "none"}
    rows = [
        row | {"subject": "coalesce_kit"},
        row | {"subject": "x", "p99 ms": 50.0, "origin calls": 4, "errors": "1 KeyError"},
        row | {"subject": "y", "p99 ms": None},
    ]
    page = lost(tmp_path, "distributed", rows=rows)
    assert "| cold | p99 ms | 100 | x 50.0 (4 origin calls, 1 KeyError) |" in page


def test_progress_says_how_much_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    """At the pace so far."""
    times = iter([0.0, 10.0, 400.0])
    progress = Progress(4, now=lambda: next(times))
    progress.did("one")
    progress.did("the rest", 3)
    assert capsys.readouterr().out.splitlines() == ["   25%    30 s left  one", "  100%     0 s left  the rest"]
    assert lasting(720) == "12 min"
