"""Chaos: whatever a coalescer, a store, a cache or a function is asked, now and then something goes wrong on the way.

::

    from coalesce_kit.testing.chaos import Chaos, chaotic

    chaos = Chaos(throw=0.1, drop=0.1, duplicate=0.1, delay=0.3, seed=7)
    store = chaotic(MemoryStore(server), chaos)
    coalescer = chaotic(RequestCoalescer(), chaos)
    upstream = chaotic(fetch_fixtures, chaos)
    cache = MemoryCache(cache=chaotic(cachetools.LRUCache(1000), chaos))

The same seed makes the same things go wrong, if the same is asked in the same order. ``print(chaos)`` says what did.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, MutableMapping
from functools import partial
from typing import Any, Final, Literal, TypeAlias, TypeVar, cast

T = TypeVar("T")

Mishap: TypeAlias = Literal["throw", "delay", "drop", "duplicate"]

SPARED: Final = ("aclose", "drain")
"""What nothing happens to by default: a test wants to end."""


class ChaosError(ConnectionError):
    """What goes wrong in a ``Chaos`` that was told of no other error."""


class Chaos:
    """How likely it is that something goes wrong, and what has.

    Args:
        throw: how often something is done, and whoever asked for it is told that it failed: the answer got lost. A
            stream breaks off. What is put into a mapping is there; who looks something up is told so before he looks.
        drop: how often it is not done, and whoever asked is told so: the question got lost. What runs already, a task
            or a future, goes on, and its answer is lost. Of a stream, an item is left out; a mapping has forgotten
            what is looked up, and nobody hears that what was put is not there.
        duplicate: how often it is done twice: the question was sent again. Of a stream, an item comes twice.
        delay: how often it takes longer. A mapping, which cannot wait, is spared.
        longest_delay_seconds: by how much at most.
        error: makes the error, of a text.
        seed: of everything that is drawn.

    Raises:
        ValueError: a probability is not between 0 and 1.

    Attributes:
        happened: how often what has happened to which operation, as ``("drop", "publish")``.
    """

    def __init__(
        self,
        *,
        throw: float = 0.0,
        drop: float = 0.0,
        duplicate: float = 0.0,
        delay: float = 0.0,
        longest_delay_seconds: float = 0.05,
        error: Callable[[str], Exception] = ChaosError,
        seed: int = 0,
    ) -> None:
        self._likely: Final[dict[Mishap, float]] = {
            "throw": throw,
            "drop": drop,
            "duplicate": duplicate,
            "delay": delay,
        }
        for mishap, probability in self._likely.items():
            if not 0 <= probability <= 1:
                raise ValueError(f"{mishap} is a probability, from 0 to 1, not {probability!r}")
        self.happened: Final[Counter[tuple[str, str]]] = Counter()
        self._longest_delay_seconds = longest_delay_seconds
        self._error = error
        self._drawing = random.Random(seed)

    def __repr__(self) -> str:
        told = ", ".join(f"{operation} {what} {count}" for (what, operation), count in sorted(self.happened.items()))
        return f"<Chaos {told or 'nothing went wrong'}>"

    def happens(self, mishap: Mishap, operation: str) -> bool:
        """Draw whether something goes wrong with an operation, and note it if it does."""
        does = self._drawing.random() < self._likely[mishap]
        if does:
            self.happened[mishap, operation] += 1
        return does

    def error(self, operation: str, what: str) -> Exception:
        """Return the error of an operation."""
        return self._error(f"chaos: {operation} {what}")

    async def wait(self) -> None:
        """Be late."""
        await asyncio.sleep(self._drawing.random() * self._longest_delay_seconds)

    async def act(self, operation: str, ask: Callable[[], Awaitable[T]]) -> T:
        """Do what is asked, or not, or twice, now or later, and return its result, or raise."""
        if self.happens("delay", operation):
            await self.wait()
        if self.happens("drop", operation):
            raise self.error(operation, "got lost")
        if self.happens("duplicate", operation):
            await ask()
        result = await ask()
        if self.happens("throw", operation):
            raise self.error(operation, "was done, and its answer got lost")
        return result


def chaotic(target: T, chaos: Chaos, *, sparing: tuple[str, ...] = SPARED) -> T:
    """Return something that does what ``target`` does, with chaos on the way.

    Args:
        target: an async function, or a part of one; an object with async methods, such as a coalescer or a store, of
            which whatever is called and hands out something to await is struck, and an asynchronous iterator item by
            item; or a mapping, such as a cache of cachetools, which is changed in its place, and struck in
            ``[]`` and ``[] =``, and so in what goes through them. What is more than an awaitable,
            such as a context manager, is left alone, and so is what is no awaitable at all.
        chaos: what goes wrong.
        sparing: names of methods that nothing happens to.

    Raises:
        TypeError: it is none of these, or a mapping that is asked past its items, such as a ``dict`` or the package's
            own ``S3FIFOCache``: nothing would ever happen to it.
    """
    if inspect.isroutine(target) or isinstance(target, partial):
        return cast("T", _around(target, chaos))
    if isinstance(target, MutableMapping):
        _take_over(target, chaos)
        return target
    if isinstance(target, type) or type(target).__module__ == "builtins":
        given = f"the class {target.__name__}: make one" if isinstance(target, type) else repr(target)
        raise TypeError(
            f"chaotic takes an async function, an object with async methods, or a mapping such as "
            f"cachetools.LRUCache(...), not {given}"
        )
    return cast("T", _proxy(target, chaos, frozenset(sparing)))


def _around(function: Callable[..., Any], chaos: Chaos) -> Callable[..., Any]:
    name = _name_of(function)
    if not _is_async(function):
        raise TypeError(
            f"chaos strikes async functions, and {name} is none: write an 'async def' around it, and await in there "
            f"what it returns"
        )
    return _struck(function, name, chaos)


def _without_partial(function: Any) -> Any:
    while isinstance(function, partial):
        function = function.func
    return function


def _name_of(function: object) -> str:
    bare = _without_partial(function)
    return getattr(bare, "__name__", type(bare).__name__)


def _is_async(function: object) -> bool:
    """Whether it is an async function, a part of one, or an object with an async ``__call__``."""
    bare = _without_partial(function)
    return inspect.iscoroutinefunction(bare) or (callable(bare) and inspect.iscoroutinefunction(type(bare).__call__))


def _struck(function: Callable[..., Any], name: str, chaos: Chaos) -> Callable[..., Any]:
    """Return ``function`` with chaos on its way, as an async function if it is one."""

    async def awaited(*args: Any, **kwargs: Any) -> Any:
        return await chaos.act(name, partial(function, *args, **kwargs))

    def called(*args: Any, **kwargs: Any) -> Any:
        ask = partial(function, *args, **kwargs)
        return _waylay(ask(), ask, name, chaos)

    struck: Callable[..., Any] = awaited if _is_async(function) else called
    functools.update_wrapper(struck, function).__name__ = name
    return struck


# ---- objects ----


class _Struck:
    """Stands in the place of an object; what is public of it, it has too."""

    def __init__(self, target: object, chaos: Chaos, spared: frozenset[str]) -> None:
        self._target = target
        self._chaos = chaos
        self._spared = spared

    def __repr__(self) -> str:
        return f"<chaotic {self._target!r}>"

    def __getattr__(self, name: str) -> Any:
        """Return what only the instance has: what it was made with."""
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return self._find(name)

    def _find(self, name: str) -> Any:
        found = getattr(self._target, name)
        if name in self._spared or not (inspect.isroutine(found) or isinstance(found, partial) or _is_async(found)):
            return found
        return _struck(found, name, self._chaos)


def _proxy(target: object, chaos: Chaos, spared: frozenset[str]) -> object:
    # What the class has stands on a class, as a Protocol's isinstance looks for it there.
    members: dict[str, Any] = {name: _member(name) for name in dir(type(target)) if not name.startswith("_")}
    if callable(target):
        members["__call__"] = _call_of(target, chaos)
    return type(f"Chaotic{type(target).__name__}", (_Struck,), members)(target, chaos, spared)


def _member(name: str) -> property:
    return property(lambda self: self._find(name))


def _call_of(target: Callable[..., Any], chaos: Chaos) -> Callable[..., Any]:
    struck = _struck(target, _name_of(target), chaos)

    async def awaited(_: object, /, *args: Any, **kwargs: Any) -> Any:
        return await struck(*args, **kwargs)

    def called(_: object, /, *args: Any, **kwargs: Any) -> Any:
        return struck(*args, **kwargs)

    return functools.update_wrapper(awaited if _is_async(target) else called, type(target).__call__)


def _waylay(result: Any, ask: Callable[[], Any], name: str, chaos: Chaos) -> Any:
    """Return what a function that is not async handed out, with chaos on its way if it can wait.

    What it did before it returned is done; what it only handed out is not, until somebody awaits it.
    """
    if hasattr(result, "__anext__"):
        return _Stream(result, name, chaos)
    if inspect.isawaitable(result) and not hasattr(result, "__aenter__"):
        return chaos.act(name, _Asked(result, ask))
    return result


class _Asked:
    """A question that was put before anybody knew whether it would get lost. Asked again, it is put again."""

    def __init__(self, first: Awaitable[Any], ask: Callable[[], Awaitable[Any]]) -> None:
        self._first: Awaitable[Any] | None = first
        self._ask = ask

    def __call__(self) -> Awaitable[Any]:
        first, self._first = self._first, None
        return self._ask() if first is None else first

    def __del__(self) -> None:
        # Nobody wanted the first. Not where it is dropped: whoever was to ask may be cancelled before he begins.
        if isinstance(self._first, Coroutine):
            self._first.close()
        elif asyncio.isfuture(self._first):
            if self._first.done():  # the loop on which it would call back may be closed
                _look_at(self._first)
            else:
                self._first.add_done_callback(_look_at)


def _look_at(future: asyncio.Future[Any]) -> None:
    """Have nobody complain that an error was never looked at."""
    if not future.cancelled():
        future.exception()


class _Stream(AsyncIterator[Any]):
    """An asynchronous iterator some of whose items are late, lost or doubled; it may break off."""

    def __init__(self, items: Any, name: str, chaos: Chaos) -> None:
        self._items = items
        self._name = name
        self._chaos = chaos
        self._again: list[Any] = []

    async def __anext__(self) -> Any:
        chaos, name = self._chaos, self._name
        while not self._again:
            item = await anext(self._items)
            if chaos.happens("throw", name):
                raise chaos.error(name, "broke off")
            if chaos.happens("delay", name):
                await chaos.wait()
            if not chaos.happens("drop", name):
                self._again += [item] * (1 + chaos.happens("duplicate", name))
        return self._again.pop()

    async def aclose(self) -> None:
        """Close what it iterates over."""
        await self._items.aclose()


# ---- mappings ----


def _take_over(mapping: Any, chaos: Chaos) -> None:
    """Give a mapping a class of its own, between it and its methods: whoever holds it already is struck, too."""
    kind: Any = type(mapping)
    # The package's own cache is known by what MemoryCache asks it: testing/ does not know the room that it stands in.
    if isinstance(mapping, dict) or (hasattr(kind, "find") and hasattr(kind, "insert")):
        raise TypeError(
            f"a {kind.__name__} is asked past its [], where chaos could strike it, so that nothing would go wrong: "
            f"give a cache of cachetools, such as cachetools.LRUCache(...), or a collections.UserDict()"
        )

    def look(self: Any, key: Any) -> Any:
        if chaos.happens("throw", "get"):
            raise chaos.error("get", "failed")
        if chaos.happens("drop", "get"):
            with contextlib.suppress(KeyError):  # not `if key in self`: some ask for the item to know
                del self[key]
        return kind.__getitem__(self, key)

    def get(self: Any, key: Any, default: Any = None) -> Any:
        try:
            return kind.get(self, key, default)
        except KeyError:  # it was there when it was looked for, and forgotten when it was asked for
            return default

    def put(self: Any, key: Any, value: Any) -> None:
        answer_is_lost = chaos.happens("throw", "put")
        if not chaos.happens("drop", "put"):
            for _ in range(1 + chaos.happens("duplicate", "put")):
                kind.__setitem__(self, key, value)
        if answer_is_lost:
            raise chaos.error("put", "was done, and its answer got lost")

    # without slots of its own: or the class of what has no room for any could not be exchanged
    members = {"__getitem__": look, "get": get, "__setitem__": put, "__module__": kind.__module__, "__slots__": ()}
    mapping.__class__ = type(f"Chaotic{kind.__name__}", (kind,), members)
