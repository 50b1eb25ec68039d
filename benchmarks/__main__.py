"""``python -m benchmarks QUESTION [options]``."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import behaviours, check, distributed, fleets, overhead, pages, report, service, stampede, trace, zipf
from .progress import lasting
from .rivals import NAMES

QUESTIONS: Mapping[str, tuple[str, Callable[[argparse.Namespace], Awaitable[dict[str, Any]]]]] = {
    "overhead": ("what does a call cost?", lambda o: overhead.answer(o.rows, o.rivals, quick=o.quick)),
    "stampede": ("who gets hurt when many ask at once?", lambda o: stampede.answer(o.rivals, quick=o.quick)),
    "zipf": (
        "how many origin calls does a cache save, and at what price?",
        lambda o: zipf.answer(o.rivals, quick=o.quick),
    ),
    "trace": (
        "how many look-ups does a cache of a given size answer?",
        lambda o: trace.answer(o.path and o.path.resolve(), o.rivals, form=o.format, quick=o.quick),
    ),
    "service": ("what does it do to my service?", lambda o: service.answer(o.rivals, quick=o.quick)),
    "behaviours": ("what happens when ...?", lambda o: behaviours.answer(o.rivals, quick=o.quick)),
    "distributed": (
        "how does a fleet of processes ask, over one Redis?",
        lambda o: distributed.answer(o.rivals, quick=o.quick),
    ),
}
"""Every question in the order in which ``all`` asks them, and what answers it."""

CHECK = ("is the budget kept?", lambda o: check.answer(quick=o.quick))

LONGEST_SECONDS = 3_600.0
"""How long one question may take at the very most. Every process it starts has a limit of its own, far below."""


def main(arguments: list[str] | None = None) -> int:
    """Answer the question on the command line; 1 if it cannot be answered, or if the budget is not kept."""
    options = _parser().parse_args(arguments)
    rivals = getattr(options, "rival", None)
    options.rivals = None if rivals is None else [name for name in rivals if name != "none"]
    if options.question == "redraw":
        print(f"wrote {', '.join(dict.fromkeys(path.name for path in pages.redraw(options.keep)))}")
        return 0
    if options.question == "check":
        answer = _asked("check", options)
        return 1 if answer is None or answer["short"] else 0
    return _ask_all(list(QUESTIONS) if options.question == "all" else [options.question], options)


def _ask_all(chosen: Sequence[str], options: argparse.Namespace) -> int:
    usual = _usual_seconds(chosen, options)
    unanswered = []
    for at, question in enumerate(chosen):
        _announce(question, chosen[at:], usual)
        if _asked(question, options) is None:
            unanswered.append(question)
    if len(chosen) > 1:
        print(f"\n{len(chosen) - len(unanswered)} of {len(chosen)} questions answered", flush=True)
    if unanswered:
        print(f"not answered: {', '.join(unanswered)}; see above", flush=True)
    return 1 if unanswered else 0


def _asked(question: str, options: argparse.Namespace) -> dict[str, Any] | None:
    """Ask one question and keep its answer; ``None`` if there is none, which must not stop those after it."""
    _, ask = {**QUESTIONS, "check": CHECK}[question]
    began = time.monotonic()
    try:
        answer = asyncio.run(_within(ask(options)))
    except Exception:
        traceback.print_exc()
        return None
    seconds = time.monotonic() - began
    answer["took seconds"] = round(seconds)
    if getattr(options, "json", None) is not None:
        report.write_json(options.json, answer)
    if options.keep is not None:
        print(f"wrote {', '.join(path.name for path in pages.keep(answer, options.keep))}")
    print(f"== {question} took {lasting(seconds)}", flush=True)
    return answer


async def _within(asking: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    return await asyncio.wait_for(asking, LONGEST_SECONDS)


def _announce(question: str, left: Iterable[str], usual: Mapping[str, float]) -> None:
    """Say what is asked now and, from the last run that was kept, how long that and the rest will take."""
    alone, together = usual.get(question), sum(usual.get(one, 0.0) for one in left)
    expected = f" ({lasting(alone)}; all that is left {lasting(together)})" if alone is not None else ""
    print(f"\n== {question}: {QUESTIONS[question][0]}{expected}", flush=True)


def _usual_seconds(questions: Iterable[str], options: argparse.Namespace) -> dict[str, float]:
    kept = {question: report.read_json((options.keep or pages.RESULTS) / f"{question}.json") for question in questions}
    return {
        question: answer["took seconds"]
        for question, answer in kept.items()
        if answer.get("quick") == options.quick and "took seconds" in answer
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    questions = parser.add_subparsers(dest="question", required=True)
    for question, (asks, _) in QUESTIONS.items():
        questions.add_parser(question, help=asks).add_argument(
            "--json", type=Path, metavar="FILE", help="write everything that was found"
        )
    questions.add_parser("all", help="every question")
    checking = questions.add_parser("check", help="is the design's budget kept? exit code 1 if not")
    checking.add_argument("--json", type=Path, metavar="FILE", help="write everything that was found")
    redrawing = questions.add_parser("redraw", help="measure nothing: pages and plots anew from the answers kept")
    redrawing.add_argument("keep", type=Path, nargs="?", default=pages.RESULTS, metavar="FOLDER")
    for name in ("overhead", "all"):
        questions.choices[name].add_argument(
            "--rows",
            default=overhead.GROUPS,
            type=_groups,
            help=f"of overhead, by commas: {', '.join(overhead.GROUPS)}",
        )
    questions.choices["trace"].add_argument("path", type=Path, nargs="?", metavar="PATH", help="a trace file")
    questions.choices["all"].add_argument("--trace", dest="path", type=Path, metavar="PATH", help="a trace file")
    for name in ("trace", "all"):
        questions.choices[name].add_argument("--format", choices=trace.FORMATS, help="of the trace; guessed without")
    for name, asked in questions.choices.items():
        if name == "redraw":
            continue
        asked.add_argument("--quick", action="store_true", help="fewer rounds: a look, not a measurement")
        asked.add_argument(
            "--keep",
            type=Path,
            nargs="?",
            const=pages.RESULTS,
            metavar="FOLDER",
            help="write JSON, a Markdown page and plots, without FOLDER into benchmarks/results",
        )
        if name != "check":
            rivals = ("none", *(fleets.RIVALS if name == "distributed" else NAMES))
            asked.add_argument(
                "--rival", action="append", choices=rivals, metavar="NAME", help="only this one; repeatable"
            )
    return parser


def _groups(text: str) -> list[str]:
    groups = text.split(",")
    unknown = [group for group in groups if group not in overhead.GROUPS]
    if unknown:
        raise argparse.ArgumentTypeError(f"no rows called {', '.join(unknown)}; there are {', '.join(overhead.GROUPS)}")
    return groups


if __name__ == "__main__":
    sys.exit(main())
