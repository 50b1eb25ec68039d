"""Looking for a planted bug."""

from __future__ import annotations

from dataclasses import dataclass

from coalesce_kit.testing.explorer import ScheduleFailedError, explore
from tests.exploration.fleet.cases import CASES
from tests.exploration.planting import Bug

MOST_SCHEDULES = 3000


@dataclass(frozen=True, slots=True)
class Catch:
    """How a bug was caught: on which schedule, and what was seen."""

    schedules: int
    trace: str
    seen: str


def catch(bug: Bug, *, most_schedules: int = MOST_SCHEDULES) -> Catch | None:
    """Look for a planted bug in its scenario, on schedules by priorities drawn by lot; ``None`` if it is not found."""
    with bug.planted():
        try:
            explore(CASES[bug.scenario].build(), search="priorities", most_schedules=most_schedules)
        except ScheduleFailedError as error:
            return Catch(error.schedules, error.trace, str(error.__cause__).splitlines()[0])
    return None
