"""The harness of the benchmarks: processes that answer, sides that are compared, what is said of the machine."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from benchmarks import children, environment, harness, service
from benchmarks.children import Child, SubjectError
from benchmarks.harness import Comparison, Effort, Side, compare

ECHO = """
import sys, time
from benchmarks.children import answering

def make(job):
    def answer(line):
        if line == "hang":
            time.sleep(60)
        if line == "die":
            sys.stderr.write("out of memory\\n")
            sys.stderr.flush()
            import os
            os._exit(3)
        print("a subject prints what it likes")
        return [job, line, 1 / (line != "raise")]
    return answer

answering(make)
"""


@pytest.fixture
def echo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module for ``Child`` that answers, hangs, dies or raises as it is told."""
    (tmp_path / "echo_for_a_child.py").write_text(ECHO)
    monkeypatch.setattr(children, "SEARCHED", f"{children.SEARCHED}{os.pathsep}{tmp_path}")
    return "echo_for_a_child"


async def test_a_child_answers_line_by_line(echo: str) -> None:
    """Each line is answered once, and what the subject prints is no answer."""
    async with Child(echo, {"name": "x"}) as child:
        assert await child.ask("one") == [{"name": "x"}, "one", 1.0]
        assert await child.ask("two") == [{"name": "x"}, "two", 1.0]


async def test_a_child_that_hangs_is_given_up(echo: str) -> None:
    """A subject that does not answer in time is said to hang, and its process is gone."""
    async with Child(echo, None, patience_seconds=5) as child:
        child._patience = 0.05
        with pytest.raises(SubjectError, match="^hangs$"):
            await child.ask("hang")
    assert child._process.returncode is not None


async def test_a_child_that_dies_leaves_its_last_words(echo: str) -> None:
    """A subject that ends its process is named with the last line it wrote."""
    async with Child(echo, None) as child:
        with pytest.raises(SubjectError, match="died: out of memory"):
            await child.ask("die")


async def test_a_child_that_raises_says_what(echo: str) -> None:
    """A subject's error comes as text."""
    async with Child(echo, None) as child:
        with pytest.raises(SubjectError, match="ZeroDivisionError"):
            await child.ask("raise")


async def test_a_child_that_cannot_start_says_so() -> None:
    """A subject that is not there is an error of the subject, not of the benchmark."""
    with pytest.raises(SubjectError, match="No module named"):
        async with Child("benchmarks.worker", {"warm_up": 0, "workload": "hits_of_one", "subject": "no_such"}):
            pass


async def test_two_sides_are_compared() -> None:
    """The ratio is the left side's time over the right side's, one for each pair of rounds."""
    found = await compare(
        Side("hits_of_one", "yardsticks", "dict"), Side("hits_of_one", "yardsticks", "bare"), Effort(1, 2, 1)
    )
    assert len(found.ratios) == 2
    assert found.low <= found.ratio <= found.high
    assert found.left > 0 < found.right


async def test_what_does_not_coalesce_is_no_waiter() -> None:
    """A herd that makes a fetch each is not measured as waiting."""
    with pytest.raises(SubjectError, match="does not coalesce"):
        await compare(Side("waiters", "yardsticks", "bare", 3), Side("bare_futures", size=3), Effort(1, 1, 0))


def test_a_comparison_is_the_median_with_its_quartiles() -> None:
    """One outlier among the rounds changes nothing."""
    found = Comparison((1.0, 1.1, 1.2, 1.3, 99.0), 1.0, 1.0)
    assert (found.low, found.ratio, found.high) == (1.1, 1.2, 1.3)


def test_one_round_is_its_own_median() -> None:
    """A single ratio has no spread."""
    assert harness.quartiles([2.0]) == (2.0, 2.0, 2.0)


async def test_an_import_is_timed_in_a_process_of_its_own(tmp_path: Path) -> None:
    """The CPU time of an import, and a word where there is nothing to import."""
    assert await harness.import_seconds("json", tmp_path) > 0
    with pytest.raises(SubjectError, match="cannot be imported"):
        await harness.import_seconds("no_such_module", tmp_path)


def test_the_machine_is_described_without_paths_or_names() -> None:
    """What is printed and kept tells the processor and versions, not whose machine it is."""
    described = environment.describe(["cachetools", "no-such-package"])
    text = json.dumps(described)
    assert described["versions"]["cachetools"]
    assert described["versions"]["no-such-package"] is None
    assert socket.gethostname() not in text
    assert "/" not in text.replace("n/a", "")


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system cannot bind")
def test_clients_leave_a_core_for_as_long_as_there_are_servers() -> None:
    """What is asked after ``service`` has all cores again."""
    before = os.sched_getaffinity(0)
    with service._a_core_for_servers() as core:
        assert core in before
        assert len(before) == 1 or core not in os.sched_getaffinity(0)
    assert os.sched_getaffinity(0) == before
