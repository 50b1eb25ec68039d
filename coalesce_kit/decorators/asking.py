"""Which coalescer a function asks: its backend, or the default one, looked up when first needed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from .. import defaults
from ..protocols import Coalescer, FlightTerms, Key, Reserve

R = TypeVar("R")

_MAX_FLIGHT_SECONDS: Final = 60.0
"""For a coalescer that does not say."""


class Asking:
    """Finds one function's coalescer, and asks it.

    Args:
        backend: the coalescer that its decorator was given; ``None`` for the default one.
    """

    __slots__ = ("_backend", "_default")

    def __init__(self, backend: Coalescer | None) -> None:
        self._backend = backend
        self._default: Coalescer | None = None

    @property
    def uses_default(self) -> bool:
        """Whether it is the default one."""
        return self._backend is None

    @property
    def found(self) -> Coalescer | None:
        """The coalescer; ``None`` while the default one was not looked up."""
        return self._default if self._backend is None else self._backend

    def find(self) -> Coalescer:
        """Return the coalescer, the default one looked up if need be."""
        coalescer = self.found
        if coalescer is None:
            coalescer = self._default = defaults.get_request_coalescer()
        return coalescer

    def forget_default(self) -> None:
        """Look the default one up again when it is needed next."""
        self._default = None

    def max_flight_seconds(self) -> float:
        """Return how long a fetch that nobody waits for may run: as long as the coalescer has it joined."""
        seconds: float = getattr(self.find(), "max_flight_seconds", _MAX_FLIGHT_SECONDS)
        return seconds

    def max_wait_seconds(self) -> float | None:
        """Return the coalescer's limit for one waiter; ``None`` without one, or where the coalescer does not say."""
        seconds: float | None = getattr(self.find(), "max_wait_seconds", None)
        return seconds

    def ask(
        self, key: Key, fetch: Callable[[], Awaitable[R]], /, *, reserve: Reserve | None, terms: FlightTerms | None
    ) -> Awaitable[R]:
        """Ask it for a key."""
        return self.find().get_or_fetch(key, fetch, reserve=reserve, terms=terms)
