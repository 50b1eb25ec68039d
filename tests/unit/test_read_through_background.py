"""Refreshes in the background: seen, bounded, drained, and nobody's."""

import asyncio
import gc
from contextvars import ContextVar
from typing import Any

import pytest

import coalesce_kit
from coalesce_kit import CachePolicy, RequestCoalescer, coalesced
from coalesce_kit.cache.refreshing import MOST_REFRESHES
from coalesce_kit.testing.clock import VirtualClock
from coalesce_kit.testing.leaks import unretrieved
from tests.conftest import LoopFactory
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


# ---- in the background ----


def background() -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if task.get_name() == "coalesce_kit.refresh"]


@virtual
@on_every_loop
async def test_a_refresh_is_a_task_with_a_name_and_one_per_key() -> None:
    """It can be seen among all tasks and in the numbers, once per key, and is gone when it ends."""
    origin = Origin()
    odds = keeping(origin, policy=SWR)
    for key in ("a", "b"):
        await after(origin, "old", odds(key))
    await asyncio.sleep(11)
    for key in ("a", "b", "a", "a"):
        await odds(key)
    assert len(background()) == odds.stats().refreshes_running == 2
    await turns()
    assert len(background()) == origin.working == 2
    origin.answer()
    await turns()
    assert len(background()) == odds.stats().refreshes_running == 1
    origin.answer()
    await turns()

    assert len(background()) == odds.stats().refreshes_running == 0


@virtual
@on_every_loop
async def test_refreshes_are_bounded_in_number() -> None:
    """Beyond the bound a stale value stays stale until a later reader asks; everybody is answered."""
    origin = Origin()
    odds = keeping(origin, policy=CachePolicy(ttl=10, stale_while_revalidate=1000))
    for key in range(MOST_REFRESHES + 1):
        odds.prime(key, key)
    await asyncio.sleep(11)
    assert [await odds(key) for key in range(MOST_REFRESHES + 1)] == [*range(MOST_REFRESHES + 1)]
    await turns()
    assert odds.stats().refreshes_running == origin.working == MOST_REFRESHES
    origin.answer("new")
    await turns()
    await odds(MOST_REFRESHES)
    await turns()
    assert origin.working == MOST_REFRESHES
    while origin.working:
        origin.answer("new")
    await turns()

    assert odds.peek(MOST_REFRESHES).value == "new"


@virtual
@on_every_loop
async def test_aclose_drains_refreshes() -> None:
    """It waits for those that end, and cuts those that do not."""
    origin = Origin()
    odds = keeping(origin, policy=SWR)
    for key in ("ends", "stays"):
        odds.prime("old", key)
    await asyncio.sleep(11)
    for key in ("ends", "stays"):
        await odds(key)
    (closing,) = start(coalesce_kit.aclose(deadline_seconds=5))
    await asyncio.sleep(1)
    assert not closing.done()
    origin.answer("new")
    report = await closing

    assert (report.finished, len(report.cut)) == (1, 1)
    assert odds.stats().refreshes_running == len(background()) == origin.working == 0
    assert await odds("ends") == "new"


def test_a_closed_loop_leaves_nothing(loop_factory: LoopFactory) -> None:
    """A refresh that died with its loop is no refresh: the next loop starts another for the same key."""
    time = VirtualClock()
    upstream_hangs = True

    @coalesced(policy=SWR)
    async def odds() -> str:
        if upstream_hangs:
            await asyncio.get_running_loop().create_future()
        return "new"

    async def read() -> str:
        answer = await odds()
        await turns()
        return answer

    with time:
        odds.prime("old")
        time.advance(11)
        with unretrieved():  # asyncio tells that tasks were destroyed, and rightly so
            loop = loop_factory()
            assert loop.run_until_complete(read()) == "old"
            loop.close()
            assert odds.stats().refreshes_running == 0
            upstream_hangs = False
            with asyncio.Runner(loop_factory=loop_factory) as runner:
                assert [runner.run(read()), runner.run(read())] == ["old", "new"]
            gc.collect()
    numbers = odds.stats()
    assert (numbers.refreshes, numbers.in_flight, numbers.refreshes_running) == (2, 0, 0)


request: ContextVar[str] = ContextVar("request", default="none")


@virtual
@on_every_loop
async def test_a_refresh_starts_outside_any_flight() -> None:
    """A stale read inside a fetch starts a refresh that is no part of that fetch, in the reader's context."""
    inside: list[str] = []
    deeper: list[str] = []

    @coalesced(policy=SWR)
    async def odds() -> str:
        inside.append(request.get())
        if len(inside) > 1:
            deeper.append(await page())  # a cycle only if the refresh were a part of the page's fetch
        return f"odds {len(inside)}"

    @coalesced
    async def page() -> str:
        got = await odds()
        await asyncio.sleep(1)
        return f"page of {got}"

    await odds()
    await asyncio.sleep(11)
    request.set("mine")

    assert await page() == "page of odds 1"
    await asyncio.sleep(3)
    assert inside == ["none", "mine"]
    assert deeper == ["page of odds 1"]
    assert await odds() == "odds 2"
    assert odds.stats().recursions_refused == page.stats().recursions_refused == 0


@virtual
@on_every_loop
async def test_a_refresh_whose_fetch_reads_its_own_key_is_given_the_old_value() -> None:
    """The old value is there, so nothing waits for itself, and no second refresh begins."""
    seen: list[str] = []
    calls = 0

    @coalesced(policy=SWR)
    async def odds() -> str:
        nonlocal calls
        calls += 1
        if calls > 1:
            seen.append(await odds())
        return f"value {calls}"

    await odds()
    await asyncio.sleep(11)
    assert await odds() == "value 1"
    await turns()

    assert (seen, calls) == (["value 1"], 2)
    assert odds.stats().refreshes == 1


@virtual
@on_every_loop
async def test_nobody_who_leaves_cancels_a_refresh() -> None:
    """A caller who joins it, and leaves, leaves it running."""
    origin = Origin()
    odds = keeping(origin, policy=CachePolicy(ttl=10, stale_while_revalidate=5))
    await after(origin, "old", odds())
    await asyncio.sleep(14)
    await odds()
    await asyncio.sleep(2)
    joining = start(odds(), odds())
    await turns()
    assert odds.stats().coalesced_requests == 2
    for task in joining:
        task.cancel()
    await outcomes(joining)
    assert origin.working == 1
    origin.answer("new")
    await turns()

    assert await odds() == "new"


@virtual
async def test_a_refresh_that_hangs_is_ended_as_an_over_age_flight_is() -> None:
    """A refresh is cancelled after its coalescer's ``max_flight_seconds``, and a later reader starts another."""
    origin, backend = Origin(), RequestCoalescer(max_flight_seconds=20)
    odds = keeping(origin, policy=CachePolicy(ttl=10, stale_while_revalidate=1000), backend=backend)
    assert await after(origin, "old", odds()) == "old"
    await asyncio.sleep(11)
    assert await odds() == "old"
    await asyncio.sleep(19)
    assert (origin.working, odds.stats().refreshes_running) == (1, 1)
    await asyncio.sleep(2)

    assert (origin.working, odds.stats().refreshes_running, odds.stats().refresh_errors) == (0, 0, 1)
    await asyncio.sleep(5)
    assert await odds() == "old"
    await turns()
    origin.answer("new")
    await turns()
    assert await odds() == "new"


@virtual
async def test_a_refresh_that_hung_is_put_off_as_one_that_failed() -> None:
    """A reader who comes right after it was ended gets the old value and starts no other."""
    origin, backend = Origin(), RequestCoalescer(max_flight_seconds=20)
    policy = CachePolicy(ttl=10, stale_while_revalidate=1000, retry_after_error_seconds=30)
    odds = keeping(origin, policy=policy, backend=backend)
    assert await after(origin, "old", odds()) == "old"
    await asyncio.sleep(11)
    assert await odds() == "old"
    await asyncio.sleep(21)
    assert odds.stats().refresh_errors == 1
    assert await odds() == "old"
    await turns()

    assert odds.stats().refreshes_running == 0
    assert len(origin.calls) == 2


@virtual
async def test_a_wait_that_ends_with_the_old_value_is_counted_by_name() -> None:
    """Who waited ``stale_wait_seconds`` in vain stays a led or coalesced call, and is counted once more."""
    origin = Origin()
    policy = CachePolicy(ttl=10, stale_while_revalidate=1000, stale_wait_seconds=2)
    odds = keeping(origin, policy=policy)
    assert await after(origin, "old", odds()) == "old"
    await asyncio.sleep(11)

    assert await asyncio.gather(odds(), odds(), odds()) == ["old"] * 3

    numbers = odds.stats()
    assert (numbers.led_requests, numbers.coalesced_requests, numbers.stale_hits) == (2, 2, 0)
    assert (numbers.stale_after_wait, numbers.stale_on_error) == (3, 0)
    origin.answer("new")
    await turns()
    assert await odds() == "new"
