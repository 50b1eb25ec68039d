"""What the plugin's fixtures do, as context managers."""

from __future__ import annotations

import asyncio
import time

import pytest

from coalesce_kit import coalesced, get_request_coalescer
from coalesce_kit.clock import clock
from coalesce_kit.testing.clock import VirtualClock, run
from coalesce_kit.testing.fixtures import isolated, switched_off, virtual_clock


def keeping():
    """A function that keeps its results, and the list of its fetches."""
    fetched = []

    @coalesced(ttl=60)
    async def odds(league="nba"):
        fetched.append(league)
        return [league]

    return odds, fetched


def test_isolated_begins_and_ends_with_nothing():
    """Results and numbers from before are not seen inside, and those of inside not afterwards, also after a failure."""
    odds, fetched = keeping()
    asyncio.run(odds())
    outer = get_request_coalescer()
    with pytest.raises(LookupError), isolated():
        assert odds.stats().total_requests == 0
        assert get_request_coalescer() is not outer
        asyncio.run(odds())
        raise LookupError
    assert odds.peek() is None
    assert odds.stats().total_requests == 0
    assert len(fetched) == 2


def test_the_virtual_clock_reaches_what_was_decorated_before():
    """Results of a function that lived already grow old when the clock is moved."""
    odds, fetched = keeping()
    with virtual_clock(1000.0) as time_of_the_package:
        assert time_of_the_package.now() == 1000.0
        for seconds in (0, 59, 1):
            time_of_the_package.advance(seconds)
            asyncio.run(odds())
    assert len(fetched) == 2
    assert clock.now is time.monotonic


def test_in_a_virtual_loop_it_is_the_loops_time_that_moves():
    """Whoever moves the package's time in a virtual loop moves its timers too."""

    async def story(time_of_the_package):
        sleeping = asyncio.get_running_loop().create_task(asyncio.sleep(50))
        await asyncio.sleep(0)
        time_of_the_package.advance(50)
        await sleeping
        return time_of_the_package.now()

    with virtual_clock() as time_of_the_package:
        assert run(story(time_of_the_package), time=VirtualClock(7.0)) == 57.0
        assert time_of_the_package.now() == 0.0


def test_switched_off_functions_run_their_original():
    """Nothing is shared, kept or counted inside, and afterwards it is as before; what was off stays off."""
    odds, fetched = keeping()
    never = coalesced(ttl=60, enabled=False)(odds.__wrapped__)
    asyncio.run(odds())
    with switched_off():
        asyncio.run(odds())
        asyncio.run(odds())
    assert len(fetched) == 3
    asyncio.run(odds())
    assert len(fetched) == 3
    asyncio.run(never())
    asyncio.run(never())
    assert len(fetched) == 5
    assert odds.stats().total_requests == 2
