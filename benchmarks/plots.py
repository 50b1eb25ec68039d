"""Plots as SVG, written by hand: bars, lines and matrices, narrow enough for a telephone, in light and in dark.

The colours are in a style sheet that asks what the reader prefers; the ground is the plot's own, so that a page of the
other kind does not swallow the letters.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

WELL, BADLY, NEITHER = "well", "badly", "neither"
"""What a cell of a matrix is: the name of its colours."""

_WIDTH = 480
_EDGE = 16
_LIGHT = {
    "ground": "#ffffff",
    "ink": "#1f2328",
    "muted": "#59636e",
    "rule": "#d1d9e0",
    "ours": "#d9480f",
    "other": "#7aa7d6",
    "well": "#b4eabf",
    "badly": "#ffc2c2",
    "neither": "#eff2f5",
}
_DARK = {
    "ground": "#0d1117",
    "ink": "#f0f6fc",
    "muted": "#9198a1",
    "rule": "#3d444d",
    "ours": "#ff8a4c",
    "other": "#3f6f9f",
    "well": "#1d5a33",
    "badly": "#7d2a30",
    "neither": "#212830",
}
_LINES = ("#3b8edb", "#35a04b", "#b35fd0", "#c99400", "#1598a5", "#dc4a78", "#7a9a2e", "#8b74e0", "#8a949e", "#b5715f")
"""Colours of lines, for both grounds."""


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        value: its length; ``None`` for a line that only says ``note``.
        note: stands over the bar, to the right.
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
    top, head = _head(title, subtitle)
    drawn = [row for row in rows if row.value is not None]
    silent = [row for row in rows if row.value is None]
    most = max([*(row.value or 0.0 for row in drawn), mark or 0.0], default=1.0) or 1.0
    least = (mark or 1.0) / 10

    def x_of(value: float) -> float:
        within = min(max(value, least if logarithmic else 0.0), most)
        share = math.log(within / least) / math.log(most / least) if logarithmic else within / most
        return _EDGE + share * (_WIDTH - 2 * _EDGE)

    bottom = top + 32 * len(drawn)
    ground = []
    for tick in _ticks(least, most, logarithmic=logarithmic):
        ground.append(_line(x_of(tick), x_of(tick), top, bottom + 4, "rule"))
        ground.append(_text(x_of(tick), bottom + 18, f"{tick:g}", anchor="middle", size=11, kind="muted"))
    parts = []
    for at, row in enumerate(drawn):
        y = top + 32 * at
        width = max(1.0, x_of(row.value or 0.0) - _EDGE)
        kind = "ours" if row.ours else "other"
        parts.append(f"<rect class='{kind}' x='{_EDGE}' y='{y + 18}' width='{width:.1f}' height='9' rx='2'/>")
        if row.spread is not None:
            low, high = (x_of(one) for one in row.spread)
            parts.append(_line(low, high, y + 22.5, y + 22.5, "ink"))
        parts += _over(y + 13, row)
    if mark is not None:
        ground.append(_line(x_of(mark), x_of(mark), top, bottom + 4, "ink", dashed=True))
    below = bottom + (28 if drawn else 0)
    for at, row in enumerate(silent):
        parts += _over(below + 20 * at + 13, row)
    _write(path, _WIDTH, below + 20 * len(silent) + 8, title, [*head, *ground, *parts])


def _over(y: float, row: Bar) -> list[str]:
    """Return a bar's label, and its note as far as there is room beside it."""
    room = _WIDTH - 2 * _EDGE - len(row.label) * 6.2 - 6
    note = textwrap.shorten(row.note, max(8, int(room / 5.6)), placeholder=" …")
    return [
        _text(_EDGE, y, row.label, bold=row.ours, halo=True),
        _text(_WIDTH - _EDGE, y, note, anchor="end", kind="muted" if not row.ours else "ink", halo=True),
    ]


def _ticks(least: float, most: float, *, logarithmic: bool) -> list[float]:
    if logarithmic:
        powers = range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)
        return [tick for power in powers for tick in (10.0**power, 3 * 10.0**power) if least <= tick <= most]
    step = 10 ** math.floor(math.log10(most))
    step = step if most / step >= 3 else step / 2 if most / step >= 1.5 else step / 5
    return [round(number * step, 9) for number in range(int(most / step) + 1)]


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
    top, head = _head(title, subtitle)
    left, height = 46, max(360, 15 * len(series) + 90)
    right = 24 + max((len(name) for name in series), default=0) * 6.4
    first, last = top + 16, top + height - 46
    logs = [math.log10(one) for one in across]
    values = [value for line in series.values() for value in line if value is not None]
    low = math.floor(min(values, default=0.0) * 10) / 10
    high = math.ceil(max(values, default=1.0) * 10) / 10

    def x_of(log: float) -> float:
        return left + (log - logs[0]) / ((logs[-1] - logs[0]) or 1.0) * (_WIDTH - left - right)

    def y_of(value: float) -> float:
        return last - (value - low) / ((high - low) or 1.0) * (last - first)

    parts = []
    for tick in range(round(low * 10), round(high * 10) + 1):
        y = y_of(tick / 10)
        parts.append(_line(left, _WIDTH - right, y, y, "rule"))
        parts.append(_text(left - 8, y + 4, f"{tick / 10:.1f}", anchor="end", size=11, kind="muted"))
    for log, value in zip(logs, across, strict=True):
        parts.append(_text(x_of(log), last + 18, f"{value:g}", anchor="middle", size=11, kind="muted"))
    parts.append(_text((left + _WIDTH - right) / 2, last + 36, across_label, anchor="middle", kind="muted"))
    parts.append(_text(_EDGE, first - 12, up_label, kind="muted"))
    ends: list[tuple[float, str, str]] = []
    for at, (name, line) in enumerate(series.items()):
        points = [(x_of(log), y_of(value)) for log, value in zip(logs, line, strict=True) if value is not None]
        if not points:
            continue
        colour = "class='ours-line'" if name == ours else f"stroke='{_LINES[at % len(_LINES)]}' stroke-width='1.6'"
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        drawn = f"<polyline points='{joined}' fill='none' {colour}/>"
        parts.append(drawn)
        ends.append((points[-1][1], name, "" if name == ours else _LINES[at % len(_LINES)]))
    _write(path, _WIDTH, top + height, title, [*head, *parts, *_labels_at_the_end(ends, _WIDTH - right + 8, last)])


def _labels_at_the_end(ends: Sequence[tuple[float, str, str]], x: float, lowest: float) -> list[str]:
    """Return labels, each as near to its line's end as the others and the lowest place allow."""
    places: list[float] = []
    for y, _, _ in sorted(ends):
        places.append(max(y, places[-1] + 15) if places else y)
    for at in range(len(places) - 1, -1, -1):  # those that were pushed out below push back
        places[at] = min(places[at], lowest if at == len(places) - 1 else places[at + 1] - 15)
    return [
        _text(x, place + 4, name, bold=not colour, kind="ours" if not colour else "", colour=colour)
        for place, (_, name, colour) in zip(places, sorted(ends), strict=True)
    ]


def matrix(
    path: Path,
    title: str,
    subtitle: str,
    heads: Sequence[str],
    rows: Sequence[tuple[str, Sequence[tuple[str, str]]]],
    *,
    cell: int = 42,
    ours: str = "",
) -> None:
    """Draw a table of coloured cells: each row a label and its cells, each a text and one of ``WELL`` and the others.

    Args:
        path: the file.
        title: over all.
        subtitle: under it.
        heads: over the columns, upright where a column is narrow.
        rows: from the top.
        cell: how wide a column is.
        ours: the label of the row or column that is ours.
    """
    step, narrow = 22, cell < 30
    left = _EDGE + 10 + max((len(label) for label, _ in rows), default=0) * 6.6
    longest = max((len(head) for head in heads), default=0) * 6.8
    tall = longest if narrow else longest * 0.72
    width = max(left + cell * len(heads) + (_EDGE if narrow else _EDGE + longest * 0.5), 360)
    top, head = _head(title, subtitle, width=width)
    first = top + tall + 8
    parts = []
    for at, text in enumerate(heads):
        x = left + cell * (at + 0.5) + 4
        turn = -90 if narrow else -45
        weight = " font-weight='600'" if text == ours else ""
        place = f"transform='translate({x:.1f} {first - 6:.1f}) rotate({turn})'"
        parts.append(f"<text class='ink' {place} font-size='12'{weight}>{escape(text)}</text>")
    for number, (label, cells) in enumerate(rows):
        y = first + step * number
        parts.append(_text(left - 8, y + 15, label, anchor="end", bold=label == ours))
        for at, (text, kind) in enumerate(cells):
            x = left + cell * at
            box = f"x='{x + 1:.1f}' y='{y + 1:.1f}' width='{cell - 2}' height='{step - 2}' rx='2'"
            parts.append(f"<rect class='{kind}' {box}/>")
            parts.append(_text(x + cell / 2, y + 15, text, anchor="middle"))
    _write(path, width, first + step * len(rows) + 12, title, [*head, *parts])


def _head(title: str, subtitle: str, *, width: float = _WIDTH) -> tuple[float, list[str]]:
    """Return where the rest may begin, and the title with its subtitle in as many lines as it needs."""
    wrapped = textwrap.wrap(subtitle, int((width - 2 * _EDGE) / 6.3))
    under = [_text(_EDGE, 46 + 16 * at, line, kind="muted") for at, line in enumerate(wrapped)]
    return 52 + 16 * len(wrapped), [_text(_EDGE, 26, title, size=16, bold=True), *under]


def _line(x1: float, x2: float, y1: float, y2: float, kind: str, *, dashed: bool = False) -> str:
    dashes = " stroke-dasharray='4 3'" if dashed else ""
    return f"<line class='{kind}-line' x1='{x1:.1f}' x2='{x2:.1f}' y1='{y1:.1f}' y2='{y2:.1f}'{dashes}/>"


def _text(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "start",
    size: int = 12,
    bold: bool = False,
    kind: str = "ink",
    colour: str = "",
    halo: bool = False,
) -> str:
    weight = " font-weight='600'" if bold else ""
    fill = f" fill='{colour}'" if colour else ""
    classes = f" class='{kind}{' halo' if halo else ''}'" if kind else ""
    anchored = f" text-anchor='{anchor}'" if anchor != "start" else ""
    return f"<text{classes} x='{x:.1f}' y='{y:.1f}'{anchored} font-size='{size}'{fill}{weight}>{escape(text)}</text>"


def _style() -> str:
    def sheet(colours: Mapping[str, str]) -> str:
        fills = "".join(f".{name}{{fill:{colour}}}" for name, colour in colours.items())
        strokes = "".join(f".{name}-line{{stroke:{colours[name]}}}" for name in ("ink", "rule", "ours"))
        return f"{fills}{strokes}.halo{{stroke:{colours['ground']}}}"

    always = (
        "text{font-family:system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif}"
        ".ours-line{stroke-width:3}.halo{stroke-width:3px;paint-order:stroke;stroke-linejoin:round}"
    )
    return f"<style>{always}{sheet(_LIGHT)}@media (prefers-color-scheme:dark){{{sheet(_DARK)}}}</style>"


def _write(path: Path, width: float, height: float, title: str, parts: Sequence[str]) -> None:
    size = f"width='{width:.0f}' height='{height:.0f}' viewBox='0 0 {width:.0f} {height:.0f}'"
    opening = f"<svg xmlns='http://www.w3.org/2000/svg' {size} role='img' aria-label='{escape(title, quote=True)}'>"
    ground = f"<rect class='ground' width='{width:.0f}' height='{height:.0f}' rx='6'/>"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([opening, _style(), ground, *parts, "</svg>", ""]), encoding="utf-8")
