"""The numbers of many functions as an aligned table for people, at most 100 columns wide."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from .counters import CoalescerStats

MAX_COLUMNS: Final = 100
_GAP: Final = "  "


class _Column(NamedTuple):
    label: str
    cell: Callable[[CoalescerStats], str]
    always: bool = True  # otherwise shown only where some row has a number in it


_COLUMNS: Final = (
    _Column("saved", lambda stats: _share(stats.calls_saved_percent, stats)),
    _Column("coalesced", lambda stats: _share(stats.hit_rate_percent, stats)),
    _Column("requests", lambda stats: _count(stats.total_requests)),
    _Column("hits", lambda stats: _count(stats.cache_hits + stats.stale_hits), always=False),
    _Column("fetches", lambda stats: _count(stats.fetches)),
    _Column("errors", lambda stats: _count(stats.fetch_errors)),
    _Column("timeouts", lambda stats: _count(stats.fetch_timeouts + stats.wait_timeouts), always=False),
    _Column("fetch p50", lambda stats: _time(stats.fetch_latency.count, stats.fetch_p50_seconds)),
    _Column("p99", lambda stats: _time(stats.fetch_latency.count, stats.fetch_p99_seconds)),
)


def render_table(functions: Iterable[CoalescerStats], *, gone: CoalescerStats, totals: CoalescerStats) -> str:
    """Return one line per function, the busiest first, and a line of totals.

    Functions that are gone have one line together, once they have counted anything, so that the lines add up.
    """
    rows = sorted(functions, key=lambda stats: (-stats.total_requests, -stats.fetches, stats.name))
    if gone.total_requests or gone.fetches or gone.bypassed_requests:
        rows.append(gone)
    if not rows:
        return "no function is decorated yet: put @coalesced on one and call it"
    shown = [*rows, totals]
    columns = [column for column in _COLUMNS if column.always or any(column.cell(stats) != "0" for stats in shown)]
    labels = [column.label for column in columns]
    cells = [[column.cell(stats) for column in columns] for stats in shown]
    widths = [max(map(len, column)) for column in zip(labels, *cells, strict=True)]
    room = MAX_COLUMNS - sum(len(_GAP) + width for width in widths)
    names = ["function", *(shortened(_printable(stats.name), room) for stats in shown)]
    name_width = max(map(len, names))
    lines = [
        name.ljust(name_width) + "".join(_GAP + cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for name, line in zip(names, [labels, *cells], strict=True)
    ]
    rule = "-" * len(lines[0])
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def shortened(name: str, width: int) -> str:
    """Return ``name``, its middle left out if it is longer than ``width``; its end tells more than its beginning."""
    if len(name) <= width:
        return name
    head = (width - 1) // 3
    return name[:head] + "…" + name[len(name) - (width - 1 - head) :]


def _printable(name: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in name)


def _share(percent: float, stats: CoalescerStats) -> str:
    return f"{percent:.1f}%" if stats.total_requests else "-"


def _count(number: int) -> str:
    if number < 10_000_000:
        return str(number)
    for unit, size in (("M", 10**6), ("G", 10**9), ("T", 10**12)):
        if number < 1000 * size:
            return f"{number / size:.1f}{unit}"
    return f"{number:.1e}"


def _time(samples: int, seconds: float) -> str:
    if not samples:
        return "-"
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f}µs"
    if seconds < 1:
        return f"{seconds * 1e3:.3g}ms"
    return f"{seconds:.3g}s" if seconds < 1000 else f"{seconds:.0f}s"
