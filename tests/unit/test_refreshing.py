"""The refreshes of one function: one for a result, so many at once, and nothing left of those that have ended."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import weakref

import pytest

from coalesce_kit.cache import refreshing
from coalesce_kit.cache.refreshing import Refreshes
from coalesce_kit.entry import Entry, Lifetimes
from coalesce_kit.protocols import CUT_GRACE_SECONDS
from coalesce_kit.testing.leaks import unretrieved
from tests.fakes import Origin, turns

LONGEST = 20


def result(ticket=1):
    entry = Entry("old", at=0, lifetimes=Lifetimes(1))
    entry.ticket = ticket
    return entry


@pytest.fixture
def refreshes():
    return Refreshes(contextvars.copy_context, lambda: LONGEST)


@pytest.mark.usefixtures("virtual_time")
async def test_one_for_a_result(refreshes):
    """Another is begun when it has ended, or for what has taken the result's place."""
    origin = Origin()
    old, new = result(1), result(2)
    assert refreshes.start("nba", old, origin)
    assert not refreshes.start("nba", old, origin)
    assert refreshes.start("nfl", old, origin)
    assert refreshes.start("nba", new, origin)
    assert not refreshes.start("nba", new, origin)
    assert len(refreshes) == 3
    await turns()
    for _ in range(3):
        origin.answer()
    await turns()
    assert len(refreshes) == 0
    assert refreshes.start("nba", new, origin)
    await turns()
    origin.answer()
    await turns()


@pytest.mark.usefixtures("virtual_time")
async def test_the_end_of_an_older_one_is_not_that_of_a_newer(refreshes):
    """Who ends first takes away what is known of himself alone."""
    origin = Origin()
    refreshes.start("nba", result(1), origin)
    await turns()
    refreshes.start("nba", result(2), origin)
    await turns()
    origin.answer()
    await turns()
    assert len(refreshes) == 1
    assert not refreshes.start("nba", result(2), origin)
    origin.answer()
    await turns()
    assert len(refreshes) == 0


@pytest.mark.usefixtures("virtual_time")
async def test_one_that_takes_too_long_is_not_waited_for(refreshes):
    """After the longest time, and as long again as cutting takes, it is taken to stand still."""
    origin = Origin()
    refreshes.start("nba", result(), origin)
    await asyncio.sleep(LONGEST + CUT_GRACE_SECONDS - 0.5)
    assert not refreshes.start("nba", result(), origin)
    await asyncio.sleep(0.5)  # to the moment
    assert refreshes.start("nba", result(), origin)
    await turns()
    origin.answer()
    origin.answer()
    await turns()


@pytest.mark.usefixtures("virtual_time")
async def test_so_many_at_once(refreshes, monkeypatch):
    """Those of any key and of any age count."""
    monkeypatch.setattr(refreshing, "MOST_REFRESHES", 2)
    origin = Origin()
    assert refreshes.start("nba", result(1), origin)
    assert refreshes.start("nba", result(2), origin)
    assert not refreshes.start("nfl", result(), origin)
    await turns()
    origin.answer()
    await turns()
    assert refreshes.start("nfl", result(), origin)
    await turns()
    origin.answer()
    origin.answer()
    await turns()


class League:
    """A part of a key that can be watched."""


@pytest.mark.usefixtures("virtual_time")
async def test_nothing_is_left_of_one_that_has_ended(refreshes):
    """Neither its key nor what it was to run, and nobody has to ask for that."""
    origin, league = Origin(), League()
    is_alive = weakref.ref(league)
    refreshes.start(league, result(), origin)
    await turns()
    origin.answer()
    await turns()
    del league
    gc.collect()
    assert is_alive() is None
    assert (refreshes._all, refreshes._current) == (set(), {})


def test_those_of_a_closed_loop_are_none(refreshes, monkeypatch):
    """They count no more, newer and older ones alike, and stand in nobody's way."""
    monkeypatch.setattr(refreshing, "MOST_REFRESHES", 2)

    async def begin():
        origin = Origin()
        begun = [refreshes.start("nba", result(number), origin) for number in (1, 2)]
        await turns()
        return begun

    with unretrieved():  # asyncio tells that tasks were destroyed, and rightly so
        loop = asyncio.new_event_loop()
        assert loop.run_until_complete(begin()) == [True, True]
        loop.close()
        assert len(refreshes) == 0
        assert (refreshes._all, refreshes._current) == (set(), {})
        with asyncio.Runner() as runner:
            loop = asyncio.new_event_loop()
            loop.run_until_complete(begin())
            loop.close()
            assert runner.run(begin()) == [True, True]
        gc.collect()
