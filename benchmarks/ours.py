"""coalesce_kit, by the same few names as every rival (``rivals/__init__.py``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

import coalesce_kit
from coalesce_kit import Observer, RequestCoalescer, coalesced as decorate

LABEL = "coalesce_kit"
DISTRIBUTION = "coalesce-kit"
STYLES = {"@coalesced": "@coalesced(ttl)", "RequestCoalescer": "get_or_fetch(key, fetch): no decorator, keeps nothing"}

_PATIENCE_SECONDS = 60.0
"""A crowd of 100 000 takes longer than the limit of 5 s that callers have without, where the machine is busy."""


def cached(function: Callable[..., Any], style: str, *, ttl_seconds: float, size: int) -> Any:
    """Keep results by one of the settings in ``FORMS``; plain ``ttl`` for the style "@coalesced"."""
    options = FORMS[style](ttl_seconds) if style in FORMS else {"ttl": ttl_seconds}
    return decorate(cache=coalesce_kit.MemoryCache(max_entries=size), **options)(function)


def coalesced(function: Callable[..., Any], style: str) -> Any:
    """Coalesce and keep nothing: by the decorator, or by a coalescer used alone with a key made by hand."""
    if style == "@coalesced":
        return decorate(max_wait_seconds=_PATIENCE_SECONDS)(function)
    coalescer = RequestCoalescer(max_wait_seconds=_PATIENCE_SECONDS)

    async def by_hand(*key: object) -> Any:
        return await coalescer.get_or_fetch(key, lambda: function(*key))

    return by_hand


async def invalidate(decorated: Any, *args: object) -> None:
    """Drop one result; acts at the call."""
    decorated.invalidate(*args)


tenant: ContextVar[str] = ContextVar("tenant", default="nobody")

KEY_FORMS: Mapping[str, Callable[[float], dict[str, Any]]] = {
    "key: template": lambda ttl: {"ttl": ttl, "key": "fixtures:{sport}:{live}:{limit}"},
    "key: names": lambda ttl: {"ttl": ttl, "key": ("sport", "live", "limit")},
    "key: ignore one": lambda ttl: {"ttl": ttl, "ignore": ("limit",)},
    "key: function": lambda ttl: {"ttl": ttl, "key": lambda sport, live=True, limit=5: (sport, live, limit)},
}
"""Every way to write a key, beside the default of all arguments."""

FEATURES: Mapping[str, Callable[[float], dict[str, Any]]] = {
    "vary": lambda ttl: {"ttl": ttl, "vary": (tenant,)},
    "tags": lambda ttl: {"ttl": ttl, "tags": ("odds", "sport:{sport}")},
    "copy": lambda ttl: {"ttl": ttl, "copy": list},
    "observers": lambda ttl: {"ttl": ttl, "observers": (_Watching(),)},
    "stale_while_revalidate": lambda ttl: {"policy": coalesce_kit.CachePolicy(ttl=ttl, stale_while_revalidate=30)},
    "stale_if_error": lambda ttl: {"policy": coalesce_kit.CachePolicy(ttl=ttl, stale_if_error=300)},
    "refresh_ahead": lambda ttl: {"policy": coalesce_kit.CachePolicy(ttl=ttl, refresh_ahead=0.8)},
    "jitter": lambda ttl: {"policy": coalesce_kit.CachePolicy(ttl=ttl, jitter=0.1)},
    "error_ttl": lambda ttl: {"policy": coalesce_kit.CachePolicy(ttl=ttl, error_ttl={LookupError: 10})},
    "cache_if": lambda ttl: {"policy": coalesce_kit.CachePolicy(ttl=ttl, cache_if=bool)},
    "enabled=False": lambda ttl: {"ttl": ttl, "enabled": False},
}
"""Every feature switched on alone, beside a plain ttl."""

FORMS = {**KEY_FORMS, **FEATURES}


class _Watching(Observer):
    def fetch_ended(self, event: object) -> None:
        """Look at every fetch; there is no event for a hit."""


MAPPINGS: Mapping[str, Callable[[int], Any]] = {"S3FIFOCache": lambda size: coalesce_kit.S3FIFOCache(size)}
"""Bounded mappings, for puts."""


def _replay(size: int) -> Callable[[object], bool]:
    """Look up as a compiled call does, past the mapping, and keep what is missed."""
    cache: Any = coalesce_kit.S3FIFOCache(size)
    find = cache.entries.get

    def hit(key: object) -> bool:
        entry = find(key)
        if entry is None:
            cache[key] = True
            return False
        entry.uses += 1
        return True

    return hit


REPLAYS = {"S3-FIFO": _replay}


def policies(function: Callable[..., Any], *, ttl_seconds: float, size: int) -> Mapping[str, Any]:
    """Return what an answer may be used for, in order of what is promised."""
    ttl = ttl_seconds
    asked: Mapping[str, dict[str, Any]] = {
        "coalescing only": {},
        "ttl": {"ttl": ttl},
        "ttl, jitter": {"policy": coalesce_kit.CachePolicy(ttl=ttl, jitter=0.2)},
        "stale-while-revalidate": {"policy": coalesce_kit.CachePolicy(ttl=ttl, stale_while_revalidate=ttl)},
        "refresh ahead": {"policy": coalesce_kit.CachePolicy(ttl=ttl, refresh_ahead=0.8)},
        "both": {"policy": coalesce_kit.CachePolicy(ttl=ttl, refresh_ahead=0.8, stale_while_revalidate=ttl)},
    }
    decorated = {}
    for name, options in asked.items():
        keeping: dict[str, Any] = {"cache": coalesce_kit.MemoryCache(max_entries=size)} if options else {}
        decorated[name] = decorate(**keeping, **options)(function)
    return decorated
