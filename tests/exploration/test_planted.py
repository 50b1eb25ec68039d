"""Does the exploration bite? Bugs planted by hand, one at a time, each of which it must catch."""

from __future__ import annotations

import contextlib

import pytest

from coalesce_kit.testing.explorer import NotReplayableError, replay
from tests.exploration.planted import catch
from tests.exploration.planting import BUGS
from tests.exploration.scenarios import scenario_of

ANOTHER_COURSE = {
    "no look into the cache after the slot was won",
    "removal by key instead of identity",
    "the count is not decremented on cancel",
    "a waiter is not timed out with the first one",
    "a fetch may take twice as long as it may",
    "a fetch that is to finish is abandoned",
}
"""Those without which things take another course before the schedule has come to its end."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a bug may leave anything behind
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_caught(bug):
    """Its scenario fails on some schedule, which fails the same way when it is replayed, and not without the bug."""
    caught = catch(bug)
    assert caught is not None
    with bug.planted(), pytest.raises(AssertionError) as again:
        replay(scenario_of(bug.scenario), caught.trace)
    assert str(again.value).splitlines()[0].partition(":")[0] == caught.seen.partition(":")[0]
    with pytest.raises(NotReplayableError) if bug.name in ANOTHER_COURSE else contextlib.nullcontext():
        replay(scenario_of(bug.scenario), caught.trace)
