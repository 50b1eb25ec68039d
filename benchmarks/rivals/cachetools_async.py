"""cachetools-async. Settings as in its README, first example (``@cached(cache=TTLCache(maxsize, ttl))``)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from cachetools import TTLCache
from cachetools_async import cached as keep

from .keys import typed_and_bound

LABEL = "cachetools-async"
DISTRIBUTION = "cachetools-async"
STYLES = {
    "documented": "@cached(cache=TTLCache(maxsize, ttl))",
    "our semantics": "+ key= bound arguments with their types",
}


def cached(function: Callable[..., Any], style: str, *, ttl_seconds: float, size: int) -> Any:
    store: Any = TTLCache(maxsize=size, ttl=ttl_seconds)
    return (
        keep(cache=store, key=typed_and_bound(function))(function)
        if style == "our semantics"
        else keep(store)(function)
    )


async def invalidate(decorated: Any, *args: object) -> None:
    decorated.cache.pop(decorated.cache_key(*args), None)


def policies(function: Callable[..., Any], *, ttl_seconds: float, size: int) -> Mapping[str, Any]:
    return {"ttl": keep(cache=TTLCache(maxsize=size, ttl=ttl_seconds, timer=time.monotonic))(function)}
