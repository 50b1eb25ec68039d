"""G7, joining: no call that begins after an invalidation gets the value of a fetch that began before it."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest

import coalesce_kit
from coalesce_kit import RequestCoalescer, coalesced
from coalesce_kit.tickets import Tickets
from tests.conftest import LoopFactory
from tests.fakes import Origin, outcomes, start, switching_threads_often, turns

WAYS: dict[str, Callable[[Any], Any]] = {
    "invalidate": lambda odds: odds.invalidate("nba"),
    "invalidate, spelled otherwise": lambda odds: odds.invalidate(limit=5, league="nba"),
    "invalidate_key": lambda odds: odds.invalidate_key(league="nba", limit=5),
    "invalidate_all": lambda odds: odds.invalidate_all(),
    "coalesce_kit.invalidate_all": lambda odds: coalesce_kit.invalidate_all(),
}

every_way = pytest.mark.parametrize("invalidate", WAYS.values(), ids=WAYS)


def asking(origin: Callable[..., Any], **options: Any) -> Any:
    """Return a decorated function that asks ``origin``."""

    @coalesced(**options)
    async def odds(league: str, limit: int = 5) -> Any:
        return await origin(league, limit)

    return odds


@pytest.mark.on_every_loop
@every_way
async def test_g07_later_callers_lead_anew(invalidate: Callable[[Any], Any]) -> None:
    """However a fetch in flight is invalidated, its callers keep it and the next caller leads another."""
    origin = Origin()
    odds = asking(origin)
    before = start(odds("nba"), odds("nba"))
    await turns()
    assert invalidate(odds).voided == 1
    after = start(odds("nba"), odds("nba"))
    await turns()
    origin.answer("old")
    origin.answer("new")

    assert await outcomes([*before, *after]) == ["old", "old", "new", "new"]
    numbers = odds.stats()
    assert (numbers.fetches, numbers.led_requests, numbers.coalesced_requests, numbers.invalidations) == (2, 2, 2, 1)


@pytest.mark.on_every_loop
@every_way
async def test_g07_a_thread_without_a_loop_may_invalidate(invalidate: Callable[[Any], Any]) -> None:
    """An invalidation acts at the call, in a thread that has no event loop too."""
    origin = Origin()
    odds = asking(origin)
    before = start(odds("nba"))
    await turns()
    invalidations: list[Any] = []
    thread = threading.Thread(target=lambda: invalidations.append(invalidate(odds)))
    thread.start()
    thread.join()
    assert [invalidation.voided for invalidation in invalidations] == [1]
    after = start(odds("nba"))
    await turns()
    origin.answer("old")
    origin.answer("new")

    assert await outcomes([*before, *after]) == ["old", "new"]


def by_a_callback(invalidate: Callable[[], object]) -> None:
    asyncio.get_running_loop().call_soon(invalidate)


def by_a_hook_of_the_collector(invalidate: Callable[[], object]) -> None:
    class Row:
        pass

    row = Row()
    row.itself = row  # type: ignore[attr-defined]  # a cycle, for the collector
    weakref.finalize(row, invalidate)
    del row
    gc.collect()


def by_a_hook_of_the_database(invalidate: Callable[[], object]) -> None:
    """Commit in a session whose ``after_commit`` hook, a plain function, invalidates."""
    orm = pytest.importorskip("sqlalchemy.orm")
    sqlalchemy = pytest.importorskip("sqlalchemy")
    session = orm.Session(sqlalchemy.create_engine("sqlite://"))
    sqlalchemy.event.listen(session, "after_commit", lambda _: invalidate())
    session.execute(sqlalchemy.text("SELECT 1"))
    session.commit()
    session.close()
    session.bind.dispose()


@pytest.mark.on_every_loop
@pytest.mark.parametrize("hook", [by_a_callback, by_a_hook_of_the_collector, by_a_hook_of_the_database])
async def test_g07_a_synchronous_hook_may_invalidate(hook: Callable[[Callable[[], object]], None]) -> None:
    """An invalidation that nobody awaits has had its effect, wherever it was called."""
    origin = Origin()
    odds = asking(origin)
    before = start(odds("nba"))
    await turns()
    hook(lambda: odds.invalidate("nba"))
    await turns()
    after = start(odds("nba"))
    await turns()
    origin.answer("old")
    origin.answer("new")

    assert await outcomes([*before, *after]) == ["old", "new"]


@pytest.mark.on_every_loop
async def test_g07_a_call_begins_when_it_is_awaited() -> None:
    """A coroutine that was made before the invalidation and runs after it does not join."""
    origin = Origin()
    odds = asking(origin)
    before = start(odds("nba"))
    await turns()
    made_before = odds("nba")
    odds.invalidate("nba")
    after = start(made_before)
    await turns()
    origin.answer("old")
    origin.answer("new")

    assert await outcomes([*before, *after]) == ["old", "new"]


@pytest.mark.on_every_loop
async def test_g07_a_fetch_that_begins_after_it_is_joined() -> None:
    """A flight whose fetch has not begun yet will read what is new, so it is not detached."""
    origin = Origin()
    odds = asking(origin)
    first = odds("nba")
    first.send(None)  # the slot is taken; only an eager task has begun
    begun = len(origin.calls)
    assert odds.invalidate("nba").voided == begun
    others = start(odds("nba"))
    await turns()

    assert len(origin.calls) == 1 + begun
    first.close()
    await turns()
    origin.answer()
    assert await outcomes(others) == ["answer"]


@pytest.mark.on_every_loop
async def test_g07_a_fetch_that_invalidates_its_own_key() -> None:
    """A fetch may invalidate what it is fetching: it keeps its callers, later ones lead anew."""
    origin = Origin()

    async def writes(league: str, limit: int) -> Any:
        assert odds.invalidate(league, limit).voided == 1
        return await origin(league, limit)

    odds = asking(writes)
    tasks = start(odds("nba"))
    await turns()
    tasks += start(odds("nba"))
    await turns()
    origin.answer("first")
    origin.answer("second")

    assert await outcomes(tasks) == ["first", "second"]


@pytest.mark.on_every_loop
@pytest.mark.parametrize("order", list(permutations(range(3))))
async def test_g07_detached_flights_end_in_any_order(order: tuple[int, ...]) -> None:
    """Every fetch answers those who began before the invalidation after it, whichever ends first."""
    held: list[asyncio.Future[str]] = []

    async def origin(*_: object) -> str:
        held.append(asyncio.get_running_loop().create_future())
        return await held[-1]

    odds = asking(origin)
    tasks: list[asyncio.Task[Any]] = []
    for _ in order:
        tasks += start(odds("nba"), odds("nba"))
        await turns()
        odds.invalidate("nba")
    for ended, number in enumerate(order):
        held[number].set_result(f"fetch {number}")
        await turns()
        assert odds.stats().in_flight == len(order) - ended - 1

    assert await outcomes(tasks) == [f"fetch {number}" for number in range(3) for _ in range(2)]


@pytest.mark.on_every_loop
async def test_g07_an_older_flight_of_the_key_is_voided_too() -> None:
    """All tickets of a key are voided, those of flights that were detached before for another reason included."""
    coalescer, tickets, origin = RequestCoalescer(), Tickets(), Origin()
    ask = lambda: coalescer.get_or_fetch("nba", origin, reserve=lambda: tickets.reserve("nba"))
    tasks = start(ask())
    await turns()
    coalescer.forget("nba")
    tasks += start(ask())
    await turns()

    assert tickets.void("nba") == 2
    assert [flight.good for flight in coalescer.flights()] == [False, False]
    tasks += start(ask())
    await turns()
    for number in range(3):
        origin.answer(number)
    assert await outcomes(tasks) == [0, 1, 2]


@pytest.mark.on_every_loop
async def test_g07_other_keys_and_functions_are_left_alone() -> None:
    """Only the flights that an invalidation names stop being joined."""
    origin = Origin()
    odds, fixtures = asking(origin), asking(origin)
    tasks = start(odds("nfl"), odds("nba", 6), fixtures("nba"))
    await turns()
    assert odds.invalidate("nba").voided == 0
    tasks += start(odds("nfl"), odds("nba", 6), fixtures("nba"))
    await turns()
    assert origin.working == 3
    assert odds.invalidate_all().voided == 2
    assert fixtures.stats().pending_keys == 1
    for answer in ("nfl", "nba 6", "nba"):
        origin.answer(answer)

    assert await outcomes(tasks) == ["nfl", "nba 6", "nba"] * 2


@pytest.mark.on_every_loop
async def test_g07_an_invalidated_fetch_is_still_its_callers_own() -> None:
    """A detached fetch shares its failure among those who wait for it, and is cancelled with the last of them."""
    origin = Origin()
    odds = asking(origin)
    fails, abandoned = start(odds("nba"), odds("nba")), start(odds("nfl"), odds("nfl"))
    await turns()
    odds.invalidate_all()
    origin.fail(LookupError("old"))
    assert [str(end) for end in await outcomes(fails)] == ["old", "old"]
    for task in abandoned:
        task.cancel()
    await outcomes(abandoned)
    await turns()

    assert origin.working == 0
    assert (odds.stats().fetch_errors, odds.stats().abandoned_fetches) == (1, 1)


@pytest.mark.on_every_loop
async def test_g07_forget_detaches_a_coalescers_own_flight() -> None:
    """Without a decorator, ``forget`` is what later callers do not join past; those who wait keep their result."""
    coalescer, origin = RequestCoalescer(), Origin()
    before = start(coalescer.get_or_fetch("nba", origin), coalescer.get_or_fetch("nba", origin))
    await turns()
    assert coalescer.forget("nba")
    after = start(coalescer.get_or_fetch("nba", origin))
    await turns()
    origin.answer("old")
    origin.answer("new")

    assert await outcomes([*before, *after]) == ["old", "old", "new"]


def test_g07_an_invalidation_reaches_the_flights_of_every_loop(loop_factory: LoopFactory) -> None:
    """An invalidation on one loop detaches a flight on another."""
    origin = Origin()
    odds = asking(origin)
    theirs, mine = loop_factory(), loop_factory()

    async def ask() -> list[asyncio.Task[Any]]:
        tasks = start(odds("nba"))
        await turns()
        return tasks

    async def invalidate() -> int:
        return int(odds.invalidate("nba").voided)

    tasks = theirs.run_until_complete(ask())
    assert mine.run_until_complete(invalidate()) == 1
    tasks += theirs.run_until_complete(ask())
    origin.answer("old")
    origin.answer("new")
    assert theirs.run_until_complete(outcomes(tasks)) == ["old", "new"]
    theirs.close()
    mine.close()


def test_g07_forget_outside_a_loop_reaches_the_flights_of_every_loop(loop_factory: LoopFactory) -> None:
    """Called where no loop runs, ``forget`` detaches the key's flights on all of them."""
    coalescer, origin = RequestCoalescer(), Origin()
    loops = [loop_factory(), loop_factory()]

    async def ask() -> list[asyncio.Task[Any]]:
        tasks = start(coalescer.get_or_fetch("nba", origin))
        await turns()
        return tasks

    tasks = [loop.run_until_complete(ask()) for loop in loops]
    assert coalescer.forget("nba")
    assert not coalescer.forget("nba")
    for loop, waiting in zip(loops, tasks, strict=True):
        waiting += loop.run_until_complete(ask())
    assert len(origin.calls) == 4
    for _ in range(4):
        origin.answer()
    for loop, waiting in zip(loops, tasks, strict=True):
        assert loop.run_until_complete(outcomes(waiting)) == ["answer", "answer"]
        loop.close()


def test_g07_no_stale_answer_while_another_thread_writes(loop_factory: LoopFactory) -> None:
    """Whoever has seen a write announced gets an answer at least as new, while a thread writes without pause."""
    version = announced = 0

    async def origin(*_: object) -> int:
        read = version
        for _ in range(3):
            await asyncio.sleep(0)
        return read

    odds = asking(origin)

    def write() -> None:
        nonlocal version, announced
        while not read_enough.is_set():
            version += 1
            odds.invalidate("nba")
            announced = version

    async def reader(number: int) -> None:
        for _ in range(200):
            seen = announced
            assert await odds("nba") >= seen
            await turns(number)  # out of step with the others, so that one joins what another has begun

    async def main() -> None:
        writer.start()
        try:
            await asyncio.gather(*(reader(number) for number in range(5)))
        finally:
            read_enough.set()
            writer.join()

    read_enough = threading.Event()
    writer = threading.Thread(target=write)
    with switching_threads_often(), asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())
    numbers = odds.stats()
    assert numbers.invalidations == version
    assert numbers.led_requests + numbers.coalesced_requests == numbers.total_requests == 1000
