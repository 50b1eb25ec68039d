"""What the contracts are written with: a fetch that ends when it is told to, and callers that are started in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

_TURNS: Final = 20


class HeldFetch:
    """A fetch that ends when the test says so.

    Attributes:
        runs: how often it was begun.
        cancelled: how many of these runs were cancelled.
    """

    def __init__(self) -> None:
        self.runs = self.cancelled = 0
        self._held: list[asyncio.Future[Any]] = []

    async def __call__(self) -> Any:
        """Run until the test ends it."""
        self.runs += 1
        held: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._held.append(held)
        try:
            return await held
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            if held in self._held:
                self._held.remove(held)

    def answer(self, value: object) -> None:
        """Let the run that was begun first return ``value``."""
        self._held.pop(0).set_result(value)

    def fail(self, error: BaseException) -> None:
        """Let the run that was begun first raise ``error``."""
        self._held.pop(0).set_exception(error)


class Permission:
    """A ticket whose goodness the test decides."""

    def __init__(self) -> None:
        self.good = True

    def is_good(self) -> bool:
        """Whether it is."""
        return self.good


async def turns() -> None:
    """Let the loop run what is runnable."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)


async def begin(*calls: Coroutine[Any, Any, Any]) -> list[asyncio.Task[Any]]:
    """Start a task for each call, in order, and let them come to where they wait."""
    tasks = []
    for call in calls:
        tasks.append(asyncio.get_running_loop().create_task(call))
        await turns()
    return tasks


async def ends(tasks: list[asyncio.Task[Any]]) -> list[Any]:
    """Return what each task returned or raised."""
    return await asyncio.gather(*tasks, return_exceptions=True)


def soon(outcome: object) -> Callable[[], Awaitable[Any]]:
    """Return a fetch that returns, or raises, after a few turns of the loop."""

    async def fetch() -> Any:
        await turns()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return fetch
