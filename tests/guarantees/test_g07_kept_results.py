"""G7, keeping: no call that begins after an invalidation gets a value whose fetch began before it, in whatever way."""

import asyncio
import threading
from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest

import coalesce_kit
from coalesce_kit import CachePolicy, RequestCoalescer, coalesced
from tests.fakes import Origin, after, keeping, outcomes, start, turns

virtual = pytest.mark.usefixtures("virtual_time")
on_every_loop = pytest.mark.on_every_loop

EVERYTHING = CachePolicy(ttl=10, stale_while_revalidate=100, stale_if_error=1000)

WAYS: dict[str, Callable[[Any], Any]] = {
    "invalidate": lambda odds: odds.invalidate("nba"),
    "invalidate, spelled otherwise": lambda odds: odds.invalidate(league="nba"),
    "invalidate_key": lambda odds: odds.invalidate_key(league="nba"),
    "invalidate_all": lambda odds: odds.invalidate_all(),
    "coalesce_kit.invalidate_all": lambda odds: coalesce_kit.invalidate_all(),
    "invalidate_tags": lambda odds: coalesce_kit.invalidate_tags("league:nba"),
    "one of several tags": lambda odds: coalesce_kit.invalidate_tags("other", "odds"),
    "prime": lambda odds: odds.prime("primed", "nba"),
}

every_way = pytest.mark.parametrize("invalidate", WAYS.values(), ids=WAYS)


def tagged(origin: Origin, **options: Any) -> Any:
    return keeping(origin, tags=("odds", "league:{league}"), **options)


async def later(odds: Any, origin: Origin, value: object = "new") -> Any:
    """Make a call that begins now, and let its fetch, if there is one, return ``value``."""
    (caller,) = start(odds("nba"))
    await turns()
    if not caller.done():
        origin.answer(value)
    return await caller


@virtual
@on_every_loop
@every_way
@pytest.mark.parametrize("age", [0, 11, 200], ids=["fresh", "stale", "fallback"])
async def test_g07_what_is_kept_is_never_given_again(invalidate: Callable[[Any], Any], age: float) -> None:
    """Fresh, stale or kept for errors: after the invalidation nobody is given it."""
    origin = Origin()
    odds = tagged(origin, policy=EVERYTHING)
    await after(origin, "old", odds("nba"))
    await asyncio.sleep(age)
    invalidate(odds)

    assert await later(odds, origin) in ("new", "primed")
    await turns()
    assert origin.working == 0
    assert odds.peek("nba").value in ("new", "primed")


@virtual
@on_every_loop
@every_way
async def test_g07_not_even_on_an_error(invalidate: Callable[[Any], Any]) -> None:
    """When the fetch after the invalidation fails, its callers get the failure and not the old value."""
    origin = Origin()
    odds = tagged(origin, policy=EVERYTHING)
    await after(origin, "old", odds("nba"))
    await asyncio.sleep(200)
    invalidate(odds)
    callers = start(odds("nba"), odds("nba"))
    await turns()
    if origin.working:
        origin.fail(OSError())

    assert "old" not in await outcomes(callers)


@virtual
@on_every_loop
@every_way
async def test_g07_a_fetch_that_began_before_is_not_kept(invalidate: Callable[[Any], Any]) -> None:
    """Its callers have what it brings, nobody else has it, and that is counted."""
    origin = Origin()
    odds = tagged(origin, ttl=1000)
    before = start(odds("nba"), odds("nba"))
    await turns()
    invalidate(odds)
    origin.answer("old")

    assert await outcomes(before) == ["old", "old"]
    assert odds.stats().stale_publishes_refused == 1
    assert await later(odds, origin) in ("new", "primed")


@virtual
@on_every_loop
@every_way
async def test_g07_a_fetch_that_began_before_is_not_joined(invalidate: Callable[[Any], Any]) -> None:
    """Nor does what it brings later displace what was fetched after the invalidation."""
    origin = Origin()
    odds = tagged(origin, ttl=1000)
    before = start(odds("nba"))
    await turns()
    invalidate(odds)
    newer = start(odds("nba"))
    await turns()
    origin.answer("old")
    await turns()
    if origin.working:
        origin.answer("new")

    assert await outcomes(before) == ["old"]
    assert await outcomes(newer) in (["new"], ["primed"])
    assert await odds("nba") in ("new", "primed")


@virtual
@on_every_loop
@every_way
async def test_g07_a_refresh_that_began_before_is_not_kept(invalidate: Callable[[Any], Any]) -> None:
    """A background refresh publishes with a ticket like any fetch."""
    origin = Origin()
    odds = tagged(origin, policy=EVERYTHING)
    await after(origin, "old", odds("nba"))
    await asyncio.sleep(11)
    assert await odds("nba") == "old"
    await turns()
    invalidate(odds)
    origin.answer("between")
    await turns()

    assert await later(odds, origin) in ("new", "primed")
    assert odds.stats().stale_publishes_refused == 1


@virtual
@on_every_loop
@every_way
async def test_g07_a_failure_that_began_before_is_not_remembered(invalidate: Callable[[Any], Any]) -> None:
    """Nor does it put off, or hide, what was fetched since."""
    origin = Origin()
    odds = tagged(origin, policy=CachePolicy(ttl=10, stale_if_error=100, error_ttl={OSError: 1000}))
    before = start(odds("nba"))
    await turns()
    invalidate(odds)
    newer = start(odds("nba"))
    await turns()
    origin.fail(OSError())
    await turns()
    if origin.working:
        origin.answer("new")

    assert [type(end) for end in await outcomes(before)] == [OSError]
    assert await outcomes(newer) in (["new"], ["primed"])
    assert odds.peek("nba").failures == 0


@virtual
@on_every_loop
@every_way
async def test_g07_one_who_waits_with_an_old_value_is_no_later_caller(
    invalidate: Callable[[Any], Any],
) -> None:
    """A caller who began before may still get the old value; one who begins after may not."""
    origin = Origin()
    odds = tagged(origin, policy=CachePolicy(ttl=10, stale_while_revalidate=100, stale_wait_seconds=5))
    await after(origin, "old", odds("nba"))
    await asyncio.sleep(11)
    before = start(odds("nba"))
    await turns()
    invalidate(odds)
    newer = start(odds("nba"))
    await turns()
    await asyncio.sleep(6)
    assert await outcomes(before) in (["old"], ["primed"])
    while origin.working:
        origin.answer("late")
    await turns()

    assert "old" not in await outcomes(newer)


@pytest.mark.on_every_loop
@pytest.mark.parametrize("order", [*permutations(range(4))], ids=str)
async def test_g07_a_key_holds_the_set_of_its_tickets(order: tuple[int, ...]) -> None:
    """Four fetches of one key, the first two voided, end in any order: what is kept is never theirs, nor an older.

    The event order: fetch 0, over age; fetch 1; invalidate; fetch 2, forgotten; fetch 3.
    """
    origin = Origin()
    coalescer = RequestCoalescer()
    odds = keeping(origin, ttl=1000, backend=coalescer)
    tasks = []
    for number in range(4):
        tasks += start(odds())
        await turns()
        if number == 1:
            assert odds.invalidate().voided == 2
        else:
            coalescer.forget(coalescer.pending_keys[0])
    held = list(origin._held)
    newest = None
    for number in order:
        held[number].set_result(number)
        await turns()
        if number >= 2:
            newest = max(number, newest or 0)
        kept = odds.peek()
        assert (None if kept is None else kept.value) == newest

    assert await outcomes(tasks) == [0, 1, 2, 3]


@on_every_loop
async def test_g07_a_call_begins_when_it_is_awaited() -> None:
    """A coroutine that was made before the invalidation and runs after it is a later call."""
    origin = Origin()
    odds = keeping(origin, ttl=1000)
    await after(origin, "old", odds())
    made_before = odds()
    odds.invalidate()

    assert await after(origin, "new", made_before) == "new"


@on_every_loop
async def test_g07_the_origin_may_invalidate_itself() -> None:
    """A fetch that writes, and invalidates what it writes, is not kept: it may have read before it wrote."""
    calls = 0

    @coalesced(ttl=1000)
    async def odds() -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            odds.invalidate()
        return calls

    assert [await odds(), await odds(), await odds()] == [1, 2, 2]


@on_every_loop
@pytest.mark.parametrize("what", ["ttl", "cache_if"])
async def test_g07_an_invalidation_from_the_users_own_policy(what: str) -> None:
    """In the last moment before the publish, in the same step, it still wins."""

    def invalidate(result: object) -> float:
        odds.invalidate()
        return 1000

    policy = CachePolicy(ttl=invalidate) if what == "ttl" else CachePolicy(ttl=1000, cache_if=invalidate)

    @coalesced(policy=policy)
    async def odds() -> str:
        return "value"

    await odds()
    assert odds.peek() is None
    assert odds.stats().stale_publishes_refused == 1


def test_g07_invalidations_from_threads_always_win() -> None:
    """While readers load and hit as fast as they can, what a reader is given is never older than what was written."""
    written = 0
    wrong: list[tuple[int, int]] = []

    @coalesced(ttl=1000)
    async def number() -> int:
        await asyncio.sleep(0)
        read = written
        await asyncio.sleep(0)
        return read

    done = threading.Event()

    async def read() -> None:
        while not done.is_set():
            least = written
            number_read = await number()
            if number_read < least:
                wrong.append((number_read, least))
            await asyncio.sleep(0)

    readers = [threading.Thread(target=lambda: asyncio.run(read())) for _ in range(2)]
    for reader in readers:
        reader.start()
    for value in range(1, 2001):
        # Reading `written` and beginning the call are two steps: a reader may only count on what was invalidated.
        number.invalidate()
        written = value
        number.invalidate()
    done.set()
    for reader in readers:
        reader.join()

    assert [one for one in wrong if one[0] < one[1] - 1] == []
