"""The page that says what is proved says it of every guarantee and of every scenario, and no more than is true."""

from __future__ import annotations

import re
from pathlib import Path

from tests.exploration.scenarios import CASES

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "concepts" / "proof.md"


def rows(text: str, heading: str) -> list[list[str]]:
    """The rows of the table under a heading, without its head."""
    part = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line.strip("|").split("|") for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line] for line in lines[2:]]


def test_every_guarantee_has_tests():
    """Each guarantee of the list has a row, and its row a link to a file of tests that is there."""
    listed = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
    guarantees = re.findall(r"^\| (G\d+) \|", listed, re.MULTILINE)
    promised = {}
    for promise, tests, _ in rows(PAGE.read_text(encoding="utf-8"), "Promise by promise"):
        number = re.match(r"\[?(G\d+)", promise)[1]
        links = re.findall(r"\]\((\S+?)\)", tests)
        assert links
        assert all((PAGE.parent / link).is_file() for link in links), links
        assert f"test_g{int(number[1:]):02}_" in links[0]
        promised[number] = links
    assert len(guarantees) >= 18
    assert set(guarantees) <= promised.keys()


def test_every_scenario_is_in_the_table():
    """Each scenario has a row, in order, and is called exhausted unless it is sampled."""
    table = rows(PAGE.read_text(encoding="utf-8"), "Scenarios, and how many schedules they have")
    assert [name for name, *_ in table] == list(CASES)
    for name, schedules, how, _ in table:
        assert how == ("sampled" if CASES[name].samples else "exhausted")
        assert int(schedules) > 0
