"""What may be wrapped: anything that ``await`` can be put in front of, and why the rest is refused."""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
from collections.abc import Callable
from inspect import Parameter, Signature
from types import FunctionType
from typing import Any, Final, TypeAlias

from ..errors import ConfigurationError
from ..stats.counters import Counters

AsyncCallable: TypeAlias = Callable[..., Any]
"""An async function, a ``partial`` of one, or an object whose ``__call__`` is async."""


def require_async(function: object) -> AsyncCallable:
    """Return ``function`` if it can be coalesced.

    Raises:
        ConfigurationError: it cannot; the message says what to write instead.
    """
    if not callable(function):
        raise ConfigurationError(_not_callable(function))
    if inspect.isclass(function):
        raise ConfigurationError(
            f"@coalesced takes an async function, not the class {function.__name__}: decorate its async methods, or an "
            f"async function that returns {function.__name__}(...)"
        )
    if _is_async(function):
        return function
    name = label(function)
    if _any_form(inspect.isasyncgenfunction, function):
        raise ConfigurationError(
            f"{name} is an async generator, and what it yields can be consumed only once: make it an async function "
            f"that returns a list, and decorate that"
        )
    if _any_form(inspect.isgeneratorfunction, function):
        raise ConfigurationError(
            f"{name} is a generator: make it an 'async def' function that returns a list, and decorate that"
        )
    if inspect.unwrap(function) is not function and _is_async(inspect.unwrap(function)):
        raise ConfigurationError(
            f"{name} is a plain 'def' around an async function: put @coalesced underneath the decorator that made it, "
            f"or make the decorator's wrapper an 'async def'{_MARK_IT}"
        )
    raise ConfigurationError(
        f"{name} is a synchronous function, and @coalesced takes an async one: write 'async def {bare_name(function)}'"
        f", and 'return await asyncio.to_thread(...)' in it if it blocks. If it returns a coroutine, make it 'async "
        f"def' and await what it returns{_MARK_IT}"
    )


_MARK_IT: Final = ", or mark it with inspect.markcoroutinefunction" if sys.version_info >= (3, 12) else ""


def _not_callable(given: object) -> str:
    if isinstance(given, str):
        return f"@coalesced was given the string {given!r}: write @coalesced(key={given!r})"
    if inspect.isawaitable(given):
        if inspect.iscoroutine(given):
            given.close()  # or it warns that it was never awaited, which is not what went wrong
        return "@coalesced was given what a call returned: give it the function, without calling it"
    if isinstance(given, property):
        return "@coalesced was given a property: decorate an async method, and let the property return what it needs"
    return (
        f"@coalesced takes an async function, not {given!r} ({type(given).__name__}); options are given by name, as in "
        f'@coalesced(key="...")'
    )


def _is_async(function: Callable[..., Any]) -> bool:
    return _any_form(inspect.iscoroutinefunction, function) or (
        # what asgiref and mock.AsyncMock mark on Python 3.11, where inspect has no mark
        sys.version_info < (3, 12) and asyncio.iscoroutinefunction(function)
    )


def _any_form(holds: Callable[[object], bool], function: Callable[..., Any]) -> bool:
    """Whether ``holds`` for the function itself, or for the ``__call__`` of its class."""
    bare = without_partial(function)
    return holds(bare) or holds(type(bare).__call__)


def without_partial(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return what a ``functools.partial``, if ``function`` is one, was made of."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def body_of(function: AsyncCallable) -> Callable[..., Any]:
    """Return the function whose name, module and globals stand for ``function``: an object's is its ``__call__``."""
    bare = without_partial(function)
    return bare if hasattr(bare, "__globals__") else type(bare).__call__


def bare_name(function: Callable[..., Any]) -> str:
    """Return the name without its module or class."""
    bare = without_partial(function)
    return getattr(bare, "__name__", type(bare).__name__)


def label(function: Callable[..., Any]) -> str:
    """Return ``module.qualname``; of an object with a ``__call__``, its class's."""
    bare = without_partial(function)
    named = bare if hasattr(bare, "__qualname__") else type(bare)
    return f"{named.__module__}.{named.__qualname__}"


def present(call: Any, function: AsyncCallable) -> None:
    """Give ``call`` the wrapped function's name, module, documentation and attributes, and ``__wrapped__``."""
    bare = without_partial(function)
    if hasattr(bare, "__qualname__"):
        functools.update_wrapper(call, bare)
    else:  # an object with a __call__: its class names it, and its attributes stay its own
        named = ("__module__", "__name__", "__qualname__", "__doc__")
        functools.update_wrapper(call, type(bare), assigned=named, updated=())
    call.__wrapped__ = function


def counted_origin(function: AsyncCallable, counters: Counters | None) -> Callable[..., Any]:
    """Return the function itself as an async function, counting its calls as bypassed unless there are no counters."""

    async def origin(*args: Any, **kwargs: Any) -> Any:
        if counters is not None:
            counters.bypassed_requests += 1
        return await function(*args, **kwargs)

    present(origin, function)
    return origin


def published_signature(function: AsyncCallable) -> Signature:
    """Return the parameters that callers see, those of a decorated function and not of its decorator's wrapper.

    Raises:
        ConfigurationError: nothing tells them.
    """
    try:
        return inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"{label(function)} does not tell its parameters ({error}): wrap it in an 'async def' that names them"
        ) from error


def _own_signature(function: AsyncCallable) -> Signature:
    """Return the parameters that the code itself takes, whatever ``__wrapped__`` and ``__signature__`` say."""
    if isinstance(function, FunctionType):
        function = FunctionType(function.__code__, {}, closure=function.__closure__)
    return inspect.signature(function, follow_wrapped=False)


def takes_by_keyword(function: AsyncCallable, signature: Signature) -> bool:
    """Whether ordinary parameters must be handed on by keyword, because a wrapper in between is ``def w(**kwargs)``.

    Raises:
        ConfigurationError: the wrapper cannot be called with the parameters that it shows.
    """
    own = _own_signature(function)
    for by_keyword in (False, True):
        positional: list[object] = []
        by_name: dict[str, object] = {}
        for parameter in signature.parameters.values():
            if parameter.kind is Parameter.POSITIONAL_ONLY or (
                parameter.kind is Parameter.POSITIONAL_OR_KEYWORD and not by_keyword
            ):
                positional.append(None)
            elif parameter.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY):
                by_name[parameter.name] = None
        try:
            own.bind(*positional, **by_name)
        except TypeError:
            continue
        return by_keyword
    raise ConfigurationError(
        f"{label(function)} shows the parameters {signature} and takes {own}: put @coalesced underneath the decorator "
        f"that changes them"
    )
