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
import functools
import inspect
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
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
        throw: how often something is done, and whoever asked for it is told that it failed: the answer got lost.
        drop: how often it is not done, and whoever asked is told so: the question got lost. Of a stream, an item is
            left out; a cache has forgotten.
        duplicate: how often it is done twice: the question was sent again. Of a stream, an item comes twice.
        delay: how often it takes longer. A cache, which cannot wait, is spared.
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
        target: an async function; an object with async methods, such as a coalescer or a store, whose methods that
            return an asynchronous iterator are chaotic item by item, and whose others are left alone; or a mapping,
            such as a cache of cachetools, which is changed in its place.
        chaos: what goes wrong.
        sparing: names of methods that nothing happens to.
    """
    if inspect.isfunction(target) or inspect.ismethod(target):
        return cast("T", _around(target, target.__name__, chaos))
    if isinstance(target, MutableMapping):
        _take_over(target, chaos)
        return target
    return cast("T", _proxy(target, chaos, frozenset(sparing)))


def _around(function: Callable[..., Any], name: str, chaos: Chaos) -> Callable[..., Any]:
    if not inspect.iscoroutinefunction(function):
        raise TypeError(f"chaos strikes async functions, and {name} is none")

    @functools.wraps(function)
    async def struck(*args: Any, **kwargs: Any) -> Any:
        return await chaos.act(name, lambda: function(*args, **kwargs))

    return struck


# ---- objects ----


class _Struck:
    """Stands in the place of an object; what is public of it, it has too."""

    def __init__(self, target: object) -> None:
        self._target = target

    def __repr__(self) -> str:
        return f"<chaotic {self._target!r}>"

    def __getattr__(self, name: str) -> Any:
        """Return what only the instance has: what it was made with."""
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self._target, name)


def _proxy(target: object, chaos: Chaos, spared: frozenset[str]) -> object:
    # The methods stand on a class, as a Protocol's isinstance looks for them there.
    members: dict[str, Any] = {}
    for name in dir(type(target)):
        if not name.startswith("_"):
            found = inspect.getattr_static(type(target), name)
            members[name] = _method(name, chaos, spared) if callable(found) else _property(name)
    return type(f"Chaotic{type(target).__name__}", (_Struck,), members)(target)


def _property(name: str) -> property:
    return property(lambda self: getattr(self._target, name))


def _method(name: str, chaos: Chaos, spared: frozenset[str]) -> Callable[..., Any]:
    def called(self: Any, *args: Any, **kwargs: Any) -> Any:
        method = getattr(self._target, name)
        if name in spared:
            return method(*args, **kwargs)
        if inspect.iscoroutinefunction(method):
            return chaos.act(name, lambda: method(*args, **kwargs))
        result = method(*args, **kwargs)
        return _Stream(result, name, chaos) if hasattr(result, "__anext__") else result

    called.__name__ = name
    return called


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

    def get(self: Any, key: Any) -> Any:
        if chaos.happens("throw", "get"):
            raise chaos.error("get", "failed")
        if chaos.happens("drop", "get") and key in self:
            del self[key]
        return kind.__getitem__(self, key)

    def put(self: Any, key: Any, value: Any) -> None:
        if chaos.happens("throw", "put"):
            raise chaos.error("put", "failed")
        if not chaos.happens("drop", "put"):
            for _ in range(1 + chaos.happens("duplicate", "put")):
                kind.__setitem__(self, key, value)

    members = {"__getitem__": get, "__setitem__": put, "__module__": kind.__module__}
    mapping.__class__ = type(f"Chaotic{kind.__name__}", (kind,), members)
