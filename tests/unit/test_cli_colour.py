"""Colour on the command line: there for terminals with rich, and never in the way."""

from __future__ import annotations

import io
import re
from types import SimpleNamespace

import pytest

from coalesce_kit.cli import colour
from coalesce_kit.cli.colour import print_report

REPORT = """http://127.0.0.1  degraded  1 worker
  fetches_fail: 60 % of the fetches of odds failed

function  saved
---------------
[red]odds  0.0%
---------------
total      0.0%"""


class Terminal(io.StringIO):
    """A standard output that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """The process's standard output, as a terminal that knows colours."""
    shown = Terminal()
    monkeypatch.setattr(colour, "sys", SimpleNamespace(stdout=shown))
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    return shown


def without_colour(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_a_terminal_shows_the_status_in_its_colour(terminal):
    """The status is red, the table's head bold, and the text is the report."""
    print_report(REPORT, status="degraded")
    assert without_colour(terminal.getvalue()) == f"{REPORT}\n"
    assert re.search(r"\x1b\[1;31m ?degraded", terminal.getvalue())
    assert "\x1b[1mfunction  saved" in terminal.getvalue()


def test_a_name_is_no_markup(terminal):
    """Brackets in a function's name are brackets."""
    print_report(REPORT, status="degraded")
    assert "[red]odds" in terminal.getvalue()


def test_a_report_of_one_line_has_its_colour_too(terminal):
    """``health`` prints the status first."""
    print_report("healthy  2 workers", status="healthy")
    assert without_colour(terminal.getvalue()) == "healthy  2 workers\n"
    assert "\x1b[1;32mhealthy" in terminal.getvalue()


def test_no_color_is_respected(terminal, monkeypatch):
    """Whoever wants no colour gets none."""
    monkeypatch.setenv("NO_COLOR", "1")
    print_report(REPORT, status="degraded")
    assert not re.search(r"\x1b\[[0-9;]*3\dm", terminal.getvalue())


def test_long_lines_are_not_wrapped(terminal, monkeypatch):
    """A narrow terminal wraps by itself; a wrapped table could not be copied."""
    monkeypatch.setenv("COLUMNS", "10")
    print_report(REPORT, status="degraded")
    assert without_colour(terminal.getvalue()) == f"{REPORT}\n"


def test_without_rich_the_text_is_plain(terminal, monkeypatch):
    """Rich is an extra."""
    monkeypatch.setattr(colour, "find_spec", lambda name: None)
    print_report(REPORT, status="degraded")
    assert terminal.getvalue() == f"{REPORT}\n"


def test_a_pipe_gets_plain_text(capsys):
    """What is read by a program has no colour."""
    print_report(REPORT, status="degraded")
    assert capsys.readouterr().out == f"{REPORT}\n"
