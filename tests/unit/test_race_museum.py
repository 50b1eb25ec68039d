"""The race museum: races that other caches have lost, each as the order of events that loses it. Not here: those that
need a store, several processes or batches.
"""

import asyncio
import gc
import traceback
from typing import Any, Self

import pytest

import coalesce_kit
from coalesce_kit import (
    CachePolicy,
    CoalescerClosedError,
    FetchCancelledError,
    RecursiveFetchError,
    RequestCoalescer,
    coalesced,
)
from coalesce_kit.testing.clock import VirtualClock
from coalesce_kit.testing.leaks import unretrieved
from tests.conftest import LoopFactory
from tests.fakes import Origin, after, keeping, outcomes, start, turns

virtual = pytest.mark.usefixtures("virtual_time")
on_every_loop = pytest.mark.on_every_loop

SWR = CachePolicy(ttl=10, stale_while_revalidate=100)


class Down(Exception):
    """The upstream is down."""


@on_every_loop
async def test_museum_01_invalidate_between_load_and_publish() -> None:
    """Load begins; invalidate; load ends: nothing of it is kept."""
    origin = Origin()
    odds = keeping(origin, ttl=1000)
    loading = start(odds())
    await turns()
    odds.invalidate()
    origin.answer("old")
    await outcomes(loading)

    assert odds.peek() is None


@virtual
@on_every_loop
async def test_museum_02_tag_invalidated_during_a_background_completion() -> None:
    """A stale reader has its answer and the load goes on; its tag is invalidated; the load ends: it is not kept."""
    origin = Origin()
    policy = CachePolicy(ttl=10, stale_while_revalidate=100, stale_wait_seconds=1)
    odds = keeping(origin, policy=policy, tags=("odds",))
    await after(origin, "old", odds())
    await asyncio.sleep(11)
    assert await odds() == "old"
    coalesce_kit.invalidate_tags("odds")
    origin.answer("between")
    await turns()

    assert odds.peek() is None
    assert odds.stats().stale_publishes_refused == 1


@on_every_loop
async def test_museum_03_invalidate_then_reload_then_the_first_load_publishes() -> None:
    """The second load's value stays, whichever ends first."""
    origin = Origin()
    odds = keeping(origin, ttl=1000)
    first = start(odds())
    await turns()
    odds.invalidate()
    second = start(odds())
    await turns()
    late, early = origin._held
    early.set_result("new")
    await turns()
    late.set_result("old")

    assert await outcomes([*first, *second]) == ["old", "new"]
    assert await odds() == "new"


@virtual
@on_every_loop
async def test_museum_04_put_during_a_load_and_there_and_back_during_a_refresh() -> None:
    """A refresh began from A; B is put, then A again: the refresh is not kept although the value looks untouched."""
    origin = Origin()
    odds = keeping(origin, policy=SWR)
    odds.prime("A")
    await asyncio.sleep(11)
    assert await odds() == "A"
    await turns()
    odds.prime("B")
    odds.prime("A")
    origin.answer("refreshed")
    await turns()

    assert await odds() == "A"
    assert odds.stats().stale_publishes_refused == 1


@virtual
@on_every_loop
async def test_museum_05_no_second_refresh_in_the_gap_of_the_swap() -> None:
    """Readers in every turn in which a refresh ends start no other."""
    origin = Origin()
    odds = keeping(origin, policy=SWR)
    await after(origin, "old", odds())
    await asyncio.sleep(11)
    await odds()
    await turns()
    origin.answer("new")
    for _ in range(8):
        await odds()
        await asyncio.sleep(0)

    assert len(origin.calls) == 2


@on_every_loop
async def test_museum_06_a_stale_completion_removes_no_successor() -> None:
    """The first flight ends after it was detached: its successor keeps the slot, and a third caller joins it."""
    origin = Origin()
    odds = keeping(origin, ttl=1000)
    first = start(odds())
    await turns()
    odds.invalidate()
    second = start(odds())
    await turns()
    origin.answer("old")
    await turns()
    third = start(odds())
    await turns()
    assert len(origin.calls) == 2
    origin.answer("new")

    assert await outcomes([*first, *second, *third]) == ["old", "new", "new"]


@on_every_loop
async def test_museum_07_the_last_caller_leaves_while_another_comes() -> None:
    """A flight that is being cancelled is not joined: who comes in that tick leads another."""
    origin = Origin()
    odds = keeping(origin, ttl=1000)
    (leaving,) = start(odds())
    await turns()
    leaving.cancel()
    await asyncio.sleep(0)
    (coming,) = start(odds())
    await turns()
    assert origin.working == 1
    origin.answer("new")

    assert await coming == "new"


@on_every_loop
@pytest.mark.parametrize("turn", range(8))
async def test_museum_08_the_leader_is_cancelled_at_every_await(turn: int) -> None:
    """After any number of turns: the others get their answer, from one load, and it is kept."""
    origin = Origin()
    odds = keeping(origin, ttl=1000)
    leader, *others = start(odds(), odds(), odds())
    for _ in range(turn):
        await asyncio.sleep(0)
        if origin.working and turn > 4:
            origin.answer("value")
    leader.cancel()
    await turns()
    if origin.working:
        origin.answer("value")

    assert await outcomes(others) == ["value", "value"]
    assert await odds() == "value"
    await outcomes([leader])
    assert len(origin.calls) == 1


@on_every_loop
async def test_museum_09_all_leave_and_the_factory_swallows_it() -> None:
    """The zombie blocks nobody, and what it brings is dropped."""
    release = asyncio.Event()
    calls = 0

    @coalesced(ttl=1000)
    async def odds() -> int:
        nonlocal calls
        calls += 1
        number = calls
        while number == 1 and not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                pass
        return number

    callers = start(odds(), odds())
    await turns()
    for caller in callers:
        caller.cancel()
    await outcomes(callers)
    assert await odds() == 2
    release.set()
    await turns()

    assert await odds() == 2
    assert odds.stats().zombies == 0


@on_every_loop
async def test_museum_10_an_inner_cancellation_in_a_task_group() -> None:
    """It is an error, and the group fails with it; it is not the silent success of a cancelled child."""

    @coalesced(ttl=1000)
    async def odds() -> None:
        await asyncio.sleep(0)
        raise asyncio.CancelledError

    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as group:
            group.create_task(odds())
    assert [type(one) for one in caught.value.exceptions] == [FetchCancelledError]


class Uncopyable(Exception):
    """It has a ``__new__`` that nobody can call again."""

    def __new__(cls, *arguments: object) -> Self:
        if arguments != ("once",):
            raise TypeError
        return super().__new__(cls)


@on_every_loop
@pytest.mark.parametrize(
    ("error", "met"),
    [(StopIteration("x"), RuntimeError), (Uncopyable("once"), Uncopyable), (GeneratorExit(), FetchCancelledError)],
    ids=repr,
)
async def test_museum_11_the_factory_raises_something_odd(error: BaseException, met: type[Exception]) -> None:
    """All callers get an error, nobody hangs, nothing is remembered that cannot be, and the key is free."""
    broken = True

    @coalesced(policy=CachePolicy(ttl=1000, error_ttl={Uncopyable: 1000}))
    async def odds() -> str:
        await asyncio.sleep(0)
        if broken:
            raise error
        return "value"

    assert [type(end) for end in await outcomes(start(odds(), odds()))] == [met, met]
    broken = False
    assert await odds() == "value"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_museum_11_the_factory_ends_the_loop(error: type[BaseException], loop_factory: LoopFactory) -> None:
    """``KeyboardInterrupt`` and ``SystemExit`` end the loop, and the next one finds the key free."""
    broken = True

    @coalesced(ttl=1000)
    async def odds() -> str:
        await asyncio.sleep(0)
        if broken:
            raise error
        return "value"

    async def ask() -> Any:
        return await odds()

    with unretrieved(), pytest.raises(error), asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(ask())
    broken = False
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        assert runner.run(ask()) == "value"


@on_every_loop
async def test_museum_12_retire_before_publish() -> None:
    """Who asks in any turn around the end of a load finds the flight or the value, never neither."""
    origin = Origin()
    odds = keeping(origin, ttl=1000)
    callers = start(odds())
    await turns()
    origin.answer("value")
    for _ in range(10):
        callers += start(odds())
        await asyncio.sleep(0)

    assert await outcomes(callers) == ["value"] * 11
    assert len(origin.calls) == 1


@on_every_loop
async def test_museum_13_a_factory_that_asks_for_itself() -> None:
    """Directly, and over another key and back: refused at once, with the chain."""

    @coalesced(ttl=1000, key="odds:{league}")
    async def odds(league: str) -> Any:
        return await odds({"self": "self", "a": "b", "b": "a"}[league])

    for league in ("self", "a"):
        with pytest.raises(RecursiveFetchError, match=f"odds:{league} →"):
            await odds(league)


@virtual
@on_every_loop
@pytest.mark.parametrize("first", ["answer", "timer"])
async def test_museum_14_the_soft_timeout_in_the_tick_of_the_completion(first: str) -> None:
    """The new value wins if it is there; either way there is an answer, and the new value is kept."""
    policy = CachePolicy(ttl=10, stale_while_revalidate=100, stale_wait_seconds=2)
    calls = 0

    @coalesced(policy=policy)
    async def odds() -> int:
        nonlocal calls
        calls += 1
        if calls > 1:
            await asyncio.sleep(2 if first == "timer" else 1.9999999999)
        return calls

    await odds()
    await asyncio.sleep(11)

    assert await odds() in ((1, 2) if first == "timer" else (2,))
    await turns()
    assert await odds() == 2


@virtual
@on_every_loop
async def test_museum_16_background_failure_after_a_stale_answer() -> None:
    """The stale value that was answered stays, and the next try is put off."""
    origin = Origin()
    odds = keeping(origin, policy=SWR)
    await after(origin, "old", odds())
    await asyncio.sleep(11)
    assert await odds() == "old"
    await turns()
    origin.fail(Down())
    await turns()

    assert await odds() == "old"
    await turns()
    assert origin.working == 0


@virtual
@on_every_loop
async def test_museum_17_a_refresh_that_throws_before_it_has_begun() -> None:
    """A refresh refused by a closed coalescer blocks neither its key nor any reader."""
    origin = Origin()
    coalescer = RequestCoalescer()
    odds = keeping(origin, policy=CachePolicy(ttl=10, refresh_ahead=0.1), backend=coalescer)
    odds.prime("old")
    await asyncio.sleep(2)
    await coalescer.aclose()
    for _ in range(3):
        assert await odds() == "old"
        await turns()
        assert odds.stats().refreshes_running == 0
    assert odds.stats().refresh_errors == 3
    with pytest.raises(CoalescerClosedError):
        await odds("another")


def test_museum_25_the_clock_steps_and_stands() -> None:
    """A clock that stands still: invalidation and write in one tick are told apart by their order."""
    calls = 0

    @coalesced(ttl=10, tags=("odds",))
    async def odds() -> int:
        nonlocal calls
        calls += 1
        return calls

    with VirtualClock() as time:
        assert asyncio.run(odds()) == 1
        coalesce_kit.invalidate_tags("odds")
        assert asyncio.run(odds()) == 2
        odds.invalidate()
        odds.prime(7)
        assert asyncio.run(odds()) == 7
        time.advance(1e6)
        assert asyncio.run(odds()) == 3


@on_every_loop
async def test_museum_29_ten_thousand_keys_once_each() -> None:
    """Nothing grows with the keys: not the slots, not the tickets, not the cache."""

    @coalesced(ttl=1000)
    async def odds(number: int) -> int:
        return number

    for number in range(10_000):
        await odds(number)
    workings: Any = odds.__coalesced__  # type: ignore[attr-defined]

    assert (len(workings._tickets), odds.stats().pending_keys, odds.stats().cached_entries) == (0, 0, 1024)


@virtual
@on_every_loop
async def test_museum_30_notes_and_contexts_of_one_caller_reach_no_other() -> None:
    """Neither those who waited together nor those who met the remembered failure later."""
    origin = Origin()
    odds = keeping(origin, policy=CachePolicy(error_ttl={Down: 100}))

    async def call(name: str) -> Exception:
        try:
            try:
                raise KeyError(name)
            except KeyError:
                await odds()
        except Down as error:
            error.add_note(name)
            return error
        raise AssertionError

    together = start(call("first"), call("second"))
    await turns()
    origin.fail(Down())
    errors = [*await asyncio.gather(*together), await call("third"), await call("fourth")]

    names = ["first", "second", "third", "fourth"]
    assert [error.__notes__ for error in errors] == [[name] for name in names]
    for error, name in zip(errors, names, strict=True):
        told = "".join(traceback.format_exception(error))
        assert not [other for other in names if other != name and other in told.replace("test_", "")]


def test_museum_31_a_loop_closed_with_flights_alive_and_a_second_one(loop_factory: LoopFactory) -> None:
    """The second loop finds the key free, and what the first had kept."""
    hangs = True

    @coalesced(ttl=1000)
    async def odds(league: str) -> str:
        if hangs and league == "hangs":
            await asyncio.get_running_loop().create_future()
        return league

    async def begin() -> None:
        await odds("kept")
        start(odds("hangs"), odds("hangs"))
        await turns()

    with unretrieved():  # asyncio tells that tasks were destroyed, and rightly so
        loop = loop_factory()
        loop.run_until_complete(begin())
        loop.close()
        hangs = False
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            assert [runner.run(odds("hangs")), runner.run(odds("kept"))] == ["hangs", "kept"]
        gc.collect()
    assert odds.stats().cache_hits == 1


@on_every_loop
async def test_museum_32_closing_beside_a_new_call() -> None:
    """A call that comes while the coalescer closes is refused and counted; a hit is still a hit."""
    origin = Origin()
    coalescer = RequestCoalescer()
    odds = keeping(origin, ttl=1000, backend=coalescer)
    await after(origin, "value", odds("kept"))
    flying = start(odds("flying"))
    await turns()
    closing = start(coalescer.aclose())
    await turns()
    late = start(odds("late"), odds("kept"))
    await turns()
    origin.answer("in time")

    assert await outcomes(flying) == ["in time"]
    refused, hit = await outcomes(late)
    assert (type(refused), hit) == (CoalescerClosedError, "value")
    await outcomes(closing)
    assert odds.stats().rejected_requests == 1


@virtual
@on_every_loop
async def test_museum_34_a_ttl_of_nothing_and_coalescing() -> None:
    """Those who waited for a load get its value although it is never fresh; those who come later do not."""
    origin = Origin()
    odds = keeping(origin, ttl=lambda result: 0)
    callers = start(*(odds() for _ in range(10)))
    await turns()
    origin.answer("one")

    assert await outcomes(callers) == ["one"] * 10
    assert await after(origin, "two", odds()) == "two"


@virtual
@on_every_loop
async def test_museum_35_what_is_not_cacheable_makes_no_queue() -> None:
    """A hundred callers of a result that is not kept are one load and one wait, and not a hundred in a row."""

    @coalesced(policy=CachePolicy(ttl=1000, cache_if=lambda result: False))
    async def odds() -> str:
        await asyncio.sleep(1)
        return "private"

    began = asyncio.get_running_loop().time()
    assert await outcomes(start(*(odds() for _ in range(100)))) == ["private"] * 100
    assert asyncio.get_running_loop().time() - began == 1
