"""Every order in which the world may act on a small asyncio program, or a fair sample of them for a larger one.

A scenario says who calls and what may happen (see ``World``); ``explore`` runs it once for every schedule::

    def scenario(world: World) -> None:
        box = Box()
        a = world.caller("a", box.take)
        world.caller("b", box.take)
        world.may_cancel(a)
        world.event("fill", box.fill)
        world.at_rest(box.check)

    print(explore(scenario))     # scenario: 123 schedules, exhausted

When a check fails, the error shows the schedule as a short text, which ``replay`` runs again, exactly::

    replay(scenario, "a starts, 1, cancel a, b starts, fill")

A number stands for so many handles of the loop; the rest are events. The order of handles is asyncio's own, first come,
first served, and never a choice, except with ``permuted=True``, a sampled extra that asks for more than asyncio does.

Source: stateless model checking (VeriSoft) for the exhaustive search; Burckhardt et al., "A Randomized Scheduler with
Probabilistic Guarantees of Finding Bugs" (ASPLOS 2010) for the priority-based one.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, TypeAlias

from .world import Chooser, Event, RedundantRunError, World

Scenario: TypeAlias = Callable[[World], object]
"""Builds the callers, events and checks of one run. Called anew for every schedule."""

Search: TypeAlias = Literal["exhaustive", "random", "priorities"]


class ScheduleFailedError(AssertionError):
    """A schedule on which a check failed; the cause is what failed.

    Attributes:
        trace: the schedule, for ``replay``.
        schedules: how many had been run when it failed, itself included.
    """

    def __init__(self, scenario: str, trace: str, schedules: int, reason: str) -> None:
        super().__init__(
            f'{reason}\n\nin schedule {schedules} of {scenario}; to see it again:\n  replay({scenario}, "{trace}")'
        )
        self.trace = trace
        self.schedules = schedules


class NotReplayableError(AssertionError):
    """A schedule asks for what is not possible at that point: another scenario, or one that is not deterministic."""


@dataclass(frozen=True, slots=True)
class Exploration:
    """What ``explore`` did, if nothing failed.

    Attributes:
        scenario: its name.
        schedules: how many were run.
        exhausted: whether there are no others.
        longest: the number of steps of the longest.
        redundant: how many more were begun and given up, as one that was run does not differ from them.
    """

    scenario: str
    schedules: int
    exhausted: bool
    longest: int
    redundant: int

    def __str__(self) -> str:
        return f"{self.scenario}: {self.schedules} schedules, {'exhausted' if self.exhausted else 'sampled'}"


def explore(
    scenario: Scenario,
    *,
    search: Search = "exhaustive",
    most_schedules: int = 100_000,
    seed: int = 0,
    change_points: int = 3,
    eager: bool = False,
    permuted: bool = False,
    reduced: bool = True,
) -> Exploration:
    """Run ``scenario`` on schedule after schedule, and say how many that were and whether they were all.

    Args:
        scenario: what is run.
        search: ``"exhaustive"``, depth first, every schedule once; ``"random"``, every choice by lot;
            ``"priorities"``, events at random priorities that change at a few random points: finds with known
            probability what takes few orderings to go wrong.
        most_schedules: where to stop.
        seed: of everything that is drawn, ``random.random()`` inside the scenario included.
        change_points: how many priorities change in a run.
        eager: use the eager task factory (Python 3.12+).
        permuted: let ready handles overtake each other. Asks of a program what asyncio does not ask.
        reduced: of schedules that differ only in the order of two neighbours which do not touch each other, run one;
            the exhaustive search only. Such are a caller's start, or the arrival of what is waited for, and a handle of
            the loop that makes nothing ready: the former only takes its place in the queue.

    Raises:
        ScheduleFailedError: a check failed, something was left, or asyncio had to report an exception.
        NotReplayableError: the scenario did something else when it was run again.
    """
    name = _name_of(scenario)
    searching = _SEARCHES[search](random.Random(seed), change_points)
    late: list[tuple[str, str]] = []
    schedules = redundant = longest = 0
    exhausted = False
    drawn = random.getstate()
    try:
        while schedules < most_schedules:
            if not searching.begin():
                exhausted = True
                break
            random.seed(seed)
            world = World(eager=eager, permuted=permuted, reduced=reduced and search == "exhaustive")
            try:
                world.run(scenario, searching)
            except NotReplayableError:
                raise
            except RedundantRunError:
                redundant += 1
                continue
            except Exception as error:
                raise ScheduleFailedError(name, _describe(world.trace), schedules + 1, _reason(error)) from error
            schedules += 1
            longest = max(longest, len(world.trace))
            _listen(world, late)
    finally:
        random.setstate(drawn)
    gc.collect()  # what was never retrieved is reported when it is collected, which may be long after its run
    if late:
        trace, report = late[0]
        raise ScheduleFailedError(name, trace, schedules, f"asyncio had to report: {report}")
    return Exploration(name, schedules, exhausted, longest, redundant)


def replay(scenario: Scenario, trace: str, *, seed: int = 0, eager: bool = False, permuted: bool = False) -> World:
    """Run ``scenario`` on one schedule. Where the trace ends, the loop runs, then what comes first happens.

    Args:
        scenario: what is run.
        trace: as an error of ``explore`` shows it.
        seed: what ``explore`` was given, as are ``eager`` and ``permuted``.
        eager: use the eager task factory.
        permuted: let ready handles overtake each other.

    Raises:
        NotReplayableError: the trace does not fit the scenario.
        Exception: whatever fails on this schedule.
    """
    drawn = random.getstate()
    random.seed(seed)
    world = World(eager=eager, permuted=permuted)
    try:
        world.run(scenario, _Replay(_parse(trace)))
    finally:
        random.setstate(drawn)
    return world


# ---- traces ----


def _describe(trace: Iterable[str]) -> str:
    """Write a trace as people read it: events in order, and between them how many handles of the loop ran."""
    steps: list[str] = []
    turns = 0
    for name in trace:
        if name == "":
            turns += 1
            continue
        if turns:
            steps.append(str(turns))
        turns = 0
        steps.append(name)
    return ", ".join(steps)


def _parse(trace: str) -> list[str]:
    """Read what ``_describe`` wrote."""
    steps: list[str] = []
    for step in filter(None, (step.strip() for step in trace.split(","))):
        steps += [""] * int(step) if step.isdigit() else [step]
    return steps


# ---- searches ----


class _Search(Chooser, Protocol):
    def begin(self) -> bool:
        """Prepare for the next run; return whether there is one."""
        ...


class _DepthFirst:
    """Takes the first option at every point that is new, and then the next one at the last point that has another."""

    def __init__(self, drawing: random.Random, change_points: int) -> None:  # noqa: ARG002  # it draws nothing
        self._taken: list[int] = []
        self._there: list[int] = []
        self._at = 0
        self._is_new = True

    def begin(self) -> bool:
        self._at = 0
        if self._is_new:
            self._is_new = False
            return True
        taken, there = self._taken, self._there
        while taken and taken[-1] + 1 == there[-1]:
            taken.pop()
            there.pop()
        if not taken:
            return False
        taken[-1] += 1
        return True

    def choose(self, options: list[Event]) -> int:
        count = len(options)
        if count == 1:
            return 0
        at = self._at
        self._at += 1
        if at == len(self._taken):
            self._taken.append(0)
            self._there.append(count)
        elif self._there[at] != count:
            raise NotReplayableError(
                f"the scenario is not deterministic: at choice {at} there were {self._there[at]} options, now {count}: "
                f"{[option.name for option in options]}"
            )
        return self._taken[at]


class _Random:
    """Takes any option, each as likely as the others."""

    def __init__(self, drawing: random.Random, change_points: int) -> None:  # noqa: ARG002  # it has no priorities
        self._drawing = drawing

    def begin(self) -> bool:
        return True

    def choose(self, options: list[Event]) -> int:
        return self._drawing.randrange(len(options))


class _Priorities:
    """Takes the option of the highest priority; at a few points that one falls below all others."""

    def __init__(self, drawing: random.Random, change_points: int) -> None:
        self._drawing = drawing
        self._change_points = change_points
        self._priorities: dict[str, float] = {}
        self._changes: set[int] = set()
        self._at = self._longest = 0

    def begin(self) -> bool:
        self._longest = max(self._longest, self._at, 1)
        self._changes = {self._drawing.randrange(self._longest) for _ in range(self._change_points)}
        self._priorities.clear()
        self._at = 0
        return True

    def choose(self, options: list[Event]) -> int:
        best = self._best(options)
        if self._at in self._changes:
            self._priorities[options[best].name] = -float(self._at) - 1.0
            best = self._best(options)
        self._at += 1
        return best

    def _best(self, options: list[Event]) -> int:
        for option in options:
            if option.name not in self._priorities:
                self._priorities[option.name] = self._drawing.random()
        return max(range(len(options)), key=lambda place: self._priorities[options[place].name])


class _Replay:
    """Takes what a trace says, and then the first option."""

    def __init__(self, steps: list[str]) -> None:
        self._steps = steps
        self._at = 0

    def choose(self, options: list[Event]) -> int:
        if self._at == len(self._steps):
            return 0
        step = self._steps[self._at]
        self._at += 1
        names = [option.name for option in options]
        if step not in names:
            possible = ", ".join(name or "a handle of the loop" for name in names)
            raise NotReplayableError(
                f"step {self._at} of the trace is {step or 'a handle of the loop'!r}, and possible are: {possible}"
            )
        return names.index(step)


_SEARCHES: Final[dict[str, Callable[[random.Random, int], _Search]]] = {
    "exhaustive": _DepthFirst,
    "random": _Random,
    "priorities": _Priorities,
}


def _listen(world: World, late: list[tuple[str, str]]) -> None:
    """Note what is reported of a run when it is over."""
    trace = world.trace
    world.loop.report = lambda report: late.append((_describe(trace), report))


def _reason(error: BaseException) -> str:
    text = str(error)
    return text if isinstance(error, AssertionError) and text else f"{type(error).__name__}: {text}"


def _name_of(scenario: Any) -> str:
    return str(getattr(scenario, "__name__", None) or type(scenario).__name__)
