"""The registry as a monitoring system has to see it: rows by function, none of which goes back or away."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, fields
from hashlib import blake2b
from typing import Final

from ..stats.counters import CoalescerStats, Counters
from ..stats.process import process_registry
from ..stats.registry import GONE_NAME, RegistrySnapshot, StatsRegistry

MOST_LABEL_CHARACTERS: Final = 200

MOST_REMEMBERED: Final = 200
"""How many functions that are gone keep rows of their own."""


@dataclass(frozen=True, slots=True)
class Row:
    """What is shown under one name.

    Attributes:
        label: the name, as a label can bear it.
        stats: the numbers.
        living: whether the gauges mean anything: the function is there, or a fetch of one that is gone still runs.
    """

    label: str
    stats: CoalescerStats
    living: bool = True


@dataclass(frozen=True, slots=True)
class Look:
    """What is shown at one moment.

    Attributes:
        snapshot: the registry's numbers as they are.
        rows: what to show of them.
    """

    snapshot: RegistrySnapshot
    rows: tuple[Row, ...]


class Rows:
    """Looks at a registry again and again, and shows what only grows as something that only grows.

    When a function is gone, the registry counts its numbers among those of all that are gone. To who takes differences,
    as a ``rate()`` does, that row would leap by everything the function had ever counted, and its own would end; and if
    another function came by the same name, the row would begin again at 0. So what was last seen of it stays where it
    was, beneath whatever comes by that name later, and only the rest is shown under ``(functions that are gone)``.

    Args:
        registry: what is looked at; held weakly, as what shows it may live in another registry for ever.

    Concurrency: any thread.
    """

    def __init__(self, registry: StatsRegistry) -> None:
        self._registry: Final = weakref.ref(registry)
        self._lock: Final = threading.Lock()
        self._seen: dict[str, CoalescerStats] = {}  # the living, at the last look
        self._gone: CoalescerStats | None = None  # the others, at the last look
        self._past: dict[str, Counters] = {}  # what stays of functions that are gone, the longest gone first

    def look(self) -> Look | None:
        """Return what is to be shown now; ``None`` when the registry itself is gone."""
        registry = self._registry()
        if registry is None:
            return None
        with self._lock:
            snapshot = registry.snapshot()
            self._bury(snapshot)
            return Look(snapshot, tuple(self._shown(snapshot)))

    def _bury(self, snapshot: RegistrySnapshot) -> None:
        before = self._gone
        self._gone = snapshot.gone
        seen, self._seen = self._seen, dict(snapshot.functions)
        if before is not None and snapshot.gone.resets != before.resets:
            self._past.clear()
            return
        if before is None or not _is_less(before, snapshot.gone):
            return  # nobody has gone
        for name, stats in seen.items():
            now = snapshot.functions.get(name)
            if now is None or _is_less(now, stats):
                past = self._past.pop(name, None) or Counters()
                past.fold(stats)
                self._past[name] = past
        while len(self._past) > MOST_REMEMBERED:
            del self._past[next(iter(self._past))]

    def _shown(self, snapshot: RegistrySnapshot) -> Iterator[Row]:
        for name, stats in snapshot.functions.items():
            past = self._past.get(name)
            yield Row(label_of(name), stats if past is None else _on_top(past, stats))
        for name, past in self._past.items():
            if name not in snapshot.functions:
                yield Row(label_of(name), past.snapshot(name), living=False)
        told_apart = Counters()
        for past in self._past.values():
            told_apart.fold(past.snapshot(GONE_NAME))
        told_apart.resets = snapshot.gone.resets
        rest = snapshot.gone - told_apart.snapshot(GONE_NAME)
        if rest.in_flight or any(getattr(rest, number) for number in _SUMS):
            yield Row(GONE_NAME, rest)


_SUMS: Final = tuple(
    number.name
    for number in fields(Counters)
    if not number.name.endswith("_latency") and number.name not in ("max_concurrent_waiters", "in_flight", "resets")
)


def _is_less(one: CoalescerStats, other: CoalescerStats) -> bool:
    """Whether a number that only grows is less in ``one``."""
    return any(getattr(one, number) < getattr(other, number) for number in _SUMS)


def _on_top(past: Counters, stats: CoalescerStats) -> CoalescerStats:
    total = Counters()
    total.fold(past.snapshot(stats.name))
    total.fold(stats)
    total.in_flight = stats.in_flight
    return total.snapshot(stats.name, stats.gauges())


def registry_to_show(registry: StatsRegistry | None) -> StatsRegistry:
    """Return the registry that is to be shown: the one given, or that of every decorated function.

    Raises:
        TypeError: it is no ``StatsRegistry``.
    """
    if registry is None:
        return process_registry.find()
    if not isinstance(registry, StatsRegistry):
        raise TypeError(
            f"what is shown is a StatsRegistry, such as coalesce_kit.get_stats_registry(), not {registry!r}"
        )
    return registry


def label_of(name: str) -> str:
    """Return a function's name as a label can bear it: UTF-8, and at most 200 characters.

    A name that has to be changed for it gets a digest at its end, so that two stay two.
    """
    text = name.encode("utf-8", "backslashreplace").decode("utf-8")
    if text == name and len(name) <= MOST_LABEL_CHARACTERS:
        return name
    digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return f"{text[: MOST_LABEL_CHARACTERS - 9]}~{digest}"
