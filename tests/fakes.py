"""What tests put in the place of the world: an origin that answers when it is told to."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from coalesce_kit import CoalescerStats, RequestCoalescer, coalesced
from coalesce_kit.protocols import INHERIT


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


@contextmanager
def switching_threads_often() -> Iterator[None]:
    """Let the interpreter change threads as often as it can, so that what is not exact shows."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


@dataclass(frozen=True)
class Door:
    """An origin behind the thing that coalesces; what it asks of the origin, it asks with the key.

    Attributes:
        ask: asks for one key, which messages show as ``'fixtures:...'``.
        coalescer: who runs the fetches.
        numbers: the numbers of all these calls.
    """

    ask: Callable[..., Coroutine[Any, Any, Any]]
    coalescer: RequestCoalescer
    numbers: Callable[[], CoalescerStats]


def alone(origin: Callable[..., Any], **options: Any) -> Door:
    """Put ``RequestCoalescer`` alone before an origin; takes its options."""
    coalescer = RequestCoalescer(**options)

    async def ask(key: str = "nfl") -> Any:
        return await coalescer.get_or_fetch(f"fixtures:{key}", partial(origin, key))

    return Door(ask, coalescer, coalescer.statistics)


def decorated(
    origin: Callable[..., Any], *, max_flight_seconds: float = 60.0, max_wait_seconds: Any = INHERIT, **options: Any
) -> Door:
    """Put ``@coalesced`` before an origin; takes the options of ``RequestCoalescer``."""
    coalescer = RequestCoalescer(max_flight_seconds=max_flight_seconds)

    @coalesced(key="fixtures:{key}", backend=coalescer, max_wait_seconds=max_wait_seconds, **options)
    async def fixtures(key: str = "nfl") -> Any:
        return await origin(key)

    return Door(fixtures, coalescer, fixtures.stats)


both_doors = pytest.mark.parametrize("door", [alone, decorated])
"""Runs a test with ``RequestCoalescer`` used alone, and through ``@coalesced``."""


def keeping(origin: Callable[..., Any], **options: Any) -> Any:
    """Put ``@coalesced`` before an origin that is asked with one argument; takes its options."""

    @coalesced(**options)
    async def odds(league: Any = "nba") -> Any:
        return await origin(league)

    return odds


async def after(origin: Origin, value: object, *calls: Coroutine[Any, Any, Any]) -> Any:
    """Make calls at one moment, let the origin answer ``value`` once they wait; return what it, or each, returned."""
    tasks = start(*calls)
    await turns()
    origin.answer(value)
    answers = await asyncio.gather(*tasks)
    return answers[0] if len(answers) == 1 else answers
