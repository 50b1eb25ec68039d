"""What observers are told of a flight, and what its coalescer shows of it: who waits, how long, and what came of it."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from coalesce_kit import CoalescerStats, FetchTimeoutError, Observer, RequestCoalescer, WaitTimeoutError, coalesced
from coalesce_kit.testing.clock import VirtualClock
from tests.fakes import Origin, outcomes, start, turns


class Listener(Observer):
    """Notes every event of one kind."""

    def __init__(self) -> None:
        self.started: list[Any] = []
        self.ended: list[Any] = []
        self.joined: list[Any] = []
        self.left: list[Any] = []

    def fetch_started(self, event: Any) -> None:
        self.started.append(event)

    def fetch_ended(self, event: Any) -> None:
        self.ended.append(event)

    def waiter_joined(self, event: Any) -> None:
        self.joined.append(event)

    def waiter_left(self, event: Any) -> None:
        self.left.append(event)


@pytest.fixture
def listener() -> Listener:
    """An observer that notes what it is told."""
    return Listener()


async def test_a_waiter_is_told_of_when_it_joins_and_when_it_has_its_answer(
    virtual_time: VirtualClock, listener: Listener
) -> None:
    """How many wait by then, how old the fetch is, how long the wait was; the leader waits for nobody."""
    origin, coalescer = Origin(), RequestCoalescer(observers=[listener])
    tasks = start(coalescer.get_or_fetch("nfl", origin))
    for _ in range(2):
        await asyncio.sleep(2)
        tasks += start(coalescer.get_or_fetch("nfl", origin))
    await asyncio.sleep(1)
    origin.answer("value")
    await outcomes(tasks)

    assert [(event.key, event.waiters, event.flight_age_seconds) for event in listener.joined] == [
        ("nfl", 1, 2.0),
        ("nfl", 2, 4.0),
    ]
    assert [(event.key, event.waited_seconds, event.error) for event in listener.left] == [
        ("nfl", 3.0, None),
        ("nfl", 1.0, None),
    ]
    (ended,) = listener.ended
    assert (ended.key, ended.elapsed_seconds, ended.waiters, ended.error) == ("nfl", 5.0, 2, None)


async def test_a_waiter_who_is_cancelled_leaves_with_that(virtual_time: VirtualClock, listener: Listener) -> None:
    """The others are still there when the fetch ends."""
    origin, coalescer = Origin(), RequestCoalescer(observers=[listener])
    tasks = start(*(coalescer.get_or_fetch("nfl", origin) for _ in range(3)))
    await asyncio.sleep(1)
    tasks[1].cancel()
    await turns()
    (left,) = listener.left
    assert (left.waited_seconds, type(left.error)) == (1.0, asyncio.CancelledError)
    origin.answer("value")
    await outcomes(tasks)
    assert listener.ended[0].waiters == 1


async def test_a_waiter_leaves_with_the_error_that_it_got(virtual_time: VirtualClock, listener: Listener) -> None:
    """Each waiter's own twin of the failure; the fetch ended with the original."""
    origin, coalescer = Origin(), RequestCoalescer(observers=[listener])
    error = LookupError("down")
    tasks = start(*(coalescer.get_or_fetch("nfl", origin) for _ in range(2)))
    await turns()
    origin.fail(error)
    leader, waiter = await outcomes(tasks)
    assert (leader, listener.ended[0].error) == (error, error)
    assert waiter is not error
    assert [event.error for event in listener.left] == [waiter]


async def test_a_waiter_who_waited_too_long_leaves_with_that(virtual_time: VirtualClock, listener: Listener) -> None:
    """The fetch goes on for its leader."""
    origin, coalescer = Origin(), RequestCoalescer(observers=[listener], max_wait_seconds=3)
    tasks = start(*(coalescer.get_or_fetch("nfl", origin) for _ in range(2)))
    await asyncio.sleep(4)
    assert [(event.waited_seconds, type(event.error)) for event in listener.left] == [(3.0, WaitTimeoutError)]
    assert listener.ended == []
    origin.answer("value")
    await outcomes(tasks)


async def test_a_fetch_that_is_cut_is_told_of_when_it_ends(virtual_time: VirtualClock, listener: Listener) -> None:
    """A fetch that ran too long has no waiters any more when its end is told."""
    origin, coalescer = Origin(), RequestCoalescer(observers=[listener], fetch_timeout_seconds=2)
    tasks = start(*(coalescer.get_or_fetch("nfl", origin) for _ in range(2)))
    ends = await outcomes(tasks)
    await turns()
    assert [type(end) for end in ends] == [FetchTimeoutError, FetchTimeoutError]
    (ended,) = listener.ended
    assert (ended.elapsed_seconds, ended.waiters) == (2.0, 0)


async def test_events_name_the_function_and_whether_it_is_a_refresh(listener: Listener) -> None:
    """Of a decorated function its name and the text of its key."""

    @coalesced(ttl=10, name="odds", key="odds:{league}", observers=[listener])
    async def odds(league: str) -> str:
        return "value"

    await odds("nba")
    await odds.refresh("nba")
    assert [(event.function, event.text, event.refresh) for event in listener.started] == [
        ("odds", "odds:nba", False),
        ("odds", "odds:nba", True),
    ]


async def test_a_coalescer_shows_what_is_in_the_air(virtual_time: VirtualClock) -> None:
    """Waiters are counted without leaders, the oldest fetch counts, and what nobody can join has no key."""
    origin, coalescer = Origin(), RequestCoalescer()

    def shown() -> tuple[Any, ...]:
        numbers: CoalescerStats = coalescer.statistics()
        gauges = numbers.gauges()
        return gauges.waiters, gauges.oldest_flight_seconds, gauges.zombies, gauges.pending_keys

    assert shown() == (0, 0.0, 0, 0)
    tasks = start(*(coalescer.get_or_fetch("nfl", partial(origin, "nfl")) for _ in range(3)))
    await asyncio.sleep(2)
    tasks += start(coalescer.get_or_fetch("nba", partial(origin, "nba")))
    await asyncio.sleep(1)
    assert shown() == (2, 3.0, 0, 2)
    coalescer.forget("nfl")
    assert shown() == (2, 3.0, 0, 1)
    for _ in range(2):
        origin.answer()
    await outcomes(tasks)
    assert shown() == (0, 0.0, 0, 0)


async def test_times_are_counted_from_their_own_beginning(virtual_time: VirtualClock) -> None:
    """A fetch and a wait that begin late are as long as they are."""
    await asyncio.sleep(10)
    origin, coalescer = Origin(), RequestCoalescer()
    tasks = start(coalescer.get_or_fetch("nfl", origin))
    await asyncio.sleep(2)
    tasks += start(coalescer.get_or_fetch("nfl", origin))
    await asyncio.sleep(1)
    origin.answer()
    await outcomes(tasks)
    numbers = coalescer.statistics()
    assert (numbers.fetch_seconds_total, numbers.wait_seconds_total, numbers.max_concurrent_waiters) == (3.0, 1.0, 1)


async def test_the_most_waiters_are_remembered(virtual_time: VirtualClock) -> None:
    """Over all flights the most that waited for one, whatever came before and after."""
    origin, coalescer = Origin(), RequestCoalescer()
    most = []
    for herd in (3, 5, 2):
        tasks = start(*(coalescer.get_or_fetch("nfl", origin) for _ in range(herd)))
        await turns()
        origin.answer()
        await outcomes(tasks)
        most.append(coalescer.statistics().max_concurrent_waiters)
    assert most == [2, 4, 4]


async def test_one_timer_serves_all_who_wait(virtual_time: VirtualClock) -> None:
    """Who arrived first is let go first; what is armed then is for the next, and nothing is left in the end."""
    origin, coalescer = Origin(), RequestCoalescer(max_wait_seconds=3)
    tasks = start(coalescer.get_or_fetch("nfl", origin))
    for _ in range(3):
        tasks += start(coalescer.get_or_fetch("nfl", origin))
        await asyncio.sleep(1)
    await asyncio.sleep(0.5)
    assert [task.done() for task in tasks] == [False, True, False, False]
    loop = asyncio.get_running_loop()
    assert len([timer for timer in loop._scheduled if not timer.cancelled()]) == 1
    origin.answer("value")
    ends = await outcomes(tasks)
    assert [type(end) for end in ends] == [str, WaitTimeoutError, str, str]


@pytest.mark.parametrize("ended", [False, True], ids=["in flight", "ended"])
async def test_a_flight_is_detached_once(ended: bool) -> None:
    """Again, or after its end, is no more than once: nothing is held on to."""
    origin, coalescer = Origin(), RequestCoalescer()
    tasks = start(coalescer.get_or_fetch("nfl", origin))
    await turns()
    (flight,) = coalescer._pending.values()
    if ended:
        origin.answer()
        await outcomes(tasks)
        flight.detach()
    else:
        flight.detach()
        flight.detach()
        assert (coalescer.pending_keys, len(coalescer.flights())) == ((), 1)
        origin.answer()
        await outcomes(tasks)
    assert (flight.table.detached, coalescer.flights()) == (set(), ())
    assert flight.waiters == 0


async def test_a_coalescer_shows_its_zombies(virtual_time: VirtualClock) -> None:
    """A fetch that was given up and does not stop."""
    coalescer, release = RequestCoalescer(), asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                pass

    (task,) = start(coalescer.get_or_fetch("key", stubborn))
    await turns()
    task.cancel()
    await outcomes([task])
    gauges = coalescer.statistics().gauges()
    assert (gauges.zombies, gauges.pending_keys, gauges.waiters) == (1, 0, 0)
    release.set()
    await turns()
