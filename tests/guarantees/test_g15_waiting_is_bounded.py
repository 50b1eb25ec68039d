"""G15: a waiter's wait, a fetch's run and a flight's age are bounded, each by its own limit."""

import asyncio
import logging
from collections.abc import Callable

import pytest

from coalesce_kit import FetchTimeoutError, RequestCoalescer, WaitTimeoutError, coalesced
from coalesce_kit.protocols import INHERIT
from tests.fakes import Door, Origin, both_doors, outcomes, start, turns

virtual = pytest.mark.usefixtures("virtual_time")
on_every_loop = pytest.mark.on_every_loop


def now() -> float:
    return round(asyncio.get_running_loop().time(), 6)


async def timed(asked: Door, key: str = "nfl") -> tuple[float, object]:
    """Ask; return when it ended, and with which answer or error."""
    try:
        end = await asked.ask(key)
    except Exception as error:
        end = error
    return now(), end


class Stubborn:
    """An origin that ignores every cancellation until it is released."""

    def __init__(self) -> None:
        self.calls = 0
        self.cancelled = 0
        self.release = asyncio.Event()

    async def __call__(self, *_: object) -> str:
        self.calls += 1
        while not self.release.is_set():
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
        return "too late"


# ---- max_wait_seconds ----


@virtual
@on_every_loop
@both_doors
async def test_g15_each_waiter_is_bounded_from_its_own_arrival(door: Callable[..., Door]) -> None:
    """Waiters time out in the order they came, each after its own five seconds; the leader waits on."""
    origin = Origin()
    asked = door(origin, max_wait_seconds=5)
    (leader,) = start(timed(asked))
    waiters = []
    for _ in range(4):
        await asyncio.sleep(1)
        waiters += start(timed(asked))
    ends = await outcomes(waiters)
    await asyncio.sleep(100)
    origin.answer("at last")

    assert [at for at, _ in ends] == [6, 7, 8, 9]
    assert {type(end) for _, end in ends} == {WaitTimeoutError}
    assert await leader == (109, "at last")
    numbers = asked.numbers()
    assert (numbers.wait_timeouts, numbers.coalesced_requests, numbers.fetch_timeouts) == (4, 4, 0)
    assert (numbers.ended_waits, numbers.wait_seconds_total) == (4, pytest.approx(20))


@virtual
@on_every_loop
@both_doors
async def test_g15_the_message_of_a_wait_that_was_too_long(door: Callable[..., Door]) -> None:
    """It says how long, for what, since when that runs, and what to do."""
    origin = Origin()
    asked = door(origin, max_wait_seconds=5)
    (leader,) = start(asked.ask())
    await asyncio.sleep(2.2)

    with pytest.raises(WaitTimeoutError) as caught:
        await asked.ask()
    origin.answer()
    await leader

    assert str(caught.value) == (
        "waited 5.0 s for 'fixtures:nfl', which another caller began 7.2 s ago and which goes on; "
        "raise max_wait_seconds above the function's normal time, or None"
    )
    assert isinstance(caught.value, TimeoutError)


@virtual
@on_every_loop
@both_doors
async def test_g15_the_message_of_the_last_caller(door: Callable[..., Door]) -> None:
    """When the leader has left, the last waiter takes the fetch along, and is told."""
    origin = Origin()
    asked = door(origin, max_wait_seconds=5)
    leader, waiter = start(asked.ask(), asked.ask())
    await asyncio.sleep(1)
    leader.cancel()

    with pytest.raises(WaitTimeoutError) as caught:
        await waiter
    await turns()

    assert str(caught.value) == (
        "waited 5.0 s for 'fixtures:nfl', which another caller began 5.0 s ago "
        "and which was cancelled with you, its last caller"
    )
    assert origin.working == 0
    assert asked.numbers().abandoned_fetches == 1
    await outcomes([leader])


@virtual
@on_every_loop
@both_doors
async def test_g15_none_waits_as_long_as_the_fetch(door: Callable[..., Door]) -> None:
    """``max_wait_seconds=None`` bounds nobody."""
    origin = Origin()
    asked = door(origin, max_wait_seconds=None)
    tasks = start(*(asked.ask() for _ in range(3)))
    await asyncio.sleep(50)
    origin.answer()

    assert await outcomes(tasks) == ["answer"] * 3
    assert asked.numbers().slow_fetches == 0


@virtual
@pytest.mark.parametrize(("own", "expected"), [(INHERIT, 5), (2, 2), (30, 30)])
async def test_g15_a_function_inherits_its_coalescers_limit(own: object, expected: float) -> None:
    """A function waits as its coalescer does unless it says otherwise."""
    coalescer, origin = RequestCoalescer(max_wait_seconds=5), Origin()

    @coalesced(key="fixtures:{key}", backend=coalescer, max_wait_seconds=own)
    async def fixtures(key: str) -> object:
        return await origin(key)

    (leader,) = start(fixtures("nfl"))
    await turns()
    with pytest.raises(WaitTimeoutError):
        await fixtures("nfl")
    assert now() == expected
    origin.answer()
    await leader


def test_g15_the_default_limits() -> None:
    """A coalescer's waiters wait five seconds, its flights may be joined for a minute."""
    assert RequestCoalescer().max_wait_seconds == 5.0
    assert RequestCoalescer().max_flight_seconds == 60.0


@virtual
@both_doors
async def test_g15_one_timer_per_flight(door: Callable[..., Door]) -> None:
    """However many wait, one timer is armed for them, and none once they have their answer."""
    origin = Origin()
    asked = door(origin, max_wait_seconds=5)
    loop = asyncio.get_running_loop()

    def timers() -> int:
        return sum(not timer.cancelled() for timer in loop._scheduled)  # type: ignore[attr-defined]

    (leader,) = start(asked.ask())
    await turns()
    assert timers() == 0
    waiters = []
    for _ in range(10):
        loop.clock.advance(0.1)  # type: ignore[attr-defined]
        waiters += start(asked.ask())
        await turns()
        assert timers() == 1
    origin.answer()
    await outcomes([leader, *waiters])

    assert timers() == 0


@virtual
@on_every_loop
@both_doors
async def test_g15_a_waiter_who_comes_after_others_left(door: Callable[..., Door]) -> None:
    """The timer that a departed waiter armed does not end the wait of a later one early."""
    origin = Origin()
    asked = door(origin, max_wait_seconds=5)
    leader, early = start(asked.ask(), asked.ask())
    await asyncio.sleep(1)
    early.cancel()
    await asyncio.sleep(2)
    (late,) = start(timed(asked))

    assert (await late)[0] == 8
    origin.answer()
    await outcomes([leader, early])


@virtual
@on_every_loop
@both_doors
async def test_g15_answer_and_limit_at_the_same_moment(door: Callable[..., Door]) -> None:
    """Whichever of the two comes first in the same tick decides, once, and nobody is left."""
    for answer_first in (True, False):
        origin = Origin()
        asked = door(origin, max_wait_seconds=5)
        loop = asyncio.get_running_loop()
        if answer_first:
            loop.call_later(5, lambda origin=origin: origin.answer())
        leader, waiter = start(asked.ask(), timed(asked))
        if not answer_first:
            await turns()
            loop.call_later(5, lambda origin=origin: origin.answer())
        _, end = await waiter

        assert await leader == "answer"
        assert isinstance(end, WaitTimeoutError) or end == "answer"
        assert asked.numbers().wait_timeouts == isinstance(end, WaitTimeoutError)


@virtual
@on_every_loop
@both_doors
async def test_g15_cancelled_at_the_moment_of_the_limit(door: Callable[..., Door]) -> None:
    """A waiter cancelled in the tick in which its wait is over is cancelled; the fetch is not lost for the leader."""
    origin = Origin()
    asked = door(origin, max_wait_seconds=5)
    leader, waiter, other = start(asked.ask(), asked.ask(), asked.ask())
    await turns()
    asyncio.get_running_loop().call_later(5, waiter.cancel)
    with pytest.raises(WaitTimeoutError):
        await other
    await turns()
    assert waiter.cancelled()
    origin.answer()

    assert await leader == "answer"


# ---- slow fetches ----


@virtual
@both_doors
async def test_g15_slow_fetches_are_counted_and_told_once(
    door: Callable[..., Door], caplog: pytest.LogCaptureFixture
) -> None:
    """A fetch that outlasts the limit counts though nobody waited for it; the first one is a WARNING."""
    origin = Origin()
    asked = door(origin, max_wait_seconds=5)
    for seconds in (4.9, 8, 9):
        (task,) = start(asked.ask())
        await asyncio.sleep(seconds)
        origin.answer()
        await task

    assert asked.numbers().slow_fetches == 2
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("slow_fetch: a fetch of ")
    assert record.seconds == pytest.approx(8)  # type: ignore[attr-defined]
    assert record.max_wait_seconds == 5  # type: ignore[attr-defined]
    assert "nfl" not in record.getMessage()


@virtual
@both_doors
async def test_g15_a_slow_fetch_that_fails_or_is_cut_is_slow(
    door: Callable[..., Door], caplog: pytest.LogCaptureFixture
) -> None:
    """However it ends, a fetch that outlasted the limit counts."""
    origin = Origin()
    asked = door(origin, max_wait_seconds=5, fetch_timeout_seconds=20)
    tasks = start(asked.ask("fails"), asked.ask("is cut"), asked.ask("is left"))
    await asyncio.sleep(10)
    origin.fail(LookupError())
    tasks[2].cancel()
    await outcomes(tasks)
    await asyncio.sleep(10)

    assert asked.numbers().slow_fetches == 3
    assert len(caplog.records) == 1


# ---- fetch_timeout_seconds ----


@virtual
@on_every_loop
@both_doors
async def test_g15_a_fetch_timeout_is_for_all_its_callers(door: Callable[..., Door]) -> None:
    """It runs from the start of the function, and ends it for everybody at once; the next call begins anew."""
    origin = Origin()
    asked = door(origin, fetch_timeout_seconds=3)
    first = start(timed(asked), timed(asked))
    await asyncio.sleep(2)
    ends = await outcomes([*first, *start(timed(asked))])
    await turns()

    assert [at for at, _ in ends] == [3] * 3
    assert [type(end) for _, end in ends] == [FetchTimeoutError] * 3
    expected = "the fetch of 'fixtures:nfl' ran longer than fetch_timeout_seconds=3 and was cancelled"
    assert [str(end) for _, end in ends] == [expected] * 3
    assert len({id(end) for _, end in ends}) == 3
    assert isinstance(ends[0][1], TimeoutError)
    assert origin.working == 0
    numbers = asked.numbers()
    assert (numbers.fetch_timeouts, numbers.fetch_cancelled, numbers.fetch_errors, numbers.fetches) == (1, 0, 0, 1)

    (again,) = start(asked.ask())
    await turns()
    origin.answer("again")
    assert await again == "again"


@virtual
@on_every_loop
@both_doors
async def test_g15_a_fetch_that_ignores_its_timeout(door: Callable[..., Door]) -> None:
    """Its callers are told on time, it is listed and counted as a zombie, and what it returns is dropped."""
    origin = Stubborn()
    asked = door(origin, fetch_timeout_seconds=3)
    ends = await outcomes(start(timed(asked), timed(asked)))

    assert [at for at, _ in ends] == [3, 3]
    assert [type(end) for _, end in ends] == [FetchTimeoutError] * 2
    await asyncio.sleep(10)
    (zombie,) = asked.coalescer.flights()
    assert (zombie.zombie, zombie.joinable, zombie.waiters, zombie.age_seconds) == (True, False, 0, 13)
    assert asked.coalescer.pending_keys == ()
    numbers = asked.numbers()
    assert (numbers.zombies, numbers.in_flight, numbers.pending_keys) == (1, 1, 0)

    (newer,) = start(asked.ask())  # leads beside the zombie
    await turns()
    assert (origin.calls, origin.cancelled) == (2, 1)
    origin.release.set()
    assert await newer == "too late"
    await turns()
    numbers = asked.numbers()
    assert (numbers.zombies, numbers.in_flight, numbers.fetch_timeouts, numbers.fetches) == (0, 0, 1, 2)
    assert numbers.fetch_latency.count == 2


@virtual
@on_every_loop
@both_doors
async def test_g15_a_fetch_that_ends_in_an_error_after_its_timeout(door: Callable[..., Door]) -> None:
    """What a fetch raises while it is being cancelled is dropped, too, and never reported as unretrieved."""

    async def origin(*_: object) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            raise LookupError("while cleaning up")

    asked = door(origin, fetch_timeout_seconds=3)
    with pytest.raises(FetchTimeoutError):
        await asked.ask()
    await turns()

    assert asked.coalescer.flights() == ()
    assert asked.numbers().fetch_errors == 0


@virtual
@on_every_loop
@both_doors
async def test_g15_a_fetch_that_ends_in_time(door: Callable[..., Door]) -> None:
    """A limit that was not reached leaves no trace."""
    origin = Origin()
    asked = door(origin, fetch_timeout_seconds=3)
    (task,) = start(asked.ask())
    await asyncio.sleep(2.9)
    origin.answer()
    assert await task == "answer"
    await asyncio.sleep(10)

    assert asked.numbers().fetch_timeouts == 0


# ---- max_flight_seconds ----


@virtual
@on_every_loop
@both_doors
async def test_g15_an_over_age_flight_is_detached_by_the_next_caller(door: Callable[..., Door]) -> None:
    """It keeps its callers and is not joined; each gets the answer of its own fetch."""
    origin = Origin()
    asked = door(origin, max_wait_seconds=None, max_flight_seconds=60)
    tasks = start(asked.ask(), asked.ask())
    await asyncio.sleep(60)
    tasks += start(asked.ask())  # at the limit it may still be joined
    await asyncio.sleep(0.1)
    assert asked.numbers().pending_keys == 0
    assert [(flight.joinable, flight.zombie) for flight in asked.coalescer.flights()] == [(False, False)]
    tasks += start(asked.ask(), asked.ask())
    await turns()
    assert len(asked.coalescer.flights()) == 2
    assert len(asked.coalescer.pending_keys) == 1
    origin.answer("old")
    await turns()
    tasks += start(asked.ask())
    await turns()
    origin.answer("new")

    assert await outcomes(tasks) == ["old", "old", "old", "new", "new", "new"]
    assert len(origin.calls) == 2


@virtual
@on_every_loop
@both_doors
async def test_g15_the_newer_flight_may_end_first(door: Callable[..., Door]) -> None:
    """Then the old one's callers still get the old one's answer, and it takes nobody's slot away."""
    origin = Origin()
    asked = door(origin, max_wait_seconds=None, max_flight_seconds=60)
    old = start(asked.ask())
    await asyncio.sleep(61)
    new = start(asked.ask())
    await turns()
    origin._held[1].set_result("new")
    assert await outcomes(new) == ["new"]
    newest = start(asked.ask())
    await turns()
    origin.answer("old")
    assert await outcomes(old) == ["old"]
    assert len(asked.coalescer.pending_keys) == 1
    origin.answer("newest")

    assert await outcomes(newest) == ["newest"]


@virtual
@on_every_loop
@both_doors
async def test_g15_callers_of_a_detached_flight_leave_as_from_any(door: Callable[..., Door]) -> None:
    """The last caller of an over-age flight takes it along and no other."""
    origin = Origin()
    asked = door(origin, max_wait_seconds=None, max_flight_seconds=60)
    (old,) = start(asked.ask())
    await asyncio.sleep(61)
    (new,) = start(asked.ask())
    await turns()
    assert origin.working == 2
    old.cancel()
    await turns()
    assert origin.working == 1
    origin.answer("new")

    assert await new == "new"
    await outcomes([old])


# ---- in real time, as uvloop's timers know no other: 10 ms, and events instead of sleeping ----


@on_every_loop
@both_doors
async def test_g15_in_real_time_a_waiter_times_out(door: Callable[..., Door]) -> None:
    """A waiter goes when its time is over, and the fetch goes on for its leader."""
    origin = Origin()
    asked = door(origin, max_wait_seconds=0.01)
    leader, waiter = start(asked.ask(), asked.ask())
    with pytest.raises(WaitTimeoutError):
        await waiter
    assert not leader.done()
    origin.answer()

    assert await leader == "answer"
    assert asked.numbers().wait_seconds_total >= 0.009


@on_every_loop
@both_doors
async def test_g15_in_real_time_waiters_time_out_in_order(door: Callable[..., Door]) -> None:
    """The one timer serves waiters that came at different times."""
    origin = Origin()
    asked = door(origin, max_wait_seconds=0.01)
    order: list[int] = []

    async def waiter(number: int) -> None:
        try:
            await asked.ask()
        except WaitTimeoutError:
            order.append(number)

    (leader,) = start(asked.ask())
    tasks = []
    for number in range(3):
        tasks += start(waiter(number))
        await turns(20)
    await outcomes(tasks)
    origin.answer()

    assert order == [0, 1, 2]
    assert await leader == "answer"


@on_every_loop
@both_doors
async def test_g15_in_real_time_a_fetch_times_out(door: Callable[..., Door]) -> None:
    """A fetch that ignores its cancellation holds nobody."""
    origin = Stubborn()
    asked = door(origin, fetch_timeout_seconds=0.01)
    ends = await outcomes(start(asked.ask(), asked.ask()))
    assert [type(end) for end in ends] == [FetchTimeoutError] * 2
    assert [flight.zombie for flight in asked.coalescer.flights()] == [True]
    origin.release.set()
    await turns()

    assert asked.coalescer.flights() == ()


@on_every_loop
@both_doors
async def test_g15_in_real_time_a_flight_is_over_age(door: Callable[..., Door]) -> None:
    """Once a waiter has waited for longer than the age at which a flight is too old, the next caller leads anew."""
    origin = Origin()
    asked = door(origin, max_wait_seconds=0.02, max_flight_seconds=0.01)
    old, waiter = start(asked.ask(), asked.ask())
    with pytest.raises(WaitTimeoutError):
        await waiter
    (new,) = start(asked.ask())
    await turns()
    assert origin.working == 2
    origin.answer("old")
    origin.answer("new")

    assert await outcomes([old, new]) == ["old", "new"]


@on_every_loop
@both_doors
async def test_g15_in_real_time_nobody_needs_a_held_flight(door: Callable[..., Door]) -> None:
    """With ``finish`` a flight that nobody waits for is cut at ``max_flight_seconds``."""
    ended = asyncio.Event()

    async def origin(*_: object) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()

    asked = door(origin, max_flight_seconds=0.01, on_abandon="finish")
    (task,) = start(asked.ask())
    await turns()
    task.cancel()
    await ended.wait()
    await outcomes([task])
    await turns()

    assert asked.coalescer.flights() == ()
    assert asked.numbers().abandoned_fetches == 1
