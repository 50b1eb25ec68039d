"""Ways through the schedules of a scenario, and how one schedule is written down.

Source: stateless model checking (VeriSoft) for the exhaustive search; Burckhardt et al., "A Randomized Scheduler with
Probabilistic Guarantees of Finding Bugs" (ASPLOS 2010) for the priority-based one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Final, Literal, Protocol, TypeAlias

from .events import Chooser, Event

SearchName: TypeAlias = Literal["exhaustive", "random", "priorities"]


class NotReplayableError(AssertionError):
    """A schedule asks for what is not possible at that point: another scenario, or one that is not deterministic."""


# ---- traces ----


def describe_trace(trace: Iterable[str]) -> str:
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


def parse_trace(trace: str) -> list[str]:
    """Read what ``describe_trace`` wrote."""
    steps: list[str] = []
    for step in filter(None, (step.strip() for step in trace.split(","))):
        steps += [""] * int(step) if step.isdigit() else [step]
    return steps


# ---- searches ----

_NOT_DETERMINISTIC: Final = (
    "the scenario is not deterministic (make everything that it uses anew inside it, and reset what lives longer: "
    "coalesce_kit.testing.fixtures.isolated)"
)


class Search(Chooser, Protocol):
    """Decides, run after run, what happens next."""

    def begin(self) -> bool:
        """Prepare for the next run; return whether there is one."""
        ...


class DepthFirst:
    """Takes the first option at every point that is new, and then the next one at the last point that has another."""

    def __init__(self, drawing: random.Random, change_points: int) -> None:  # noqa: ARG002  # it draws nothing
        self._taken: list[int] = []
        self._there: list[tuple[int, str, int]] = []  # how many options, the last of them, and at which step
        self._at = self._step = 0
        self._is_new = True

    def begin(self) -> bool:
        """Go to the next schedule, if there is one."""
        if self._at < len(self._taken):
            raise NotReplayableError(f"{_NOT_DETERMINISTIC}: it ended before choice {self._at}, which it had before")
        self._at = self._step = 0
        if self._is_new:
            self._is_new = False
            return True
        taken, there = self._taken, self._there
        while taken and taken[-1] + 1 == there[-1][0]:
            taken.pop()
            there.pop()
        if not taken:
            return False
        taken[-1] += 1
        return True

    def choose(self, options: list[Event]) -> int:
        """Return the option of this schedule."""
        count = len(options)
        self._step += 1
        if count == 1:
            return 0
        at = self._at
        self._at += 1
        if at == len(self._taken):
            self._taken.append(0)
            self._there.append((count, options[-1].name, self._step))
        elif self._there[at] != (count, options[-1].name, self._step):
            before, last, step = self._there[at]
            names = [option.name or "a handle of the loop" for option in options]
            raise NotReplayableError(
                f"{_NOT_DETERMINISTIC}: at choice {at} there were {before} options at step {step}, the last of them "
                f"{last or 'a handle of the loop'!r}; now there are {count} at step {self._step}: {names}"
            )
        return self._taken[at]


class RandomChoice:
    """Takes any option, each as likely as the others."""

    def __init__(self, drawing: random.Random, change_points: int) -> None:  # noqa: ARG002  # it has no priorities
        self._drawing = drawing

    def begin(self) -> bool:
        """Go on: there is always another."""
        return True

    def choose(self, options: list[Event]) -> int:
        """Return any of them."""
        return self._drawing.randrange(len(options))


class Priorities:
    """Takes the option of the highest priority; at a few points that one falls below all others.

    To which place below them is drawn with the point, as in the paper: of two that have fallen, either may come first.
    """

    def __init__(self, drawing: random.Random, change_points: int) -> None:
        self._drawing = drawing
        self._change_points = change_points
        self._priorities: dict[str, float] = {}
        self._changes: dict[int, float] = {}  # at which choice, and to which priority the first one falls there
        self._at = self._longest = 0

    def begin(self) -> bool:
        """Draw new priorities."""
        self._longest = max(self._longest, self._at, 1)
        self._changes = {self._drawing.randrange(self._longest): -1.0 - place for place in range(self._change_points)}
        self._priorities.clear()
        self._at = 0
        return True

    def choose(self, options: list[Event]) -> int:
        """Return the one of the highest priority."""
        best = self._best(options)
        if self._at in self._changes:
            self._priorities[options[best].name] = self._changes[self._at]
            best = self._best(options)
        self._at += 1
        return best

    def _best(self, options: list[Event]) -> int:
        for option in options:
            if option.name not in self._priorities:
                self._priorities[option.name] = self._drawing.random()
        return max(range(len(options)), key=lambda place: self._priorities[options[place].name])


class Replay:
    """Takes what a trace says, and then the first option."""

    def __init__(self, steps: list[str]) -> None:
        self._steps = steps
        self._at = 0

    def choose(self, options: list[Event]) -> int:
        """Return the one that the trace names."""
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


SEARCHES: Final[dict[str, Callable[[random.Random, int], Search]]] = {
    "exhaustive": DepthFirst,
    "random": RandomChoice,
    "priorities": Priorities,
}
