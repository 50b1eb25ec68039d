"""Invalidation, tags and prime reach every process: what each may still serve, and from when on not."""

from __future__ import annotations

import asyncio
import threading

import pytest

import coalesce_kit
from coalesce_kit import StoreUnavailableError
from tests.fakes import outcomes, start, turns

LONG = 30


async def fetched(world, process, value, league="nba"):
    """Ask, and let the origin answer ``value`` if it is asked; return what the caller got."""
    (task,) = start(process.odds(league))
    await turns(LONG)
    if world.origin.working:
        world.origin.answer(value)
    return await task


async def test_an_invalidation_reaches_every_process(world):
    """What is invalidated in one process is not served in another."""
    first, second = world.start(2)
    await world.primed("old", first, second)
    told = await first.odds.invalidate("nba")
    await turns(LONG)
    assert told.told is True
    assert await fetched(world, second, "new") == "new"
    assert await first.odds("nba") == "new"


async def test_who_invalidates_never_reads_past_it(world):
    """A call that follows an invalidation in the same process waits until the store has been told."""
    first, _ = world.start(2)
    await world.primed("old", first)
    first.wire.held.add("invalidate")
    telling = first.odds.invalidate("nba")
    (task,) = start(first.odds("nba"))
    await turns(LONG)
    assert (telling.told, world.calls_of("acquire"), task.done()) == (None, 1, False)
    first.wire.let_go()
    await turns(LONG)
    world.origin.answer("new")
    assert await task == "new"
    assert telling.told is True


async def test_an_invalidation_fences_the_fetch_in_the_air(world):
    """A fetch that began before an invalidation in another process reaches its own callers, and nobody else."""
    first, second = world.start(2)
    await world.primed("x", first, second, league="warm up")
    tasks = start(first.odds("nba"))
    await turns(LONG)
    await second.odds.invalidate("nba")
    await turns(LONG)
    later = start(first.odds("nba"))
    await turns(LONG)
    assert world.origin.working == 2
    world.origin.answer("old")
    assert await tasks[0] == "old"
    world.origin.answer("new")
    assert await later[0] == "new"
    assert first.numbers.fenced_publishes == 1
    assert await first.odds("nba") == await second.odds("nba") == "new"


async def test_a_tag_reaches_every_process(world):
    """Invalidating a tag in one process kills what has it in all, whatever the key."""
    first, second = world.start(2, tags=("sport",))
    await world.primed("old", first, second)
    invalidation = coalesce_kit.invalidate_tags("other")
    await invalidation
    await turns(LONG)
    assert await second.odds("nba") == "old"
    first.fleet.invalidate_tags(["sport"])
    await turns(LONG)
    assert await fetched(world, second, "new") == "new"


async def test_a_tag_kills_what_the_store_has(world):
    """A process that comes later does not take what has an invalidated tag, though the record is still there."""
    (first,) = world.start(1, tags=("sport",))
    await world.primed("old", first)
    await coalesce_kit.invalidate_tags("sport")
    (later,) = world.start(1, tags=("sport",))
    assert await fetched(world, later, "new") == "new"
    assert await fetched(world, first, "never") == "new"


async def test_a_tag_that_is_known_to_be_older_kills_nothing(world):
    """A process that has not heard of a tag's new version asks before it rejects what was fetched since."""
    first, second = world.start(2, tags=("sport",))
    await world.primed("old", first, second)
    second.wire.holds_signals = True
    first.fleet.invalidate_tags(["sport"])
    await turns(LONG)
    assert await fetched(world, first, "new", league="nfl") == "new"
    assert await fetched(world, second, "never", league="nfl") == "new"


async def test_invalidate_all_is_the_functions_in_every_process(world):
    """Everything of the function is gone in all processes."""
    first, second = world.start(2)
    await world.primed("old", first, second)
    told = await second.odds.invalidate_all()
    await turns(LONG)
    assert told.told is True
    assert await fetched(world, first, "new") == "new"


async def test_invalidating_everything_is_the_namespaces(world):
    """``coalesce_kit.invalidate_all()`` reaches what other processes have kept."""
    first, second = world.start(2)
    await world.primed("old", first, second)
    await coalesce_kit.invalidate_all()
    await turns(LONG)
    assert await fetched(world, second, "new") == "new"


async def test_prime_reaches_every_process(world):
    """A value made in one process is what all of them answer with, and no function is called."""
    first, second = world.start(2)
    await world.primed("old", first, second)
    first.odds.prime("made", "nba")
    assert await first.odds("nba") == "made"
    await turns(LONG)
    assert await second.odds("nba") == "made"
    assert await first.odds("nba") == "made"
    assert len(world.origin.calls) == 1


async def test_an_invalidation_after_prime_wins(world):
    """What was primed is gone everywhere when it is invalidated before the store has it."""
    first, second = world.start(2)
    await world.primed("x", first, league="warm up")
    first.wire.held.add("acquire")
    first.odds.prime("made", "nba")
    await turns(LONG)
    telling = first.odds.invalidate("nba")
    await turns(LONG)
    assert telling.told is None
    first.wire.let_go()
    await telling
    assert await fetched(world, second, "new") == "new"
    assert await fetched(world, first, "never") == "new"


async def test_refresh_is_told_to_every_process(world):
    """An explicit refresh calls the function, and what others have of the old value is dropped."""
    first, second = world.start(2)
    await world.primed("old", first, second)
    (task,) = start(first.odds.refresh("nba"))
    await turns(LONG)
    world.origin.answer("new")
    assert await task == "new"
    await turns(LONG)
    assert await second.odds("nba") == "new"
    assert len(world.origin.calls) == 2


async def test_refresh_never_takes_an_older_value(world):
    """A refresh in a process that has nothing calls the function although the store has a fresh value."""
    first, second = world.start(2)
    await world.primed("old", first)
    (task,) = start(second.odds.refresh("nba"))
    await turns(LONG)
    world.origin.answer("new")
    assert await task == "new"


async def test_refresh_joins_no_question(world):
    """A call that has only asked the store so far may be answered with what is there; a refresh begins beside it."""
    first, second = world.start(2)
    await world.primed("old", first)
    second.wire.held.add("acquire")
    (asking,) = start(second.odds("nba"))
    await turns(LONG)
    (refreshing,) = start(second.odds.refresh("nba"))
    await turns(LONG)
    second.wire.let_go()
    await turns(LONG)
    world.origin.answer("new")
    assert (await asking, await refreshing) == ("old", "new")
    assert (await second.odds("nba"), await first.odds("nba")) == ("new", "new")


async def test_refresh_joins_a_refresh(world):
    """Two who ask for a newer value than there is share one, although the first has only asked the store so far."""
    first, second = world.start(2)
    await world.primed("old", first)
    second.wire.held.add("acquire")
    (one,) = start(second.odds.refresh("nba"))
    await turns(LONG)
    (other,) = start(second.odds.refresh("nba"))
    await turns(LONG)
    second.wire.let_go()
    await turns(LONG)
    world.origin.answer("new")
    assert (await one, await other) == ("new", "new")
    assert second.wire.asked.count("acquire") == 2  # those of one refresh


async def test_refresh_joins_a_fetch(world):
    """A function that runs already is not run twice for a refresh."""
    (only,) = world.start(1)
    (asking,) = start(only.odds("nba"))
    await turns(LONG)
    (refreshing,) = start(only.odds.refresh("nba"))
    await turns(LONG)
    world.origin.answer("new")
    assert (await asking, await refreshing) == ("new", "new")
    assert only.wire.asked.count("acquire") == 1


async def test_local_results_are_trusted_as_long_as_the_subscription_answers(world):
    """Half-open: nothing is heard and nobody says so. After coherence_seconds every hit is confirmed by the store."""
    first, second = world.start(2, ttl=100)
    await world.primed("old", first, second)
    second.wire.deaf = True
    await first.odds.invalidate("nba")
    assert await fetched(world, first, "new") == "new"
    assert await second.odds("nba") == "old"  # nothing has told it
    await asyncio.sleep(5.1)
    assert await second.odds("nba") == "new"
    second.wire.asked.clear()
    assert await second.odds("nba") == "new"
    assert set(second.wire.asked) == {"read", "tag_versions"}


async def test_a_quiet_subscription_stays_trusted(world):
    """A subscription that proves that it lives makes local results good for as long as they live."""
    (only,) = world.start(1, ttl=1000)
    await world.primed("old", only)
    await asyncio.sleep(60)
    only.wire.asked.clear()
    assert await only.odds("nba") == "old"
    assert only.wire.asked == []


async def test_after_a_reconnect_every_result_is_confirmed_once(world):
    """What was kept before a break of the subscription is asked about without its body, and then trusted again."""
    first, second = world.start(2)
    await world.primed("old", first, second)
    world.server.cut_off()
    await turns(LONG)
    for process in (first, second):
        process.wire.asked.clear()
        assert await process.odds("nba") == "old"
        assert await process.odds("nba") == "old"
        assert process.wire.asked.count("read") == 1
        assert set(process.wire.asked) == {"read", "tag_versions"}
    assert len(world.origin.calls) == 1


async def test_an_invalidation_during_a_break_is_found(world):
    """What was invalidated while nothing could be heard is not served after the subscription is back."""
    first, second = world.start(2)
    await world.primed("old", first, second)
    second.wire.deaf = True
    await first.odds.invalidate("nba")
    second.wire.deaf = False
    world.server.cut_off()
    await turns(LONG)
    assert await fetched(world, second, "new") == "new"


async def test_a_break_detaches_what_is_in_the_air(world):
    """Callers after a break do not join a fetch whose question was asked before it."""
    first, second = world.start(2)
    await world.primed("x", first, second, league="warm up")
    first.odds.invalidate("nba")
    tasks = start(first.odds("nba"))
    await turns(LONG)
    second.wire.deaf = first.wire.deaf = True
    await second.odds.invalidate("nba")
    second.wire.deaf = first.wire.deaf = False
    world.server.cut_off()
    await turns(LONG)
    later = start(first.odds("nba"))
    await turns(LONG)
    assert world.origin.working == 2
    world.origin.answer("old")
    world.origin.answer("new")
    assert await outcomes([*tasks, *later]) == ["old", "new"]


async def test_strict_never_serves_what_was_invalidated(world):
    """In strict mode a call in any process sees an invalidation that was acknowledged before, heard of or not."""
    first, second = world.start(2, consistency="strict")
    await world.primed("old", first, second)
    second.wire.deaf = True
    await first.odds.invalidate("nba")
    assert await fetched(world, second, "new") == "new"
    assert second.odds.peek("nba") is None


async def test_strict_joins_no_question_that_was_sent(world):
    """In strict mode a caller who comes after the question asks another one."""
    first, _ = world.start(2, consistency="strict")
    tasks = start(first.odds("nba"), first.odds("nba"))
    await turns(LONG)
    tasks += start(first.odds("nba"))
    await turns(LONG)
    assert world.calls_of("acquire") == 2
    world.origin.answer("1")
    assert await outcomes(tasks) == ["1", "1", "1"]
    assert len(world.origin.calls) == 1


async def test_an_invalidation_without_a_loop_is_sent(world):
    """One that a thread without a loop makes is sent by a loop that has a link."""
    first, second = world.start(2)
    await world.primed("old", first, second)
    thread = threading.Thread(target=lambda: first.odds.invalidate("nba"))
    thread.start()
    thread.join()
    # a thread's call_soon_threadsafe is heard at the next turn
    await turns(LONG)
    assert await fetched(world, second, "new") == "new"


async def test_telling_fails_and_is_remembered(world):
    """An invalidation that cannot reach the store works here, says so, and is told before anything is read again."""
    first, second = world.start(2)
    await world.primed("old", first, second)
    first.wire.is_cut = True
    told = await first.odds.invalidate("nba")
    assert (told.voided, told.told) == (1, False)
    with pytest.raises(StoreUnavailableError, match="this process"):
        told.raise_if_untold()
    assert first.fleet.invalidations_pending == 1
    assert first.numbers.invalidations_pending == 1
    assert await fetched(world, first, "degraded") == "degraded"
    assert await second.odds("nba") == "old"
    first.wire.is_cut = False
    first.wire.asked.clear()
    assert await fetched(world, first, "new", league="nfl") == "new"
    assert first.wire.asked[0] == "invalidate"
    assert first.fleet.invalidations_pending == 0
    assert await fetched(world, second, "newest") == "newest"


async def test_too_many_owed_become_one(world, monkeypatch):
    """Beyond a bound the store is told that everything of the namespace is invalid."""
    monkeypatch.setattr("coalesce_kit.backends.owed.MOST_OWED", 3)
    first, second = world.start(2)
    await world.primed("old", first, second)
    first.wire.is_cut = True
    for league in "abcde":
        await first.odds.invalidate(league)
    assert first.fleet.invalidations_pending <= 3
    first.wire.is_cut = False
    await fetched(world, first, "new", league="nfl")
    await turns(LONG)
    assert await fetched(world, second, "new") == "new"


async def test_a_burst_is_sent_together(world, monkeypatch):
    """What is invalidated in one turn of the loop makes a handful of questions, and each is told of."""
    first, _ = world.start(2)
    await world.primed("old", first)
    sizes, invalidate = [], first.store.invalidate

    async def counted(records):
        sizes.append(len(records))
        await invalidate(records)

    monkeypatch.setattr(first.store, "invalidate", counted)
    tellings = [first.odds.invalidate(f"league {number}") for number in range(600)]
    assert {(await telling).told for telling in tellings} == {True}
    assert sizes == [256, 256, 88]
    assert first.fleet.invalidations_pending == 0


async def test_a_name_is_told_once_however_often_it_was_invalidated(world):
    """What was invalidated many times before the store was told waits once, and everybody who asked knows."""
    first, _ = world.start(2)
    await world.primed("old", first)
    first.wire.asked.clear()
    tellings = [first.odds.invalidate("nba") for _ in range(50)]
    assert first.fleet.invalidations_pending == 1
    assert {(await telling).told for telling in tellings} == {True}
    assert first.wire.asked == ["invalidate"]


async def test_what_is_on_its_way_counts(world, monkeypatch):
    """The bound is of what waits and of what is on its way together; beyond it everything waits as one."""
    monkeypatch.setattr("coalesce_kit.backends.owed.MOST_OWED", 3)
    first, second = world.start(2)
    await world.primed("old", first, second)
    first.wire.held.add("invalidate")
    for league in "abc":
        first.odds.invalidate(league)
    await turns(LONG)
    later = [first.odds.invalidate(league) for league in "defghijkl"]
    assert first.fleet.invalidations_pending == 4
    first.wire.let_go()
    assert {(await telling).told for telling in later} == {True}
    await turns(LONG)
    assert await fetched(world, second, "new") == "new"


async def test_a_value_primed_before_its_tag_was_invalidated_is_put_nowhere(world):
    """In whatever order the store is told: an invalidation after ``prime`` wins."""
    first, second = world.start(2, tags=("sport",))
    await world.primed("x", first, second, league="warm up")
    first.wire.held.add("acquire")
    first.odds.prime("made", "nba")
    await turns(LONG)
    first.fleet.invalidate_tags(["sport"])
    await turns(LONG)
    first.wire.let_go()
    await turns(LONG)
    assert await fetched(world, second, "new") == "new"


async def test_a_value_that_could_not_be_put_in_place_is_not_later(world):
    """What was primed while the store was away is not put over what others did meanwhile."""
    first, second = world.start(2)
    await world.primed("old", first, second)
    first.wire.is_cut = True
    first.odds.prime("made", "nba")
    await turns(LONG)
    await second.odds.invalidate("nba")
    first.wire.is_cut = False
    await fetched(world, first, "x", league="nfl")
    await turns(LONG)
    assert await fetched(world, second, "new") == "new"


@pytest.mark.parametrize("how", ["tag", "function"])
async def test_strict_never_serves_what_lost_a_tag(world, how):
    """In strict mode a process that has heard nothing sees that a tag was invalidated, the function's own included."""
    first, second = world.start(2, consistency="strict", tags=("sport",))
    await world.primed("old", first, second)
    second.wire.deaf = True
    if how == "tag":
        await first.fleet.invalidate_tags(["sport"]).wait()
    else:
        await first.odds.invalidate_all()
    assert await fetched(world, second, "new") == "new"
    assert await fetched(world, first, "never") == "new"


async def test_strict_sees_tags_that_only_another_release_has(world):
    """A result dies by the tags with which it was fetched, whatever those of the function are here."""
    (first,) = world.start(1, consistency="strict", tags=("sport",))
    (second,) = world.start(1, consistency="strict")
    await world.primed("old", first)
    assert await fetched(world, second, "never") == "old"
    second.wire.deaf = True
    await first.fleet.invalidate_tags(["sport"]).wait()
    assert await fetched(world, second, "new") == "new"


async def test_strict_asks_for_the_tags_along_with_the_record(world):
    """Both questions are sent together, and those for the tags once for all calls of a turn of the loop."""
    (only,) = world.start(1, consistency="strict")
    for league in ("nba", "nfl"):
        await world.primed("1", only, league=league)
    only.wire.asked.clear()
    only.wire.held |= {"acquire", "tag_versions"}
    tasks = start(only.odds("nba"), only.odds("nfl"))
    await turns(LONG)
    assert sorted(only.wire.asked) == ["acquire", "acquire", "tag_versions"]
    only.wire.let_go()
    assert await outcomes(tasks) == ["1", "1"]


async def test_strict_answers_without_the_store_when_the_tags_cannot_be_asked(world):
    """A call whose tags the store does not tell is answered by the function, and nothing is shared."""
    (only,) = world.start(1, consistency="strict")
    await world.primed("1", only)
    only.wire.lost_questions += ["tag_versions"]
    assert await fetched(world, only, "2") == "2"
    assert await fetched(world, only, "never") == "1"
