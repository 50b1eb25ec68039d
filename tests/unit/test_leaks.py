from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from xml.etree import ElementTree as ET

import pytest

from coalesce_kit import coalesced
from coalesce_kit.protocols import FlightInfo
from coalesce_kit.testing.leaks import assert_nothing_left, settle, unretrieved, what_is_left

ROOT = Path(__file__).parents[2]


class Airport:
    """A coalescer of which only the flights are seen."""

    def __init__(self, *flights: FlightInfo) -> None:
        self._flights = flights

    def flights(self):
        return self._flights


async def test_nothing_left_in_a_quiet_loop():
    """The task that asks is not counted."""
    assert_nothing_left()


async def test_a_task_is_named_with_the_line_on_which_it_waits():
    """What is left of a task: its name, its coroutine, where it waits."""

    async def linger(release: asyncio.Event) -> None:
        await release.wait()

    release = asyncio.Event()
    task = asyncio.create_task(linger(release), name="lingering")
    await asyncio.sleep(0)
    with pytest.raises(AssertionError, match=r"1 left behind:\n  task: lingering \(.*linger\) at .*test_leaks\.py:\d+"):
        assert_nothing_left()
    release.set()
    await task


async def test_an_armed_timer_is_left_and_a_cancelled_one_is_not(virtual_time):
    """A timer counts until it is cancelled."""
    timer = asyncio.get_running_loop().call_later(5, print)
    (line,) = what_is_left()
    assert line.startswith("timer: <TimerHandle")
    assert line.endswith("due in 5.000 s")
    timer.cancel()
    assert what_is_left() == []


def test_flights_are_found_outside_a_loop():
    """A flight is left also where no loop runs, with its waiters and its age."""
    airport = Airport(FlightInfo("nfl", 1.5, 3, zombie=False), FlightInfo("nba", 2.0, 0, zombie=True))
    assert what_is_left(airport)[-2:] == [
        "flight: nfl, 3 waiting, in the air for 1.500 s",
        "zombie: nba, 0 waiting, in the air for 2.000 s",
    ]


def test_another_loop_can_be_looked_at():
    """A loop that is not running shows its tasks, a closed one nothing."""
    loop = asyncio.SelectorEventLoop()
    task = loop.create_task(asyncio.sleep(0), name="unstarted")
    assert what_is_left(loop=loop)[0].startswith("task: unstarted")
    loop.run_until_complete(task)
    loop.close()
    assert what_is_left(loop=loop) == []


async def test_a_cancelled_task_is_given_turns_to_end():
    """Settle waits for what is ending, by turns and not by time."""
    left = asyncio.Event()

    async def end_slowly() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            for _ in range(5):
                await asyncio.sleep(0)
            left.set()

    task = asyncio.create_task(end_slowly())
    await asyncio.sleep(0)
    task.cancel()
    await settle()
    assert left.is_set()
    assert_nothing_left()


async def test_settling_gives_up_on_what_stays():
    """What does not end is left for the assertion."""
    release = asyncio.Event()
    task = asyncio.create_task(release.wait())
    await settle()
    assert len(what_is_left()) == 1
    release.set()
    await task


async def test_an_exception_that_nobody_retrieved_is_collected():
    """A task that failed unseen shows in the list when it is collected."""

    async def fail() -> None:
        raise LookupError("nobody looks")

    with unretrieved() as reports:
        task = asyncio.create_task(fail())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del task
        gc.collect()
    (report,) = reports
    assert "never retrieved" in report
    assert "nobody looks" in report


def test_the_check_after_every_test_sees_what_a_test_leaves(tmp_path):
    """In a test run: a left task, a left timer and an unretrieved exception each fail their test."""
    program = tmp_path / "test_untidy.py"
    program.write_text(
        dedent("""
        import asyncio

        async def fail():
            raise LookupError("nobody looks")

        async def test_task():
            task = asyncio.create_task(asyncio.Event().wait())
            task.get_loop().kept = task

        async def test_timer():
            asyncio.get_running_loop().call_later(1000, print)

        async def test_unretrieved():
            asyncio.create_task(fail())
            await asyncio.sleep(0)

        async def test_clean():
            await asyncio.sleep(0)
        """)
    )
    report = tmp_path / "report.xml"
    config = ["-c", ROOT / "pyproject.toml", "--rootdir", ROOT, "-p", "tests.conftest", f"--junitxml={report}"]
    subprocess.run([sys.executable, "-m", "pytest", *config, program], cwd=ROOT, capture_output=True, check=False)
    cases = ET.parse(report).iter("testcase")
    errors = {case.get("name"): [error.get("message", "") for error in case.iter("error")] for case in cases}
    assert errors["test_clean"] == []
    for name, culprit in {"test_task": "task: ", "test_timer": "timer: ", "test_unretrieved": "nobody looks"}.items():
        (message,) = errors[name]
        assert culprit in message


async def test_the_flight_of_a_function_is_shown_by_its_call():
    """As everywhere where people read a key; one that is somebody's own tuple, as it is."""

    @coalesced(name="slow")
    async def slow(league: str) -> None:
        await asyncio.get_running_loop().create_future()

    class Describing:
        def __repr__(self) -> str:
            return "<mine>"

        def describe(self, key: object) -> None:
            """Describe something else."""

    task = asyncio.create_task(slow("nba"))
    await asyncio.sleep(0)
    assert what_is_left()[0].startswith("flight: slow(league='nba'), 0 waiting, ")
    airport = Airport(*(FlightInfo(key, 0.0, 0, zombie=False) for key in (("nba", 1), (Describing(), 1), (), 7)))
    shown = [line.rpartition(", 0 waiting")[0] for line in what_is_left(airport)[1:5]]
    assert shown == ["flight: ('nba', 1)", "flight: (<mine>, 1)", "flight: ()", "flight: 7"]
    task.cancel()
