"""Refreshes in the background: one owner per function, one at a time per result, bounded in number, drained on closing.

One that was begun for a result that has been replaced, or was invalidated, brings nothing that will be kept. It may go
on to its end; the result that is there now is refreshed by another.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Final, NamedTuple

from ..clock import clock
from ..entry import Entry
from ..protocols import CUT_GRACE_SECONDS, Key

MOST_REFRESHES: Final = 100
"""How many refreshes one function runs at once; beyond that a stale value stays stale until a later reader asks."""


class Refreshes:
    """The refreshes of one function that run now, on whatever loop.

    Args:
        context: makes the context of a refresh: the reader's, outside any flight.
        longest: tells how many seconds one may take. One that takes longer is on a loop that stands still.
    """

    __slots__ = ("_all", "_context", "_current", "_longest")

    def __init__(self, context: Callable[[], Context], longest: Callable[[], float]) -> None:
        self._context = context
        self._longest = longest
        self._all: set[asyncio.Task[None]] = set()
        self._current: dict[Key, _Refresh] = {}  # the last one of each key

    def __len__(self) -> int:
        """How many run."""
        return len(self._running())

    def start(self, key: Key, old: Entry, refresh: Callable[[], Coroutine[Any, Any, object]]) -> bool:
        """Run ``refresh()`` in a task, unless one that is to replace ``old`` runs; return whether it will run."""
        if self._is_running(key, old):
            return False
        if len(self._all) >= MOST_REFRESHES and len(self._running()) >= MOST_REFRESHES:
            return False
        # Not by the loop's factory: an eager first step would run the origin inside the reader, who is to be answered
        # at once, and before this refresh is known, so that the origin's own reading would start another.
        quietly, loop = _quietly(refresh), asyncio.get_running_loop()
        task = asyncio.Task(quietly, loop=loop, name="coalesce_kit.refresh", context=self._context())
        self._all.add(task)
        self._current[key] = _Refresh(task, old.ticket, clock.now() + self._longest() + CUT_GRACE_SECONDS)
        task.add_done_callback(functools.partial(self._forget, key))
        return True

    def _is_running(self, key: Key, old: Entry) -> bool:
        """Whether one runs now that is to replace ``old``."""
        current = self._current.get(key)
        return (
            current is not None
            and _runs(current.task)
            and current.ticket == old.ticket
            and clock.now() < current.ends_before
        )

    async def drain(self, *, deadline_seconds: float) -> None:
        """Wait for those of the running loop, to the deadline; then cancel them."""
        loop = asyncio.get_running_loop()
        tasks = [task for task in self._running() if task.get_loop() is loop]
        if tasks:
            _, unfinished = await asyncio.wait(tasks, timeout=deadline_seconds)
            for task in unfinished:
                task.cancel()
            if unfinished:
                await asyncio.wait(unfinished, timeout=CUT_GRACE_SECONDS)

    def _running(self) -> list[asyncio.Task[None]]:
        for key, refresh in list(self._current.items()):
            if not _runs(refresh.task):  # of a loop that was closed under it
                self._forget(key, refresh.task)
        for task in list(self._all):  # at once: another thread may be at work
            if not _runs(task):
                self._all.discard(task)
        return list(self._all)

    def _forget(self, key: Key, task: asyncio.Task[Any]) -> None:
        self._all.discard(task)
        current = self._current.get(key)
        if current is not None and current.task is task:
            self._current.pop(key, None)


class _Refresh(NamedTuple):
    """One refresh.

    Attributes:
        task: runs it.
        ticket: of the result that it is to replace.
        ends_before: a moment by which it has ended, if its loop runs.
    """

    task: asyncio.Task[None]
    ticket: int
    ends_before: float


async def _quietly(refresh: Callable[[], Coroutine[Any, Any, object]]) -> None:
    try:
        await refresh()
    except Exception:  # noqa: S110  # counted by the refresh itself, told to observers, and the old value stays
        pass


def _runs(task: asyncio.Task[None]) -> bool:
    return not task.done() and not task.get_loop().is_closed()
