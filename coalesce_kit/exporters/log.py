"""Logging what happens to fetches: failures, slow ones and changes of state, as structured records.

::

    @coalesced(observers=(LogObserver(slow_fetch_seconds=2),))
    async def odds(league: str) -> Odds: ...
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from ..stats.observer import FetchEnded, Observer, StateChanged
from ..stats.symptoms import one_line

MOST_SUBJECTS: Final = 1024
"""So many functions and parts of the machinery are told apart when records are counted and left out."""

WELL: Final = frozenset({"healthy", "connected", "closed"})
"""The states in which all is well, whatever it is that has states."""

_COLUMNS: Final = 200


class LogObserver(Observer):
    """Logs each fetch that failed or was slow, and each change of state, and not the same a hundred times a second.

    The message of a record begins with the constant name of the event: ``fetch_failed``, ``slow_fetch`` or
    ``state_changed``. They are warnings, but for a change to a state in which all is well, which is INFO. The facts are
    the record's attributes (``extra``): ``function``, ``elapsed_seconds``, ``waiters``, ``error_type``,
    ``threshold_seconds``; ``subject``, ``before``, ``after``, ``reason``; and ``left_out``, how many of the same kind
    about the same function were not logged since the last one.
    Values, arguments and the texts of errors are in none of them. Keys are logged at DEBUG only, each in a record of
    its own: ``fetch_failed_key``, ``slow_fetch_key``.

    Fetches that were cancelled have not failed: mostly their callers left. Those that timed out have.

    Args:
        slow_fetch_seconds: a fetch that ran longer is slow.
        every_seconds: of one kind and one function there is at most one record in so many seconds.
        into: the logger; without one ``coalesce_kit.exporters.log``.
        now: float seconds that never go back.

    Raises:
        ValueError: a number of seconds is negative.

    Concurrency: may observe any number of functions in any number of threads.
    """

    def __init__(
        self,
        *,
        slow_fetch_seconds: float = 5.0,
        every_seconds: float = 10.0,
        into: logging.Logger | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        for name, seconds in (("slow_fetch_seconds", slow_fetch_seconds), ("every_seconds", every_seconds)):
            if not seconds >= 0:
                raise ValueError(f"{name} must be at least 0, not {seconds!r}")
        self._slow_fetch_seconds = slow_fetch_seconds
        self._into = logging.getLogger(__name__) if into is None else into
        self._rate = _Rate(every_seconds, now)

    def fetch_ended(self, event: FetchEnded, /) -> None:
        """Log a fetch that failed, or else one that was slow."""
        facts: dict[str, object] = {
            "function": one_line(event.function, columns=_COLUMNS),
            "elapsed_seconds": event.elapsed_seconds,
            "waiters": event.waiters,
        }
        if event.error is not None:
            if event.cancelled:
                return
            facts["error_type"] = _type_name(event.error)
            self._log("fetch_failed", "of {function} after {elapsed_seconds:.3f} s: {error_type}", facts, event)
        elif event.elapsed_seconds > self._slow_fetch_seconds:
            facts["threshold_seconds"] = self._slow_fetch_seconds
            self._log("slow_fetch", "of {function}: {elapsed_seconds:.3f} s", facts, event)

    def state_changed(self, event: StateChanged, /) -> None:
        """Log that a part of the machinery works differently from now on."""
        told = {"subject": event.subject, "before": event.before, "after": event.after, "reason": event.reason}
        facts: dict[str, object] = {name: one_line(text, columns=_COLUMNS) for name, text in told.items()}
        level = logging.INFO if event.after in WELL else logging.WARNING
        self._log("state_changed", "{subject} from {before} to {after}: {reason}", facts, level=level)

    def _log(
        self,
        name: str,
        words: str,
        facts: Mapping[str, object],
        event: FetchEnded | None = None,
        *,
        level: int = logging.WARNING,
    ) -> None:
        left_out = self._rate.admit(name, str(facts.get("function", facts.get("subject"))), str(facts.get("after", "")))
        if left_out is None:
            return
        self._into.log(level, "%s: %s", name, words.format_map(facts), extra={**facts, "left_out": left_out})
        if event is not None and self._into.isEnabledFor(logging.DEBUG):
            key = one_line(event.text, columns=_COLUMNS)
            self._into.debug("%s_key: %s", name, key, extra={"function": facts["function"], "key": key})


class _Rate:
    """Admits one record of a kind in so many seconds, and counts those that it does not."""

    def __init__(self, every_seconds: float, now: Callable[[], float]) -> None:
        self._every_seconds = every_seconds
        self._now = now
        self._kinds: dict[tuple[str, ...], tuple[float, int]] = {}  # when the last one was admitted; left out since
        self._lock = threading.Lock()

    def admit(self, *kind: str) -> int | None:
        """Return how many were left out before this one; ``None`` to leave this one out, too."""
        now = self._now()
        with self._lock:
            last, left_out = self._kinds.pop(kind, (None, 0))
            if last is not None and now - last < self._every_seconds:
                self._kinds[kind] = last, left_out + 1
                return None
            while len(self._kinds) >= MOST_SUBJECTS:
                del self._kinds[next(iter(self._kinds))]
            self._kinds[kind] = now, 0
            return left_out


def _type_name(error: BaseException) -> str:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return one_line(name, columns=_COLUMNS)
