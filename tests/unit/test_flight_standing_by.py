"""A flight whose fetch waits for another process before it calls the function: who is bounded then, and by what."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from coalesce_kit import RequestCoalescer, WaitTimeoutError
from coalesce_kit.backends.flight import current_flight
from coalesce_kit.protocols import FlightTerms
from tests.fakes import Origin, outcomes, start, turns

pytestmark = pytest.mark.usefixtures("virtual_time")


def ask(
    coalescer: RequestCoalescer, origin: Origin, its_turn: asyncio.Event, **terms: Any
) -> Coroutine[Any, Any, object]:
    """Ask for a key whose fetch begins when it is its turn, as one does that has to ask a store first."""

    async def fetch() -> object:
        await its_turn.wait()
        flight = current_flight.get()
        assert flight is not None
        flight.begin()
        return await origin()

    return coalescer.get_or_fetch("key", fetch, terms=FlightTerms(waits_first=True, **terms))


async def test_the_leader_is_bounded_until_its_fetch_begins() -> None:
    """It waits for somebody else then, and for as long as any waiter, to the moment."""
    await asyncio.sleep(10)
    coalescer, loop, ended = RequestCoalescer(max_wait_seconds=0.5), asyncio.get_running_loop(), []
    tasks = start(ask(coalescer, Origin(), asyncio.Event()))
    tasks[0].add_done_callback(lambda _: ended.append(loop.time()))

    assert [type(end) for end in await outcomes(tasks)] == [WaitTimeoutError]
    assert ended == [10.5]


async def test_the_leader_is_not_bounded_once_its_fetch_has_begun() -> None:
    """From there on it waits for its own fetch, however long that takes."""
    coalescer, origin, its_turn = RequestCoalescer(max_wait_seconds=5), Origin(), asyncio.Event()
    tasks = start(ask(coalescer, origin, its_turn))
    await asyncio.sleep(4)
    its_turn.set()
    await asyncio.sleep(100)
    origin.answer("late")

    assert await outcomes(tasks) == ["late"]


async def test_what_nobody_needs_is_held_to_the_age_of_its_flight() -> None:
    """With ``finish`` it goes on without callers, also while it waits, up to ``max_flight_seconds``."""
    await asyncio.sleep(10)
    coalescer = RequestCoalescer(max_wait_seconds=None, max_flight_seconds=0.5)
    tasks = start(ask(coalescer, Origin(), asyncio.Event(), on_abandon="finish"))
    await asyncio.sleep(0.1)
    tasks[0].cancel()
    await outcomes(tasks)
    await asyncio.sleep(0.3)
    assert len(coalescer.flights()) == 1
    await asyncio.sleep(0.2)

    assert coalescer.flights() == ()


async def test_what_has_begun_is_held_to_the_limit_of_the_fetch() -> None:
    """Where there is a ``fetch_timeout_seconds``, that bounds it from its beginning, and its age does not."""
    coalescer, origin = RequestCoalescer(max_wait_seconds=None, max_flight_seconds=20), Origin()
    its_turn = asyncio.Event()
    tasks = start(ask(coalescer, origin, its_turn, on_abandon="finish", fetch_timeout_seconds=100))
    await asyncio.sleep(10)
    its_turn.set()
    await asyncio.sleep(1)
    tasks[0].cancel()
    await outcomes(tasks)
    await asyncio.sleep(98)
    assert origin.working == 1
    await asyncio.sleep(2)

    assert origin.working == 0


@pytest.mark.parametrize("how", ["has begun", "was asked for anew"])
async def test_who_asks_anew_joins_what_will_run(how: str) -> None:
    """A fetch that calls the function in any case is as good as one of its own."""
    coalescer, origin, its_turn = RequestCoalescer(), Origin(), asyncio.Event()
    tasks = start(ask(coalescer, origin, its_turn, anew=how == "was asked for anew"))
    if how == "has begun":
        its_turn.set()
        await turns()
    tasks += start(ask(coalescer, origin, its_turn, anew=True))
    await turns()
    its_turn.set()
    await turns()
    assert origin.working == 1
    origin.answer("one")

    assert await outcomes(tasks) == ["one", "one"]


async def test_who_asks_anew_leads_beside_what_may_be_answered_by_another_process() -> None:
    """Who only asked keeps what he waits for, and who comes later joins the new one."""
    coalescer, origin, its_turn = RequestCoalescer(), Origin(), asyncio.Event()
    tasks = start(ask(coalescer, origin, its_turn), ask(coalescer, origin, its_turn, anew=True))
    await turns()
    tasks += start(ask(coalescer, origin, its_turn))
    its_turn.set()
    await turns()
    assert origin.working == 2
    origin.answer("old")
    origin.answer("new")

    assert await outcomes(tasks) == ["old", "new", "new"]
