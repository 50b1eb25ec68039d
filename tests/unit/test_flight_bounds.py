"""What stands at a bound: the last second of closing, the longest wait, the longest chain that is shown whole."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise

import pytest

from coalesce_kit import CachePolicy, CloseReport, RequestCoalescer
from coalesce_kit.backends.flight import current_flight
from coalesce_kit.backends.recursion import wait_inside
from coalesce_kit.errors import RecursiveFetchError
from coalesce_kit.protocols import FlightTerms
from tests.fakes import Door, Origin, both_doors, decorated, keeping, outcomes, start, turns

virtual = pytest.mark.usefixtures("virtual_time")


@virtual
@both_doors
async def test_a_deadline_of_a_second_is_a_second(door: Callable[..., Door]) -> None:
    """What ends within it is not cut."""
    origin = Origin()
    asked = door(origin)
    (caller,) = start(asked.ask())
    await turns()
    (closing,) = start(asked.coalescer.aclose(deadline_seconds=1))
    await asyncio.sleep(0.5)
    origin.answer("in time")

    assert await caller == "in time"
    assert await closing == CloseReport(finished=1)


@virtual
@pytest.mark.parametrize(("seconds", "slow"), [(5, 0), (5.5, 1)])
async def test_a_fetch_is_slow_that_outlasts_the_longest_wait(seconds: float, slow: int) -> None:
    """One that ends at that moment does not; either way its seconds are the function's."""
    origin = Origin()
    asked = decorated(origin, max_wait_seconds=5)
    (caller,) = start(asked.ask())
    await asyncio.sleep(seconds)
    origin.answer()
    await caller

    numbers = asked.numbers()
    assert (numbers.slow_fetches, numbers.fetch_seconds_total) == (slow, seconds)
    assert (numbers.fetch_errors, numbers.fetch_cancelled, numbers.fetch_timeouts) == (0, 0, 0)


class Flight:
    """A flight as far as recursion looks at it."""

    decided = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.waits_for: dict[Flight, int] | None = None

    def describe(self) -> str:
        return self.name


@pytest.mark.parametrize(
    ("flights", "shown"),
    [
        (10, "k9 → k0 → k1 → k2 → k3 → k4 → k5 → k6 → k7 → k8 → k9"),
        (11, "k10 → k0 → k1 → k2 → k3 → … 2 more … → k6 → k7 → k8 → k9 → k10"),
    ],
)
def test_a_chain_is_shown_whole_if_only_one_would_be_left_out(flights: int, shown: str) -> None:
    """Five steps at either end, and in the place of the others how many there are."""
    ring = [Flight(f"k{number}") for number in range(flights)]
    for waiting, awaited in pairwise(ring):
        wait_inside(waiting, awaited)
    with pytest.raises(RecursiveFetchError) as refusal:
        wait_inside(ring[-1], ring[0])
    assert f"itself: {shown}. " in str(refusal.value)


@virtual
async def test_a_throttle_of_no_time_counts_nothing() -> None:
    """What puts nothing off is not a failure in a row."""
    origin = Origin()
    odds = keeping(origin, policy=CachePolicy(ttl=1, stale_if_error=100, retry_after_error_seconds=0))
    odds.prime("old")
    await asyncio.sleep(2)
    (caller,) = start(odds())
    await turns()
    origin.fail(ConnectionError())

    assert await caller == "old"
    assert odds.peek().failures == 0


@virtual
async def test_a_failure_that_was_invalidated_is_not_even_refused() -> None:
    """It is remembered by nobody, and is no publish that came too late: failures are not published."""
    origin = Origin()
    odds = keeping(origin, policy=CachePolicy(error_ttl={ConnectionError: 10}))
    (caller,) = start(odds())
    await turns()
    odds.invalidate()
    origin.fail(ConnectionError())
    assert [type(end) for end in await outcomes([caller])] == [ConnectionError]

    assert odds.peek() is None
    assert odds.stats().stale_publishes_refused == 0


@virtual
async def test_a_fetch_that_has_waited_first_is_bounded_when_it_runs() -> None:
    """The bound of a fetch that nobody needs holds before the function is called, and after."""
    backend = RequestCoalescer(max_wait_seconds=None, max_flight_seconds=20)
    ended: list[str] = []

    async def fetch() -> None:
        await asyncio.sleep(1)
        flight = current_flight.get()
        assert flight is not None
        flight.begin()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append("cut")

    (caller,) = start(backend.get_or_fetch("nba", fetch, terms=FlightTerms(waits_first=True, on_abandon="finish")))
    await asyncio.sleep(2)
    caller.cancel()
    await outcomes([caller])
    await asyncio.sleep(17)
    assert ended == []
    await asyncio.sleep(2)

    assert ended == ["cut"]


@virtual
@pytest.mark.parametrize("joins", ["before it has begun", "while it waits"])
async def test_a_fetch_that_waits_first_is_bounded_once_it_is_held(joins: str) -> None:
    """A joiner who leaves it running leaves one timer, whenever he has come."""
    backend = RequestCoalescer(max_wait_seconds=None, max_flight_seconds=20)
    first = FlightTerms(waits_first=True)
    finishing = FlightTerms(waits_first=True, on_abandon="finish")
    ended: list[str] = []

    async def fetch() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append("cut")

    leader, *_ = start(backend.get_or_fetch("nba", fetch, terms=first))
    if joins == "while it waits":
        await turns()
    joiner, *_ = start(backend.get_or_fetch("nba", fetch, terms=finishing))
    await turns()
    for caller in (leader, joiner):
        caller.cancel()
    await outcomes([leader, joiner])
    await asyncio.sleep(19)
    assert ended == []
    await asyncio.sleep(2)

    assert ended == ["cut"]
    assert backend.flights() == ()
