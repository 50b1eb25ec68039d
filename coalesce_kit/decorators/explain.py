"""What would become of one call, and why: looked at without counting or touching anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from ..protocols import FlightInfo

State: TypeAlias = Literal["missing", "in flight", "invalidated in flight", "over age", "no key", "off"]
"""What is known of a key.

``missing``: nothing is kept and nothing is under way. ``in flight``: a fetch that a call would join. ``invalidated in
flight`` and ``over age``: a fetch that keeps its callers and takes no new ones. ``no key``: these arguments make none.
``off``: the function was decorated with ``enabled=False``.
"""

NextCall: TypeAlias = Literal["led", "joined", "rejected", "bypassed"]
"""How a call made now would be counted; ``bypassed`` if it is not counted at all."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What would become of one call; ``str()`` of it is for people.

    Attributes:
        function: the function's name.
        key: the key as text.
        state: what is known of the key.
        next_call: how a call made now would be counted.
        in_flight_seconds: the age of the fetch in flight; ``None`` without one.
        waiters: callers who wait for it, its leader apart.
        why: the reason, in a sentence.
        notes: what else there is to know.
    """

    function: str
    key: str
    state: State
    next_call: NextCall
    in_flight_seconds: float | None = None
    waiters: int = 0
    why: str = ""
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.function}: {self.key}", f"  state: {self.state}"]
        if self.in_flight_seconds is not None:
            lines.append(f"  in flight since: {self.in_flight_seconds:.3f} s")
            lines.append(f"  waiters: {self.waiters}")
        lines += [f"  a call now: {self.next_call}", f"  why: {self.why}"]
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


def explain_flights(flights: Sequence[FlightInfo], *, function: str, key: str, notes: tuple[str, ...]) -> Explanation:
    """Explain a call whose key has these fetches in the air, in any order."""
    state, flight = _judge(flights)
    return Explanation(
        function=function,
        key=key,
        state=state,
        next_call=_NEXT[state],
        in_flight_seconds=None if flight is None else flight.age_seconds,
        waiters=0 if flight is None else flight.waiters,
        why=_WHY[state],
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
