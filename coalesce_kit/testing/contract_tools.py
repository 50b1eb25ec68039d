"""What the contracts are written with: what a subclass says, fetches that end when told to, callers in their order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

from .leaks import describe_left, tasks_and_timers

F = TypeVar("F", bound=Callable[..., object])

_TURNS: Final = 20
_ENDING_SECONDS: Final = 1.0


class Contract:
    """Tests that are complete when a subclass has said what they are about.

    A subclass whose name begins with "Test", which pytest collects, has to be complete when it is made. One in between
    may leave it open, under another name or with ``__test__ = False``.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuse a test class that is not complete.

        Raises:
            TypeError: with the method that it does not say.
        """
        super().__init_subclass__(**options)
        if cls.__name__.startswith("Test") and getattr(cls, "__test__", True):
            for name in dir(cls):
                what = getattr(getattr(cls, name), "to_be_said", None)
                if what is not None:
                    raise TypeError(
                        f"{cls.__name__} has to say {what}; a class of which only subclasses do is not called Test..., "
                        "or says __test__ = False"
                    )


def to_be_said(what: str) -> Callable[[F], F]:
    """Mark a method that subclasses of a contract have to say: what it is about, and its first line."""

    def mark(method: F) -> F:
        setattr(method, "to_be_said", what)  # noqa: B010  # a function's type knows no such attribute
        return method

    return mark


def unsaid(method: Any) -> NotImplementedError:
    """Return the error of a method that is to be said and was not."""
    return NotImplementedError(f"{type(method.__self__).__name__} has to say {method.to_be_said}")


class Surroundings:
    """The tasks and the armed timers that the running loop has, by which those that come later are told from them."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._there = tasks_and_timers(self._loop)

    def since(self) -> list[asyncio.Task[Any] | asyncio.TimerHandle]:
        """Return the tasks and timers that have come since and are still there."""
        there = set(map(id, self._there))
        return [thing for thing in tasks_and_timers(self._loop) if id(thing) not in there]

    async def left(self) -> list[str]:
        """Return one line for each of them. Tasks that are ending, on a network perhaps, are waited for a little."""
        tasks = [thing for thing in self.since() if isinstance(thing, asyncio.Task)]
        if tasks:
            await asyncio.wait(tasks, timeout=_ENDING_SECONDS)
        return describe_left(self._loop, self.since())


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
        held = self._begin()
        try:
            return await held
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            if held in self._held:
                self._held.remove(held)

    def _begin(self) -> asyncio.Future[Any]:
        self.runs += 1
        held: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._held.append(held)
        return held

    def answer(self, value: object) -> None:
        """Let the run that was begun first return ``value``."""
        self._next().set_result(value)

    def fail(self, error: BaseException) -> None:
        """Let the run that was begun first raise ``error``."""
        self._next().set_exception(error)

    def _next(self) -> asyncio.Future[Any]:
        assert self._held, f"no fetch is there to be ended: {self.runs} began, of which {self.cancelled} were cancelled"
        return self._held.pop(0)


class StubbornFetch(HeldFetch):
    """The same, that goes on when it is cancelled. Cancelled once more it ends, so that a loop can be closed."""

    async def __call__(self) -> Any:
        """Run until the test ends it."""
        held = self._begin()
        try:
            await asyncio.wait([held])
        except asyncio.CancelledError:
            self.cancelled += 1
        return await held


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
