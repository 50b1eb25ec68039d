"""Bringing a coalescer's flights to an end: ``aclose``, ``drain``, ``async with``."""

import asyncio
from collections.abc import Callable

import pytest

from coalesce_kit import (
    CloseReport,
    CoalescerClosedError,
    ConfigurationError,
    FetchCancelledError,
    RequestCoalescer,
    detached_context,
)
from tests.fakes import Door, Origin, both_doors, outcomes, start, turns

virtual = pytest.mark.usefixtures("virtual_time")
on_every_loop = pytest.mark.on_every_loop


@on_every_loop
@both_doors
async def test_closing_waits_for_what_runs(door: Callable[..., Door]) -> None:
    """Fetches in flight end by themselves, their callers get their answers, and that is reported."""
    origin = Origin()
    asked = door(origin)
    tasks = start(*(asked.ask(key) for key in ("a", "a", "b")))
    await turns()
    (closing,) = start(asked.coalescer.aclose())
    await turns()
    assert not closing.done()
    origin.answer("a")
    origin.answer("b")

    assert await outcomes(tasks) == ["a", "a", "b"]
    assert await closing == CloseReport(finished=2, cut=())


@virtual
@on_every_loop
@both_doors
async def test_closing_cuts_at_the_deadline(door: Callable[..., Door]) -> None:
    """What has not ended by then is cancelled, its callers are told why, and the report names it."""
    origin = Origin()
    asked = door(origin)
    tasks = start(asked.ask("ends"), asked.ask("stays"), asked.ask("stays"))
    await turns()
    (closing,) = start(asked.coalescer.aclose(deadline_seconds=3))
    await asyncio.sleep(1)
    origin.answer("in time")
    report = await closing

    assert report == CloseReport(finished=1, cut=("fixtures:stays",))
    assert asyncio.get_running_loop().time() == 3
    first, *ends = await outcomes(tasks)
    assert first == "in time"
    assert [type(end) for end in ends] == [FetchCancelledError] * 2
    assert str(ends[0]) == "the fetch of 'fixtures:stays' was cancelled: drained: it had not ended within 3 s"
    assert origin.working == 0
    assert asked.numbers().fetch_cancelled == 1
    assert asked.numbers().abandoned_fetches == 0


@on_every_loop
@both_doors
async def test_a_deadline_of_zero_cuts_at_once(door: Callable[..., Door]) -> None:
    """Nothing is waited for."""
    origin = Origin()
    asked = door(origin)
    tasks = start(asked.ask())
    await turns()

    assert await asked.coalescer.aclose(deadline_seconds=0) == CloseReport(0, ("fixtures:nfl",))
    assert [type(end) for end in await outcomes(tasks)] == [FetchCancelledError]


@on_every_loop
@both_doors
async def test_a_closed_coalescer_refuses_and_counts(door: Callable[..., Door]) -> None:
    """Later calls get ``CoalescerClosedError`` and are counted as rejected; the origin is not called."""
    origin = Origin()
    asked = door(origin)
    assert await asked.coalescer.aclose() == CloseReport(0)
    with pytest.raises(CoalescerClosedError, match="closed on this event loop, so 'fixtures:nfl' is not fetched"):
        await asked.ask()

    numbers = asked.numbers()
    assert (numbers.rejected_requests, numbers.total_requests) == (1, 1)
    assert origin.calls == []
    assert asked.coalescer.pending_keys == ()


@on_every_loop
@both_doors
async def test_nobody_joins_a_flight_that_is_being_drained(door: Callable[..., Door]) -> None:
    """A new caller is refused although the fetch of its key still runs."""
    origin = Origin()
    asked = door(origin)
    (task,) = start(asked.ask())
    await turns()
    (closing,) = start(asked.coalescer.aclose())
    await turns()
    with pytest.raises(CoalescerClosedError):
        await asked.ask()
    origin.answer()

    assert await task == "answer"
    await closing


@on_every_loop
@both_doors
async def test_what_a_drained_fetch_asks_for_is_answered(door: Callable[..., Door]) -> None:
    """A fetch in flight may need others in order to end, and they are waited for, too."""
    goes_on = asyncio.Event()

    async def origin(key: str) -> str:
        if key == "outer":
            await goes_on.wait()
            return f"outer with {await asked.ask('inner')}"
        await turns()
        return "inner"

    asked = door(origin)
    (task,) = start(asked.ask("outer"))
    await turns()
    (closing,) = start(asked.coalescer.aclose())
    await turns()
    goes_on.set()

    assert await task == "outer with inner"
    report = await closing
    assert report.cut == ()
    assert report.finished >= 1


@on_every_loop
@both_doors
async def test_a_flight_that_was_cut_starts_no_other(door: Callable[..., Door]) -> None:
    """What a cut fetch asks for while it cleans up is refused."""
    ends: list[BaseException] = []

    async def origin(key: str) -> str:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            try:
                await asked.ask("cleaning up")
            except CoalescerClosedError as error:
                ends.append(error)
        return key

    asked = door(origin)
    (task,) = start(asked.ask())
    await turns()
    await asked.coalescer.aclose(deadline_seconds=0)
    await outcomes([task])

    assert len(ends) == 1
    assert asked.coalescer.flights() == ()


@on_every_loop
@both_doors
async def test_a_task_that_outlived_its_fetch_is_refused(door: Callable[..., Door]) -> None:
    """Only flights that run may still ask."""
    background: list[asyncio.Task[object]] = []
    goes_on = asyncio.Event()

    async def later() -> object:
        await goes_on.wait()
        return await asked.ask("later")

    async def origin(key: str) -> str:
        background.append(asyncio.create_task(later()))
        return key

    asked = door(origin)
    await asked.ask()
    await asked.coalescer.aclose()
    goes_on.set()

    assert [type(end) for end in await outcomes(background)] == [CoalescerClosedError]


class Zombie:
    """An origin that ignores cancellation until it is released."""

    def __init__(self) -> None:
        self.release = asyncio.Event()

    async def __call__(self, *_: object) -> str:
        while not self.release.is_set():
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                pass
        return "too late"


@virtual
@on_every_loop
@both_doors
async def test_a_fetch_that_ignores_being_cut_is_left_behind(door: Callable[..., Door]) -> None:
    """Closing does not hang for it: callers have their error at the deadline, the zombie is listed until it ends."""
    origin = Zombie()
    asked = door(origin)
    (task,) = start(asked.ask())
    await turns()
    report = await asked.coalescer.aclose(deadline_seconds=3)

    assert asyncio.get_running_loop().time() == pytest.approx(4)  # the deadline, and a second of grace
    assert report.cut == ("fixtures:nfl",)
    assert isinstance((await outcomes([task]))[0], FetchCancelledError)
    assert [flight.zombie for flight in asked.coalescer.flights()] == [True]
    origin.release.set()
    await turns()
    assert asked.coalescer.flights() == ()


@virtual
@on_every_loop
@both_doors
async def test_closing_over_a_zombie(door: Callable[..., Door]) -> None:
    """What was given up before and still runs is named in the report, and given up no second time."""
    origin = Zombie()
    asked = door(origin)
    (task,) = start(asked.ask())
    await turns()
    task.cancel()
    await outcomes([task])

    assert await asked.coalescer.aclose(deadline_seconds=1) == CloseReport(0, ("fixtures:nfl",))
    assert asked.numbers().fetch_cancelled == 1
    origin.release.set()
    await turns()


@virtual
@on_every_loop
@both_doors
async def test_a_fetch_that_cleans_up_in_time_is_waited_for(door: Callable[..., Door]) -> None:
    """A cut fetch has a moment to clean up before closing returns."""
    cleaned: list[float] = []

    async def origin(*_: object) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0.5)
            cleaned.append(asyncio.get_running_loop().time())

    asked = door(origin)
    (task,) = start(asked.ask())
    await turns()
    await asked.coalescer.aclose(deadline_seconds=3)

    assert cleaned == [3.5]
    assert asked.coalescer.flights() == ()
    await outcomes([task])


@on_every_loop
@both_doors
async def test_closing_twice_is_harmless(door: Callable[..., Door]) -> None:
    """Two closings at once both wait and both report; a third finds nothing."""
    origin = Origin()
    asked = door(origin)
    (task,) = start(asked.ask())
    await turns()
    closings = start(asked.coalescer.aclose(), asked.coalescer.aclose())
    await turns()
    origin.answer()

    assert await task == "answer"
    assert await outcomes(closings) == [CloseReport(1), CloseReport(1)]
    assert await asked.coalescer.aclose() == CloseReport(0)


@on_every_loop
@both_doors
async def test_closing_races_a_new_call(door: Callable[..., Door]) -> None:
    """Of a call and a closing in one tick, a call that runs first is served, one that runs second is refused."""
    for call_first in (True, False):
        origin = Origin()
        asked = door(origin)
        racers = [asked.ask(), asked.coalescer.aclose()]
        tasks = start(*(racers if call_first else racers[::-1]))
        await turns()
        if call_first:
            origin.answer()
        ends = await outcomes(tasks)
        if call_first:
            assert ends == ["answer", CloseReport(1)]
        else:
            assert ends[0] == CloseReport(0)
            assert isinstance(ends[1], CoalescerClosedError)


@on_every_loop
@both_doors
async def test_who_stops_closing_leaves_it_closed(door: Callable[..., Door]) -> None:
    """A closing that is cancelled stops waiting: fetches go on, new calls are refused all the same."""
    origin = Origin()
    asked = door(origin)
    (task,) = start(asked.ask())
    await turns()
    (closing,) = start(asked.coalescer.aclose())
    await turns()
    closing.cancel()
    await outcomes([closing])
    with pytest.raises(CoalescerClosedError):
        await asked.ask("other")
    origin.answer()

    assert await task == "answer"


@on_every_loop
@both_doors
async def test_callers_who_leave_while_it_is_drained(door: Callable[..., Door]) -> None:
    """Draining ends when the last fetch was abandoned."""
    origin = Origin()
    asked = door(origin)
    (task,) = start(asked.ask())
    await turns()
    (closing,) = start(asked.coalescer.aclose())
    await turns()
    task.cancel()

    assert await closing == CloseReport(1)
    await outcomes([task])


@on_every_loop
@both_doors
async def test_a_fetch_may_close_its_own_coalescer(door: Callable[..., Door]) -> None:
    """It does not wait for itself."""

    async def origin(key: str) -> object:
        return await asked.coalescer.aclose()

    asked = door(origin)
    assert await asked.ask() == CloseReport(0)


@virtual
@on_every_loop
@both_doors
async def test_detached_flights_are_drained_and_cut(door: Callable[..., Door]) -> None:
    """Flights that lost their slot are work, too."""
    origin = Origin()
    asked = door(origin)
    tasks = start(asked.ask())
    await turns()
    asked.coalescer.forget(asked.coalescer.pending_keys[0])
    tasks += start(asked.ask())
    await turns()

    assert await asked.coalescer.aclose(deadline_seconds=1) == CloseReport(0, ("fixtures:nfl",) * 2)
    assert [type(end) for end in await outcomes(tasks)] == [FetchCancelledError] * 2


@virtual
@on_every_loop
@both_doors
async def test_held_flights_are_cut(door: Callable[..., Door]) -> None:
    """With ``finish`` a flight that nobody waits for ends by closing, too."""
    origin = Origin()
    asked = door(origin, on_abandon="finish")
    (task,) = start(asked.ask())
    await turns()
    task.cancel()
    await outcomes([task])

    assert await asked.coalescer.aclose(deadline_seconds=1) == CloseReport(0, ("fixtures:nfl",))
    assert origin.working == 0


@on_every_loop
async def test_async_with_closes() -> None:
    """Leaving the block closes the coalescer."""
    async with RequestCoalescer() as coalescer:
        assert await coalescer.get_or_fetch("key", turns) is None
    with pytest.raises(CoalescerClosedError):
        await coalescer.get_or_fetch("key", turns)


async def test_a_deadline_that_is_none() -> None:
    """A deadline that is no duration is refused before anything is closed."""
    coalescer = RequestCoalescer()
    for close in (coalescer.aclose, coalescer.drain):
        with pytest.raises(ConfigurationError, match="deadline_seconds"):
            await close(deadline_seconds=-1)

    assert await coalescer.get_or_fetch("key", turns) is None


@on_every_loop
@both_doors
async def test_draining_closes_nothing(door: Callable[..., Door]) -> None:
    """Calls are accepted while and after fetches are drained, and new fetches are waited for."""
    origin = Origin()
    asked = door(origin)
    assert await asked.coalescer.drain() == CloseReport(0)
    tasks = start(asked.ask("first"))
    await turns()
    (draining,) = start(asked.coalescer.drain())
    await turns()
    tasks += start(asked.ask("second"))
    await turns()
    origin.answer("first")
    await turns()
    assert not draining.done()
    origin.answer("second")

    assert await outcomes([*tasks, draining]) == ["first", "second", CloseReport(2)]


def test_closing_is_for_one_loop() -> None:
    """A coalescer that was closed on one loop works on the next."""
    coalescer = RequestCoalescer()

    async def use() -> object:
        await coalescer.get_or_fetch("key", turns)
        return await coalescer.aclose()

    assert asyncio.run(use()) == CloseReport(0)
    assert asyncio.run(use()) == CloseReport(0)
    assert coalescer.statistics().rejected_requests == 0


@on_every_loop
async def test_a_detached_task_of_a_drained_flight_is_a_new_call() -> None:
    """What belongs to no flight is refused like anybody."""
    coalescer = RequestCoalescer()
    ends: list[asyncio.Task[None]] = []
    goes_on = asyncio.Event()

    async def fetch() -> None:
        await goes_on.wait()
        ends.append(asyncio.create_task(coalescer.get_or_fetch("own", turns), context=detached_context()))
        await turns()

    (task,) = start(coalescer.get_or_fetch("key", fetch))
    await turns()
    (closing,) = start(coalescer.aclose())
    await turns()
    goes_on.set()
    await outcomes([task, closing])

    assert [type(end) for end in await outcomes(ends)] == [CoalescerClosedError]
