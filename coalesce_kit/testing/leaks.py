"""The check that nothing was left behind: no fetch in flight, no task, no armed timer, no unretrieved exception.

At the end of a test, in the loop or after it::

    await settle()
    assert_nothing_left()
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from ..defaults import known_coalescers
from ..protocols import Coalescer, FlightInfo, Key, describe_key
from .waiting import describe_task

_SETTLING_TURNS = 50


def what_is_left(*coalescers: Coalescer, loop: asyncio.AbstractEventLoop | None = None) -> list[str]:
    """Return one line for everything that is still there; an empty list when nothing is.

    Args:
        coalescers: looked at beside the default one and those of every decorated function.
        loop: whose tasks and timers are looked at; the running loop without, if there is one.

    Nothing needs to be runnable any more when this is asked: see ``settle``. The task that asks is not counted.
    uvloop does not show its timers.
    """
    lines = []
    for coalescer in {id(known): known for known in (*known_coalescers(), *coalescers)}.values():
        lines += [_describe_flight(flight) for flight in coalescer.flights()]
    if loop is None:
        loop = _running_loop()
    if loop is not None and not loop.is_closed():
        lines += describe_left(loop, tasks_and_timers(loop))
    return lines


def assert_nothing_left(*coalescers: Coalescer, loop: asyncio.AbstractEventLoop | None = None) -> None:
    """Fail when a fetch, a task or a timer is still there; takes what ``what_is_left`` takes.

    Raises:
        AssertionError: something is left; the message has one line for each thing.
    """
    lines = what_is_left(*coalescers, loop=loop)
    if lines:
        raise AssertionError("\n  ".join([f"{len(lines)} left behind:", *lines]))


async def settle(*coalescers: Coalescer) -> None:
    """Give the running loop turns until nothing is left, or it is clear that something stays.

    What was cancelled needs a few turns to end; ending is not a leak.

    Cancellation:
        Ends the waiting; what is left goes on.
    """
    for _ in range(_SETTLING_TURNS):
        if not what_is_left(*coalescers):
            return
        await asyncio.sleep(0)


@contextmanager
def unretrieved() -> Iterator[list[str]]:
    """Collect what asyncio reports to nobody in particular while the block runs.

    That is "Task exception was never retrieved", "Task was destroyed but it is pending!", exceptions in callbacks:
    whatever a loop with the default exception handler logs as an error. Such things are reported when they are
    garbage collected, so call ``gc.collect()`` before looking at the list. Of nested blocks the innermost collects.
    """
    logger = logging.getLogger("asyncio")
    handler = _Collector(logger)
    logger.addHandler(handler)
    try:
        yield handler.lines
    finally:
        logger.removeHandler(handler)


class _Collector(logging.Handler):
    def __init__(self, logger: logging.Logger) -> None:
        super().__init__(level=logging.ERROR)
        self.lines: list[str] = []
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        collectors = [handler for handler in self._logger.handlers if isinstance(handler, _Collector)]
        if collectors[-1] is self:
            self.lines.append(self.format(record))


def tasks_and_timers(loop: asyncio.AbstractEventLoop) -> list[asyncio.Task[Any] | asyncio.TimerHandle]:
    """Return the tasks of a loop that have not ended, the one that asks apart, and its armed timers in their order."""
    current = asyncio.current_task(loop)
    tasks = [task for task in asyncio.all_tasks(loop) if task is not current]
    timers = [timer for timer in getattr(loop, "_scheduled", ()) if not timer.cancelled()]
    return [*sorted(tasks, key=describe_task), *sorted(timers)]


def describe_left(
    loop: asyncio.AbstractEventLoop, things: Iterable[asyncio.Task[Any] | asyncio.TimerHandle]
) -> list[str]:
    """Return one line for each task and timer of a loop."""
    return [
        f"task: {describe_task(thing)}"
        if isinstance(thing, asyncio.Task)
        else f"timer: {thing!r}, due in {thing.when() - loop.time():.3f} s"
        for thing in things
    ]


def _describe_flight(flight: FlightInfo) -> str:
    kind = "zombie" if flight.zombie else "flight"
    text = _text_of_key(flight.key)
    return f"{kind}: {text}, {flight.waiters} waiting, in the air for {flight.age_seconds:.3f} s"


def _text_of_key(key: Key) -> str:
    """Return a key as people read it. A decorated function's begins with what describes the keys of that function."""
    with contextlib.suppress(Exception):  # another tuple may begin with anything
        text = key[0].describe(key)  # type: ignore[index]
        if isinstance(text, str):
            return text
    return describe_key(key)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
