"""The loops of one world: they share a clock, act by turns, and are looked through for what is left."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .clock import VirtualClock, describe_task, showing
from .step_loop import StepLoop


class StepLoops:
    """Event loops that are driven handle by handle, as if in a thread each of which only one runs at a time.

    Args:
        report: told what an ordinary loop would log as an error.
        eager: whether the loops have the eager task factory.

    Attributes:
        clock: their time.
        loops: all of them, in the order in which they were made.
    """

    def __init__(self, report: Callable[[str], None], *, eager: bool) -> None:
        self.clock = VirtualClock()
        self.loops: list[StepLoop] = []
        self._report = report
        self._eager = eager

    def make(self) -> StepLoop:
        """Return one more."""
        loop = StepLoop(self.clock, self._report)
        if sys.version_info >= (3, 12) and self._eager:
            loop.set_task_factory(asyncio.eager_task_factory)
        self.loops.append(loop)
        return loop

    @contextmanager
    def running(self) -> Iterator[None]:
        """Have the first of them run for a while, in their time; close them all after that."""
        outer = asyncio._get_running_loop()  # noqa: SLF001  # asyncio's own word for a loop that is not the usual one
        asyncio._set_running_loop(self.loops[0])  # noqa: SLF001  # the same
        try:
            with showing(self.clock):
                yield
        finally:
            asyncio._set_running_loop(outer)  # noqa: SLF001  # the same
            for loop in self.loops:
                loop.close()

    # ---- steps ----

    def act_on(self, loop: asyncio.AbstractEventLoop, act: Callable[..., object], *args: object) -> None:
        """Act as if in the thread of ``loop``."""
        asyncio._set_running_loop(loop)  # noqa: SLF001  # asyncio's own word for a loop that is not the usual one
        try:
            act(*args)
        finally:
            asyncio._set_running_loop(self.loops[0])  # noqa: SLF001  # the same

    def run_first_of(self, loop: StepLoop) -> None:
        """Run the first handle of ``loop``."""
        self.act_on(loop, loop.ready().popleft()._run)  # noqa: SLF001  # what a loop does with a handle

    def next_timer(self) -> float | None:
        """Return when the next timer of any of them is due; ``None`` if none is armed."""
        return min((moment for loop in self.loops if (moment := loop.next_timer()) is not None), default=None)

    def pass_time(self) -> None:
        """Move the clock to the next timer, of which there is one, and make ready what is due."""
        moment = self.next_timer()
        assert moment is not None
        self.clock.advance_to(moment)
        self.ring()

    def ring(self) -> None:
        """Make ready the timers that are due."""
        for loop in self.loops:
            loop.ring()

    # ---- what is left ----

    def have_tasks(self) -> bool:
        """Whether any task has not ended."""
        return any(map(asyncio.all_tasks, self.loops))

    def left(self) -> list[str]:
        """Say what is left when nothing can happen any more: tasks that wait, or a timer."""
        left = sorted(f"task: {describe_task(task)}" for loop in self.loops for task in asyncio.all_tasks(loop))
        if left:
            left.insert(0, "deadlock: nothing can happen any more, yet these wait")
        elif (moment := self.next_timer()) is not None:
            left.append(f"a timer is armed for {moment:g} s, and nobody is there for whom it could ring")
        return left

    def clear_away(self, most_handles: int) -> None:
        """Cancel what is left and run it to its end, as far as ``most_handles`` of each loop go."""
        for loop in self.loops * 3:
            for task in asyncio.all_tasks(loop):
                self.act_on(loop, task.cancel)
            handles = most_handles
            while handles and loop.ready():
                handles -= 1
                self.run_first_of(loop)
