"""What is kept of an answer: a JSON file, a Markdown page and its plots, one function for each question."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from . import behaviours, check, distributed, fleets, losses, overhead, service, stampede, zipf
from .plots import BADLY, NEITHER, WELL, Bar, bars, lines, matrix
from .report import NOT_OFFERED, environment_lines, markdown_table, read_json, write_json

RESULTS = Path(__file__).parent / "results"

Answer = Mapping[str, Any]

_OURS = "coalesce_kit"

DOES = (
    "*does*: **T** keys are typed, **A** arguments are bound to their names, **B** results are bounded, **E** a "
    "lifetime begins at the end of the fetch, **D** the fetch is detached from the caller that began it; `.` does not, "
    "`-` not applicable. Each letter was found by trying."
)


def keep(answer: Answer, folder: Path = RESULTS) -> list[Path]:
    """Write an answer's JSON, page and plots; return what was written."""
    question = answer["question"]
    json_file, page = folder / f"{question}.json", folder / f"{question}.md"
    write_json(json_file, answer)
    body, plots = _PAGES[question](answer, folder)
    lines_ = [f"# {question}", "", *(f"- {line}" for line in environment_lines(answer["environment"]))]
    if answer.get("quick"):
        lines_.append("- `--quick`: a look, not a measurement")
    if answer.get("not installed"):
        lines_.append(f"- not installed: {', '.join(answer['not installed'])}")
    lines_ += ["", *(f"![{plot.stem}]({plot.name})\n" for plot in plots), body, ""]
    page.write_text("\n".join(lines_), encoding="utf-8")
    lost = folder / losses.PAGE
    lost.write_text(losses.page(folder), encoding="utf-8")
    return [json_file, page, lost, *plots]


def redraw(folder: Path) -> list[Path]:
    """Write all pages and plots of a folder anew from the answers kept there; return what was written."""
    kept = (read_json(folder / f"{question}.json") for question in _PAGES)
    return [path for answer in kept if answer for path in keep(answer, folder)]


def _overhead(answer: Answer, folder: Path) -> tuple[str, list[Path]]:
    plots = []
    wanted = (
        ("hit", "fresh hit, 3 parameters", "What a fresh hit costs"),
        ("waiter", "waiter, 1 000 on one key", "What it costs to wait for another's fetch"),
        ("leader", "leader, nobody joins", "What it costs to fetch alone"),
    )
    for group, row, title in wanted:
        rows = [
            one
            for one in answer["rows"]
            if (one["group"], one["row"], one.get("loop"), one.get("gc")) == (group, row, "asyncio", "on")
        ]
        if not rows:
            continue
        rows.sort(key=lambda one: (one["ratio"] is None, one["ratio"] or 0.0))
        path = folder / f"overhead-{group}.svg"
        found = [_bar(one) for one in rows]
        subtitle = f"ratio to {rows[0]['against']}, logarithmic; less is better; asyncio, gc on"
        bars(path, title, subtitle, found, mark=1.0, logarithmic=True)
        plots.append(path)
    parts = [DOES, ""]
    for group in dict.fromkeys(one["group"] for one in answer["rows"]):
        rows = [one for one in answer["rows"] if one["group"] == group]
        parts += [f"## {group}", "", markdown_table(rows, overhead.COLUMNS), ""]
    return "\n".join(parts), plots


def _bar(row: Mapping[str, Any]) -> Bar:
    ours = "rival" not in row
    label = row["subject"] if not ours else f"{_OURS}, {row['subject']}"
    if row["ratio"] is None:
        said = "not offered" if row["verdict"] == NOT_OFFERED else str(row["verdict"])
        return Bar(label, None, said, ours=ours)
    note = f"{row['ratio']:.2f}   ({row['takes']:.2f} {row['unit']}; does {row.get('does') or '-'})"
    return Bar(label, row["ratio"], note, (row["from"], row["to"]), ours)


def _stampede(answer: Answer, folder: Path) -> tuple[str, list[Path]]:
    scenarios = list(stampede.SCENARIOS)
    cells: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in answer["rows"]:
        cells.setdefault(row["subject"], {})[row["scenario"]] = row
    rows = [
        (_starred(_named(subject)), [_harm(found.get(scenario, {})) for scenario in scenarios])
        for subject, found in cells.items()
    ]
    path = folder / "stampede.svg"
    heads = [f"{scenario}" for scenario in scenarios]
    matrix(
        path,
        "Who got hurt in a stampede",
        "Innocent callers who failed; where nobody did, how often the origin was called (n×). * set as near to our "
        "semantics as it goes",
        heads,
        rows,
        ours=_OURS,
    )
    parts = [
        DOES,
        "",
        "*hurt*: innocent callers who got an error that was not the origin's own, or nothing in time.",
        "",
    ]
    for scenario, play in stampede.SCENARIOS.items():
        rows_ = [row for row in answer["rows"] if row["scenario"] == scenario]
        parts += [f"## {scenario}", "", str(play.__doc__), "", markdown_table(rows_, stampede.COLUMNS[1:]), ""]
    return "\n".join(parts), [path]


def _harm(row: Mapping[str, Any]) -> tuple[str, str]:
    if row.get("hurt") is None:
        return str(row.get("errors", "-"))[:6], NEITHER
    if row["hurt"]:
        return str(row["hurt"]), BADLY
    many = row["origin calls"] > 2
    return f"{row['origin calls']}×", NEITHER if many else WELL


def _starred(subject: str) -> str:
    return subject.removesuffix(", documented").replace(", our semantics", " *")


def _named(subject: str) -> str:
    return _OURS if subject == "@coalesced" else subject


def _zipf(answer: Answer, folder: Path) -> tuple[str, list[Path]]:
    rows = [row for row in answer["rows"] if row.get("p99 ms") is not None]
    rows.sort(key=lambda row: (row["waited %"], row["p99 ms"]))
    found = [
        Bar(
            f"{row['subject']}: {row['policy']}",
            row["waited %"],
            f"{row['waited %']:.0f} %; {row['p99 ms']:.0f} ms, "
            f"{row['origin calls']} calls, {row['stale %']:.0f} % stale",
            ours=row["subject"] == _OURS,
        )
        for row in rows
    ]
    path = folder / "zipf.svg"
    subtitle = (
        "simulated time, one workload; beside it the p99 of all callers, origin calls, and answers older than the ttl"
    )
    bars(path, "How many callers had to wait", subtitle, found)
    workload = answer["workload"]
    body = (
        f"{workload['keys']} keys by Zipf's law, {workload['calls a second']} callers a second for "
        f"{workload['seconds']:.0f} simulated seconds, ttl {workload['ttl']:.0f} s. *waited*: callers who did not get "
        "an answer at once; *stale*: answers older than the ttl when they were handed out; *oldest*: the oldest of "
        "all.\n\n"
    )
    return body + markdown_table(answer["rows"], zipf.COLUMNS), [path]


def _trace(answer: Answer, folder: Path) -> tuple[str, list[Path]]:
    sizes = answer["sizes"]
    series = {
        row["policy"]: [value if isinstance(value := row.get(str(size)), float) else None for size in sizes]
        for row in answer["rows"]
    }
    path = folder / "trace.svg"
    lines(
        path,
        "Hit ratio by policy and size",
        f"{answer['trace']}: {answer['requests']} requests, {answer['distinct']} distinct keys; more is better",
        sizes,
        series,
        across_label="room, in entries",
        up_label="hit ratio",
        ours=f"{_OURS} S3-FIFO",
    )
    columns = ("policy", *(str(size) for size in sizes))
    return f"`{answer['trace']}`\n\n" + markdown_table(answer["rows"], columns), [path]


def _service(answer: Answer, folder: Path) -> tuple[str, list[Path]]:
    plots = []
    for loop in dict.fromkeys(row["loop"] for row in answer["rows"]):
        rows = [row for row in answer["rows"] if row["loop"] == loop and row["subject"] != service.BARE]
        rows.sort(key=lambda row: (row.get("cpu µs") is None, row.get("cpu ratio")))
        found = []
        for row in rows:
            ours = row["subject"] == _OURS
            label = f"{row['subject']}, {row['style']}"
            if row.get("cpu µs") is None:
                found.append(Bar(label, None, str(row["cpu ratio"]), ours=ours))
            else:
                note = f"{row['cpu ratio']:.2f}   ({row['cpu µs']:.0f} µs, {row['rps']:.0f} requests a second)"
                found.append(Bar(label, row["cpu ratio"], note, (row["from"], row["to"]), ours))
        path = folder / f"service-{loop}.svg"
        subtitle = (
            "FastAPI on uvicorn, an answer that is kept, ratio to an endpoint that has it at hand; less is better"
        )
        bars(path, f"CPU time of one request, {loop}", subtitle, found, mark=1.0)
        plots.append(path)
    said = (
        "*rps*, *p50* and *p99* are of all requests, in real time; *cpu* is what the server took for one, and its "
        "ratio is to the bare endpoint, burst by burst. All requests ask for one key that is kept."
    )
    return "\n\n".join([said, DOES, markdown_table(answer["rows"], service.COLUMNS)]), plots


def _behaviours(answer: Answer, folder: Path) -> tuple[str, list[Path]]:
    found = answer["subjects"]
    heads = [subject["subject"] + (" *" if subject["style"] == "our semantics" else "") for subject in found]
    rows = []
    for name, question in answer["questions"].items():
        cells = []
        for subject in found:
            seen = subject["seen"].get(name)
            cells.append(("-", NEITHER) if seen is None else ("+", WELL) if seen["well"] else ("x", BADLY))
        rows.append((question["when"], cells))
    path = folder / "behaviours.svg"
    matrix(
        path,
        "What happens when ...",
        "+ as a caller would want, x not, - not offered. * set as near to our semantics as it goes",
        heads,
        rows,
        cell=18,
        ours=_OURS,
    )
    table = [
        {
            "what happens when ...": question["when"],
            "wanted": question["wanted"],
            **dict(zip(heads, behaviours.cells(found, name), strict=True)),
        }
        for name, question in answer["questions"].items()
    ]
    return markdown_table(table, ("what happens when ...", "wanted", *heads)), [path]


def _check(answer: Answer, folder: Path) -> tuple[str, list[Path]]:
    del folder
    table = markdown_table(answer["rows"], check.COLUMNS)
    reasons = check.reasons(answer["rows"])
    return "\n".join([table, *(["", "Why rows fall short:", "", *reasons] if reasons else [])]), []


def _distributed(answer: Answer, folder: Path) -> tuple[str, list[Path]]:
    limits = answer["workload"]
    waited = [
        Bar(
            row["subject"],
            row["p99 ms"],
            f"{row['p99 ms']:.0f} ms, {row['origin calls']} origin calls, {row['commands per call']:.2f} commands each",
            ours=row["subject"].startswith(_OURS),
        )
        for row in answer["rows"]
        if row["scenario"] == "cold, 20 keys" and row.get("p99 ms") is not None
    ]
    path = folder / "distributed.svg"
    subtitle = (
        f"p99 of all callers, 4 processes, an origin of {limits['origin seconds']:g} s; 20 origin calls are needed"
    )
    bars(path, "How long a crowd waits for 20 cold keys", subtitle, waited)
    said = (
        f"The origin takes {limits['origin seconds']:g} s; leases and locks last {limits['lease seconds']:g} s where"
        " they can be told. *commands*: sent by clients, as MONITOR sees them, without those in scripts. *successor*:"
        " from the death of the leader to the next origin call; the lock of cashews lasts as long as its result, so"
        " that nobody succeeds. *hangs*: no answer in 30 s. Results of dogpile.cache are computed in threads. Each"
        f" rival has a pool of {fleets.POOL_CONNECTIONS} connections for which callers wait: with redis-py's default"
        " pool, which refuses the hundred-and-first, they get errors. coalesce_kit opens at most three in a process."
    )
    parts = [said, ""]
    for scenario in dict.fromkeys(row["scenario"] for row in answer["rows"]):
        rows = [row for row in answer["rows"] if row["scenario"] == scenario]
        columns = [
            column
            for column in distributed.COLUMNS[1:]
            if column in ("subject", "errors") or any(row.get(column) is not None for row in rows)
        ]
        parts += [f"## {scenario}", "", markdown_table(rows, columns), ""]
    return "\n".join(parts), [path]


_PAGES: Mapping[str, Callable[[Answer, Path], tuple[str, list[Path]]]] = {
    "overhead": _overhead,
    "stampede": _stampede,
    "zipf": _zipf,
    "trace": _trace,
    "service": _service,
    "behaviours": _behaviours,
    "distributed": _distributed,
    "check": _check,
}
