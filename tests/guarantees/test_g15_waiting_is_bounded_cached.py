"""G15, with a cache: a waiter whose wait is over gets the stale value if policy allows one, else the error."""

import asyncio
from typing import Any

import pytest

from coalesce_kit import CachePolicy, FetchTimeoutError, WaitTimeoutError
from tests.fakes import Origin, after, keeping, outcomes, start, turns

pytestmark = [pytest.mark.usefixtures("virtual_time"), pytest.mark.on_every_loop]


def now() -> float:
    return asyncio.get_running_loop().time()


async def timed(call: Any) -> tuple[float, Any]:
    began = now()
    (end,) = await asyncio.gather(call, return_exceptions=True)
    return round(now() - began, 6), end


async def test_g15_a_wait_that_is_over_ends_with_the_stale_value() -> None:
    """Each waiter after its own time; the leader waits on, and its answer is kept."""
    origin = Origin()
    odds = keeping(origin, policy=CachePolicy(ttl=10, stale_if_error=100), max_wait_seconds=5)
    await after(origin, "old", odds())
    await asyncio.sleep(11)
    leader, early = start(timed(odds()), timed(odds()))
    await asyncio.sleep(2)
    (late,) = start(timed(odds()))

    assert await outcomes([early, late]) == [(5, "old"), (5, "old")]
    origin.answer("new")
    assert await leader == (7, "new")
    assert await odds() == "new"
    numbers = odds.stats()
    assert (numbers.coalesced_requests, numbers.wait_timeouts, numbers.stale_hits) == (2, 2, 0)
    assert numbers.total_requests == 5


async def test_g15_without_a_stale_value_it_is_an_error() -> None:
    """Nothing is kept, or what is kept has expired by the time the wait is over."""
    origin = Origin()
    odds = keeping(origin, policy=CachePolicy(ttl=10, stale_if_error=4), max_wait_seconds=5)
    await after(origin, "old", odds())
    await asyncio.sleep(11)
    leader, waiter = start(odds(), timed(odds()))
    seconds, end = await waiter

    assert (seconds, type(end)) == (5, WaitTimeoutError)
    origin.answer("new")
    await leader


async def test_g15_what_is_always_raised_is_raised() -> None:
    """``always_raise=TimeoutError`` asks for the error rather than the stale value."""
    origin = Origin()
    policy = CachePolicy(ttl=10, stale_if_error=100, always_raise=TimeoutError)
    odds = keeping(origin, policy=policy, max_wait_seconds=5)
    await after(origin, "old", odds())
    await asyncio.sleep(11)
    leader, waiter = start(odds(), timed(odds()))

    assert type((await waiter)[1]) is WaitTimeoutError
    origin.answer("new")
    await leader


async def test_g15_a_timed_out_fetch_ends_with_the_stale_value() -> None:
    """For leader and waiters, at once; what a zombie brings later is dropped."""
    origin = Origin()
    odds = keeping(origin, policy=CachePolicy(ttl=10, stale_if_error=100), fetch_timeout_seconds=3)
    await after(origin, "old", odds())
    await asyncio.sleep(11)

    assert await outcomes(start(timed(odds()), timed(odds()))) == [(3, "old"), (3, "old")]
    assert odds.stats().fetch_timeouts == 1


async def test_g15_a_fetch_timeout_is_an_error_where_nothing_is_kept() -> None:
    """Without an old value its callers get ``FetchTimeoutError``."""
    odds = keeping(Origin(), policy=CachePolicy(ttl=10, stale_if_error=100), fetch_timeout_seconds=3)

    assert [type(end) for _, end in await outcomes(start(timed(odds()), timed(odds())))] == [FetchTimeoutError] * 2


async def test_g15_a_stale_reader_waits_no_longer_than_policy_says() -> None:
    """Leader or waiter, ``stale_wait_seconds`` bounds both; without it they do not wait at all."""
    origin = Origin()
    policy = CachePolicy(ttl=10, stale_while_revalidate=100, stale_wait_seconds=2)
    odds, at_once = (
        keeping(origin, policy=policy),
        keeping(origin, policy=CachePolicy(ttl=10, stale_while_revalidate=100)),
    )
    for one in (odds, at_once):
        await after(origin, "old", one())
    await asyncio.sleep(11)

    ends = await outcomes(start(timed(odds()), timed(odds()), timed(at_once())))
    assert ends == [(2, "old"), (2, "old"), (0, "old")]
    while origin.working:
        origin.answer("new")
    await turns()
