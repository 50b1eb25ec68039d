"""The budget: every ratio that the design allows, measured, with pass or short. Slow, and never part of the tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from . import behaviours, overhead, subjects
from .children import SubjectError
from .environment import describe, has_uvloop
from .harness import FULL, QUICK, Comparison, Effort, Side, compare
from .overhead import DECORATOR, MEASURES, Measure
from .probes import TRAITS
from .progress import Progress
from .report import environment_lines, text_table
from .subjects import OURS, Card

COLUMNS = ("row", "subject", "loop", "gc", "against", "ratio", "from", "to", "budget", "verdict")

WHY: Mapping[tuple[str, str | None, str | None], str] = {
    ("waiter, 100 000 on one key", None, "on"): (
        "the collector walks all tasks and futures that wait, again and again as their number grows; bare futures grow "
        "too (see overhead), and with the collector off nothing does"
    ),
    ("leader, nobody joins", "uvloop", None): (
        "as on asyncio; and a turn of uvloop costs a fraction of one of asyncio, so that the same Python of ours weighs"
        " more beside it"
    ),
    ("leader, nobody joins", None, None): (
        "beside the task, which both sides have, a lead makes a flight and a future that its caller may leave, takes a "
        "ticket, reads the clock, and counts its fetch and its wait into histograms; in a profile none of these "
        "functions has a tenth of the time"
    ),
    ("waiter, 1 000 on one key", "uvloop", None): (
        "as on asyncio, over a loop that costs less: finding and judging the flight, and a wait counted into a "
        "histogram, are Python, and a bare future has none of them"
    ),
    ("waiter, 1 000 on one key", None, None): (
        "each waiter finds the flight, judges whether it may be joined, and is counted with its wait into a histogram; "
        "a bare future does nothing of this"
    ),
    ("fresh hit, 1 parameter", None, None): (
        "a key with its parameter's type is a tuple that is made and hashed; by hand nobody types a single parameter, "
        "and its cached hash is all there is"
    ),
    ("fresh hit, 3 parameters", None, None): (
        "the types of three parameters, the counter and the use of the entry stand beside the same look-up"
    ),
    ("fresh hit, method", None, None): (
        "the type of the parameter, the counter and the use of the entry stand beside the same look-up"
    ),
    ("import coalesce_kit", None, None): (
        "some sixty modules of its own are loaded, and compiling their dataclasses is a quarter of it; what it needs "
        "of the standard library beside asyncio, and cachetools, is little"
    ),
}
"""Why a row falls short, by its name, loop and state of the collector; ``None`` for any."""

_ONE_TASK_FOR_ALL = (
    "its callers all await one task, so that none has a future of its own to make, and one who leaves takes the others "
    "along (see stampede)"
)
_AGAINST: Mapping[tuple[str, str], str] = {
    ("waiter, 1 000 on one key", "theine"): _ONE_TASK_FOR_ALL,
    ("waiter, 1 000 on one key", "moka-py"): _ONE_TASK_FOR_ALL,
    ("leader, nobody joins", "aiocoalesce"): (
        "it derives no key, counts nothing and knows neither limits nor invalidation; and its work goes on when all "
        "its callers have left"
    ),
}
"""Why we are above a rival, by the row and the rival."""


def why(row: Mapping[str, Any]) -> str:
    """Return why a row falls short, as far as it is known, in a sentence."""
    name, loop, gc = row["row"], row.get("loop"), row.get("gc")
    if "rival" in row:
        return _AGAINST.get((name, row["rival"]), "no cause is known")
    causes = (WHY.get((name, *where)) for where in ((loop, gc), (loop, None), (None, gc), (None, None)))
    return next((one for one in causes if one is not None), "no cause is known")


def reasons(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return why rows fall short, each reason once, as a list in Markdown."""
    said: dict[str, list[str]] = {}
    for row in rows:
        if row["verdict"] == "short":
            where = [f"against {row['against']}"] if "rival" in row else []
            where += [row["loop"], f"collector {row['gc']}"] if row.get("loop") else []
            where += ["the budget lies within its quartiles"] if row["from"] <= row["budget"] else []
            said.setdefault(f"**{row['row']}**: {why(row)}", []).append(", ".join([row["subject"], *where]))
    return [f"- {reason}. ({'; '.join(dict.fromkeys(places))})" for reason, places in said.items()]


async def answer(*, quick: bool) -> dict[str, Any]:
    """Measure every row of the budget."""
    cards, missing = subjects.rivals(None)
    environment = describe(
        (card.distribution for card in cards), pinned="both sides on one core", clock="CPU time of the process"
    )
    print("\n".join(environment_lines(environment)), flush=True)
    print("  finding out whose fetch is detached", flush=True)
    peers = [(card, style) for card in cards if card.distribution for style in card.styles]
    does = await behaviours.traits_of((card.name, style) for card, style in peers)
    detached = [(card, style) for card, style in peers if _detaches(does[card.name, style])]
    print("\n== the rows of ours that have a budget", flush=True)
    found = await overhead.measured([row for row in overhead.our_rows() if row.budget is not None], quick=quick)
    rows = [*found.values(), await overhead.import_row("coalesce_kit", quick=quick)]
    effort = QUICK if quick else FULL
    print("\n== a fresh hit, against the fastest rival that keeps results", flush=True)
    rows += [
        await _against_the_fastest(_measure_of(name), peers, effort) for name in ("hits_of_three", "hits_of_a_method")
    ]
    print("\n== waiting, against every rival; leading, against every one whose fetch is detached", flush=True)
    for name, asked in (("waiters", peers), ("leaders", detached)):
        rows += await _against_each(_measure_of(name), asked)
    rows = [{**row, "why": why(row)} if row["verdict"] == "short" else row for row in rows]
    short = [row for row in rows if row["verdict"] == "short"]
    print("\n" + text_table(rows, COLUMNS))
    print("\n".join(["", "why rows fall short:", *reasons(rows)] if short else []))
    print(f"\n{len(rows) - len(short)} passed, {len(short)} short")
    return {
        "question": "check",
        "quick": quick,
        "environment": environment,
        "not installed": missing,
        "rows": rows,
        "short": len(short),
    }


def _detaches(does: str) -> bool:
    return does[list(TRAITS).index("D")] == "D"


def _measure_of(workload: str) -> Measure:
    return next(measure for measure in MEASURES if measure.workload == workload)


def _sides(measure: Measure, card: Card, style: str, loop: str = "asyncio") -> tuple[Side, Side]:
    ours = Side(measure.workload, OURS, DECORATOR, measure.size, loop)
    return ours, dataclasses.replace(ours, subject=card.name, style=style)


async def _against_the_fastest(measure: Measure, peers: Iterable[tuple[Card, str]], effort: Effort) -> dict[str, Any]:
    """Find the fastest rival that keeps results, by a brief look at each, and measure ours against it at length."""
    asked = list(peers)
    progress = Progress(len(asked))
    brief: list[tuple[float, Card, str]] = []
    for card, style in asked:
        try:
            found = await compare(*_sides(measure, card, style), QUICK)
        except SubjectError as error:
            progress.did(f"{measure.row}; {card.label}, {style}: {error}")
            continue
        progress.did(f"{measure.row}: {found.ratio:.2f} x {card.label}, {style}")
        brief.append((found.ratio, card, style))
    if not brief:
        return _row(measure.row, "the fastest peer: none is installed", None, 0.75)
    _, card, style = max(brief, key=lambda one: one[0])
    found = await compare(*_sides(measure, card, style), effort)
    return {**_row(measure.row, f"{card.label}, {style}: the fastest", found, 0.75), "rival": card.label}


async def _against_each(measure: Measure, peers: Iterable[tuple[Card, str]]) -> list[dict[str, Any]]:
    """Measure ours against every rival that can do it; it must cost less than each."""
    asked = [(peer, loop) for peer in peers for loop in (("asyncio", "uvloop") if has_uvloop() else ("asyncio",))]
    progress = Progress(len(asked))
    rows = []
    for (card, style), loop in asked:
        try:
            found = await compare(*_sides(measure, card, style, loop), QUICK)
        except SubjectError as error:
            progress.did(f"{measure.row}; {card.label}, {style}; {loop}: {error}")
            continue
        rows.append({**_row(measure.row, f"{card.label}, {style}", found, 1.0, loop), "rival": card.label})
        progress.did(f"{measure.row}; {loop}: {found.ratio:.2f} x {card.label}, {style}")
    return rows


def _row(row: str, against: str, found: Comparison | None, budget: float, loop: str = "asyncio") -> dict[str, Any]:
    return {
        "row": row,
        "subject": DECORATOR,
        "loop": loop,
        "gc": "on",
        "against": against,
        "ratio": found.ratio if found is not None else None,
        "from": found.low if found is not None else None,
        "to": found.high if found is not None else None,
        "budget": budget,
        "verdict": overhead.verdict(found.ratio, budget) if found is not None else "not measured",
    }
