"""aiocoalesce. Settings as in its README, "Usage": ``coalescer.run(key, get_user_data(user_id))``. It keeps nothing.

It has no decorator: the key is what its user writes, and here the call's positional arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aiocoalesce import Coalescer

from .keys import typed_and_bound

LABEL = "aiocoalesce"
DISTRIBUTION = "aiocoalesce"
STYLES = {
    "documented": "coalescer.run(args, function(*args))",
    "our semantics": "key: bound arguments with their types",
}


def coalesced(function: Callable[..., Any], style: str) -> Any:
    coalescer = Coalescer()
    key = typed_and_bound(function)

    async def by_position(*args: Any) -> Any:
        return await coalescer.run(args, function(*args))

    async def by_name(*args: Any, **kwargs: Any) -> Any:
        return await coalescer.run(key(*args, **kwargs), function(*args, **kwargs))

    return by_name if style == "our semantics" else by_position


def policies(function: Callable[..., Any], *, ttl_seconds: float, size: int) -> Mapping[str, Any]:
    del ttl_seconds, size
    return {"coalescing only": coalesced(function, "documented")}
