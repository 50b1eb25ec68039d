"""One run of a scenario: a loop that is driven one handle at a time, and what the environment may do in between.

asyncio promises order: what became ready first runs first. So a program's behaviour depends on nothing but *when* the
outside world acts: a caller comes or is cancelled, what somebody waits for arrives, time passes. These are a world's
events. Between any two handles of the loop each event that is possible may happen; who decides is the explorer.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import sys
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Final, Literal, Protocol, TypeVar

from .clock import VirtualClock, describe_task
from .step_loop import StepLoop

T = TypeVar("T")

TIME_PASSES: Final = "time passes"
"""The event by which the clock moves to the next timer."""

_LONGEST_RUN: Final = 3000
_ENDLESS: Final = math.inf


class DeadEndError(AssertionError):
    """A run came to rest in a state that no run may end in, or did not come to rest at all."""


class RedundantRunError(Exception):
    """Whatever can happen next was tried earlier in another run, and would make no difference later."""


class Event:
    """Something that the environment may do next.

    Attributes:
        name: how a trace calls it.
        act: does it.
        is_possible: whether it may happen now; ``None`` for yes.
        left: how often it may still happen.
        only_adds: all that it does is to make one more handle ready.
    """

    __slots__ = ("act", "is_possible", "left", "name", "only_adds")

    def __init__(
        self,
        name: str,
        act: Callable[[], object],
        is_possible: Callable[[], bool] | None = None,
        *,
        times: float = 1,
        only_adds: bool = False,
    ) -> None:
        self.name = name
        self.act = act
        self.is_possible = is_possible
        self.left = times
        self.only_adds = only_adds


class Chooser(Protocol):
    """Decides what happens next."""

    def choose(self, options: list[Event]) -> int:
        """Return the index of one of the options, of which there is at least one."""
        ...


class World:
    """What a scenario builds: callers, events, and what has to be true.

    A scenario is a function of a world; it is called anew for every schedule, and has to do the same every time::

        def scenario(world: World) -> None:
            box = Box()
            world.caller("a", box.take)
            world.caller("b", box.take)
            world.event("fill", box.fill)
            world.at_rest(box.check)

    Every event happens once, at some moment; the cancellations of ``may_cancel`` happen or not. Then, when nothing is
    runnable any more, nothing may be left: no task, no timer, no report of an exception that nobody has seen.

    Attributes:
        clock: virtual time.
        loop: the loop.
        time_passes: whether timers may ring between any two handles, or only while no handle is ready.
        trace: what happened so far: names of events; ``""`` for a handle of the loop, ``"@2"`` for one out of turn.
        reports: what asyncio would have logged.
    """

    def __init__(self, *, eager: bool = False, permuted: bool = False, reduced: bool = False) -> None:
        if eager and sys.version_info < (3, 12):
            raise ValueError("eager=True needs Python 3.12 or newer: there is no eager task factory before")
        self.clock = VirtualClock()
        self.reports: list[str] = []
        self.loop = StepLoop(self.clock, self.reports.append)
        self.time_passes: Literal["anywhere", "when idle"] = "when idle"
        self.trace: list[str] = []
        self._events: dict[str, Event] = {}
        self._checks: list[Callable[[], object]] = []
        self._last_checks: list[Callable[[], object]] = []
        self._permuted = permuted
        self._reduced = reduced and not eager
        self._turn = Event("", self._run_first, times=_ENDLESS)
        self._clock_moves = Event(TIME_PASSES, self._pass_time, times=_ENDLESS)
        if sys.version_info >= (3, 12) and eager:
            self.loop.set_task_factory(asyncio.eager_task_factory)

    # ---- what a scenario says ----

    def caller(
        self, name: str, function: Callable[[], Coroutine[Any, Any, object]], *, after: Caller | None = None
    ) -> Caller:
        """Have a task run ``function()``, starting at any moment.

        Args:
            name: of the caller; the event is "``name`` starts".
            function: what it does. An exception that it raises is kept in the caller and reported to nobody.
            after: another caller who starts earlier. Callers who all do the same are told apart by nothing but their
                names: an order spares the explorer the schedules in which only the names are exchanged.
        """
        caller = Caller(name, function, self.loop)
        started = None if after is None else lambda: after.task is not None
        self.event(f"{name} starts", caller.start, when=started).only_adds = True
        return caller

    def may_cancel(self, *callers: Caller, times: int = 1) -> None:
        """Let up to ``times`` of these callers be cancelled, each at most once, at any moment at which they run."""
        budget = [times]

        def cancel(caller: Caller) -> None:
            budget[0] -= 1
            caller.cancel()

        def is_possible(caller: Caller) -> bool:
            return budget[0] > 0 and caller.is_running

        for caller in callers:
            self.event(f"cancel {caller.name}", partial(cancel, caller), when=partial(is_possible, caller))

    def event(
        self, name: str, act: Callable[[], object], *, when: Callable[[], bool] | None = None, times: int = 1
    ) -> Event:
        """Have ``act()`` called, at any moment, ``times`` times.

        Args:
            name: what a trace calls it: no comma, no number alone, not there yet.
            act: called between two handles of the loop, outside any task.
            when: whether it is possible now. A run does not wait for what is not.
            times: how often.

        Raises:
            ValueError: the name is not fit for a trace, or taken by an event that is still to come.
        """
        if not name or "," in name or name.isdigit() or name[0] == "@" or name.strip() != name or name in self._events:
            raise ValueError(f"an event needs a name of its own that is no number and has no comma, not {name!r}")
        self._events[name] = event = Event(name, act, when, times=times)
        return event

    async def outcome(self, name: str, outcomes: Mapping[str, T | BaseException]) -> T:
        """Wait until the environment decides how something ends, and return that, or raise it if it is an exception.

        Args:
            name: what is waited for; with ``{"returns": 1, "fails": LookupError()}`` the events are "``name`` returns"
                and "``name`` fails", of which one happens, or none if the wait is cancelled before.
            outcomes: by the words for them.
        """
        future: asyncio.Future[Any] = self.loop.create_future()
        names = [f"{name} {word}" for word in outcomes]

        def end(result: T | BaseException) -> None:
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)

        for event, result in zip(names, outcomes.values(), strict=True):
            self.event(event, partial(end, result), when=lambda: not future.done()).only_adds = True
        try:
            ended: T = await future
            return ended
        finally:
            for event in names:
                self._events.pop(event, None)

    def pass_time(self, seconds: float) -> None:
        """Move the clock; timers that are due become ready."""
        self.clock.advance(seconds)
        self.loop.ring()

    def always(self, check: Callable[[], object]) -> None:
        """Have ``check()`` called after every step; it raises if something is wrong."""
        self._checks.append(check)

    def at_rest(self, check: Callable[[], object]) -> None:
        """Have ``check()`` called when nothing is runnable any more and no event is left."""
        self._last_checks.append(check)

    # ---- what the explorer does ----

    def run(self, scenario: Callable[[World], object], chooser: Chooser) -> None:
        """Run one schedule of ``scenario`` to its end.

        Raises:
            Exception: what a check, an event or the scenario itself raised; ``DeadEndError`` if something is left.
        """
        contextvars.copy_context().run(self._run, scenario, chooser)

    def _run(self, scenario: Callable[[World], object], chooser: Chooser) -> None:
        outer = asyncio._get_running_loop()  # noqa: SLF001  # asyncio's own word for a loop that is not the usual one
        asyncio._set_running_loop(self.loop)  # noqa: SLF001  # the same
        failed = True
        try:
            with self.clock:
                try:
                    scenario(self)
                    self._go_on(chooser)
                    self._end()
                    failed = False
                finally:
                    self._clear_away(failed=failed)
        finally:
            asyncio._set_running_loop(outer)  # noqa: SLF001  # the same
            self.loop.close()

    def _go_on(self, chooser: Chooser) -> None:
        choose, checks, trace, handles = chooser.choose, self._checks, self.trace, self.loop.ready()
        asleep: set[Event] = set()
        for _ in range(_LONGEST_RUN):
            options = self._options()
            if not options:
                return
            if asleep and not (awake := [event for event in options if event not in asleep]):
                raise RedundantRunError
            event = options[choose(options)] if not asleep else awake[choose(awake)]
            trace.append(event.name)
            event.left -= 1
            if event.left == 0:
                del self._events[event.name]
            length = len(handles) - (event is self._turn)
            event.act()
            for check in checks:
                check()
            if self._reduced:
                if event is self._turn and len(handles) == length:
                    # Had it been done before this turn, the same handles would stand in the same order now.
                    asleep.update(option for option in options if option.only_adds)
                else:
                    asleep.clear()
        raise DeadEndError(f"not at rest after {_LONGEST_RUN} steps")

    def _options(self) -> list[Event]:
        """Return what may happen next; a handle of the loop comes first."""
        ready = self.loop.ready()
        options = [self._turn] if ready else []
        if self._permuted and len(ready) > 1:
            options += [
                Event(f"@{place}", partial(self._run_out_of_turn, place), times=_ENDLESS)
                for place in range(1, len(ready))
            ]
        options += [event for event in self._events.values() if event.is_possible is None or event.is_possible()]
        if (not ready or self.time_passes == "anywhere") and self.loop.next_timer() is not None:
            if not options and not asyncio.all_tasks(self.loop):
                return []  # nobody is there any more for whom it could ring
            options.append(self._clock_moves)
        return options

    def _run_first(self) -> None:
        self.loop.ready().popleft()._run()  # noqa: SLF001  # what a loop does with a handle

    def _run_out_of_turn(self, place: int) -> None:
        handles = self.loop.ready()
        handle = handles[place]
        del handles[place]
        handle._run()  # noqa: SLF001  # what a loop does with a handle

    def _pass_time(self) -> None:
        moment = self.loop.next_timer()
        assert moment is not None
        self.clock.advance_to(moment)
        self.loop.ring()

    def _end(self) -> None:
        left = sorted(f"task: {describe_task(task)}" for task in asyncio.all_tasks(self.loop))
        if left:
            left.insert(0, "deadlock: nothing can happen any more, yet these wait")
        elif (moment := self.loop.next_timer()) is not None:
            left.append(f"a timer is armed for {moment:g} s, and nobody is there for whom it could ring")
        left += self.reports
        if left:
            raise DeadEndError("\n  ".join(left))
        for check in self._last_checks:
            check()

    def _clear_away(self, *, failed: bool) -> None:
        """End what is left, so that nothing of this run is heard of in the next."""
        self._checks.clear()
        self._last_checks.clear()
        self._events.clear()
        for _ in range(3 if failed else 0):
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            left = _LONGEST_RUN
            while left and self.loop.ready():
                left -= 1
                self._run_first()


class Caller:
    """A task of a scenario that starts when the explorer says so.

    Attributes:
        name: its name.
        task: ``None`` until it has started.
        was_cancelled: whether the environment has cancelled it.
    """

    __slots__ = ("_function", "_loop", "name", "task", "was_cancelled")

    def __init__(
        self, name: str, function: Callable[[], Coroutine[Any, Any, object]], loop: asyncio.AbstractEventLoop
    ) -> None:
        self.name = name
        self.task: asyncio.Task[object] | None = None
        self.was_cancelled = False
        self._function = function
        self._loop = loop

    @property
    def is_running(self) -> bool:
        """Whether it has started and not ended."""
        return self.task is not None and not self.task.done()

    def start(self) -> None:
        """Start the task."""
        self.task = self._loop.create_task(self._quietly(), name=self.name)

    def cancel(self) -> None:
        """Cancel the task."""
        assert self.task is not None
        self.was_cancelled = True
        self.task.cancel()

    async def _quietly(self) -> object:
        try:
            return await self._function()
        except Exception:  # whoever wants to know looks at what the function recorded
            return None
