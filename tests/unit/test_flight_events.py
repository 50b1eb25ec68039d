"""What observers are told of a flight, and what its coalescer shows of it: who waits, how long, and what came of it."""

from __future__ import annotations

import asyncio
import gc
import logging
from functools import partial
from typing import Any, Self

import pytest

from coalesce_kit import (
    CoalescerStats,
    FetchCancelledError,
    FetchTimeoutError,
    Observer,
    RequestCoalescer,
    WaitTimeoutError,
    coalesced,
)
from coalesce_kit.backends.in_process import PendingRequest
from coalesce_kit.protocols import FlightTerms
from coalesce_kit.testing.clock import VirtualClock
from coalesce_kit.testing.leaks import unretrieved
from tests.conftest import LoopFactory
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
    await asyncio.sleep(10)
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


async def test_an_ended_flight_holds_nothing_and_is_joined_by_nobody() -> None:
    """A context that outlives the fetch may still name it."""
    origin, coalescer = Origin(), RequestCoalescer()
    tasks = start(*(coalescer.get_or_fetch("nfl", origin) for _ in range(2)))
    await turns()
    (flight,) = coalescer._pending.values()
    origin.answer()
    await outcomes(tasks)
    assert (flight.running, flight.decided, flight.may_be_joined(0.0)) == (False, True, False)
    assert (flight.task, flight.key, flight.ticket, flight.inside) == (None, None, None, None)
    assert (flight.leader, flight.callers, flight.waiters) == (None, {}, 0)


async def test_a_timer_keeps_nobodys_context(virtual_time: VirtualClock) -> None:
    """A timer that is cancelled stays in the loop until its time: it runs in an empty context."""
    origin, coalescer = Origin(), RequestCoalescer(fetch_timeout_seconds=60)
    tasks = start(*(coalescer.get_or_fetch("nfl", origin) for _ in range(2)))
    await turns()
    timers = [timer for timer in asyncio.get_running_loop()._scheduled if not timer.cancelled()]
    assert [len(timer._context) for timer in timers] == [0, 0]
    origin.answer()
    await outcomes(tasks)


@pytest.mark.parametrize("close", [RequestCoalescer.aclose, RequestCoalescer.drain])
async def test_what_runs_has_ten_seconds_to_end(virtual_time: VirtualClock, close: Any) -> None:
    """Without another deadline; what has not ended by then is cut."""
    origin, coalescer = Origin(), RequestCoalescer()
    tasks = start(coalescer.get_or_fetch("nfl", origin))
    await turns()
    report = await close(coalescer)
    assert (virtual_time.now(), report.finished, report.cut) == (10.0, 0, ("nfl",))
    await outcomes(tasks)


def test_a_flight_whose_loop_was_closed_under_it_is_over(loop_factory: LoopFactory) -> None:
    """Nobody can be woken any more: it has neither slot nor callers, once another loop is seen."""
    coalescer, loop = RequestCoalescer(), loop_factory()

    async def hang() -> None:
        await asyncio.get_running_loop().create_future()

    async def leave() -> PendingRequest:
        start(*(coalescer.get_or_fetch("nfl", hang) for _ in range(2)))
        await turns()
        (flight,) = coalescer._pending.values()
        return flight

    async def fetch() -> str:
        return "value"

    with unretrieved():  # asyncio tells that tasks were destroyed, and rightly so
        flight = loop.run_until_complete(leave())
        loop.close()
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            assert runner.run(coalescer.get_or_fetch("nba", fetch)) == "value"
        assert (flight.running, flight.decided, flight.callers, flight.task) == (False, True, {}, None)
        assert (flight.table.pending, flight.table.detached) == ({}, set())
        del flight, loop
        gc.collect()
    assert coalescer.statistics().in_flight == 0


def test_closing_forgets_loops_that_were_closed(loop_factory: LoopFactory) -> None:
    """Also on a loop that the coalescer knows already."""
    coalescer = RequestCoalescer()

    async def fetch() -> str:
        return "value"

    mine, other = loop_factory(), loop_factory()
    for loop in (mine, other):
        loop.run_until_complete(coalescer.get_or_fetch("nfl", fetch))
    other.close()
    assert len(coalescer._tables) == 2
    mine.run_until_complete(coalescer.aclose())
    assert list(coalescer._tables) == [mine]
    mine.close()


class Turning:
    """A key that cannot be hashed any more once it has turned bad."""

    bad = False

    def __hash__(self) -> int:
        if self.bad:
            raise LookupError("bad")
        return 1


async def test_a_key_that_turns_bad_is_left_where_it_is(caplog: pytest.LogCaptureFixture) -> None:
    """The callers get their answer, which says so in the log; the next one takes the slot from the ended flight."""
    coalescer, origin, key = RequestCoalescer(), Origin(), Turning()
    tasks = start(coalescer.get_or_fetch(key, origin))
    await turns()
    key.bad = True
    with caplog.at_level(logging.DEBUG, "coalesce_kit"):
        origin.answer("value")
        assert await outcomes(tasks) == ["value"]
    assert [record.message for record in caplog.records] == ["slot_not_left"]
    key.bad = False
    tasks = start(coalescer.get_or_fetch(key, origin))
    await turns()
    origin.answer("new")
    assert await outcomes(tasks) == ["new"]
    assert coalescer.pending_keys == ()


@pytest.mark.parametrize("waiters", [0, 1, 3])
async def test_a_failure_that_is_copied_is_not_shared_as_it_is(waiters: int) -> None:
    """It reaches everybody who waited, each with an error of its own."""
    origin, coalescer = Origin(), RequestCoalescer()
    tasks = start(*(coalescer.get_or_fetch("nfl", origin) for _ in range(waiters + 1)))
    await turns()
    origin.fail(LookupError("down"))
    ends = await outcomes(tasks)
    numbers = coalescer.statistics()
    assert (numbers.error_fanout, numbers.errors_shared_as_is) == (waiters, 0)
    assert len({id(end) for end in ends}) == waiters + 1


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


async def test_a_failure_says_how_long_ago_its_leader_left(virtual_time: VirtualClock) -> None:
    """What is outside the key was the leader's, and is gone with it."""
    await asyncio.sleep(10)
    origin, coalescer, terms = Origin(), RequestCoalescer(), FlightTerms(outside_key=("session",))
    tasks = start(*(coalescer.get_or_fetch("nfl", origin, terms=terms) for _ in range(2)))
    await asyncio.sleep(1)
    tasks[0].cancel()
    await asyncio.sleep(3)
    origin.fail(LookupError("closed"))
    _, error = await outcomes(tasks)
    (note,) = error.__notes__
    assert note == ("led by a caller who left 3.00 s earlier; 'session' was theirs: open it inside the function")


class Uncopied(Exception):
    """An error that cannot be built without its own ``__new__``, so that nobody builds another one."""

    def __new__(cls, *arguments: object) -> Self:
        return super().__new__(cls, *arguments)


async def test_what_cannot_be_copied_is_counted_for_each_who_got_it() -> None:
    """In the function's numbers and in the coalescer's, as is how many waited."""
    origin, coalescer, terms = Origin(), RequestCoalescer(), FlightTerms()
    tasks = start(*(coalescer.get_or_fetch("nfl", origin, terms=terms) for _ in range(4)))
    await turns()
    origin.fail(Uncopied("down"))
    ends = await outcomes(tasks)
    assert len({id(end) for end in ends}) == 1
    for numbers in (terms.counters.snapshot("f"), coalescer.statistics()):
        assert (numbers.error_fanout, numbers.errors_shared_as_is, numbers.max_concurrent_waiters) == (3, 3, 3)


async def test_a_fetch_that_was_cancelled_before_it_began_is_not_joined() -> None:
    """It will not fetch any more; one that has begun may still answer."""
    origin, coalescer = Origin(), RequestCoalescer()
    tasks = start(coalescer.get_or_fetch("nfl", origin))
    await turns(1)
    (flight,) = coalescer._pending.values()
    assert flight.may_be_joined(0.0)
    flight.task.cancel()
    assert not flight.may_be_joined(0.0)
    tasks += start(coalescer.get_or_fetch("nfl", origin))
    await turns()
    assert len(origin.calls) == 1
    origin.answer("value")
    cut, answered = await outcomes(tasks)
    assert (type(cut), answered) == (FetchCancelledError, "value")


async def test_a_leader_who_handles_an_error_makes_a_plain_task() -> None:
    """Else a step that runs at once would have that error for its context; all others ask the loop's factory."""
    coalescer, loop = RequestCoalescer(), asyncio.get_running_loop()
    made: list[Any] = []

    def factory(loop: Any, coroutine: Any, **options: Any) -> Any:
        made.append(coroutine)
        return asyncio.Task(coroutine, loop=loop, **options)

    async def fetch() -> str:
        return "value"

    loop.set_task_factory(factory)
    try:
        await coalescer.get_or_fetch("nfl", fetch)
        assert len(made) == 1
        try:
            raise LookupError
        except LookupError:
            await coalescer.get_or_fetch("nfl", fetch)
    finally:
        loop.set_task_factory(None)
    assert len(made) == 1
