"""G2: a caller's cancellation or timeout never changes another's outcome, whoever came first."""

import asyncio
from collections.abc import Callable
from itertools import combinations

import anyio
import pytest

from tests.fakes import Door, Origin, both_doors, outcomes, start, turns

pytestmark = pytest.mark.on_every_loop


@pytest.mark.parametrize("leavers", [chosen for size in (1, 2) for chosen in combinations(range(4), size)])
@both_doors
async def test_g02_any_callers_may_be_cancelled(door: Callable[..., Door], leavers: tuple[int, ...]) -> None:
    """Whoever of four is cancelled, leader or waiter, the others get the answer of the one fetch."""
    origin = Origin()
    asked = door(origin)
    tasks = start(*(asked.ask() for _ in range(4)))
    await turns()
    for leaver in leavers:
        tasks[leaver].cancel()
    await turns()
    origin.answer()

    ends = await outcomes(tasks)

    assert len(origin.calls) == 1
    for place, end in enumerate(ends):
        assert isinstance(end, asyncio.CancelledError) if place in leavers else end == "answer"


@both_doors
async def test_g02_the_leader_under_asyncio_timeout(door: Callable[..., Door]) -> None:
    """The leader's ``asyncio.timeout`` is the leader's alone."""
    origin = Origin()
    asked = door(origin)

    async def impatient() -> object:
        async with asyncio.timeout(None) as limit:
            limits.append(limit)
            return await asked.ask()

    limits: list[asyncio.Timeout] = []
    tasks = start(impatient(), asked.ask())
    await turns()
    limits[0].reschedule(asyncio.get_running_loop().time())
    with pytest.raises(TimeoutError):
        await tasks[0]
    origin.answer()

    assert await tasks[1] == "answer"


@both_doors
async def test_g02_the_leader_under_anyio_move_on_after(door: Callable[..., Door]) -> None:
    """The leader's anyio scope is the leader's alone."""
    origin = Origin()
    asked = door(origin)

    async def impatient() -> object:
        with anyio.move_on_after(1000) as scope:
            scopes.append(scope)
            return await asked.ask()
        return "moved on"

    scopes: list[anyio.CancelScope] = []
    tasks = start(impatient(), asked.ask())
    await turns()
    scopes[0].cancel()
    assert await tasks[0] == "moved on"
    origin.answer()

    assert await tasks[1] == "answer"


@both_doors
async def test_g02_cancelled_in_the_tick_of_the_answer(door: Callable[..., Door]) -> None:
    """A caller cancelled in the same tick in which the answer comes does not take it from the others."""
    origin = Origin()
    asked = door(origin)
    tasks = start(*(asked.ask() for _ in range(3)))
    await turns()
    origin.answer()
    tasks[0].cancel()
    await turns()
    assert all(task.done() for task in tasks)

    ends = await outcomes(tasks)

    assert isinstance(ends[0], asyncio.CancelledError)
    assert ends[1:] == ["answer", "answer"]
