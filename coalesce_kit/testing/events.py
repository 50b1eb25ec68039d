"""What a scenario is made of: callers, and events of which somebody decides when they happen."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from .step_loop import StepLoop


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


class Caller:
    """A task of a scenario that starts when the explorer says so.

    Attributes:
        name: its name.
        loop: on which it runs.
        task: ``None`` until it has started. Whoever looks at it while a handle runs is seen to have looked.
        was_cancelled: whether the environment has cancelled it.
        has_returned: whether its function has.
        error: what its function has raised.

    Args:
        fail: told what fails the run: an ``AssertionError`` of its function, or a function that is none.
    """

    __slots__ = ("_fail", "_function", "_task", "error", "has_returned", "loop", "name", "was_cancelled")

    def __init__(
        self,
        name: str,
        function: Callable[[], Coroutine[Any, Any, object]],
        loop: StepLoop,
        fail: Callable[[Exception], object],
    ) -> None:
        self.name = name
        self._task: asyncio.Task[object] | None = None
        self.was_cancelled = False
        self.has_returned = False
        self.error: Exception | None = None
        self._fail = fail
        self._function = function
        self.loop = loop

    @property
    def task(self) -> asyncio.Task[object] | None:
        """Return its task."""
        self.loop.was_looked_at = True
        return self._task

    @property
    def is_running(self) -> bool:
        """Whether it has started and not ended."""
        return self.task is not None and not self.task.done()

    def start(self) -> None:
        """Start the task."""
        self._task = self.loop.create_task(self._quietly(), name=self.name)

    def cancel(self) -> None:
        """Cancel the task."""
        assert self.task is not None
        self.was_cancelled = True
        self.task.cancel()

    async def _quietly(self) -> object:
        result = None
        try:
            running = self._function()
            if inspect.isawaitable(running):
                result = await running
                self.has_returned = True
                return result
            wrong = f"caller {self.name!r} has to be given a function that returns a coroutine; it returned {running!r}"
            self._fail(TypeError(wrong))
        except AssertionError as error:  # a check that its author wrote into it
            self._fail(error)
        except Exception as error:  # an answer like any other, unless there is never another
            self.error = error
            if isinstance(error, ExceptionGroup) and (checks := error.subgroup(AssertionError)) is not None:
                self._fail(checks)
        return result
