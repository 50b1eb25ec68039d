"""G11: after the last caller nothing remains: no slot, no task, no timer, no reference to arguments or instances."""

import asyncio
import gc
import sys
import weakref
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar

import pytest

from coalesce_kit import RequestCoalescer, WaitTimeoutError, bound, coalesced
from coalesce_kit.testing.leaks import assert_nothing_left
from tests.fakes import Door, Origin, both_doors, outcomes, start, turns


class Text(str):
    """An argument that can be watched."""


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Whatever dies in the test dies without the garbage collector's help."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Callers:
    """Three callers of one key, whose argument and answers are watched.

    Attributes:
        watched: weak references to what must be dead in the end.
    """

    def __init__(self, asked: Door) -> None:
        self.watched: list[weakref.ref[object]] = []
        argument = Text("nfl")
        self.watched.append(weakref.ref(argument))
        self.tasks = start(*(self._ask(asked, argument) for _ in range(3)))

    async def _ask(self, asked: Door, argument: Text) -> None:
        try:
            self.watched.append(weakref.ref(await asked.ask(argument)))
        except (NoFixtures, TimeoutError) as error:
            self.watched.append(weakref.ref(error))

    async def ended(self) -> None:
        await asyncio.wait(self.tasks)
        self.tasks.clear()
        await turns()

    @property
    def alive(self) -> list[object]:
        return [thing for reference in self.watched if (thing := reference()) is not None]


class Answer:
    pass


class NoFixtures(Exception):
    pass


async def returns(callers: Callers, release: asyncio.Event) -> None:
    release.set()


async def fails(callers: Callers, release: asyncio.Event) -> None:
    release.set()


async def leader_leaves(callers: Callers, release: asyncio.Event) -> None:
    callers.tasks[0].cancel()
    await turns()
    release.set()


async def all_leave(callers: Callers, release: asyncio.Event) -> None:
    for task in callers.tasks:
        task.cancel()


@pytest.mark.on_every_loop
@pytest.mark.usefixtures("uncollected")
@both_doors
@pytest.mark.parametrize("end", [returns, fails, leader_leaves, all_leave], ids=lambda end: end.__name__)
async def test_g11_nothing_remains(
    door: Callable[..., Door], end: Callable[[Callers, asyncio.Event], Awaitable[None]]
) -> None:
    """However a fetch ends, its slot, arguments, answers and errors are gone, without the garbage collector."""
    release = asyncio.Event()

    async def origin(argument: str) -> Answer:
        await release.wait()
        if end is fails:
            raise NoFixtures(argument)
        return Answer()

    asked = door(origin)
    callers = Callers(asked)
    await turns()
    assert len(asked.coalescer.pending_keys) == 1
    await end(callers, release)
    await callers.ended()

    assert asked.coalescer.pending_keys == ()
    assert asked.coalescer.flights() == ()
    assert callers.alive == []
    assert_nothing_left(asked.coalescer)


@pytest.mark.usefixtures("uncollected", "virtual_time")
@pytest.mark.on_every_loop
@both_doors
@pytest.mark.parametrize("limit", ["max_wait_seconds", "fetch_timeout_seconds"])
async def test_g11_nothing_remains_after_a_limit(door: Callable[..., Door], limit: str) -> None:
    """The same when a limit ends the wait or the fetch."""
    release = asyncio.Event()

    async def origin(argument: str) -> Answer:
        await release.wait()
        return Answer()

    asked = door(origin, **{limit: 1})
    callers = Callers(asked)
    await asyncio.sleep(2)
    release.set()
    await callers.ended()

    assert len(callers.watched) == 4
    assert asked.coalescer.flights() == ()
    assert callers.alive == []
    assert_nothing_left(asked.coalescer)


@pytest.mark.on_every_loop
@pytest.mark.usefixtures("uncollected")
@both_doors
async def test_g11_a_task_that_outlives_its_fetch_holds_no_arguments(door: Callable[..., Door]) -> None:
    """A background task keeps the context of its fetch, and with it no key, argument or answer."""
    forever: list[asyncio.Task[None]] = []

    async def origin(argument: str) -> Answer:
        forever.append(asyncio.create_task(asyncio.Event().wait()))  # type: ignore[arg-type]
        return Answer()

    asked = door(origin)
    callers = Callers(asked)
    await callers.ended()

    assert callers.alive == []
    for task in forever:
        task.cancel()


@pytest.mark.on_every_loop
@pytest.mark.usefixtures("uncollected")
async def test_g11_no_instance_is_held() -> None:
    """A service dies with its last caller."""
    origin = Origin()

    class Service:
        @coalesced
        async def odds(self, league: str) -> object:
            return await origin(league)

    service = Service()
    watched = weakref.ref(service)
    tasks = start(service.odds("nfl"), service.odds("nfl"))
    bound(service.odds).invalidate("nba")
    del service
    await turns()
    assert watched() is not None
    origin.answer()
    await outcomes(tasks)
    tasks.clear()
    await turns()

    assert watched() is None


@pytest.mark.on_every_loop
@pytest.mark.usefixtures("uncollected")
@both_doors
async def test_g11_timers_hold_nobody(door: Callable[..., Door]) -> None:
    """A timer that was cancelled and is not yet due keeps nothing of the context of any caller."""

    class Tenant:
        pass

    tenant: ContextVar[Tenant] = ContextVar("tenant")
    watched: list[weakref.ref[Tenant]] = []
    origin = Origin()
    asked = door(origin, max_wait_seconds=1000, fetch_timeout_seconds=1000)

    async def caller() -> None:
        tenant.set(Tenant())
        watched.append(weakref.ref(tenant.get()))
        await asked.ask()

    tasks = start(*(caller() for _ in range(3)))
    await turns()
    origin.answer()
    await outcomes(tasks)
    tasks.clear()
    await turns()

    assert [reference() for reference in watched] == [None] * 3


@pytest.mark.on_every_loop
async def test_g11_a_key_that_cannot_be_compared_is_refused_and_leaves_nothing() -> None:
    """If a key's ``__hash__`` or ``__eq__`` raises, the call is refused and counted, and nobody else is hurt."""

    class Key:
        def __init__(self, *, fails_in: str) -> None:
            self.fails_in = fails_in

        def __hash__(self) -> int:
            if self.fails_in == "hash":
                raise ValueError("no hash today")
            return 1

        def __eq__(self, other: object) -> bool:
            if "eq" in (self.fails_in, getattr(other, "fails_in", "")):
                raise ValueError("no comparison today")
            return True

    coalescer, origin = RequestCoalescer(), Origin()
    (good,) = start(coalescer.get_or_fetch(Key(fails_in=""), origin))
    await turns()
    for fails_in in ("hash", "eq"):
        with pytest.raises(ValueError, match="today"):
            await coalescer.get_or_fetch(Key(fails_in=fails_in), origin)
    with pytest.raises(TypeError, match="unhashable"):
        await coalescer.get_or_fetch([], origin)  # type: ignore[arg-type]
    origin.answer()

    assert await good == "answer"
    assert coalescer.pending_keys == ()
    assert coalescer.statistics().rejected_requests == 3
    assert coalescer.statistics().total_requests == 4


@pytest.mark.on_every_loop
@pytest.mark.parametrize("turns_bad", ["changes", "raises"])
async def test_g11_a_key_that_turns_bad_hurts_nobody(turns_bad: str) -> None:
    """A key whose hash changes or raises while its fetch runs: callers get their answer, later ones a new fetch."""

    class Key:
        state = "good"

        def __hash__(self) -> int:
            if self.state == "raises":
                raise ValueError("no hash any more")
            return 2 if self.state == "changes" else 1

    coalescer, origin, key = RequestCoalescer(), Origin(), Key()
    tasks = start(*(coalescer.get_or_fetch(key, origin) for _ in range(2)))
    await turns()
    key.state = turns_bad
    origin.answer("first")
    await turns()
    assert all(task.done() for task in tasks)
    assert await outcomes(tasks) == ["first", "first"]
    assert coalescer.flights() == ()

    key.state = "good"
    (again,) = start(coalescer.get_or_fetch(key, origin))
    await turns()
    origin.answer("second")
    assert await again == "second"
    assert coalescer.pending_keys == ()


async def ask_once(asked: Door, watched: list[weakref.ref[Text]], first: int, last: int) -> None:
    for number in range(first, last):
        argument = Text(number)
        if number % 1000 == 0:
            watched.append(weakref.ref(argument))
        await asked.ask(argument)


@both_doors
async def test_g11_a_hundred_thousand_keys_once_each(door: Callable[..., Door]) -> None:
    """10⁵ keys leave nothing behind that 10⁴ keys have not left."""

    async def origin(argument: str) -> int:
        return len(argument)

    asked = door(origin)
    watched: list[weakref.ref[Text]] = []
    await ask_once(asked, watched, 0, 10_000)
    gc.collect()
    before = sys.getallocatedblocks()
    await ask_once(asked, watched, 10_000, 100_000)
    gc.collect()
    after = sys.getallocatedblocks()

    assert asked.coalescer.pending_keys == ()
    assert asked.coalescer.flights() == ()
    assert len(watched) == 100
    assert [reference() for reference in watched] == [None] * 100
    assert abs(after - before) <= 1_000


@both_doors
async def test_g11_a_hundred_thousand_waiters_on_one_key(door: Callable[..., Door]) -> None:
    """10⁵ callers of one key share one fetch and leave nothing."""
    origin = Origin()
    asked = door(origin, max_wait_seconds=600)
    tasks = start(*(asked.ask() for _ in range(100_000)))
    await turns()
    assert asked.numbers().waiters == 99_999
    origin.answer()
    ends = await outcomes(tasks)

    assert ends.count("answer") == 100_000
    assert len(origin.calls) == 1
    numbers = asked.numbers()
    assert (numbers.led_requests, numbers.coalesced_requests) == (1, 99_999)
    assert (numbers.max_concurrent_waiters, numbers.waiters) == (99_999, 0)
    assert asked.coalescer.flights() == ()


async def test_g11_a_hundred_thousand_leave(virtual_time: object) -> None:
    """10⁵ waiters who time out together cost one timer, and the fetch goes on for its leader."""
    coalescer, origin = RequestCoalescer(max_wait_seconds=1), Origin()
    tasks = start(*(coalescer.get_or_fetch("key", origin) for _ in range(100_000)))
    await turns()
    timers = [timer for timer in asyncio.get_running_loop()._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
    assert len(timers) == 1
    await asyncio.sleep(1)
    await turns()
    assert coalescer.statistics().waiters == 0
    origin.answer()
    leader, *waiters = await outcomes(tasks)

    assert leader == "answer"
    assert {type(waiter) for waiter in waiters} == {WaitTimeoutError}
