"""README's table of what happens when ...: ``python -m tools.compared`` writes it anew from the results that are kept.

It is a choice of rows and columns out of ``benchmarks/results/behaviours.json``, which
``python -m benchmarks behaviours --keep`` writes. Nothing in it is typed by hand, and a test compares the two.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
README: Final = ROOT / "README.md"
RESULTS: Final = ROOT / "benchmarks" / "results" / "behaviours.json"

BEGIN: Final = "<!-- the table: python -m tools.compared -->\n"
END: Final = "<!-- the end of the table -->\n"

COLUMNS: Final = {
    "coalesce_kit": "coalesce_kit",
    "hand-written shield": "dict of tasks",
    "async-lru": "async-lru",
    "aiocache": "aiocache",
    "cashews": "cashews",
    "fastapi-cache2": "fastapi-cache2",
}
"""The subject of each column, as the results call it, and as README does."""

ROWS: Final = (
    "herd",
    "first",
    "invalidated",
    "types",
    "addresses",
    "none",
    "bounded",
    "inner",
    "itself",
    "mutated",
)
"""The questions that are shown: what hurts most in a service, and the one that we do not do well ourselves."""


def table(results: Mapping[str, Any]) -> str:
    """Return the table and the line below it."""
    shown = [_as_it_does_best(results, subject) for subject in COLUMNS]
    lines = [["", *COLUMNS.values()], ["---"] * (1 + len(COLUMNS))]
    for row in ROWS:
        asked = results["questions"][row]
        cells = (_cell(subject["seen"].get(row)) for subject in shown)
        lines.append([f"{asked['when']}: **{asked['wanted']}**", *cells])
    total = len(results["questions"])
    lines.append([f"of all {total} questions, **as wanted**", *(f"{subject['as wanted']}" for subject in shown)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\n{_below(results)}\n"


def _as_it_does_best(results: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return what was seen of a subject in the style in which most was as wanted."""
    styles = [subject for subject in results["subjects"] if subject["subject"] == name]
    best: dict[str, Any] = max(styles, key=lambda subject: subject["as wanted"])
    return best


def _cell(seen: Mapping[str, Any] | None) -> str:
    if seen is None:
        return "–"
    return "✓" if seen["well"] else f"✗ {seen['says']}"


def _below(results: Mapping[str, Any]) -> str:
    environment = results["environment"]
    known = {"coalesce-kit": "coalesce_kit", **{name: name for name in COLUMNS}}
    versions = [
        f"{shown} {environment['versions'][name]}" for name, shown in known.items() if name in environment["versions"]
    ]
    return textwrap.fill(
        f"Tried on {environment['taken']}, {environment['python']}: {', '.join(versions)}, each with the options that"
        " do best here; *dict of tasks* is what one writes by hand, with `asyncio.shield`. ✓ is as wanted, ✗ says what"
        " happened instead; the questions are ours. All of them, and everybody else who was tried, are in"
        " [benchmarks/results/behaviours.md](benchmarks/results/behaviours.md), by `python -m benchmarks behaviours`.",
        width=120,
        break_long_words=False,
        break_on_hyphens=False,
    )


def with_table(readme: str, results: Mapping[str, Any]) -> str:
    """Return README with the table that the results make."""
    pattern = re.compile(f"(?<={re.escape(BEGIN)}).*?(?={re.escape(END)})", flags=re.DOTALL)
    written, times = pattern.subn(lambda _: table(results), readme)
    if times != 1:
        raise SystemExit(f"README.md has no place for the table: {BEGIN.strip()} ... {END.strip()}")
    return written


def main() -> None:
    """Write README's table from the results."""
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    README.write_text(with_table(README.read_text(encoding="utf-8"), results), encoding="utf-8")


if __name__ == "__main__":
    main()
