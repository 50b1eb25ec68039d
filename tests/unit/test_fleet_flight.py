"""One call fleet-wide: several simulated processes over one server, in virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from coalesce_kit import CachePolicy, RemoteFetchError, WaitTimeoutError
from tests.fakes import outcomes, start, turns

LONG = 30
"""Turns in which everything that can happen without the origin, and without time passing, has happened."""


async def test_a_crowd_in_four_processes_makes_one_call(world):
    """Everybody gets the answer of the one call, and the next callers find it in their own process."""
    processes = world.start(4)
    tasks = start(*(process.odds("nba") for process in processes for _ in range(25)))
    await turns(LONG)
    assert world.origin.calls == [("nba",)]
    world.origin.answer("2.5")
    assert set(await outcomes(tasks)) == {"2.5"}
    asked = sum(world.server.calls.values())
    assert {await process.odds("nba") for process in processes} == {"2.5"}
    assert (len(world.origin.calls), sum(world.server.calls.values())) == (1, asked)


async def test_a_lead_asks_twice_and_a_waiter_once(world):
    """Once its process knows the tags, a lead is an acquire and a publish, a wait and a hit an acquire."""
    first, second = world.start(2)
    await world.primed("1", first, second, league="warm up")
    first.wire.asked.clear()
    second.wire.asked.clear()
    tasks = start(first.odds("nba"))
    await turns(LONG)
    tasks += start(second.odds("nba"))
    await turns(LONG)
    world.origin.answer("2.5")
    await outcomes(tasks)
    assert first.wire.asked == ["acquire", "publish"]
    assert second.wire.asked == ["acquire"]
    (third,) = world.start(1)
    await world.primed("1", third, league="warm up")
    third.wire.asked.clear()
    assert await third.odds("nba") == "2.5"
    assert third.wire.asked == ["acquire"]
    assert third.numbers.store_hits == 2


async def test_a_waiter_in_another_process_is_bounded(world):
    """The first caller there, who leads in its own process, waits as long as max_wait_seconds and no longer."""
    first, second = world.start(2)
    tasks = start(first.odds("nba"))
    await turns(LONG)
    began = asyncio.get_running_loop().time()
    with pytest.raises(WaitTimeoutError, match="another process is fetching"):
        await second.odds("nba")
    assert asyncio.get_running_loop().time() - began == pytest.approx(5.0)
    assert second.numbers.wait_timeouts == 1
    world.origin.answer("late")
    assert await tasks[0] == "late"


async def test_the_caller_whose_process_fetches_is_not_bounded(world):
    """A leader that has the lease waits for its own fetch, however long that takes; the lease is renewed."""
    (only,) = world.start(1)
    tasks = start(only.odds("nba"))
    await asyncio.sleep(20)
    world.origin.answer("slow")
    assert await tasks[0] == "slow"
    assert only.numbers.lease_renewals >= 18
    assert only.numbers.leases_lapsed == 0


async def test_a_short_fetch_is_never_renewed(world):
    """Only leases older than a third of their length are renewed."""
    (only,) = world.start(1)
    tasks = start(only.odds("nba"))
    await asyncio.sleep(0.9)
    world.origin.answer("quick")
    await tasks[0]
    assert world.calls_of("renew") == 0


async def test_a_dead_holder_is_succeeded_by_one(world):
    """When its lease has lapsed, one of those who wait fetches, and all have the answer."""
    dead, *others = world.start(4)
    tasks = start(dead.odds("nba"))
    await turns(LONG)
    waiting = start(*(process.odds("nba") for process in others for _ in range(5)))
    await turns(LONG)
    await dead.die()
    await outcomes(tasks)
    began = asyncio.get_running_loop().time()
    while not world.origin.working:
        await asyncio.sleep(0.01)
    assert 2.9 <= asyncio.get_running_loop().time() - began <= 3.1
    await asyncio.sleep(0.1)
    assert len(world.origin.calls) == 2
    world.origin.answer("successor's")
    assert set(await outcomes(waiting)) == {"successor's"}
    assert sum(process.numbers.wait_timers for process in others) == 3


async def test_an_orderly_end_hands_the_lease_on_at_once(world):
    """A process that closes abandons its lease, and another one fetches without waiting for the lease to lapse."""
    first, second = world.start(2)
    tasks = start(first.odds("nba"))
    await turns(LONG)
    waiting = start(second.odds("nba"))
    await turns(LONG)
    await first.fleet.aclose(deadline_seconds=0)
    await turns(LONG)
    assert len(world.origin.calls) == 2
    world.origin.answer("second's")
    assert await waiting[0] == "second's"
    await outcomes(tasks)


async def test_the_last_caller_who_leaves_gives_the_lease_back(world):
    """A fetch that is cancelled with its last caller abandons its lease."""
    first, second = world.start(2)
    tasks = start(first.odds("nba"))
    await turns(LONG)
    tasks[0].cancel()
    await outcomes(tasks)
    await turns(LONG)
    assert world.calls_of("abandon") == 1
    waiting = start(second.odds("nba"))
    await turns(LONG)
    world.origin.answer("2.5")
    assert await waiting[0] == "2.5"


async def test_a_late_publish_is_refused_after_a_successor(world):
    """A holder whose lease somebody else has taken answers its own callers, and neither the fleet nor its cache."""
    slow, second = world.start(2)
    await world.primed("1", slow, second, league="warm up")
    tasks = start(slow.odds("nba"))
    await turns(LONG)
    slow.wire.is_cut = True  # it cannot renew
    await asyncio.sleep(3.2)
    slow.wire.is_cut = False
    waiting = start(second.odds("nba"))
    await turns(LONG)
    assert world.origin.working == 2
    world.origin.answer("slow one's")
    assert await tasks[0] == "slow one's"
    world.origin.answer("successor's")
    assert await waiting[0] == "successor's"
    assert slow.numbers.fenced_publishes == 1
    assert await slow.odds("nba") == "successor's"


async def test_a_late_publish_that_nobody_stands_against_is_accepted(world):
    """A lapsed lease that nobody has taken is still good for a publish."""
    slow, second = world.start(2)
    await world.primed("1", slow, second, league="warm up")
    tasks = start(slow.odds("nba"))
    await turns(LONG)
    slow.wire.lost_questions += ["renew"] * 3
    await asyncio.sleep(3.2)
    world.origin.answer("late")
    assert await tasks[0] == "late"
    assert await second.odds("nba") == "late"
    assert len(world.origin.calls) == 2


async def test_a_signal_that_overtakes_the_answer_is_kept(world):
    """The message that a lease has ended may be there before the answer that says to wait for it."""
    first, second = world.start(2)
    await world.primed("1", first, second, league="warm up")
    tasks = start(first.odds("nba"))
    await turns(LONG)
    second.wire.held_answers.add("acquire")
    waiting = start(second.odds("nba"))
    await turns(LONG)
    world.origin.answer("2.5")
    await outcomes(tasks)
    await turns(LONG)
    second.wire.let_go()
    await turns(LONG)
    assert await waiting[0] == "2.5"
    assert (second.numbers.wakeups_early, second.numbers.wait_timers) == (1, 0)


async def test_a_lost_message_costs_a_lease_and_no_more(world):
    """Who is not told asks again when the lease would have lapsed, and finds the answer."""
    first, second = world.start(2)
    await world.primed("1", first, second, league="warm up")
    tasks = start(first.odds("nba"))
    await turns(LONG)
    waiting = start(second.odds("nba"))
    await turns(LONG)
    second.wire.deaf = True
    world.origin.answer("2.5")
    await outcomes(tasks)
    began = asyncio.get_running_loop().time()
    assert await waiting[0] == "2.5"
    assert asyncio.get_running_loop().time() - began <= 3.1
    assert len(world.origin.calls) == 2


async def test_a_large_result_is_asked_for(world):
    """A result too large for a message costs who waited one more question."""
    first, second = world.start(2)
    await world.primed("1", first, second, league="warm up")
    tasks = start(first.odds("nba"))
    await turns(LONG)
    tasks += start(second.odds("nba"))
    await turns(LONG)
    second.wire.asked.clear()
    world.origin.answer("x" * 5000)
    assert set(await outcomes(tasks)) == {"x" * 5000}
    assert second.wire.asked == ["acquire"]


async def test_a_failure_reaches_those_who_waited_and_nobody_else(world):
    """Waiters elsewhere get it as a RemoteFetchError; who comes afterwards tries again."""
    first, second = world.start(2)
    tasks = start(first.odds("nba"))
    await turns(LONG)
    tasks += start(second.odds("nba"), second.odds("nba"))
    await turns(LONG)
    world.origin.fail(LookupError("no such league"))
    errors = await outcomes(tasks)
    assert [type(error) for error in errors] == [LookupError, RemoteFetchError, RemoteFetchError]
    assert errors[1].type_name == "builtins.LookupError"
    assert "no such league" not in str(errors[1])
    again = start(second.odds("nba"))
    await turns(LONG)
    world.origin.answer("2.5")
    assert await again[0] == "2.5"
    assert len(world.origin.calls) == 2


async def test_a_declared_failure_is_rebuilt(world):
    """Waiters elsewhere get a failure that the backend lists as what it is."""
    first, second = world.start(2, shared_errors=(LookupError,))
    tasks = start(first.odds("nba"))
    await turns(LONG)
    tasks += start(second.odds("nba"))
    await turns(LONG)
    world.origin.fail(LookupError("no such league"))
    assert [repr(error) for error in await outcomes(tasks)] == ["LookupError('no such league')"] * 2


async def test_a_remembered_failure_is_an_entry(world):
    """What error_ttl has remembered is found by every process, and raised."""
    first, second = world.start(2, policy=CachePolicy(ttl=30, error_ttl={LookupError: 10}))
    tasks = start(first.odds("nba"))
    await turns(LONG)
    world.origin.fail(LookupError("no such league"))
    await outcomes(tasks)
    with pytest.raises(LookupError, match="no such league"):
        await second.odds("nba")
    assert len(world.origin.calls) == 1


async def test_a_result_that_is_not_kept_is_for_those_who_waited(world):
    """Without a ttl one call serves everybody who waits, in every process, and the next caller causes another."""
    first, second = world.start(2, ttl=None)
    tasks = start(first.odds("nba"))
    await turns(LONG)
    tasks += start(second.odds("nba"))
    await turns(LONG)
    world.origin.answer("1")
    assert await outcomes(tasks) == ["1", "1"]
    again = start(second.odds("nba"))
    await turns(LONG)
    assert len(world.origin.calls) == 2
    world.origin.answer("2")
    assert await again[0] == "2"


async def test_lifetimes_are_not_lengthened_on_the_way(world):
    """A result that another process has fetched expires here when it does there, or a little earlier."""
    first, second = world.start(2)
    await world.primed("1", first)
    await asyncio.sleep(20)
    assert await second.odds("nba") == "1"
    await asyncio.sleep(9.5)
    assert await second.odds("nba") == "1"
    await asyncio.sleep(0.6)
    tasks = start(second.odds("nba"))
    await turns(LONG)
    assert len(world.origin.calls) == 2
    world.origin.answer("2")
    await outcomes(tasks)


async def test_an_unsharable_result_is_for_its_own_process(world, caplog):
    """A result that is too large is given to the callers here; the others fetch, and nothing waits for ever."""
    first, second = world.start(2, max_body_bytes=200)
    tasks = start(first.odds("nba"))
    await turns(LONG)
    tasks += start(second.odds("nba"))
    await turns(LONG)
    world.origin.answer("x" * 300)
    await turns(LONG)
    world.origin.answer("y" * 300)
    assert await outcomes(tasks) == ["x" * 300, "y" * 300]
    assert first.numbers.unshared_results == 1
    assert "result_not_shared" in caplog.text


async def test_bytes_that_are_not_ours_are_replaced(world):
    """A record that somebody else has written is a miss, counted, and overwritten."""
    first, second = world.start(2)
    await world.primed("1", first)
    (record,) = world.server._records.values()
    record.body = b"garbage"
    tasks = start(second.odds("nba"))
    await turns(LONG)
    world.origin.answer("2")
    assert await tasks[0] == "2"
    assert second.numbers.unreadable_records == 1
    (third,) = world.start(1)
    assert await third.odds("nba") == "2"


async def test_every_call_is_counted_once(world):
    """The sum of requests holds in every process, whoever fetched."""
    processes = world.start(3)
    tasks = start(*(process.odds("nba") for process in processes for _ in range(4)))
    await turns(LONG)
    world.origin.answer("1")
    await outcomes(tasks)
    for process in processes:
        await process.odds("nba")
    numbers = [process.numbers for process in processes]
    assert [one.total_requests for one in numbers] == [5, 5, 5]
    assert Counter(one.fetches for one in numbers) == {1: 1, 0: 2}
    assert Counter(one.store_waits for one in numbers) == {0: 1, 1: 2}
    assert [one.wakeups + one.wakeups_early for one in numbers] == [one.store_waits for one in numbers]
