"""What is kept of what was fetched, where, under which tags, and what each caller receives."""

import asyncio
import logging
from typing import Any

import cachetools
import pytest

import coalesce_kit
from coalesce_kit import (
    CachePolicy,
    MemoryCache,
    RequestCoalescer,
    UnshareableResultError,
    coalesced,
)
from tests.fakes import Origin, after, keeping, outcomes, start, turns

virtual = pytest.mark.usefixtures("virtual_time")
on_every_loop = pytest.mark.on_every_loop

SWR = CachePolicy(ttl=10, stale_while_revalidate=20)
FALLBACK = CachePolicy(ttl=10, stale_if_error=100)


class Down(Exception):
    """The upstream is down."""


class NotFound(Exception):
    """The upstream says that there is no such thing."""


class Forbidden(Exception):
    """The upstream says no."""


# ---- what is kept ----


@virtual
@on_every_loop
@pytest.mark.parametrize("value", [None, False, 0, 0.0, "", b"", [], {}, ()], ids=repr)
async def test_every_value_is_kept(value: Any) -> None:
    """What counts as false is a value like any other."""
    origin = Origin()
    odds = keeping(origin, ttl=10)
    await after(origin, value, odds())

    assert await odds() is value
    assert odds.stats().fetches == 1


@virtual
@on_every_loop
async def test_what_is_kept_knows_how_long_its_fetch_took() -> None:
    """``fetch_seconds`` of an entry are those of the fetch, and not of anything before it."""
    origin = Origin()
    odds = keeping(origin, ttl=10)
    await asyncio.sleep(100)
    (caller,) = start(odds())
    await asyncio.sleep(3)
    origin.answer()
    await caller

    assert odds.peek().fetch_seconds == 3


@virtual
@on_every_loop
async def test_a_coalescer_that_takes_no_ticket_keeps_nothing() -> None:
    """One that never calls ``reserve``: nobody could void what it brings, so that is delivered and not kept."""

    class WithoutTickets(RequestCoalescer):
        async def get_or_fetch(self, cache_key: Any, fetch_fn: Any, **_: Any) -> Any:
            entry = await fetch_fn()
            assert entry.tags == ()
            return entry

    origin = Origin()
    odds = keeping(origin, ttl=10, tags=("odds",), backend=WithoutTickets())
    assert await after(origin, "one", odds()) == "one"
    assert await after(origin, "two", odds()) == "two"

    assert odds.peek() is None


@virtual
@on_every_loop
async def test_why_nothing_was_kept_is_forgotten_when_something_is() -> None:
    """``explain`` speaks of the last result alone, also when that one is of no use any more."""
    origin = Origin()
    odds = keeping(origin, policy=CachePolicy(ttl=10, cache_if=bool))
    await after(origin, 0, odds())
    assert "cache_if" in str(odds.explain())
    await after(origin, 1, odds())
    await asyncio.sleep(20)

    assert odds.explain().notes == ()


@virtual
@on_every_loop
async def test_what_can_be_used_only_once_is_not_kept() -> None:
    """Nobody gets a generator that others get too; each caller is told, and ``explain`` says why nothing is kept."""
    origin = Origin()
    odds = keeping(origin, ttl=10)
    callers = start(odds(), odds())
    await turns()
    origin.answer(number for number in range(3))

    assert [type(end) for end in await outcomes(callers)] == [UnshareableResultError] * 2
    assert odds.peek() is None
    assert "used only once" in str(odds.explain())


@virtual
@on_every_loop
async def test_cache_if_decides_what_is_kept() -> None:
    """What it refuses is delivered to all who waited, and not kept."""
    origin = Origin()
    odds = keeping(origin, policy=CachePolicy(ttl=10, cache_if=lambda result: result is not None))
    assert await after(origin, None, odds(), odds()) == [None, None]
    assert odds.peek() is None
    assert "cache_if" in odds.explain().notes[0]
    assert await after(origin, 1, odds()) == 1
    assert odds.explain().notes == ()

    assert await odds() == 1
    assert odds.stats().fetches == 2


@virtual
@on_every_loop
async def test_a_ttl_may_be_a_function_of_the_result() -> None:
    """Each result has the lifetime that it asks for; 0 is none."""
    origin = Origin()
    odds = keeping(origin, ttl=lambda result: result)
    for seconds in (5, 50, 0):
        await after(origin, seconds, odds(seconds))

    assert [odds.peek(seconds) and odds.explain(seconds).fresh_seconds_left for seconds in (5, 50, 0)] == [5, 50, None]


@virtual
@on_every_loop
async def test_jitter_only_shortens() -> None:
    """Lifetimes are spread between the shortened ttl and the ttl, and no further."""

    @coalesced(policy=CachePolicy(ttl=100, jitter=0.2))
    async def odds(number: int) -> int:
        return number

    lifetimes = []
    for number in range(200):
        await odds(number)
        lifetimes.append(odds.explain(number).fresh_seconds_left)

    assert 80 <= min(lifetimes) < 85
    assert 95 < max(lifetimes) <= 100


BROKEN: dict[str, dict[str, Any]] = {
    "ttl": {"policy": CachePolicy(ttl=lambda result: 1 / 0)},
    "what ttl returns": {"policy": CachePolicy(ttl=lambda result: -1)},
    "cache_if": {"policy": CachePolicy(ttl=10, cache_if=lambda result: 1 / 0)},
    "size_of": {"ttl": 10, "cache": MemoryCache(max_bytes=100, size_of=lambda result: 1 / 0)},
    "what size_of returns": {"ttl": 10, "cache": MemoryCache(max_bytes=100, size_of=lambda result: -1)},
    "tag": {"ttl": 10, "tags": ("league:{league.name}",)},
}


@virtual
@on_every_loop
@pytest.mark.parametrize("options", BROKEN.values(), ids=BROKEN)
async def test_a_callable_that_raises_costs_nobody_the_value(
    options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """The value is delivered to all, not kept, counted every time, and logged once per function."""
    origin = Origin()
    odds = keeping(origin, **options)
    for _ in range(2):
        with caplog.at_level(logging.ERROR):
            assert await after(origin, "value", odds()) == "value"

    numbers = odds.stats()
    assert (numbers.policy_errors, numbers.fetches, numbers.fetch_errors, numbers.cached_entries) == (2, 2, 0, 0)
    assert [record.message.split(":")[0] for record in caplog.records] == ["policy_error"]
    assert "value" not in caplog.records[0].getMessage().split(":", 1)[1].split("raised")[0]


@virtual
@on_every_loop
async def test_a_fetch_whose_tags_cannot_be_told_is_not_joined_once_it_runs() -> None:
    """Nobody could say whether an invalidation was meant for it."""
    origin = Origin()
    odds = keeping(origin, ttl=10, tags=("league:{league.name}",))
    first = start(odds())
    await turns()
    later = start(odds())
    await turns()
    assert origin.working == 2
    origin.answer("one")
    origin.answer("two")

    assert await outcomes([*first, *later]) == ["one", "two"]


@virtual
@on_every_loop
async def test_a_result_that_is_too_large_is_served_and_counted() -> None:
    """It is delivered, not kept, no error, and ``explain`` says why."""
    origin = Origin()
    odds = keeping(origin, ttl=10, cache=MemoryCache(max_bytes=10, size_of=len))
    assert await after(origin, b"x" * 11, odds()) == b"x" * 11

    assert odds.peek() is None
    assert odds.stats().oversized_results == 1
    assert odds.explain().notes == ("the last result was not kept: it is larger than the cache",)
    await after(origin, b"x" * 10, odds())
    assert await odds() == b"x" * 10


# ---- copy ----


@virtual
@on_every_loop
@pytest.mark.parametrize("policy", [None, SWR], ids=["coalescing", "caching"])
async def test_every_caller_receives_a_copy(policy: CachePolicy | None) -> None:
    """What one caller does to its result, no other sees, whichever way it came."""
    origin = Origin()
    odds = keeping(origin, copy=list, policy=policy)
    answers = await after(origin, [1], odds(), odds())
    if policy is not None:
        answers.append(await odds())
        await asyncio.sleep(11)
        answers.append(await odds())
        await turns()
        origin.answer([1])
        await turns()
        answers.append(await after(origin, [1], odds.refresh()))
    for answer in answers:
        answer.append("mine")
    assert answers == [[1, "mine"]] * len(answers)

    if policy is not None:
        assert await odds() == [1]
        kept = [2]
        odds.prime(kept)
        (await odds()).append("mine")
        assert kept == [2]


# ---- caches ----


@virtual
@on_every_loop
async def test_functions_that_share_a_cache_share_no_results() -> None:
    """Two functions of one name and one key in one cache: each finds its own, and drops its own."""
    cache = MemoryCache(max_entries=10)
    one_origin, other_origin = Origin(), Origin()
    one = keeping(one_origin, ttl=10, cache=cache, key="{league}")
    other = keeping(other_origin, ttl=10, cache=cache, key="{league}")
    await after(one_origin, "one", one("nba"))
    await after(other_origin, "other", other("nba"))

    assert (await one("nba"), await other("nba")) == ("one", "other")
    assert (len(cache), one.stats().cached_entries, other.stats().cached_entries) == (2, 1, 1)
    one.invalidate_all()
    assert one.peek("nba") is None
    assert await other("nba") == "other"


CACHES: dict[str, Any] = {
    "LRU": lambda: cachetools.LRUCache(10),
    "LFU": lambda: cachetools.LFUCache(10),
    "FIFO": lambda: cachetools.FIFOCache(10),
    "RR": lambda: cachetools.RRCache(10),
    "TTL": lambda: cachetools.TTLCache(10, 1000),
    "TLRU": lambda: cachetools.TLRUCache(10, ttu=lambda key, entry, now: now + 1000),
}


@virtual
@on_every_loop
@pytest.mark.parametrize("make", CACHES.values(), ids=CACHES)
async def test_any_cachetools_cache_will_do(make: Any) -> None:
    """Hits, bounds, invalidation, tags and stale values work on any of them."""
    origin = Origin()
    cache = MemoryCache(cache=make())
    odds = keeping(origin, policy=SWR, cache=cache, tags=("odds",))
    await after(origin, "one", odds("nba"))
    assert await odds("nba") == "one"
    odds.invalidate("nba")
    await after(origin, "two", odds("nba"))
    coalesce_kit.invalidate_tags("odds")
    await after(origin, "three", odds("nba"))
    await asyncio.sleep(11)
    assert await odds("nba") == "three"
    await turns()
    origin.answer("four")
    await turns()
    assert await odds("nba") == "four"
    for number in range(20):
        await after(origin, number, odds(number))

    assert len(cache) == 10
    numbers = odds.stats()
    assert (numbers.cache_hits, numbers.stale_hits, numbers.cached_entries, numbers.evictions) == (2, 1, 10, 11)


# ---- tags ----


@virtual
@on_every_loop
async def test_a_tag_reaches_every_key_that_has_it() -> None:
    """What has the tag is found dead, fresh or stale, of every function; what has not, stays."""
    origin = Origin()
    odds = keeping(origin, policy=SWR, tags=("odds", "league:{league}"))
    scores = keeping(origin, policy=SWR, tags=("league:{league}",))
    for league in ("nba", "nfl"):
        await after(origin, "old", odds(league))
        await after(origin, "old", scores(league))
    coalesce_kit.invalidate_tags("league:nba")
    assert [call.peek(league) is None for call in (odds, scores) for league in ("nba", "nfl")] == [True, False] * 2
    await asyncio.sleep(11)
    coalesce_kit.invalidate_tags("odds", "something else")

    assert odds.peek("nfl") is None
    assert scores.peek("nfl").value == "old"
    assert await after(origin, "new", odds("nfl")) == "new"


@virtual
@on_every_loop
async def test_a_stale_value_is_not_served_after_its_tag_was_invalidated() -> None:
    """Neither at once, nor on an error."""
    origin = Origin()
    policy = CachePolicy(ttl=10, stale_while_revalidate=100, stale_if_error=100)
    odds = keeping(origin, policy=policy, tags=("odds",))
    await after(origin, "old", odds())
    await asyncio.sleep(11)
    coalesce_kit.invalidate_tags("odds")
    (caller,) = start(odds())
    await turns()
    origin.fail(Down())

    with pytest.raises(Down):
        await caller


@virtual
@on_every_loop
async def test_a_hit_after_an_invalidation_of_another_tag_costs_one_question() -> None:
    """It is asked once whether the tags of an entry have moved, and then it is a hit in line again."""
    origin = Origin()
    odds = keeping(origin, ttl=1000, tags=("league:{league}",))
    await after(origin, "old", odds("nba"))
    entry = odds.peek("nba")
    coalesce_kit.invalidate_tags("league:nfl")
    assert await odds("nba") == "old"
    epoch = entry.epoch
    assert await odds("nba") == "old"

    assert entry.epoch == epoch > 0
    assert odds.stats().cache_hits == 2


async def test_a_million_tags_are_bounded() -> None:
    """The table does not grow with the tags; one that is forgotten raises a floor, and nothing old comes back."""
    origin = Origin()
    odds = keeping(origin, ttl=1000, tags=("league:{league}",))
    await after(origin, "old", odds("first"))
    coalesce_kit.invalidate_tags("league:first")
    numbers = iter(range(1_000_000))
    for _ in range(1000):
        coalesce_kit.invalidate_tags(*(f"league:{next(numbers)}" for _ in range(1000)))
    tags = odds.__coalesced__._keeping._shelf.tags

    assert len(tags) <= 4096
    assert odds.peek("first") is None
    await after(origin, "new", odds("first"))
    assert await odds("first") == "new"


@on_every_loop
async def test_a_task_group_inside_that_failed_hinders_no_keeping() -> None:
    """A function that gets over the failure of a group of its own is not taken for one that was told to stop."""

    async def failing() -> None:
        await asyncio.sleep(0)
        raise KeyError

    @coalesced(ttl=1000)
    async def odds() -> str:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(failing())
        except* KeyError:
            pass
        return "value"

    await odds()
    assert odds.peek().value == "value"
