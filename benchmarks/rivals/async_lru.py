"""async-lru. Settings as in its README, "Usage" (``@alru_cache(maxsize=...)``, ``ttl``) and "Custom cache keys"."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from async_lru import alru_cache

from .keys import typed_and_bound

LABEL = "async-lru"
DISTRIBUTION = "async-lru"
STYLES = {"documented": "@alru_cache(maxsize, ttl)", "our semantics": "+ key= bound arguments with their types"}


def cached(function: Callable[..., Any], style: str, *, ttl_seconds: float, size: int) -> Any:
    key = typed_and_bound(function) if style == "our semantics" else None
    return alru_cache(maxsize=size, ttl=ttl_seconds, key=key)(function)


async def invalidate(decorated: Any, *args: object) -> None:
    decorated.cache_invalidate(*args)


def policies(function: Callable[..., Any], *, ttl_seconds: float, size: int) -> Mapping[str, Any]:
    return {
        "ttl": alru_cache(maxsize=size, ttl=ttl_seconds)(function),
        "ttl, jitter": alru_cache(maxsize=size, ttl=ttl_seconds * 0.8, jitter=ttl_seconds * 0.2)(function),
    }
