"""An event loop that does nothing by itself: whoever holds it runs its handles, one by one, in virtual time."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, cast

from .clock import VirtualClock


class StepLoop(asyncio.BaseEventLoop):
    """An event loop in virtual time that runs nothing by itself: ``World`` runs its handles, one by one.

    Args:
        time: its clock.
        report: told what an ordinary loop would log as an error.

    Attributes:
        was_looked_at: somebody has looked which tasks there are. Set here, taken back by whoever drives the loop.
    """

    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self, time: VirtualClock, report: Callable[[str], None]) -> None:
        super().__init__()
        self.clock = time
        self.report = report
        self.was_looked_at = False

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self.clock.now()

    def is_running(self) -> bool:
        """Whether it is being driven: only in a loop that runs does an eager task take its first step at once."""
        return asyncio._get_running_loop() is self  # noqa: SLF001  # asyncio's own word for it

    def create_task(self, coro: Any, **options: Any) -> Any:
        """Return a task that notices when somebody looks at all tasks of the loop."""
        if self.get_task_factory() is not None:
            return super().create_task(coro, **options)
        return _WatchedTask(coro, loop=self, **options)

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> NoReturn:  # type: ignore[override]  # noqa: ARG002
        """Refuse, and report it, as a caller's errors are reported to nobody: nothing would wait for a thread.

        Raises:
            RuntimeError: always, which is why its type is not the base's.
        """
        refused = f"a World runs no threads, and {getattr(func, '__qualname__', func)!s} was given to one"
        self.report(refused)
        raise RuntimeError(refused)

    def call_exception_handler(self, context: Mapping[str, Any]) -> None:
        """Report what nobody handles: a callback that raised, an exception that was never retrieved."""
        error = context.get("exception")
        self.report(str(context.get("message")) + (f": {error!r}" if error is not None else ""))

    def ready(self) -> deque[asyncio.Handle]:
        """Return the handles that are to run, in order, with one that was not cancelled at the front."""
        handles = self._ready
        while handles and handles[0].cancelled():
            handles.popleft()
        return handles

    def next_timer(self) -> float | None:
        """Return when the next timer is due; ``None`` if none is armed."""
        if not self._scheduled:
            return None
        return min((timer.when() for timer in self._scheduled if not timer.cancelled()), default=None)

    def ring(self) -> None:
        """Make ready the timers that are due, in the order of their moments."""
        now = self.clock.now()
        due = sorted(timer for timer in self._scheduled if timer.when() <= now)
        if due:
            self._scheduled[:] = [timer for timer in self._scheduled if timer.when() > now]
            self._ready.extend(due)

    def keep_to_itself(self) -> None:
        """Refuse callbacks that another loop hands in as if there were no threads."""
        call_soon = self.call_soon

        def checked(callback: Any, *args: Any, context: contextvars.Context | None = None) -> asyncio.Handle:
            if not self.is_running():
                raise RuntimeError("call_soon() of a loop from another one: only call_soon_threadsafe() may be used")
            return call_soon(callback, *args, context=context)

        setattr(self, "call_soon", checked)  # noqa: B010  # one loop's own, so that a single loop pays nothing for it

    def _write_to_self(self) -> None:
        """Wake nobody: whoever drives the loop looks at it anyway."""


class _WatchedTask(asyncio.Task[Any]):
    """A task of a ``StepLoop``. ``asyncio.all_tasks`` asks every task for its loop, and is heard by that."""

    def get_loop(self) -> StepLoop:
        """Return its loop."""
        loop = cast("StepLoop", super().get_loop())
        loop.was_looked_at = True
        return loop
