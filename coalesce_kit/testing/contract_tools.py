"""What the contracts are written with: what a subclass says, fetches that end when told to, callers in their order."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Final, TypeVar

from .leaks import describe_left, tasks_and_timers

F = TypeVar("F", bound=Callable[..., object])

_TURNS: Final = 20
_ENDING_SECONDS: Final = 1.0
_CANCELLATIONS: Final = 5


class Contract:
    """Tests that are complete when a subclass has said what they are about.

    A subclass whose name begins with "Test", which pytest collects, has to be complete when it is made. One in between
    may leave it open, under another name or with ``__test__ = False``.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuse a test class that is not complete, and any that says with ``async def`` what is not awaited.

        Raises:
            TypeError: with the method that it does not say, or says in the wrong way.
        """
        super().__init_subclass__(**options)
        is_collected = cls.__name__.startswith("Test") and getattr(cls, "__test__", True)
        asked = {name: it for one in cls.__mro__ for name, it in vars(one).items() if hasattr(it, "to_be_said")}
        for name, method in asked.items():
            said = getattr(cls, name)
            if hasattr(said, "to_be_said"):
                if is_collected:
                    raise TypeError(
                        f"{cls.__name__} has to say {said.to_be_said}; a class of which only subclasses do is not "
                        "called Test..., or says __test__ = False"
                    )
            elif inspect.iscoroutinefunction(said) and not inspect.iscoroutinefunction(method):
                raise TypeError(
                    f"{cls.__name__}.{name} is an async def, but it is called and not awaited: {cls.__name__} has to "
                    f"say {method.to_be_said}, without async"
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


def names_of(port: type) -> list[str]:
    """Return what an object has to have that is given where a port is asked for."""
    return [name for name in vars(port) if not name.startswith("_")]


def check_what_came(
    contract: Contract, method: str, came: object, *, expected: str, needed: Iterable[str] = ()
) -> None:
    """Refuse what a method of a contract returned unless it is an object that has what is needed.

    Args:
        contract: whose method it was.
        method: its name.
        came: what it returned.
        expected: what it has to return, in words.
        needed: the names that it has to have.

    Raises:
        TypeError: with what came, what was expected, and the way out.
    """
    missing = [name for name in needed if not hasattr(came, name)]
    if came is None:
        fault = "None: a return is missing"
    elif isinstance(came, type):
        fault = f"the class {came.__name__}, and no object of it: call it"
    elif inspect.isawaitable(came):
        fault = f"a {type(came).__name__}, which has to be awaited first"
        if inspect.iscoroutine(came):
            came.close()
    elif missing:
        fault = f"a {type(came).__name__}, which has no {', no '.join(missing)}: return an object that has them all"
    else:
        return
    raise TypeError(f"{type(contract).__name__}.{method}() has to return {expected}, but it returned {fault}")


class Surroundings:
    """The tasks and the armed timers that the running loop has, by which those that come later are told from them."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._there = tasks_and_timers(self._loop)

    def since(self) -> list[asyncio.Task[Any] | asyncio.TimerHandle]:
        """Return the tasks and timers that have come since and are still there."""
        there = set(map(id, self._there))
        return [thing for thing in tasks_and_timers(self._loop) if id(thing) not in there]

    def described(self) -> list[str]:
        """Return one line for each of them."""
        return describe_left(self._loop, self.since())

    async def left(self) -> list[str]:
        """Return one line for each of them. Tasks that are ending, on a network perhaps, are waited for a little."""
        tasks = self.tasks()
        if tasks:
            await asyncio.wait(tasks, timeout=_ENDING_SECONDS)
        return self.described()

    async def end(self) -> None:
        """Cancel the tasks that have come since, those of callers and of fetches, so that none outlives a failed test.

        One that goes on when it is cancelled is cancelled again: a runner does that once, and then waits for ever.
        """
        for _ in range(_CANCELLATIONS):
            tasks = self.tasks()
            if not tasks:
                return
            for task in tasks:
                task.cancel()
            await turns()
            retrieve(tasks)

    def tasks(self) -> list[asyncio.Task[Any]]:
        """Return the tasks among them."""
        return [thing for thing in self.since() if isinstance(thing, asyncio.Task)]


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

    def assert_shared(self) -> None:
        """Fail unless one run was begun, for all who have asked: to wait for more than one would be to wait in vain."""
        assert self.runs == 1, f"all who ask for a key meanwhile share one fetch, but {self.runs} were begun"

    def answer(self, value: object) -> None:
        """Let the run that was begun first return ``value``."""
        self._next().set_result(value)

    def fail(self, error: BaseException) -> None:
        """Let the run that was begun first raise ``error``."""
        self._next().set_exception(error)

    def _next(self) -> asyncio.Future[Any]:
        assert self._held, (
            f"no fetch is there to be ended: {self.runs} began, of which {self.cancelled} were cancelled. Who leads "
            "calls the fetch at once, and waits for nothing before: no semaphore, no fetch of another key"
        )
        return self._held.pop(0)


class StubbornFetch(HeldFetch):
    """The same, that goes on when it is cancelled. Cancelled once more it ends: see ``Surroundings.end``."""

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
    """Return what each task returned or raised.

    *Cancellation*: the tasks are left alone, so that one which goes on when it is cancelled does not keep the test.
    """
    await asyncio.wait(tasks)
    return [_outcome(task) for task in tasks]


def _outcome(task: asyncio.Task[Any]) -> Any:
    error = asyncio.CancelledError() if task.cancelled() else task.exception()
    return task.result() if error is None else error


async def answered(call: Coroutine[Any, Any, Any]) -> Any:
    """Return what a call returns, or raise what it raises: from a task of its own, which ``Surroundings.end`` ends."""
    (task,) = await begin(call)
    await asyncio.wait([task])
    return task.result()


def retrieve(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Look at what has ended, so that asyncio does not report what nobody else is going to look at."""
    for task in tasks:
        if task.done() and not task.cancelled():
            task.exception()


def soon(outcome: object) -> Callable[[], Awaitable[Any]]:
    """Return a fetch that returns, or raises, after a few turns of the loop."""

    async def fetch() -> Any:
        await turns()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return fetch
