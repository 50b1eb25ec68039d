"""Chaos in functions and objects: whatever can be awaited is struck where it is handed out."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

from .mishaps import Chaos


def strike_function(function: Callable[..., Any], chaos: Chaos) -> Callable[..., Any]:
    """Return an async function with chaos on its way."""
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


def strike_object(target: object, chaos: Chaos, spared: frozenset[str]) -> object:
    """Return what stands in the place of an object, with chaos on the way to it."""
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
