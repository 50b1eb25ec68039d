"""``@coalesced``: the decorator and its options."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Final, ParamSpec, TypeVar, overload

from .. import defaults
from ..durations import Duration, to_seconds_or_none
from ..errors import ConfigurationError
from ..keys import KeySpec, compile_key
from ..protocols import INHERIT, Coalescer, FlightTerms, Inherit, OnAbandon
from ..stats.observer import Observer, Observers
from .face import CoalescedFunction, Decorator
from .workings import Workings
from .wrapping import label, published_signature, require_async

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Options:
    """The options that many functions may have in common, checked.

    Attributes:
        vary: context variables whose values join the key.
        backend: the coalescer; ``None`` for the default one.
        max_wait_seconds: the longest wait of one waiter; ``None`` without limit, ``INHERIT`` the coalescer's own.
        fetch_timeout_seconds: the longest run of the function; ``None`` without limit.
        on_abandon: what becomes of a fetch whose last caller leaves.
        enabled: whether anything is done at all.
        observers: who is told what happens.
    """

    vary: tuple[ContextVar[Any], ...] = ()
    backend: Coalescer | None = None
    max_wait_seconds: float | None | Inherit = INHERIT
    fetch_timeout_seconds: float | None = None
    on_abandon: OnAbandon = "cancel"
    enabled: bool = True
    observers: tuple[Observer, ...] = ()

    def with_given(
        self,
        *,
        vary: Iterable[ContextVar[Any]] | Inherit,
        backend: Coalescer | None | Inherit,
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
        return replace(self, **given)


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
        backend: Coalescer | None | Inherit = INHERIT,
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
        backend: Coalescer | None | Inherit = INHERIT,
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
            backend: the coalescer; ``None`` for ``get_request_coalescer()``, looked up when first needed.
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
            backend=backend,
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
        backend: Coalescer | None | Inherit = INHERIT,
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
                backend=backend,
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
        terms = FlightTerms(
            name=chosen,
            max_wait_seconds=options.max_wait_seconds,
            fetch_timeout_seconds=options.fetch_timeout_seconds,
            on_abandon=options.on_abandon,
            observers=Observers.of(options.observers),
            outside_key=recipe.outside,
            describe=recipe.describe,
        )
        workings = Workings(wrapped, recipe=recipe, terms=terms, backend=options.backend, enabled=options.enabled)
        call = workings.compile(signature)
        defaults.list_function(workings)
    return call
