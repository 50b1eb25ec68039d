"""``python -m tests.exploration``: every scenario exhausted, how many schedules that took, and how long."""

from __future__ import annotations

import logging
import sys
import time

from coalesce_kit.testing.explorer import ScheduleFailedError, explore
from tests.exploration.scenarios import CASES

MOST_SCHEDULES = 1_000_000


def main() -> int:
    """Print the table, of all scenarios or of those whose name has the argument in it; return how many failed."""
    logging.disable(logging.CRITICAL)
    wanted = " ".join(sys.argv[1:])
    failed = 0
    print(f"{'schedules':>9}  {'':9}  {'longest':>7}  {'seconds':>7}  scenario")
    for name in (name for name in CASES if wanted in name):
        started = time.process_time()
        try:
            explored = explore(CASES[name].build(), most_schedules=MOST_SCHEDULES)
        except ScheduleFailedError as error:
            failed += 1
            print(f"{error.schedules:>9}  {'FAILED':9}  {'':7}  {'':7}  {name}\n{error}", flush=True)
            continue
        how = "exhausted" if explored.exhausted else "sampled"
        seconds = time.process_time() - started
        print(f"{explored.schedules:>9}  {how:9}  {explored.longest:>7}  {seconds:>7.1f}  {name}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
