"""cachebox. Settings as in its documentation, "Getting Started" ("Async Functions", "Using a Custom Key Maker") and
"TTLCache".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cachebox

from .keys import typed_and_bound

LABEL = "cachebox"
DISTRIBUTION = "cachebox"
STYLES = {
    "documented": "@cached(TTLCache(maxsize, ttl))",
    "our semantics": "+ key_maker= bound arguments with their types, postprocess=None",
}
CLOCK = "its clock is inside its Rust core"


def cached(function: Callable[..., Any], style: str, *, ttl_seconds: float, size: int) -> Any:
    store: Any = cachebox.TTLCache(size, ttl_seconds)
    if style == "documented":
        decorated: Any = cachebox.cached(store)(function)
        decorated.key_of = cachebox.make_key
    else:
        key = typed_and_bound(function)
        decorated = cachebox.cached(store, key_maker=key, postprocess=None)(function)
        decorated.key_of = key
    return decorated


async def invalidate(decorated: Any, *args: object) -> None:
    decorated.cache.pop(decorated.key_of(*args), None)


def _replay(make: Callable[[int], Any]) -> Callable[[int], Callable[[object], bool]]:
    def replay(size: int) -> Callable[[object], bool]:
        cache = make(size)

        def hit(key: object) -> bool:
            if cache.get(key) is not None:
                return True
            cache[key] = True
            return False

        return hit

    return replay


REPLAYS = {"LRU": _replay(cachebox.LRUCache), "LFU": _replay(cachebox.LFUCache)}
