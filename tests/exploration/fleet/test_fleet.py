"""The protocol on schedules of the fleet's scenarios, and planted bugs, each of which the exploration must catch.

``COALESCE_EXPLORE=full`` takes many more schedules, as does ``python -m tests.exploration.fleet scenarios``.
"""

from __future__ import annotations

import os

import pytest

from coalesce_kit.testing.explorer import explore
from tests.exploration.fleet.calm import calmly
from tests.exploration.fleet.cases import CALM, CASES
from tests.exploration.fleet.catching import catch
from tests.exploration.fleet.planting import FLEET_BUGS

FULL = os.environ.get("COALESCE_EXPLORE") == "full"
SAMPLES = 2000 if FULL else 15
SMALL_CALM = [name for name, case in CALM.items() if case.small or FULL]
SMALL = [name for name, case in CASES.items() if case.small]


@pytest.mark.parametrize("name", SMALL)
def test_every_schedule_keeps_the_promises(name):
    """A small scenario has no schedule on which a promise is broken or something is left."""
    assert explore(CASES[name].build(), most_schedules=1_000_000).exhausted


@pytest.mark.parametrize("name", SMALL_CALM)
def test_every_calm_schedule_keeps_the_promises(name):
    """If events wait until everybody has gone as far as they can, no order of them breaks a promise."""
    assert explore(calmly(CALM[name].build()), most_schedules=1_000_000).exhausted


@pytest.mark.parametrize("search", ["random", "priorities"])
@pytest.mark.parametrize("name", CASES)
def test_sampled_schedules_keep_the_promises(name, search):
    """No schedule of a sample breaks a promise or leaves something."""
    explore(CASES[name].build(), search=search, most_schedules=SAMPLES)


@pytest.mark.parametrize("bug", FLEET_BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_of_the_protocol_is_caught(bug):
    """Its scenario fails on some schedule."""
    assert catch(bug) is not None
