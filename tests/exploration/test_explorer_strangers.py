"""The explorer in the hands of somebody who meets it for the first time: no mistake of his passes for a proof."""

from __future__ import annotations

import asyncio
import gc
import logging
import random

import pytest

import coalesce_kit.testing.explorer as explorer
from coalesce_kit import coalesced
from coalesce_kit.testing.events import DeadEndError
from coalesce_kit.testing.explorer import NotReplayableError, ScheduleFailedError, explore, replay
from coalesce_kit.testing.fixtures import isolated


async def nothing():
    await asyncio.sleep(0)


def replay_as_shown(failure, scenario):
    """Run the line that the error shows, as it stands there."""
    shown = str(failure.value).splitlines()[-1].strip()
    return eval(shown, {**vars(explorer), scenario.__name__: scenario})


def test_an_assertion_in_a_caller_fails_the_run():
    """Checks are written where the answer is, too."""

    def scenario(world):
        async def ask():
            await asyncio.sleep(0)
            assert random is None, "asked in vain"

        world.caller("a", ask)

    with pytest.raises(ScheduleFailedError, match="asked in vain") as failure:
        explore(scenario)
    with pytest.raises(AssertionError, match="asked in vain"):
        replay_as_shown(failure, scenario)


def test_an_assertion_in_a_task_group_of_a_caller_fails_the_run():
    """The group that it comes in is no answer, however deep it stands there."""

    def scenario(world):
        async def check():
            raise ExceptionGroup("checks", [AssertionError("asked in vain"), LookupError()])

        async def ask():
            async with asyncio.TaskGroup() as group:
                group.create_task(check())
                group.create_task(nothing())

        world.caller("a", ask)

    with pytest.raises(ScheduleFailedError) as failure:
        explore(scenario)
    checks = failure.value.__cause__
    assert isinstance(checks, ExceptionGroup)
    assert checks.subgroup(LookupError) is None
    assert checks.subgroup(AssertionError) is not None


def test_a_group_of_other_errors_is_an_answer():
    """As any of them by itself."""

    def scenario(world):
        async def ask():
            if await world.outcome("it", {"goes well": False, "goes wrong": True}):
                raise ExceptionGroup("errors", [LookupError()])

        world.caller("a", ask)

    assert explore(scenario).exhausted


def looks_at_all_tasks(request, told):
    return any(task.get_name() == "request" for task in asyncio.all_tasks()) or request in told


def looks_at_the_caller(request, told):
    return request.task is not None or request in told


@pytest.mark.parametrize("has_come", [looks_at_all_tasks, looks_at_the_caller])
def test_who_looks_whether_somebody_has_started_is_shown_both(has_come):
    """The start of a caller is left out beside a handle only if the handle cannot have seen it."""
    seen = set()

    def scenario(world):
        told = {}

        async def ask():
            told[request] = "shutdown saw it" in told or "shutdown did not see it" in told

        async def shut_down():
            told["shutdown saw it" if has_come(request, told) else "shutdown did not see it"] = True

        request = world.caller("request", ask)
        world.caller("shutdown", shut_down)
        world.at_rest(lambda: seen.add(("shutdown saw it" in told, told[request])))

    assert explore(scenario).exhausted
    assert seen == {(True, False), (True, True), (False, True)}


def test_other_errors_of_a_caller_are_answers():
    """Whether a caller may get one is for a check to say."""

    def scenario(world):
        world.caller("a", lambda: world.outcome("it", {"goes well": 1, "goes wrong": LookupError()}))

    assert explore(scenario).exhausted


def test_a_caller_who_never_gets_anything_but_an_error_is_no_proof():
    """A slip of the pen in a caller would otherwise pass for an answer, and the checks would have nothing to check."""

    def scenario(world):
        async def ask():
            await world.outcome("it", {"comes": 1, "goes": 2})
            return [].lenght

        world.may_cancel(world.caller("a", ask), world.caller("b", nothing))

    with pytest.raises(
        ScheduleFailedError, match="caller 'a' has returned on none of .* AttributeError: .*'lenght'"
    ) as f:
        explore(scenario)
    assert isinstance(f.value.__cause__, AttributeError)
    replay_as_shown(f, scenario)


def test_what_is_logged_on_every_schedule_is_not_logged(caplog):
    """A warning that is given once for each function would be given thousands of times; a replay gives it."""

    def scenario(world):
        logging.getLogger("coalesce_kit.backends").warning("slow")
        world.caller("a", nothing)

    explore(scenario)
    assert caplog.messages == []
    replay(scenario, "a starts")
    assert caplog.messages == ["slow"]


def test_a_caller_is_a_function_that_returns_a_coroutine():
    """A coroutine is good for one run only, and what returns none would do nothing."""
    running = nothing()
    with pytest.raises(TypeError, match="'a' has to be given a function that returns a coroutine, not <cor"):
        explore(lambda world: world.caller("a", running))
    running.close()
    with pytest.raises(ScheduleFailedError, match="a function that returns a coroutine; it returned 3"):
        explore(lambda world: world.caller("a", lambda: 3))


async def an_async_scenario(world):
    world.at_rest(nothing)


@pytest.mark.parametrize(
    "scenario",
    [
        an_async_scenario,
        lambda world: world.at_rest(nothing),
        lambda world: world.always(nothing),
        lambda world: world.event("boom", nothing),
    ],
    ids=["scenario", "at rest", "always", "event"],
)
def test_what_would_never_run_is_refused(scenario):
    """A scenario, a check and an event are called, not awaited."""
    with pytest.raises(TypeError, match="is async: it would never run"):
        explore(scenario)


def overtaken(world):
    """Fails if handles overtake each other."""
    order = []

    async def note(name):
        order.append(name)

    first = world.caller("a", lambda: note("a"))
    world.caller("b", lambda: note("b"), after=first)

    def check():
        assert order == ["a", "b"], order

    world.at_rest(check)


def unlucky(world):
    """Fails if a certain number is drawn."""
    drawn = random.random()
    world.caller("a", nothing)

    def check():
        assert drawn != random.Random(5).random(), "unlucky"

    world.at_rest(check)


@pytest.mark.parametrize(
    ("scenario", "options", "shown"),
    [(overtaken, {"permuted": True}, ", permuted=True)"), (unlucky, {"seed": 5}, ", seed=5)")],
)
def test_what_is_shown_fails_again_as_it_stands(scenario, options, shown):
    """The line for replaying has whatever the exploration was given."""
    with pytest.raises(ScheduleFailedError) as failure:
        explore(scenario, search="random", **options)
    assert str(failure.value).endswith(shown)
    with pytest.raises(AssertionError) as again:
        replay_as_shown(failure, scenario)
    assert not isinstance(again.value, NotReplayableError)


def test_what_asyncio_reports_late_fails_a_replay_too():
    """An exception that nobody retrieved is heard of only when the collector finds it."""

    def scenario(world):
        async def forget_a_failure():
            failed = asyncio.get_running_loop().create_future()
            failed.set_exception(ValueError("nobody asks"))
            cycle = [failed]
            cycle.append(cycle)

        world.caller("a", forget_a_failure)

    gc.disable()
    try:
        with pytest.raises(DeadEndError, match="asyncio had to report.*nobody asks"):
            replay(scenario, "a starts")
    finally:
        gc.enable()


def test_what_lives_longer_than_a_schedule_is_found():
    """A function that keeps results from one schedule to the next has only its first one explored."""

    @coalesced(ttl=60)
    async def odds():
        await asyncio.sleep(0)

    def scenario(world):
        first = world.caller("a", odds)
        world.may_cancel(first, world.caller("b", odds, after=first))

    with pytest.raises(NotReplayableError, match="not deterministic .*isolated"):
        explore(scenario)

    def anew(world):
        with isolated():
            scenario(world)

    assert explore(anew).exhausted


def test_a_scenario_that_comes_to_other_words_is_found():
    """As many options as before are not the same options."""
    runs = []

    def scenario(world):
        runs.append(None)
        world.caller("a", nothing)
        world.event(f"event {len(runs)}", lambda: None)

    with pytest.raises(NotReplayableError, match="the last of them 'event 1'"):
        explore(scenario)


def test_a_thread_is_refused():
    """Nothing would wait for it, and whoever waits for it would look like a deadlock."""

    def scenario(world):
        world.caller("a", lambda: asyncio.to_thread(print))

    with pytest.raises(ScheduleFailedError, match="a World runs no threads"):
        explore(scenario)


@pytest.mark.parametrize(("name", "wrong"), [('say "boo"', "no comma and no quote"), ("time passes", "is taken")])
def test_a_name_that_would_be_misread(name, wrong):
    """A quote would end the trace that is shown, and time has an event of its own."""
    with pytest.raises(ValueError, match=wrong):
        explore(lambda world: world.event(name, print))


def test_two_callers_of_one_name_are_refused():
    """A trace could not tell them apart."""

    def scenario(world):
        world.caller("a", nothing)
        world.caller("a", nothing)

    with pytest.raises(ValueError, match="'a starts' is taken"):
        explore(scenario)


def test_options_that_ask_for_nothing_are_refused():
    """A search that there is not, and no schedules at all."""
    with pytest.raises(ValueError, match="search is one of 'exhaustive', 'random', 'priorities', not 'pct'"):
        explore(overtaken, search="pct")
    with pytest.raises(ValueError, match="most_schedules is at least 1"):
        explore(overtaken, most_schedules=0)


@pytest.mark.parametrize("when", ["always", "at_rest"])
def test_a_check_may_say_no(when):
    """Whoever writes an expression instead of an assertion has asked for something, too."""

    def scenario(world):
        world.caller("a", nothing)
        getattr(world, when)(lambda: 1 > 2)

    with pytest.raises(ScheduleFailedError, match=r"<lambda> returned False"):
        explore(scenario)


def test_nothing_is_not_explored():
    """A scenario that forgets its callers would be exhausted after one schedule."""
    with pytest.raises(ValueError, match="without a caller or an event"):
        explore(lambda world: world.at_rest(lambda: None))
