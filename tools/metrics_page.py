"""``docs/reference/metrics.md``: ``python -m tools.metrics_page`` writes it anew from the code that counts.

Each number's rule stands once, in the docstrings of ``coalesce_kit.stats.counters``, and its exported name once, in
``coalesce_kit.exporters.measures``. The page puts them side by side; a test compares it with what would be written.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from coalesce_kit.exporters.measures import DURATIONS, MEASURES
from coalesce_kit.stats.counters import CoalescerStats, Counters, Gauges

PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "reference" / "metrics.md"

_HEAD: Final = """\
# Metrics

Every number has one rule by which it moves. Names ending in `_seconds` are seconds, `_ms` milliseconds, `_percent` per
cent; all others are counts. They are the fields of `CoalescerStats` and the keys of the JSON at `/health/coalescer`;
*exported* is what stands after `coalesce_kit_` in [Prometheus](../how-to/prometheus.md);
[OpenTelemetry](../how-to/opentelemetry.md) says the same with dots. They are part of the public interface: [what a
version promises](../versioning.md).

The rules are those of the docstrings in `coalesce_kit.stats.counters`, beside the code that counts: who moves the
number, and when.
"""
_UNITS: Final = {"_seconds": "seconds", "_seconds_total": "seconds", "_ms": "milliseconds", "_percent": "per cent"}


def page() -> str:
    """Return the page as it should be."""
    exported = dict(_exported())
    parts = [_HEAD]
    for title, text, numbers in _groups(inspect.cleandoc(Counters.__doc__ or "")):
        parts.append(f"## {title}\n")
        parts += [f"{textwrap.fill(text, width=120, break_long_words=False)}\n"] if text else []
        parts.append(_table(numbers, exported))
    parts.append("## Gauges\n\nWhat is the case now: looked at, and never counted.\n")
    parts.append(_table(_attributes(inspect.cleandoc(Gauges.__doc__ or "")), exported))
    parts.append("## Totals and ratios\n\nComputed from the others when somebody looks. Ratios of nothing are 0.\n")
    properties = inspect.getmembers_static(CoalescerStats, lambda member: isinstance(member, property))
    derived = [(name, inspect.cleandoc(member.__doc__)) for name, member in properties if name != "gauges"]
    parts.append(_table(derived, exported))
    return _single_quoted("\n".join(parts))


def _groups(docstring: str) -> Iterator[tuple[str, str, list[tuple[str, str]]]]:
    """Yield each ``**Title.** text`` with the names below it and their rules."""
    _, *pieces = re.split(r"^\*\*([^*]+)\.\*\* ?", docstring, flags=re.MULTILINE)
    for title, body in zip(pieces[::2], pieces[1::2], strict=True):
        text = re.split(r"^``", body, maxsplit=1, flags=re.MULTILINE)[0]
        numbers = re.findall(r"^(``\w+``(?:, ``\w+``)*)\n((?:    .*\n?)+)", body, flags=re.MULTILINE)
        yield title, _one_line(text), [(names.replace("``", ""), _one_line(rule)) for names, rule in numbers]


def _attributes(docstring: str) -> list[tuple[str, str]]:
    """Return what stands under ``Attributes:``."""
    return [
        (name, _one_line(rule))
        for name, rule in re.findall(r"^    (\w+): (.+(?:\n     .+)*)", docstring, flags=re.MULTILINE)
    ]


def _exported() -> Iterator[tuple[str, str]]:
    """Yield each field with the name under which it is exported, without its prefix, and its label."""
    for measure in MEASURES:
        name = f"{measure.name}{'_total' if measure.kind == 'counter' else ''}"
        for value, field in measure.parts.items():
            yield field, f'`{name}{{{measure.label}="{value}"}}`' if measure.label else f"`{name}`"
    for duration in DURATIONS:
        yield duration.latency, f"`{duration.name}_seconds`, a histogram"
        yield duration.seconds, f"`{duration.name}_seconds_sum`"


def _table(numbers: Iterable[tuple[str, str]], exported: dict[str, str]) -> str:
    lines = ["| number, unit | rule | exported |", "|---|---|---|"]
    for names, rule in numbers:
        each = names.split(", ")
        shown = ", ".join(f"`{name}`" for name in each)
        units = ", ".join(dict.fromkeys(map(_unit, each)))
        sent = ", ".join(exported[name] for name in each if name in exported)
        lines.append(f"| {shown}, {units} | {rule} | {sent} |")
    return "\n".join(lines) + "\n"


def _unit(name: str) -> str:
    if name == "breaker_state":
        return "0, 1, 2"
    if name.endswith("_latency"):
        return "buckets of seconds"
    return next((unit for ending, unit in _UNITS.items() if name.endswith(ending)), "count")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _single_quoted(text: str) -> str:
    return text.replace("``", "`")


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
