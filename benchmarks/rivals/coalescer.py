"""coalescer. Settings as in its README, first example (``@coalesce()``), and "Async options". It keeps nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from coalescer import coalesce

from .keys import typed_and_bound

LABEL = "coalescer"
DISTRIBUTION = "coalescer"
STYLES = {"documented": "@coalesce()", "our semantics": "+ key_builder= bound arguments with their types"}


def coalesced(function: Callable[..., Any], style: str) -> Any:
    if style == "documented":
        return coalesce()(function)
    key = typed_and_bound(function)
    return coalesce(key_builder=lambda _f, *args, **kwargs: key(*args, **kwargs))(function)


def policies(function: Callable[..., Any], *, ttl_seconds: float, size: int) -> Mapping[str, Any]:
    del ttl_seconds, size
    return {"coalescing only": coalesce()(function)}
