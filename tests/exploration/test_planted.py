"""Does the exploration bite? Bugs planted by hand, one at a time, each of which it must catch."""

from __future__ import annotations

import contextlib

import pytest

from coalesce_kit.testing.explorer import NotReplayableError, replay
from tests.exploration.planted import catch
from tests.exploration.planting import BUGS
from tests.exploration.scenarios import CASES


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a bug may leave anything behind
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_caught(bug):
    """Its scenario fails on some schedule, which fails the same way when it is replayed, and not without the bug."""
    caught = catch(bug)
    assert caught is not None
    with bug.planted(), pytest.raises(AssertionError) as again:
        replay(CASES[bug.scenario].build(), caught.trace)
    assert str(again.value).splitlines()[0].partition(":")[0] == caught.seen.partition(":")[0]
    with contextlib.suppress(NotReplayableError):  # without the bug things may take another course
        replay(CASES[bug.scenario].build(), caught.trace)
