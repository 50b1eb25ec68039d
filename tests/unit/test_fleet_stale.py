"""Stale values across processes: served from the store, replaced by one process, and never longer than allowed."""

from __future__ import annotations

import asyncio

import pytest

from coalesce_kit import CachePolicy
from tests.fakes import outcomes, start, turns

LONG = 40
STALE = CachePolicy(ttl=10, stale_while_revalidate=100)


async def test_one_process_replaces_a_stale_value(world):
    """All serve the stale value at once; of all their refreshes one calls the function, and all get the new value."""
    processes = world.start(4, policy=STALE)
    await world.primed("old", *processes)
    await asyncio.sleep(15)
    assert [await process.odds("nba") for process in processes] == ["old"] * 4
    await turns(LONG)
    assert len(world.origin.calls) == 2
    world.origin.answer("new")
    await turns(LONG)
    assert [await process.odds("nba") for process in processes] == ["new"] * 4
    assert len(world.origin.calls) == 2
    assert sum(process.numbers.refreshes_elected for process in processes) == 1


async def test_a_stale_value_of_the_store_is_given_at_once(world):
    """A process that has nothing gives the store's stale value, and replaces it in the background."""
    first, second = world.start(2, policy=STALE)
    await world.primed("old", first)
    await asyncio.sleep(15)
    assert await second.odds("nba") == "old"
    await turns(LONG)
    assert len(world.origin.calls) == 2
    world.origin.answer("new")
    await turns(LONG)
    assert await second.odds("nba") == "new"
    assert (second.numbers.leases_won, world.calls_of("abandon")) == (2, 0)


async def test_a_stale_value_is_given_while_another_process_replaces_it(world):
    """Who finds the lease taken gives the stale value too, and has the new one when it is there."""
    first, second, third = world.start(3, policy=STALE)
    await world.primed("old", first)
    await asyncio.sleep(15)
    assert await first.odds("nba") == "old"
    await turns(LONG)
    assert await second.odds("nba") == "old"
    await turns(LONG)
    assert len(world.origin.calls) == 2
    world.origin.answer("new")
    await turns(LONG)
    assert await second.odds("nba") == await third.odds("nba") == "new"


async def test_a_stale_value_of_the_store_is_given_if_the_fetch_fails(world):
    """``stale_if_error`` has the store's old value given in a process that never had it."""
    policy = CachePolicy(ttl=10, stale_if_error=100)
    first, second = world.start(2, policy=policy)
    await world.primed("old", first)
    await asyncio.sleep(15)
    (task,) = start(second.odds("nba"))
    await turns(LONG)
    world.origin.fail(OSError("down"))
    assert await task == "old"
    assert second.numbers.stale_on_error == 1


async def test_a_stale_value_ends_with_its_window(world):
    """Beyond its window nobody gives it, wherever it was fetched."""
    first, second = world.start(2, policy=CachePolicy(ttl=10, stale_if_error=20))
    await world.primed("old", first)
    await asyncio.sleep(15)
    (task,) = start(second.odds("nba"))
    await turns(LONG)
    world.origin.fail(OSError("down"))
    assert await task == "old"
    await asyncio.sleep(15.1)
    (task,) = start(second.odds("nba"))
    await turns(LONG)
    world.origin.fail(OSError("down"))
    with pytest.raises(OSError, match="down"):
        await task


async def test_one_process_refreshes_ahead(world):
    """Of the early refreshes of all processes one calls the function; the others go home and have the new value."""
    processes = world.start(4, policy=CachePolicy(ttl=10, refresh_ahead=0.5))
    await world.primed("old", *processes)
    await asyncio.sleep(6)
    assert [await process.odds("nba") for process in processes] == ["old"] * 4
    await turns(LONG)
    assert len(world.origin.calls) == 2
    assert [await process.odds("nba") for process in processes] == ["old"] * 4
    await turns(LONG)
    world.origin.answer("new")
    await turns(LONG)
    await asyncio.sleep(3.1)
    for process in processes:
        await process.odds("nba")
    await turns(LONG)
    assert [await process.odds("nba") for process in processes] == ["new"] * 4
    assert len(world.origin.calls) == 2


async def test_a_waiter_out_of_time_is_given_the_stale_value(world):
    """A caller who waits for another process as long as it may gets the stale value, if policy has one given."""
    policy = CachePolicy(ttl=10, stale_if_error=100)
    first, second = world.start(2, policy=policy)
    await world.primed("old", first, second)
    await asyncio.sleep(15)
    tasks = start(first.odds("nba"))
    await turns(LONG)
    began = asyncio.get_running_loop().time()
    assert await second.odds("nba") == "old"
    assert asyncio.get_running_loop().time() - began == pytest.approx(5)
    world.origin.answer("new")
    assert await outcomes(tasks) == ["new"]


PATIENT = CachePolicy(ttl=10, stale_while_revalidate=100, stale_wait_seconds=1)


@pytest.mark.parametrize("consistency", ["announced", "strict"])
async def test_a_stale_value_of_the_store_is_given_after_the_wait(world, consistency):
    """A process that has nothing waits ``stale_wait_seconds`` for a new value, then gives the store's stale one."""
    first, second = world.start(2, policy=PATIENT, consistency=consistency)
    await world.primed("old", first)
    await asyncio.sleep(15)
    began = asyncio.get_running_loop().time()
    tasks = start(*(second.odds("nba") for _ in range(3)))
    assert await outcomes(tasks) == ["old"] * 3
    assert asyncio.get_running_loop().time() - began == pytest.approx(1.0)
    assert second.numbers.stale_after_wait == 3
    world.origin.answer("new")
    await turns(LONG)
    assert await second.odds("nba") == await first.odds("nba") == "new"
    assert len(world.origin.calls) == 2


async def test_a_stale_value_is_given_after_the_wait_while_another_process_replaces_it(world):
    """Who waits for another process's fetch waits no longer for it; and who gets the new value in time gets that."""
    first, second, third = world.start(3, policy=PATIENT)
    await world.primed("old", first)
    await asyncio.sleep(15)
    tasks = start(first.odds("nba"), second.odds("nba"))
    assert await outcomes(tasks) == ["old", "old"]
    late = start(third.odds("nba"))
    await asyncio.sleep(0.5)
    world.origin.answer("new")
    assert await outcomes(late) == ["new"]
    assert third.numbers.stale_after_wait == 0
    assert len(world.origin.calls) == 2


async def test_without_a_stale_value_nobody_is_given_one(world):
    """Where the store has nothing, a caller waits for its fetch as long as that takes, and takes it along."""
    (only,) = world.start(1, policy=PATIENT)
    (task,) = start(only.odds("nba"))
    await asyncio.sleep(4)
    assert not task.done()
    task.cancel()
    await outcomes([task])
    await turns(LONG)
    assert world.origin.working == 0


async def test_a_fetch_that_times_out_itself_is_no_end_of_the_wait(world):
    """A TimeoutError of the function is the function's."""
    (only,) = world.start(1, policy=PATIENT)
    (task,) = start(only.odds("nba"))
    await turns(LONG)
    world.origin.fail(TimeoutError("slow"))
    with pytest.raises(TimeoutError, match="slow"):
        await task
