"""theine. Settings as in its README, "Cache Decorator": "explicit key function", which it recommends, and "auto key
function"; "Cache Client" for the replay of traces.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from theine import Cache, Memoize

from .keys import typed_and_bound

LABEL = "theine"
DISTRIBUTION = "theine"
STYLES = {
    "documented": "@Memoize(size, ttl), key function: a formatted text",
    "our semantics": "key function: bound arguments with their types",
}
CLOCK = "its expiry runs in a thread of its own"


def cached(function: Callable[..., Any], style: str, *, ttl_seconds: float, size: int) -> Any:
    decorated: Any = Memoize(size, timedelta(seconds=ttl_seconds))(function)
    decorated.key(typed_and_bound(function) if style == "our semantics" else _text_key(function))
    return decorated


def _text_key(function: Callable[..., Any]) -> Callable[..., str]:
    """Return ``lambda sport, live=True, limit=5: f"{sport}:{live}:{limit}"`` for the function's own parameters."""
    signature = inspect.signature(function)
    bare = signature.replace(
        parameters=[one.replace(annotation=one.empty) for one in signature.parameters.values()],
        return_annotation=signature.empty,
    )
    text = ":".join(f"{{{name}}}" for name in signature.parameters)
    key: Callable[..., str] = eval(f'lambda {str(bare)[1:-1]}: f"{text}"')
    return key


def _replay(size: int) -> Callable[[object], bool]:
    cache: Any = Cache(size)

    def hit(key: object) -> bool:
        _, found = cache.get(key)
        if not found:
            cache.set(key, True)
        return bool(found)

    return hit


REPLAYS = {"adaptive W-TinyLFU": _replay}
