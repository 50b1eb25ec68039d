"""fastapi-cache2. Settings as in its README, "Quick Start" (over its in-memory backend), "Custom coder", "Custom key
builder".

Lifetimes are whole seconds. Its memory backend has no bound, so ``size`` is without effect. The one backend is global:
so that two decorated functions of one name share nothing, each gets a namespace.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

from fastapi_cache import FastAPICache
from fastapi_cache.backends.inmemory import InMemoryBackend
from fastapi_cache.coder import PickleCoder
from fastapi_cache.decorator import cache

from .keys import typed_and_bound_text

LABEL = "fastapi-cache2"
DISTRIBUTION = "fastapi-cache2"
STYLES = {
    "documented": "@cache(expire), JSON",
    "our semantics": "+ key_builder= bound arguments with their types, PickleCoder",
}

_namespaces = itertools.count()


def cached(function: Callable[..., Any], style: str, *, ttl_seconds: float, size: int) -> Any:
    del size
    _start()
    namespace = str(next(_namespaces))
    if style == "documented":
        decorated: Any = cache(expire=round(ttl_seconds), namespace=namespace)(function)
    else:
        key = typed_and_bound_text(function)

        def build(_function: Any, space: str, *, args: tuple[Any, ...], kwargs: dict[str, Any], **_: Any) -> str:
            return f"{space}:{key(*args, **kwargs)}"

        decorated = cache(expire=round(ttl_seconds), namespace=namespace, key_builder=build, coder=PickleCoder)(
            function
        )
    decorated.namespace = namespace
    return decorated


async def invalidate(decorated: Any, *args: object) -> None:
    """Drop the whole namespace: a single key is a digest that nobody can name."""
    del args
    await FastAPICache.clear(namespace=decorated.namespace)


def policies(function: Callable[..., Any], *, ttl_seconds: float, size: int) -> Mapping[str, Any]:
    return {"ttl": cached(function, "documented", ttl_seconds=ttl_seconds, size=size)}


def _start() -> None:
    FastAPICache.init(InMemoryBackend(), prefix="benchmarks")
