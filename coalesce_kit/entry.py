"""What one fetch brought and how long it may be used: the value that travels between the rooms of the package."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from .stats.counters import Counters


class Missing(enum.Enum):
    """The type of ``MISSING``: there is no value, which is something else than the value ``None``."""

    MISSING = enum.auto()

    def __repr__(self) -> str:
        return self.name


MISSING: Final = Missing.MISSING

MissingType: TypeAlias = Literal[Missing.MISSING]


class Freshness(enum.Enum):
    """What an entry is good for at one moment."""

    FRESH = "fresh"
    """It is the answer."""

    STALE = "stale"
    """It may be given while a newer one is fetched (``stale_while_revalidate``)."""

    FALLBACK = "fallback"
    """It may be given only if the fetch fails (``stale_if_error``)."""

    EXPIRED = "expired"
    """It is of no use any more, or was invalidated."""


class Lifetimes(NamedTuple):
    """How long a result may be used, counted from the end of its fetch. Sealed into the entry once.

    Attributes:
        fresh_seconds: it is the answer; 0 for never.
        stale_seconds: for so long after that it may be given while a newer one is fetched.
        fallback_seconds: for so long after it was fresh it may be given if a fetch fails.
        refresh_after_seconds: from then on a reader starts a refresh although it is fresh; ``math.inf`` for never.
    """

    fresh_seconds: float
    stale_seconds: float = 0.0
    fallback_seconds: float = 0.0
    refresh_after_seconds: float = math.inf

    @property
    def usable_seconds(self) -> float:
        """How long there is any use for it at all."""
        return self.fresh_seconds + max(self.stale_seconds, self.fallback_seconds)


class Node:
    """A result's place in the queues of a cache.

    Attributes:
        value: what is kept.
        key: what it is kept under; set when it is put into a cache.
        fingerprint: the hash of its key.
        size: what it counts against the cache's limit.
        uses: hits since it was last considered for eviction. Moved by readers without a lock: a lost one does no harm.
        in_main: it stands in the main queue, not in the small one.
        usable_until: the moment after which it may be dropped because nobody can use it; only entries have one.
        before, after: its neighbours; ``NOWHERE`` while it stands in no queue.
    """

    __slots__ = ("after", "before", "fingerprint", "in_main", "key", "size", "usable_until", "uses", "value")

    after: Node
    before: Node
    fingerprint: int
    in_main: bool
    key: Any
    size: float
    usable_until: float
    uses: int
    value: Any

    def __init__(self, value: object = MISSING) -> None:
        self.value = value


NOWHERE: Final = Node()
"""The neighbour of a node that stands in no queue; one object for all, and never in a queue itself."""
NOWHERE.after = NOWHERE.before = NOWHERE


class Tally:
    """What one function has in a cache.

    Attributes:
        held: how many entries, now.
        counters: where ``evictions`` is counted.
    """

    __slots__ = ("counters", "held")

    def __init__(self, counters: Counters) -> None:
        self.counters = counters
        self.held = 0


class Entry(Node):
    """A result, value or error, with its lifetimes, tags, ticket and cost.

    It is sealed by whoever fetched: value, error, tags and the moments of its life are never extended afterwards, only
    cut short by ``mark_dead``. Everybody who is given an entry reads the same object, in any thread, without a lock.
    A dead entry and a remembered error are never *fresh* by ``fresh_until``, so that the compiled call needs no other
    check than ``now() < entry.fresh_until`` to return ``entry.value``.

    Attributes:
        value: the result; ``MISSING`` if the fetch failed.
        error: the remembered failure, which is the answer until ``usable_until``; ``None`` if the fetch returned.
        ended_at: when the fetch ended.
        fetch_seconds: how long it took: the cost of another one.
        fresh_until, stale_until, fallback_until: the ends of the three stretches of its life.
        refresh_at: a reader who finds it fresh after this moment starts a refresh.
        retry_at: no fetch is tried before this moment while something stale can be given instead.
        failures: fetches in a row that failed since.
        tags: its tags, rendered.
        ticket: the number of the ticket it was published with; a greater one was taken later.
        epoch: the epoch of its tags in which it was last found valid.
        tally: the account that it is held on; set by the cache, as is ``instance``.
        instance: the cache's record of the instance that it was made for, or ``None``.
    """

    __slots__ = (
        "ended_at",
        "epoch",
        "error",
        "failures",
        "fallback_until",
        "fetch_seconds",
        "fresh_until",
        "instance",
        "refresh_at",
        "retry_at",
        "stale_until",
        "tags",
        "tally",
        "ticket",
    )

    def __init__(
        self,
        value: object,
        *,
        at: float,
        lifetimes: Lifetimes,
        error: BaseException | None = None,
        fetch_seconds: float = 0.0,
        tags: tuple[str, ...] = (),
        size: float = 1,
    ) -> None:
        """Seal a result.

        Args:
            value: what the fetch returned; ``MISSING`` for a failure.
            at: when the fetch ended, or when the question was sent of which a store's answer is the answer.
            lifetimes: how long it may be used, from ``at``.
            error: the failure to remember; only ``fresh_seconds`` of its lifetimes counts.
            fetch_seconds: how long the fetch took.
            tags: its tags, rendered.
            size: what it counts against the cache's limit.
        """
        self.value = value
        self.error = error
        self.ended_at = at
        self.fetch_seconds = fetch_seconds
        until = at + lifetimes.fresh_seconds
        if error is None:
            # One number object serves for several moments where it can: there is an entry for every key.
            self.fresh_until = until
            self.stale_until = until + lifetimes.stale_seconds if lifetimes.stale_seconds else until
            self.fallback_until = until + lifetimes.fallback_seconds if lifetimes.fallback_seconds else until
            self.usable_until = max(self.stale_until, self.fallback_until)
            refresh_after = lifetimes.refresh_after_seconds
            self.refresh_at = math.inf if refresh_after == math.inf else at + refresh_after
        else:
            self.fresh_until = self.stale_until = self.fallback_until = -math.inf
            self.usable_until = until
            self.refresh_at = math.inf
        self.retry_at = -math.inf
        self.failures = 0
        self.tags = tags
        self.size = size
        self.tally: Tally | None = None
        self.instance: object = None
        self.ticket = 0
        self.epoch = 0
        self.uses = 0
        self.after = self.before = NOWHERE

    def __repr__(self) -> str:
        what = f"error {type(self.error).__name__}" if self.error is not None else f"value {type(self.value).__name__}"
        return f"<Entry {what}, ended_at={self.ended_at:.3f}, usable_until={self.usable_until:.3f}>"

    @property
    def is_dead(self) -> bool:
        """Whether it was invalidated."""
        return self.usable_until == -math.inf

    def freshness(self, now: float) -> Freshness:
        """Tell what it is good for at ``now``. A stretch includes its first moment and excludes its last."""
        if now < self.fresh_until:
            return Freshness.FRESH
        if self.error is not None:
            return Freshness.FRESH if now < self.usable_until else Freshness.EXPIRED
        if now < self.stale_until:
            return Freshness.STALE
        if now < self.fallback_until:
            return Freshness.FALLBACK
        return Freshness.EXPIRED

    def age_seconds(self, now: float) -> float:
        """How long ago its fetch ended."""
        return max(now - self.ended_at, 0.0)

    def mark_dead(self) -> None:
        """Make it useless at once, for everybody who holds it. Any thread; takes no lock; never taken back.

        What is left of it is dropped when the cache's hand comes by.
        """
        self.fresh_until = self.stale_until = self.fallback_until = self.usable_until = -math.inf

    def put_off(self, until: float) -> None:
        """Note that a fetch to replace it failed, and that none is to be tried before ``until``."""
        self.failures += 1
        self.retry_at = until
        self.refresh_at = max(self.refresh_at, until)


class SharedEntry(Entry):
    """A result that this process shares with others through a store.

    Attributes:
        version: what the store calls it; ``None`` if the store does not have it.
        generation: of the subscription, when the question was sent whose answer it is, or that confirmed it. What was
            announced before a later generation began may not have been heard.
        tag_versions: the versions of its tags, known before its fetch began, by the store's names of the tags.
    """

    __slots__ = ("generation", "tag_versions", "version")

    def __init__(
        self,
        value: object,
        *,
        at: float,
        lifetimes: Lifetimes,
        error: BaseException | None = None,
        fetch_seconds: float = 0.0,
        tags: tuple[str, ...] = (),
        size: float = 1,
    ) -> None:
        super().__init__(
            value, at=at, lifetimes=lifetimes, error=error, fetch_seconds=fetch_seconds, tags=tags, size=size
        )
        self.version: str | None = None
        self.generation = -1
        self.tag_versions: Mapping[str, str] = {}
