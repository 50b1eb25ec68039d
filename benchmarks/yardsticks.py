"""The least that could be written by hand for each thing that is measured. Not rivals: nobody is safe with these."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

from cachetools import FIFOCache, LFUCache, LRUCache, TTLCache

LABEL = "hand-written dict"
DISTRIBUTION = "cachetools"
STYLES = {"dict": "a dict, a tuple for a key, an expiry check", "bare": "the function itself"}


def _replay(make: Callable[[int], Any]) -> Callable[[int], Callable[[object], bool]]:
    def replay(size: int) -> Callable[[object], bool]:
        cache = make(size)

        def hit(key: object) -> bool:
            try:
                cache[key]
            except KeyError:
                cache[key] = True
                return False
            return True

        return hit

    return replay


REPLAYS = {"LRU": _replay(LRUCache), "LFU": _replay(LFUCache), "FIFO": _replay(FIFOCache)}
"""The policies of cachetools."""

MAPPINGS: Mapping[str, Callable[[int], Any]] = {"TTLCache": lambda size: TTLCache(size, 3600)}
"""Bounded mappings, for puts."""


def cached(function: Callable[..., Any], style: str, *, ttl_seconds: float, size: int) -> Callable[..., Any]:
    """Return ``function`` kept in a dict: written for its parameters, as one would."""
    del size
    if style == "bare":
        return function
    kept: dict[Any, tuple[Any, float]] = {}
    writers = {"one": _one, "fixtures": _three, "odds": _method, "prices": _method_of_three}
    return writers[function.__name__](function, kept, ttl_seconds)


def _one(function: Callable[..., Any], kept: dict[Any, tuple[Any, float]], ttl: float) -> Callable[..., Any]:
    async def one(sport: Any) -> Any:
        entry = kept.get(sport)  # of one parameter nobody makes a tuple
        if entry is not None and entry[1] > monotonic():
            return entry[0]
        value = await function(sport)
        kept[sport] = (value, monotonic() + ttl)
        return value

    return one


def _three(function: Callable[..., Any], kept: dict[Any, tuple[Any, float]], ttl: float) -> Callable[..., Any]:
    async def fixtures(sport: Any, live: Any = True, limit: Any = 5) -> Any:
        key = (sport, live, limit)
        entry = kept.get(key)
        if entry is not None and entry[1] > monotonic():
            return entry[0]
        value = await function(sport, live, limit)
        kept[key] = (value, monotonic() + ttl)
        return value

    return fixtures


def _method(function: Callable[..., Any], kept: dict[Any, tuple[Any, float]], ttl: float) -> Callable[..., Any]:
    async def odds(self: Any, league: Any) -> Any:
        key = (id(self), league)
        entry = kept.get(key)
        if entry is not None and entry[1] > monotonic():
            return entry[0]
        value = await function(self, league)
        kept[key] = (value, monotonic() + ttl)
        return value

    return odds


def _method_of_three(
    function: Callable[..., Any], kept: dict[Any, tuple[Any, float]], ttl: float
) -> Callable[..., Any]:
    async def prices(self: Any, league: Any, live: Any = True, limit: Any = 5) -> Any:
        key = (id(self), league, live, limit)
        entry = kept.get(key)
        if entry is not None and entry[1] > monotonic():
            return entry[0]
        value = await function(self, league, live, limit)
        kept[key] = (value, monotonic() + ttl)
        return value

    return prices
