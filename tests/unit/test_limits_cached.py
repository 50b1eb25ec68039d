"""Which limit wins where a cache's limits meet each other and the rest: a test for each row of docs/limits.md."""

import asyncio
from typing import Any

import pytest

from coalesce_kit import CachePolicy, FetchTimeoutError, WaitTimeoutError
from tests.fakes import Origin, after, keeping, outcomes, start, turns

pytestmark = pytest.mark.usefixtures("virtual_time")


class Down(Exception):
    """The upstream is down."""


def now() -> float:
    return asyncio.get_running_loop().time()


async def timed(call: Any) -> tuple[float, Any]:
    began = now()
    (end,) = await asyncio.gather(call, return_exceptions=True)
    return round(now() - began, 6), end


async def kept(seconds: float, **options: Any) -> tuple[Any, Origin]:
    """Return a function that has kept "old" for so long."""
    origin = Origin()
    odds = keeping(origin, **options)
    await after(origin, "old", odds())
    await asyncio.sleep(seconds)
    return odds, origin


async def failing(odds: Any, origin: Origin, error: Exception | None = None) -> Any:
    (caller,) = start(odds())
    await turns()
    if origin.working:
        origin.fail(Down() if error is None else error)
    (end,) = await outcomes([caller])
    await turns()
    return end


async def end(origin: Origin) -> None:
    while origin.working:
        origin.answer("late")
    await turns()


async def test_19_ttl_and_stale_while_revalidate() -> None:
    """One after the other."""
    odds, origin = await kept(14.9, policy=CachePolicy(ttl=10, stale_while_revalidate=5))
    assert await odds() == "old"
    await turns()
    await end(origin)
    odds, origin = await kept(15, policy=CachePolicy(ttl=10, stale_while_revalidate=5))

    assert await after(origin, "new", odds()) == "new"


@pytest.mark.parametrize(("revalidate", "on_error"), [(5, 20), (20, 5)])
async def test_20_stale_while_revalidate_and_stale_if_error(revalidate: float, on_error: float) -> None:
    """Side by side, both from the end of the ttl: at once in the first, in the rest of the second on an error."""
    policy = CachePolicy(
        ttl=10, stale_while_revalidate=revalidate, stale_if_error=on_error, retry_after_error_seconds=0
    )
    odds, origin = await kept(17, policy=policy)
    calls = len(origin.calls)

    assert await failing(odds, origin) == "old"
    assert len(origin.calls) == calls + 1
    assert (odds.stats().stale_hits, odds.stats().stale_on_error) == ((1, 0) if revalidate == 20 else (0, 1))
    await asyncio.sleep(20)
    assert isinstance(await failing(odds, origin), Down)


@pytest.mark.parametrize(("wait", "window", "seconds"), [(2, 100, 2), (50, 5, 4)])
async def test_21_stale_wait_and_stale_while_revalidate(wait: float, window: float, seconds: float) -> None:
    """The earlier end: nobody is given an old value after its window because it waited."""
    policy = CachePolicy(ttl=10, stale_while_revalidate=window, stale_wait_seconds=wait)
    odds, origin = await kept(11, policy=policy)

    assert await timed(odds()) == (seconds, "old")
    await end(origin)


async def test_22_stale_wait_and_stale_if_error() -> None:
    """Only the first window is waited in; past it a call waits for its fetch, as long as that takes."""
    policy = CachePolicy(ttl=10, stale_while_revalidate=5, stale_if_error=100, stale_wait_seconds=1)
    odds, origin = await kept(16, policy=policy)
    (caller,) = start(timed(odds()))
    await asyncio.sleep(30)
    origin.fail(Down())

    assert await caller == (30, "old")


@pytest.mark.parametrize(("stale_wait", "max_wait", "seconds"), [(2, 5, 2), (5, 2, 2)])
async def test_23_stale_wait_and_max_wait(stale_wait: float, max_wait: float, seconds: float) -> None:
    """The shorter one for a waiter; the fetch goes on in either case."""
    policy = CachePolicy(ttl=10, stale_while_revalidate=100, stale_wait_seconds=stale_wait)
    odds, origin = await kept(11, policy=policy, max_wait_seconds=max_wait)
    _, waiter = start(timed(odds()), timed(odds()))

    assert await waiter == (seconds, "old")
    assert odds.stats().wait_timeouts == (max_wait < stale_wait)
    await asyncio.sleep(20)
    assert origin.working == 1
    await end(origin)


@pytest.mark.parametrize(("stale_wait", "timeout", "seconds"), [(2, 5, 2), (5, 2, 2)])
async def test_24_stale_wait_and_fetch_timeout(stale_wait: float, timeout: float, seconds: float) -> None:
    """The earlier one gives the old value; the fetch ends at its own timeout, also when nobody is left."""
    policy = CachePolicy(ttl=10, stale_while_revalidate=100, stale_wait_seconds=stale_wait)
    odds, origin = await kept(11, policy=policy, fetch_timeout_seconds=timeout)

    assert await timed(odds()) == (seconds, "old")
    await asyncio.sleep(4)
    assert (origin.working, odds.stats().fetch_timeouts) == (0, 1)


async def test_25_max_wait_and_the_stale_windows() -> None:
    """A waiter whose wait is over gets what is still of use then; else the error."""
    odds, origin = await kept(11, policy=CachePolicy(ttl=10, stale_if_error=4), max_wait_seconds=2)
    _, waiter = start(odds(), timed(odds()))
    assert await waiter == (2, "old")
    (late,) = start(timed(odds()))
    seconds, error = await late
    assert (seconds, type(error)) == (2, WaitTimeoutError)
    await end(origin)


async def test_26_fetch_timeout_and_the_stale_windows() -> None:
    """A fetch that is cut is a failure: the old value if it is still of use then, else ``FetchTimeoutError``."""
    policy = CachePolicy(ttl=10, stale_if_error=4, retry_after_error_seconds=0)
    odds, _ = await kept(11, policy=policy, fetch_timeout_seconds=2)

    assert await timed(odds()) == (2, "old")
    seconds, error = await timed(odds())
    assert (seconds, type(error)) == (2, FetchTimeoutError)


async def test_27_a_background_refresh_and_max_wait() -> None:
    """A refresh is nobody's wait: ``max_wait_seconds`` does not end it."""
    odds, origin = await kept(11, policy=CachePolicy(ttl=10, stale_while_revalidate=100), max_wait_seconds=1)
    await odds()
    await asyncio.sleep(30)
    assert origin.working == 1
    origin.answer("new")
    await turns()

    assert await odds() == "new"


async def test_28_a_background_refresh_and_fetch_timeout() -> None:
    """It ends a refresh like any fetch, and the next try is put off."""
    odds, origin = await kept(11, policy=CachePolicy(ttl=10, stale_while_revalidate=100), fetch_timeout_seconds=3)
    await odds()
    await asyncio.sleep(3.5)

    assert (origin.working, odds.stats().refresh_errors, odds.peek().failures) == (0, 1, 1)
    assert odds.explain().next_call == "stale hit"


async def test_29_refresh_ahead_and_ttl() -> None:
    """A refresh ahead that has not ended when the ttl has: callers join it."""
    odds, origin = await kept(9, policy=CachePolicy(ttl=10, refresh_ahead=0.8))
    await odds()
    await asyncio.sleep(2)
    (caller,) = start(odds())
    await turns()
    assert origin.working == 1
    origin.answer("new")

    assert await caller == "new"


async def test_30_refresh_ahead_and_retry_after_error() -> None:
    """After a failure ahead no other is tried before the throttle says so, or the value is not fresh any more."""
    policy = CachePolicy(ttl=100, refresh_ahead=0.1, retry_after_error_seconds=30)
    odds, origin = await kept(11, policy=policy)
    assert await failing(odds, origin) == "old"
    await asyncio.sleep(29)
    await odds()
    await turns()
    assert len(origin.calls) == 2
    await asyncio.sleep(10)
    await odds()
    await turns()
    assert len(origin.calls) == 3
    origin.fail(Down())
    await turns()
    await asyncio.sleep(51)

    assert await after(origin, "new", odds()) == "new"


@pytest.mark.parametrize("window", ["stale_while_revalidate", "stale_if_error"])
async def test_31_retry_after_error_and_the_stale_windows(window: str) -> None:
    """The throttle never extends a window."""
    policy = CachePolicy(ttl=10, retry_after_error_seconds=1000, **{window: 5})
    odds, origin = await kept(11, policy=policy)
    assert await failing(odds, origin) == "old"
    await asyncio.sleep(3.9)
    assert await odds() == "old"
    await asyncio.sleep(0.1)

    assert await after(origin, "new", odds()) == "new"


async def test_32_retry_after_error_and_stale_wait() -> None:
    """While no fetch is tried there is nothing to wait for: the old value is given at once."""
    policy = CachePolicy(ttl=10, stale_while_revalidate=100, stale_wait_seconds=5, retry_after_error_seconds=20)
    odds, origin = await kept(11, policy=policy)
    assert await failing(odds, origin) == "old"

    assert await timed(odds()) == (0, "old")


async def test_33_error_ttl_and_the_stale_windows() -> None:
    """An old value that can be given is given; the failure is remembered only when there is none."""
    policy = CachePolicy(ttl=10, stale_if_error=5, error_ttl={Down: 100}, retry_after_error_seconds=1)
    odds, origin = await kept(11, policy=policy)
    assert await failing(odds, origin) == "old"
    await asyncio.sleep(5)
    assert isinstance(await failing(odds, origin), Down)
    calls = len(origin.calls)

    assert isinstance(await failing(odds, origin), Down)
    assert len(origin.calls) == calls


async def test_34_error_ttl_and_retry_after_error() -> None:
    """They never meet: the throttle needs an old value, and where there is one no failure is remembered."""
    odds, origin = await kept(11, policy=CachePolicy(ttl=10, error_ttl={Down: 3}, retry_after_error_seconds=60))
    assert isinstance(await failing(odds, origin), Down)
    await asyncio.sleep(3)

    assert await after(origin, "new", odds()) == "new"


async def test_35_error_ttl_and_refresh_ahead() -> None:
    """A refresh that fails leaves a value that is fresh in its place, whatever is to be remembered."""
    policy = CachePolicy(ttl=10, refresh_ahead=0.5, error_ttl={Down: 100}, always_raise=Down)
    odds, origin = await kept(6, policy=policy)
    assert await failing(odds, origin) == "old"

    assert await odds() == "old"


@pytest.mark.parametrize("error", [FetchTimeoutError, WaitTimeoutError])
async def test_36_error_ttl_and_the_timeouts(error: type[Exception]) -> None:
    """What is remembered is what the function raised: neither timeout is, whatever class is named."""
    options: dict[str, Any] = {"fetch_timeout_seconds": 2} if error is FetchTimeoutError else {"max_wait_seconds": 2}
    odds, origin = await kept(11, policy=CachePolicy(ttl=10, error_ttl={TimeoutError: 100}), **options)
    _, waiter = start(timed(odds()), timed(odds()))
    seconds, ended = await waiter
    assert (seconds, type(ended)) == (2, error)
    await end(origin)

    assert odds.explain().state != "remembered error"
