"""What a fetch or a refresh leaves to those after it: nothing of before an invalidation, and no more than it should."""

import asyncio

import pytest

from coalesce_kit import CachePolicy, RequestCoalescer, coalesced
from coalesce_kit.testing.clock import VirtualClock
from tests.fakes import Origin, after, keeping, outcomes, start, turns

virtual = pytest.mark.usefixtures("virtual_time")
on_every_loop = pytest.mark.on_every_loop

THROTTLED = CachePolicy(ttl=1, stale_if_error=1000, retry_after_error_seconds=30)
SWR = CachePolicy(ttl=1, stale_while_revalidate=1000)


class NotFound(Exception):
    """The upstream says that there is no such thing."""


# ---- a failure of before an invalidation ----


@virtual
@on_every_loop
async def test_a_failed_refresh_of_before_an_invalidation_puts_nothing_off() -> None:
    """The value that was fetched after the invalidation has not failed."""
    origin = Origin()
    odds = keeping(origin, policy=THROTTLED)
    (refreshing,) = start(odds.refresh())
    await turns()
    odds.prime("new")
    origin.fail(ConnectionError())
    assert [type(end) for end in await outcomes([refreshing])] == [ConnectionError]

    assert odds.peek().failures == 0
    await asyncio.sleep(5)
    assert await after(origin, "newer", odds()) == "newer"


@virtual
@on_every_loop
async def test_a_fetch_of_before_an_invalidation_that_is_cut_puts_nothing_off() -> None:
    """A fetch that nobody waits for notes by itself that it was cut, while its ticket is good and not after."""
    origin = Origin()
    odds = keeping(origin, policy=THROTTLED, on_abandon="finish", fetch_timeout_seconds=10)
    (caller,) = start(odds())
    await asyncio.sleep(9.5)
    odds.prime("new")
    await asyncio.sleep(1)
    assert [type(end).__name__ for end in await outcomes([caller])] == ["FetchTimeoutError"]

    assert odds.peek().failures == 0


@virtual
async def test_a_refresh_of_before_an_invalidation_that_hangs_puts_nothing_off() -> None:
    """It is ended as an over-age flight is, and by then something else is kept."""
    origin, backend = Origin(), RequestCoalescer(max_flight_seconds=20)
    odds = keeping(origin, policy=SWR, backend=backend)
    odds.prime("old")
    await asyncio.sleep(2)
    assert await odds() == "old"
    await asyncio.sleep(19.5)
    odds.prime("new")
    await asyncio.sleep(1)

    assert (origin.working, odds.stats().refresh_errors) == (0, 1)
    assert odds.peek().failures == 0


# ---- how often a failure counts ----


@virtual
@on_every_loop
@pytest.mark.parametrize("crowd", [1, 10])
async def test_what_is_always_raised_does_not_make_the_next_throttle_longer(crowd: int) -> None:
    """It puts nothing off where the old value is only a fallback, however many have waited for it."""
    origin = Origin()
    policy = CachePolicy(ttl=1, stale_if_error=1000, retry_after_error_seconds=1, always_raise=NotFound)
    odds = keeping(origin, policy=policy)
    odds.prime("old")
    await asyncio.sleep(5)
    callers = start(*(odds() for _ in range(crowd)))
    await turns()
    origin.fail(NotFound())
    assert {type(end) for end in await outcomes(callers)} == {NotFound}
    (caller,) = start(odds())
    await turns()
    origin.fail(ConnectionError())
    assert await caller == "old"

    assert odds.peek().retry_at - asyncio.get_running_loop().time() <= 1.25


@virtual
@on_every_loop
async def test_a_failed_refresh_does_not_make_the_next_come_earlier() -> None:
    """After a failure no refresh ahead begins before the later of its time and the throttle."""
    origin = Origin()
    odds = keeping(origin, policy=CachePolicy(ttl=100, refresh_ahead=0.8, retry_after_error_seconds=1))
    odds.prime("old")
    await asyncio.sleep(5)
    (refreshing,) = start(odds.refresh())
    await turns()
    origin.fail(NotFound())
    await outcomes([refreshing])
    await asyncio.sleep(74)
    assert await odds() == "old"
    await turns()
    assert origin.working == 0
    await asyncio.sleep(2)
    assert await odds() == "old"
    await turns()

    assert origin.working == 1
    origin.answer("new")
    await turns()


# ---- a refresh of before an invalidation ----


@virtual
@on_every_loop
async def test_a_refresh_of_before_an_invalidation_keeps_nobody_from_refreshing() -> None:
    """What it brings will not be kept, so the value that was fetched since is refreshed by another."""
    origin = Origin()
    odds = keeping(origin, policy=SWR)
    odds.prime("old")
    await asyncio.sleep(2)
    assert await odds() == "old"
    await turns()
    odds.prime("new")
    await asyncio.sleep(2)
    assert [await odds(), await odds()] == ["new", "new"]
    await turns()

    assert (origin.working, odds.stats().refreshes, odds.stats().refreshes_running) == (2, 2, 2)
    origin.answer("too late")
    origin.answer("newer")
    await turns()
    assert await odds() == "newer"
    assert odds.stats().refreshes_running == 0


def test_a_refresh_on_a_loop_that_stands_still_keeps_nobody_from_refreshing_for_ever(loop_factory) -> None:
    """After the time that a refresh may take, another loop starts its own."""
    time = VirtualClock()
    hangs = True
    backend = RequestCoalescer(max_flight_seconds=20)

    @coalesced(policy=SWR, backend=backend)
    async def odds() -> str:
        if hangs:
            await asyncio.get_running_loop().create_future()
        return "new"

    async def read() -> str:
        answer = await odds()
        await turns()
        return answer

    with time:
        odds.prime("old")
        time.advance(2)
        standing = loop_factory()
        assert standing.run_until_complete(read()) == "old"
        hangs = False
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            time.advance(19)
            assert [runner.run(read()), runner.run(read())] == ["old", "old"]
            time.advance(2.1)
            assert [runner.run(read()), runner.run(read())] == ["old", "new"]
        for task in asyncio.all_tasks(standing):
            task.cancel()
        standing.run_until_complete(turns())
        standing.close()


# ---- a refresh, or a patient reader, that joins ----


@virtual
@on_every_loop
async def test_a_refresh_in_the_background_that_joins_is_nobodys_wait() -> None:
    """It stays as long as the fetch takes, and the fetch with it, whoever began it and left."""
    origin = Origin()
    odds = keeping(origin, policy=SWR)
    odds.prime("old")
    await asyncio.sleep(2)
    (refreshing,) = start(odds.refresh())
    await turns()
    assert await odds() == "old"
    await turns()
    refreshing.cancel()
    await outcomes([refreshing])
    await asyncio.sleep(8)
    assert origin.working == 1
    origin.answer("new")
    await turns()

    assert await odds() == "new"
    numbers = odds.stats()
    assert (numbers.wait_timeouts, numbers.refresh_errors, numbers.abandoned_fetches) == (0, 0, 0)


@virtual
@on_every_loop
async def test_a_waiter_beside_a_refresh_that_joined_is_timed_out_at_his_time() -> None:
    """Whoever waits for an answer is bounded as ever, also after one who is not."""
    origin = Origin()
    odds = keeping(origin, policy=CachePolicy(ttl=1, stale_while_revalidate=2))
    odds.prime("old")
    await asyncio.sleep(2)
    (refreshing,) = start(odds.refresh())
    await turns()
    assert await odds() == "old"
    await asyncio.sleep(2)
    (caller,) = start(odds())
    await asyncio.sleep(4.9)
    assert not caller.done()
    await asyncio.sleep(0.2)
    assert [type(end).__name__ for end in await outcomes([caller])] == ["WaitTimeoutError"]
    assert odds.stats().wait_timeouts == 1
    origin.answer("new")

    assert await refreshing == "new"
    assert odds.stats().refresh_errors == 0


@virtual
@on_every_loop
@pytest.mark.parametrize("limit", [None, 100])
async def test_a_fetch_that_a_patient_reader_joined_goes_on_without_him(limit: float | None) -> None:
    """Who has waited ``stale_wait_seconds`` leaves with the old value; the fetch goes on, to its own limit."""
    origin = Origin()
    policy = CachePolicy(ttl=1, stale_while_revalidate=1000, stale_wait_seconds=1)
    odds = keeping(origin, policy=policy, fetch_timeout_seconds=limit)
    odds.prime("old")
    await asyncio.sleep(2)
    (refreshing,) = start(odds.refresh())
    await turns()
    (caller,) = start(odds())
    await turns()
    refreshing.cancel()
    assert await caller == "old"
    await asyncio.sleep(50)
    assert (origin.working, odds.stats().abandoned_fetches) == (1, 0)
    await asyncio.sleep(20)
    assert origin.working == (0 if limit is None else 1), "without a limit of its own an over-age flight's"
    if limit is not None:
        origin.answer("new")
        await turns()
        assert await odds() == "new"


@virtual
@on_every_loop
async def test_refresh_brings_a_new_value_also_from_a_fetch_that_has_not_begun() -> None:
    """What was primed meanwhile is the answer of who led, were he alone; who refreshes has asked for a new one."""
    origin = Origin()
    odds = keeping(origin, ttl=1000)
    leading = odds()
    leading.send(None)  # it has its slot and has not begun, on whatever loop
    odds.prime("primed")
    (refreshing,) = start(odds.refresh())
    await turns()
    leading.close()
    await turns()
    assert origin.working == 1
    origin.answer("new")

    assert await refreshing == "new"
