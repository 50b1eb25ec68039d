"""G17: a store's failure is never a caller's failure."""

from __future__ import annotations

import asyncio
import logging

import pytest

from coalesce_kit import Observer, StateChanged
from coalesce_kit.errors import StoreRefusedError
from tests.fakes import outcomes, start, turns
from tests.simulated import World

LONG = 30


async def fetched(world: World, process, value, league="nba"):
    (task,) = start(process.odds(league))
    await turns(LONG)
    if world.origin.working:
        world.origin.answer(value)
    return await task


class Watching(Observer):
    def __init__(self) -> None:
        self.states: list[tuple[str, str]] = []

    def state_changed(self, event: StateChanged, /) -> None:
        self.states.append((event.before, event.after))


async def test_g17_a_store_that_is_down_from_the_start_is_nobodys_error(world):
    """Calls are answered by the function, each process for itself, and what it returns is kept there."""
    world.server.go_down()
    first, second = world.start(2)
    tasks = start(*(process.odds("nba") for process in (first, second) for _ in range(5)))
    await asyncio.sleep(0.2)
    assert len(world.origin.calls) == 2
    world.origin.answer("1")
    world.origin.answer("2")
    assert sorted(await outcomes(tasks)) == ["1"] * 5 + ["2"] * 5
    await first.odds("nba")
    assert len(world.origin.calls) == 2


@pytest.mark.parametrize("operation", ["acquire", "publish", "read", "tag_versions", "abandon", "renew"])
@pytest.mark.parametrize("lost", ["lost_questions", "lost_answers"])
async def test_g17_a_failing_operation_is_nobodys_error(world, operation, lost):
    """Whichever operation is lost, on the way there or back, every caller has an answer and nothing is left."""
    first, second = world.start(2)
    await world.primed("old", first, second)
    for process in (first, second):
        getattr(process.wire, lost).append(operation)
    world.server.cut_off()
    tasks = start(first.odds("nba"), second.odds("nba"), first.odds("nfl"), second.odds("nfl"))
    for _ in range(80):
        await asyncio.sleep(0.1)
        while world.origin.working:
            world.origin.answer("new")
    answers = await outcomes(tasks)
    assert set(answers) <= {"old", "new"}
    assert await first.odds("nfl") in {"old", "new"}


async def test_g17_a_refusal_is_nobodys_error_and_said_once(world, caplog):
    """A server without memory: calls are answered, and the log has one line."""
    (only,) = world.start(1)
    await world.primed("x", only, league="warm up")
    world.server.is_full = True
    for value in ("1", "2", "3"):
        assert await fetched(world, only, value, league=value) == value
    assert caplog.text.count("store_refused") == 1
    assert not only.fleet.is_degraded
    assert only.numbers.store_errors == 3


async def test_g17_being_degraded_is_said_once_each_way(world, caplog):
    """One warning when the store is gone, one line when it is back; observers are told of both."""
    watching = Watching()
    (only,) = world.start(1, observers=(watching,))
    await world.primed("x", only, league="warm up")
    caplog.set_level(logging.INFO)
    world.server.go_down()
    for league in "abc":
        await fetched(world, only, "1", league=league)
    assert only.fleet.is_degraded
    assert only.numbers.breaker_state == 2
    world.server.come_back()
    await turns(LONG)
    assert not only.fleet.is_degraded
    lines = [record for record in caplog.records if record.name.startswith("coalesce_kit")]
    assert [(line.levelname, line.message.partition(":")[0]) for line in lines] == [
        ("WARNING", "store_unavailable"),
        ("INFO", "store_available"),
    ]
    assert watching.states == [("connected", "degraded"), ("degraded", "connected")]


async def test_g17_local_results_live_out_their_lives(world):
    """While the store is away what is local is served to the end of its life, and counted."""
    (only,) = world.start(1)
    await world.primed("old", only)
    world.server.go_down()
    await fetched(world, only, "x", league="nfl")
    await asyncio.sleep(10)
    assert await only.odds("nba") == "old"
    assert only.numbers.incoherent_hits == 1
    await asyncio.sleep(20)
    assert await fetched(world, only, "new") == "new"


async def test_g17_local_results_can_be_distrusted_instead(world):
    """With ``when_degraded="refetch"`` what cannot be confirmed is fetched."""
    (only,) = world.start(1, when_degraded="refetch")
    await world.primed("old", only)
    world.server.go_down()
    await asyncio.sleep(10)
    assert await fetched(world, only, "new") == "new"
    assert only.numbers.incoherent_hits == 0


async def test_g17_nothing_is_trusted_after_the_return(world):
    """What was kept while the store was away, or before, is served after its return only if the store has it."""
    first, second = world.start(2)
    await world.primed("old", first, second)
    first.wire.is_cut = first.wire.deaf = True
    await fetched(world, first, "x", league="nfl")
    await second.odds.invalidate("nba")
    assert await fetched(world, second, "new") == "new"
    first.wire.is_cut = first.wire.deaf = False
    world.server.cut_off()
    await turns(LONG)
    assert await first.odds("nba") == "new"
    assert await fetched(world, first, "asked anew", league="nfl") == "asked anew"


async def test_g17_invalidations_are_told_when_the_store_is_back(world):
    """What was invalidated while the store was away is gone there as soon as it is back, without any call."""
    first, second = world.start(2, tags=("sport",))
    await world.primed("old", first, second)
    await world.primed("old", first, second, league="nfl")
    first.wire.is_cut = True
    first.odds.invalidate("nba")
    first.fleet.invalidate_tags(["sport"])
    await turns(LONG)
    assert first.fleet.invalidations_pending == 2
    first.wire.is_cut = False
    world.server.cut_off()
    await turns(LONG)
    assert first.fleet.invalidations_pending == 0
    assert await fetched(world, second, "new") == "new"
    assert await fetched(world, second, "new", league="nfl") == "new"


async def test_g17_invalidations_are_told_although_nobody_calls_and_nothing_reconnects(world):
    """An outage too short for the subscription to notice: the next proof that the store answers has them told."""
    (first,) = world.start(1, coherence_seconds=3)
    await world.primed("old", first)
    first.wire.is_cut = True
    first.odds.invalidate("nba")
    await turns(LONG)
    assert first.fleet.invalidations_pending == 1
    first.wire.is_cut = False
    await asyncio.sleep(1.1)  # a heartbeat
    await turns(LONG)
    assert (first.fleet.invalidations_pending, first.fleet.is_degraded) == (0, False)


async def test_g17_the_functions_own_error_is_not_mistaken(world):
    """A function that itself raises the store's error is called once, and its error is its callers'."""
    (only,) = world.start(1)
    tasks = start(only.odds("nba"))
    await turns(LONG)
    world.origin.fail(StoreRefusedError("the function's own"))
    (error,) = await outcomes(tasks)
    assert str(error) == "the function's own"
    assert error.__context__ is None
    assert (len(world.origin.calls), only.numbers.store_errors) == (1, 0)


async def test_g17_what_the_function_raises_without_the_store_has_no_other_context(world):
    """A failure while the store is away does not point at the store."""
    world.server.go_down()
    (only,) = world.start(1)
    tasks = start(only.odds("nba"))
    await asyncio.sleep(0.2)
    world.origin.fail(LookupError("no such league"))
    (error,) = await outcomes(tasks)
    assert (type(error), error.__context__, error.__cause__) == (LookupError, None, None)
