"""G4: a cancellation that no caller asked for is an error of the fetch, and what stops a loop stops it."""

import asyncio
import gc
from collections.abc import Callable

import pytest

from coalesce_kit import FetchCancelledError, RequestCoalescer
from coalesce_kit.testing.leaks import unretrieved
from tests.conftest import LoopFactory
from tests.fakes import Door, Origin, both_doors, outcomes, start, turns


async def cancels_itself(*_: object) -> None:
    raise asyncio.CancelledError("upstream gave up")


def fetch_tasks() -> list[asyncio.Task[object]]:
    return [task for task in asyncio.all_tasks() if task.get_name() == "coalesce_kit.fetch"]


@pytest.mark.on_every_loop
@both_doors
async def test_g04_inner_cancellation_reaches_every_caller_as_an_error(door: Callable[..., Door]) -> None:
    """Leader and waiters of a fetch that ends in ``CancelledError`` get ``FetchCancelledError``, which says so."""
    origin = Origin()
    asked = door(origin)
    tasks = start(*(asked.ask() for _ in range(3)))
    await turns()
    origin.fail(asyncio.CancelledError("upstream gave up"))

    ends = await outcomes(tasks)

    assert [type(end) for end in ends] == [FetchCancelledError] * 3
    assert "'fixtures:nfl' ended in CancelledError, which none of its callers asked for" in str(ends[0])
    assert all(isinstance(end.__cause__, asyncio.CancelledError) for end in ends)
    assert (asked.numbers().fetch_cancelled, asked.numbers().fetch_errors) == (1, 0)


@pytest.mark.on_every_loop
@both_doors
async def test_g04_a_task_group_does_not_finish_as_if_nothing_had_happened(door: Callable[..., Door]) -> None:
    """In a ``TaskGroup`` an inner cancellation is a failure of the group, and cancels the other members."""
    asked = door(cancels_itself)
    other_ended_in: list[BaseException] = []

    async def other() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError as error:
            other_ended_in.append(error)
            raise

    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as group:
            group.create_task(other())
            group.create_task(asked.ask())

    assert [type(error) for error in caught.value.exceptions] == [FetchCancelledError]
    assert len(other_ended_in) == 1


@pytest.mark.on_every_loop
@both_doors
async def test_g04_a_fetch_that_cancels_its_own_task(door: Callable[..., Door]) -> None:
    """``current_task().cancel()`` inside the fetch ends the fetch and none of its callers."""

    async def suicidal(*_: object) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    ends = await outcomes(start(*(door(suicidal).ask() for _ in range(1))))

    assert [type(end) for end in ends] == [FetchCancelledError]


@pytest.mark.on_every_loop
@both_doors
async def test_g04_somebody_else_cancels_the_task(door: Callable[..., Door]) -> None:
    """A stranger who cancels the fetch's task, as shutdown code does, cancels no caller."""
    origin = Origin()
    asked = door(origin)
    tasks = start(*(asked.ask() for _ in range(2)))
    await turns()
    for task in fetch_tasks():
        task.cancel()

    ends = await outcomes(tasks)

    assert [type(end) for end in ends] == [FetchCancelledError] * 2
    assert asked.coalescer.pending_keys == ()


@pytest.mark.on_every_loop
@both_doors
async def test_g04_a_callers_own_cancellation_stays_one(door: Callable[..., Door]) -> None:
    """Who is cancelled gets ``CancelledError``, also in the tick in which the fetch ends in one."""
    origin = Origin()
    asked = door(origin)
    tasks = start(*(asked.ask() for _ in range(2)))
    await turns()
    origin.fail(asyncio.CancelledError())
    tasks[1].cancel()

    ends = await outcomes(tasks)

    assert [type(end) for end in ends] == [FetchCancelledError, asyncio.CancelledError]


@pytest.mark.on_every_loop
@both_doors
async def test_g04_the_next_call_fetches_again(door: Callable[..., Door]) -> None:
    """After an inner cancellation the slot is free."""
    origin = Origin()
    asked = door(origin)
    (task,) = start(asked.ask())
    await turns()
    origin.fail(asyncio.CancelledError())
    await outcomes([task])
    (task,) = start(asked.ask())
    await turns()
    origin.answer("again")

    assert await task == "again"


@pytest.mark.on_every_loop
@both_doors
@pytest.mark.parametrize("kind", [StopIteration, StopAsyncIteration, GeneratorExit])
async def test_g04_what_steers_generators_is_an_error_of_the_fetch(
    door: Callable[..., Door], kind: type[BaseException]
) -> None:
    """What means something else inside a coroutine reaches the callers as an error that they can catch."""

    def raises(*_: object) -> None:
        raise kind("from a plain function")

    asked = door(raises)

    ends = await outcomes(start(*(asked.ask() for _ in range(2))))

    expected = {StopIteration: RuntimeError, StopAsyncIteration: StopAsyncIteration, GeneratorExit: FetchCancelledError}
    assert [type(end) for end in ends] == [expected[kind]] * 2


async def test_g04_stop_iteration_is_named() -> None:
    """``StopIteration`` from a plain ``fetch_fn`` is a ``RuntimeError`` that says what happened, on every version."""

    def raises() -> None:
        raise StopIteration(7)

    with pytest.raises(RuntimeError, match=r"^the fetch of 'key' raised StopIteration$") as caught:
        await RequestCoalescer().get_or_fetch("key", raises)

    assert isinstance(caught.value.__cause__, StopIteration)


@both_doors
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_g04_what_stops_a_loop_stops_it(
    door: Callable[..., Door], kind: type[BaseException], loop_factory: LoopFactory
) -> None:
    """``KeyboardInterrupt`` and ``SystemExit`` end the loop as without us; callers get ``FetchCancelledError``."""
    origin = Origin()
    asked = door(origin)
    loop = loop_factory()

    async def main() -> list[asyncio.Task[object]]:
        callers = start(asked.ask(), asked.ask())
        await turns()
        return callers

    async def stop(callers: list[asyncio.Task[object]]) -> None:
        origin.fail(kind("now"))
        await asyncio.wait(callers)

    with unretrieved() as reports:
        callers = loop.run_until_complete(main())
        last = loop.create_task(stop(callers))
        with pytest.raises(kind, match="now"):
            loop.run_until_complete(last)
        ends = loop.run_until_complete(outcomes(callers))
        loop.run_until_complete(last)
        loop.close()
        gc.collect()

    assert [type(end) for end in ends] == [FetchCancelledError] * 2
    assert f"'fixtures:nfl' ended in {kind.__name__}" in str(ends[0])
    assert reports == []


@both_doors
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_g04_what_stops_a_loop_before_the_fetch_suspends(
    door: Callable[..., Door], kind: type[BaseException], loop_factory: LoopFactory
) -> None:
    """The same from a fetch that raises in its first step, which an eager task takes inside the caller."""

    async def raises(*_: object) -> None:
        raise kind("now")

    asked = door(raises)

    with unretrieved() as reports:
        with pytest.raises(kind, match="now"), asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(asked.ask())
        gc.collect()

    assert asked.coalescer.flights() == ()
    assert asked.numbers().in_flight == 0
    assert reports == []


def close_under_a_flight(loop: asyncio.AbstractEventLoop, asked: Door) -> None:
    """Start two callers of one key, and close the loop while they wait."""

    async def main() -> None:
        tasks = start(asked.ask(), asked.ask())
        await turns()
        for task in (*tasks, *fetch_tasks()):
            task._log_destroy_pending = False  # the test kills them on purpose

    loop.run_until_complete(main())
    loop.close()


@both_doors
def test_g04_a_loop_closed_under_a_flight(door: Callable[..., Door], loop_factory: LoopFactory) -> None:
    """A flight whose loop was closed forgets itself, wakes nobody and reports nothing."""
    asked = door(Origin())
    with unretrieved() as reports:
        close_under_a_flight(loop_factory(), asked)
        gc.collect()

    assert asked.coalescer.flights() == ()
    assert asked.coalescer.pending_keys == ()
    assert reports == []


@both_doors
@pytest.mark.parametrize("kind", [LookupError, RuntimeError])
@pytest.mark.parametrize("another_loop_comes_first", [True, False])
def test_g04_a_fetch_that_raises_while_its_dead_loop_is_collected(
    door: Callable[..., Door], kind: type[Exception], another_loop_comes_first: bool, loop_factory: LoopFactory
) -> None:
    """A fetch that answers ``GeneratorExit`` with an error of its own is reported as any coroutine; nobody is woken."""

    async def stubborn(key: str) -> str:
        if key == "other":
            return "at once"
        try:
            return await asyncio.get_running_loop().create_future()
        finally:
            raise kind("while cleaning up")

    asked = door(stubborn)
    unraisable: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.unraisablehook", lambda broken: unraisable.append(repr(broken.exc_value)))
        close_under_a_flight(loop_factory(), asked)
        if another_loop_comes_first:
            assert asyncio.run(asked.ask("other")) == "at once"
        else:
            asked.coalescer._tables.clear()
        gc.collect()

    assert unraisable == [repr(kind("while cleaning up"))]
    assert asked.numbers().in_flight == 0
