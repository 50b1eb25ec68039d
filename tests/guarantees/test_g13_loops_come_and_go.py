"""G13: loops come and go, one after another, side by side, with fetches in flight: nothing of one hinders another."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import pytest

from coalesce_kit import CoalescerClosedError, RequestCoalescer, coalesced
from coalesce_kit.testing.leaks import unretrieved
from tests.conftest import LoopFactory
from tests.fakes import Door, Origin, both_doors, outcomes, start, switching_threads_often, turns


class Argument(str):
    """A string that can be weakly referenced."""


def run(loop_factory: LoopFactory, main: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine on a new loop, as ``asyncio.run`` does."""
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(main)


def die_in_flight(loop_factory: LoopFactory, *calls: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    """Make calls on a loop that is closed by hand while they wait."""
    loop = loop_factory()

    async def begin() -> None:
        start(*(call() for call in calls))
        await turns()

    loop.run_until_complete(begin())
    loop.close()


@both_doors
def test_g13_two_successive_runs(door: Callable[..., Door], loop_factory: LoopFactory) -> None:
    """A second ``asyncio.run`` finds everything as the first one found it."""
    origin = Origin()
    asked = door(origin)

    async def herd() -> list[Any]:
        tasks = start(*(asked.ask() for _ in range(10)))
        await turns()
        origin.answer(len(origin.calls))
        return await outcomes(tasks)

    assert run(loop_factory, herd()) == [1] * 10
    assert run(loop_factory, herd()) == [2] * 10
    numbers = asked.numbers()
    assert (numbers.led_requests, numbers.coalesced_requests, numbers.fetches) == (2, 18, 2)


@both_doors
def test_g13_a_run_that_ends_with_a_fetch_in_flight(door: Callable[..., Door], loop_factory: LoopFactory) -> None:
    """``asyncio.run`` that ends while callers wait leaves no stuck key, and the next run fetches anew."""
    origin = Origin()
    asked = door(origin)

    async def leave() -> None:
        start(asked.ask(), asked.ask())
        await turns()

    async def ask() -> Any:
        (task,) = start(asked.ask())
        await turns()
        origin.answer()
        return await task

    run(loop_factory, leave())
    assert origin.working == 0
    assert asked.coalescer.flights() == ()
    assert run(loop_factory, ask()) == "answer"
    assert len(origin.calls) == 2


@both_doors
def test_g13_a_loop_that_died_with_a_fetch_in_flight(door: Callable[..., Door], loop_factory: LoopFactory) -> None:
    """A loop closed by hand under its flights is forgotten: its keys are free and its arguments are let go."""
    upstream_hangs = True

    async def origin(key: str) -> str:
        if upstream_hangs:
            await asyncio.get_running_loop().create_future()
        return f"answer for {key}"

    asked = door(origin)
    argument = Argument("nfl")
    reference = weakref.ref(argument)
    with unretrieved():  # asyncio tells that tasks were destroyed, and rightly so
        die_in_flight(loop_factory, partial(asked.ask, argument), partial(asked.ask, "nba"), partial(asked.ask, "nba"))
        del argument
        assert asked.coalescer.flights() == ()
        assert asked.coalescer.pending_keys == ()
        upstream_hangs = False
        assert run(loop_factory, asked.ask("nba")) == "answer for nba"
        gc.collect()

    assert reference() is None
    numbers = asked.numbers()
    assert (numbers.in_flight, numbers.waiters, numbers.pending_keys, numbers.zombies) == (0, 0, 0, 0)
    assert (numbers.led_requests, numbers.coalesced_requests, numbers.fetches) == (3, 1, 3)


def test_g13_an_instance_in_flight_on_a_dead_loop_is_let_go(loop_factory: LoopFactory) -> None:
    """Nothing keeps the instance of a method whose fetch died with its loop."""

    class Service:
        upstream_hangs = True

        @coalesced
        async def odds(self) -> str:
            if self.upstream_hangs:
                await asyncio.get_running_loop().create_future()
            return "odds"

    service = Service()
    reference = weakref.ref(service)
    with unretrieved():
        die_in_flight(loop_factory, service.odds)
        del service
        Service.upstream_hangs = False
        assert run(loop_factory, Service().odds()) == "odds"
        gc.collect()

    assert reference() is None
    assert Service.odds.stats().in_flight == 0


@pytest.mark.parametrize("how", ["a new loop is seen", "aclose"])
def test_g13_the_table_of_a_closed_loop_is_dropped(how: str, loop_factory: LoopFactory) -> None:
    """The flights of a closed loop are dropped when another loop is first seen, and by ``aclose``."""
    coalescer = RequestCoalescer()
    tasks: list[weakref.ref[Any]] = []

    async def fetch() -> None:
        tasks.append(weakref.ref(asyncio.current_task()))
        await asyncio.get_running_loop().create_future()

    with unretrieved():
        die_in_flight(loop_factory, partial(coalescer.get_or_fetch, "key", fetch))
        gc.collect()
        assert tasks[0]() is not None  # a weak map of loops would not have dropped it either
        if how == "aclose":
            run(loop_factory, coalescer.aclose())
        else:
            with pytest.raises(LookupError):
                run(loop_factory, coalescer.get_or_fetch("another key", raising))
        gc.collect()

        assert tasks[0]() is None
    assert coalescer.statistics().in_flight == 0


async def raising() -> None:
    raise LookupError


@both_doors
def test_g13_loops_side_by_side_share_no_flight(door: Callable[..., Door], loop_factory: LoopFactory) -> None:
    """Two loops with one key in flight each have a flight, each caller is answered on its own loop."""
    origin = Origin()
    asked = door(origin)
    loops = [loop_factory(), loop_factory()]

    async def ask() -> list[asyncio.Task[Any]]:
        tasks = start(asked.ask(), asked.ask())
        await turns()
        return tasks

    waiting = [loop.run_until_complete(ask()) for loop in loops]
    assert len(origin.calls) == 2
    assert len(asked.coalescer.flights()) == 2
    assert len(asked.coalescer.pending_keys) == 1
    origin.answer("first loop")
    origin.answer("second loop")

    assert loops[1].run_until_complete(outcomes(waiting[1])) == ["second loop"] * 2
    assert loops[0].run_until_complete(outcomes(waiting[0])) == ["first loop"] * 2
    for loop in loops:
        loop.close()
    assert (asked.numbers().fetches, asked.numbers().coalesced_requests) == (2, 2)


def test_g13_closing_on_one_loop_leaves_the_others_open(loop_factory: LoopFactory) -> None:
    """``aclose`` closes the coalescer for the loop that it runs on."""
    coalescer, origin = RequestCoalescer(), Origin()
    mine, theirs = loop_factory(), loop_factory()

    async def ask() -> list[asyncio.Task[Any]]:
        tasks = start(coalescer.get_or_fetch("key", origin))
        await turns()
        return tasks

    waiting = theirs.run_until_complete(ask())
    report = mine.run_until_complete(coalescer.aclose(deadline_seconds=0))
    assert report.cut == ()
    with pytest.raises(CoalescerClosedError):
        mine.run_until_complete(coalescer.get_or_fetch("key", origin))
    waiting += theirs.run_until_complete(ask())
    origin.answer()

    assert theirs.run_until_complete(outcomes(waiting)) == ["answer", "answer"]
    mine.close()
    theirs.close()


THREADS, ROUNDS, HERD = 8, 25, 12


@both_doors
def test_g13_counters_are_exact_over_threads(door: Callable[..., Door], loop_factory: LoopFactory) -> None:
    """Eight threads with a loop each, at work on the same keys, lose no count."""
    all_ready = threading.Barrier(THREADS)
    thrown: list[BaseException] = []

    async def origin(key: str) -> str:
        await asyncio.sleep(0)
        if key == "fails":
            raise LookupError(key)
        if key == "hangs":
            await asyncio.get_running_loop().create_future()
        return key

    asked = door(origin)

    async def herds() -> None:
        for _ in range(ROUNDS):
            answers = await asyncio.gather(*(asked.ask("nfl") for _ in range(HERD)))
            assert answers == ["nfl"] * HERD
            failures = await asyncio.gather(*(asked.ask("fails") for _ in range(HERD)), return_exceptions=True)
            assert [type(failure) for failure in failures] == [LookupError] * HERD
            leaving = start(asked.ask("hangs"), asked.ask("hangs"))
            await turns()
            for task in leaving:
                task.cancel()
            await outcomes(leaving)

    def work() -> None:
        try:
            all_ready.wait()
            run(loop_factory, herds())
        except BaseException as error:
            thrown.append(error)
            raise

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    with switching_threads_often():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert thrown == []
    numbers = asked.numbers()
    rounds = THREADS * ROUNDS
    assert numbers.led_requests == 3 * rounds
    assert numbers.coalesced_requests == (2 * (HERD - 1) + 1) * rounds
    assert numbers.total_requests == (2 * HERD + 2) * rounds
    assert numbers.abandoned_fetches == rounds
    assert numbers.fetch_errors == rounds
    assert numbers.error_fanout == (HERD - 1) * rounds
    assert numbers.ended_waits == numbers.coalesced_requests
    assert numbers.fetch_latency.count == numbers.fetches
    assert numbers.max_concurrent_waiters == HERD - 1
    assert (numbers.in_flight, numbers.waiters, numbers.rejected_requests) == (0, 0, 0)
    assert asked.coalescer.statistics().total_requests == numbers.total_requests


def test_g13_numbers_can_be_read_while_other_threads_work(loop_factory: LoopFactory) -> None:
    """``statistics()``, ``flights()`` and ``_pending`` may be asked in any thread at any time."""
    coalescer = RequestCoalescer()
    stopped = threading.Event()
    thrown: list[BaseException] = []

    async def fetch() -> None:
        await asyncio.sleep(0)

    async def many_keys() -> None:
        while not stopped.is_set():
            await asyncio.gather(*(coalescer.get_or_fetch(key, fetch) for key in range(20)))

    def work() -> None:
        try:
            run(loop_factory, many_keys())
        except BaseException as error:
            thrown.append(error)
            raise

    threads = [threading.Thread(target=work) for _ in range(2)]
    with switching_threads_often():
        for thread in threads:
            thread.start()
        for _ in range(100):
            assert coalescer.statistics().zombies == 0
            assert set(coalescer.pending_keys) <= set(range(20))
        stopped.set()
        for thread in threads:
            thread.join()

    assert thrown == []
    assert coalescer.flights() == ()
