"""Proof that the tests bite: every small change to the modules named in ``tests/mutants.toml`` must turn one red.

Mutation testing. First the tests run once, and it is noted which lines each of them runs; then each mutant is tried on
the tests that run its line, until one is red. ``tests/mutants.toml`` names the modules and the tests, and the mutants
that nothing can notice, each with its reason. The command fails if a mutant survives that is not in there, if one in
there is killed or gone, or if the score is too low.

What is known is kept in ``.mutants``, so that a run that was interrupted goes on, and one after a change tries only
what that change can have touched.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tools.mutants.changes import Mutant, find_mutants
from tools.mutants.forks import CANNOT, SURVIVED, import_libraries
from tools.mutants.lines import record
from tools.mutants.settings import Settings, content, read_settings
from tools.mutants.trying import Known, try_all

ROOT = Path(__file__).resolve().parents[2]
LEAST_SCORE_PERCENT: Final = 95.0
MOST_EQUIVALENT_PERCENT: Final = 3.0
_MOST_TESTS: Final = 500
"""So many tests have to agree with a row that nothing notices its mutant. One without a row is tried on all of them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the mutants of every module named, or of some, and print each that survived."""
    parser = argparse.ArgumentParser(prog="python -m tools.mutants", description=__doc__)
    parser.add_argument("--only", action="append", metavar="FILE", help="only modules whose path contains this")
    parser.add_argument("--lines", metavar="A-B", help="only what is changed in these lines")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs side by side")
    parser.add_argument("--most", type=int, default=_MOST_TESTS, help="the most tests for what has a row; 0 for all")
    parser.add_argument("--root", type=Path, default=ROOT, help="the tree to work on")
    parser.add_argument("--fresh", action="store_true", help="forget what earlier runs have found")
    options = parser.parse_args(arguments)
    if sys.version_info < (3, 12):
        parser.error("needs Python 3.12: before it, the parts of an f-string have no place in the source")
    os.chdir(options.root)
    sys.path.insert(0, str(options.root.resolve()))
    os.nice(10)
    started, state = time.monotonic(), Path(".mutants")
    state.mkdir(exist_ok=True)
    results = state / "results.jsonl"
    if options.fresh:
        results.unlink(missing_ok=True)
    settings = read_settings(Path("tests/mutants.toml").resolve())
    files = [file for file in settings.files if not options.only or any(part in file for part in options.only)]
    mutants = [mutant for file in files for mutant in find_mutants(content(Path(file)), file)]
    if options.lines:
        first, _, last = options.lines.partition("-")
        mutants = [mutant for mutant in mutants if int(first) <= mutant.line <= int(last or first)]
    import_libraries()
    footprints = record(settings, state)
    for test in footprints.red:
        print(f"red without any change, and therefore not asked: {test}")
    known = Known(results, settings, options.most)
    explained = {row.place for row in settings.rows}

    def most(mutant: Mutant) -> int:
        return options.most if mutant.place in explained else 0

    try_all(mutants, footprints, known, state, jobs=options.jobs, most=most)
    good = report(mutants, settings, known, whole=not options.only and not options.lines)
    print(f"{len(footprints.seconds)} tests, in {time.monotonic() - started:.0f} s")
    return 0 if good and not footprints.red else 1


def report(mutants: Sequence[Mutant], settings: Settings, known: Known, *, whole: bool) -> bool:
    """Print what became of the mutants, module by module; return whether all is as ``tests/mutants.toml`` says."""
    rows = {row.place: row for row in settings.rows}
    seen: set[tuple[str, str, str, str]] = set()
    totals: Counter[str] = Counter()
    complaints = 0
    for file in dict.fromkeys(mutant.file for mutant in mutants):
        counts: Counter[str] = Counter()
        for mutant in (mutant for mutant in mutants if mutant.file == file):
            row, one = rows.get(mutant.place), known.of(mutant)
            seen.add(mutant.place)
            survived = one is None or one["result"] in (SURVIVED, CANNOT)
            if not survived:
                counts["by a hang"] += one is not None and one["result"] < 0
                counts["killed"] += 1
            elif row is not None:
                counts["equivalent" if row.equivalent else "known"] += 1
            else:
                counts["survived"] += 1
            if (row is None) == survived:
                complaints += 1
                what = "SURVIVED" if one is not None and one["result"] == SURVIVED else "NOT TRIED"
                what = what if survived else f"KILLED by {one and one['test']}, so its row is wrong:"
                print(f"{what} {mutant.file}:{mutant.line} {mutant.function}")
                print(f"  - {mutant.old_lines}\n  + {mutant.new_lines}")
        print(f"{file}: {_counted(counts)}", flush=True)
        totals += counts
    gone = [row for row in settings.rows if row.place not in seen] if whole else []
    for row in gone:
        print(f"GONE: no mutant is like this row: {row.place}")
    print(f"all: {_counted(totals)}")
    complaints += len(gone)
    if whole:
        complaints += _score(totals) < LEAST_SCORE_PERCENT
        complaints += 100 * totals["equivalent"] > MOST_EQUIVALENT_PERCENT * _sum(totals)
    return not complaints


def _sum(counts: Counter[str]) -> int:
    return sum(counts[what] for what in ("killed", "equivalent", "known", "survived"))


def _score(counts: Counter[str]) -> float:
    return 100 * counts["killed"] / max(1, _sum(counts) - counts["equivalent"])


def _counted(counts: Counter[str]) -> str:
    shown = [f"{_sum(counts)} mutants", f"{counts['killed']} killed ({counts['by a hang']} by a hang)"]
    shown += [f"{counts[what]} {what}" for what in ("equivalent", "known", "survived")]
    return f"{', '.join(shown)}: score {_score(counts):.1f} %"


if __name__ == "__main__":
    sys.exit(main())
