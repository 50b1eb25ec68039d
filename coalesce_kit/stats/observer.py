"""Watching: events as frozen values, the ``Observer`` told of them, and the dispatcher that makes it harmless."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyedEvent:
    """Something that happened to one key of one function.

    Attributes:
        function: the function's name; the coalescer's, when it is used alone.
        key: the key itself. It holds arguments of the call, so it stays out of the event's ``repr``.
        describe: renders the key; asked only when somebody reads ``text``.
    """

    function: str
    key: object = field(repr=False)
    describe: Callable[[object], str] = field(default=repr, repr=False, compare=False)

    @property
    def text(self) -> str:
        """The key as people read it, rendered now."""
        return self.describe(self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchStarted(KeyedEvent):
    """A fetch is about to call the function. Told in the fetch's own context.

    Attributes:
        flight: which fetch: the same number in all events of one fetch and of those who wait for it, and another one
            for every other fetch in the air. A fetch that has ended may leave its number to a later one.
        refresh: it was begun for no caller: in the background, or by ``refresh()``.
    """

    flight: int = 0
    refresh: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchEnded(KeyedEvent):
    """A fetch has ended, before its callers run on. Told in the fetch's own context.

    Attributes:
        flight: which fetch, as when it started.
        elapsed_seconds: how long it ran.
        waiters: callers who were waiting for it at its end, the leader apart.
        error: what it failed with, cancellation and time-out included; ``None`` when it returned. Of one that was given
            up it is what its callers were told.
        cancelled: it was cancelled, because nobody waited for it any more, or from inside: no failure of the function.
    """

    flight: int = 0
    elapsed_seconds: float
    waiters: int = 0
    error: BaseException | None = None
    cancelled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WaiterJoined(KeyedEvent):
    """A caller has joined a fetch begun by another, perhaps before it started. Told in the waiter's context.

    Attributes:
        flight: which fetch.
        waiter: which caller: the same number when it leaves, and another one for everybody else who waits now.
        waiters: callers waiting for the fetch now, this one included, the leader apart.
        flight_age_seconds: how long the fetch had been running.
    """

    flight: int = 0
    waiter: int = 0
    waiters: int
    flight_age_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WaiterLeft(KeyedEvent):
    """A caller waits no longer, whatever the reason. Told in the waiter's context.

    Attributes:
        flight: which fetch, as when it joined; that one may have ended by now.
        waiter: which caller, as when it joined.
        waited_seconds: how long it waited.
        error: what it leaves with: the fetch's error, a time-out, its own cancellation; ``None`` with a value.
    """

    flight: int = 0
    waiter: int = 0
    waited_seconds: float
    error: BaseException | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Invalidated:
    """Something was invalidated. Told where ``invalidate*`` was called, which may be any thread.

    Attributes:
        function: the function's name; ``None`` when the invalidation names tags or everything.
        voided: how many fetches in the air may no longer be joined or kept.
        scope: what was invalidated.
        key: the key, when the scope is one; it stays out of the event's ``repr``.
        tags: the tags, when the scope is tags.
        describe: renders the key; asked only when somebody reads ``text``.
    """

    function: str | None
    voided: int
    scope: Literal["key", "function", "tags", "everything"] = "key"
    key: object = field(default=None, repr=False)
    tags: tuple[str, ...] = ()
    describe: Callable[[object], str] = field(default=repr, repr=False, compare=False)

    @property
    def text(self) -> str:
        """The key as people read it, rendered now; empty unless the scope is one key."""
        return self.describe(self.key) if self.scope == "key" else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChanged:
    """A part of the machinery works differently from now on.

    Attributes:
        subject: what has changed, such as a coalescer or a store, by its name.
        before: the state it was in.
        after: the state it is in.
        reason: why, for people.
    """

    subject: str
    before: str
    after: str
    reason: str = ""


class Observer:
    """Is told what happens: subclass it and override what you want to hear.

    Observers watch and change nothing. They are called in line, so they must be quick and must not block; one that
    raises is logged once and never called again. There is no event for a hit: a hit is a number. The set of a
    function's observers is fixed at decoration.

    Concurrency: called from every thread that runs a loop, and ``invalidated`` from any thread at all.
    """

    removed: bool = False
    """Whether it has raised, and is therefore not called any more. Written by the dispatcher that caught it."""

    def fetch_started(self, event: FetchStarted, /) -> None:
        """A fetch is about to call the function."""

    def fetch_ended(self, event: FetchEnded, /) -> None:
        """A fetch has ended."""

    def waiter_joined(self, event: WaiterJoined, /) -> None:
        """A caller has joined a fetch begun by another."""

    def waiter_left(self, event: WaiterLeft, /) -> None:
        """A caller waits no longer."""

    def invalidated(self, event: Invalidated, /) -> None:
        """A key, a function, tags or everything was invalidated."""

    def state_changed(self, event: StateChanged, /) -> None:
        """A part of the machinery works differently from now on."""


EVENTS: Final = ("fetch_started", "fetch_ended", "waiter_joined", "waiter_left", "invalidated", "state_changed")


class Observers:
    """Tells each event to the observers that override its method, in the order given, and survives what they raise.

    One that raises is logged once and removed, here and wherever else the same object observes. What ends the program
    (``KeyboardInterrupt``, ``SystemExit``) passes.

    Args:
        observers: who is told, each once.

    Raises:
        TypeError: one is no ``Observer``, or overrides an event with a coroutine function.
    """

    __slots__ = ("_listeners", "members")

    def __init__(self, observers: Iterable[Observer]) -> None:
        self.members: Final = tuple({id(observer): _checked(observer) for observer in observers}.values())
        self._listeners: Final = {
            name: tuple(member for member in self.members if _overrides(member, name)) for name in EVENTS
        }

    @classmethod
    def of(cls, observers: Iterable[Observer]) -> Observers | None:
        """Return the dispatcher for ``observers``, or ``None`` when no event would reach anybody.

        Raises:
            TypeError: one is no ``Observer``, or overrides an event with a coroutine function.
        """
        dispatcher = cls(observers)
        return dispatcher if any(dispatcher._listeners.values()) else None

    def fetch_started(self, event: FetchStarted) -> None:
        """Tell that a fetch is about to call the function."""
        self._tell("fetch_started", event)

    def fetch_ended(self, event: FetchEnded) -> None:
        """Tell that a fetch has ended."""
        self._tell("fetch_ended", event)

    def waiter_joined(self, event: WaiterJoined) -> None:
        """Tell that a caller has joined a fetch."""
        self._tell("waiter_joined", event)

    def waiter_left(self, event: WaiterLeft) -> None:
        """Tell that a caller waits no longer."""
        self._tell("waiter_left", event)

    def invalidated(self, event: Invalidated) -> None:
        """Tell that something was invalidated."""
        self._tell("invalidated", event)

    def state_changed(self, event: StateChanged) -> None:
        """Tell that a part of the machinery works differently from now on."""
        self._tell("state_changed", event)

    def _tell(self, name: str, event: KeyedEvent | Invalidated | StateChanged) -> None:
        for observer in self._listeners[name]:
            if observer.removed is True:  # by identity: a mock of an Observer answers with a mock, which is true
                continue
            try:
                getattr(observer, name)(event)
            except _ITS_OWN_FAULT as error:
                _remove(observer, name, event, error)


_ITS_OWN_FAULT: Final = (Exception, asyncio.CancelledError, GeneratorExit)
"""What an observer can be removed for. It is called and not awaited, so no cancellation reaches its task in there: a
``CancelledError`` is one that it raised itself, as by looking for a result, and to a caller it would be his own."""


def _remove(
    observer: Observer, name: str, event: KeyedEvent | Invalidated | StateChanged, error: BaseException
) -> None:
    # Marked before logging: a handler that itself ends in an event must find the observer gone.
    object.__setattr__(observer, "removed", True)  # an observer may be a frozen dataclass
    logger.error(
        "observer_removed",
        exc_info=error,
        extra={
            "observer": type(observer).__qualname__,
            "observed_event": name,
            "observed_function": None if isinstance(event, StateChanged) else event.function,
        },
    )


def _overrides(observer: Observer, name: str) -> bool:
    method = getattr(observer, name)
    return getattr(method, "__func__", method) is not getattr(Observer, name)


def _checked(observer: object) -> Observer:
    if not isinstance(observer, Observer):
        raise TypeError(f"an observer must be an instance of a subclass of coalesce_kit.Observer, not {observer!r}")
    for name in EVENTS:
        if inspect.iscoroutinefunction(getattr(observer, name)):
            raise TypeError(
                f"{type(observer).__qualname__}.{name} is a coroutine function, but observers are called, not awaited: "
                "make it a plain def, and let it put the event on a queue of your own"
            )
    return observer
