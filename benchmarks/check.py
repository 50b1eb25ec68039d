"""The budget: every ratio that the design allows, measured, with pass or short. Slow, and never part of the tests."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable
from typing import Any

from . import behaviours, overhead, subjects
from .children import SubjectError
from .environment import describe, has_uvloop
from .harness import BRIEF, FULL, QUICK, Comparison, Effort, Side, compare
from .overhead import DECORATOR, MEASURES, Measure, Row
from .probes import TRAITS
from .report import environment_lines, text_table
from .subjects import OURS, Card

COLUMNS = ("row", "subject", "loop", "gc", "against", "ratio", "from", "to", "budget", "verdict", "why")

WHY: dict[tuple[str, str], str] = {
    ("waiter, 100 000 on one key", "on"): (
        "the collector walks 100 000 tasks again and again: bare futures grow likewise (see overhead), and without the "
        "collector nothing grows"
    ),
}
"""Why a row falls short, as far as it is known, by its name and the collector's state."""


async def answer(*, quick: bool) -> dict[str, Any]:
    """Measure every row of the budget."""
    cards, missing = subjects.rivals(None)
    environment = describe(card.distribution for card in cards)
    print("\n".join(environment_lines(environment)), flush=True)
    rows = [await overhead.measure(row, overhead.effort_of(row, quick=quick)) for row in _rows_with_a_budget()]
    rows.append(await overhead.import_row("coalesce_kit", quick=quick))
    effort = QUICK if quick else FULL
    rows.append(await _against_the_fastest(_measure_of("hits_of_three"), cards, effort))
    rows.append(await _against_the_fastest(_measure_of("hits_of_a_method"), cards, effort))
    for name, needed in (("waiters", None), ("leaders", TRAITS["D"])):
        rows += await _against_each(_measure_of(name), cards, needed, QUICK if quick else BRIEF)
    for row in rows:
        row["why"] = WHY.get((row["row"], row.get("gc") or "")) if row["verdict"] == "short" else None
    short = [row for row in rows if row["verdict"] == "short"]
    print("\n" + text_table(rows, COLUMNS))
    print(f"\n{len(rows) - len(short)} passed, {len(short)} short")
    return {
        "question": "check",
        "quick": quick,
        "environment": environment,
        "not installed": missing,
        "rows": rows,
        "short": len(short),
    }


def _rows_with_a_budget() -> Iterable[Row]:
    return (row for row in overhead.our_rows() if row.budget is not None)


def _measure_of(workload: str) -> Measure:
    return next(measure for measure in MEASURES if measure.workload == workload)


def _sides(measure: Measure, card: Card, style: str, loop: str = "asyncio") -> tuple[Side, Side]:
    ours = Side(measure.workload, OURS, DECORATOR, measure.size, loop)
    return ours, dataclasses.replace(ours, subject=card.name, style=style)


async def _against_the_fastest(measure: Measure, cards: Iterable[Card], effort: Effort) -> dict[str, Any]:
    """Find the fastest rival that keeps results, by a brief look at each, and measure ours against it at length."""
    brief: list[tuple[float, Card, str]] = []
    for card in cards:
        if not card.distribution:
            continue
        for style in card.styles:
            try:
                found = await compare(*_sides(measure, card, style), QUICK)
            except SubjectError:
                continue
            print(f"  {measure.row}: {found.ratio:.2f} x {card.label}, {style}", flush=True)
            brief.append((found.ratio, card, style))
    if not brief:
        return {"row": measure.row, "against": "the fastest peer", "budget": 0.75, "verdict": "no rival installed"}
    _, card, style = max(brief, key=lambda one: one[0])
    found = await compare(*_sides(measure, card, style), effort)
    return _row(measure.row, f"{card.label}, {style}: the fastest", found, 0.75)


async def _against_each(
    measure: Measure, cards: Iterable[Card], needed: str | None, effort: Effort
) -> list[dict[str, Any]]:
    """Measure ours against every rival that can do it, and behaves as needed; it must cost less than each."""
    rows = []
    for card in (card for card in cards if card.distribution):  # what is written by hand is no peer
        for style in card.styles:
            if needed is not None and not (await behaviours.tried(card.name, style, [needed]))[needed]["well"]:
                continue
            for loop in ("asyncio", "uvloop") if has_uvloop() else ("asyncio",):
                try:
                    found = await compare(*_sides(measure, card, style, loop), effort)
                except SubjectError:
                    continue
                rows.append(_row(measure.row, f"{card.label}, {style}", found, 1.0, loop))
                print(f"  {measure.row}, {loop}: {found.ratio:.2f} x {card.label}, {style}", flush=True)
    return rows


def _row(row: str, against: str, found: Comparison, budget: float, loop: str = "asyncio") -> dict[str, Any]:
    return {
        "row": row,
        "subject": DECORATOR,
        "loop": loop,
        "gc": "on",
        "against": against,
        "ratio": found.ratio,
        "from": found.low,
        "to": found.high,
        "budget": budget,
        "verdict": overhead.verdict(found.ratio, budget),
    }


def run(*, quick: bool) -> dict[str, Any]:
    """Measure the budget, from a program without a loop."""
    return asyncio.run(answer(quick=quick))
