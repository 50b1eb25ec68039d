from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import subprocess
import sys
import threading
import time
from datetime import timedelta

import anyio
import anyio.to_thread
import pytest

from coalesce_kit import coalesced
from coalesce_kit.clock import clock
from coalesce_kit.testing.clock import DeadlockError, VirtualClock, VirtualLoop, run, virtual_loop
from coalesce_kit.testing.waiting import describe_task


async def test_a_long_sleep_takes_no_time(virtual_time):
    """Sleeping an hour moves the clock by exactly an hour, and takes no real time."""
    before = time.monotonic()
    await asyncio.sleep(3600)
    assert virtual_time.now() == 3600.0
    assert time.monotonic() - before < 60


async def test_the_package_reads_the_loops_clock(virtual_time):
    """What runs in the loop and asks the package's clock is told virtual time."""
    await asyncio.sleep(0.1)
    assert clock.now() == 0.1 == asyncio.get_running_loop().time()


def test_the_packages_clock_is_restored():
    """After the loop has stopped, the package reads real time again, also after a failure."""
    real = clock.now

    async def fail() -> None:
        assert clock.now is not real
        raise LookupError

    with pytest.raises(LookupError):
        run(fail())
    assert clock.now is real


def test_a_clock_is_entered_by_itself():
    """Without a loop, a test moves the package's time by hand."""
    real = clock.now
    with VirtualClock(100.0) as hand:
        hand.advance(2.5)
        assert clock.now() == 102.5
        with VirtualClock() as inner:
            assert clock.now() == inner.now() == 0.0
        assert clock.now() == 102.5
    assert clock.now is real


@pytest.mark.parametrize("seconds", [-1, math.nan, math.inf, -math.inf, pytest.param(10**400, id="huge")])
def test_time_never_goes_back(seconds):
    """A step that is not at least 0, or has no end, is refused."""
    hand = VirtualClock()
    with pytest.raises(ValueError, match="forward only: advance.. takes seconds, a finite number of at least 0, not"):
        hand.advance(seconds)
    assert hand.now() == 0.0


@pytest.mark.parametrize("seconds", ["30", None, timedelta(seconds=30)])
def test_time_is_moved_by_seconds(seconds):
    """Anything that is no number is refused by name."""
    with pytest.raises(TypeError, match=r"advance\(\) takes seconds, a finite number, not "):
        VirtualClock().advance(seconds)


def test_a_moment_that_has_passed_changes_nothing():
    """advance_to moves forward or not at all."""
    hand = VirtualClock(10.0)
    hand.advance_to(5.0)
    assert hand.now() == 10.0
    assert repr(hand) == "<VirtualClock at 10 s>"


async def test_timers_fire_in_the_order_of_their_moments(virtual_time):
    """Timers fire in order, each at its own moment, whatever was armed first."""
    fired = []
    loop = asyncio.get_running_loop()
    for delay in (0.3, 0.1, 0.2, 100_000.0):
        loop.call_later(delay, lambda delay=delay: fired.append((delay, clock.now())))
    await asyncio.sleep(200_000)
    assert fired == [(0.1, 0.1), (0.2, 0.2), (0.3, 0.3), (100_000.0, 100_000.0)]


async def test_time_stands_still_while_anything_is_runnable(virtual_time):
    """A timer does not fire before what is ready has run out."""
    loop = asyncio.get_running_loop()
    fired = asyncio.Event()
    loop.call_later(0.001, fired.set)
    for _ in range(100):
        await asyncio.sleep(0)
    assert not fired.is_set()
    await fired.wait()


async def test_arriving_late(virtual_time):
    """A clock that was moved by hand makes the timers due that it passed."""
    fired = []
    asyncio.get_running_loop().call_later(1, fired.append, "late")
    virtual_time.advance(5)
    await asyncio.sleep(0)  # the loop looks at its timers once per turn, after what was ready
    await asyncio.sleep(0)
    assert fired == ["late"]


def test_a_deadlock_fails_at_once_and_names_who_waits():
    """Nothing runnable and no timer: the error says which task waits, and on which line."""

    async def wait_for_nobody() -> None:
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(wait_for_nobody(), name="lonely")

    with pytest.raises(DeadlockError) as caught:
        run(main())
    text = str(caught.value)
    assert "lonely (test_a_deadlock_fails_at_once_and_names_who_waits.<locals>.wait_for_nobody) at " in text
    assert "test_virtual_clock.py:" in text
    assert ".main) at " in text


def named_in_a_deadlock(wait):
    """Return the line of the error that names the task in which ``wait`` is awaited."""

    async def main():
        await wait()

    with pytest.raises(DeadlockError) as caught:
        run(main())
    return str(caught.value).splitlines()[1]


def test_the_line_is_the_users_and_not_the_librarys():
    """Whatever of asyncio, of an installed library and of the package stands below it."""

    @coalesced
    async def odds():
        await asyncio.Event().wait()

    async def in_a_queue():
        await asyncio.Queue().get()

    async def in_anyio():
        await anyio.Event().wait()

    class Own:
        def __await__(self):
            yield from asyncio.Event().wait().__await__()

    async def in_an_awaitable():
        await Own()

    async def stream():
        await asyncio.Queue().get()
        yield

    async def in_a_stream():
        async for _ in stream():
            pass

    innermost = {
        in_a_queue: (in_a_queue, 1),
        in_anyio: (in_anyio, 1),
        in_an_awaitable: (Own.__await__, 1),
        in_a_stream: (stream, 1),
        odds: (named_in_a_deadlock, 4),
    }
    for wait, (function, line) in innermost.items():
        told = named_in_a_deadlock(wait)
        assert f"{__file__}:{function.__code__.co_firstlineno + line}" in told
        assert told.endswith(f", in {function.__qualname__}") is (function is not named_in_a_deadlock)


def test_a_task_without_a_line_of_the_users_is_named_by_its_last():
    """As one that is made of the library alone."""

    async def main():
        task = asyncio.get_running_loop().create_task(asyncio.Event().wait(), name="bare")
        await asyncio.wait([task])

    with pytest.raises(DeadlockError, match=r"bare \(Event\.wait\) at .*locks\.py:\d+$"):
        run(main())


class KnowsWhoAwaits:
    """An awaitable that holds the coroutine which awaits it."""

    awaited_by = None

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        return None


async def test_what_leads_back_to_itself_is_looked_at_once():
    """It is described all the same."""

    async def waiting():
        await own

    own = KnowsWhoAwaits()
    own.awaited_by = waiting()
    task = asyncio.get_running_loop().create_task(own.awaited_by, name="round")
    await asyncio.sleep(0)
    assert "round (" in describe_task(task)
    task.cancel()
    await asyncio.wait([task])
    del own.awaited_by


async def test_a_task_that_has_ended_waits_nowhere():
    """It has a name still, and no line."""
    task = asyncio.get_running_loop().create_task(asyncio.sleep(0), name="over")
    await task
    assert describe_task(task) == "over (sleep)"


def test_what_was_typed_in_is_the_users():
    """It has no file, and has lines all the same."""
    program = "import asyncio\nfrom coalesce_kit.testing.clock import run\nrun(asyncio.Event().wait())"
    typed = "import asyncio\nfrom coalesce_kit.testing.clock import run\n"
    typed += "async def main():\n    await asyncio.Queue().get()\n\nrun(main())"
    for text, told in ((program, "locks.py:"), (typed, "<string>:4")):
        done = subprocess.run([sys.executable, "-c", text], text=True, capture_output=True, check=False)
        assert told in done.stderr.splitlines()[-1]


def test_a_timer_at_the_end_of_time_wakes_nobody():
    """To sleep for ever is what libraries do who wait to be cancelled."""
    for sleep_forever in (anyio.sleep_forever, lambda: asyncio.sleep(math.inf)):
        with pytest.raises(DeadlockError, match="no timer"):
            run(sleep_forever())


def test_a_loop_left_running_without_tasks_is_a_deadlock():
    """run_forever without anything to do fails as well."""
    loop = virtual_loop()
    try:
        with pytest.raises(DeadlockError, match="no task"):
            loop.run_forever()
    finally:
        loop.close()


def test_threads_are_refused():
    """to_thread fails and says why."""

    async def main() -> None:
        await asyncio.to_thread(time.sleep, 0)

    with pytest.raises(RuntimeError, match=r"runs no threads"):
        run(main())


@pytest.mark.parametrize("seconds", [0.0, 0.05])
def test_threads_of_anyio_are_refused(seconds):
    """They come past the loop, as those of FastAPI's plain endpoints do; the error names who waits for one."""

    async def main():
        async with asyncio.timeout(5):
            await anyio.to_thread.run_sync(time.sleep, seconds)

    with pytest.raises(RuntimeError, match=r"runs no threads, and one of anyio's .*\n.*test_virtual_clock\.py:\d+"):
        run(main())


def test_what_was_refused_ends():
    """The tasks of the run are cancelled as after any error, and the thread of a later run is refused again."""
    ended = []

    async def main():
        try:
            await anyio.to_thread.run_sync(time.sleep, 0)
        finally:
            await asyncio.sleep(1)
            ended.append(asyncio.get_running_loop().time())

    for _ in range(2):
        with pytest.raises(RuntimeError, match="runs no threads"):
            run(main())
    assert ended == [1.0, 1.0]


def test_threads_of_others_are_none_of_its_business():
    """A loop beside it, in real time, may have threads of anyio, idle or at work; and so may threads without a loop."""
    begun, release = threading.Event(), threading.Event()

    async def real():
        await anyio.to_thread.run_sync(time.sleep, 0)  # idle from now on
        begun.set()
        await anyio.to_thread.run_sync(release.wait, 10)

    async def main():
        await asyncio.sleep(60)
        return asyncio.get_running_loop().time()

    nameless = threading.Thread(target=release.wait, args=(10,), name="AnyIO worker thread")
    with contextlib.ExitStack() as ending:
        for thread in (threading.Thread(target=asyncio.run, args=(real(),)), nameless):
            thread.start()
            ending.callback(thread.join)
        ending.callback(release.set)
        assert begun.wait(10)
        assert run(main()) == 60.0


def test_sockets_are_refused():
    """A socket fails and says why."""
    left, right = socket.socketpair()
    left.setblocking(False)

    async def main() -> None:
        await asyncio.get_running_loop().sock_recv(left, 1)

    with left, right, pytest.raises(RuntimeError, match=r"no sockets"):
        run(main())


async def test_a_call_from_another_thread_is_heard(virtual_time):
    """call_soon_threadsafe works, as long as something else keeps the loop going."""
    loop = asyncio.get_running_loop()
    heard = asyncio.Event()
    loop.call_soon_threadsafe(heard.set)
    await heard.wait()
    assert virtual_time.now() == 0.0


def test_a_loop_may_go_on_with_a_clock():
    """Two loops in succession on one clock: time goes on."""
    hand = VirtualClock(50.0)

    async def main() -> float:
        await asyncio.sleep(1)
        return clock.now()

    assert run(main(), time=hand) == 51.0
    assert run(main(), time=hand) == 52.0
    assert isinstance(hand, VirtualClock)


@pytest.mark.on_every_loop
async def test_a_marked_test_runs_on_every_loop(loop_kind):
    """on_every_loop means plain asyncio, eager tasks and uvloop."""
    loop = asyncio.get_running_loop()
    module = type(loop).__module__
    expected = {"asyncio": "asyncio", "eager": "asyncio", "uvloop": "uvloop"}[loop_kind]
    assert module.partition(".")[0] == expected
    assert (loop.get_task_factory() is not None) == (loop_kind == "eager")


@pytest.mark.on_every_loop
async def test_a_marked_test_in_virtual_time_runs_on_every_virtual_loop(virtual_time, loop_kind):
    """Virtual time comes with and without eager tasks."""
    assert isinstance(asyncio.get_running_loop(), VirtualLoop)
    assert loop_kind in {"virtual", "virtual-eager"}


def test_a_sync_test_gets_every_loop(loop_factory):
    """loop_factory makes loops of every kind."""
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        assert runner.run(asyncio.sleep(0, "slept")) == "slept"
