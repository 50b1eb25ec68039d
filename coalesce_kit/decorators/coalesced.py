"""``@coalesced``: the decorator and its options."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from contextvars import ContextVar
from inspect import Signature
from typing import Any, Final, ParamSpec, TypeVar, overload

from .. import defaults
from ..cache.memory import MemoryCache
from ..cache.policy import CachePolicy, Ttl
from ..durations import Duration
from ..errors import ConfigurationError
from ..keys import KeySpec, compile_key, compile_tags
from ..protocols import INHERIT, Coalescer, FlightTerms, Inherit, OnAbandon
from ..stats.observer import Observer, Observers
from .attributes import give_attributes
from .face import CoalescedFunction, Decorator
from .keeping import Caching
from .options import Options
from .workings import Workings
from .wrapping import label, published_signature, require_async

P = ParamSpec("P")
R = TypeVar("R")


class CoalescedDecorator:
    """Makes an async function safe to call from a crowd: who asks for the same thing at the same moment shares it.

    With or without parentheses::

        @coalesced
        async def fixtures(sport: str, live: bool = True) -> list[Fixture]: ...

        @coalesced(key="fixtures:{sport}", ignore=("session",))
        async def fixtures(session: Session, sport: str) -> list[Fixture]: ...

    The function keeps its parameters, its types and its errors, and gets the attributes of ``CoalescedFunction``.
    What it returns is one object for all who share it.
    """

    __slots__ = ("_options",)

    def __init__(self, options: Options) -> None:
        self._options = options

    def __repr__(self) -> str:
        return "coalesced" if self._options == Options() else f"<coalesced.using {self._options}>"

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> CoalescedFunction[P, R]: ...
    @overload
    def __call__(
        self,
        /,
        *,
        key: KeySpec = None,
        ignore: Iterable[str] = (),
        vary: Iterable[ContextVar[Any]] | Inherit = INHERIT,
        ttl: Ttl | None | Inherit = INHERIT,
        policy: CachePolicy | None | Inherit = INHERIT,
        tags: Iterable[str] | Inherit = INHERIT,
        backend: Coalescer | None | Inherit = INHERIT,
        cache: MemoryCache | None | Inherit = INHERIT,
        copy: Callable[[Any], Any] | None | Inherit = INHERIT,
        max_wait_seconds: Duration | None | Inherit = INHERIT,
        fetch_timeout_seconds: Duration | None | Inherit = INHERIT,
        on_abandon: OnAbandon | Inherit = INHERIT,
        name: str | None = None,
        enabled: bool | Inherit = INHERIT,
        observers: Iterable[Observer] | Inherit = INHERIT,
    ) -> Decorator: ...
    def __call__(
        self,
        function: object = INHERIT,
        /,
        *,
        key: KeySpec = None,
        ignore: Iterable[str] = (),
        vary: Iterable[ContextVar[Any]] | Inherit = INHERIT,
        ttl: Ttl | None | Inherit = INHERIT,
        policy: CachePolicy | None | Inherit = INHERIT,
        tags: Iterable[str] | Inherit = INHERIT,
        backend: Coalescer | None | Inherit = INHERIT,
        cache: MemoryCache | None | Inherit = INHERIT,
        copy: Callable[[Any], Any] | None | Inherit = INHERIT,
        max_wait_seconds: Duration | None | Inherit = INHERIT,
        fetch_timeout_seconds: Duration | None | Inherit = INHERIT,
        on_abandon: OnAbandon | Inherit = INHERIT,
        name: str | None = None,
        enabled: bool | Inherit = INHERIT,
        observers: Iterable[Observer] | Inherit = INHERIT,
    ) -> Any:
        """Decorate a function, or return the decorator that will.

        Args:
            function: an async function, a ``partial`` of one, or an object whose ``__call__`` is async.
            key: what tells one answer from another: a template, ``"fixtures:{sport}:{user.id}"``; the names of
                parameters; or a function that is called with exactly the call's arguments. Without: all arguments.
            ignore: parameters that may differ between callers who share an answer.
            vary: context variables whose values join the key.
            ttl: how long a result is fresh, in seconds: short for ``policy=CachePolicy(ttl=...)``. Without ``ttl`` and
                ``policy`` nothing is kept.
            policy: how long results are used, stale ones and failures included.
            tags: labels, templates like a key's, by which ``invalidate_tags`` reaches results of many keys.
            backend: the coalescer; ``None`` for ``get_request_coalescer()``, looked up when first needed.
            cache: where results are kept; ``None`` for a ``MemoryCache`` of 1024 entries of the function's own.
            copy: a function of the result that makes what each caller receives; without, they share one object.
            max_wait_seconds: how long one caller waits for a fetch that another began, before ``WaitTimeoutError``;
                ``None`` as long as it takes. Without: as the backend has it.
            fetch_timeout_seconds: how long the function may run, before ``FetchTimeoutError`` for all its callers;
                ``None`` as long as it takes.
            on_abandon: what becomes of a fetch whose last caller leaves: ``"cancel"`` it, or let it ``"finish"``.
            name: the label of its numbers; ``module.qualname`` without. One function's only.
            enabled: ``False`` leaves the function as it was, with attributes that work on nothing.
            observers: who is told what happens.

        Raises:
            ConfigurationError: it cannot work; the message says what to write instead.
        """
        options = self._options.with_given(
            vary=vary,
            ttl=ttl,
            policy=policy,
            tags=tags,
            backend=backend,
            cache=cache,
            copy=copy,
            max_wait_seconds=max_wait_seconds,
            fetch_timeout_seconds=fetch_timeout_seconds,
            on_abandon=on_abandon,
            enabled=enabled,
            observers=observers,
        )

        def decorate(function: object, /) -> Any:
            return _decorate(function, key=key, ignore=ignore, name=name, options=options)

        return decorate if function is INHERIT else decorate(function)

    def using(
        self,
        /,
        *,
        vary: Iterable[ContextVar[Any]] | Inherit = INHERIT,
        ttl: Ttl | None | Inherit = INHERIT,
        policy: CachePolicy | None | Inherit = INHERIT,
        tags: Iterable[str] | Inherit = INHERIT,
        backend: Coalescer | None | Inherit = INHERIT,
        cache: MemoryCache | None | Inherit = INHERIT,
        copy: Callable[[Any], Any] | None | Inherit = INHERIT,
        max_wait_seconds: Duration | None | Inherit = INHERIT,
        fetch_timeout_seconds: Duration | None | Inherit = INHERIT,
        on_abandon: OnAbandon | Inherit = INHERIT,
        enabled: bool | Inherit = INHERIT,
        observers: Iterable[Observer] | Inherit = INHERIT,
    ) -> CoalescedDecorator:
        """Return this decorator with other defaults; an option that is given where it is used replaces its default.

        Raises:
            ConfigurationError: an option cannot work.
        """
        return CoalescedDecorator(
            self._options.with_given(
                vary=vary,
                ttl=ttl,
                policy=policy,
                tags=tags,
                backend=backend,
                cache=cache,
                copy=copy,
                max_wait_seconds=max_wait_seconds,
                fetch_timeout_seconds=fetch_timeout_seconds,
                on_abandon=on_abandon,
                enabled=enabled,
                observers=observers,
            )
        )


coalesced: Final = CoalescedDecorator(Options())
"""The decorator, with the defaults of ``Options``."""


def _decorate(
    function: object,
    *,
    key: KeySpec,
    ignore: Iterable[str],
    name: str | None,
    options: Options,
) -> Any:
    if isinstance(function, staticmethod | classmethod):  # @coalesced on top: underneath is the same
        inner = _decorate(function.__func__, key=key, ignore=ignore, name=name, options=options)
        return type(function)(inner)
    if name is not None and not (isinstance(name, str) and name.strip()):
        raise ConfigurationError(f"name is a text that is not empty, not {name!r}")
    wrapped = require_async(function)
    signature = published_signature(wrapped)
    with defaults.listing():
        chosen = defaults.choose_name(name, origin_name=label(wrapped))
        recipe = compile_key(wrapped, signature, key=key, ignore=ignore, vary=options.vary, name=chosen)
        caching = _caching(options, signature, name=chosen)
        terms = FlightTerms(
            name=chosen,
            max_wait_seconds=options.max_wait_seconds,
            fetch_timeout_seconds=options.fetch_timeout_seconds,
            on_abandon=options.on_abandon,
            observers=Observers.of(options.observers),
            outside_key=recipe.outside,
            describe=recipe.describe,
        )
        workings = Workings(
            wrapped,
            recipe=recipe,
            terms=terms,
            backend=options.backend,
            caching=caching,
            copy=options.copy,
            enabled=options.enabled,
            is_name_given=name is not None,
        )
        call = workings.compile(signature)
        give_attributes(call, workings)
        defaults.list_function(workings)
    return call


def _caching(options: Options, signature: Signature, *, name: str) -> Caching | None:
    """Return how results are kept, or ``None`` if they are not."""
    if options.policy is None and options.cache is not None:
        raise ConfigurationError(
            f"{name}: cache= is where results are kept, and without ttl= or policy= none is: give one, as in ttl=30"
        )
    tags = compile_tags(options.tags, signature, vary=options.vary, name=name) if options.tags else None
    policy = CachePolicy() if options.policy is None else options.policy
    # Tags alone have an empty cache: what they invalidate then is fetches in flight.
    return Caching(policy, options.cache, tags) if policy.keeps_anything or tags is not None else None
