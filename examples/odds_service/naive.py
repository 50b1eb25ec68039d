"""What people do instead, to be seen next to the real thing. Neither is to be copied."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from .service import Fixture, Odds, OddsSource

R = TypeVar("R")


class SharedTasks:
    """A dict of running tasks: whoever comes second awaits the first one's task.

    The harm: awaiting a task passes a cancellation on to it. One caller who is cancelled cancels the task, and with it
    every caller who awaits it.
    """

    def __init__(self) -> None:
        self._tasks: dict[object, asyncio.Task[Any]] = {}
        self.asked = 0

    async def get_or_start(self, key: object, start: Callable[[], Coroutine[Any, Any, R]]) -> R:
        """Await the task of ``key``, starting it if none is running."""
        self.asked += 1
        task: asyncio.Task[R] | None = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.create_task(start())
            task.add_done_callback(lambda _: self._tasks.pop(key))
        return await task


class NaiveOddsService:
    """An odds service that shares tasks through a dict."""

    def __init__(self, api: OddsSource) -> None:
        self._api = api
        self.shared = SharedTasks()

    async def fixtures(self, league: str, live: bool = True, limit: int = 5) -> list[Fixture]:
        """Return the next games of a league."""
        key = ("fixtures", league, live, limit)
        return await self.shared.get_or_start(key, lambda: self._api.fixtures(league, live, limit))

    async def odds(self, league: str) -> list[Odds]:
        """Return the odds of a league's games."""
        return await self.shared.get_or_start(("odds", league), lambda: self._api.odds(league))
