"""Plots as SVG, written by hand: bars, lines and matrices, each on a white ground of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

OURS_COLOUR = "#d9480f"
COLOURS = ("#1c7ed6", "#2f9e44", "#9c36b5", "#e8a500", "#0c8599", "#c2255c", "#5c940d", "#6741d9", "#868e96", "#a61e4d")
WELL, BADLY, NEITHER = "#b2f2bb", "#ffc9c9", "#f1f3f5"

_WIDTH = 860
_FONT = "font-family='system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif'"


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        value: its length; ``None`` for a line that only says ``note``.
        note: stands after the bar, where it ends.
        spread: its lower and upper quartile.
        ours: drawn in our colour.
    """

    label: str
    value: float | None
    note: str = ""
    spread: tuple[float, float] | None = None
    ours: bool = False


def bars(
    path: Path,
    title: str,
    subtitle: str,
    rows: Sequence[Bar],
    *,
    mark: float | None = None,
    logarithmic: bool = False,
) -> None:
    """Draw horizontal bars from zero, or from a tenth of ``mark`` on a logarithmic scale; a dashed line at ``mark``."""
    left, right, top, step = 290, 20 + max((len(row.note) for row in rows), default=0) * 6.6, 64, 22
    most = max([*(row.value for row in rows if row.value is not None), mark or 0.0], default=1.0) or 1.0
    least = (mark or 1.0) / 10

    def length(value: float) -> float:
        share = math.log(max(value, least) / least) / math.log(most / least) if logarithmic else value / most
        return share * (_WIDTH - left - right)

    height = top + step * len(rows) + 20
    parts = _head(title, subtitle, height)
    for at, row in enumerate(rows):
        y = top + step * at
        parts.append(_text(left - 8, y + 14, row.label, anchor="end", bold=row.ours))
        if row.value is None:
            parts.append(_text(left + 4, y + 14, row.note, colour="#868e96"))
            continue
        colour = OURS_COLOUR if row.ours else COLOURS[0]
        width = end = max(1.0, length(row.value))
        parts.append(f"<rect x='{left}' y='{y + 3}' width='{width:.1f}' height='15' fill='{colour}' rx='2'/>")
        if row.spread is not None:
            low, high = (left + length(min(one, most)) for one in row.spread)
            end = max(end, high - left)
            parts.append(f"<line x1='{low:.1f}' x2='{high:.1f}' y1='{y + 10.5}' y2='{y + 10.5}' stroke='#212529'/>")
        parts.append(_text(left + end + 6, y + 14, row.note))
    if mark is not None:
        x = left + length(mark)
        dashed = "stroke='#495057' stroke-dasharray='4 3'"
        parts.append(f"<line x1='{x:.1f}' x2='{x:.1f}' y1='{top - 4}' y2='{height - 16}' {dashed}/>")
    _write(path, parts)


def lines(
    path: Path,
    title: str,
    subtitle: str,
    across: Sequence[float],
    series: Mapping[str, Sequence[float | None]],
    *,
    across_label: str,
    up_label: str,
    ours: str,
) -> None:
    """Draw one line for each series over a logarithmic axis, labelled at its end."""
    left, right, top, bottom, height = 70, 230, 80, 60, 490
    logs = [math.log10(one) for one in across]
    values = [value for line in series.values() for value in line if value is not None]
    low, high = min(values, default=0.0), max(values, default=1.0)
    low, high = math.floor(low * 10) / 10, math.ceil(high * 10) / 10

    def x_of(log: float) -> float:
        return left + (log - logs[0]) / ((logs[-1] - logs[0]) or 1.0) * (_WIDTH - left - right)

    def y_of(value: float) -> float:
        return height - bottom - (value - low) / ((high - low) or 1.0) * (height - top - bottom)

    parts = _head(title, subtitle, height)
    for tick in range(round(low * 10), round(high * 10) + 1):
        y = y_of(tick / 10)
        parts.append(f"<line x1='{left}' x2='{_WIDTH - right}' y1='{y:.1f}' y2='{y:.1f}' stroke='#dee2e6'/>")
        parts.append(_text(left - 8, y + 4, f"{tick / 10:.1f}", anchor="end"))
    for log, value in zip(logs, across, strict=True):
        parts.append(_text(x_of(log), height - bottom + 18, f"{value:g}", anchor="middle"))
    parts.append(_text((left + _WIDTH - right) / 2, height - 18, across_label, anchor="middle"))
    parts.append(_text(left, top - 10, up_label))
    ends: list[tuple[float, str, str]] = []
    for at, (name, line) in enumerate(series.items()):
        colour = OURS_COLOUR if name == ours else COLOURS[at % len(COLOURS)]
        points = [(x_of(log), y_of(value)) for log, value in zip(logs, line, strict=True) if value is not None]
        if not points:
            continue
        path_points = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        width = 3 if name == ours else 1.6
        parts.append(f"<polyline points='{path_points}' fill='none' stroke='{colour}' stroke-width='{width}'/>")
        ends.append((points[-1][1], name, colour))
    parts += _labels_at_the_end(ends, _WIDTH - right + 10, ours)
    _write(path, parts)


def matrix(
    path: Path,
    title: str,
    subtitle: str,
    heads: Sequence[str],
    rows: Sequence[tuple[str, Sequence[tuple[str, str]]]],
) -> None:
    """Draw a table of coloured cells: each row a label and its cells, each a text and a colour."""
    cell, step, foot = 46, 22, 12
    left = 330
    tall = 40 + max((len(head) for head in heads), default=0) * 5
    top = 56 + tall
    width = max(_WIDTH, left + cell * len(heads) + 60)
    height = top + step * len(rows) + foot
    parts = _head(title, subtitle, height, width=width)
    for at, head in enumerate(heads):
        x = left + cell * at + cell / 2
        place = f"transform='translate({x + 4:.0f} {top - 6}) rotate(-50)'"
        parts.append(f"<text {place} font-size='12' fill='#212529' {_FONT}>{escape(head)}</text>")
    for number, (label, cells) in enumerate(rows):
        y = top + step * number
        parts.append(_text(left - 8, y + 15, label, anchor="end"))
        for at, (text, colour) in enumerate(cells):
            x = left + cell * at
            parts.append(
                f"<rect x='{x + 1}' y='{y + 1}' width='{cell - 2}' height='{step - 2}' fill='{colour}' rx='2'/>"
            )
            parts.append(_text(x + cell / 2, y + 15, text, anchor="middle"))
    _write(path, parts)


def _labels_at_the_end(ends: Sequence[tuple[float, str, str]], x: float, ours: str) -> list[str]:
    """Return labels, each as near to its line's end as the others allow."""
    parts = []
    last = -math.inf
    for y, name, colour in sorted(ends):
        last = max(y, last + 15)
        parts.append(_text(x, last + 4, name, colour=colour, bold=name == ours))
    return parts


def _head(title: str, subtitle: str, height: float, *, width: float = _WIDTH) -> list[str]:
    size = f"width='{width:.0f}' height='{height:.0f}' viewBox='0 0 {width:.0f} {height:.0f}'"
    return [
        f"<svg xmlns='http://www.w3.org/2000/svg' {size} role='img' aria-label='{escape(title, quote=True)}'>",
        f"<rect width='{width:.0f}' height='{height:.0f}' fill='#ffffff'/>",
        _text(16, 26, title, size=17, bold=True),
        _text(16, 44, subtitle, colour="#495057"),
    ]


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, bold: bool = False, colour: str = "#212529"
) -> str:
    weight = " font-weight='600'" if bold else ""
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' font-size='{size}' fill='{colour}'{weight} {_FONT}>"
        f"{escape(text)}</text>"
    )


def _write(path: Path, parts: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*parts, "</svg>", ""]), encoding="utf-8")
