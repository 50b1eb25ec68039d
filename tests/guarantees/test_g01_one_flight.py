"""G1: per event loop, at most one live fetch per key that new callers can join."""

import asyncio
from collections.abc import Callable

import pytest

from coalesce_kit.backends.in_process import RequestCoalescer
from tests.fakes import Door, Origin, both_doors, outcomes, start, turns

pytestmark = pytest.mark.on_every_loop


@both_doors
async def test_g01_hundred_callers_one_fetch(door: Callable[..., Door]) -> None:
    """A hundred callers of one key share one fetch and get one answer."""
    origin = Origin()
    asked = door(origin)
    tasks = start(*(asked.ask() for _ in range(100)))
    await turns()
    assert len(origin.calls) == 1
    origin.answer({"fixtures": ["a", "b"]})

    answers = await outcomes(tasks)

    assert answers == [{"fixtures": ["a", "b"]}] * 100
    assert len({id(answer) for answer in answers}) == 1


@both_doors
async def test_g01_other_keys_are_other_fetches(door: Callable[..., Door]) -> None:
    """Different keys are fetched side by side."""
    origin = Origin()
    asked = door(origin)
    tasks = start(*(asked.ask(key) for key in ("nfl", "nba", "nfl")))
    await turns()
    assert origin.working == 2
    origin.answer("first")
    origin.answer("second")

    assert await outcomes(tasks) == ["first", "second", "first"]


@both_doors
async def test_g01_the_next_call_fetches_again(door: Callable[..., Door]) -> None:
    """A flight that has ended is not joined: nothing is kept."""
    origin = Origin()
    asked = door(origin)
    for expected in ("first", "second"):
        (task,) = start(asked.ask())
        await turns()
        origin.answer(expected)
        assert await task == expected

    assert len(origin.calls) == 2


async def test_g01_a_late_end_leaves_the_successors_slot_alone() -> None:
    """A detached flight that ends does not remove the flight that has its slot by now."""
    coalescer, origin = RequestCoalescer(), Origin()
    (old,) = start(coalescer.get_or_fetch("key", origin))
    await turns()
    coalescer.forget("key")
    (new,) = start(coalescer.get_or_fetch("key", origin))
    await turns()
    origin.answer("old")
    assert await old == "old"

    (joins,) = start(coalescer.get_or_fetch("key", origin))
    await turns()
    assert len(origin.calls) == 2
    origin.answer("new")

    assert await outcomes([new, joins]) == ["new", "new"]


async def test_g01_forget_says_whether_there_was_a_flight() -> None:
    """``forget`` detaches a flight in the air, and says so."""
    coalescer, origin = RequestCoalescer(), Origin()
    assert not coalescer.forget("key")
    (task,) = start(coalescer.get_or_fetch("key", origin))
    await turns()

    assert coalescer.forget("key")
    assert not coalescer.forget("key")
    assert coalescer.pending_keys == ()
    assert [flight.joinable for flight in coalescer.flights()] == [False]
    origin.answer()
    assert await task == "answer"


async def test_g01_a_fetch_that_never_suspends_is_a_flight_like_any_other() -> None:
    """A fetch without an await is answered, and nothing is left."""
    coalescer = RequestCoalescer()

    async def at_once() -> int:
        return 7

    assert await asyncio.gather(*(coalescer.get_or_fetch("key", at_once) for _ in range(3))) == [7, 7, 7]
    assert coalescer.pending_keys == ()
