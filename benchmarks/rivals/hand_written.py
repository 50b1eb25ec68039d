"""What one writes instead: a dict of shielded tasks, and beside it a dict of results with their expiry."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

LABEL = "hand-written shield"
DISTRIBUTION = ""
STYLES = {"documented": "dict of asyncio.shield(task), dict of results"}


def coalesced(function: Callable[..., Any], _style: str) -> Any:
    tasks: dict[object, asyncio.Task[Any]] = {}

    async def call(*args: Any) -> Any:
        task = tasks.get(args)
        if task is None:
            task = tasks[args] = asyncio.create_task(function(*args))
            task.add_done_callback(lambda _: tasks.pop(args, None))
        return await asyncio.shield(task)

    return call


def cached(function: Callable[..., Any], style: str, *, ttl_seconds: float, size: int) -> Any:
    """Bounded as most people would: the oldest goes first."""
    kept: dict[object, tuple[float, Any]] = {}

    async def fetch(*args: Any) -> Any:
        value = await function(*args)
        if len(kept) >= size:
            del kept[next(iter(kept))]
        kept[args] = (time.monotonic() + ttl_seconds, value)
        return value

    shared = coalesced(fetch, style)

    async def call(*args: Any) -> Any:
        entry = kept.get(args)
        if entry is not None and entry[0] > time.monotonic():
            return entry[1]
        return await shared(*args)

    call.kept = kept  # type: ignore[attr-defined]
    return call


async def invalidate(decorated: Any, *args: object) -> None:
    decorated.kept.pop(args, None)


def policies(function: Callable[..., Any], *, ttl_seconds: float, size: int) -> Mapping[str, Any]:
    return {
        "coalescing only": coalesced(function, "documented"),
        "ttl": cached(function, "documented", ttl_seconds=ttl_seconds, size=size),
    }
