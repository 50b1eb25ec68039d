"""aiocache. Settings as in its documentation, "Decorators": ``cached``, and ``cached_stampede`` for stampedes.

Its memory backend has no bound, so ``size`` is without effect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aiocache import Cache
from aiocache.decorators import cached as keep, cached_stampede

from .keys import typed_and_bound_text

LABEL = "aiocache"
DISTRIBUTION = "aiocache"
STYLES = {
    "documented": "@cached(ttl)",
    "our semantics": "@cached_stampede(ttl, lease=2, key_builder= bound arguments with their types)",
}


def cached(function: Callable[..., Any], style: str, *, ttl_seconds: float, size: int) -> Any:
    del size
    if style == "documented":
        decorator = keep(ttl=ttl_seconds, cache=Cache.MEMORY)
    else:
        key = typed_and_bound_text(function)
        decorator = cached_stampede(
            lease=2, ttl=ttl_seconds, cache=Cache.MEMORY, key_builder=lambda _f, *args, **kwargs: key(*args, **kwargs)
        )
    decorated = decorator(function)
    decorated.key_of = lambda *args: decorator.get_cache_key(function, args, {})
    return decorated


async def invalidate(decorated: Any, *args: object) -> None:
    await decorated.cache.delete(decorated.key_of(*args))


def policies(function: Callable[..., Any], *, ttl_seconds: float, size: int) -> Mapping[str, Any]:
    del size
    return {
        "ttl": keep(ttl=ttl_seconds, cache=Cache.MEMORY)(function),
        "ttl, cached_stampede": cached_stampede(lease=2, ttl=ttl_seconds, cache=Cache.MEMORY)(function),
    }
