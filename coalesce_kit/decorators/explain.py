"""What would become of one call, and why: looked at without counting or touching anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

from ..cache.policy import Verdict
from ..entry import Freshness
from ..protocols import FlightInfo

State: TypeAlias = Literal[
    "missing",
    "fresh",
    "stale",
    "expired",
    "remembered error",
    "in flight",
    "invalidated in flight",
    "over age",
    "no key",
    "off",
]
"""What is known of a key.

``fresh``, ``stale``, ``expired`` and ``remembered error``: what is kept, whatever is under way beside it; ``stale``
includes what is given only if a fetch fails. ``missing``: nothing is kept and nothing is under way. ``in flight``: a
fetch that a call would join. ``invalidated in flight`` and ``over age``: a fetch that keeps its callers and takes no
new ones. ``no key``: these arguments make none. ``off``: the function was decorated with ``enabled=False``.
"""

NextCall: TypeAlias = Literal["hit", "stale hit", "led", "joined", "rejected", "bypassed"]
"""How a call made now would be counted; ``bypassed`` if it is not counted at all."""

_SERVES: Final = frozenset({Verdict.SERVE, Verdict.SERVE_AND_REFRESH})

_WHY: Final[dict[State, str]] = {
    "missing": "nothing is kept for this key and no fetch is in flight: a call leads a new one",
    "in flight": "a fetch is in flight: a call joins it and gets the same answer",
    "invalidated in flight": "the fetch in flight began before an invalidation: its callers keep it, a call leads anew",
    "over age": "the fetch in flight was given up or is too old to be joined: its callers keep it, a call leads anew",
    "off": "enabled=False: a call runs the function itself, and nothing is counted",
}

_NEXT: Final[dict[State, NextCall]] = {
    "missing": "led",
    "in flight": "joined",
    "invalidated in flight": "led",
    "over age": "led",
    "no key": "rejected",
    "off": "bypassed",
}


class Found(NamedTuple):
    """What is kept for a key, and what a call would do with it.

    Attributes:
        freshness: what it is good for.
        verdict: what policy says to it.
        age_seconds: how long ago its fetch ended.
        fresh_seconds_left, usable_seconds_left: how long it is the answer, and of any use; negative when that is over.
        error: the class of the failure that is remembered; ``None`` for a value.
    """

    freshness: Freshness
    verdict: Verdict
    age_seconds: float
    fresh_seconds_left: float
    usable_seconds_left: float
    error: str | None

    @property
    def state(self) -> State:
        """What is known of the key by it."""
        if self.freshness is Freshness.EXPIRED:
            return "expired"
        if self.error is not None:
            return "remembered error"
        return "fresh" if self.freshness is Freshness.FRESH else "stale"

    def why(self, flight: NextCall) -> str:
        """Say what a call does with it, where ``flight`` is what a call that needs a fetch does."""
        if self.verdict in _SERVES:
            refreshing = " and has a newer one fetched in the background" if self.verdict is not Verdict.SERVE else ""
            what = {"fresh": "a fresh result", "remembered error": "a failure that is remembered"}
            answer = what.get(self.state, "a stale result")
            if self.state == "stale" and self.verdict is Verdict.SERVE:
                refreshing = ", as a fetch has just failed and none is tried for a while"
            return f"{answer} is kept: a call gets it at once{refreshing}"
        how = "leads a fetch" if flight == "led" else "joins the fetch in flight"
        if self.verdict is Verdict.WAIT_THEN_SERVE:
            return f"a stale result is kept: a call {how}, and gets the stale one if that takes too long"
        if self.freshness is Freshness.FALLBACK:
            return f"a stale result is kept for the case that the fetch fails: a call {how}"
        return f"what is kept is too old to be given: a call {how}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What would become of one call; ``str()`` of it is for people.

    Attributes:
        function: the function's name.
        key: the key as text.
        state: what is known of the key.
        next_call: how a call made now would be counted.
        age_seconds: how long ago the fetch of what is kept ended; ``None`` if nothing is.
        fresh_seconds_left: how long it is fresh; negative when it is not any more.
        usable_seconds_left: how long it is of any use; negative when it is not any more.
        in_flight_seconds: the age of the fetch in flight; ``None`` without one.
        waiters: callers who wait for it, its leader apart.
        why: the reason, in a sentence.
        notes: what else there is to know.
    """

    function: str
    key: str
    state: State
    next_call: NextCall
    age_seconds: float | None = None
    fresh_seconds_left: float | None = None
    usable_seconds_left: float | None = None
    in_flight_seconds: float | None = None
    waiters: int = 0
    why: str = ""
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.function}: {self.key}", f"  state: {self.state}"]
        if self.age_seconds is not None and self.fresh_seconds_left is not None:
            lines.append(f"  age: {self.age_seconds:.3f} s")
            if self.fresh_seconds_left > 0:
                lines.append(f"  fresh for: {self.fresh_seconds_left:.3f} s")
            if self.usable_seconds_left is not None and self.usable_seconds_left > max(self.fresh_seconds_left, 0):
                lines.append(f"  of use for: {self.usable_seconds_left:.3f} s")
        if self.in_flight_seconds is not None:
            lines.append(f"  in flight since: {self.in_flight_seconds:.3f} s")
            lines.append(f"  waiters: {self.waiters}")
        lines += [f"  a call now: {self.next_call}", f"  why: {self.why}"]
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


def explain_key(
    flights: Sequence[FlightInfo], found: Found | None, *, function: str, key: str, notes: tuple[str, ...]
) -> Explanation:
    """Explain a call whose key has these fetches in the air, in any order, and this kept."""
    state, flight = _judge(flights)
    next_call, why = _NEXT[state], _WHY[state]
    if found is not None:
        why = found.why(next_call)
        if found.verdict in _SERVES:
            next_call = "hit" if found.freshness is Freshness.FRESH else "stale hit"
        state = found.state
    return Explanation(
        function=function,
        key=key,
        state=state,
        next_call=next_call,
        age_seconds=None if found is None else found.age_seconds,
        fresh_seconds_left=None if found is None else found.fresh_seconds_left,
        usable_seconds_left=None if found is None else found.usable_seconds_left,
        in_flight_seconds=None if flight is None else flight.age_seconds,
        waiters=0 if flight is None else flight.waiters,
        why=why,
        notes=notes,
    )


def explain_off(*, function: str, key: str) -> Explanation:
    """Explain a call of a function that is switched off."""
    return Explanation(function=function, key=key, state="off", next_call=_NEXT["off"], why=_WHY["off"])


def explain_refusal(error: BaseException, *, function: str, key: str, notes: tuple[str, ...]) -> Explanation:
    """Explain a call whose arguments make no key."""
    return Explanation(
        function=function, key=key, state="no key", next_call=_NEXT["no key"], why=str(error), notes=notes
    )


def _judge(flights: Sequence[FlightInfo]) -> tuple[State, FlightInfo | None]:
    """Choose the fetch that decides: one that can be joined, or else the youngest."""
    youngest_first = sorted(flights, key=lambda flight: flight.age_seconds)
    for flight in youngest_first:
        if flight.joinable and flight.good:
            return "in flight", flight
    for flight in youngest_first:
        return ("over age" if flight.good else "invalidated in flight"), flight
    return "missing", None
