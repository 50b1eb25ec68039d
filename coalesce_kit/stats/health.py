"""Health: whether the coalesced functions do well, and if not, why; made of nothing but snapshots."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Final, Literal, TypeAlias

from .registry import RegistrySnapshot
from .showing import NO_LIMITS
from .symptoms import SHARED_SYMPTOMS, SYMPTOMS, Counted, Measured, Sight, Symptom, one_line
from .thresholds import DEFAULT_THRESHOLDS, HealthThresholds

__all__ = ["DEFAULT_THRESHOLDS", "HealthReport", "HealthThresholds", "HealthWatch", "Reason", "Status", "judge"]

Status: TypeAlias = Literal["healthy", "warning", "degraded"]

STATUSES: Final[tuple[Status, ...]] = ("healthy", "warning", "degraded")
"""From the best to the worst."""

_What: TypeAlias = tuple[str, str | None]  # a reason's code and function

_LOOKS_PER_WINDOW: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why the status is not healthy: one number of one function that is, or just was, above its threshold.

    Attributes:
        code: what is wrong, for machines.
        function: the function's name; ``None`` where it is about what functions share.
        value: the number, as it is now.
        threshold: what it should not be above.
        text: what is wrong, for people, in one line.
        status: how bad it is.
        recovering: the number is good again, and not for long enough to be believed.
    """

    code: str
    function: str | None
    value: float
    threshold: float
    text: str
    status: Status
    recovering: bool = False

    def as_dict(self) -> dict[str, object]:
        """Return every field under its name, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReport:
    """How the coalesced functions do.

    Attributes:
        status: the worst of the reasons'; ``"healthy"`` without one.
        reasons: the worst first.
    """

    status: Status
    reasons: tuple[Reason, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """Return both under their names, ready for JSON."""
        return {"status": self.status, "reasons": [reason.as_dict() for reason in self.reasons]}


@dataclass(slots=True)
class _Held:
    """A reason that stands: how bad it is, what it was above, and since when it has been good, if it has."""

    level: int
    threshold: float
    good_since: float | None = None


@dataclass(frozen=True, slots=True)
class _Look:
    """What was counted at one moment: for each function how often it was reset, and its events."""

    at: float
    functions: Mapping[str, tuple[int, Counted]]


class HealthWatch:
    """Judges one snapshot after another: a status gets worse at once, and better when all has been good for a while.

    Give it a snapshot, get the report. It has no clock but the snapshots' own ``started_seconds_ago``. A snapshot of
    another process, or of a registry that began anew, is not compared with earlier ones: it forgets those first.

    Args:
        thresholds: what is too much.

    Concurrency: one thread at a time.
    """

    def __init__(self, thresholds: HealthThresholds = DEFAULT_THRESHOLDS) -> None:
        self._thresholds: Final = thresholds
        self._instance = ""
        self._looks: deque[_Look] = deque()
        self._held: dict[_What, _Held] = {}

    def look(self, snapshot: RegistrySnapshot) -> HealthReport:
        """Return how the functions do, in the light of the snapshots before this one."""
        now = snapshot.started_seconds_ago
        self._forget_strangers(snapshot.instance, now)
        base = self._base(now)
        counted = {name: (stats.resets, Counted.of(stats)) for name, stats in snapshot.functions.items()}
        if not self._looks or now - self._looks[-1].at >= self._thresholds.window_seconds / _LOOKS_PER_WINDOW:
            self._looks.append(_Look(now, counted))
        found: dict[_What, Measured] = {}
        for name, stats in snapshot.functions.items():
            limits = snapshot.function_limits.get(name, NO_LIMITS)
            sight = Sight(stats=stats, recent=_recent(name, counted[name], base), limits=limits)
            found.update(self._measure(SYMPTOMS, sight, name))
        everything = Sight(stats=snapshot.totals, recent=Counted(), limits=snapshot.limits)
        found.update(self._measure(SHARED_SYMPTOMS, everything, None))
        reasons = [reason for what in {**self._held, **found} if (reason := self._judge(what, found.get(what), now))]
        reasons.sort(key=lambda reason: (-STATUSES.index(reason.status), reason.function or "", reason.code))
        return HealthReport(status=reasons[0].status if reasons else STATUSES[0], reasons=tuple(reasons))

    def _measure(
        self, symptoms: Iterable[Symptom], sight: Sight, function: str | None
    ) -> Iterator[tuple[_What, Measured]]:
        for symptom in symptoms:
            for measured in symptom(sight, self._thresholds):
                yield (measured.code, function), measured

    def _forget_strangers(self, instance: str, now: float) -> None:
        if instance == self._instance and not (self._looks and now < self._looks[-1].at):
            return
        self._instance = instance
        self._held.clear()
        self._looks.clear()
        if now <= self._thresholds.window_seconds:
            self._looks.append(_Look(0.0, {}))  # whatever was counted so far happened within the window

    def _base(self, now: float) -> _Look | None:
        """The latest look from before the window, else the first of all; older ones are dropped."""
        while len(self._looks) > 1 and now - self._looks[1].at >= self._thresholds.window_seconds:
            self._looks.popleft()
        return self._looks[0] if self._looks else None

    def _judge(self, what: _What, measured: Measured | None, now: float) -> Reason | None:
        """Return the reason that stands now, if any; what could not be measured counts as good."""
        level = _level(measured)
        almost = _level(measured, 1 - self._thresholds.recovery_margin_percent / 100)
        held = self._held.get(what)
        if held is None:
            if not level:
                return None
            held = self._held[what] = _Held(level, _threshold(measured, level))
        elif level >= held.level:
            self._held[what] = held = _Held(level, _threshold(measured, level))
        elif almost >= held.level:
            held.good_since = None
        elif held.good_since is None:
            held.good_since = now
        elif now - held.good_since >= self._thresholds.recovery_seconds:
            if not almost:
                del self._held[what]
                return None
            self._held[what] = held = _Held(almost, _threshold(measured, almost))
        return _reason(what, held, measured, level)


def judge(*snapshots: RegistrySnapshot, thresholds: HealthThresholds = DEFAULT_THRESHOLDS) -> HealthReport:
    """Return how the functions do at the last of some snapshots, which are given in the order they were taken.

    Args:
        snapshots: at least one; with one alone, errors and time-outs count only if the process is that young.
        thresholds: what is too much.
    """
    watch = HealthWatch(thresholds)
    *earlier, last = snapshots
    for snapshot in earlier:
        watch.look(snapshot)
    return watch.look(last)


def _recent(name: str, counted: tuple[int, Counted], base: _Look | None) -> Counted:
    """What a function counted since ``base``: nothing if there is none to compare with."""
    if base is None:
        return Counted()
    resets, now = counted
    resets_then, then = base.functions.get(name, (resets, Counted()))
    return now.since(then) if resets == resets_then else now


def _level(measured: Measured | None, share: float = 1.0) -> int:
    """The index in ``STATUSES`` that a number alone stands for, at this share of its thresholds."""
    if measured is None:
        return 0
    if measured.value > measured.degraded_above * share:
        return 2
    return int(measured.value > measured.warning_above * share)


def _threshold(measured: Measured | None, level: int) -> float:
    assert measured is not None
    return measured.degraded_above if level == len(STATUSES) - 1 else measured.warning_above


def _reason(what: _What, held: _Held, measured: Measured | None, level: int) -> Reason:
    code, function = what
    recovering = level < held.level
    if measured is not None and level:
        text = measured.say(_threshold(measured, level))
    else:
        text = (
            f"{one_line(function or 'the process')} is good again as to {code}, but not for long enough to rely on it"
        )
    return Reason(
        code=code,
        function=function,
        value=0 if measured is None else measured.value,
        threshold=held.threshold,
        text=text,
        status=STATUSES[held.level],
        recovering=recovering,
    )
