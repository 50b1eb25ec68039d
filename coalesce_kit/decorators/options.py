"""The options that many decorated functions may have in common, checked when they are given."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, MutableMapping
from contextvars import ContextVar
from typing import Any, NamedTuple

from ..cache.memory import MemoryCache
from ..cache.policy import CachePolicy, Ttl
from ..durations import Duration, to_seconds_or_none
from ..errors import ConfigurationError
from ..protocols import INHERIT, Coalescer, Inherit, OnAbandon
from ..stats.observer import Observer, Observers


class Options(NamedTuple):
    """The options that many functions may have in common, checked.

    Attributes:
        vary: context variables whose values join the key.
        policy: how long results are used; ``None`` to keep none.
        tags: labels by which results of many keys are invalidated at once.
        backend: the coalescer; ``None`` for the default one.
        cache: where results are kept; ``None`` for a ``MemoryCache`` of the function's own.
        copy: makes what each caller receives; ``None`` where they share one object.
        max_wait_seconds: the longest wait of one waiter; ``None`` without limit, ``INHERIT`` the coalescer's own.
        fetch_timeout_seconds: the longest run of the function; ``None`` without limit.
        on_abandon: what becomes of a fetch whose last caller leaves.
        enabled: whether anything is done at all.
        observers: who is told what happens.
    """

    vary: tuple[ContextVar[Any], ...] = ()
    policy: CachePolicy | None = None
    tags: tuple[str, ...] = ()
    backend: Coalescer | None = None
    cache: MemoryCache | None = None
    copy: Callable[[Any], Any] | None = None
    max_wait_seconds: float | None | Inherit = INHERIT
    fetch_timeout_seconds: float | None = None
    on_abandon: OnAbandon = "cancel"
    enabled: bool = True
    observers: tuple[Observer, ...] = ()

    def with_given(
        self,
        *,
        vary: Iterable[ContextVar[Any]] | Inherit,
        ttl: Ttl | None | Inherit,
        policy: CachePolicy | None | Inherit,
        tags: Iterable[str] | Inherit,
        backend: Coalescer | None | Inherit,
        cache: MemoryCache | None | Inherit,
        copy: Callable[[Any], Any] | None | Inherit,
        max_wait_seconds: Duration | None | Inherit,
        fetch_timeout_seconds: Duration | None | Inherit,
        on_abandon: OnAbandon | Inherit,
        enabled: bool | Inherit,
        observers: Iterable[Observer] | Inherit,
    ) -> Options:
        """Return these options with every one that is given, and therefore not ``INHERIT``, in place of its own.

        Raises:
            ConfigurationError: one cannot work.
        """
        given: dict[str, Any] = {}
        if not isinstance(vary, Inherit):
            given["vary"] = _checked_vary(vary)
        if not isinstance(ttl, Inherit) and not isinstance(policy, Inherit):
            raise ConfigurationError("ttl=... is short for policy=CachePolicy(ttl=...): give one of them, not both")
        if not isinstance(ttl, Inherit):
            given["policy"] = None if ttl is None else CachePolicy(ttl=ttl)
        if not isinstance(policy, Inherit):
            given["policy"] = _checked_policy(policy)
        if not isinstance(tags, Inherit):
            given["tags"] = _checked_tuple("tags", tags)
        if not isinstance(cache, Inherit):
            given["cache"] = _checked_cache(cache)
        if not isinstance(copy, Inherit):
            given["copy"] = _checked_copy(copy)
        if not isinstance(backend, Inherit):
            given["backend"] = _checked_backend(backend)
        if not isinstance(max_wait_seconds, Inherit):
            given["max_wait_seconds"] = to_seconds_or_none(max_wait_seconds, name="max_wait_seconds")
        if not isinstance(fetch_timeout_seconds, Inherit):
            given["fetch_timeout_seconds"] = to_seconds_or_none(fetch_timeout_seconds, name="fetch_timeout_seconds")
        if not isinstance(on_abandon, Inherit):
            given["on_abandon"] = _checked_on_abandon(on_abandon)
        if not isinstance(enabled, Inherit):
            given["enabled"] = _checked_enabled(enabled)
        if not isinstance(observers, Inherit):
            given["observers"] = _checked_observers(observers)
        return self._replace(**given)


def _checked_vary(vary: object) -> tuple[ContextVar[Any], ...]:
    if isinstance(vary, ContextVar):
        raise ConfigurationError(f"vary takes several context variables: write vary=({vary.name},)")
    variables = _checked_tuple("vary", vary)
    for variable in variables:
        if not isinstance(variable, ContextVar):
            raise ConfigurationError(
                f"vary takes ContextVar objects, not {variable!r} ({type(variable).__name__}); parameters go into key="
            )
    return variables


def _checked_backend(backend: Coalescer | None) -> Coalescer | None:
    if isinstance(backend, type):
        raise ConfigurationError(f"backend takes a coalescer, not its class: write backend={backend.__name__}()")
    if backend is not None and not callable(getattr(backend, "get_or_fetch", None)):
        raise ConfigurationError(
            f"backend takes a coalescer, such as RequestCoalescer(), not {backend!r} ({type(backend).__name__})"
        )
    return backend


def _checked_policy(policy: object) -> CachePolicy | None:
    if policy is not None and not isinstance(policy, CachePolicy):
        raise ConfigurationError(f"policy takes a CachePolicy, not {policy!r} ({type(policy).__name__})")
    return policy


def _checked_cache(cache: object) -> MemoryCache | None:
    if cache is None or isinstance(cache, MemoryCache):
        return cache
    if isinstance(cache, type):
        raise ConfigurationError(f"cache takes a cache, not its class: write cache={cache.__name__}(...)")
    wrapped = ": write cache=MemoryCache(cache=...) around it" if isinstance(cache, MutableMapping) else ""
    raise ConfigurationError(f"cache takes a MemoryCache, not {type(cache).__name__}{wrapped}")


def _checked_copy(copy: object) -> Callable[[Any], Any] | None:
    if copy is None:
        return None
    if not callable(copy) or inspect.iscoroutinefunction(copy):
        raise ConfigurationError(f"copy takes a plain function of the result, such as copy.deepcopy, not {copy!r}")
    return copy


def _checked_on_abandon(on_abandon: object) -> OnAbandon:
    if on_abandon == "cancel":
        return "cancel"
    if on_abandon == "finish":
        return "finish"
    raise ConfigurationError(f'on_abandon is "cancel" or "finish", not {on_abandon!r}')


def _checked_enabled(enabled: object) -> bool:
    if not isinstance(enabled, bool):
        raise ConfigurationError(f"enabled is True or False, not {enabled!r} ({type(enabled).__name__})")
    return enabled


def _checked_observers(observers: object) -> tuple[Observer, ...]:
    if isinstance(observers, Observer):
        raise ConfigurationError(f"observers takes several: write observers=({type(observers).__name__}(...),)")
    members = _checked_tuple("observers", observers)
    try:
        Observers(members)
    except TypeError as error:
        raise ConfigurationError(f"observers: {error}") from None
    return members


def _checked_tuple(option: str, given: object) -> tuple[Any, ...]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ConfigurationError(f"{option} takes a tuple, not {given!r} ({type(given).__name__})")
    return tuple(given)
