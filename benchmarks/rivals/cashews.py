"""cashews. Settings as in its README, "Usage Example", "In-memory", "Strategies" (simple, early, soft, locked).

Its keys are texts made by a template, whose parts have no types. ``@cache.locked`` alone runs callers one after the
other and shares nothing, so there is no ``coalesced``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from cashews import Cache

LABEL = "cashews"
DISTRIBUTION = "cashews"
STYLES = {"documented": '@cache(ttl, key="{sport}:...")', "our semantics": "+ lock=True"}


def cached(function: Callable[..., Any], style: str, *, ttl_seconds: float, size: int) -> Any:
    cache = _cache(size)
    decorated = cache(ttl=ttl_seconds, key=_template(function), lock=style == "our semantics")(function)
    decorated.forget = lambda *args: cache.delete_match(_pattern(function, args))
    return decorated


async def invalidate(decorated: Any, *args: object) -> None:
    await decorated.forget(*args)


def policies(function: Callable[..., Any], *, ttl_seconds: float, size: int) -> Mapping[str, Any]:
    key = _template(function)
    return {
        "ttl": _cache(size)(ttl=ttl_seconds, key=key)(function),
        "ttl, lock=True": _cache(size)(ttl=ttl_seconds, key=key, lock=True)(function),
        "early": _cache(size).early(ttl=ttl_seconds * 2, early_ttl=ttl_seconds, key=key)(function),
        "soft": _cache(size).soft(ttl=ttl_seconds * 2, soft_ttl=ttl_seconds, key=key)(function),
    }


def _cache(size: int) -> Cache:
    cache = Cache()
    cache.setup(f"mem://?size={size}")
    return cache


def _template(function: Callable[..., Any]) -> str | None:
    names = list(inspect.signature(function).parameters)
    # of a method its own default key is used, which has the instance in it
    return None if "self" in names else ":".join([function.__name__, *(f"{{{name}}}" for name in names)])


def _pattern(function: Callable[..., Any], args: tuple[object, ...]) -> str:
    return "*" + ":".join([function.__name__, *(str(arg).lower() for arg in args)])
