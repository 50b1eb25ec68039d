"""What does a call cost? Ratios against the least that could be written by hand, with the budget beside them."""

from __future__ import annotations

import asyncio
import dataclasses
import statistics
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import behaviours, harness, subjects
from .children import SubjectError
from .environment import describe, has_uvloop, side_by_side
from .harness import Comparison, Effort, Side, compare, import_seconds, quartiles
from .progress import Progress
from .report import environment_lines, text_table
from .subjects import OURS, Card

COLUMNS = (
    "row",
    "subject",
    "does",
    "loop",
    "gc",
    "ratio",
    "from",
    "to",
    "budget",
    "verdict",
    "takes",
    "against",
    "unit",
)

DECORATOR = "@coalesced"
_A_CROWD = 50_000
"""A row of more callers than these takes seconds for one round."""

WATCHING = "watching"
"""The subject that is ours with somebody watching."""


@dataclass(frozen=True)
class Row:
    """One line of the table: two sides, and what their ratio may be at most.

    Attributes:
        group: the name for ``--rows``.
        row: what is measured.
        subject: whose left side it is, with its style.
        against: what the right side is.
        budget: the most that the ratio may be, where the design says.
        unit: of what both sides take: ``"µs"`` or ``"bytes"``.
    """

    group: str
    row: str
    subject: str
    left: Side
    right: Side
    against: str
    budget: float | None = None
    unit: str = "µs"


@dataclass(frozen=True)
class Measure:
    """A thing that every subject can be asked: a workload, and what it is compared with.

    Attributes:
        workload: of the subject.
        yardstick: workload, subject and style of the right side.
        ours: our styles that can be asked.
        budget: ours alone is held to it; with uvloop to ``budget_uvloop`` if that is given.
        everywhere: rivals are asked on uvloop too, and without the collector; ours always is.
    """

    group: str
    row: str
    workload: str
    yardstick: Side
    against: str
    size: int = 1_000
    ours: tuple[str, ...] = (DECORATOR,)
    budget: float | None = None
    budget_uvloop: float | None = None
    unit: str = "µs"
    everywhere: bool = False

    def rows(self, name: str, label: str, style: str, settings: Iterable[tuple[str, bool]]) -> Iterator[Row]:
        """Yield the rows of one subject, one for each loop and state of the collector."""
        for loop, gc in settings:
            budget = self.budget_uvloop if loop == "uvloop" and self.budget_uvloop else self.budget
            yield Row(
                self.group,
                self.row,
                f"{label}, {style}" if label else style,
                Side(self.workload, name, style, self.size, loop, gc),
                dataclasses.replace(self.yardstick, size=self.yardstick.size or self.size, loop=loop, gc=gc),
                self.against,
                budget if name == OURS else None,
                self.unit,
            )


def _dict(workload: str) -> Side:
    return Side(workload, "yardsticks", "dict", size=0)


MEASURES = (
    Measure("hit", "fresh hit, 1 parameter", "hits_of_one", _dict("hits_of_one"), "hand-written dict", budget=1.8),
    Measure(
        "hit",
        "fresh hit, 3 parameters",
        "hits_of_three",
        _dict("hits_of_three"),
        "hand-written dict",
        budget=1.45,
        everywhere=True,
    ),
    Measure(
        "method", "fresh hit, method", "hits_of_a_method", _dict("hits_of_a_method"), "hand-written dict", budget=1.45
    ),
    Measure(
        "method",
        "fresh hit, method, 3 parameters",
        "hits_of_a_method_of_three",
        _dict("hits_of_a_method_of_three"),
        "hand-written dict",
    ),
    Measure(
        "zipf",
        "one hot key, 10⁴ kept",
        "hits_of_one_among_many",
        _dict("hits_of_one_among_many"),
        "hand-written dict",
        10_000,
    ),
    Measure("zipf", "Zipf over 10⁴ keys, all kept", "hits_of_many", _dict("hits_of_many"), "hand-written dict", 10_000),
    Measure("miss", "all misses, cache full", "misses", Side("bare_tasks", size=0), "create_task + await"),
    Measure(
        "leader",
        "leader, nobody joins",
        "leaders",
        Side("bare_tasks", size=0),
        "create_task + await",
        ours=(DECORATOR, "RequestCoalescer"),
        budget=1.5,
        everywhere=True,
    ),
    Measure(
        "waiter",
        "waiter, 1 000 on one key",
        "waiters",
        Side("bare_futures", size=0),
        "a bare future per waiter",
        ours=(DECORATOR, "RequestCoalescer"),
        budget=1.4,
        budget_uvloop=1.55,
        everywhere=True,
    ),
    Measure("memory", "one entry", "entry_bytes", _dict("entry_bytes"), "hand-written dict", 50_000, unit="bytes"),
    Measure(
        "memory",
        "one waiter",
        "waiter_bytes",
        Side("bare_waiter_bytes", size=0),
        "a bare future and its task",
        20_000,
        unit="bytes",
    ),
)
"""What ours and every rival are asked alike."""


def settings() -> list[tuple[str, bool]]:
    """Return every event loop there is, with the garbage collector on and off."""
    return [(loop, gc) for loop in (("asyncio", "uvloop") if has_uvloop() else ("asyncio",)) for gc in (True, False)]


def our_rows() -> Iterator[Row]:
    """Yield every row of ours, in the order of the table."""
    yield from _bare_rows()
    for measure in MEASURES:
        for style in measure.ours:
            one = [("asyncio", True)] if measure.unit == "bytes" else settings()
            yield from measure.rows(OURS, "", style, one)
        if measure.group == "hit" and measure.workload == "hits_of_three":
            yield from _form_rows()
        if measure.group == "miss":
            yield from _put_rows()
        if measure.group == "waiter":
            yield from _crowd_rows()
    yield from _watching_rows()


def _bare_rows() -> Iterator[Row]:
    for workload, row in (("hits_of_one", "1 parameter"), ("hits_of_three", "3 parameters")):
        bare = Side(workload, "yardsticks", "bare")
        yield Row("bare", f"a call of nothing, {row}", "the function", bare, _dict(workload), "hand-written dict")


def _form_rows() -> Iterator[Row]:
    plain = Side("hits_of_three", OURS, DECORATOR, size=1_000)
    forms = subjects.Subject.load(OURS, "").module
    for group, names in (("keys", forms.KEY_FORMS), ("features", forms.FEATURES)):
        for name in names:
            form = dataclasses.replace(plain, style=name)
            yield Row(group, "fresh hit, 3 parameters", name, form, plain, "@coalesced(ttl=...) alone")


def _put_rows() -> Iterator[Row]:
    for gc in (True, False):
        ours = Side("puts", OURS, "S3FIFOCache", size=1_000, gc=gc)
        theirs = Side("puts", "yardsticks", "TTLCache", size=1_000, gc=gc)
        yield Row("put", "put with eviction", "S3FIFOCache", ours, theirs, "cachetools.TTLCache", 0.6)


def _crowd_rows() -> Iterator[Row]:
    for workload, name, style in (
        ("waiters", OURS, DECORATOR),
        ("waiters", OURS, "RequestCoalescer"),
        ("bare_futures", "", "bare futures"),  # what of the growth is asyncio's and the collector's own
    ):
        for loop, gc in settings():
            few, many = (Side(workload, name, style, size, loop, gc) for size in (1_000, 100_000))
            budget = 1.5 if name else None
            yield Row("crowd", "waiter, 100 000 on one key", style, many, few, "1 000, per waiter", budget)


def _watching_rows() -> Iterator[Row]:
    for workload, row in (
        ("hits_of_three", "fresh hit, 3 parameters"),
        ("leaders", "leader, nobody joins"),
        ("waiters", "waiter, 1 000 on one key"),
    ):
        plain = Side(workload, OURS, DECORATOR, size=1_000)
        for style in subjects.card(WATCHING).styles:
            watched = dataclasses.replace(plain, subject=WATCHING, style=style)
            yield Row("watching", row, style, watched, plain, "@coalesced, nobody watching")
    snapshot = Side("looks", WATCHING, "snapshot", size=200)
    for style in subjects.names_in(WATCHING, "LOOKS"):
        look = dataclasses.replace(snapshot, style=style)
        yield Row("watching", "a look at 200 functions", style, look, snapshot, "registry.snapshot()")


def rival_rows(card: Card) -> Iterator[Row]:
    """Yield the rows of one rival: on asyncio with the collector, some also on uvloop and without it."""
    for style in card.styles:
        for measure in MEASURES:
            chosen = settings()[:3] if measure.everywhere else [("asyncio", True)]
            yield from measure.rows(card.name, card.label, style, chosen)


GROUPS = (
    "bare",
    "hit",
    "keys",
    "features",
    "method",
    "zipf",
    "miss",
    "put",
    "leader",
    "waiter",
    "crowd",
    "memory",
    "watching",
    "import",
)
"""The names for ``--rows``."""


async def answer(groups: Sequence[str], rivals: Sequence[str] | None, *, quick: bool) -> dict[str, Any]:
    """Measure the groups of rows on ours and on rivals, printing each row when it is there."""
    cards, missing = subjects.rivals(rivals)
    environment = describe(
        (card.distribution for card in cards), pinned="both sides on one core", clock="CPU time of the process"
    )
    print("\n".join(environment_lines(environment)), flush=True)
    print("  finding out what each one does", flush=True)
    does = await behaviours.traits_of(
        [(OURS, DECORATOR), *((card.name, style) for card in cards for style in card.styles)]
    )
    forms = {*subjects.names_in(OURS, "KEY_FORMS"), *subjects.names_in(OURS, "FEATURES")}
    does.update({(OURS, form): does[OURS, DECORATOR] for form in forms})
    wanted = {"crowd", *groups} if "waiter" in groups else set(groups)
    asked = [(row, None) for row in our_rows()]
    asked += [(row, card.label) for card in cards for row in rival_rows(card)]
    found = await measured([row for row, _ in asked if row.group in wanted], quick=quick)
    rows = [
        {**found[row], "does": does.get((row.left.subject, row.left.style)), **({"rival": label} if label else {})}
        for row, label in asked
        if row.group in wanted
    ]
    if "import" in wanted:
        rows.append(await import_row("coalesce_kit", quick=quick))
    print("\n" + text_table(rows, COLUMNS))
    return {"question": "overhead", "quick": quick, "environment": environment, "not installed": missing, "rows": rows}


async def measured(rows: Sequence[Row], *, quick: bool) -> dict[Row, dict[str, Any]]:
    """Measure rows one after the other, printing each; those that take bytes and not time, side by side."""
    progress = Progress(sum(seconds_of(row, quick=quick) for row in rows))
    turn = asyncio.Semaphore(side_by_side())  # of rows of bytes; no time is taken of them

    async def one(row: Row) -> dict[str, Any]:
        async with turn:
            found = await measure(row, effort_of(row, quick=quick))
        gc = "" if row.unit == "bytes" else f", gc {found['gc']}"
        ratio = found["verdict"] if found["ratio"] is None else f"{found['ratio']:.2f} x {row.against}"
        what = f"{row.row}; {row.subject}; {row.left.loop}{gc}: {ratio}"
        progress.did(what, seconds_of(row, quick=quick))
        return found

    weighed = [row for row in rows if row.unit == "bytes"]
    results = {row: await one(row) for row in rows if row.unit != "bytes"}
    return results | dict(zip(weighed, await asyncio.gather(*map(one, weighed)), strict=True))


def seconds_of(row: Row, *, quick: bool) -> float:
    """Return about how long a row takes."""
    effort = effort_of(row, quick=quick)
    if row.unit == "bytes":
        return effort.seconds / side_by_side()
    return effort.seconds + (effort.rounds * 2.0 if row.left.size > _A_CROWD else 0.0)


def effort_of(row: Row, *, quick: bool) -> Effort:
    """Return how much is run for one row."""
    if row.unit == "bytes":
        return harness.ONCE if not quick else dataclasses.replace(harness.ONCE, launches=1)
    if row.left.size > _A_CROWD:  # a round of 100 000 takes seconds, and is its own average
        return Effort(launches=1, rounds=1 if quick else 3, warm_up=1)
    if quick:
        return harness.QUICK
    return harness.FULL if row.budget is not None else harness.BRIEF


async def measure(row: Row, effort: Effort) -> dict[str, Any]:
    """Measure one row; what cannot be measured is a row that says why."""
    found: Comparison | None = None
    try:
        found = await compare(row.left, row.right, effort)
        said = verdict(found.ratio, row.budget)
    except SubjectError as failure:
        said = str(failure)
    scale = 1e6 if row.unit == "µs" else 1.0
    return {
        "group": row.group,
        "row": row.row,
        "subject": row.subject,
        "loop": row.left.loop,
        "gc": "on" if row.left.gc else "off",
        "ratio": found.ratio if found is not None else None,
        "from": found.low if found is not None else None,
        "to": found.high if found is not None else None,
        "budget": row.budget,
        "verdict": said,
        "takes": found.left * scale if found is not None else None,
        "against takes": found.right * scale if found is not None else None,
        "against": row.against,
        "unit": row.unit,
        "ratios": [round(ratio, 4) for ratio in found.ratios] if found is not None else [],
    }


IMPORT_BUDGET_MS = 25.0


async def import_row(module: str, *, quick: bool) -> dict[str, Any]:
    """Measure ``import coalesce_kit`` less ``import asyncio``, each in fresh processes, alternating."""
    with tempfile.TemporaryDirectory() as folder:
        bytecode = Path(folder)
        await import_seconds(module, bytecode)  # compiles
        pairs = [
            (await import_seconds(module, bytecode), await import_seconds("asyncio", bytecode))
            for _ in range(5 if quick else 25)
        ]
    low, extra, high = quartiles([(one - other) * 1000 for one, other in pairs])
    print(f"  import {module}: + {extra:.1f} ms", flush=True)
    return {
        "group": "import",
        "row": f"import {module}",
        "subject": "ms more than asyncio",
        "ratio": extra,
        "from": low,
        "to": high,
        "budget": IMPORT_BUDGET_MS,
        "verdict": verdict(extra, IMPORT_BUDGET_MS),
        "takes": statistics.median(one for one, _ in pairs) * 1000,
        "against takes": statistics.median(other for _, other in pairs) * 1000,
        "against": "import asyncio",
        "unit": "ms",
    }


def verdict(ratio: float, budget: float | None) -> str | None:
    """Return ``pass`` or ``short``, ``None`` where there is no budget."""
    if budget is None:
        return None
    return "pass" if ratio <= budget else "short"
