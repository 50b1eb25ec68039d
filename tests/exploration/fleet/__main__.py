"""``python -m tests.exploration.fleet``: every planted bug of the protocol, and after how many schedules it is caught.

``python -m tests.exploration.fleet scenarios [SCHEDULES]`` runs every scenario twice: with events that may come between
any two steps of a task, exhausted where it is small enough and sampled otherwise; and *calm*, with smaller numbers and
events that wait until everybody has gone as far as they can, all schedules.
"""

from __future__ import annotations

import logging
import sys
import time

from coalesce_kit.testing.explorer import ScheduleFailedError, explore
from tests.exploration.fleet.calm import calmly
from tests.exploration.fleet.cases import CALM, CASES
from tests.exploration.fleet.catching import catch
from tests.exploration.fleet.planting import FLEET_BUGS

MOST_CALM = 60_000


def bugs(wanted: str) -> int:
    """Print the table of planted bugs; return how many were missed."""
    missed = 0
    print(f"{'after':>7}  {'planted bug':46}  scenario: what was seen")
    for bug in (bug for bug in FLEET_BUGS if wanted in bug.name):
        caught = catch(bug)
        missed += caught is None
        after, seen = ("MISSED", "") if caught is None else (str(caught.schedules), caught.seen)
        print(f"{after:>7}  {bug.name:46}  {bug.scenario}: {seen[:100]}", flush=True)
    return missed


def scenarios(most: int) -> int:
    """Print the table of scenarios; return how many failed."""
    failed = 0
    print(f"{'schedules':>9}  {'':9}  {'longest':>7}  {'seconds':>7}  scenario")
    calm = {f"{name}, calm": calmly(case.build()) for name, case in CALM.items()}
    for name, scenario in ({name: case.build() for name, case in CASES.items()} | calm).items():
        started = time.process_time()
        try:
            explored = explore(scenario, most_schedules=MOST_CALM if name in calm else most)
            if not explored.exhausted:
                explored = explore(scenario, search="random", most_schedules=most)
        except ScheduleFailedError as error:
            failed += 1
            print(f"{error.schedules:>9}  {'FAILED':9}  {'':7}  {'':7}  {name}\n{error}", flush=True)
            continue
        how = "exhausted" if explored.exhausted else "sampled"
        seconds = time.process_time() - started
        print(f"{explored.schedules:>9}  {how:9}  {explored.longest:>7}  {seconds:>7.1f}  {name}", flush=True)
    return failed


def main() -> int:
    """Print what is asked for; return how much of it went wrong."""
    logging.disable(logging.CRITICAL)
    first, *others = [*sys.argv[1:], ""]
    if first == "scenarios":
        return scenarios(int(others[0]) if others and others[0] else 2000)
    return bugs(" ".join(sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())
