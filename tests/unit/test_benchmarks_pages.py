"""What becomes of what was found: traces read, tables, plots, pages, and the command line."""

from __future__ import annotations

import argparse
import asyncio
import json
import lzma
import re
import shutil
import struct
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from benchmarks import __main__ as program, pages, plots, report, trace
from benchmarks.subjects import Subject

KEYS = [1, 2, 3, 1, 2, 4, 1]

ENVIRONMENT = {"python": "CPython 3.11.7", "versions": {"moka-py": "0.5.0", "theine": None}}


def written(path: Path, raw: bytes) -> Path:
    """A trace file."""
    path.write_bytes(lzma.compress(raw) if path.suffix == ".xz" else raw)
    return path


@pytest.mark.parametrize("name", ["a.trace", "a.trace.xz"])
@pytest.mark.parametrize("form", [None, "u32"])
def test_a_trace_of_32_bit_keys_is_read(tmp_path: Path, name: str, form: str | None) -> None:
    """Big-endian words, compressed or not."""
    assert trace.read(written(tmp_path / name, struct.pack(">7I", *KEYS)), form=form) == KEYS


def test_a_trace_of_64_bit_keys_is_guessed(tmp_path: Path) -> None:
    """Their upper halves hardly change."""
    keys = [(5 << 32) + number for number in range(100)]
    assert trace.read(written(tmp_path / "b.trace", struct.pack(">100Q", *keys))) == keys


def test_a_trace_of_text_lines_is_read(tmp_path: Path) -> None:
    """``time key size``: the key is the second."""
    text = "".join(f"{at} {key} 100\n" for at, key in enumerate(KEYS)).encode()
    assert trace.read(written(tmp_path / "c.trace.xz", text), most=3) == KEYS[:3]


def test_the_optimum_sees_the_future() -> None:
    """Keys that are not needed again are not kept, so room for two does for all three that come back."""
    assert trace.optimum(KEYS, 2) == pytest.approx(3 / 7)
    assert trace.optimum(KEYS, 4) == pytest.approx(3 / 7)
    assert trace.optimum([1, 2, 1, 3, 1, 2], 1) == pytest.approx(2 / 6)


def test_a_policy_is_replayed() -> None:
    """Least recently used, with room for two, misses all but what comes back at once."""
    replays = Subject.load("yardsticks", "").module.REPLAYS
    assert trace.replayed([1, 1, 2, 3, 1], replays["LRU"](2)) == pytest.approx(1 / 5)


def test_ours_never_beats_the_optimum() -> None:
    """Our policy stands between nothing and the best there is."""
    keys = trace.made(5_500)
    ours = trace.replayed(keys, Subject.load("ours", "").module.REPLAYS["S3-FIFO"](200))
    assert 0 < ours < trace.optimum(keys, 200)


def test_a_table_is_aligned() -> None:
    """Numbers to the right, words to the left, what is absent as a dash."""
    table = report.text_table([{"a": "x", "b": 1.234}, {"a": None, "b": 12_345.6}], ("a", "b"))
    assert table.splitlines() == ["a      b", "-  -----", "x   1.23", "-  12346"]


def test_a_cell_of_a_markdown_table_cannot_break_it() -> None:
    """A bar in a text is escaped."""
    assert report.markdown_table([{"a": "x|y", "b": True}], ("a", "b")).splitlines()[-1] == "| x\\|y | yes |"


def drawn(path: Path) -> str:
    """The text of a plot that is well-formed."""
    return "".join(ET.parse(path).getroot().itertext())


def test_plots_are_well_formed(tmp_path: Path) -> None:
    """Every kind of plot is XML that shows its labels, whatever stands in them."""
    path = tmp_path / "plot.svg"
    plots.bars(path, "a < b", "s", [plots.Bar("x & y", 1.0, "n", (0.9, 1.1)), plots.Bar("z", None, "hangs")], mark=1.0)
    assert "x & y" in drawn(path)
    assert "hangs" in drawn(path)
    plots.lines(
        path,
        "t",
        "s",
        [10, 100],
        {"ours": [0.1, 0.2], "gone": [None, None]},
        across_label="a",
        up_label="u",
        ours="ours",
    )
    assert "ours" in drawn(path)
    plots.matrix(path, "t", "s", ["<head>"], [("row", [("+", plots.WELL)])])
    assert "<head>" in drawn(path)


HIT = {
    "group": "hit",
    "row": "fresh hit, 3 parameters",
    "loop": "asyncio",
    "gc": "on",
    "unit": "µs",
    "against": "hand-written dict",
}

ANSWERS = {
    "overhead": {
        "rows": [
            HIT | {"subject": "@coalesced", "ratio": 1.5, "from": 1.4, "to": 1.6, "takes": 0.3, "verdict": "pass"},
            HIT | {"subject": "x, documented", "rival": "x", "ratio": None, "verdict": "hangs"},
        ]
    },
    "stampede": {
        "rows": [
            {"scenario": "calm", "subject": "@coalesced", "hurt": 0, "origin calls": 1},
            {"scenario": "calm", "subject": "x, documented", "hurt": 9, "origin calls": 1},
            {"scenario": "calm", "subject": "y, documented", "errors": "hangs"},
        ]
    },
    "zipf": {
        "workload": {"keys": 1, "calls a second": 1, "seconds": 1.0, "ttl": 1.0},
        "rows": [
            {
                "subject": "coalesce_kit",
                "policy": "ttl",
                "waited %": 3.0,
                "p99 ms": 1.0,
                "origin calls": 1,
                "stale %": 0,
            },
            {"subject": "moka-py", "errors": "its clock is inside its Rust core"},
        ],
    },
    "trace": {
        "trace": "a.trace",
        "requests": 7,
        "distinct": 4,
        "sizes": [1, 2],
        "rows": [{"policy": "coalesce_kit S3-FIFO", "1": 0.1, "2": 0.2}, {"policy": "x", "1": "hangs"}],
    },
    "service": {
        "rows": [
            {"subject": "bare", "loop": "asyncio", "cpu µs": 100.0, "rps": 1000.0},
            {"subject": "coalesce_kit", "style": "@coalesced", "loop": "asyncio", "cpu ratio": "cannot start"},
        ]
    },
    "behaviours": {
        "questions": {"herd": {"when": "ten callers ask at once", "wanted": "one fetch"}},
        "subjects": [
            {"subject": "coalesce_kit", "style": "@coalesced", "seen": {"herd": {"well": True, "says": "1 fetch"}}},
            {"subject": "x", "style": "our semantics", "seen": {"herd": {"well": False, "says": "10 fetches"}}},
        ],
    },
    "distributed": {
        "workload": {"origin seconds": 0.2, "lease seconds": 3.0},
        "rows": [
            {
                "scenario": "cold, 20 keys",
                "subject": "coalesce_kit",
                "p99 ms": 210.0,
                "origin calls": 20,
                "commands per call": 0.6,
            },
            {"scenario": "the leader dies", "subject": "x", "errors": "hangs"},
        ],
    },
    "check": {
        "rows": [HIT | {"subject": "x", "verdict": "short", "ratio": 1.5, "from": 1.4, "to": 1.6, "budget": 1.45}],
        "short": 1,
    },
}


@pytest.mark.parametrize("question", ANSWERS)
def test_an_answer_is_kept_as_data_page_and_plots(tmp_path: Path, question: str) -> None:
    """The data can be read back, the page shows every plot, and nothing else is written."""
    answer = {
        "question": question,
        "quick": True,
        "environment": ENVIRONMENT,
        "not installed": ["y"],
        **ANSWERS[question],
    }
    kept = pages.keep(answer, tmp_path)
    assert set(tmp_path.iterdir()) == set(kept)
    assert json.loads((tmp_path / f"{question}.json").read_text()) == answer
    page = (tmp_path / f"{question}.md").read_text()
    for plot in (path for path in kept if path.suffix == ".svg"):
        assert plot.name in page
        assert drawn(plot)
    assert "moka-py 0.5.0" in page
    assert "theine" not in page


def test_every_question_has_a_page() -> None:
    """What can be asked can be kept."""
    assert {*program.QUESTIONS, "check"} == set(pages._PAGES) == set(ANSWERS)


def test_rows_that_do_not_exist_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """The message says which there are."""
    with pytest.raises(SystemExit, match="2"):
        program.main(["overhead", "--rows", "waiter,speed"])
    assert "no rows called speed; there are bare, hit" in capsys.readouterr().err


@pytest.mark.parametrize(("short", "code"), [(0, 0), (2, 1)])
def test_a_budget_that_is_not_kept_is_an_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: int, code: int
) -> None:
    """``check`` fails if a row is short."""

    async def found(*, quick: bool) -> dict[str, Any]:
        return {"question": "check", "quick": quick, "environment": ENVIRONMENT, "rows": [], "short": short}

    monkeypatch.setattr(program.check, "answer", found)
    assert program.main(["check", "--quick", "--json", str(tmp_path / "check.json")]) == code
    assert json.loads((tmp_path / "check.json").read_text())["short"] == short


def test_a_question_without_an_answer_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What breaks and what takes too long is named at the end, and those after it are kept."""

    async def broken(_options: object) -> dict[str, Any]:
        raise ZeroDivisionError

    async def endless(_options: object) -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    async def found(_options: object) -> dict[str, Any]:
        return {"question": "zipf", "quick": True, "environment": ENVIRONMENT, **ANSWERS["zipf"]}

    asked = {"stampede": ("?", broken), "trace": ("?", endless), "zipf": ("?", found)}
    monkeypatch.setattr(program, "QUESTIONS", asked)
    monkeypatch.setattr(program, "LONGEST_SECONDS", 0.01)
    assert program._ask_all(list(asked), argparse.Namespace(json=None, keep=tmp_path, quick=True)) == 1
    said = capsys.readouterr().out
    assert "1 of 3 questions answered" in said
    assert "not answered: stampede, trace" in said
    assert "took seconds" in json.loads((tmp_path / "zipf.json").read_text())


def test_the_results_that_are_kept_say_what_was_found(tmp_path: Path) -> None:
    """Every page, the list of what we lose and every plot is the one that the data beside it give."""
    for data in pages.RESULTS.glob("*.json"):
        shutil.copy(data, tmp_path)
    drawn_anew = {path.name: path.read_bytes() for path in pages.redraw(tmp_path)}
    kept = {path.name: path.read_bytes() for path in pages.RESULTS.iterdir()}
    other = [name for name in kept.keys() | drawn_anew.keys() if kept.get(name) != drawn_anew.get(name)]
    assert not other, "python -m benchmarks redraw"


def test_every_plot_is_shown_beside_the_questions() -> None:
    """And every page is linked; nothing is shown that is not there."""
    readme = (pages.RESULTS.parent / "README.md").read_text()
    shown = set(re.findall(r"\(results/([^)]+)\)", readme))
    there = {path.name for path in pages.RESULTS.iterdir() if path.suffix != ".json"}
    assert there - shown <= {"check.md"}
    assert shown <= there
