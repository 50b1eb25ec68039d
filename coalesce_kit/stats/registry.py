"""The registry: every decorated function's numbers by name, their totals, and what is printed of them."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from heapq import nlargest

from .counters import NO_GAUGES, CoalescerStats, Counters, Gauges, process_instance
from .showing import NO_LIMITS, FlightSeen, Limits
from .table import render_table
from .version import __version__

TOTALS_NAME = "total"
GONE_NAME = "(functions that are gone)"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySnapshot:
    """The numbers of every function at one moment; ``str()`` of it is a table of at most 100 columns.

    Attributes:
        instance: random per process.
        pid: the process's number on its host.
        started_seconds_ago: how long the registry has been counting.
        functions: the numbers of each living function by its name, in the order of registration.
        gone: the numbers of functions that exist no more, together.
        totals: the sums over ``functions`` and ``gone``; its gauges are sums too, its maxima and ages the largest.
        limits: those of the process's default coalescer.
        function_limits: those of each function by its name, where they are known.
        version: of the package that counted.
    """

    instance: str
    pid: int
    started_seconds_ago: float
    functions: Mapping[str, CoalescerStats]
    gone: CoalescerStats
    totals: CoalescerStats
    limits: Limits = NO_LIMITS
    function_limits: Mapping[str, Limits] = field(default_factory=dict)
    version: str = __version__

    def as_dict(self) -> dict[str, object]:
        """Return everything under its name, ready for JSON."""
        return {
            "instance": self.instance,
            "pid": self.pid,
            "started_seconds_ago": self.started_seconds_ago,
            "version": self.version,
            "config": {
                **self.limits.as_dict(),
                "functions": {name: limits.as_dict() for name, limits in self.function_limits.items()},
            },
            "functions": {name: stats.as_dict() for name, stats in self.functions.items()},
            "gone": self.gone.as_dict(),
            "totals": self.totals.as_dict(),
        }

    def __str__(self) -> str:
        return render_table(self.functions.values(), gone=self.gone, totals=self.totals)


@dataclass(slots=True, eq=False)
class _Source:
    """One function's share of a row."""

    counters: Counters
    gauges: Callable[[], Gauges]
    limits: Callable[[], Limits]
    flights: Callable[[int], Iterable[FlightSeen]]
    gone: bool = False


class _Row:
    """The numbers under one name: of the function that has it, and of those that had it before a reload.

    A function may be gone while a fetch of its own still runs and counts (``on_abandon="finish"``, a refresh): its
    source settles, into ``past``, when none is in flight.
    """

    __slots__ = ("name", "past", "sources")

    def __init__(self, name: str) -> None:
        self.name = name
        self.sources: list[_Source] = []
        self.past: Counters | None = None

    def is_gone(self) -> bool:
        return all(source.gone for source in self.sources)

    def settle(self) -> None:
        for source in [source for source in self.sources if source.gone and not source.counters.in_flight]:
            self.sources.remove(source)
            self.past = self.past or Counters()
            self.past.fold(source.counters.snapshot(self.name))

    def look(self) -> Gauges:
        return sum((source.gauges() for source in self.sources), NO_GAUGES)

    def look_at_limits(self) -> Limits:
        # Of the newest: a reloaded function shares the row of the one that it replaces.
        return self.sources[-1].limits() if self.sources else NO_LIMITS

    def snapshot(self, gauges: Gauges) -> CoalescerStats:
        parts = [source.counters.snapshot(self.name, gauges) for source in self.sources]
        if self.past is None and len(parts) == 1:
            return parts[0]
        return _sum(self.name, parts if self.past is None else [self.past.snapshot(self.name), *parts], gauges)


class StatsRegistry:
    """The rows of numbers of all decorated functions of this process, by name.

    Functions are held by their numbers only: the registry keeps none alive. When one is gone, its numbers move into
    the totals, which therefore never go back except by ``reset``.

    Args:
        now: float seconds that never go back.
        limits: looks at the limits of the default coalescer, for who wants to know.

    Concurrency: everything may be called from any thread; ``fold`` takes no lock.
    """

    def __init__(
        self, *, now: Callable[[], float] = time.monotonic, limits: Callable[[], Limits] = lambda: NO_LIMITS
    ) -> None:
        self._now = now
        self._limits = limits
        self._started = now()
        self._rows: dict[str, _Row] = {}
        self._leaving: list[_Row] = []  # without a function, but with a fetch in flight
        self._gone = Counters()
        self._dead: deque[tuple[str, Counters]] = deque()  # written by weak-reference callbacks, which take no lock
        # Reentrant: a finalizer that looks at the numbers may run while they are being moved.
        self._lock = threading.RLock()

    def register(
        self,
        name: str,
        counters: Counters,
        *,
        gauges: Callable[[], Gauges] = lambda: NO_GAUGES,
        limits: Callable[[], Limits] = lambda: NO_LIMITS,
        flights: Callable[[int], Iterable[FlightSeen]] = lambda _: (),
    ) -> None:
        """Give the row called ``name`` to a function; one that has it already shares it to its end.

        Args:
            name: the function's name.
            counters: where the function counts.
            gauges: looks at the function's gauges, in any thread; must not hold the function itself.
            limits: looks at its limits, likewise.
            flights: looks at so many of its oldest fetches in the air, likewise.
        """
        with self._lock:
            self._bury()
            row = self._rows.setdefault(name, _Row(name))
            for source in row.sources:
                if source.counters is counters:
                    source.gauges, source.limits, source.flights, source.gone = gauges, limits, flights, False
                    return
            row.sources.append(_Source(counters, gauges, limits, flights))

    def fold(self, name: str, counters: Counters) -> None:
        """Let the numbers of a function that is gone count on in the totals. Nothing happens if it has no row.

        Only noted here and done when somebody looks: a weak-reference callback calls this, at any moment, in any
        thread, perhaps while that thread is inside the registry.
        """
        self._dead.append((name, counters))

    def stats(self, name: str) -> CoalescerStats:
        """Return the numbers under one name.

        Raises:
            KeyError: there is no such function.
        """
        with self._lock:
            self._bury()
            row = self._rows[name]
        gauges = row.look()
        with self._lock:
            return row.snapshot(gauges)

    def snapshot(self) -> RegistrySnapshot:
        """Return the numbers of every function, and their totals."""
        with self._lock:
            self._bury()
            rows, leaving = list(self._rows.values()), list(self._leaving)
        # Without the lock: looking may take another one.
        gauges = {row.name: row.look() for row in rows}
        gauges_leaving = sum((row.look() for row in leaving), NO_GAUGES)
        limits = {row.name: row.look_at_limits() for row in rows}
        with self._lock:
            self._bury()
            functions = {name: row.snapshot(gauges.get(name, NO_GAUGES)) for name, row in self._rows.items()}
            parts = [self._gone.snapshot(GONE_NAME), *(row.snapshot(NO_GAUGES) for row in self._leaving)]
        gone = _sum(GONE_NAME, parts, gauges_leaving)
        return RegistrySnapshot(
            instance=process_instance(),
            pid=os.getpid(),
            started_seconds_ago=self._now() - self._started,
            functions=functions,
            gone=gone,
            totals=_sum(TOTALS_NAME, [gone, *functions.values()], sum(gauges.values(), gauges_leaving)),
            limits=self._limits(),
            function_limits=limits,
        )

    def flights(self, *, at_most: int) -> list[FlightSeen]:
        """Return the oldest fetches in the air, with their keys, which hold arguments of calls.

        Args:
            at_most: so many of them.
        """
        with self._lock:
            self._bury()
            sources = [source for row in (*self._rows.values(), *self._leaving) for source in row.sources]
        seen = (flight for source in sources for flight in source.flights(at_most))
        return nlargest(at_most, seen, key=lambda flight: flight.age_seconds)

    def reset(self) -> None:
        """Set every number to zero, of the functions that are gone too; gauges stay what they are."""
        with self._lock:
            self._bury()
            self._gone.reset()
            for row in (*self._rows.values(), *self._leaving):
                if row.past is not None:
                    row.past.reset()
                for source in row.sources:
                    source.counters.reset()

    def __len__(self) -> int:
        with self._lock:
            self._bury()
            return len(self._rows)

    def __str__(self) -> str:
        return str(self.snapshot())

    def __repr__(self) -> str:
        return f"<StatsRegistry of {len(self)} functions>"

    def _bury(self) -> None:
        while self._dead:
            name, counters = self._dead.popleft()
            row = self._rows.get(name)
            if row is None:
                continue
            for source in row.sources:
                source.gone |= source.counters is counters
            row.settle()
            if row.is_gone():
                self._leaving.append(self._rows.pop(name))
        for row in self._leaving:
            row.settle()
        for row in [row for row in self._leaving if not row.sources]:
            self._leaving.remove(row)
            self._gone.fold(row.snapshot(NO_GAUGES))


def _sum(name: str, parts: Iterable[CoalescerStats], gauges: Gauges) -> CoalescerStats:
    total = Counters()
    for part in parts:
        total.fold(part)
        total.in_flight += part.in_flight
    return total.snapshot(name, gauges)
