"""The guarantees that a store carries over to other processes: G1, G5, G7, G10, G15, each with several of them."""

from __future__ import annotations

import asyncio

import pytest

from coalesce_kit import RemoteFetchError, WaitTimeoutError
from tests.fakes import outcomes, start, turns

LONG = 30


async def ends(tasks):
    """Return what the tasks bring; with heartbeats going on for ever, a loop in virtual time is never at rest."""
    return await asyncio.wait_for(outcomes(tasks), 200)


async def test_g01_one_fetch_for_the_fleet(world):
    """Twenty callers in each of five processes make one call, and one publish."""
    processes = world.start(5)
    tasks = start(*(process.odds("nba") for process in processes for _ in range(20)))
    await turns(LONG)
    world.origin.answer("1")
    assert set(await ends(tasks)) == {"1"}
    assert (len(world.origin.calls), world.calls_of("publish")) == (1, 1)


async def test_g01_a_second_fetch_of_the_fleet_only_after_the_lease(world):
    """While the lease is renewed nobody else fetches, however long it takes; when it lapses one process does."""
    holder, *others = world.start(3, max_wait_seconds=100)
    tasks = start(holder.odds("nba"))
    await turns(LONG)
    tasks += start(*(process.odds("nba") for process in others))
    await asyncio.sleep(30)
    assert world.origin.working == 1
    holder.wire.is_cut = True
    await asyncio.sleep(3.5)
    assert world.origin.working == 2
    world.origin.answer("late")
    world.origin.answer("successor's")
    assert await ends(tasks) == ["late", "successor's", "successor's"]


async def test_g05_a_failure_of_the_fleet_is_shared_once(world):
    """All who wait in all processes get the failure of the one fetch; the next call tries again."""
    first, second = world.start(2)
    tasks = start(first.odds("nba"))
    await turns(LONG)
    tasks += start(*(second.odds("nba") for _ in range(3)))
    await turns(LONG)
    world.origin.fail(OSError("down"))
    assert [type(error) for error in await ends(tasks)] == [OSError] + [RemoteFetchError] * 3
    again = start(second.odds("nba"))
    await turns(LONG)
    world.origin.answer("1")
    assert await ends(again) == ["1"]


async def test_g07_the_store_never_serves_what_was_invalidated(world):
    """A fetch that was in the air in another process cannot be published after an invalidation."""
    first, second = world.start(2)
    tasks = start(first.odds("nba"))
    await turns(LONG)
    await second.odds.invalidate("nba")
    world.origin.answer("old")
    assert await ends(tasks) == ["old"]
    await turns(LONG)
    asking = start(first.odds("nba"), second.odds("nba"))
    await turns(LONG)
    world.origin.answer("new")
    assert await ends(asking) == ["new", "new"]


async def test_g07_who_invalidates_waits_for_the_store(world):
    """After ``invalidate`` a process asks the store only when that has been told, however slow the way is."""
    first, second = world.start(2)
    await world.primed("old", second)
    first.wire.held.add("invalidate")
    first.odds.invalidate("nba")
    (task,) = start(first.odds("nba"))
    await turns(LONG)
    assert not task.done()
    first.wire.let_go()
    await turns(LONG)
    world.origin.answer("new")
    assert await task == "new"


async def test_g07_announcements_detach_what_is_in_the_air(world):
    """Who calls after an announcement has arrived does not join a fetch that began before it."""
    first, second = world.start(2)
    tasks = start(first.odds("nba"))
    await turns(LONG)
    await second.odds.invalidate("nba")
    await turns(LONG)
    tasks += start(first.odds("nba"))
    await turns(LONG)
    assert world.origin.working == 2
    world.origin.answer("old")
    world.origin.answer("new")
    assert await ends(tasks) == ["old", "new"]


async def test_g07_local_results_are_not_trusted_longer_than_their_subscription(world):
    """A process that hears nothing serves what another has invalidated for coherence_seconds at most."""
    first, second = world.start(2, ttl=1000, coherence_seconds=2)
    await world.primed("old", first, second)
    second.wire.deaf = True
    await first.odds.invalidate("nba")
    await asyncio.sleep(2.01)
    (task,) = start(second.odds("nba"))
    await turns(LONG)
    world.origin.answer("new")
    assert await task == "new"


async def test_g07_a_fetch_in_the_air_is_not_joined_longer_than_its_subscription(world):
    """A process that hears nothing lets nobody join a fetch that began longer than coherence_seconds ago."""
    first, second = world.start(2, ttl=1000, coherence_seconds=2)
    (early,) = start(second.odds("nba"))
    await turns(LONG)
    second.wire.deaf = True
    await first.odds.invalidate("nba")
    await asyncio.sleep(1.9)
    (joins,) = start(second.odds("nba"))
    await asyncio.sleep(2.0)
    (late,) = start(second.odds("nba"))
    await turns(LONG)
    world.origin.answer("old")
    world.origin.answer("new")
    assert [await task for task in (early, joins, late)] == ["old", "old", "new"]


async def test_g07_tags_reach_the_store(world):
    """What has a tag that was invalidated anywhere is not read from the store by anybody."""
    first, second = world.start(2, tags=("sport",))
    await world.primed("old", first)
    await second.fleet.invalidate_tags(("sport",)).wait()
    (task,) = start(second.odds("nba"))
    await turns(LONG)
    assert world.origin.working == 1
    world.origin.answer("new")
    assert await task == "new"


async def test_g10_a_second_process_does_not_restart_a_lifetime(world):
    """A result expires in the process that found it in the store when it expires in the one that fetched it."""
    first, second = world.start(2, ttl=10)
    await world.primed("1", first)
    await asyncio.sleep(9)
    assert await second.odds("nba") == "1"
    await asyncio.sleep(1.01)
    (task,) = start(second.odds("nba"))
    await turns(LONG)
    assert world.origin.working == 1
    world.origin.answer("2")
    assert await task == "2"


async def test_g15_waiting_for_another_process_is_bounded(world):
    """Every caller in a process that waits for another one is bounded by max_wait_seconds, its first one included."""
    first, second = world.start(2)
    tasks = start(first.odds("nba"))
    await turns(LONG)
    waiting = start(second.odds("nba"), second.odds("nba"))
    began = asyncio.get_running_loop().time()
    for error in await ends(waiting):
        assert isinstance(error, WaitTimeoutError)
    assert asyncio.get_running_loop().time() - began == pytest.approx(5)
    world.origin.answer("1")
    await ends(tasks)


async def test_g15_a_fetch_timeout_runs_from_the_start_of_the_function(world):
    """The time that a process waits for another one is no part of its own fetch's."""
    first, second = world.start(2, fetch_timeout_seconds=4)
    tasks = start(first.odds("nba"))
    await turns(LONG)
    waiting = start(second.odds("nba"))
    await asyncio.sleep(3)
    tasks[0].cancel()
    await asyncio.sleep(3)
    world.origin.answer("2")
    assert await ends(waiting) == ["2"]
    await ends(tasks)
