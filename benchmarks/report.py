"""Showing rows: as aligned text while they come, as Markdown and JSON afterwards. One list of rows, three forms."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

NOT_OFFERED = "-"

Rows = Sequence[Mapping[str, Any]]


def text_table(rows: Rows, columns: Sequence[str]) -> str:
    """Return rows under aligned heads; numbers to the right, a value that is absent as ``-``."""
    cells = [[shown(row.get(column)) for column in columns] for row in rows]
    widths = [
        max(len(column), *(len(line[at]) for line in cells)) if cells else len(column)
        for at, column in enumerate(columns)
    ]
    right = [any(isinstance(row.get(column), int | float) for row in rows) for column in columns]

    def line(texts: Sequence[str]) -> str:
        padded = (
            text.rjust(width) if to_the_right else text.ljust(width)
            for text, width, to_the_right in zip(texts, widths, right, strict=True)
        )
        return "  ".join(padded).rstrip()

    return "\n".join([line(columns), line(["-" * width for width in widths]), *(line(texts) for texts in cells)])


def markdown_table(rows: Rows, columns: Sequence[str]) -> str:
    """Return rows as a Markdown table."""
    right = [any(isinstance(row.get(column), int | float) for row in rows) for column in columns]
    lines = [
        "| " + " | ".join(columns) + " |",
        "|" + "|".join("---:" if to_the_right else "---" for to_the_right in right) + "|",
        *("| " + " | ".join(shown(row.get(column)).replace("|", "\\|") for column in columns) + " |" for row in rows),
    ]
    return "\n".join(lines)


def shown(value: object) -> str:
    """Return a cell's text: floats to about three figures, booleans as words, nothing as ``-``."""
    match value:
        case None:
            return NOT_OFFERED
        case bool():
            return "yes" if value else "no"
        case float():
            size = abs(value)
            digits = 0 if size >= 100 else 1 if size >= 20 else 2 if size >= 1 else 3
            return f"{value:.{digits}f}"
        case _:
            return str(value)


def environment_lines(environment: Mapping[str, Any]) -> list[str]:
    """Return what was measured on what, as a few lines."""
    facts = [f"{name}: {value}" for name, value in environment.items() if name != "versions"]
    versions = [f"{name} {version}" for name, version in environment["versions"].items() if version is not None]
    return ["; ".join(facts), "versions: " + ", ".join(versions)]


def write_json(path: Path, answer: Mapping[str, Any]) -> None:
    """Write the whole answer to a question, for machines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(answer, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Return what was written there; nothing if there is no such file."""
    if not path.exists():
        return {}
    answer: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return answer
