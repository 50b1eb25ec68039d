"""What a memory server keeps of one key."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from ..store_port import Kept, Outcome, OutcomeKind, PublishKind, Signal, StoreLifetimes

LINGER_SECONDS: Final = 60.0
"""How long a record outlives its lease: so long a late publish that nobody stands against is accepted."""

Channel: TypeAlias = Callable[[Signal], None]
"""Where one loop of one process hears. Called outside the server's lock, in the order of what happened."""


@dataclass(slots=True)
class Record:
    """What the server knows of one key. Moments are readings of the server's own clock."""

    # The result that is kept.
    body: bytes = b""
    version: str = ""
    fresh_until: float = -math.inf
    usable_until: float = -math.inf
    fetch_seconds: float = 0.0
    # The lease, and who waits for this token.
    token: str = ""
    lease_until: float = -math.inf
    waiting: dict[Channel, None] = field(default_factory=dict)
    # The last outcome that is not kept, for those who waited for its token.
    outcome_of: str = ""
    outcome: Outcome = field(default_factory=lambda: Outcome("once", b""))
    outcome_until: float = -math.inf
    # How long it is kept for those who ask late, whatever else.
    grace_until: float = -math.inf

    @property
    def expires_at(self) -> float:
        """When nothing in it is of use to anybody any more."""
        lease = self.lease_until + LINGER_SECONDS if self.token else -math.inf
        return max(self.usable_until, lease, self.outcome_until, self.grace_until)

    def end_lease(self) -> list[Channel]:
        """Drop the lease and return who waited for it."""
        waiting = list(self.waiting)
        self.token, self.lease_until, self.waiting = "", -math.inf, {}
        return waiting


def show(record: Record, now: float, have: str | None) -> Kept:
    """Return a record's result as it is shown to who has version ``have``."""
    return Kept(
        record.version,
        None if record.version == have else record.body,
        max(record.fresh_until - now, 0.0),
        max(record.usable_until - now, 0.0),
        record.fetch_seconds,
    )


def put(
    record: Record,
    now: float,
    token: str,
    body: bytes,
    kind: PublishKind,
    lifetimes: StoreLifetimes,
    fetch_seconds: float,
) -> None:
    """Write what was published into its record."""
    if kind == "keep":
        record.body, record.version, record.fetch_seconds = body, token, fetch_seconds
        record.fresh_until = now + lifetimes.fresh_seconds
        record.usable_until = now + lifetimes.usable_seconds
        record.grace_until = now + lifetimes.grace_seconds
        record.outcome_of, record.outcome_until = "", -math.inf
    else:
        outcome_kind: OutcomeKind = kind
        record.outcome_of, record.outcome = token, Outcome(outcome_kind, body)
        record.outcome_until = now + lifetimes.grace_seconds
