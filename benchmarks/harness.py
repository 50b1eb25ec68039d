"""Measuring two sides against each other: each in a process of its own, their rounds alternating on one core.

A *round* is some tens of milliseconds of work; a *ratio* is one round of the left side divided by the round of the
right side that ran right beside it, so that a machine that slows down slows both. What is reported is the median of
the ratios of all rounds of all launches, with the quartiles as its spread. A *launch* is a new pair of processes: the
order of hashes and the places of objects in memory differ from one process to the next, and move results by some per
cent. Time is the process's CPU time: what other programs do meanwhile is not counted, only what they do to the caches.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .children import HANGS, ROOT, Child, SubjectError

_PATIENCE_SECONDS = 20.0
"""How long a side may take to be ready, or over one round, before it counts as hanging."""

_LARGE = 5_000
"""A side of more callers or keys than these is given more time."""


@dataclass(frozen=True)
class Side:
    """One side of a comparison: what a worker process is asked to run.

    Attributes:
        workload: the name of a function of ``workloads.py``.
        subject: whose function is called: ``ours``, ``yardsticks``, one of ``rivals``; empty where nobody's is.
        style: which of the subject's settings are used.
        size: how many callers or keys; what exactly is the workload's business.
        loop: ``"asyncio"`` or ``"uvloop"``.
        gc: whether the cyclic garbage collector is on while a round runs.
    """

    workload: str
    subject: str = ""
    style: str = ""
    size: int = 1
    loop: str = "asyncio"
    gc: bool = True


@dataclass(frozen=True)
class Effort:
    """How much is run: ``launches`` pairs of processes, ``rounds`` rounds in each after ``warm_up`` uncounted ones."""

    launches: int
    rounds: int
    warm_up: int = 2

    @property
    def seconds(self) -> float:
        """About how long that takes."""
        return self.launches * (1.0 + 0.06 * (self.rounds + self.warm_up))


FULL = Effort(launches=3, rounds=9)
BRIEF = Effort(launches=1, rounds=9, warm_up=1)
"""For rows that inform and on which no budget depends."""

QUICK = Effort(launches=1, rounds=5, warm_up=1)
ONCE = Effort(launches=2, rounds=1, warm_up=0)
"""For what can be measured only once in the life of a process: memory."""


@dataclass(frozen=True)
class Comparison:
    """How much more the left side takes than the right side, for the same work.

    Attributes:
        ratios: one per pair of rounds.
        left: the median of the left side's rounds, per operation: seconds, or bytes.
        right: the right side's.
        low, ratio, high: the quartiles of ``ratios``.
    """

    ratios: tuple[float, ...]
    left: float
    right: float
    low: float = field(init=False)
    ratio: float = field(init=False)
    high: float = field(init=False)

    def __post_init__(self) -> None:
        for name, value in zip(("low", "ratio", "high"), quartiles(self.ratios), strict=True):
            object.__setattr__(self, name, value)


def quartiles(numbers: Sequence[float]) -> tuple[float, float, float]:
    """Return the lower quartile, the median and the upper quartile."""
    if len(numbers) == 1:
        return numbers[0], numbers[0], numbers[0]
    low, middle, high = statistics.quantiles(numbers, n=4, method="inclusive")
    return low, middle, high


async def compare(left: Side, right: Side, effort: Effort) -> Comparison:
    """Measure two sides against each other.

    Raises:
        SubjectError: one of them cannot do it.
    """
    lefts: list[float] = []
    rights: list[float] = []
    for launch in range(effort.launches):
        async with contextlib.AsyncExitStack() as stack:
            one, other = await _both(stack, worker(left, effort), worker(right, effort))
            for number in range(effort.rounds):
                if (launch + number) % 2:  # neither side always runs on what the other left in the caches
                    rights.append(await other.ask("round"))
                    lefts.append(await one.ask("round"))
                else:
                    lefts.append(await one.ask("round"))
                    rights.append(await other.ask("round"))
    ratios = tuple(one / other for one, other in zip(lefts, rights, strict=True))
    return Comparison(ratios, statistics.median(lefts), statistics.median(rights))


async def _both(stack: contextlib.AsyncExitStack, *children: Child) -> Sequence[Child]:
    """Start them side by side: nothing is measured before all are ready."""
    started = await asyncio.gather(*map(stack.enter_async_context, children), return_exceptions=True)
    for one in started:
        if isinstance(one, BaseException):
            raise one
    return children


def worker(side: Side, effort: Effort) -> Child:
    """Return a process that runs one side's rounds, one whenever it is asked to, and sleeps in between."""
    patience = _PATIENCE_SECONDS * (5 if side.size > _LARGE else 1)
    job = {**dataclasses.asdict(side), "warm_up": effort.warm_up}
    return Child("benchmarks.worker", job, patience_seconds=patience)


async def import_seconds(module: str, bytecode: Path) -> float:
    """Return the CPU time that a fresh process spends on importing ``module``.

    Args:
        module: its name.
        bytecode: where compiled modules are kept, so that only the first import into it compiles, whatever the
            environment says about writing bytecode.

    Raises:
        SubjectError: it cannot be imported.
    """
    script = f"import time; t = time.process_time(); import {module}; print(time.process_time() - t)"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(bytecode)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        script,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=ROOT,
        env=environment,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), _PATIENCE_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise SubjectError(HANGS) from None
    if process.returncode:
        raise SubjectError("cannot be imported")
    return float(output.splitlines()[-1])
