"""What tests put in the place of the world: an origin that answers when it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class Origin:
    """An origin that holds every call until the test answers it; calls are answered in the order they came.

    Attributes:
        calls: the arguments of every call so far.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self._held: list[asyncio.Future[Any]] = []

    async def __call__(self, *arguments: Any) -> Any:
        self.calls.append(arguments)
        held = asyncio.get_running_loop().create_future()
        self._held.append(held)
        try:
            return await held
        finally:
            if held in self._held:
                self._held.remove(held)

    @property
    def working(self) -> int:
        """How many calls are held now."""
        return len(self._held)

    def answer(self, value: object = "answer") -> None:
        """Let the oldest held call return ``value``."""
        self._held.pop(0).set_result(value)

    def fail(self, error: BaseException) -> None:
        """Let the oldest held call raise ``error``."""
        self._held.pop(0).set_exception(error)


async def turns(count: int = 5) -> None:
    """Let the loop run what is runnable, ``count`` times over."""
    for _ in range(count):
        await asyncio.sleep(0)


def start(*coroutines: Coroutine[Any, Any, Any]) -> list[asyncio.Task[Any]]:
    """Start a task for each coroutine, in order."""
    loop = asyncio.get_running_loop()
    return [loop.create_task(coroutine) for coroutine in coroutines]


async def outcomes(tasks: list[asyncio.Task[Any]]) -> list[Any]:
    """Wait for all tasks; return what each returned or raised."""
    return await asyncio.gather(*tasks, return_exceptions=True)
