"""Reading through the cache: when an old value is given, when one is fetched, and how long a fetch is put off."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from coalesce_kit import (
    CachePolicy,
    UnshareableResultError,
    WaitTimeoutError,
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


# ---- stale while revalidate ----


@virtual
@on_every_loop
async def test_a_stale_reader_is_answered_at_once_and_one_fetch_begins() -> None:
    """All who come in the window get the old value, in the step in which they come; one refresh is run for them."""
    origin = Origin()
    odds = keeping(origin, policy=SWR)
    assert await after(origin, "old", odds()) == "old"
    await asyncio.sleep(10)

    assert [await odds() for _ in range(5)] == ["old"] * 5
    await turns()
    assert len(origin.calls) == 2
    origin.answer("new")
    await turns()
    assert await odds() == "new"
    numbers = odds.stats()
    assert (numbers.stale_hits, numbers.cache_hits, numbers.led_requests) == (5, 1, 1)
    assert (numbers.refreshes, numbers.fetches, numbers.coalesced_requests) == (1, 2, 0)


@virtual
@on_every_loop
@pytest.mark.parametrize(
    ("seconds", "outcome"), [(9.99, "fresh"), (10, "stale"), (29.99, "stale"), (30, "fetch"), (31, "fetch")]
)
async def test_a_window_includes_its_first_moment_and_excludes_its_last(seconds: float, outcome: str) -> None:
    """Fresh to the end of the ttl, stale to the end of the window, gone after that."""
    origin = Origin()
    odds = keeping(origin, policy=SWR)
    await after(origin, "old", odds())
    await asyncio.sleep(seconds)
    (asked,) = start(odds())
    await turns()
    held = origin.working
    if held:
        origin.answer("new")
    answer = await asked
    await turns()

    assert answer == ("new" if outcome == "fetch" else "old")
    assert held == (outcome != "fresh")
    numbers = odds.stats()
    assert (numbers.cache_hits, numbers.stale_hits, numbers.led_requests) == {
        "fresh": (1, 0, 1),
        "stale": (0, 1, 1),
        "fetch": (0, 0, 2),
    }[outcome]


@virtual
@on_every_loop
async def test_a_failed_refresh_keeps_the_old_value_and_backs_off() -> None:
    """After a failure no other refresh is tried for a while, and every further failure makes that longer."""
    tries: list[float] = []

    @coalesced(policy=CachePolicy(ttl=1, stale_while_revalidate=1000, retry_after_error_seconds=1))
    async def odds() -> str:
        tries.append(asyncio.get_running_loop().time())
        if len(tries) > 1:
            raise Down
        return "old"

    await odds()
    for _ in range(2000):
        await asyncio.sleep(0.1)
        assert await odds() == "old"
    gaps = [later - earlier for earlier, later in pairwise(tries[1:])]

    assert len(tries) < 12
    assert all(later > earlier for earlier, later in pairwise(gaps[:6]))
    assert 1 <= gaps[0] < 1.5
    assert max(gaps) < 61
    numbers = odds.stats()
    assert (numbers.refreshes, numbers.refresh_errors) == (len(tries) - 1, len(tries) - 1)
    assert numbers.stale_on_error == 0


@virtual
@on_every_loop
async def test_a_try_in_the_moment_until_which_it_was_put_off_counts() -> None:
    """A fetch that begins and fails right then is put off again, and for longer."""
    origin = Origin()
    odds = keeping(origin, policy=SWR)
    await after(origin, "old", odds())
    await asyncio.sleep(10)
    for failures in (1, 2, 3):
        assert await odds() == "old"
        await turns()
        origin.fail(Down())
        await turns()
        entry = odds.peek()
        assert entry.failures == failures
        its_moment = asyncio.Event()
        asyncio.get_running_loop().call_at(entry.retry_at, its_moment.set)
        await its_moment.wait()


@virtual
@on_every_loop
async def test_a_success_ends_the_back_off() -> None:
    """The next value begins with no failures."""
    origin = Origin()
    odds = keeping(origin, policy=CachePolicy(ttl=1, stale_while_revalidate=1000))
    await after(origin, "one", odds())
    for _ in range(4):
        await asyncio.sleep(60)
        await odds()
        await turns()
        origin.fail(Down())
        await turns()
    assert odds.peek().failures == 4
    await asyncio.sleep(60)
    await odds()
    await turns()
    origin.answer("two")
    await turns()

    assert (odds.peek().value, odds.peek().failures) == ("two", 0)


@virtual
@on_every_loop
async def test_the_throttle_never_extends_the_window() -> None:
    """While no fetch is tried, the old value is still given no longer than its window."""
    origin = Origin()
    odds = keeping(origin, policy=CachePolicy(ttl=10, stale_while_revalidate=5, retry_after_error_seconds=30))
    await after(origin, "old", odds())
    await asyncio.sleep(14)
    assert await odds() == "old"
    await turns()
    origin.fail(Down())
    await turns()
    await asyncio.sleep(1)

    assert await after(origin, "new", odds()) == "new"


# ---- stale_wait_seconds ----


@virtual
@on_every_loop
async def test_a_stale_reader_may_wait_for_the_new_value() -> None:
    """A new value that comes in time is what everybody gets; nobody is counted twice."""
    origin = Origin()
    odds = keeping(origin, policy=CachePolicy(ttl=10, stale_while_revalidate=100, stale_wait_seconds=2))
    await after(origin, "old", odds())
    await asyncio.sleep(11)
    readers = start(odds(), odds())
    await asyncio.sleep(1)
    origin.answer("new")

    assert await outcomes(readers) == ["new", "new"]
    numbers = odds.stats()
    assert (numbers.total_requests, numbers.stale_hits, numbers.fetches) == (3, 0, 2)
    assert (numbers.led_requests, numbers.coalesced_requests, numbers.ended_waits) == (2, 1, 1)


@virtual
@on_every_loop
async def test_whoever_has_waited_long_enough_gets_the_old_value() -> None:
    """Each waits from its own arrival; the fetch goes on without them, and what it brings is kept."""
    origin = Origin()
    odds = keeping(
        origin, policy=CachePolicy(ttl=10, stale_while_revalidate=100, stale_wait_seconds=2), max_wait_seconds=3
    )
    await after(origin, "old", odds())
    await asyncio.sleep(11)
    began = asyncio.get_running_loop().time()
    ends: list[tuple[float, Any]] = []

    async def read() -> None:
        answer = await odds()
        ends.append((asyncio.get_running_loop().time() - began, answer))

    readers = start(read())
    await asyncio.sleep(1)
    readers += start(read())
    await outcomes(readers)
    assert ends == [(2, "old"), (3, "old")]
    await asyncio.sleep(17)
    assert origin.working == 1, "nobody's leaving has cancelled it"
    origin.answer("new")
    await turns()

    assert await odds() == "new"
    numbers = odds.stats()
    assert numbers.total_requests == 4
    assert (numbers.abandoned_fetches, numbers.fetch_cancelled, numbers.fetches) == (0, 0, 2)


@virtual
@on_every_loop
async def test_a_fetch_that_fails_with_nobody_left_is_put_off_all_the_same() -> None:
    """Its failure is noted by the fetch itself."""
    origin = Origin()
    policy = CachePolicy(ttl=10, stale_while_revalidate=100, stale_wait_seconds=2, retry_after_error_seconds=5)
    odds = keeping(origin, policy=policy)
    await after(origin, "old", odds())
    await asyncio.sleep(11)
    assert await odds() == "old"
    origin.fail(Down())
    await turns()
    before = asyncio.get_running_loop().time()

    assert await odds() == "old"
    assert asyncio.get_running_loop().time() == before
    assert len(origin.calls) == 2


@virtual
@on_every_loop
async def test_a_fetch_that_is_cut_with_nobody_left_is_put_off_all_the_same() -> None:
    """A fetch timeout that nobody waits for any more counts as a failure too."""
    origin = Origin()
    policy = CachePolicy(ttl=10, stale_while_revalidate=100, stale_wait_seconds=2, retry_after_error_seconds=5)
    odds = keeping(origin, policy=policy, fetch_timeout_seconds=4)
    await after(origin, "old", odds())
    await asyncio.sleep(11)
    assert await odds() == "old"
    await asyncio.sleep(2.5)

    assert odds.explain().next_call == "stale hit"
    assert odds.peek().failures == 1
    assert odds.stats().fetch_timeouts == 1


@virtual
@on_every_loop
async def test_a_failure_while_waiting_gives_the_old_value() -> None:
    """Whoever waits for a new value and meets a failure gets the old one at once."""
    origin = Origin()
    odds = keeping(origin, policy=CachePolicy(ttl=10, stale_while_revalidate=100, stale_wait_seconds=2))
    await after(origin, "old", odds())
    await asyncio.sleep(11)
    readers = start(odds(), odds())
    await asyncio.sleep(1)
    origin.fail(Down())

    assert await outcomes(readers) == ["old", "old"]
    numbers = odds.stats()
    assert (numbers.stale_on_error, numbers.fetch_errors) == (2, 1)
    assert odds.peek().failures == 1


@virtual
@on_every_loop
async def test_a_readers_own_timeout_is_its_own() -> None:
    """A reader's ``asyncio.timeout`` inside the stale wait raises, and is not answered with the old value."""
    origin = Origin()
    odds = keeping(origin, policy=CachePolicy(ttl=10, stale_while_revalidate=100, stale_wait_seconds=5))
    await after(origin, "old", odds())
    await asyncio.sleep(11)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await odds()
    origin.answer("new")
    await turns()
    assert await odds() == "new"


@virtual
@on_every_loop
async def test_a_timeout_that_the_origin_raises_is_a_failure_like_any_other() -> None:
    """A ``TimeoutError`` of the origin is not taken for the end of the stale wait."""
    origin = Origin()
    policy = CachePolicy(ttl=10, stale_while_revalidate=100, stale_wait_seconds=5, always_raise=TimeoutError)
    odds = keeping(origin, policy=policy)
    await after(origin, "old", odds())
    await asyncio.sleep(11)
    (reader,) = start(odds())
    await asyncio.sleep(1)
    origin.fail(TimeoutError("theirs"))

    with pytest.raises(TimeoutError, match="theirs"):
        await reader


# ---- refresh ahead ----


@virtual
@on_every_loop
async def test_a_reader_refreshes_ahead() -> None:
    """After the fraction of the ttl the first reader starts a refresh; it is a fresh hit, and so are the others."""
    origin = Origin()
    odds = keeping(origin, policy=CachePolicy(ttl=10, refresh_ahead=0.8))
    await after(origin, "old", odds())
    await asyncio.sleep(7.9)
    assert await odds() == "old"
    await turns()
    assert len(origin.calls) == 1
    await asyncio.sleep(0.1)
    assert [await odds(), await odds()] == ["old", "old"]
    await turns()
    assert len(origin.calls) == 2
    origin.answer("new")
    await turns()
    await asyncio.sleep(3)

    assert await odds() == "new"
    numbers = odds.stats()
    assert (numbers.cache_hits, numbers.stale_hits, numbers.led_requests, numbers.refreshes) == (4, 0, 1, 1)


@virtual
@on_every_loop
async def test_nobody_reads_and_nothing_is_refreshed() -> None:
    """A refresh is started by a reader, never by a clock."""
    origin = Origin()
    odds = keeping(origin, policy=CachePolicy(ttl=10, refresh_ahead=0.5))
    await after(origin, "old", odds())
    await asyncio.sleep(1000)

    assert len(origin.calls) == 1


@virtual
@on_every_loop
@pytest.mark.parametrize("options", [{}, {"always_raise": NotFound}])
async def test_a_failed_refresh_ahead_never_hides_a_fresh_value(options: dict[str, Any]) -> None:
    """Not even a failure that is remembered, and always raised, takes the place of a value that is good."""
    origin = Origin()
    policy = CachePolicy(ttl=10, refresh_ahead=0.5, error_ttl={NotFound: 60}, **options)
    odds = keeping(origin, policy=policy)
    await after(origin, "old", odds())
    await asyncio.sleep(6)
    await odds()
    await turns()
    origin.fail(NotFound())
    await turns()

    assert await odds() == "old"
    await asyncio.sleep(0.5)
    assert await odds() == "old", "no other try yet"
    assert len(origin.calls) == 2


# ---- stale if error ----


@virtual
@on_every_loop
async def test_the_old_value_is_given_if_the_fetch_fails() -> None:
    """Leader and waiters get it; then no fetch is tried for a while, and all get it at once."""
    origin = Origin()
    odds = keeping(origin, policy=FALLBACK)
    await after(origin, "old", odds())
    await asyncio.sleep(11)
    callers = start(odds(), odds(), odds())
    await turns()
    origin.fail(Down())

    assert await outcomes(callers) == ["old"] * 3
    assert await odds() == "old"
    numbers = odds.stats()
    assert (numbers.stale_on_error, numbers.stale_hits, numbers.fetches) == (3, 1, 2)
    assert (numbers.fetch_errors, numbers.error_fanout) == (1, 2)
    assert odds.peek().failures == 1, "one failure, however many callers it had"


@virtual
@on_every_loop
async def test_an_upstream_that_is_down_is_asked_now_and_then() -> None:
    """While it is down callers get the old value and the throttle grows; past the window they get the error."""
    tries: list[float] = []

    @coalesced(policy=CachePolicy(ttl=10, stale_if_error=290, retry_after_error_seconds=1))
    async def odds() -> str:
        tries.append(asyncio.get_running_loop().time())
        if len(tries) > 1:
            raise Down
        return "old"

    await odds()
    for _ in range(2999):
        await asyncio.sleep(0.1)
        assert await odds() == "old"
    assert 5 < len(tries) < 15
    await asyncio.sleep(0.2)
    with pytest.raises(Down):
        await odds()


@virtual
@on_every_loop
async def test_a_fetch_that_outlasts_the_window_raises_its_failure() -> None:
    """What was a fallback when the call came and is none when its fetch fails, is not given."""
    origin = Origin()
    odds = keeping(origin, policy=CachePolicy(ttl=10, stale_if_error=10))
    await after(origin, "old", odds())
    await asyncio.sleep(19)
    (caller,) = start(odds())
    await asyncio.sleep(2)
    origin.fail(Down())

    with pytest.raises(Down):
        await caller


@virtual
@on_every_loop
async def test_what_is_always_raised_is_never_masked() -> None:
    """It reaches its callers, and no throttle hides the next one behind the old value."""
    origin = Origin()
    odds = keeping(origin, policy=CachePolicy(ttl=10, stale_if_error=100, always_raise=Forbidden))
    await after(origin, "old", odds())
    await asyncio.sleep(11)
    for _ in range(2):
        callers = start(odds(), odds())
        await turns()
        origin.fail(Forbidden())
        assert [type(end) for end in await outcomes(callers)] == [Forbidden] * 2
    callers = start(odds())
    await turns()
    origin.fail(Down())

    assert await outcomes(callers) == ["old"]
    assert odds.stats().fetches == 4


@virtual
@on_every_loop
async def test_what_is_always_raised_by_a_refresh_is_tried_again_when_the_first_window_ends() -> None:
    """In the first window the old value is given in any case; past it the next caller asks, whatever the throttle."""
    origin = Origin()
    policy = CachePolicy(
        ttl=10, stale_while_revalidate=5, stale_if_error=100, retry_after_error_seconds=60, always_raise=Forbidden
    )
    odds = keeping(origin, policy=policy)
    await after(origin, "old", odds())
    await asyncio.sleep(12)
    assert await odds() == "old"
    await turns()
    origin.fail(Forbidden())
    await turns()
    await asyncio.sleep(2)
    assert await odds() == "old"
    assert len(origin.calls) == 2
    await asyncio.sleep(1)
    (caller,) = start(odds())
    await turns()
    origin.fail(Forbidden())

    with pytest.raises(Forbidden):
        await caller


@virtual
@on_every_loop
async def test_mistakes_of_the_program_are_never_masked() -> None:
    """A result that can be used only once is refused, whatever old value there is."""
    origin = Origin()
    odds = keeping(origin, policy=FALLBACK)
    await after(origin, "old", odds())
    await asyncio.sleep(11)

    with pytest.raises(UnshareableResultError):
        await after(origin, iter(()), odds())
    assert odds.peek().failures == 0


@virtual
@on_every_loop
async def test_a_timeout_of_the_fetch_is_masked_too() -> None:
    """``fetch_timeout_seconds`` is a failure like any other."""
    origin = Origin()
    odds = keeping(origin, policy=FALLBACK, fetch_timeout_seconds=2)
    await after(origin, "old", odds())
    await asyncio.sleep(11)

    assert await odds() == "old"
    numbers = odds.stats()
    assert (numbers.fetch_timeouts, numbers.stale_on_error) == (1, 1)
    assert odds.peek().failures == 1


@virtual
@on_every_loop
async def test_a_wait_timeout_of_an_inner_fetch_counts_as_a_failure() -> None:
    """A failure is a failure although the origin met it as somebody's waiter: the next try is put off."""
    origin = Origin()
    inner = keeping(origin, max_wait_seconds=1)
    holding = start(inner())
    await turns()
    calls = 0

    @coalesced(policy=FALLBACK)
    async def odds() -> Any:
        nonlocal calls
        calls += 1
        return "old" if calls == 1 else await inner()

    await odds()
    await asyncio.sleep(11)

    assert [await odds(), await odds()] == ["old", "old"]
    assert calls == 2
    origin.answer()
    await outcomes(holding)


@virtual
@on_every_loop
async def test_a_waiter_whose_time_is_over_gets_the_old_value() -> None:
    """A wait timeout is answered with the fallback, and puts nothing off: the fetch still runs."""
    origin = Origin()
    odds = keeping(origin, policy=FALLBACK, max_wait_seconds=3)
    await after(origin, "old", odds())
    await asyncio.sleep(11)
    leader, waiter = start(odds(), odds())
    assert await waiter == "old"
    assert odds.peek().failures == 0
    with pytest.raises(WaitTimeoutError):
        await odds.refresh()
    assert odds.peek().failures == 0
    origin.answer("new")

    assert await leader == "new"
    assert odds.stats().wait_timeouts == 2
