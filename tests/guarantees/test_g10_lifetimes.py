"""G10: lifetimes count from the end of the fetch, are sealed into the entry once, and need no timer."""

import asyncio
import math
from typing import Any

import pytest

from coalesce_kit import CachePolicy, MemoryCache, coalesced
from coalesce_kit.testing.clock import VirtualClock
from tests.fakes import Origin, after, keeping, start, turns

virtual = pytest.mark.usefixtures("virtual_time")
on_every_loop = pytest.mark.on_every_loop


@virtual
@on_every_loop
async def test_g10_a_ttl_counts_from_the_end_of_the_fetch() -> None:
    """However long the fetch took, its result is fresh for the whole ttl."""

    @coalesced(ttl=10)
    async def odds() -> str:
        await asyncio.sleep(8)
        return "value"

    await odds()
    await asyncio.sleep(9.999)
    assert odds.explain().state == "fresh"
    await asyncio.sleep(0.001)
    assert odds.explain().state == "expired"


@virtual
@on_every_loop
async def test_g10_the_policy_is_asked_when_the_fetch_has_ended() -> None:
    """Once per fetch, however many waited and however often the result is read."""
    asked: list[tuple[float, str]] = []

    def ttl(result: str) -> float:
        asked.append((asyncio.get_running_loop().time(), result))
        return 10

    @coalesced(ttl=ttl)
    async def odds() -> str:
        await asyncio.sleep(3)
        return "value"

    await asyncio.gather(odds(), odds(), odds())
    await odds()

    assert asked == [(3, "value")]


@virtual
@on_every_loop
async def test_g10_nothing_restarts_a_lifetime() -> None:
    """Neither hits, nor peeks, nor stale hits, nor failures move any of its moments but the next try."""
    origin = Origin()
    odds = keeping(origin, policy=CachePolicy(ttl=10, stale_while_revalidate=10, stale_if_error=30))
    await after(origin, "value", odds())
    entry = odds.peek()

    def moments() -> tuple[float, ...]:
        return entry.ended_at, entry.fresh_until, entry.stale_until, entry.fallback_until, entry.usable_until

    sealed = moments()
    for _ in range(39):
        await asyncio.sleep(1)
        (reading,) = start(odds())
        await turns()
        if origin.working:
            origin.fail(OSError())
        assert await reading == "value"
        odds.peek()
        odds.explain()

    assert moments() == sealed == (0, 10, 20, 40, 40)


@virtual
@on_every_loop
async def test_g10_an_entry_that_is_moved_within_its_cache_lives_no_longer() -> None:
    """Being promoted, from one queue to the other, is not being fetched."""
    origin = Origin()
    odds = keeping(origin, ttl=10, cache=MemoryCache(max_entries=10))
    await after(origin, "value", odds("kept"))
    for number in range(200):
        await odds("kept")
        await after(origin, number, odds(number))
    await asyncio.sleep(9)
    assert await odds("kept") == "value"
    await asyncio.sleep(1)

    assert odds.peek("kept") is None


@virtual
@on_every_loop
async def test_g10_each_entry_has_its_own_moments() -> None:
    """What was fetched later ends later."""
    origin = Origin()
    odds = keeping(origin, ttl=10)
    await after(origin, 1, odds("early"))
    await asyncio.sleep(6)
    await after(origin, 2, odds("late"))
    await asyncio.sleep(6)

    assert [odds.peek(key) is None for key in ("early", "late")] == [True, False]


@virtual
@on_every_loop
@pytest.mark.parametrize("policy", [CachePolicy(ttl=math.inf), CachePolicy(ttl=lambda result: math.inf)])
async def test_g10_for_ever_is_for_ever(policy: CachePolicy) -> None:
    """Until it is invalidated or evicted."""
    origin = Origin()
    odds = keeping(origin, policy=policy)
    await after(origin, "value", odds())
    await asyncio.sleep(1e6)

    assert await odds() == "value"
    odds.invalidate()
    assert odds.peek() is None


@virtual
@on_every_loop
async def test_g10_a_ttl_of_nothing_serves_only_the_windows() -> None:
    """With a ttl of 0 a value is stale at once, and its windows count from the end of its fetch."""
    origin = Origin()
    odds = keeping(origin, policy=CachePolicy(ttl=0, stale_while_revalidate=10))
    await after(origin, "one", odds())
    assert odds.explain().state == "stale"
    assert await odds() == "one"
    await turns()
    origin.answer("two")
    await turns()
    await asyncio.sleep(9.9)
    assert odds.peek().value == "two"
    await asyncio.sleep(0.1)

    assert odds.peek() is None


@virtual
@on_every_loop
async def test_g10_a_primed_value_lives_from_its_priming() -> None:
    """It was made elsewhere, and is as fresh as if it had been fetched now."""
    odds = keeping(Origin(), ttl=10)
    await asyncio.sleep(100)
    odds.prime("value")
    await asyncio.sleep(9.9)
    assert await odds() == "value"
    await asyncio.sleep(0.1)

    assert odds.peek() is None


@virtual
@on_every_loop
async def test_g10_a_remembered_failure_lives_from_the_end_of_its_fetch() -> None:
    """Its time counts like a value's, and being raised does not renew it."""

    @coalesced(policy=CachePolicy(error_ttl={LookupError: 10}))
    async def odds() -> None:
        await asyncio.sleep(5)
        raise LookupError

    for _ in range(10):
        with pytest.raises(LookupError):
            await odds()
        await asyncio.sleep(0.99)
    assert odds.stats().fetches == 1
    await asyncio.sleep(0.2)

    assert odds.peek() is None


@virtual
@on_every_loop
async def test_g10_there_is_no_timer_per_key() -> None:
    """A thousand results that are kept arm nothing."""

    @coalesced(policy=CachePolicy(ttl=10, stale_while_revalidate=10, refresh_ahead=0.5))
    async def odds(number: int) -> int:
        return number

    for number in range(1000):
        await odds(number)
    loop: Any = asyncio.get_running_loop()

    assert [timer for timer in loop._scheduled if not timer.cancelled()] == []
    assert odds.stats().cached_entries == 1000


def test_g10_a_clock_that_stands_still_expires_nothing() -> None:
    """Whatever the wall clock does in between: only the package's own clock is asked."""
    time = VirtualClock(1000.0)
    odds = keeping(Origin(), ttl=10)
    with time:
        odds.prime("value")
        assert asyncio.run(odds()) == "value"
        time.advance(9.99)
        assert asyncio.run(odds()) == "value"
        time.advance(0.01)
        assert odds.explain().state == "expired"
