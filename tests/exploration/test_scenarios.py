"""The guarantees, on every schedule of the scenarios: exhausted where they are small, sampled where they are large.

``COALESCE_EXPLORE=full`` exhausts the large ones too, as does ``python -m tests.exploration``.
"""

from __future__ import annotations

import os
import random
import sys

import pytest

from coalesce_kit.testing.explorer import explore
from tests.exploration.scenarios import CASES, scenario_of

FULL = os.environ.get("COALESCE_EXPLORE") == "full"
SAMPLES = 4000 if FULL else 60
SMALL = [name for name, case in CASES.items() if not case.large or (FULL and not case.samples)]
LARGE = [name for name, case in CASES.items() if case.large]

since_eager_tasks = pytest.mark.skipif(sys.version_info < (3, 12), reason="there is no eager task factory before 3.12")


def drawn():
    """A seed that is another one in every run: a failure shows it, and so does the order of the tests."""
    return random.randrange(10**6)


@pytest.mark.parametrize("name", SMALL)
def test_every_schedule_keeps_the_guarantees(name):
    """The scenario has no schedule on which a guarantee is broken or something is left."""
    explored = explore(scenario_of(name), most_schedules=1_000_000)
    assert explored.exhausted


@pytest.mark.parametrize("search", ["random", "priorities"])
@pytest.mark.parametrize("name", LARGE)
def test_sampled_schedules_keep_the_guarantees(name, search):
    """No schedule of a sample of a large scenario breaks a guarantee or leaves something."""
    case = CASES[name]
    explore(scenario_of(name), search=search, most_schedules=max(SAMPLES, case.samples if FULL else 0), seed=drawn())


@since_eager_tasks
@pytest.mark.parametrize("name", CASES)
def test_eager_tasks_keep_the_guarantees(name):
    """With the eager task factory no schedule of a sample breaks a guarantee or leaves something."""
    explore(scenario_of(name), search="random", most_schedules=SAMPLES // 2, eager=True, seed=drawn())


@pytest.mark.parametrize("name", CASES)
def test_no_order_of_handles_is_relied_upon(name):
    """Handles of the loop that overtake each other break no guarantee, on a sample of schedules."""
    explore(scenario_of(name), search="random", most_schedules=SAMPLES // 2, permuted=True, seed=drawn())
