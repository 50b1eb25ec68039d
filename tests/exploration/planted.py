"""``python -m tests.exploration.planted``: every planted bug, and after how many schedules it was caught."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass

from coalesce_kit.testing.explorer import ScheduleFailedError, explore
from tests.exploration.planting import BUGS, Bug
from tests.exploration.scenarios import scenario_of

MOST_SCHEDULES = 20_000


@dataclass(frozen=True, slots=True)
class Catch:
    """How a bug was caught: on which schedule, and what was seen."""

    schedules: int
    trace: str
    seen: str


def catch(bug: Bug) -> Catch | None:
    """Look for a planted bug in its scenario; ``None`` if it is not found."""
    with bug.planted():
        try:
            explore(scenario_of(bug.scenario), most_schedules=MOST_SCHEDULES)
        except ScheduleFailedError as error:
            return Catch(error.schedules, error.trace, str(error.__cause__).splitlines()[0])
    return None


def main() -> int:
    """Print the table, of all or of those whose name has the argument in it; return how many were missed."""
    logging.disable(logging.CRITICAL)
    missed = 0
    print(f"{'after':>7}  {'planted bug':60}  scenario: what was seen")
    wanted = " ".join(sys.argv[1:])
    for bug in (bug for bug in BUGS if wanted in bug.name):
        caught = catch(bug)
        missed += caught is None
        after, seen = ("MISSED", "") if caught is None else (caught.schedules, caught.seen)
        print(f"{after:>7}  {bug.name:60}  {bug.scenario}: {seen[:110]}", flush=True)
    return missed


if __name__ == "__main__":
    sys.exit(main())
