"""The explorer itself: it runs every schedule once, replays what it shows, and fails when something is left."""

from __future__ import annotations

import asyncio
import gc
import math
import random
import sys

import pytest

from coalesce_kit.clock import clock
from coalesce_kit.testing.events import DeadEndError, Event
from coalesce_kit.testing.explorer import NotReplayableError, ScheduleFailedError, explore, replay
from coalesce_kit.testing.searches import Priorities


async def suspend(times):
    for _ in range(times):
        await asyncio.sleep(0)


def one_task_and_events(suspensions, events, log=None):
    """A task that runs in ``suspensions + 1`` turns, and events that may happen whenever they like."""

    def scenario(world):
        world.caller("a", lambda: suspend(suspensions))
        for number in range(events):
            world.event(f"event {number}", lambda: None)
        if log is not None:
            world.at_rest(lambda: log.append(tuple(world.trace)))

    return scenario


def two_tasks(suspensions, *, in_order=False):
    """Two tasks of ``suspensions + 1`` turns each, that start whenever they like."""

    def scenario(world):
        first = world.caller("a", lambda: suspend(suspensions))
        world.caller("b", lambda: suspend(suspensions), after=first if in_order else None)

    return scenario


@pytest.mark.parametrize("suspensions", [0, 1, 4])
@pytest.mark.parametrize("events", [0, 1, 2, 3])
def test_the_count_of_events_beside_a_task(suspensions, events):
    """Start and turns of a task come in order, m events anywhere between them: (k + m)! / k! schedules."""
    log = []
    explored = explore(one_task_and_events(suspensions, events, log), reduced=False)
    in_order = 1 + suspensions + 1
    assert explored.exhausted
    assert explored.schedules == math.factorial(in_order + events) // math.factorial(in_order)
    assert len(set(log)) == explored.schedules


@pytest.mark.parametrize("suspensions", [0, 1, 5])
def test_the_count_of_two_tasks(suspensions):
    """The second starts before any turn of the first or after its last: k + 2 schedules, twice if either is first."""
    assert explore(two_tasks(suspensions), reduced=False).schedules == 2 * (suspensions + 2)
    assert explore(two_tasks(suspensions, in_order=True), reduced=False).schedules == suspensions + 2


@pytest.mark.parametrize("suspensions", [0, 1, 3])
def test_the_count_of_two_loops(suspensions):
    """Two loops with a task each, k steps in order on either: as many schedules as ways to shuffle them, C(2k, k)."""

    def scenario(world):
        world.caller("a", lambda: suspend(suspensions))
        world.caller("b", lambda: suspend(suspensions), loop=world.another_loop("second"))

    steps = suspensions + 2
    assert explore(scenario).schedules == math.comb(2 * steps, steps)


def test_loops_of_a_world_share_its_time_and_nothing_else():
    """Tasks run on the loop of their caller, timers of all loops ring in order, and what is left on one is found."""
    order = []

    def scenario(world):
        second = world.another_loop("second")

        async def sleep(name, seconds):
            await asyncio.sleep(seconds)
            order.append((name, asyncio.get_running_loop() is second, clock.now()))

        world.caller("a", lambda: sleep("a", 2))
        world.caller("b", lambda: sleep("b", 1), loop=second)

    assert replay(scenario, "").trace.count("time passes") == 2
    assert order == [("b", True, 1.0), ("a", False, 2.0)]

    def stuck(world):
        world.caller("b", asyncio.Event().wait, loop=world.another_loop("second"))

    with pytest.raises(DeadEndError, match="task: b"):
        replay(stuck, "b starts, second runs")


def test_a_loop_is_not_to_be_called_from_another():
    """What would be a race between threads, a callback handed to another thread's loop, is refused."""

    def scenario(world, *, safely):
        second = world.another_loop("second")
        done = []

        async def hand_over():
            getattr(second, "call_soon_threadsafe" if safely else "call_soon")(done.append, "done")

        world.caller("a", hand_over)

        def check():
            assert done, "it was not handed over"

        world.at_rest(check)

    explore(lambda world: scenario(world, safely=True))
    with pytest.raises(ScheduleFailedError, match="it was not handed over"):
        explore(lambda world: scenario(world, safely=False))


def test_a_reduced_search_sees_the_same():
    """Leaving out what makes no difference leaves out no outcome, and runs fewer schedules."""

    def seen_of(*, reduced):
        seen = set()

        def scenario(world):
            line = []

            async def stand():
                line.append(len(line))
                mine = len(line)
                await world.outcome(f"arrival {mine}", {"one": 1, "two": 2})
                line.append(-mine)

            first = world.caller("a", stand)
            world.caller("b", stand)
            world.may_cancel(first)
            world.event("look", lambda: line.append("look"))
            world.at_rest(lambda: seen.add(tuple(line)))

        return explore(scenario, reduced=reduced), seen

    every, seen = seen_of(reduced=False)
    fewer, seen_by_fewer = seen_of(reduced=True)
    assert seen == seen_by_fewer
    assert every.schedules > fewer.schedules
    assert (every.redundant, fewer.redundant > 0) == (0, True)


def lost_update(world):
    """Two tasks that read, are suspended, and write."""
    total = [0]

    async def add():
        read = total[0]
        await asyncio.sleep(0)
        total[0] = read + 1

    def check():
        assert total == [2], f"the total is {total[0]}"

    world.caller("a", add)
    world.caller("b", add)
    world.at_rest(check)


@pytest.mark.parametrize("search", ["exhaustive", "random", "priorities"])
def test_a_failure_shows_a_trace_that_fails_again(search):
    """Whatever the search, the error names a schedule on which the scenario fails whenever it is replayed."""
    with pytest.raises(ScheduleFailedError, match="the total is 1") as failure:
        explore(lost_update, search=search)
    assert f'replay(lost_update, "{failure.value.trace}")' in str(failure.value)
    assert isinstance(failure.value.__cause__, AssertionError)
    for _ in range(2):
        with pytest.raises(AssertionError, match="the total is 1"):
            replay(lost_update, failure.value.trace)


def test_a_trace_is_written_by_hand():
    """A number stands for so many turns of the loop; where a trace ends, the loop runs on."""
    assert replay(lost_update, "a starts, 2, b starts").trace == ["a starts", "", "", "b starts", "", ""]
    with pytest.raises(AssertionError, match="the total is 1"):
        replay(lost_update, "a starts, b starts")


@pytest.mark.parametrize("trace", ["c starts", "1", "a starts, 3", "a starts, a starts"])
def test_a_trace_of_something_else_is_refused(trace):
    """A step that is not possible is named, with those that are."""
    with pytest.raises(NotReplayableError, match="possible are: .*b starts"):
        replay(lost_update, trace)


def test_the_same_seed_draws_the_same():
    """Samples depend on the seed alone, and what a scenario draws on the seed, too."""

    def sampled(seed):
        traces = []

        def scenario(world):
            drawn = random.random()
            one_task_and_events(3, 3)(world)
            world.at_rest(lambda: traces.append((drawn, *world.trace)))

        explore(scenario, search="random", most_schedules=20, seed=seed)
        return traces

    before = random.getstate()
    assert sampled(1) == sampled(1) != sampled(2)
    assert random.getstate() == before


class Drawn:
    """Draws what it was told."""

    def __init__(self, points):
        self.points = list(points)
        self.priorities = [0.9, 0.1]

    def randrange(self, _):
        return self.points.pop(0)

    def random(self):
        return self.priorities.pop(0)


@pytest.mark.parametrize(("points", "chosen"), [((0, 1), [1, 0, 0]), ((1, 0), [1, 1, 1])])
def test_to_which_place_an_event_falls_is_drawn_with_the_point(points, chosen):
    """Of two that have fallen either may come first: x falls at the first choice, and y at the second."""
    options = [Event("x", print), Event("y", print)]
    search = Priorities(Drawn(points), 2)
    search.begin()
    assert [search.choose(options) for _ in range(3)] == chosen


def test_a_sample_is_not_called_exhausted():
    """A search that was cut short says so."""
    explored = explore(one_task_and_events(2, 2), most_schedules=5)
    assert (explored.schedules, explored.exhausted) == (5, False)
    assert str(explored) == "scenario: 5 schedules, sampled"


def test_a_scenario_that_is_not_deterministic_is_found():
    """A scenario that does something else the second time is refused, as no trace of it would mean anything."""
    runs = []

    def scenario(world):
        runs.append(None)
        one_task_and_events(1, 1 if len(runs) < 3 else 2)(world)

    with pytest.raises(NotReplayableError, match="not deterministic"):
        explore(scenario)


def test_a_deadlock_is_a_failure():
    """Who waits for what nobody does is named, with the line on which he waits."""

    def scenario(world):
        world.caller("a", asyncio.Event().wait)

    with pytest.raises(ScheduleFailedError, match=r"deadlock(.|\n)*task: a .*_quietly(.|\n)*replay\(scenario"):
        explore(scenario)


def test_an_armed_timer_is_left_behind():
    """A timer that nobody waits for any more is a failure."""

    def scenario(world):
        world.event("forget", lambda: world.loop.call_later(5, print))

    with pytest.raises(ScheduleFailedError, match="a timer is armed for 5 s"):
        explore(scenario)


def test_a_run_without_end_is_a_failure():
    """A program that never comes to rest is not run for ever."""

    def scenario(world):
        world.caller("a", lambda: suspend(10**9))

    with pytest.raises(DeadEndError, match="not at rest"):
        replay(scenario, "")


def test_an_exception_that_nobody_retrieves_is_a_failure():
    """What asyncio would log at some later time fails the exploration, with the schedule that it came from."""

    async def fail():
        raise LookupError("lost")

    def scenario(world):
        world.event("start", lambda: world.loop.create_task(fail()))

    with pytest.raises(ScheduleFailedError, match=r'never retrieved.*lost(.|\n)*"start'):
        explore(scenario)


def test_a_failing_event_is_a_failure():
    """An event that raises ends the run there."""

    def scenario(world):
        world.event("boom", lambda: 1 / 0)

    with pytest.raises(ScheduleFailedError, match="ZeroDivisionError"):
        explore(scenario)


def test_a_check_after_every_step():
    """What must always be true is asked after every step, also of states that do not last."""

    def scenario(world):
        stock = [1]
        world.event("take", lambda: stock.append(stock.pop() - 1))
        world.event("take again", lambda: stock.append(stock.pop() - 1))
        world.event("fill", lambda: stock.append(stock.pop() + 1))

        def check():
            assert stock[0] >= 0, "negative"

        world.always(check)

    with pytest.raises(ScheduleFailedError, match="negative") as failure:
        explore(scenario)
    assert failure.value.trace == "take, take again"


def test_what_is_waited_for_may_have_the_name_of_what_has_come():
    """Somebody who begins to wait under a name that is free again is not forgotten when the first has read his."""
    got = []

    def scenario(world):
        async def read():
            got.append(await world.outcome("page", {"comes": len(got)}))

        first = world.caller("first", read)
        world.caller("second", read, after=first)

    world = replay(scenario, "first starts, 1, second starts, page comes, 1")
    assert world.trace.count("page comes") == len(got) == 2
    with pytest.raises(DeadEndError, match="two wait for 'page comes' at once"):  # both at once
        replay(scenario, "first starts, second starts, 2")


def test_time_passes_to_the_next_timer():
    """Timers ring in their order, while no handle is ready, or between any two handles if that was asked for."""

    def schedules(time_passes):
        order = []

        def scenario(world):
            world.time_passes = time_passes
            begun = []

            async def sleep(seconds):
                await asyncio.sleep(seconds)
                begun.append((seconds, clock.now()))

            world.caller("a", lambda: sleep(2))
            world.caller("b", lambda: sleep(1))
            world.at_rest(lambda: order.append(tuple(begun)))

        explore(scenario)
        return set(order)

    assert schedules("when idle") == {((1, 1.0), (2, 2.0)), ((2, 2.0), (1, 3.0)), ((1, 1.0), (2, 3.0))}
    assert schedules("anywhere") > schedules("when idle")


def test_ready_handles_overtake_each_other_if_asked():
    """With permuted=True an order is found that asyncio's own never shows."""

    def scenario(world):
        order = []

        async def note(name):
            order.append(name)

        first = world.caller("a", lambda: note("a"))
        world.caller("b", lambda: note("b"), after=first)

        def check():
            assert order == ["a", "b"]

        world.at_rest(check)

    explore(scenario)
    with pytest.raises(ScheduleFailedError) as failure:
        explore(scenario, search="random", permuted=True)
    assert failure.value.trace == "a starts, b starts, @1"


def test_a_handle_that_was_cancelled_overtakes_nobody():
    """A loop passes it over, wherever it stands in the queue."""

    def scenario(world):
        async def cancel_what_is_ready():
            loop = asyncio.get_running_loop()
            loop.call_soon(print)
            loop.call_soon(print, "cancelled").cancel()
            await asyncio.sleep(0)

        world.caller("a", cancel_what_is_ready)

    assert explore(scenario, search="random", permuted=True, most_schedules=20).schedules == 20


def test_orders_that_asyncio_does_not_have_are_never_exhausted():
    """With permuted=True only samples are taken, so that no report calls them exhausted."""
    with pytest.raises(ValueError, match="takes a sample"):
        explore(two_tasks(1), permuted=True)
    assert not explore(two_tasks(1), search="priorities", most_schedules=5, permuted=True).exhausted


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there is no eager task factory before 3.12")
def test_eager_tasks_take_their_first_step_at_once():
    """With eager=True a caller runs up to its first suspension in the step in which it starts."""
    assert explore(two_tasks(0), eager=True).schedules == 2
    assert replay(two_tasks(0), "", eager=True).trace == ["a starts", "b starts"]


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="it is there")
def test_eager_tasks_need_a_newer_python():
    """Before 3.12 asking for eager tasks is refused."""
    with pytest.raises(ValueError, match=r"needs Python 3\.12"):
        explore(two_tasks(0), eager=True)


@pytest.mark.parametrize("name", ["", "a, b", "3", "@1", " padded"])
def test_a_name_that_no_trace_could_hold(name):
    """The name of an event must stand in a trace and be read back."""
    with pytest.raises(ValueError, match="an event needs a name that"):
        explore(lambda world: world.event(name, print))


def test_the_callers_loop_and_clock_are_put_back():
    """After an exploration, also a failed one, the package reads the clock it had read before."""
    before = clock.now
    with pytest.raises(ScheduleFailedError):
        explore(lost_update)
    assert clock.now is before
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_what_asyncio_reports_after_the_last_schedule_fails_the_exploration():
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
        with pytest.raises(ScheduleFailedError, match="asyncio had to report"):
            explore(scenario)
    finally:
        gc.enable()
