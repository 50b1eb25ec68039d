"""What a shared function does where two things meet: bytes of no use, a lease that changes hands, callers who leave."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from coalesce_kit import (
    CachePolicy,
    DistributedCoalescer,
    KeyDerivationError,
    MemoryCache,
    RemoteFetchError,
    UnshareableResultError,
    coalesced,
)
from coalesce_kit.backends.envelope import seal
from coalesce_kit.store_port import Finished, Outcome
from coalesce_kit.stores.memory import MemoryServer, MemoryStore
from tests.fakes import outcomes, start, turns
from tests.simulated import SimulatedProcess

LONG = 40
STALE = CachePolicy(ttl=10, stale_while_revalidate=100)
PATIENT = CachePolicy(ttl=10, stale_while_revalidate=100, stale_wait_seconds=1)
TEXT = "(league='nba')"


def record_of(world: Any) -> Any:
    (record,) = (record for key, record in world.server._records.items() if key.endswith("nba')"))
    return record


async def fetched(world, process, value, league="nba"):
    """Ask, and let the origin answer ``value`` if it is asked; return what the caller got."""
    (task,) = start(process.odds(league))
    await turns(LONG)
    if world.origin.working:
        world.origin.answer(value)
    return await task


# ---- bytes of no use ----


@pytest.mark.parametrize("body", [b"garbage", seal("value", b"\x05", text=TEXT)], ids=["no envelope", "another type"])
async def test_a_result_confirmed_to_be_another_that_cannot_be_read_is_fetched(world, body):
    """What took the place of a local result and is of no use is a miss, counted, and replaced."""
    (only,) = world.start(1)
    await world.primed("old", only)
    only.wire.deaf = True
    await asyncio.sleep(6)
    record = record_of(world)
    record.body, record.version = body, "another"
    assert await fetched(world, only, "new") == "new"
    assert only.numbers.unreadable_records >= 1


async def test_a_stale_value_that_cannot_be_read_is_not_given(world):
    """Callers wait for the fetch, as if the store had nothing."""
    first, second = world.start(2, policy=STALE)
    await world.primed("old", first)
    await asyncio.sleep(15)
    record_of(world).body = b"garbage"
    assert await fetched(world, second, "new") == "new"


async def test_an_outcome_that_cannot_be_read_is_fetched(world):
    """What a lease that was waited for has brought, and is of no use, is fetched anew by one of those who waited."""
    first, second = world.start(2, ttl=None)
    tasks = start(first.odds("nba"))
    await turns(LONG)
    waiting = start(second.odds("nba"))
    await turns(LONG)
    second.wire.deaf = True
    world.origin.answer("1")
    assert await outcomes(tasks) == ["1"]
    record_of(world).outcome = Outcome("once", b"garbage")
    await asyncio.sleep(3.1)
    world.origin.answer("2")
    assert await outcomes(waiting) == ["2"]


async def test_an_outcome_whose_message_was_lost_is_asked_for(world):
    """Who waited finds what is for those who waited only, although it was not told."""
    first, second = world.start(2, ttl=None)
    tasks = start(first.odds("nba"))
    await turns(LONG)
    tasks += start(second.odds("nba"))
    await turns(LONG)
    second.wire.deaf = True
    world.origin.answer("1")
    assert await outcomes(tasks) == ["1", "1"]
    assert len(world.origin.calls) == 1


async def test_a_message_that_cannot_be_read_is_no_answer(world):
    """Who is told something of no use asks again."""
    first, second = world.start(2, ttl=None)
    tasks = start(first.odds("nba"))
    await turns(LONG)
    waiting = start(second.odds("nba"))
    await turns(LONG)
    (flight,) = second.fleet._process.link().flights()
    flight.receive(Finished(flight.record, record_of(world).token, "once", b"garbage", 0.0, 0.0, 0.0))
    flight._ring()  # in the same turn, and too late
    await turns(LONG)
    world.origin.answer("1")
    assert await outcomes([*tasks, *waiting]) == ["1", "1"]
    assert second.numbers.unreadable_records == 1
    assert second.numbers.wait_timers == 0


async def test_a_result_whose_tag_was_invalidated_meanwhile_is_fetched_again(world):
    """Who waited for a fetch that began before a tag was invalidated does not take what it brings."""
    first, second = world.start(2, tags=("sport",))
    await world.primed("x", first, second, league="warm up")
    tasks = start(first.odds("nba"))
    await turns(LONG)
    waiting = start(second.odds("nba"))
    await turns(LONG)
    telling = first.fleet.invalidate_tags(["sport"])
    assert telling.told is None
    assert await telling.wait()
    assert telling.told is True
    await turns(LONG)
    world.origin.answer("old")
    assert await outcomes(tasks) == ["old"]
    await turns(LONG)
    world.origin.answer("new")
    assert await outcomes(waiting) == ["new"]


async def test_a_result_without_a_tag_that_this_process_has_is_not_taken(world):
    """A release that knows more tags does not take what would not be found dead by them."""
    (first,) = world.start(1)
    await world.primed("old", first)
    (second,) = world.start(1, tags=("sport",))
    assert await fetched(world, second, "new") == "new"


async def test_a_tag_is_nothing_to_a_function_without_tags(world):
    """Its results stay when another's tag is invalidated."""
    first, second = world.start(2)
    await world.primed("old", first, second)
    await first.fleet.invalidate_tags(["sport"]).wait()
    await turns(LONG)
    second.wire.asked.clear()
    assert await second.odds("nba") == "old"
    assert second.wire.asked == []


# ---- what is not shared ----


async def test_a_result_of_another_type_is_its_callers_alone(world, caplog):
    """What does not come back as it was is not shared, and that is said."""
    first, second = world.start(2)
    assert await fetched(world, first, 5) == 5
    assert await fetched(world, second, "5") == "5"
    assert first.numbers.unshared_results == 1
    assert "result_not_shared" in caplog.text


async def test_a_result_that_can_be_used_only_once_is_refused(world):
    """With a store, too."""
    (only,) = world.start(1)
    (task,) = start(only.odds("nba"))
    await turns(LONG)
    world.origin.answer(iter("abc"))
    with pytest.raises(UnshareableResultError):
        await task


async def test_a_result_that_policy_does_not_want_is_for_those_who_wait(world):
    """It is neither kept here nor in the store."""
    (only,) = world.start(1, policy=CachePolicy(ttl=10, cache_if=lambda value: value != "empty"))
    assert await fetched(world, only, "empty") == "empty"
    assert await fetched(world, only, "full") == "full"
    assert await fetched(world, only, "never") == "full"


async def test_a_failure_that_is_too_large_is_its_own_processs(world):
    """Those who wait elsewhere call the function themselves."""
    first, second = world.start(2, shared_errors=(LookupError,), max_body_bytes=500)
    tasks = start(first.odds("nba"))
    await turns(LONG)
    waiting = start(second.odds("nba"))
    await turns(LONG)
    world.origin.fail(LookupError("x" * 1000))
    assert isinstance((await outcomes(tasks))[0], LookupError)
    await turns(LONG)
    world.origin.answer("1")
    assert await outcomes(waiting) == ["1"]


async def test_a_value_that_is_not_to_be_kept_is_primed_nowhere(world):
    """The record is removed, and nothing is put in its place."""
    (only,) = world.start(1, policy=CachePolicy(ttl=10, cache_if=lambda value: value != "empty"))
    await world.primed("old", only)
    only.odds.prime("empty", "nba")
    assert await fetched(world, only, "new") == "new"


async def test_a_value_is_not_primed_over_a_fetch_that_has_begun(world):
    """Between the removal and the value another process has taken the lease: what it fetches is newer."""
    first, second = world.start(2)
    await world.primed("x", first, second, league="warm up")
    first.wire.held.add("acquire")
    first.odds.prime("made", "nba")
    await turns(LONG)
    tasks = start(second.odds("nba"))
    await turns(LONG)
    first.wire.let_go()
    await turns(LONG)
    world.origin.answer("new")
    assert await outcomes(tasks) == ["new"]


async def test_in_strict_mode_a_value_is_primed_in_the_store_only(world):
    """Nothing is kept in the process."""
    first, second = world.start(2, consistency="strict")
    first.odds.prime("made", "nba")
    assert await first.odds("nba") == await second.odds("nba") == "made"
    assert first.odds.peek("nba") is None


async def test_a_size_that_cannot_be_told_keeps_nothing(world):
    """A result of another process whose size is not known here is given, and not kept here."""
    (first,) = world.start(1)
    await world.primed("old", first)

    def size_of(value):
        raise ValueError("unknown")

    (second,) = world.start(1, cache=MemoryCache(max_bytes=1000, size_of=size_of))
    assert await second.odds("nba") == "old"
    assert second.odds.peek("nba") is None
    assert len(world.origin.calls) == 1


# ---- keys and tags that cannot be told ----


class Sprung:
    """Can be hashed so many times."""

    def __init__(self, times):
        self.times = times

    def __eq__(self, other):
        return self is other

    def __hash__(self):
        if not self.times:
            raise ZeroDivisionError("hashed")
        self.times -= 1
        return 1


@pytest.mark.parametrize("times", range(4))
async def test_a_key_that_cannot_be_looked_up_is_refused(world, times):
    """Wherever it fails, the call is counted as rejected, and nothing runs."""
    (only,) = world.start(1)
    with pytest.raises((KeyDerivationError, ZeroDivisionError)):
        await only.odds(Sprung(times))
    assert only.numbers.rejected_requests == only.numbers.total_requests == 1
    assert world.origin.calls == []


async def test_a_key_without_a_text_is_refused(world):
    """What would have none in another process is refused, when it is asked for and when it is refreshed."""
    (only,) = world.start(1)
    for asking in (only.odds, only.odds.refresh):
        with pytest.raises(KeyDerivationError):
            await asking(1j)
    assert only.numbers.rejected_requests == only.numbers.total_requests == 1


async def test_a_result_whose_tags_cannot_be_told_is_its_callers_alone(world, caplog):
    """Nobody could find it dead: it is neither kept nor shared, and nobody joins it."""
    (only,) = world.start(1, tags=("league:{league.name}",))
    assert await fetched(world, only, "1") == "1"
    assert await fetched(world, only, "2") == "2"
    assert world.calls_of("acquire") == 0


# ---- who leaves, and who comes ----


class Stubborn:
    """An origin that goes on when it is told to stop, then ends as it is told."""

    def __init__(self):
        self.ending: Any = "late"
        self.calls = 0

    async def __call__(self, league: str) -> Any:
        self.calls += 1
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            if isinstance(self.ending, Exception):
                raise self.ending from None
        return self.ending


@pytest.mark.parametrize("ending", ["late", LookupError("late")], ids=["returns", "raises"])
async def test_what_a_fetch_without_callers_brings_is_not_shared(virtual_time, ending):
    """A function that swallows the cancellation ends for nobody, and its lease is given back."""
    server, origin = MemoryServer(), Stubborn()
    origin.ending = ending
    process = SimulatedProcess(server, origin, ttl=30)
    (task,) = start(process.odds("nba"))
    await turns(LONG)
    task.cancel()
    await outcomes([task])
    await turns(LONG)
    assert (server.calls.get("publish", 0), server.calls["abandon"]) == (0, 1)
    await process.fleet.aclose(deadline_seconds=0)


async def test_who_leaves_while_the_result_is_published_leaves_nobody_waiting(world):
    """The publish may or may not have happened: the lease is given back in any case."""
    (only,) = world.start(1)
    await world.primed("x", only, league="warm up")
    only.wire.held.add("publish")
    (task,) = start(only.odds("nba"))
    await turns(LONG)
    world.origin.answer("1")
    await turns(LONG)
    task.cancel()
    await outcomes([task])
    await turns(LONG)
    assert world.calls_of("abandon") == 1


async def test_a_fetch_cut_by_its_limit_puts_the_next_try_off(world):
    """A fetch that is to finish without callers, and does not, counts as a failure."""
    policy = CachePolicy(ttl=10, stale_if_error=100, retry_after_error_seconds=5)
    (only,) = world.start(1, policy=policy, on_abandon="finish", fetch_timeout_seconds=1)
    await world.primed("old", only)
    await asyncio.sleep(15)
    assert await only.odds("nba") == "old"
    await turns(LONG)
    assert await only.odds("nba") == "old"
    assert len(world.origin.calls) == 2


async def test_a_failure_after_an_invalidation_is_not_remembered(world):
    """It may be about what was invalidated."""
    (only,) = world.start(1, policy=CachePolicy(ttl=10, error_ttl={LookupError: 10}))
    (task,) = start(only.odds("nba"))
    await turns(LONG)
    await only.odds.invalidate("nba")
    world.origin.fail(LookupError("old"))
    await outcomes([task])
    assert await fetched(world, only, "new") == "new"


async def test_a_refresh_of_what_another_process_has_refreshed_calls_the_function(world):
    """The newer value that the store has may have been fetched before the refresh was called."""
    first, second = world.start(2)
    await world.primed("1", first, second)
    second.wire.deaf = True
    (task,) = start(first.odds.refresh("nba"))
    await turns(LONG)
    world.origin.answer("2")
    assert await task == "2"
    (task,) = start(second.odds.refresh("nba"))
    await turns(LONG)
    world.origin.answer("3")
    assert await task == "3"


async def test_after_two_leases_without_a_result_a_process_fetches_for_itself(world):
    """However often others invalidate, who waits is answered."""
    a, b, c = world.start(3)
    await world.primed("x", a, b, c, league="warm up")
    tasks = start(a.odds("nba"))
    await turns(LONG)
    tasks += start(b.odds("nba"))
    await turns(LONG)
    b.wire.held.add("acquire")
    await c.odds.invalidate("nba")
    tasks += start(c.odds("nba"))
    await turns(LONG)
    b.wire.let_go()
    await turns(LONG)
    await a.odds.invalidate("nba")
    await turns(LONG)
    assert world.origin.working == 3
    for value in ("a", "c", "b"):
        world.origin.answer(value)
    assert await outcomes(tasks) == ["a", "b", "c"]


async def test_a_reconnect_while_waiting_asks_again(world):
    """What became of the lease may have been told while nobody heard."""
    first, second = world.start(2)
    tasks = start(first.odds("nba"))
    await turns(LONG)
    tasks += start(second.odds("nba"))
    await turns(LONG)
    second.wire.asked.clear()
    world.server.cut_off()
    await turns(LONG)
    assert "acquire" in second.wire.asked
    world.origin.answer("1")
    assert await outcomes(tasks) == ["1", "1"]


async def test_a_reconnect_while_asking_asks_again(world):
    """The answer says to wait for a lease of which the end may have been missed; a message of another is ignored."""
    first, second = world.start(2)
    await world.primed("x", first, second, league="warm up")
    tasks = start(first.odds("nba"))
    await turns(LONG)
    second.wire.held_answers.add("acquire")
    tasks += start(second.odds("nba"))
    await turns(LONG)
    world.server.cut_off()
    await turns(LONG)
    (flight,) = second.fleet._process.link().flights()
    flight.receive(Finished(flight.record, "another's", "once", b"", 0.0, 0.0, 0.0))
    second.wire.asked.clear()
    second.wire.let_go()
    await turns(LONG)
    assert second.wire.asked == ["acquire"]
    assert second.numbers.wakeups_ignored == 1
    world.origin.answer("1")
    assert await outcomes(tasks) == ["1", "1"]


# ---- stale values and refreshes ----


async def test_an_early_refresh_that_comes_too_late_waits(world):
    """Somebody else refreshes; by the time that is known the value at hand is not fresh any more."""
    first, second = world.start(2, policy=CachePolicy(ttl=10, refresh_ahead=0.5, stale_while_revalidate=100))
    await world.primed("old", first, second)
    await asyncio.sleep(9)
    assert await first.odds("nba") == "old"
    await turns(LONG)
    second.wire.held_answers.add("acquire")
    assert await second.odds("nba") == "old"
    await turns(LONG)
    await asyncio.sleep(2)
    second.wire.let_go()
    await turns(LONG)
    world.origin.answer("new")
    await turns(LONG)
    assert await second.odds("nba") == "new"
    assert len(world.origin.calls) == 2


async def test_a_lease_that_comes_with_a_stale_value_is_given_back_if_it_is_not_used(world):
    """In strict mode every caller asks; the refresh that one leaves behind may find another's fetch under way."""
    first, second = world.start(2, policy=STALE, consistency="strict")
    await world.primed("old", first)
    await asyncio.sleep(15)
    tasks = []
    for _ in range(30):
        tasks += start(second.odds("nba"))
        await turns(1)
    await turns(LONG)
    while world.origin.working:
        world.origin.answer("new")
        await turns(LONG)
    assert set(await outcomes(tasks)) <= {"old", "new"}
    assert await second.odds("nba") == "new"
    assert second.numbers.leases_won == world.calls_of("publish") - 1 + world.calls_of("abandon")


async def test_the_wait_for_a_new_value_is_not_begun_anew(world):
    """A stale value that is found twice, because a lease changed hands, is given when it was first due."""
    first, second, third = world.start(3, policy=PATIENT, consistency="strict")
    await world.primed("old", first)
    await asyncio.sleep(15)
    tasks = start(first.odds("nba"))
    await turns(LONG)
    began = asyncio.get_running_loop().time()
    tasks += start(second.odds("nba"))
    await asyncio.sleep(0.5)
    world.server.cut_off()
    assert (await outcomes(tasks))[1] == "old"
    assert asyncio.get_running_loop().time() - began == pytest.approx(1.0)
    world.origin.answer("new")
    await turns(LONG)
    assert third.numbers.total_requests == 0


async def test_a_new_value_that_comes_as_the_wait_ends_is_given(world):
    """Whoever has waited as long as he may is given what is there then."""
    first, second = world.start(2, policy=PATIENT)
    await world.primed("old", first, league="nba")
    await world.primed("x", second, league="warm up")
    await asyncio.sleep(15)
    tasks = start(second.odds("nba"))
    await turns(2)
    asyncio.get_running_loop().call_later(1, second.odds.prime, "made", "nba")
    await turns(LONG)
    await asyncio.sleep(2)
    assert await outcomes(tasks) == ["made"]
    assert second.numbers.stale_after_wait == 0
    world.origin.answer("late")
    await turns(LONG)


# ---- without the store ----


async def test_a_result_that_could_not_be_confirmed_is_served_while_the_store_is_away(world):
    """The first call to find that out serves what it has, like those after it."""
    (only,) = world.start(1, ttl=100)
    await world.primed("old", only)
    only.wire.deaf = True
    await asyncio.sleep(6)
    only.wire.is_cut = True
    assert await only.odds("nba") == "old"
    assert only.numbers.incoherent_hits == 1
    assert len(world.origin.calls) == 1


async def test_a_failure_is_remembered_without_the_store(world):
    """In this process, as without a store."""
    (only,) = world.start(1, policy=CachePolicy(ttl=10, error_ttl={LookupError: 10}))
    only.wire.is_cut = True
    (task,) = start(only.odds("nba"))
    await turns(LONG)
    world.origin.fail(LookupError("no such league"))
    assert isinstance((await outcomes([task]))[0], LookupError)
    with pytest.raises(LookupError, match="no such league"):
        await only.odds("nba")
    assert len(world.origin.calls) == 1


async def test_an_error_of_an_unknown_class_is_a_remote_one(world):
    """Whatever it is called, no class is looked up."""
    first, second = world.start(2)
    tasks = start(first.odds("nba"), second.odds("nba"))
    await turns(LONG)
    world.origin.fail(type("Odd", (Exception,), {})("x"))
    assert isinstance((await outcomes(tasks))[1], RemoteFetchError)


async def at_the_top(league: str) -> str:
    """A function of a module: its default name is one in every process."""
    return league


async def test_a_function_of_a_module_needs_no_name(virtual_time):
    """It is found under the same one in every process."""
    async with DistributedCoalescer(MemoryStore()) as fleet:
        shared = coalesced(key="{league}", ttl=30, backend=fleet)(at_the_top)
        assert await shared("nba") == "nba"
