"""What ``stats`` and ``health`` print: who answered, how they do, and the table of the registry."""

from __future__ import annotations

import json
from typing import Final

from ..stats.counters import CoalescerStats
from ..stats.table import render_table, shortened
from .client import one_line
from .workers import View

REASON_COLUMNS: Final = 160
OWN_NAMES: Final = ("instance", "pid", "name")


def render_report(view: View, address: str) -> str:
    """Return the report for people: a line about the service, one per reason, and the table."""
    lines = [f"{one_line(address)}  {view.status}  {count_workers(view)}", *render_reasons(view)]
    table = render_table((line.stats for line in view.functions.values()), gone=view.gone, totals=view.totals.stats)
    return "\n".join([*lines, "", table])


def render_reasons(view: View, *, columns: int = REASON_COLUMNS) -> list[str]:
    """Return one line per reason; a text may hold a function's name, and that anything."""
    return [shortened(one_line(f"  {reason.code}: {reason.text}"), columns) for reason in view.reasons]


def count_workers(view: View) -> str:
    """Return how many workers there are, and how many of them answer."""
    known = len(view.answers)
    told = f"{known} worker{'s' * (known != 1)}"
    if view.answering != known:
        told = f"{view.answering} of {told} answering"
    if view.left_out:
        told += f", pid {view.left_out[-1]} left out"
    return told


def render_json(view: View, address: str) -> str:
    """Return everything for programs: sums over all workers, and who they are."""
    told = {
        "address": address,
        "status": view.status,
        "reasons": [{"code": reason.code, "function": reason.function, "text": reason.text} for reason in view.reasons],
        "workers": [
            {
                "instance": answer.instance,
                "pid": answer.pid,
                "version": answer.version,
                "started_seconds_ago": answer.uptime_seconds,
                "status": answer.status,
            }
            for answer in view.answers
        ],
        "totals": _of_no_process(view.totals.stats),
        "functions": {name: _of_no_process(line.stats) for name, line in view.functions.items()},
        "gone": _of_no_process(view.gone),
    }
    return json.dumps(told, indent=2)


def _of_no_process(stats: CoalescerStats) -> dict[str, object]:
    """A sum over processes has no process of its own."""
    return {name: value for name, value in stats.as_dict().items() if name not in OWN_NAMES}
