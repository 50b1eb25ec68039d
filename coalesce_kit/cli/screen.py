"""One picture of ``top``: pure text, made of a view and the size of the screen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from ..stats.counters import CoalescerStats
from ..stats.table import shortened
from .client import one_line
from .report import count_workers, render_reasons
from .terminal import BOLD, DIM, GREEN, PLAIN, RED, YELLOW
from .workers import Line, Rates, View

FEWEST_COLUMNS: Final = 40
NAME_COLUMNS: Final = 18
MOST_REASONS: Final = 3
_NO_RATES: Final = Rates()
_COLOURS: Final = {"healthy": GREEN, "warning": YELLOW, "degraded": RED}


class Column(NamedTuple):
    """A column: the key that sorts by it, its label, what it shows and what it sorts by."""

    key: str
    label: str
    cell: Callable[[Line], str]
    order: Callable[[Line], float]


def _rates(line: Line) -> Rates:
    return line.rates or _NO_RATES


def _failed(line: Line) -> int:
    return line.stats.fetch_errors + line.stats.fetch_timeouts


def _wait(line: Line) -> float:
    return line.stats.wait_p99_seconds


def _coalesced(line: Line) -> int:
    return line.stats.coalesced_requests


# From the most wanted to the least: what does not fit is left out from the end.
COLUMNS: Final = (
    Column("r", "req/s", lambda line: _rate(line, _rates(line).requests), lambda line: _rates(line).requests),
    Column("f", "fetch/s", lambda line: _rate(line, _rates(line).fetches), lambda line: _rates(line).fetches),
    Column("s", "saved", lambda line: _share(line.stats), lambda line: line.stats.calls_saved_percent),
    Column("i", "flying", lambda line: str(line.stats.in_flight), lambda line: line.stats.in_flight),
    Column(
        "o",
        "oldest",
        lambda line: _seconds(line.stats.oldest_flight_seconds),
        lambda line: line.stats.oldest_flight_seconds,
    ),
    Column("p", "p99", lambda line: _seconds(line.stats.fetch_p99_seconds), lambda line: line.stats.fetch_p99_seconds),
    Column("t", "requests", lambda line: _count(line.stats.total_requests), lambda line: line.stats.total_requests),
    Column("e", "failed", lambda line: _count(_failed(line)), _failed),
    Column("w", "wait p99", lambda line: _seconds(_wait(line)), _wait),
    Column("c", "coalesced", lambda line: _count(_coalesced(line)), _coalesced),
)
SORT_KEYS: Final = "n" + "".join(column.key for column in COLUMNS)


@dataclass(frozen=True, slots=True)
class Choice:
    """What the person at the keys has chosen.

    Attributes:
        sort: the key of a column, ``n`` for the name.
        reverse: the other way round.
    """

    sort: str = "r"
    reverse: bool = False

    def after(self, key: str) -> Choice:
        """Return what is chosen after a key: its column, the same one again turns the order round."""
        if key and key in SORT_KEYS:
            return Choice(key, reverse=not self.reverse if key == self.sort else False)
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What stands in the first lines beside the view.

    Attributes:
        address: of the endpoint.
        clock: the time of day, as text.
        problem: why there is no answer now; empty if there is.
    """

    address: str
    clock: str
    problem: str = ""


def render_screen(
    view: View | None, moment: Moment, choice: Choice, *, width: int, height: int | None, colour: bool, keys: bool
) -> list[str]:
    """Return the lines of one picture, none wider than the screen.

    Args:
        view: everything that is known; ``None`` before the first answer.
        moment: what stands beside it.
        choice: how it is sorted.
        width: of the screen, in columns.
        height: of the screen, in lines; ``None`` for all functions.
        colour: whether escapes for colour may be used.
        keys: whether the keys are told in the last line.
    """
    width = max(width, FEWEST_COLUMNS)
    paint = _painter(colour)
    lines = [paint(line, BOLD) for line in [_cut(f"{moment.clock}  {one_line(moment.address)}", width)]]
    if moment.problem:
        lines.append(paint(_cut(f"no answer: {one_line(moment.problem)}", width), RED))
    if view is None:
        return lines
    status = f"{view.status}  {count_workers(view)}"
    lines.append(paint(_cut(status, width), _COLOURS.get(view.status, "")))
    reasons = render_reasons(view, columns=width)
    lines += reasons[:MOST_REASONS]
    if len(reasons) > MOST_REASONS:
        lines.append(_cut(f"  and {len(reasons) - MOST_REASONS} reasons more", width))
    lines += [_cut(_summary(view), width), ""]
    footer = ["", paint(_help(width), DIM)] if keys else []
    room = None if height is None else max(0, height - len(lines) - len(footer) - 2)  # the labels and the totals
    return [*lines, *_table(view, choice, width=width, room=room, paint=paint), *footer]


def _summary(view: View) -> str:
    stats, rates = view.totals.stats, view.totals.rates
    first = f"{_number(rates.requests)} requests/s, {_number(rates.fetches)} fetches/s" if rates else "rates follow"
    return f"{first}, {_share(stats)} saved, {stats.in_flight} in flight, {stats.waiters} waiting"


def _table(view: View, choice: Choice, *, width: int, room: int | None, paint: Callable[[str, str], str]) -> list[str]:
    if not view.functions:
        return ["no function is decorated yet: put @coalesced on one and call it"]
    rows = sorted(view.functions.items())
    if choice.sort == "n":
        rows.sort(reverse=choice.reverse)
    else:
        order = next(column.order for column in COLUMNS if column.key == choice.sort)
        rows.sort(key=lambda row: (order(row[1]), row[1].stats.total_requests), reverse=not choice.reverse)
    hidden = 0 if room is None else max(0, len(rows) - room)
    shown = rows[: len(rows) - hidden]
    last = ("total" if not hidden else f"total, {hidden} more", view.totals)
    columns, cells, widths = _fitting([line for _, line in [*shown, last]], width)
    name_width = width - sum(2 + column_width for column_width in widths)
    arrow = "↑" if choice.reverse else "↓"
    labels = [arrow + column.label if column.key == choice.sort else column.label for column in columns]
    head = "function" if choice.sort != "n" else f"function {'↓' if choice.reverse else '↑'}"
    texts = [_row(head, labels, widths, name_width)]
    texts += [_row(name, row, widths, name_width) for (name, _), row in zip([*shown, last], cells, strict=True)]
    return [paint(texts[0], BOLD), *texts[1:-1], paint(texts[-1], BOLD)]


def _fitting(lines: Sequence[Line], width: int) -> tuple[list[Column], list[list[str]], list[int]]:
    """As many columns as fit beside a name, with their cells and widths."""
    columns = list(COLUMNS)
    while True:
        cells = [[column.cell(line) for column in columns] for line in lines]
        # One more than the label, for the arrow: choosing an order moves no column.
        widths = [
            max(len(column.label) + 1, *(len(row[index]) for row in cells)) for index, column in enumerate(columns)
        ]
        if sum(widths) + 2 * len(widths) + NAME_COLUMNS <= width or len(columns) == 1:
            return columns, cells, widths
        columns.pop()


def _row(name: str, cells: Sequence[str], widths: Sequence[int], name_width: int) -> str:
    told = shortened(one_line(name), name_width).ljust(name_width)
    return told + "".join(f"  {cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def _help(width: int) -> str:
    line = "q quit  sort: n name"
    for column in COLUMNS:
        more = f"  {column.key} {column.label}"
        if len(line) + len(more) > width:
            break
        line += more
    return line


def _painter(colour: bool) -> Callable[[str, str], str]:
    return lambda text, how: f"{how}{text}{PLAIN}" if colour and how else text


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _rate(line: Line, per_second: float) -> str:
    return _number(per_second) if line.rates else "-"


def _number(value: float) -> str:
    if value == 0:
        return "0"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else _count(round(value))


def _count(number: int) -> str:
    if number < 1_000_000:
        return str(number)
    for unit, size in (("M", 10**6), ("G", 10**9)):
        if number < 1000 * size:
            return f"{number / size:.1f}{unit}"
    return f"{number:.1e}"


def _share(stats: CoalescerStats) -> str:
    return f"{stats.calls_saved_percent:.1f}%" if stats.total_requests else "-"


def _seconds(seconds: float) -> str:
    if seconds <= 0:
        return "-"
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f}µs"
    if seconds < 1:
        return f"{seconds * 1e3:.3g}ms" if seconds < 0.9995 else "1s"
    return f"{seconds:.3g}s" if seconds < 999.5 else f"{seconds:.0f}s"
