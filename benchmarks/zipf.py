"""How many origin calls does a cache save, and at what price? One seeded workload in simulated time, by policy."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from . import subjects
from .children import Child, SubjectError
from .environment import describe, side_by_side
from .progress import Progress
from .report import environment_lines, text_table
from .simulation import CALLS_PER_SECOND, KEYS, TTL_SECONDS
from .subjects import OURS, Card

COLUMNS = (
    "subject",
    "policy",
    "calls",
    "origin calls",
    "saved %",
    "waited %",
    "stale %",
    "oldest s",
    "mean ms",
    "p99 ms",
    "errors",
)

_PATIENCE_SECONDS = 120.0
"""How long one policy may take over the workload: of real seconds, not simulated ones."""


async def answer(rivals: Sequence[str] | None, *, quick: bool) -> dict[str, Any]:
    """Run every policy of every subject over the workload."""
    cards, missing = subjects.rivals(rivals)
    environment = describe((card.distribution for card in cards), clock="simulated time")
    seconds = 60.0 if quick else 300.0
    print("\n".join(environment_lines(environment)))
    print(
        f"{KEYS} keys by Zipf's law, {CALLS_PER_SECOND} callers a second for {seconds:.0f} simulated seconds, "
        f"ttl {TTL_SECONDS:.0f} s, an origin of about 120 ms",
        flush=True,
    )
    everybody = (subjects.card(OURS), *cards)
    turn = asyncio.Semaphore(side_by_side())
    progress = Progress(len(everybody))

    async def one(card: Card) -> list[dict[str, Any]]:
        async with turn:
            rows = await _rows(card, seconds)
        said = (f"{row['policy']} {row['saved %']:.1f} % saved" if "calls" in row else row["errors"] for row in rows)
        progress.did(f"{card.label}: {'; '.join(said)}")
        return rows

    rows = [row for found in await asyncio.gather(*map(one, everybody)) for row in found]
    print("\n" + text_table(rows, COLUMNS))
    return {
        "question": "zipf",
        "quick": quick,
        "environment": environment,
        "not installed": missing,
        "workload": {"keys": KEYS, "calls a second": CALLS_PER_SECOND, "seconds": seconds, "ttl": TTL_SECONDS},
        "rows": rows,
    }


async def _rows(card: Card, seconds: float) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    left: list[str] = []
    try:
        async with Child(
            "benchmarks.simulation", {"name": card.name, "seconds": seconds}, patience_seconds=_PATIENCE_SECONDS
        ) as child:
            left = await child.ask("policies")
            while left:
                rows.append({"subject": card.label, "policy": left[0], **await child.ask(left[0])})
                left.pop(0)
    except SubjectError as error:
        rows.append({"subject": card.label, "policy": left[0] if left else None, "errors": str(error)})
    return rows
