"""The workers behind one address: the last answer of each, their sums, and rates that are made within one worker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Final

from ..stats.counters import NO_GAUGES, CoalescerStats, Counters
from ..stats.health import STATUSES
from .client import Answer, Reason

QUIET_ROUNDS: Final = 20
"""A worker that is silent for so many rounds of questions, or for eight times as many as there are workers, is left
out: with workers that answer at random, one in three thousand is left out wrongly."""

NEAREST_SECONDS: Final = 0.25
"""Two answers nearer to each other than this are too near to divide by."""

MOST_QUESTIONS: Final = 64
"""So many questions are asked to find all workers."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What happens in a second, as a mean between two answers of one worker, or the sum of that over workers."""

    requests: float = 0.0
    fetches: float = 0.0

    def __add__(self, other: Rates) -> Rates:
        return Rates(self.requests + other.requests, self.fetches + other.fetches)


@dataclass(frozen=True, slots=True)
class Line:
    """One function over all workers: its numbers, and its rates once they are known."""

    stats: CoalescerStats
    rates: Rates | None


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """All workers together, at one moment.

    Attributes:
        status: the worst of those that answer.
        reasons: theirs, each once.
        functions: the sums by name; gauges and rates of the workers that answer alone.
        gone: the sum of functions that exist no more.
        totals: the sum of everything.
        answers: the last answer of every worker, those that have been silent lately too.
        answering: how many of them are not silent.
        left_out: the numbers of the processes that were silent for too long.
    """

    status: str
    reasons: Sequence[Reason]
    functions: Mapping[str, Line]
    gone: CoalescerStats
    totals: Line
    answers: Sequence[Answer]
    answering: int
    left_out: Sequence[int]


@dataclass(slots=True, eq=False)
class _Worker:
    """One worker: what it said last, and what the rates are the difference to."""

    last: Answer
    base: Answer
    heard: int
    rates: dict[str, Rates] = field(default_factory=dict)
    total_rates: Rates | None = None

    def hear(self, answer: Answer, at: int) -> None:
        self.heard = at
        if answer.uptime_seconds < self.last.uptime_seconds:  # another registry: it counts from the beginning again
            self.base, self.rates, self.total_rates = answer, {}, None
        self.last = answer

    def settle(self) -> None:
        seconds = self.last.uptime_seconds - self.base.uptime_seconds
        if seconds < NEAREST_SECONDS:
            return
        before = self.base.functions
        self.rates = {name: _rates(stats, before.get(name), seconds) for name, stats in self.last.functions.items()}
        self.total_rates = _rates(self.last.totals, self.base.totals, seconds)
        self.base = self.last


class Workers:
    """The workers behind one address.

    Numbers of different workers are added and never subtracted: which of them answers is chance, and the difference
    between two of them is nothing.

    Args:
        ask: asks one worker, whichever it is.
    """

    def __init__(self, ask: Callable[[], Answer]) -> None:
        self._ask = ask
        self._workers: dict[str, _Worker] = {}
        self._round = 0
        self._left_out: list[int] = []

    def find(self, *, expected: int | None = None, patience_seconds: float = 5.0) -> View:
        """Ask until nobody new answers any more, and return what was heard.

        Args:
            expected: how many workers there are, if that is known: no question is asked after the last of them.
            patience_seconds: no question is asked after so many seconds.

        Raises:
            ClientError: a question was not answered.
        """
        deadline = time.monotonic() + patience_seconds
        self._round += 1
        nothing_new = 0
        for _ in range(MOST_QUESTIONS):
            known = len(self._workers)
            self._hear(self._ask())
            nothing_new = 0 if len(self._workers) > known else nothing_new + 1
            known = len(self._workers)
            enough = known >= expected if expected else nothing_new >= max(4, 4 * known)
            if enough or time.monotonic() > deadline:
                break
        return self.view()

    def look(self) -> View:
        """Ask as many as are known, up to four, and now and then for another one; return everything so far.

        Raises:
            ClientError: a question was not answered. What was heard before stays.
        """
        known = len(self._workers)
        questions = min(known, 4) if known > 1 else 3 if self._round % 8 == 0 else 1
        self._round += 1
        for _ in range(questions):
            self._hear(self._ask())
        for worker in self._workers.values():
            if worker.heard == self._round:
                worker.settle()
        for instance, worker in list(self._workers.items()):
            if self._round - worker.heard >= max(QUIET_ROUNDS, 8 * len(self._workers)):
                self._left_out.append(self._workers.pop(instance).last.pid)
        return self.view()

    def view(self) -> View:
        """Return everything that was heard, summed."""
        quiet = max(5, 3 * len(self._workers))
        speaking = [worker for worker in self._workers.values() if self._round - worker.heard < quiet]
        silent = [worker for worker in self._workers.values() if worker not in speaking]
        names = dict.fromkeys(name for worker in [*speaking, *silent] for name in worker.last.functions)
        reasons = {
            (reason.code, reason.function): reason for worker in speaking for reason in reversed(worker.last.reasons)
        }
        levels = [STATUSES.index(worker.last.status) for worker in speaking if worker.last.status in STATUSES]
        return View(
            status=STATUSES[max(levels)] if levels else "unknown",
            reasons=list(reversed(reasons.values())),
            functions={name: _line(name, speaking, silent) for name in names},
            gone=_added("gone", [worker.last.gone for worker in speaking], [worker.last.gone for worker in silent]),
            totals=Line(
                _added("total", [worker.last.totals for worker in speaking], [worker.last.totals for worker in silent]),
                _sum(worker.total_rates for worker in speaking),
            ),
            answers=[worker.last for worker in [*speaking, *silent]],
            answering=len(speaking),
            left_out=self._left_out[-3:],
        )

    def _hear(self, answer: Answer) -> None:
        worker = self._workers.get(answer.instance)
        if worker is None:
            worker = self._workers[answer.instance] = _Worker(answer, answer, self._round)
        worker.hear(answer, self._round)


def _line(name: str, speaking: Sequence[_Worker], silent: Sequence[_Worker]) -> Line:
    now = [worker.last.functions[name] for worker in speaking if name in worker.last.functions]
    once = [worker.last.functions[name] for worker in silent if name in worker.last.functions]
    return Line(_added(name, now, once), _sum(worker.rates.get(name) for worker in speaking))


def _added(name: str, now: Iterable[CoalescerStats], once: Iterable[CoalescerStats]) -> CoalescerStats:
    """The sum of counters; the gauges of those alone that say what is now."""
    total, gauges = Counters(), NO_GAUGES
    for stats in once:
        total.fold(stats)
    for stats in now:
        total.fold(stats)
        total.in_flight += stats.in_flight
        gauges += stats.gauges()
    return total.snapshot(name, gauges)


def _sum(rates: Iterable[Rates | None]) -> Rates | None:
    known = [rate for rate in rates if rate is not None]
    return sum(known, Rates()) if known else None


def _rates(after: CoalescerStats, before: CoalescerStats | None, seconds: float) -> Rates:
    moved = after if before is None or _began_again(before, after) else after - before
    return Rates(moved.total_requests / seconds, moved.fetches / seconds)


def _began_again(before: CoalescerStats, after: CoalescerStats) -> bool:
    """Whether the numbers began at zero in between: by a reset, or as a reload put another function under the name."""
    return after.resets != before.resets or any(getattr(after, name) < getattr(before, name) for name in _COUNTED)


_COUNTED: Final = tuple(
    number.name for number in fields(CoalescerStats) if number.name.endswith(("_requests", "_hits", "fetches"))
)
