"""``python -m benchmarks QUESTION [options]``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from . import behaviours, check, distributed, fleets, overhead, pages, report, service, stampede, trace, zipf
from .rivals import NAMES

QUESTIONS: Mapping[str, tuple[str, Callable[[argparse.Namespace], dict[str, Any]]]] = {
    "overhead": ("what does a call cost?", lambda o: overhead.run(o.rows, o.rivals, quick=o.quick)),
    "stampede": ("who gets hurt when many ask at once?", lambda o: stampede.run(o.rivals, quick=o.quick)),
    "zipf": (
        "how many origin calls does a cache save, and at what price?",
        lambda o: zipf.run(o.rivals, quick=o.quick),
    ),
    "trace": (
        "how many look-ups does a cache of a given size answer?",
        lambda o: trace.run(o.path, o.rivals, form=o.format, quick=o.quick),
    ),
    "service": ("what does it do to my service?", lambda o: service.run(o.rivals, quick=o.quick)),
    "behaviours": ("what happens when ...?", lambda o: behaviours.run(o.rivals, quick=o.quick)),
    "distributed": (
        "how does a fleet of processes ask, over one Redis?",
        lambda o: distributed.run(o.rivals, quick=o.quick),
    ),
}
"""Every question in the order in which ``all`` asks them, and what answers it."""


def main(arguments: list[str] | None = None) -> int:
    """Answer the question on the command line; 1 if the budget is not kept."""
    options = _parser().parse_args(arguments)
    rivals = getattr(options, "rival", None)
    options.rivals = None if rivals is None else [name for name in rivals if name != "none"]
    if options.question == "check":
        answer = check.run(quick=options.quick)
        _keep(answer, options)
        return 1 if answer["short"] else 0
    chosen = QUESTIONS if options.question == "all" else [options.question]
    for question in chosen:
        print(f"\n== {question}: {QUESTIONS[question][0]}", flush=True)
        began = time.monotonic()
        _keep(QUESTIONS[question][1](options), options)
        print(f"== {question} took {time.monotonic() - began:.0f} s", flush=True)
    return 0


def _keep(answer: dict[str, Any], options: argparse.Namespace) -> None:
    if getattr(options, "json", None) is not None:
        report.write_json(options.json, answer)
    if options.keep is not None:
        for path in pages.keep(answer, options.keep):
            print(f"wrote {path.name}")


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
