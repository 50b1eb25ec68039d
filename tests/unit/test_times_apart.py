"""What was kept in one time is not used in another: virtual time begins, and ends, with nothing kept."""

from __future__ import annotations

import asyncio

import pytest

from coalesce_kit import coalesced
from coalesce_kit.testing.clock import VirtualClock, run, virtual_loop
from coalesce_kit.testing.fixtures import virtual_clock


def keeping():
    """A function that keeps its results for a minute, and the list of its fetches."""
    fetched = []

    @coalesced(ttl=60)
    async def odds():
        fetched.append(odds)
        return len(fetched)

    return odds, fetched


def test_a_result_of_real_time_is_not_used_in_virtual_time():
    """To a clock that begins at 0 it would be from the future, and never grow old."""
    odds, _ = keeping()
    asyncio.run(odds())
    with virtual_clock() as time:
        assert odds.peek() is None
        time.advance(100)
        assert asyncio.run(odds()) == 2
        assert odds.explain().fresh_seconds_left == 60.0


def test_a_result_of_virtual_time_is_not_used_in_real_time():
    """A clock that was moved far ahead leaves none that real time would reach in a thousand years."""
    odds, _ = keeping()
    with virtual_clock() as time:
        time.advance(1e12)
        assert [asyncio.run(odds()), asyncio.run(odds())] == [1, 1]
    assert odds.peek() is None
    assert asyncio.run(odds()) == 2


def test_a_run_has_a_time_of_its_own():
    """Before, in between and after: each of them fetches, and within one a result is kept."""
    odds, _ = keeping()

    async def twice():
        await asyncio.sleep(1e12)
        return [await odds(), await odds()]

    assert asyncio.run(odds()) == 1
    assert run(twice()) == [2, 2]
    assert run(twice()) == [3, 3]
    assert asyncio.run(odds()) == 4


def test_a_clock_that_is_held_keeps_results_from_run_to_run():
    """Within the clock's block its loops come and go, and time goes on."""
    odds, _ = keeping()
    with VirtualClock() as time:
        assert [run(odds(), time=time), run(odds(), time=time), asyncio.run(odds())] == [1, 1, 1]
        with time:
            time.advance(59)
        assert run(odds(), time=time) == 1
        time.advance(1)
        assert run(odds(), time=time) == 2


def test_a_clock_within_a_clock_is_another_time():
    """Neither sees what the other's time has kept."""
    odds, _ = keeping()
    with VirtualClock(), VirtualClock(100.0) as inner:
        inner.advance(1)
        assert asyncio.run(odds()) == 1
    with VirtualClock(100.0):
        assert asyncio.run(odds()) == 2
        with VirtualClock():
            assert asyncio.run(odds()) == 3
        assert asyncio.run(odds()) == 4


def test_a_loop_keeps_results_until_it_is_closed():
    """As with the fixtures of a test and the test itself, which are runs of one loop."""
    odds, _ = keeping()
    loop = virtual_loop()
    loop.run_until_complete(asyncio.sleep(1e12))
    assert [loop.run_until_complete(odds()), loop.run_until_complete(odds())] == [1, 1]
    loop.close()
    assert odds.peek() is None
    asyncio.run(odds())
    loop.close()
    assert odds.peek() is not None


def test_a_loop_that_never_ran_changes_nothing():
    """Making one and closing it drops nothing."""
    odds, _ = keeping()
    asyncio.run(odds())
    virtual_loop().close()
    assert odds.peek() is not None


def test_the_garbage_collector_drops_no_results():
    """It may come at any moment, also to somebody who holds the lock of a cache."""
    odds, _ = keeping()
    loop = virtual_loop()
    loop.run_until_complete(asyncio.sleep(0))
    asyncio.run(odds())
    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        loop.__del__()  # by hand: the collector may take its sockets first, which complain on their own
    assert odds.peek() is not None


def test_numbers_go_on():
    """Only results and fetches in flight belong to a time."""
    odds, _ = keeping()
    asyncio.run(odds())
    run(odds())
    assert odds.stats().total_requests == 2
    assert odds.stats().invalidations == 0
