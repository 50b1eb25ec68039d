"""Refreshes in the background: one owner per function, one at a time per key, bounded in number, drained on closing."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Final

from ..protocols import CUT_GRACE_SECONDS, Key

MOST_REFRESHES: Final = 100
"""How many refreshes one function runs at once; beyond that a stale value stays stale until a later reader asks."""


class Refreshes:
    """The refreshes of one function that run now, on whatever loop.

    Args:
        context: makes the context of a refresh: the reader's, outside any flight.
    """

    __slots__ = ("_context", "_tasks")

    def __init__(self, context: Callable[[], Context]) -> None:
        self._context = context
        self._tasks: dict[Key, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        """How many run."""
        return len(self._running())

    def start(self, key: Key, refresh: Callable[[], Coroutine[Any, Any, object]]) -> bool:
        """Run ``refresh()`` in a task, unless one for ``key`` runs already; return whether one is under way now."""
        task = self._tasks.get(key)
        if task is not None and _runs(task):
            return True
        if len(self._tasks) >= MOST_REFRESHES and len(self._running()) >= MOST_REFRESHES:
            return False
        # Not by the loop's factory: an eager first step would run the origin inside the reader, who is to be answered
        # at once, and before this refresh is known, so that the origin's own reading would start another.
        quietly, loop = _quietly(refresh), asyncio.get_running_loop()
        task = asyncio.Task(quietly, loop=loop, name="coalesce_kit.refresh", context=self._context())
        self._tasks[key] = task
        task.add_done_callback(functools.partial(self._forget, key))
        return True

    def is_running(self, key: Key) -> bool:
        """Whether one for ``key`` runs now."""
        task = self._tasks.get(key)
        return task is not None and _runs(task)

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
        for key, task in list(self._tasks.items()):
            if not _runs(task):  # of a loop that was closed under it
                self._forget(key, task)
        return list(self._tasks.values())

    def _forget(self, key: Key, task: asyncio.Task[Any]) -> None:
        if self._tasks.get(key) is task:
            self._tasks.pop(key, None)


async def _quietly(refresh: Callable[[], Coroutine[Any, Any, object]]) -> None:
    try:
        await refresh()
    except Exception:  # noqa: S110  # counted by the refresh itself, told to observers, and the old value stays
        pass


def _runs(task: asyncio.Task[None]) -> bool:
    return not task.done() and not task.get_loop().is_closed()
