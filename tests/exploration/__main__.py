"""``python -m tests.exploration``: every scenario exhausted, how many schedules that took, and how long.

As many scenarios at once as there are cores; the largest take some minutes each.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from coalesce_kit.testing.explorer import Exploration, ScheduleFailedError, explore
from tests.exploration.scenarios import CASES, scenario_of

MOST_SCHEDULES = 1_000_000


def look_into(name: str, most: int) -> tuple[Exploration | str, float]:
    """Exhaust a scenario, or take a sample if it is larger; return what was found, and the seconds that it took."""
    logging.disable(logging.CRITICAL)
    case, started = CASES[name], time.process_time()
    found: Exploration | str
    try:
        if case.samples:
            found = explore(scenario_of(name), search="priorities", most_schedules=min(case.samples, most))
        else:
            found = explore(scenario_of(name), most_schedules=MOST_SCHEDULES if case.always else most)
        if case.always and not found.exhausted:
            found = f"not exhausted after {found.schedules} schedules, as is promised"
    except ScheduleFailedError as error:
        found = f"after {error.schedules}: {error}"
    return found, time.process_time() - started


def main() -> int:
    """Print the table; return how many scenarios failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.exploration", description=__doc__)
    parser.add_argument("wanted", nargs="*", help="words that the name of a scenario contains; all without")
    parser.add_argument("--most", type=int, default=MOST_SCHEDULES, help="where a scenario that may be sampled is")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="scenarios at once")
    parser.add_argument("--markdown", action="store_true", help="as the table of docs/concepts/proof.md")
    options = parser.parse_args()
    row = "| {4} | {0} | {1} | {2} |" if options.markdown else "{0:>9}  {1:9}  {2:>7}  {3:>7}  {4}"
    print(row.format("schedules", "", "longest", "seconds", "scenario"))
    if options.markdown:
        print("|---|---:|---|---:|")
    names = [name for name in CASES if " ".join(options.wanted) in name]
    failed = 0
    with ProcessPoolExecutor(options.jobs) as pool:
        results = pool.map(partial(look_into, most=options.most), names)
        for name, (found, seconds) in zip(names, results, strict=True):
            if isinstance(found, str):
                failed += 1
                print(row.format("", "FAILED", "", f"{seconds:.1f}", name), found, sep="\n", flush=True)
            else:
                how = "exhausted" if found.exhausted else "sampled"
                print(row.format(found.schedules, how, found.longest, f"{seconds:.1f}", name), flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
