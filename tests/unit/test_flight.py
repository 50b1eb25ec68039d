"""Flights seen from outside: what is shown of them, and what another thread may do to them."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from coalesce_kit import PendingRequest, RequestCoalescer, coalesced
from coalesce_kit.backends.table import FlightTable
from coalesce_kit.protocols import FlightTerms
from coalesce_kit.stats.counters import Counters
from coalesce_kit.testing.clock import VirtualClock
from tests.fakes import Origin, outcomes, start, turns


def in_thread(work: Callable[[], Any]) -> Any:
    """Run something in another thread, which has no event loop, while this one stands still."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join()
    return results[0]


async def test_what_is_shown_of_a_flight(virtual_time: VirtualClock) -> None:
    """A flight shows key, age, waiters and state, to any thread."""
    coalescer, origin = RequestCoalescer(), Origin()
    tasks = start(*(coalescer.get_or_fetch("fixtures:nfl", origin) for _ in range(3)))
    await asyncio.sleep(2)
    (info,) = in_thread(coalescer.flights)
    (pending,) = coalescer._pending.values()

    assert (info.key, info.age_seconds, info.waiters) == ("fixtures:nfl", 2, 2)
    assert (info.joinable, info.good, info.zombie) == (True, True, False)
    assert repr(pending) == "<PendingRequest 'fixtures:nfl' in flight for 2.000 s, waiters=2>"
    assert in_thread(lambda: coalescer.pending_keys) == ("fixtures:nfl",)
    coalescer.forget("fixtures:nfl")
    assert repr(pending) == "<PendingRequest 'fixtures:nfl' detached for 2.000 s, waiters=2>"
    assert repr(coalescer) == "<RequestCoalescer in flight: 1, max_wait_seconds=5.0>"
    origin.answer()
    await outcomes(tasks)
    assert repr(pending) == "<PendingRequest ended>"


async def test_a_flight_shows_its_own_age_and_no_waiters_where_there_are_none(virtual_time: VirtualClock) -> None:
    """Age counts from its own beginning; a leader alone is no waiter, and neither is anybody once it has left."""
    await asyncio.sleep(10)
    coalescer, origin = RequestCoalescer(on_abandon="finish"), Origin()
    tasks = start(coalescer.get_or_fetch("key", origin))
    await asyncio.sleep(2)
    (pending,) = coalescer._pending.values()
    shown = "<PendingRequest 'key' in flight for 2.000 s, waiters=0>"
    assert (repr(pending), coalescer.flights()[0].age_seconds, coalescer.flights()[0].waiters) == (shown, 2, 0)
    tasks[0].cancel()
    await outcomes(tasks)
    assert (repr(pending), coalescer.flights()[0].waiters, coalescer.statistics().waiters) == (shown, 0, 0)
    origin.answer()
    await turns()


async def test_a_flight_is_joined_up_to_its_age(virtual_time: VirtualClock) -> None:
    """The last moment is one of them; right after it the next caller leads."""
    coalescer, origin = RequestCoalescer(max_flight_seconds=3), Origin()
    tasks = start(coalescer.get_or_fetch("key", origin))
    await asyncio.sleep(3)
    tasks += start(coalescer.get_or_fetch("key", origin))
    await turns()
    assert len(origin.calls) == 1
    await asyncio.sleep(0.001)
    tasks += start(coalescer.get_or_fetch("key", origin))
    await turns()
    assert len(origin.calls) == 2
    for _ in range(2):
        origin.answer()
    await outcomes(tasks)


async def test_a_task_that_cannot_be_made_leaves_nothing() -> None:
    """The error of the loop's task factory reaches the caller; while it is held, nothing is in flight any more."""
    coalescer, origin = RequestCoalescer(), Origin()
    loop = asyncio.get_running_loop()

    def refuse(*_: Any, **__: Any) -> Any:
        raise LookupError("no task today")

    loop.set_task_factory(refuse)
    try:
        with pytest.raises(LookupError) as caught:
            await coalescer.get_or_fetch("key", origin)
    finally:
        loop.set_task_factory(None)
    assert str(caught.value) == "no task today"
    numbers = coalescer.statistics()
    assert (coalescer.pending_keys, numbers.in_flight, numbers.fetches, origin.calls) == ((), 0, 0, [])


@pytest.mark.parametrize(
    ("error", "counted"),
    [
        (LookupError("down"), (1, 0)),
        (asyncio.CancelledError("inside"), (0, 1)),
        (GeneratorExit(), (0, 1)),
    ],
    ids=lambda one: type(one).__name__,
)
async def test_how_a_fetch_failed_is_counted_once(error: BaseException, counted: tuple[int, int]) -> None:
    """A failure is an error, a cancellation from inside is none; the reason of what callers get is what was raised."""
    coalescer = RequestCoalescer()

    async def fail() -> None:
        raise error

    (raised,) = await outcomes(start(coalescer.get_or_fetch("key", fail)))
    assert error in (raised, raised.__cause__)
    numbers = coalescer.statistics()
    assert (numbers.fetch_errors, numbers.fetch_cancelled) == counted
    assert (numbers.fetch_timeouts, numbers.fetch_latency.count) == (0, 1)


async def test_a_stop_iteration_is_an_error() -> None:
    """It cannot leave a coroutine: the callers get a ``RuntimeError`` for it, and the fetch has failed."""
    coalescer = RequestCoalescer()

    def stop() -> Any:
        raise StopIteration("empty")

    (raised,) = await outcomes(start(coalescer.get_or_fetch("key", stop)))
    assert type(raised.__cause__) is StopIteration
    numbers = coalescer.statistics()
    assert type(raised) is RuntimeError
    assert (numbers.fetch_errors, numbers.fetch_cancelled) == (1, 0)


async def test_a_flight_that_was_given_up_says_so() -> None:
    """A zombie shows as given up."""
    coalescer = RequestCoalescer()
    release = asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                pass

    (task,) = start(coalescer.get_or_fetch("key", stubborn))
    await turns()
    (pending,) = coalescer._pending.values()
    task.cancel()
    await outcomes([task])
    assert "given up" in repr(pending)
    release.set()
    await turns()


@pytest.mark.on_every_loop
async def test_another_thread_forgets() -> None:
    """``forget`` from a thread without a loop keeps the callers and makes the next one lead anew."""
    coalescer, origin = RequestCoalescer(), Origin()
    old = start(*(coalescer.get_or_fetch("key", origin) for _ in range(2)))
    await turns()

    assert in_thread(lambda: coalescer.forget("key")) is True
    assert in_thread(lambda: coalescer.forget("key")) is False
    assert in_thread(lambda: coalescer.forget("unknown")) is False
    assert [flight.joinable for flight in coalescer.flights()] == [False]
    new = start(*(coalescer.get_or_fetch("key", origin) for _ in range(2)))
    await turns()
    origin.answer("old")
    await turns()
    origin.answer("new")

    assert await outcomes([*old, *new]) == ["old", "old", "new", "new"]
    assert len(origin.calls) == 2
    assert coalescer.flights() == ()


@pytest.mark.on_every_loop
async def test_another_thread_forgets_at_every_moment_of_a_flight() -> None:
    """Wherever in its life a flight is forgotten by another thread, it ends, leaves its slot, and hangs nobody."""
    coalescer = RequestCoalescer()
    stop = threading.Event()

    def forget_for_ever() -> None:
        while not stop.is_set():
            coalescer.forget("key")

    async def fetch() -> int:
        await asyncio.sleep(0)
        return 7

    thread = threading.Thread(target=forget_for_ever)
    thread.start()
    try:
        for _ in range(300):
            callers = start(*(coalescer.get_or_fetch("key", fetch) for _ in range(3)))
            assert await asyncio.wait_for(outcomes(callers), 30) == [7, 7, 7]
    finally:
        stop.set()
        thread.join()

    assert coalescer.pending_keys == ()
    assert coalescer.flights() == ()
    assert coalescer.statistics().in_flight == 0


async def test_forgetting_before_the_fetch_began_keeps_it_held(virtual_time: VirtualClock) -> None:
    """A flight of its own (``finish``) that another thread forgets at its start is held as long as any other."""
    coalescer, origin = RequestCoalescer(on_abandon="finish", max_flight_seconds=60), Origin()
    caller = coalescer.get_or_fetch("key", origin)
    caller.send(None)
    assert in_thread(lambda: coalescer.forget("key"))
    caller.close()
    await asyncio.sleep(59)
    assert origin.working == 1
    await asyncio.sleep(2)

    assert origin.working == 0


@pytest.mark.on_every_loop
async def test_two_functions_of_one_coalescer_are_apart() -> None:
    """The same arguments of two functions are two flights, each with numbers of its own."""
    coalescer, origin = RequestCoalescer(), Origin()

    @coalesced(backend=coalescer)
    async def fixtures(sport: str) -> object:
        return await origin("fixtures", sport)

    @coalesced(backend=coalescer)
    async def odds(sport: str) -> object:
        return await origin("odds", sport)

    tasks = start(fixtures("nfl"), odds("nfl"), fixtures("nfl"))
    await turns()
    assert origin.calls == [("fixtures", "nfl"), ("odds", "nfl")]
    origin.answer("f")
    origin.answer("o")

    assert await outcomes(tasks) == ["f", "o", "f"]
    assert (fixtures.stats().total_requests, odds.stats().total_requests) == (2, 1)
    assert coalescer.statistics().total_requests == 3


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize(("given_up", "running"), [(True, True), (True, False), (False, True)])
async def test_a_fetch_is_in_vain_inside_one_that_is_about_to_stop(depth: int, given_up: bool, running: bool) -> None:
    """At whatever depth: one that was given up, and has not stopped yet."""
    table: FlightTable[PendingRequest] = FlightTable(asyncio.get_running_loop(), Counters(), 60.0)
    terms = FlightTerms()
    outermost = flight = PendingRequest("outermost", terms, table, 0.0, None)
    outermost.given_up, outermost.running = given_up, running
    for level in range(depth):
        inner = PendingRequest(level, terms, table, 0.0, None)
        inner.inside, flight = flight, inner
    assert flight._may_be_in_vain() is (given_up and running)
    assert not outermost._may_be_in_vain()


@pytest.mark.parametrize("detached", [False, True], ids=["alone", "beside a detached flight"])
async def test_a_fetch_inside_another_begins_as_soon_as_any(detached: bool) -> None:
    """It does not wait a turn in case the outer one is cancelled, unless that is about to happen."""
    coalescer, origin, aside = RequestCoalescer(), Origin(), Origin()
    tasks = []
    if detached:
        tasks = start(coalescer.get_or_fetch("aside", aside))
        await turns()
        coalescer.forget("aside")
    tasks += start(coalescer.get_or_fetch("outer", lambda: coalescer.get_or_fetch("inner", origin)))
    await turns(3)
    assert origin.working == 1
    for one in (origin, aside)[: len(tasks)]:
        one.answer()
    await outcomes(tasks)


async def test_a_flight_that_has_not_taken_off_can_be_given_up() -> None:
    """Without a task there is none to cancel; the callers are told all the same."""
    loop = asyncio.get_running_loop()
    flight = PendingRequest("key", FlightTerms(), FlightTable(loop, Counters(), 60.0), 0.0, None)
    future = loop.create_future()
    flight.callers[future] = 0.0
    flight.give_up(LookupError("no"), "no")

    with pytest.raises(LookupError, match="no"):
        raise (await future).original()
