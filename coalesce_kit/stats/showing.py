"""What can be seen of a function beside its numbers: the limits it works under, and its fetches in the air."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long callers wait and fetches run, in seconds; ``None`` is without limit, or not known.

    Attributes:
        max_wait_seconds: the longest that one caller waits for a fetch begun by another.
        fetch_timeout_seconds: the longest run of a fetch.
        max_flight_seconds: the age from which on a fetch in flight is not joined any more.
    """

    max_wait_seconds: float | None = None
    fetch_timeout_seconds: float | None = None
    max_flight_seconds: float | None = None

    def as_dict(self) -> dict[str, object]:
        """Return every limit under its name, ready for JSON."""
        return asdict(self)


NO_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class FlightSeen:
    """One fetch in the air, with its key as text: not for everybody's eyes, as keys hold arguments of calls.

    Attributes:
        function: the function's name.
        key: the key as people read it.
        age_seconds: how long it has been running.
        waiters: callers waiting for it now, the leader apart.
        zombie: it was given up (cancelled or timed out) and still runs.
        joinable: a new caller would join it.
    """

    function: str
    key: str
    age_seconds: float
    waiters: int
    zombie: bool
    joinable: bool

    def as_dict(self) -> dict[str, object]:
        """Return every field under its name, ready for JSON."""
        return asdict(self)
