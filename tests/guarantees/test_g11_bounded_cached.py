"""G11, with a cache: it is bounded by default, flights are not a part of it, and nothing else stays."""

import asyncio
import gc
import weakref
from typing import Any

import pytest

import coalesce_kit
from coalesce_kit import CachePolicy, MemoryCache, RequestCoalescer, coalesced
from tests.fakes import Origin, after, keeping, outcomes, start, turns

on_every_loop = pytest.mark.on_every_loop


@on_every_loop
async def test_g11_results_are_bounded_by_default() -> None:
    """A function with a ttl keeps 1024 results, and counts what it drops."""

    @coalesced(ttl=1000)
    async def odds(number: int) -> int:
        return number

    for number in range(5000):
        await odds(number)

    numbers = odds.stats()
    assert (numbers.cached_entries, numbers.evictions) == (1024, 5000 - 1024)


@on_every_loop
async def test_g11_flights_live_outside_the_cache() -> None:
    """More keys in flight than the cache has room for: each is still one fetch for all its callers."""
    origin = Origin()
    odds = keeping(origin, ttl=1000, cache=MemoryCache(max_entries=2))
    callers = start(*(odds(number) for _ in range(3) for number in range(20)))
    await turns()
    assert len(origin.calls) == 20
    for number in range(20):
        origin.answer(number)

    assert await outcomes(callers) == [*range(20)] * 3
    assert odds.stats().cached_entries == 2


class Thing:
    """Something that can be weakly referenced."""


@on_every_loop
@pytest.mark.parametrize("how", ["dropped", "refused by cache_if", "too large", "raised"])
async def test_g11_nothing_remains_of_what_is_not_kept(how: str) -> None:
    """Neither the argument, nor the result, nor a ticket, nor an entry: only a reason, for whoever asks."""
    policy = CachePolicy(ttl=1000, cache_if=lambda result: how != "refused by cache_if")
    size = 2 if how == "too large" else 1

    thing = Thing()
    reference = weakref.ref(thing)

    cache = MemoryCache(max_bytes=1, size_of=lambda result: size)

    @coalesced(key=lambda thing: "key", policy=policy, cache=cache)
    async def by_key(thing: Thing) -> Thing:
        if how == "raised":
            raise LookupError
        return thing

    tasks = start(by_key(thing), by_key(thing))
    await outcomes(tasks)
    assert by_key.stats().total_requests == 2
    by_key.invalidate(thing)
    workings: Any = by_key.__coalesced__  # type: ignore[attr-defined]
    assert len(workings._tickets) == 0
    assert by_key.stats().cached_entries == 0
    del thing, tasks
    await turns()
    gc.collect()

    assert reference() is None


@on_every_loop
async def test_g11_invalidating_and_loading_again_leaves_nothing() -> None:
    """A thousand times over: one entry, no ticket, no flight."""
    origin = Origin()
    odds = keeping(origin, ttl=1000, tags=("odds",))
    for number in range(1000):
        (caller,) = start(odds())
        await turns(3)
        if number % 3 == 0:
            odds.invalidate()
        elif number % 3 == 1:
            coalesce_kit.invalidate_tags("odds")
        origin.answer(number)
        await caller
        coalesce_kit.invalidate_tags("odds")

    workings = odds.__coalesced__
    assert len(workings._tickets) == 0
    assert odds.stats().cached_entries <= 1
    assert workings._keeping._shelf.tags._live == {}


@pytest.mark.usefixtures("virtual_time")
@on_every_loop
async def test_g11_expired_results_make_room_by_themselves() -> None:
    """Each publish looks at two more entries: what has expired is gone when as many again have been published."""

    @coalesced(ttl=10, cache=MemoryCache(max_entries=10_000))
    async def odds(number: int) -> int:
        return number

    for number in range(500):
        await odds(number)
    await asyncio.sleep(11)
    for number in range(500, 1100):
        await odds(number)

    assert odds.stats().cached_entries == 600
    assert odds.stats().evictions == 0


@on_every_loop
async def test_g11_a_function_that_dies_leaves_a_shared_cache() -> None:
    """What it kept is reclaimed by the cache's own bound; the function itself is not held by it."""
    cache = MemoryCache(max_entries=10)
    backend = RequestCoalescer()
    origin = Origin()
    odds = keeping(origin, ttl=1000, cache=cache, backend=backend)
    await after(origin, "value", odds())
    reference = weakref.ref(odds)
    del odds
    gc.collect()

    assert reference() is None
    other = keeping(origin, ttl=1000, cache=cache, backend=backend)
    for number in range(30):
        await after(origin, number, other(number))
    assert len(cache) == 10
