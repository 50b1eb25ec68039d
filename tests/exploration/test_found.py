"""What the exploration has found in the package as it stood: each bug with the schedule that showed it."""

from __future__ import annotations

from coalesce_kit.testing.explorer import replay
from tests.exploration.scenarios import CASES


def test_a_cancellation_catches_up_with_a_recursion():
    """x asks y and y asks x; cancelled while the inner fetch is about to begin, both come to rest.

    A fetch that is given up leaves its slot at once, and what it waits for a turn later. In that turn the inner fetch
    found the slot free and began another one in it, which was a turn ahead of its own cancellation, and so on: the two
    functions went on calling each other for ever, for a caller who had gone.
    """
    replay(CASES["recursion in a cycle, 1 cancel"].build(), "b starts, 1, cancel b")
