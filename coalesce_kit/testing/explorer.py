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
"""

from __future__ import annotations

import gc
import logging
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from .events import DeadEndError, RedundantRunError
from .searches import SEARCHES, NotReplayableError, Replay, SearchName, describe_trace, parse_trace
from .world import World

__all__ = ["Exploration", "NotReplayableError", "Scenario", "ScheduleFailedError", "explore", "replay"]

Scenario: TypeAlias = Callable[[World], object]
"""Builds the callers, events and checks of one run. Called anew for every schedule."""


_PACKAGE_LOGGER: Final = logging.getLogger(__name__.partition(".")[0])

_REPORTED: Final = "asyncio had to report"


class ScheduleFailedError(AssertionError):
    """A schedule on which a check failed; the cause is what failed.

    Attributes:
        trace: the schedule, for ``replay``.
        schedules: how many had been run when it failed, itself included.
    """

    def __init__(self, scenario: str, trace: str, schedules: int, reason: str, options: str = "") -> None:
        super().__init__(
            f"{reason}\n\nin schedule {schedules} of {scenario}; to see it again:\n"
            f'  replay({scenario}, "{trace}"{options})'
        )
        self.trace = trace
        self.schedules = schedules


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
    search: SearchName = "exhaustive",
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
        permuted: let ready handles overtake each other. Asks of a program what asyncio does not ask, and only of a
            sample: ``"exhaustive"`` is refused.
        reduced: of schedules that differ only in the order of two neighbours which do not touch each other, run one;
            the exhaustive search only. Such are a caller's start, or the arrival of what is waited for, and a handle of
            the loop that makes nothing ready: the former only takes its place in the queue.

    What the package would log meanwhile, of thousands of schedules, is not logged; ``replay`` logs it.

    Raises:
        ScheduleFailedError: a check failed, something was left, or asyncio had to report an exception. Or a caller has
            raised on every schedule on which he came to an end: nothing that was checked can have been his answer.
        NotReplayableError: the scenario did something else when it was run again.
        ValueError: an exhaustive search was to permute handles; there is no such search; no schedule was to be run.
        Exception: what the scenario raised before anything has happened.
    """
    if search not in SEARCHES:
        raise ValueError(f"search is one of {', '.join(map(repr, SEARCHES))}, not {search!r}")
    if most_schedules < 1:
        raise ValueError(f"most_schedules is at least 1, not {most_schedules!r}")
    if permuted and search == "exhaustive":
        raise ValueError('permuted=True takes a sample: search="random" or search="priorities"')
    name, options = _name_of(scenario), _options_of(seed=seed, eager=eager, permuted=permuted)
    searching = SEARCHES[search](random.Random(seed), change_points)
    late: list[tuple[str, str]] = []
    answers = _Answers()
    schedules = redundant = longest = 0
    exhausted = False
    drawn, level = random.getstate(), _PACKAGE_LOGGER.level
    gc.collect()  # what is garbage already must not vanish on the way: some programs look at what lives
    try:
        _PACKAGE_LOGGER.setLevel(logging.CRITICAL + 1)
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
                if not world.trace:  # the scenario itself is wrong, and there is nothing to be seen again
                    raise
                trace = describe_trace(world.trace)
                raise ScheduleFailedError(name, trace, schedules + 1, _reason(error), options) from error
            schedules += 1
            longest = max(longest, len(world.trace))
            _listen(world, late)
            answers.note(world)
    finally:
        random.setstate(drawn)
        _PACKAGE_LOGGER.setLevel(level)
    gc.collect()  # what was never retrieved is reported when it is collected, which may be long after its run
    if late:
        trace, report = late[0]
        raise ScheduleFailedError(name, trace, schedules, f"{_REPORTED}: {report}", options)
    for caller, (trace, raised) in answers.only_errors():
        reason = f"caller {caller!r} has returned on none of {schedules} schedules; on this one: {_reason(raised)}"
        raise ScheduleFailedError(name, trace, schedules, reason, options) from raised
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
    gc.collect()  # as ``explore`` does
    random.seed(seed)
    world = World(eager=eager, permuted=permuted)
    try:
        world.run(scenario, Replay(parse_trace(trace)))
    finally:
        random.setstate(drawn)
    gc.collect()  # as ``explore`` does at its end
    if world.reports:
        raise DeadEndError(f"{_REPORTED}: {world.reports[0]}")
    return world


def _listen(world: World, late: list[tuple[str, str]]) -> None:
    """Note what is reported of a run when it is over."""
    trace = world.trace
    for loop in world.loops:
        loop.report = lambda report: late.append((describe_trace(trace), report))


class _Answers:
    """What the callers of all schedules have got."""

    def __init__(self) -> None:
        self._have_returned: set[str] = set()
        self._errors: dict[str, tuple[str, Exception]] = {}

    def note(self, world: World) -> None:
        """Note what became of each caller of one schedule."""
        for caller in world.callers:
            if caller.has_returned:
                self._have_returned.add(caller.name)
            elif caller.error is not None and caller.name not in self._errors:
                self._errors[caller.name] = describe_trace(world.trace), caller.error

    def only_errors(self) -> Iterator[tuple[str, tuple[str, Exception]]]:
        """Return the callers who have never got anything but an error, each with its first, and on which schedule."""
        return ((name, error) for name, error in self._errors.items() if name not in self._have_returned)


def _options_of(**given: int) -> str:
    """Write what ``replay`` needs beside the trace."""
    return "".join(f", {name}={value}" for name, value in given.items() if value)


def _reason(error: BaseException) -> str:
    text = str(error)
    return text if isinstance(error, AssertionError) and text else f"{type(error).__name__}: {text}"


def _name_of(scenario: Any) -> str:
    return str(getattr(scenario, "__name__", None) or type(scenario).__name__)
