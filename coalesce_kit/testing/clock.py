"""Virtual time: an event loop whose clock jumps to the next timer, and shows it to the whole package.

A limit of 60 s is tested in microseconds, at the exact moment, in the same order every time::

    from coalesce_kit.testing.clock import run

    async def main() -> float:
        started = asyncio.get_running_loop().time()
        await asyncio.sleep(60)
        return asyncio.get_running_loop().time() - started

    assert run(main()) == 60.0

Time stands still while anything is runnable. When nothing is, it jumps to the next timer. When there is no timer
either, nobody will ever wake up: that is a deadlock, and it fails at once, naming the tasks that wait.

Threads and sockets have a time of their own, for which a clock that jumps cannot wait, so a ``VirtualLoop`` refuses
them with an error that says so: no ``to_thread``, asyncio's or anyio's, no executor, no stream, no subprocess. A thread
that was started in another way is not seen: its ``call_soon_threadsafe`` is heard when time would jump, but nothing
waits for it.

No two clocks are compared: where the package's time changes from one clock to another, what decorated functions have
kept is dropped, and what they are fetching is kept by nobody. To the other clock it would be from the future.
"""

from __future__ import annotations

import asyncio
import math
import selectors
import sys
import threading
import time
import weakref
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from numbers import Real
from types import TracebackType
from typing import Any, Final, NoReturn, Self, TypeVar

from ..clock import clock
from ..defaults import decorated_functions
from .waiting import describe_task

__all__ = ["DeadlockError", "VirtualClock", "VirtualLoop", "describe_task", "run", "showing", "virtual_loop"]

T = TypeVar("T")

_CLOCK_RESOLUTION: Final = time.get_clock_info("monotonic").resolution
"""By how much of a second a timer may be late and still be due, to asyncio."""

_ANYIO_THREAD: Final = "AnyIO worker thread"


class DeadlockError(AssertionError):
    """Nothing in a ``VirtualLoop`` is runnable and no timer is armed: its tasks would wait for ever."""


class VirtualClock:
    """Float seconds that stand still until they are moved.

    As a context manager it is what the package reads as the time, until it is left; what was kept is dropped at both
    ends. A ``VirtualLoop`` does that by itself while it runs.

    Args:
        start: the first time it shows.

    *Concurrency*: the package has one clock for all threads, so one ``VirtualClock`` at a time is entered.
    """

    def __init__(self, start: float = 0.0) -> None:
        self._now = start
        self._outer: list[Callable[[], float]] = []

    def __repr__(self) -> str:
        return f"<VirtualClock at {self._now:g} s>"

    def now(self) -> float:
        """Return the time in seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move the time forward. Timers of a loop fire when the loop runs next.

        Raises:
            TypeError: ``seconds`` is no number.
            ValueError: ``seconds`` is negative, infinite or NaN: time never goes back, and has no end.
        """
        if not isinstance(seconds, Real):
            raise TypeError(f"advance() takes seconds, a finite number, not {seconds!r}")
        if not 0 <= seconds <= sys.float_info.max:
            raise ValueError(
                f"time goes forward only: advance() takes seconds, a finite number of at least 0, not {seconds!r}"
            )
        self._now += seconds

    def advance_to(self, moment: float) -> None:
        """Move the time forward to ``moment``; a moment that has passed changes nothing."""
        self._now = max(self._now, moment)

    def __enter__(self) -> Self:
        self._outer.append(clock.now)
        _change_to(self.now)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _change_to(self._outer.pop())


@contextmanager
def showing(time: VirtualClock) -> Iterator[None]:
    """Have the package read a clock while the block runs, and drop nothing: for what goes in and out of one time."""
    outer = clock.now
    clock.exchange(time.now)
    try:
        yield
    finally:
        clock.exchange(outer)


def _change_to(now: Callable[[], float]) -> None:
    """Have the package read another time, and drop what was kept in this one; the same time changes nothing."""
    if clock.now != now:
        clock.exchange(now)
        _drop_what_is_kept()


def _drop_what_is_kept() -> None:
    for function in decorated_functions():
        function.clear()


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that lives in virtual time, and with it, while it runs, the whole package.

    Its time begins when it first runs and ends when it is closed: what was kept is dropped then, and not between two of
    its runs, unless its clock is the package's time already.

    Args:
        time: its clock; a new one that begins at 0 without.

    Attributes:
        clock: its clock. ``advance`` it to arrive late; it advances by itself when nothing is runnable.
    """

    def __init__(self, time: VirtualClock | None = None) -> None:
        self.clock = VirtualClock() if time is None else time
        self._has_begun = False
        self._refused: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
        super().__init__(_JumpingSelector(self._jump, self._refuse_threads))

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self.clock.now()

    def run_forever(self) -> None:
        """Run until stopped; meanwhile the package reads this loop's clock.

        Raises:
            DeadlockError: nothing is runnable and no timer is armed.
            RuntimeError: a thread of anyio was given work, as by a plain ``def`` endpoint of FastAPI.
        """
        if not self._has_begun:
            self._has_begun = True
            self._drop_what_is_of_another_time()
        with showing(self.clock):
            super().run_forever()

    def close(self) -> None:
        """Close the loop, and end its time.

        Raises:
            RuntimeError: it is running.
        """
        super().close()
        if self._has_begun:
            self._has_begun = False
            self._drop_what_is_of_another_time()

    def __del__(self) -> None:
        # Whoever the garbage collector interrupts may hold the lock of a cache.
        self._has_begun = False
        super().__del__()

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> NoReturn:  # type: ignore[override]  # noqa: ARG002
        """Refuse: a thread's work takes real time, for which virtual time would not wait.

        Raises:
            RuntimeError: always, which is why its type is not the base's.
        """
        raise RuntimeError(
            f"a VirtualLoop runs no threads, and {getattr(func, '__qualname__', func)!s} was given to one: "
            "virtual time would not wait for it; test this on a real loop"
        )

    def _drop_what_is_of_another_time(self) -> None:
        if clock.now != self.clock.now:
            _drop_what_is_kept()

    def _refuse_threads(self) -> None:
        """Refuse the threads of anyio, which come past ``run_in_executor``: each once, so that the run can be ended.

        At every turn, and an idle one, too: whether it is still at work when time would jump is a matter of luck.
        """
        for thread in threading.enumerate():
            is_ours = thread.name == _ANYIO_THREAD and getattr(thread, "loop", None) is self
            if is_ours and thread not in self._refused:
                self._refused.add(thread)
                refused = (
                    "a VirtualLoop runs no threads, and one of anyio's was given work, as by anyio.to_thread or by a "
                    "plain 'def' endpoint of FastAPI: virtual time would not wait for it; test this on a real loop. "
                    "Its tasks:"
                )
                raise RuntimeError("\n".join([refused, *_describe_tasks(self)]))

    def _jump(self, timeout: float | None) -> None:
        """Move the time by what the loop would have slept: ``None`` means that no timer is armed."""
        # The timer's own moment where it can be seen: t + (moment - t) may fall short of it by a rounding.
        timers = getattr(self, "_scheduled", ())
        moment = math.inf if timeout is None else timers[0].when() if timers else self.time() + timeout
        if moment == math.inf:  # with a timer, it is of somebody who sleeps until he is cancelled
            waiting = _describe_tasks(self) or ["  (no task: the loop itself was left running)"]
            raise DeadlockError(
                "\n".join(["deadlock: nothing is runnable and no timer is armed, yet these wait:", *waiting])
            )
        # Beyond a few million seconds the loop's own tolerance for "due" is less than one step of a float.
        self.clock.advance_to(moment if moment + _CLOCK_RESOLUTION > moment else math.nextafter(moment, math.inf))


def virtual_loop(start: float = 0.0) -> VirtualLoop:
    """Return a new ``VirtualLoop`` whose clock begins at ``start``; fit to be a ``loop_factory``."""
    return VirtualLoop(VirtualClock(start))


def run(main: Coroutine[Any, Any, T], *, time: VirtualClock | None = None) -> T:
    """Run a coroutine in virtual time, as ``asyncio.run`` would in real time.

    Args:
        main: the coroutine.
        time: the clock; a new one that begins at 0 without.

    Raises:
        DeadlockError: it waits for something that nobody will ever do.
        RuntimeError: it gave work to a thread, or to a socket.
    """
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(time)) as runner:
        return runner.run(main)


class _JumpingSelector(selectors.BaseSelector):
    """A selector that, instead of sleeping, says for how long it would have.

    It watches one file: the loop's own, by which other threads wake it.

    Args:
        jump: told for how long the loop would sleep; ``None`` for ever.
        look: called at every turn of the loop.
    """

    def __init__(self, jump: Callable[[float | None], None], look: Callable[[], None]) -> None:
        self._watched = selectors.DefaultSelector()
        self._jump = jump
        self._look = look

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        if self._watched.get_map():
            raise RuntimeError(
                "a VirtualLoop has no sockets, pipes or subprocesses: what comes through them takes real time, "
                "for which virtual time would not wait; test this on a real loop"
            )
        return self._watched.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._watched.unregister(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._look()
        events = self._watched.select(0)
        if not events and (timeout is None or timeout > 0):
            self._jump(timeout)
        return events

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._watched.get_map()

    def close(self) -> None:
        self._watched.close()


def _describe_tasks(loop: asyncio.AbstractEventLoop) -> list[str]:
    return [f"  {describe_task(task)}" for task in sorted(asyncio.all_tasks(loop), key=asyncio.Task.get_name)]
