"""moka-py. Settings as in its README, "Async support", "Async wait_concurrent" and "Using moka_py.Moka".

It has no key function, so arguments are not bound. ``documented`` does not share concurrent calls, as in its first
example; ``our semantics`` does. It offers no way to drop one entry of a decorated function.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import moka_py

LABEL = "moka-py"
DISTRIBUTION = "moka-py"
STYLES = {
    "documented": "@cached(maxsize, ttl)",
    "our semantics": "+ typed=True, wait_concurrent=True",
}
CLOCK = "its clock is inside its Rust core"


def cached(function: Callable[..., Any], style: str, *, ttl_seconds: float, size: int) -> Any:
    ours = style == "our semantics"
    return moka_py.cached(maxsize=size, ttl=ttl_seconds, typed=ours, wait_concurrent=ours)(function)


def _replay(policy: Any) -> Callable[[int], Callable[[object], bool]]:
    def replay(size: int) -> Callable[[object], bool]:
        cache: Any = moka_py.Moka(size, policy=policy)

        def hit(key: object) -> bool:
            if cache.get(key) is not None:
                return True
            cache.set(key, True)
            return False

        return hit

    return replay


REPLAYS = {"W-TinyLFU": _replay("tiny_lfu"), "LRU": _replay("lru")}
