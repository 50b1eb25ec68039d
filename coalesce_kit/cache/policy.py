"""How long results are used, and what is done with one that is at hand: pure rules over an entry and a time.

Nothing here reads a clock or draws a random number: both are arguments, so that a rule can be asked about any moment.

Source: RFC 5861 for the two stale windows; FusionCache's fail-safe for the throttle that never extends them.
"""

from __future__ import annotations

import enum
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, TypeAlias, cast

from ..durations import Duration, to_seconds
from ..entry import Entry, Freshness, Lifetimes
from ..errors import (
    CoalescerClosedError,
    ConfigurationError,
    KeyDerivationError,
    RecursiveFetchError,
    UnshareableResultError,
)

Ttl: TypeAlias = Duration | Callable[[Any], Duration]
"""A lifetime, or a function of the result that returns one."""

LONGEST_RETRY_SECONDS: Final = 60.0
"""The throttle grows to this, or to ``retry_after_error_seconds`` if that is more."""

RETRY_JITTER: Final = 0.25
"""The largest share by which a wait of the throttle is lengthened, so that processes do not try in step."""

NEVER_MASKED: Final = (
    ConfigurationError,
    KeyDerivationError,
    RecursiveFetchError,
    CoalescerClosedError,
    UnshareableResultError,
)
"""Mistakes of the program, and not the upstream's trouble: a stale value would only hide them."""


class Verdict(enum.Enum):
    """What a call does with what is at hand. Whether that is fresh or stale, the entry's freshness tells."""

    SERVE = "serve"
    """Return it."""

    SERVE_AND_REFRESH = "serve and refresh"
    """Return it and have a newer one fetched in the background."""

    WAIT_THEN_SERVE = "wait, then serve"
    """Join or lead a fetch; return it if that takes longer than ``stale_wait_seconds``."""

    FETCH = "fetch"
    """Join or lead a fetch; return it at most if that fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePolicy:
    """How long the results of one function are used.

    Attributes:
        ttl: how long a result is fresh, from the end of its fetch: seconds, a ``timedelta``, ``math.inf`` (until it is
            invalidated or evicted), or a function of the result that returns one of these. 0: never fresh, only the
            windows below serve.
        stale_while_revalidate: for so long after that, callers get the old value at once while a new one is fetched.
        stale_if_error: for so long after it was fresh, callers get the old value if the fetch fails.
        stale_wait_seconds: how long a caller who could have the old value at once first waits for a new one.
        refresh_ahead: the fraction of the ttl after which a reader starts a refresh in the background although the
            value is fresh; ``None`` for never.
        jitter: the largest fraction by which a ttl is shortened at random, so that what was fetched together does not
            expire together.
        error_ttl: failures that are remembered, by exception class, and for how long. The nearest class in the error's
            method resolution order decides.
        cache_if: tells of a result whether it may be kept; without it every result may.
        retry_after_error_seconds: how long after a failed fetch no other is tried while an old value can be given.
            Doubles with every further failure, up to a minute. It never extends a stale window.
        always_raise: failures that are raised although an old value could be given.

    Raises:
        ConfigurationError: a value is out of its range.
    """

    ttl: Ttl = 0.0
    stale_while_revalidate: Duration = 0.0
    stale_if_error: Duration = 0.0
    stale_wait_seconds: Duration = 0.0
    refresh_ahead: float | None = None
    jitter: float = 0.0
    error_ttl: Mapping[type[Exception], Duration] = field(default_factory=dict, hash=False)
    cache_if: Callable[[Any], bool] | None = None
    retry_after_error_seconds: Duration = 1.0
    always_raise: type[Exception] | tuple[type[Exception], ...] = ()

    def __post_init__(self) -> None:
        settle = object.__setattr__
        if callable(self.ttl):
            _refuse_async(self.ttl, name="ttl")
        else:
            settle(self, "ttl", to_seconds(self.ttl, name="ttl", zero=True, infinite=True))
        for name in ("stale_while_revalidate", "stale_if_error"):
            settle(self, name, to_seconds(getattr(self, name), name=name, zero=True, infinite=True))
        for name in ("stale_wait_seconds", "retry_after_error_seconds"):
            settle(self, name, to_seconds(getattr(self, name), name=name, zero=True))
        if self.refresh_ahead is not None and _fraction(self.refresh_ahead, name="refresh_ahead") == 0:
            raise ConfigurationError("refresh_ahead must be greater than 0; None is for never")
        _fraction(self.jitter, name="jitter")
        if self.cache_if is not None:
            if not callable(self.cache_if):
                raise ConfigurationError(f"cache_if must be a function of the result, not {self.cache_if!r}")
            _refuse_async(self.cache_if, name="cache_if")
        settle(self, "error_ttl", MappingProxyType(_checked_error_ttl(self.error_ttl)))
        raised = self.always_raise if isinstance(self.always_raise, tuple) else (self.always_raise,)
        for error in raised:
            _require_exception_class(error, name="always_raise")
        settle(self, "always_raise", raised)

    @property
    def keeps_results(self) -> bool:
        """Whether any result can be of use after its own callers have it."""
        return bool(self.ttl) or self.keeps_stale

    @property
    def keeps_stale(self) -> bool:
        """Whether a result can be of use after its ttl."""
        return bool(self.stale_while_revalidate or self.stale_if_error)

    @property
    def keeps_anything(self) -> bool:
        """Whether there is anything to keep at all, a failure included."""
        return self.keeps_results or bool(self.error_ttl)

    def lifetimes(self, result: object, *, random: float) -> Lifetimes | None:
        """Return how long ``result`` may be used, or ``None`` if it is not to be kept. Calls ``cache_if`` and ``ttl``.

        Args:
            result: what the fetch returned.
            random: a number from 0 to 1 to draw the jitter with; the greater, the shorter the ttl.

        Raises:
            ConfigurationError: ``ttl`` returned what is no lifetime.
            Exception: whatever ``cache_if`` and ``ttl`` raise.
        """
        if self.cache_if is not None and not self.cache_if(result):
            return None
        if callable(self.ttl):
            seconds = to_seconds(self.ttl(result), name="what ttl() returned", zero=True, infinite=True)
        else:
            seconds = cast("float", self.ttl)
        fresh = seconds * (1 - self.jitter * random)
        lifetimes = Lifetimes(
            fresh_seconds=fresh,
            stale_seconds=cast("float", self.stale_while_revalidate),
            fallback_seconds=cast("float", self.stale_if_error),
            refresh_after_seconds=math.inf if self.refresh_ahead is None else fresh * self.refresh_ahead,
        )
        return lifetimes if lifetimes.usable_seconds > 0 else None

    def error_lifetimes(self, error: BaseException) -> Lifetimes | None:
        """Return how long ``error`` is remembered, or ``None`` if it is not."""
        for ancestor in type(error).__mro__:
            remembered = self.error_ttl.get(ancestor)
            if remembered is not None:
                return Lifetimes(cast("float", remembered))
        return None

    def judge(self, entry: Entry | None, now: float) -> Verdict:
        """Tell what a call does that finds ``entry`` at ``now``."""
        freshness = Freshness.EXPIRED if entry is None else entry.freshness(now)
        if entry is None or freshness is Freshness.EXPIRED:
            return Verdict.FETCH
        if freshness is Freshness.FRESH:
            return Verdict.SERVE_AND_REFRESH if now >= entry.refresh_at else Verdict.SERVE
        if now < entry.retry_at:
            return Verdict.SERVE
        if freshness is Freshness.FALLBACK:
            return Verdict.FETCH
        return Verdict.WAIT_THEN_SERVE if self.stale_wait_seconds else Verdict.SERVE_AND_REFRESH

    def masks(self, error: BaseException, entry: Entry | None, now: float) -> bool:
        """Tell whether a caller whose fetch, or whose wait for one, ended in ``error`` is given ``entry`` instead."""
        if entry is None or entry.error is not None or isinstance(error, NEVER_MASKED):
            return False
        if isinstance(error, self.always_raise):
            return False
        return isinstance(error, Exception) and now < entry.usable_until

    def retry_seconds(self, failures: int, *, random: float) -> float:
        """Return how long no fetch is tried after the ``failures``-th failure in a row.

        Args:
            failures: how many there were, at least 1.
            random: a number from 0 to 1; the greater, the longer.
        """
        first = cast("float", self.retry_after_error_seconds)
        doublings = min(failures - 1, 64)  # beyond that the limit has long been reached
        grown: float = first * 2**doublings * (1 + RETRY_JITTER * random)
        return min(grown, max(first, LONGEST_RETRY_SECONDS))


def _fraction(value: object, *, name: str) -> float:
    """Return ``value`` if it is a number from 0 up to, but not including, 1."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1:
        return value
    raise ConfigurationError(f"{name} must be a fraction, at least 0 and less than 1, not {value!r}")


def _refuse_async(function: object, *, name: str) -> None:
    if inspect.iscoroutinefunction(function):
        raise ConfigurationError(f"{name} must be a plain function of the result: an async one cannot be asked at once")


def _require_exception_class(error: object, *, name: str) -> None:
    if not (isinstance(error, type) and issubclass(error, Exception)):
        raise ConfigurationError(f"{name} takes classes of exceptions, not {error!r}")


def _checked_error_ttl(error_ttl: object) -> dict[type[Exception], float]:
    if not isinstance(error_ttl, Mapping):
        raise ConfigurationError(f"error_ttl must be a mapping of exception classes to durations, not {error_ttl!r}")
    for error in error_ttl:
        _require_exception_class(error, name="error_ttl")
    return {
        error: to_seconds(seconds, name=f"error_ttl[{error.__name__}]", infinite=True)
        for error, seconds in error_ttl.items()
    }
