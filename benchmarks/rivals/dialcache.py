"""dialcache. Settings as in its README, "A cached function" and "Policies and runtime changes": an identity chosen by
``id_arg``, a local ttl, calls within ``cache.enable()``.

Lifetimes are whole seconds. Its local entries cannot be invalidated.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dialcache import DialCache, Policy

LABEL = "dialcache"
DISTRIBUTION = "dialcache"
STYLES = {"documented": '@cache.cached(id_arg, Policy(ttl_sec={"local": ttl}))'}

_names = itertools.count()
_caches: list[DialCache] = []


def cached(function: Callable[..., Any], _style: str, *, ttl_seconds: float, size: int) -> Any:
    return _decorate(function, DialCache(local_max_size=size), Policy(ttl_sec={"local": round(ttl_seconds)}))


def coalesced(function: Callable[..., Any], _style: str) -> Any:
    """No room: "zero capacity disables storage while preserving eligible concurrent sharing"."""
    return _decorate(function, DialCache(local_max_size=0), Policy(ttl_sec={"local": 1}))


@contextlib.contextmanager
def scope() -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for cache in _caches:
            stack.enter_context(cache.enable())
        yield


def policies(function: Callable[..., Any], *, ttl_seconds: float, size: int) -> Mapping[str, Any]:
    return {"ttl": cached(function, "documented", ttl_seconds=ttl_seconds, size=size)}


def _decorate(function: Callable[..., Any], cache: DialCache, policy: Policy) -> Any:
    _caches.append(cache)
    name = next(one for one in inspect.signature(function).parameters if one != "self")
    decorate: Any = cache.cached(
        use_case=f"{function.__name__}-{next(_names)}",
        key_type=name,
        id_arg=name,
        default_config=policy,
        ignore_args=("self",) if "self" in inspect.signature(function).parameters else (),
    )
    return decorate(function)
