"""Guards: what has to be true of decorated functions while a block of a test runs.

::

    with assert_single_flight(fixtures):
        await asyncio.gather(*(fixtures("nfl") for _ in range(100)))

    with assert_results_unchanged():
        await handle(request)
"""

from __future__ import annotations

import asyncio
import functools
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from ..defaults import Decorated, decorated_functions
from .snapshots import Snapshot

_ALLOWED: Final = (
    "which is as it should be after an invalidation, after forget(), "
    "and beside a fetch that is older than max_flight_seconds"
)


@contextmanager
def assert_single_flight(*functions: Callable[..., Any]) -> Iterator[None]:
    """Fail if two fetches of one key run at the same moment on one event loop while the block runs.

    Args:
        functions: decorated functions; every one that lives at the beginning of the block without.

    Each event loop, and so each thread that runs one, has flights of its own, and is counted for itself. An
    invalidation, ``forget`` and a fetch that is older than ``max_flight_seconds`` allow a second fetch beside the
    first: not for tests with those. A function that is switched off has no flights, and is not counted.

    Raises:
        AssertionError: at the end of the block, with the keys and how many fetches of each ran at once.
        TypeError: at its beginning, of what is no decorated function.
    """
    # A loop is in the key, not its id, which another one may have after it; and its thread alone counts there.
    most: Counter[tuple[str, str, asyncio.AbstractEventLoop]] = Counter()
    running: Counter[tuple[str, str, asyncio.AbstractEventLoop]] = Counter()

    def watch(function: Decorated, origin: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(origin)
        async def counted(*args: Any, **kwargs: Any) -> Any:
            if not function.enabled:
                return await origin(*args, **kwargs)
            key = function.name, function.text_of_call(args, kwargs), asyncio.get_running_loop()
            running[key] += 1
            most[key] = max(most[key], running[key])
            try:
                return await origin(*args, **kwargs)
            finally:
                running[key] -= 1

        return counted

    with _watching(functions, watch):
        yield
    crowded = [f"{count} fetches at once of {key} ({name})" for (name, key, _), count in most.items() if count > 1]
    if crowded:
        raise AssertionError("\n  ".join([f"not a single flight ({_ALLOWED}):", *crowded]))


@contextmanager
def assert_results_unchanged(*functions: Callable[..., Any]) -> Iterator[None]:
    """Fail if what a fetch returned while the block ran was changed by somebody by the end of it.

    All callers of one key share one object, unless ``copy=`` was given: whoever changes it does so for everybody.

    Args:
        functions: decorated functions; every one that lives at the beginning of the block without.

    A result is remembered when its fetch returns, by all that it is made of: what is in its containers, and the
    attributes of its objects. Equal values in the place of others, what a ``functools.cached_property`` keeps of
    itself, and private attributes that a class leaves out of its ``__getstate__`` are no change. Not watched is what no
    fetch of the block returned: what was kept before it, what is primed, and what another process has fetched.

    Raises:
        AssertionError: at the end of the block, with the keys, and for each result where it differs, and what stood and
            what stands there.
        TypeError: at its beginning, of what is no decorated function.
    """
    seen: list[tuple[str, Snapshot]] = []

    def watch(function: Decorated, origin: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(origin)
        async def noted(*args: Any, **kwargs: Any) -> Any:
            result = await origin(*args, **kwargs)
            seen.append((f"{function.text_of_call(args, kwargs)} ({function.name})", Snapshot(result)))
            return result

        return noted

    with _watching(functions, watch):
        yield
    changed = [f"{key}: {difference}" for key, snapshot in seen if (difference := snapshot.difference()) is not None]
    if changed:
        raise AssertionError("\n  ".join(["a result that callers share was changed, for all of them:", *changed]))


@contextmanager
def _watching(
    functions: tuple[Callable[..., Any], ...], watch: Callable[[Decorated, Callable[..., Any]], Callable[..., Any]]
) -> Iterator[None]:
    with ExitStack() as undoing:
        for function in _behind(functions):
            undoing.callback(function.exchange_origin(functools.partial(watch, function)))
        yield


def _behind(functions: tuple[Callable[..., Any], ...]) -> list[Decorated]:
    """Return what stands behind decorated functions; behind every one that lives if none is given."""
    if not functions:
        return decorated_functions()
    behind = []
    for function in functions:
        found: Decorated | None = getattr(function, "__coalesced__", None)
        if found is None:
            raise TypeError(f"a decorated function was expected, not {function!r}")
        behind.append(found)
    return behind
