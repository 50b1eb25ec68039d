"""G3: when the last caller leaves, the fetch is cancelled; ``on_abandon="finish"`` lets it end, within limits."""

import asyncio
from collections.abc import Callable

import pytest

from coalesce_kit.backends.in_process import RequestCoalescer
from tests.fakes import Door, Origin, both_doors, outcomes, start, turns


@pytest.mark.on_every_loop
@both_doors
async def test_g03_the_last_leaver_cancels(door: Callable[..., Door]) -> None:
    """The fetch goes on while one caller is left, and is cancelled with the last."""
    origin = Origin()
    asked = door(origin)
    tasks = start(*(asked.ask() for _ in range(3)))
    await turns()
    for task in tasks[:2]:
        task.cancel()
    await turns()
    assert origin.working == 1
    tasks[2].cancel()
    await outcomes(tasks)
    await turns()

    assert origin.working == 0
    numbers = asked.numbers()
    assert (numbers.abandoned_fetches, numbers.fetch_cancelled, numbers.fetches) == (1, 1, 1)


@pytest.mark.on_every_loop
@both_doors
async def test_g03_two_leave_at_once(door: Callable[..., Door]) -> None:
    """All callers cancelled in one tick end the fetch once."""
    origin = Origin()
    asked = door(origin)
    tasks = start(*(asked.ask() for _ in range(2)))
    await turns()
    for task in tasks:
        task.cancel()
    await outcomes(tasks)
    await turns()

    assert origin.working == 0
    assert asked.numbers().abandoned_fetches == 1


@pytest.mark.on_every_loop
async def test_g03_a_dying_flight_is_not_joined() -> None:
    """A flight whose last caller has left takes no newcomer, even while its fetch still cleans up."""
    coalescer = RequestCoalescer()
    cleaning, cleaned = asyncio.Event(), asyncio.Event()

    async def slow_to_die() -> str:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cleaning.set()
            await cleaned.wait()
        return "never"

    async def second() -> str:
        return "second"

    (first,) = start(coalescer.get_or_fetch("key", slow_to_die))
    await turns()
    first.cancel()
    await cleaning.wait()

    assert [flight.zombie for flight in coalescer.flights()] == [True]
    assert await coalescer.get_or_fetch("key", second) == "second"
    cleaned.set()
    await outcomes([first])


@pytest.mark.on_every_loop
async def test_g03_a_caller_whose_coroutine_is_closed_has_left() -> None:
    """A caller that is closed instead of cancelled is counted out, too."""
    coalescer, origin = RequestCoalescer(), Origin()
    caller = coalescer.get_or_fetch("key", origin)
    caller.send(None)
    await turns()
    caller.close()
    await turns()

    assert origin.working == 0


@pytest.mark.on_every_loop
async def test_g03_cancelled_before_the_fetch_began() -> None:
    """A caller who leaves before the task's first step takes the fetch along, and it is never run."""
    coalescer, origin = RequestCoalescer(), Origin()
    caller = coalescer.get_or_fetch("key", origin)
    caller.send(None)
    begun = len(origin.calls)  # 1 with eager tasks
    caller.close()
    await turns()

    assert len(origin.calls) == begun
    assert coalescer.flights() == ()
    assert coalescer.statistics().in_flight == 0


@pytest.mark.on_every_loop
async def test_g03_somebody_cancels_the_task_before_it_began() -> None:
    """The callers of a task that was cancelled before its first step are told, and the slot is free."""
    coalescer, origin = RequestCoalescer(), Origin()
    caller = coalescer.get_or_fetch("key", origin)
    waited = caller.send(None)
    if origin.calls:
        caller.close()
        pytest.skip("an eager task has begun by then")
    for task in asyncio.all_tasks():
        if task.get_name() == "coalesce_kit.fetch":
            task.cancel()
    await turns()

    assert waited.done()
    with pytest.raises(RuntimeError, match="ended in CancelledError"):
        caller.send(None)
    assert coalescer.pending_keys == ()


@pytest.mark.on_every_loop
@both_doors
async def test_g03_finish_goes_on_without_callers(door: Callable[..., Door]) -> None:
    """With ``finish`` the flight outlives its callers and later ones join it."""
    origin = Origin()
    asked = door(origin, on_abandon="finish")
    (first,) = start(asked.ask())
    await turns()
    first.cancel()
    await outcomes([first])
    assert origin.working == 1
    (second,) = start(asked.ask())
    await turns()
    origin.answer()

    assert await second == "answer"
    assert len(origin.calls) == 1


@both_doors
async def test_g03_finish_without_callers_ends_at_max_flight_seconds(
    door: Callable[..., Door], virtual_time: object
) -> None:
    """A fetch that nobody waits for is cancelled when it is over age."""
    origin = Origin()
    asked = door(origin, on_abandon="finish", max_flight_seconds=60)
    (first,) = start(asked.ask())
    await turns()
    first.cancel()
    await outcomes([first])
    await asyncio.sleep(59.9)
    assert origin.working == 1
    await asyncio.sleep(0.2)

    assert origin.working == 0


@both_doors
async def test_g03_finish_ends_at_its_fetch_timeout(door: Callable[..., Door], virtual_time: object) -> None:
    """``fetch_timeout_seconds`` bounds a fetch that nobody waits for, too."""
    origin = Origin()
    asked = door(origin, on_abandon="finish", fetch_timeout_seconds=3)
    (first,) = start(asked.ask())
    await turns()
    first.cancel()
    await outcomes([first])
    await asyncio.sleep(3.1)

    assert origin.working == 0
    assert asked.numbers().fetch_timeouts == 1
