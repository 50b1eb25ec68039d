"""One run of a scenario: a loop that is driven one handle at a time, and what the environment may do in between.

asyncio promises order: what became ready first runs first. So a program's behaviour depends on nothing but *when* the
outside world acts: a caller comes or is cancelled, what somebody waits for arrives, time passes. These are a world's
events. Between any two handles of the loop each event that is possible may happen; who decides is the explorer.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import math
import sys
from collections.abc import Callable, Coroutine, Mapping, Sized
from functools import partial
from typing import Any, Final, Literal, TypeVar

from .events import Caller, Chooser, DeadEndError, Event, RedundantRunError
from .step_loop import StepLoop
from .step_loops import StepLoops

T = TypeVar("T")

TIME_PASSES: Final = "time passes"
"""The event by which the clock moves to the next timer."""

_LONGEST_RUN: Final = 3000
_ENDLESS: Final = math.inf


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
        loops: it, and those of ``another_loop``.
        time_passes: whether timers may ring between any two handles, or only while no handle is ready.
        callers: all that there are.
        trace: what happened so far: names of events; ``""`` for a handle of the loop, ``"@2"`` for one out of turn.
        reports: what asyncio would have logged.
    """

    def __init__(self, *, eager: bool = False, permuted: bool = False, reduced: bool = False) -> None:
        if eager and sys.version_info < (3, 12):
            raise ValueError("eager=True needs Python 3.12 or newer: there is no eager task factory before")
        self.reports: list[str] = []
        self.callers: list[Caller] = []
        self._together = StepLoops(self.reports.append, eager=eager)
        self.clock, self.loops = self._together.clock, self._together.loops
        self.loop = self._together.make()
        self._loop_turns: list[tuple[StepLoop, Event]] = []
        self.time_passes: Literal["anywhere", "when idle"] = "when idle"
        self.trace: list[str] = []
        self._events: dict[str, Event] = {}
        self._wrong: list[Exception] = []
        self._checks: list[Callable[[], object]] = []
        self._last_checks: list[Callable[[], object]] = []
        self._permuted = permuted
        self._reduced = reduced and not eager
        self._turn = Event("", self._run_first, times=_ENDLESS)
        self._clock_moves = Event(TIME_PASSES, self._together.pass_time, times=_ENDLESS)

    # ---- what a scenario says ----

    def another_loop(self, name: str) -> StepLoop:
        """Return one more loop of this world, as if in a thread of its own that runs while the others stand still.

        The loops take turns, handle by handle, in every order. What is finer than a handle, the interpreter changing
        threads in the middle of one, is not explored; nor is any schedule left out as redundant. A loop that is given
        a callback from another, other than by ``call_soon_threadsafe``, refuses it.

        Args:
            name: of the loop; that it runs one of its handles is the event "``name`` runs".
        """
        loop = self._together.make()
        for every in self.loops:
            every.keep_to_itself()
        turn = Event(f"{name} runs", partial(self._together.run_first_of, loop), times=_ENDLESS)
        self._loop_turns.append((loop, turn))
        self._reduced = False
        return loop

    def caller(
        self,
        name: str,
        function: Callable[[], Coroutine[Any, Any, object]],
        *,
        after: Caller | None = None,
        loop: StepLoop | None = None,
    ) -> Caller:
        """Have a task run ``function()``, starting at any moment.

        Args:
            name: of the caller; the event is "``name`` starts".
            function: what it does. An ``AssertionError`` of its fails the run. Any other exception is an answer that a
                caller may get, and fails no run: note it, and judge it in a check. A caller who never gets any other
                answer fails the exploration: catch in ``function`` what it is meant to get on every schedule.
            after: another caller who starts earlier. Callers who all do the same are told apart by nothing but their
                names: an order spares the explorer the schedules in which only the names are exchanged.
            loop: on which it runs; the world's first without.

        Raises:
            TypeError: ``function`` is no function: a coroutine would be good for one run only.
        """
        if not callable(function):
            raise TypeError(f"caller {name!r} has to be given a function that returns a coroutine, not {function!r}")
        caller = Caller(name, function, self.loop if loop is None else loop, self._wrong.append)
        self.callers.append(caller)
        started = None if after is None else lambda: after.task is not None
        act = partial(self._together.act_on, caller.loop, caller.start)
        self.event(f"{name} starts", act, when=started).only_adds = True
        return caller

    def may_cancel(self, *callers: Caller, times: int = 1) -> None:
        """Let up to ``times`` of these callers be cancelled, each at most once, at any moment at which they run."""
        budget = [times]

        def cancel(caller: Caller) -> None:
            budget[0] -= 1
            self._together.act_on(caller.loop, caller.cancel)

        def is_possible(caller: Caller) -> bool:
            return budget[0] > 0 and caller.is_running

        for caller in callers:
            self.event(f"cancel {caller.name}", partial(cancel, caller), when=partial(is_possible, caller))

    def event(
        self, name: str, act: Callable[[], object], *, when: Callable[[], bool] | None = None, times: int = 1
    ) -> Event:
        """Have ``act()`` called, at any moment, ``times`` times.

        Args:
            name: what a trace calls it: no comma, no quote, no number alone, not there yet.
            act: called between two handles of the loop, outside any task.
            when: whether it is possible now. A run does not wait for what is not.
            times: how often.

        Raises:
            TypeError: ``act`` is async: it is called, not awaited.
            ValueError: the name is not fit for a trace, or taken by an event that is still to come.
        """
        refuse_async(act, f"event {name!r}")
        if name == TIME_PASSES or name in self._events:
            raise ValueError(f"an event needs a name of its own, and {name!r} is taken: something else is called so")
        if not name or set(',"') & set(name) or name.isdigit() or name[0] == "@" or name.strip() != name:
            raise ValueError(f"an event needs a name that is no number and has no comma and no quote, not {name!r}")
        self._events[name] = event = Event(name, act, when, times=times)
        return event

    async def outcome(self, name: str, outcomes: Mapping[str, T | BaseException]) -> T:
        """Wait until the environment decides how something ends, and return that, or raise it if it is an exception.

        Args:
            name: what is waited for; with ``{"returns": 1, "fails": LookupError()}`` the events are "``name`` returns"
                and "``name`` fails", of which one happens, or none if the wait is cancelled before.
            outcomes: by the words for them.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        names = [f"{name} {word}" for word in outcomes]

        def end(result: T | BaseException) -> None:
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)

        if taken := [event for event in names if event in self._events]:
            # A caller's errors are reported to nobody, and this is one of the scenario's author.
            self.reports.append(f"two wait for {taken[0]!r} at once: give each a name of his own")
        mine: dict[str, Event] = {}
        try:
            for event, result in zip(names, outcomes.values(), strict=True):
                act = partial(self._together.act_on, loop, end, result)
                mine[event] = self.event(event, act, when=lambda: not future.done())
                mine[event].only_adds = True
            ended: T = await future
            return ended
        finally:
            for name_of_event, event_of_mine in mine.items():
                if self._events.get(name_of_event) is event_of_mine:  # somebody may wait under that name anew
                    del self._events[name_of_event]

    def pass_time(self, seconds: float) -> None:
        """Move the clock; timers that are due become ready."""
        self.clock.advance(seconds)
        self._together.ring()

    def always(self, check: Callable[[], object]) -> None:
        """Have ``check()`` called after every step; it raises, or returns ``False``, if something is wrong."""
        refuse_async(check, "a check")
        self._checks.append(check)

    def at_rest(self, check: Callable[[], object]) -> None:
        """Have ``check()`` called when nothing is runnable any more and no event is left; it fails as in ``always``."""
        refuse_async(check, "a check")
        self._last_checks.append(check)

    # ---- what the explorer does ----

    def run(self, scenario: Callable[[World], object], chooser: Chooser) -> None:
        """Run one schedule of ``scenario`` to its end.

        Raises:
            Exception: what a check, an event or the scenario itself raised; ``DeadEndError`` if something is left.
        """
        contextvars.copy_context().run(self._run, scenario, chooser)

    def _run(self, scenario: Callable[[World], object], chooser: Chooser) -> None:
        failed = True
        with self._together.running():
            try:
                refuse_async(scenario, "a scenario")
                scenario(self)
                if not self._events:
                    raise ValueError("a scenario without a caller or an event: there is nothing to explore")
                self._go_on(chooser)
                self._end()
                failed = False
            finally:
                self._forget(failed=failed)

    def _go_on(self, chooser: Chooser) -> None:
        choose, checks, trace, handles = chooser.choose, self._checks, self.trace, self.loop.ready()
        asleep: set[Event] = set()
        wrong = self._wrong
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
            self.loop.was_looked_at = False
            event.act()
            looked = self.loop.was_looked_at
            if wrong:
                raise wrong[0]
            for check in checks:
                if check() is False:
                    raise failed(check)
            if self._reduced:
                if event is self._turn and len(handles) == length and not looked:
                    # Had it been done before this turn, the same handles would stand in the same order now.
                    asleep.update(option for option in options if option.only_adds)
                else:
                    asleep.clear()
        raise DeadEndError(f"not at rest after {_LONGEST_RUN} steps")

    def _options(self) -> list[Event]:
        """Return what may happen next; a handle of the loop comes first."""
        handles = self.loop.ready()
        ready: Sized = handles
        options = [self._turn] if ready else []
        if self._permuted and len(ready) > 1:
            options += [
                Event(f"@{place}", partial(self._run_out_of_turn, place), times=_ENDLESS)
                for place, handle in enumerate(handles)
                if place and not handle.cancelled()
            ]
        if self._loop_turns:
            turns = [turn for loop, turn in self._loop_turns if loop.ready()]
            options += turns
            ready = ready or turns
        options += [event for event in self._events.values() if event.is_possible is None or event.is_possible()]
        if (not ready or self.time_passes == "anywhere") and self._together.next_timer() is not None:
            if not options and not self._together.have_tasks():
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

    def _end(self) -> None:
        left = self._together.left() + self.reports
        if left:
            raise DeadEndError("\n  ".join(left))
        for check in self._last_checks:
            if check() is False:
                raise failed(check)

    def _forget(self, *, failed: bool) -> None:
        """End what is left, so that nothing of this run is heard of in the next."""
        self._checks.clear()
        self._last_checks.clear()
        self._events.clear()
        if failed:
            self._together.clear_away(_LONGEST_RUN)


def failed(check: Callable[[], object]) -> AssertionError:
    """Return what a check that says no fails with."""
    return AssertionError(f"{getattr(check, '__qualname__', check)} returned False")


def refuse_async(function: Callable[..., object], what: str) -> None:
    """Refuse what would be called, and never run.

    Raises:
        TypeError: ``function`` is async.
    """
    if inspect.iscoroutinefunction(function):
        raise TypeError(f"{what} is called, not awaited, and {function!r} is async: it would never run")
