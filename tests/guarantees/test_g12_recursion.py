"""G12: a wait that would wait for itself is refused at once, and no other wait is."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from coalesce_kit import PendingRequest, RecursiveFetchError, RequestCoalescer, detached_context
from tests.fakes import Door, Origin, alone, both_doors, outcomes, start, turns

pytestmark = pytest.mark.on_every_loop

Part = Callable[[], Awaitable[Any]]


class Script:
    """An origin that plays a part for each key; ``ask`` is how the parts ask for each other."""

    def __init__(self, door: Callable[..., Door], **options: Any) -> None:
        self.parts: dict[str, Part] = {}
        self.played: list[str] = []
        self.door = door(self._play, **options)
        self.ask = self.door.ask

    def part(self, play: Part) -> Part:
        """Register a function as the part of the key that it is named after."""
        self.parts[play.__name__] = play
        return play

    async def _play(self, key: str) -> object:
        self.played.append(key)
        return await self.parts[key]()


def flight_of(asked: Door, key: str) -> PendingRequest:
    """Return the flight that has the slot of a key."""
    (flight,) = (one for one in asked.coalescer._pending.values() if one.describe() == f"fixtures:{key}")
    return flight


async def directly(wait: Awaitable[Any]) -> object:
    return await wait


async def in_a_task(wait: Awaitable[Any]) -> object:
    return await asyncio.ensure_future(wait)


async def in_gather(wait: Awaitable[Any]) -> object:
    return (await asyncio.gather(asyncio.sleep(0), wait))[1]


async def in_a_group(wait: Awaitable[Any]) -> object:
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(wait)  # type: ignore[arg-type]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return task.result()


async def with_wait_for(wait: Awaitable[Any]) -> object:
    return await asyncio.wait_for(wait, 1000)


async def shielded(wait: Awaitable[Any]) -> object:
    return await asyncio.shield(wait)


every_way = pytest.mark.parametrize(
    "way", [directly, in_a_task, in_gather, in_a_group, with_wait_for, shielded], ids=lambda way: way.__name__
)


@both_doors
@every_way
async def test_g12_a_fetch_that_asks_for_itself(door: Callable[..., Door], way: Callable[..., Any]) -> None:
    """A fetch that waits for its own key gets the error at once, with the chain."""
    script = Script(door)

    @script.part
    async def x() -> object:
        return await way(script.ask("x"))

    with pytest.raises(RecursiveFetchError, match="wait for itself: fixtures:x → fixtures:x. If"):
        await script.ask("x")

    assert script.played == ["x"]
    numbers = script.door.numbers()
    assert (numbers.recursions_refused, numbers.rejected_requests, numbers.led_requests) == (1, 1, 1)
    assert isinstance(RecursiveFetchError(), RecursionError)


@both_doors
@every_way
async def test_g12_a_fetch_that_asks_for_itself_over_another(
    door: Callable[..., Door], way: Callable[..., Any]
) -> None:
    """A → B → A gets the error in B, which names all three steps."""
    script = Script(door)

    @script.part
    async def a() -> object:
        return await way(script.ask("b"))

    @script.part
    async def b() -> object:
        return await way(script.ask("a"))

    with pytest.raises(RecursiveFetchError, match="fixtures:b → fixtures:a → fixtures:b"):
        await script.ask("a")

    assert script.played == ["a", "b"]


@both_doors
async def test_g12_what_the_inner_fetch_makes_of_it_counts(door: Callable[..., Door]) -> None:
    """The error is raised where the wait would begin, and can be handled there."""
    script = Script(door)

    @script.part
    async def a() -> object:
        return await script.ask("b")

    @script.part
    async def b() -> object:
        try:
            return await script.ask("a")
        except RecursionError:
            return "b without a"

    assert await script.ask("a") == "b without a"


@both_doors
async def test_g12_two_flights_started_apart(door: Callable[..., Door]) -> None:
    """x waits for y, then y for x: the wait that closes the circle is refused, and both end."""
    script, both_began = Script(door), asyncio.Barrier(2)

    @script.part
    async def x() -> object:
        await both_began.wait()
        return await script.ask("y")

    @script.part
    async def y() -> object:
        await both_began.wait()
        return await script.ask("x")

    ends = await outcomes(start(script.ask("x"), script.ask("y")))

    assert [type(end) for end in ends] == [RecursiveFetchError] * 2
    assert script.door.numbers().recursions_refused == 1
    assert sorted(script.played) == ["x", "y"]


@both_doors
async def test_g12_a_ring_of_three(door: Callable[..., Door]) -> None:
    """x → y → z → x, all started apart, all waiting as waiters."""
    script, all_began = Script(door), asyncio.Barrier(3)

    def member(name: str, following: str) -> None:
        async def play() -> object:
            await all_began.wait()
            return await script.ask(following)

        script.parts[name] = play

    member("x", "y")
    member("y", "z")
    member("z", "x")
    ends = await outcomes(start(*(script.ask(key) for key in "xyz")))

    assert [type(end) for end in ends] == [RecursiveFetchError] * 3
    assert script.door.numbers().recursions_refused == 1


@both_doors
async def test_g12_a_chain_that_does_not_close(door: Callable[..., Door]) -> None:
    """Three hundred fetches may wait for each other in a row; the one that closes the row is refused."""
    script = Script(door)

    def member(number: int, following: int) -> None:
        async def play() -> object:
            await asyncio.sleep(0)
            return await script.ask(f"k{following}")

        script.parts[f"k{number}"] = play

    async def end() -> str:
        return "the end"

    for number in range(300):
        member(number, number + 1)
    script.parts["k300"] = end
    assert await script.ask("k0") == "the end"

    member(300, 0)
    with pytest.raises(RecursiveFetchError) as caught:
        await script.ask("k0")
    steps = "fixtures:k300 → fixtures:k0 → fixtures:k1 → fixtures:k2 → fixtures:k3"
    assert f"{steps} → … 292 more … → fixtures:k296 → fixtures:k297 → fixtures:k298 → " in str(caught.value)
    assert "fixtures:k299 → fixtures:k300. If" in str(caught.value)


@both_doors
async def test_g12_a_diamond(door: Callable[..., Door]) -> None:
    """Two branches of one fetch may wait for the same third one."""
    script = Script(door)

    @script.part
    async def top() -> object:
        return await asyncio.gather(script.ask("left"), script.ask("right"), script.ask("bottom"))

    @script.part
    async def left() -> object:
        return await script.ask("bottom")

    @script.part
    async def right() -> object:
        return await script.ask("bottom")

    @script.part
    async def bottom() -> object:
        await turns()
        return "bottom"

    assert await script.ask("top") == ["bottom"] * 3
    assert sorted(script.played) == ["bottom", "left", "right", "top"]
    assert script.door.numbers().recursions_refused == 0


@both_doors
async def test_g12_a_task_that_outlives_its_fetch_is_free(door: Callable[..., Door]) -> None:
    """A background task may ask for the key of the fetch that started it, once that has ended."""
    script = Script(door)
    background: list[asyncio.Task[object]] = []
    goes_on = asyncio.Event()

    async def later() -> object:
        await goes_on.wait()
        return await script.ask("x")

    @script.part
    async def x() -> object:
        if not background:
            background.append(asyncio.create_task(later()))
        return len(script.played)

    assert await script.ask("x") == 1
    goes_on.set()
    assert await background[0] == 2


@both_doors
async def test_g12_a_task_that_outlives_its_fetch_meets_the_next_one(door: Callable[..., Door]) -> None:
    """Neither does it join a circle when a newer fetch of the key runs: it belongs to none."""
    script, origin = Script(door), Origin()
    background: list[asyncio.Task[object]] = []
    goes_on = asyncio.Event()

    async def later() -> object:
        await goes_on.wait()
        return await script.ask("x")

    @script.part
    async def x() -> object:
        if not background:
            background.append(asyncio.create_task(later()))
            return "first"
        return await origin()

    assert await script.ask("x") == "first"
    (second,) = start(script.ask("x"))
    await turns()
    goes_on.set()
    await turns()
    origin.answer("second")

    assert await outcomes([second, *background]) == ["second", "second"]
    assert script.played == ["x", "x"]


@both_doors
async def test_g12_a_fetch_that_ends_before_its_tasks_wait(door: Callable[..., Door]) -> None:
    """x ends while a task that it started waits for y: y may wait for the next x."""
    script, origin = Script(door), Origin()
    background: list[asyncio.Task[object]] = []

    @script.part
    async def x() -> object:
        if not background:
            background.append(asyncio.create_task(script.ask("y")))
            await turns()
        return f"x {len(script.played)}"

    @script.part
    async def y() -> object:
        await origin()
        return await script.ask("x")

    assert await script.ask("x") == "x 2"
    origin.answer()

    assert await outcomes(background) == ["x 3"]


@both_doors
async def test_g12_a_child_of_an_ended_inner_flight(door: Callable[..., Door]) -> None:
    """A task started inside y, which has ended, may ask for x, which waited for y and still runs."""
    script, origin = Script(door), Origin()
    children: list[asyncio.Task[object]] = []
    goes_on = asyncio.Event()

    async def child() -> object:
        await goes_on.wait()
        return await script.ask("x")

    @script.part
    async def x() -> object:
        await script.ask("y")
        return await origin()

    @script.part
    async def y() -> object:
        children.append(asyncio.create_task(child()))
        return "y"

    (task,) = start(script.ask("x"))
    await turns()
    goes_on.set()
    await turns()
    origin.answer("x")

    assert await outcomes([task, *children]) == ["x", "x"]


@both_doors
async def test_g12_an_edge_goes_when_its_wait_ends(door: Callable[..., Door]) -> None:
    """x waited for y and does not any more: y may wait for x."""
    script, origin = Script(door), Origin()

    @script.part
    async def x() -> object:
        assert await script.ask("y") == "y"
        return await origin()

    @script.part
    async def y() -> object:
        return "y" if script.played.count("y") == 1 else await script.ask("x")

    (first,) = start(script.ask("x"))
    await turns()
    (second,) = start(script.ask("y"))
    await turns()
    origin.answer("x")

    assert await outcomes([first, second]) == ["x", "x"]


@both_doors
@pytest.mark.parametrize("leads", [True, False])
async def test_g12_an_edge_goes_when_its_wait_is_cancelled(door: Callable[..., Door], leads: bool) -> None:
    """A branch of x that waited for y is cancelled: y, kept by another caller, may then wait for x."""
    script, origin = Script(door), Origin()
    branches: list[asyncio.Task[object]] = []
    goes_on = asyncio.Event()

    @script.part
    async def x() -> object:
        branches.append(asyncio.create_task(script.ask("y")))
        return await origin()

    @script.part
    async def y() -> object:
        await goes_on.wait()
        return await script.ask("x")

    tasks = start(script.ask("x"), script.ask("y")) if leads else start(script.ask("y"), script.ask("x"))
    await turns()
    branches[0].cancel()
    await turns()
    goes_on.set()
    await turns()
    origin.answer("x")

    assert await outcomes(tasks) == ["x", "x"]
    assert branches[0].cancelled()


@both_doors
async def test_g12_one_of_two_waits_ends(door: Callable[..., Door]) -> None:
    """Two branches of x wait for y and one is cancelled: y still may not wait for x."""
    script = Script(door)
    goes_on = asyncio.Event()

    @script.part
    async def x() -> object:
        leaving, staying = start(script.ask("y"), script.ask("y"))
        await turns()
        leaving.cancel()
        await turns()
        goes_on.set()
        return await staying

    @script.part
    async def y() -> object:
        await goes_on.wait()
        return await script.ask("x")

    with pytest.raises(RecursiveFetchError, match="fixtures:y → fixtures:x → fixtures:y"):
        await script.ask("x")


@both_doors
async def test_g12_a_task_that_is_never_awaited(door: Callable[..., Door]) -> None:
    """One that asks for the running fetch's own key gets the error, which names the way out; detached it is free."""
    script = Script(door)
    ends: dict[str, asyncio.Task[object]] = {}

    @script.part
    async def x() -> object:
        if not ends:
            ends["attached"] = asyncio.create_task(script.ask("x"))
            ends["detached"] = asyncio.create_task(script.ask("x"), context=detached_context())
            await turns()
        return "x"

    assert await script.ask("x") == "x"
    attached, detached = await outcomes(list(ends.values()))
    assert detached == "x"
    assert isinstance(attached, RecursiveFetchError)
    assert "a task that the fetch does not await" in str(attached)
    assert "context=coalesce_kit.detached_context()" in str(attached)


@both_doors
async def test_g12_a_detached_flight_asks_for_its_own_key(door: Callable[..., Door]) -> None:
    """A fetch that lost its slot may lead the next one of its key; the next one may not wait for itself."""
    script = Script(door)

    @script.part
    async def x() -> object:
        script.door.coalescer.forget(script.door.coalescer.pending_keys[0])
        if len(script.played) < 3:
            return await script.ask("x")
        return f"after {len(script.played)}"

    assert await script.ask("x") == "after 3"


@both_doors
async def test_g12_a_detached_flight_that_is_waited_for_in_a_circle(door: Callable[..., Door]) -> None:
    """Old x waits for y, y for new x, new x for y: the last of them is refused."""
    script, y_began = Script(door), asyncio.Event()

    @script.part
    async def x() -> object:
        return await script.ask("y")

    @script.part
    async def y() -> object:
        await y_began.wait()
        return await script.ask("x")

    (old,) = start(script.ask("x"))
    await turns()
    assert script.door.coalescer.forget(flight_of(script.door, "x").key)
    y_began.set()
    (end,) = await outcomes([old])

    assert isinstance(end, RecursiveFetchError)
    assert script.played == ["x", "y", "x"]


@both_doors
async def test_g12_a_fetch_that_was_given_up_is_waited_for_by_nobody(door: Callable[..., Door]) -> None:
    """A fetch whose callers were answered by a time-out closes no circle, though it may still run itself."""
    script, origin = Script(door), Origin()
    goes_on, ends = asyncio.Event(), []

    @script.part
    async def x() -> object:
        try:
            await script.ask("y")
        except TimeoutError:
            ends.append("x was told")
        return await origin()

    @script.part
    async def y() -> object:
        return await script.ask("z")

    @script.part
    async def z() -> object:
        await goes_on.wait()
        return await script.ask("x")

    tasks = start(script.ask("x"), script.ask("z"))
    await turns()
    goes_on.set()  # wakes z in the next turn, before x hears of
    flight_of(script.door, "y").give_up(TimeoutError(), "as its time-out would")
    await turns()
    assert ends == ["x was told"]
    origin.answer("x")

    assert await outcomes(tasks) == ["x", "x"]


async def test_g12_over_two_coalescers() -> None:
    """Edges do not ask whose flight it is."""
    one, other = RequestCoalescer(), RequestCoalescer()

    async def x() -> object:
        return await other.get_or_fetch("y", y)

    async def y() -> object:
        return await one.get_or_fetch("x", x)

    with pytest.raises(RecursiveFetchError, match="y → x → y"):
        await one.get_or_fetch("x", x)


async def test_g12_over_a_thread() -> None:
    """A thread that a fetch waits for asks the fetch's loop for the fetch's own key."""
    script, loop = Script(alone), asyncio.get_running_loop()

    def work() -> object:
        return asyncio.run_coroutine_threadsafe(script.ask("x"), loop).result()

    @script.part
    async def x() -> object:
        return await asyncio.to_thread(work)

    with pytest.raises(RecursiveFetchError):
        await script.ask("x")


@both_doors
async def test_g12_another_loop_is_another_matter(door: Callable[..., Door]) -> None:
    """A thread's own loop may ask for the key of the fetch that waits for it: it has flights of its own."""
    script = Script(door)

    @script.part
    async def x() -> object:
        if len(script.played) == 1:
            return await asyncio.to_thread(asyncio.run, script.ask("x"))
        return "from the other loop"

    assert await script.ask("x") == "from the other loop"
    assert script.door.numbers().led_requests == 2
