"""Rows that we lose, found in the results that are kept: where a budget is not kept, and where somebody is better.

Nothing here is written by hand, so the page says what the results beside it say. A rival counts although it does less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import check, overhead
from .report import markdown_table, read_json, shown

PAGE = "losses.md"

Row = Mapping[str, Any]

_OURS = "coalesce_kit"

_OPENING = (
    "Made from the JSON files beside it whenever one of them is written; nothing here is written by hand. A rival "
    "stands here although it does less: what it does stands in brackets, as on the page of [overhead](overhead.md)."
)

_DEAR = 1.25
"""A feature is dear if a hit with it costs so much more than a hit without."""

_NEAR = 1.02
"""What is worse by less than this is not worse: of quantities that are counted, or simulated."""

_LATER = 1.1
"""The same of waits in real time, of which there is one run."""


def page(folder: Path) -> str:
    """Return the page, in Markdown, from the JSON files of a folder."""
    parts = [
        "# Rows that we lose",
        "",
        _OPENING,
        "",
    ]
    for question, head, columns, find in _SECTIONS:
        answer = read_json(folder / f"{question}.json")
        if not answer:
            continue
        rows = list(find(answer))
        parts += [f"## {head}", "", markdown_table(rows, columns) if rows else "None.", ""]
        if any("verdict" in row for row in rows):
            parts += [*check.reasons(rows), ""]
    return "\n".join(parts)


def _short_of_the_budget(answer: Row) -> Iterator[Row]:
    return (row for row in answer["rows"] if row.get("verdict") == "short")


def _dearer_calls(answer: Row) -> Iterator[Row]:
    """One line for each row of ours that somebody's is below."""
    for ours in answer["rows"]:
        if ours.get("subject") != overhead.DECORATOR or ours.get("ratio") is None:
            continue
        better = sorted(
            (row["ratio"], f"{row['subject']} {shown(row['ratio'])} ({row.get('does') or '-'})")
            for row in answer["rows"]
            if "rival" in row and _place(row) == _place(ours) and (row["ratio"] or ours["ratio"]) < ours["ratio"]
        )
        if better:
            yield {
                "row": ours["row"],
                "loop": ours["loop"],
                "gc": ours["gc"],
                "ours": ours["ratio"],
                "better": ", ".join(text for _, text in better),
            }


def _place(row: Row) -> tuple[object, ...]:
    return tuple(row.get(name) for name in ("group", "row", "loop", "gc"))


def _dear_features(answer: Row) -> Iterator[Row]:
    for row in answer["rows"]:
        if row.get("against", "").startswith(overhead.DECORATOR) and (row["ratio"] or 0.0) >= _DEAR:
            yield row


def _crowds(answer: Row) -> Iterator[Row]:
    ours = [row for row in answer["rows"] if row["subject"] == overhead.DECORATOR]
    for mine in ours:
        if mine.get("hurt") is None or mine["hurt"]:
            yield {**mine, "ours": f"{mine.get('hurt')} hurt, {mine['errors']}", "better": None}
            continue
        better = [
            f"{row['subject']} {row['p99 ms']:.0f} ms ({row.get('does') or '-'})"
            for row in answer["rows"]
            if row["scenario"] == mine["scenario"]
            and row["subject"] != "RequestCoalescer"
            and row.get("hurt") == 0
            and row["origin calls"] <= mine["origin calls"]
            and None not in (row.get("p99 ms"), mine.get("p99 ms"))
            and row["p99 ms"] * _LATER < mine["p99 ms"]
        ]
        if better:
            yield {**mine, "ours": f"p99 {mine['p99 ms']:.0f} ms", "better": ", ".join(better)}


_OF_A_POLICY = ("origin calls", "waited %", "stale %", "p99 ms")


def _policies(answer: Row) -> Iterator[Row]:
    """Policies of rivals that none of ours equals in everything at once."""
    lived = [row for row in answer["rows"] if row.get("p99 ms") is not None]
    ours = [row for row in lived if row["subject"] == _OURS]
    for row in lived:
        if row["subject"] != _OURS and not any(_equals(mine, row) for mine in ours):
            yield row


def _equals(mine: Row, row: Row) -> bool:
    return all(mine[name] <= row[name] * _NEAR + 0.05 for name in _OF_A_POLICY)


def _sizes(answer: Row) -> Iterator[Row]:
    for size in map(str, answer["sizes"]):
        found = {row["policy"]: row[size] for row in answer["rows"] if isinstance(row.get(size), float)}
        mine = max((ratio for policy, ratio in found.items() if policy.startswith(_OURS)), default=0.0)
        better = sorted(
            ((ratio, policy) for policy, ratio in found.items() if ratio > mine and not policy.startswith("optimum")),
            reverse=True,
        )
        if better:
            yield {
                "room": int(size),
                "ours": f"{mine:.4f}",
                "better": ", ".join(f"{policy} {ratio:.4f}" for ratio, policy in better),
            }


def _endpoints(answer: Row) -> Iterator[Row]:
    for mine in answer["rows"]:
        if mine["subject"] != _OURS or not isinstance(mine.get("cpu ratio"), float):
            continue
        better = [
            f"{row['subject']}, {row['style']} {row['cpu ratio']:.2f}"
            + (" (within the quartiles)" if row["to"] >= mine["from"] else "")
            for row in answer["rows"]
            if row["loop"] == mine["loop"]
            and isinstance(row.get("cpu ratio"), float)
            and row["cpu ratio"] * _NEAR < mine["cpu ratio"]
        ]
        if better:
            yield {"loop": mine["loop"], "ours": mine["cpu ratio"], "better": ", ".join(better)}


def _behaviours(answer: Row) -> Iterator[Row]:
    for subject in answer["subjects"]:
        for name, seen in subject["seen"].items():
            if subject["subject"] == _OURS and seen is not None and not seen["well"]:
                well = [
                    f"{other['subject']}, {other['style']}"
                    for other in answer["subjects"]
                    if (other["seen"].get(name) or {}).get("well")
                ]
                question = answer["questions"][name]
                yield {
                    "what happens when ...": question["when"],
                    "wanted": question["wanted"],
                    "ours": seen["says"],
                    "as wanted": ", ".join(well) or "nobody",
                }


_OF_A_FLEET = ("origin calls", "commands per call", "p50 ms", "p99 ms", "cpu µs", "successor s")


def _fleets(answer: Row) -> Iterator[Row]:
    for mine in answer["rows"]:
        if mine["subject"] != _OURS:
            continue
        for name in _OF_A_FLEET:
            better = [
                f"{row['subject']} {shown(row[name])}" + _but(row)
                for row in answer["rows"]
                if row["scenario"] == mine["scenario"]
                and not row["subject"].startswith(_OURS)
                and None not in (row.get(name), mine.get(name))
                and row[name] * _LATER < mine[name]
            ]
            if better:
                yield {
                    "scenario": mine["scenario"],
                    "what": name,
                    "ours": mine[name],
                    "better": ", ".join(better),
                }


def _but(row: Row) -> str:
    calls = row.get("origin calls")
    said = [f"{calls} origin calls"] if calls is not None else []
    said += [row["errors"]] if row.get("errors") not in (None, "none") else []
    return f" ({', '.join(said)})" if said else ""


_SECTIONS: Sequence[tuple[str, str, Sequence[str], Callable[[Row], Iterable[Row]]]] = (
    ("check", "The budget, by `make bench-check`", check.COLUMNS, _short_of_the_budget),
    ("overhead", "The budget, in the run of all questions", check.COLUMNS, _short_of_the_budget),
    (
        "overhead",
        "A call: who is below us, as ratios to the same yardstick",
        ("row", "loop", "gc", "ours", "better"),
        _dearer_calls,
    ),
    (
        "overhead",
        f"Features that make a call dearer, {_DEAR:g} times a plain one or more",
        ("row", "subject", "ratio", "from", "to"),
        _dear_features,
    ),
    ("stampede", "A crowd: somebody hurt, or somebody later by a tenth", ("scenario", "ours", "better"), _crowds),
    (
        "zipf",
        "Policies that none of ours equals in everything at once",
        ("subject", "policy", *_OF_A_POLICY),
        _policies,
    ),
    ("trace", "Room for which somebody's eviction hits more", ("room", "ours", "better"), _sizes),
    (
        "service",
        "An endpoint: CPU time as a ratio to an endpoint that has its answer at hand",
        ("loop", "ours", "better"),
        _endpoints,
    ),
    (
        "behaviours",
        "Behaviours that are not as a caller would want",
        ("what happens when ...", "wanted", "ours", "as wanted"),
        _behaviours,
    ),
    ("distributed", "A fleet: where somebody is better by a tenth", ("scenario", "what", "ours", "better"), _fleets),
)
