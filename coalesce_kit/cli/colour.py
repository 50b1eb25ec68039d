"""Colour for whoever has ``rich`` and a terminal: the same report, with what matters standing out."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Final

_STATUS: Final = {"healthy": "bold green", "warning": "bold yellow", "degraded": "bold red"}


def print_report(report: str, *, status: str) -> None:
    """Write a report to the standard output, in colour where ``rich`` is installed and a terminal shows it.

    ``pip install "coalesce-kit[rich]"`` brings it. The environment's ``NO_COLOR`` is respected.

    Args:
        report: what to write, as ``render_report`` makes it: each line a fact, then a table that ends in its totals.
        status: the word of the report that says how the service does.
    """
    if sys.stdout.isatty() and find_spec("rich") is not None:
        _print_coloured(report, status)
    else:
        sys.stdout.write(f"{report}\n")
    sys.stdout.flush()


def _print_coloured(report: str, status: str) -> None:
    from rich.console import Console  # noqa: PLC0415  # an extra
    from rich.text import Text  # noqa: PLC0415  # an extra

    lines = report.split("\n")
    painted = Text()
    for number, line in enumerate(lines):
        is_heading = number > 0 and not lines[number - 1] and number + 1 < len(lines)
        is_rule = bool(line) and not line.strip("-")
        # A Text takes nothing for markup, whatever a function is called.
        text = Text(line, style="bold" if is_heading else "dim" if is_rule else "")
        if number == 0:
            text.highlight_words([f" {status} ", f"{status} "], style=_STATUS.get(status, "bold"))
        painted.append_text(text).append("\n")
    Console(file=sys.stdout, highlight=False).print(painted, end="", soft_wrap=True)
