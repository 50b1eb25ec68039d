"""The port of a store: what a server of leases, results and announcements has to be able to do, and nothing more.

A store keeps one record per key: the result, if it has one, and the lease of whoever is fetching it. What it does with
them is decided by the server in one indivisible step per operation, so that any number of processes agree. The
algorithm above it (who waits, for how long, who fetches) is written once, in ``backends``, for every store.

Three rules hold for every operation:

* **It may be sent twice.** With the same arguments it answers as if it had been sent once: a reply that was cut off
  says nothing about whether the server did it. The caller draws the token before it asks.
* **No moment in time crosses the port**, only seconds left: no two clocks are compared. What is left counts from the
  moment the question was sent, so that the way of the answer never lengthens a life.
* **Absence refuses.** A publish needs a record that carries its token. Invalidation, a successor, eviction, expiry and
  an emptied server all take the token away, and nothing has to be remembered for it.

*Cancellation*: cancelling a caller gives up the wait and nothing else. The operation may or may not have happened; it
never leaves half of itself behind, and it costs no connection.

*Concurrency*: every method is called on a running loop; one store serves any number of loops, each with connections of
its own that are made at first use. A store that was made before a fork serves both processes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal, Protocol, TypeAlias

PublishKind: TypeAlias = Literal["keep", "once", "error"]
"""What a publish is: a result for everybody, one for those who wait only, or a failure for those who wait only."""

OutcomeKind: TypeAlias = Literal["once", "error"]
"""What was published for those who waited only."""

INLINE_BYTES: Final = 4096
"""The largest body that rides in a wake-up; a larger one is asked for by ``acquire(after=token)``."""

HEARTBEAT_SECONDS: Final = 5.0 / 3
"""How often a subscription proves that it has heard everything, when nobody asked for it more often."""

TAG_KEEP_SECONDS: Final = 86_400.0
"""How long a tag's version is kept at least after it was last asked for, when nobody asked for longer."""


@dataclass(frozen=True, slots=True)
class StoreLifetimes:
    """How long a published result may be used, from the moment the server takes it.

    Attributes:
        fresh_seconds: so long it is the answer; 0 for never.
        usable_seconds: so long there is any use for it, its stale stretches included; at least ``fresh_seconds``.
        grace_seconds: so long it can be collected by ``acquire(after=token)`` at least, whatever its kind.
    """

    fresh_seconds: float
    usable_seconds: float
    grace_seconds: float


@dataclass(frozen=True, slots=True)
class Kept:
    """A result that the store has.

    Attributes:
        version: the token that published it. Versions are equal or not; they have no order.
        body: its bytes; ``None`` if the caller said that it has this version.
        fresh_seconds: for so long it is the answer; 0 if it is not any more.
        usable_seconds: for so long there is any use for it; 0 if there is none any more.
        fetch_seconds: how long its fetch took.
    """

    version: str
    body: bytes | None
    fresh_seconds: float
    usable_seconds: float
    fetch_seconds: float


@dataclass(frozen=True, slots=True)
class Hit:
    """The store has the answer.

    Attributes:
        kept: the answer. Without a body if its version is the caller's ``refresh_of``.
    """

    kept: Kept


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the lease that the caller waited for; nobody else is shown it.

    Attributes:
        kind: a result that is not kept, or a failure.
        body: its bytes.
    """

    kind: OutcomeKind
    body: bytes


@dataclass(frozen=True, slots=True)
class Won:
    """The caller has the lease and is to fetch.

    Attributes:
        stale: a result that is usable although it is not fresh, or is to be replaced; ``None`` if there is none.
    """

    stale: Kept | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Somebody else has the lease; the caller is registered for its end if it asked to be woken.

    Attributes:
        token: the lease to wait for. A signal with any other token is for somebody else.
        seconds_left: after so long the lease has lapsed, unless it was renewed: then ask again.
        stale: a result that is usable meanwhile; ``None`` if there is none.
    """

    token: str
    seconds_left: float
    stale: Kept | None = None


@dataclass(frozen=True, slots=True)
class Busy:
    """Somebody else has the lease, and the caller did not want to wait; it is not registered."""


Acquired: TypeAlias = Hit | Outcome | Won | Wait | Busy
"""What ``acquire`` answers."""


class Published(Enum):
    """What ``publish`` answers."""

    KEPT = "kept"
    """The record has the result: now, or since an earlier publish with the same token."""

    DELIVERED = "delivered"
    """Those who waited were told; the record does not have it, because it is not to be kept or finds no room."""

    REFUSED = "refused"
    """The record does not carry the token any more: nothing was changed, nobody was told."""


@dataclass(frozen=True, slots=True)
class Connected:
    """The subscription stands, for the first time or again. What was announced before it was not heard."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The subscription is gone: nothing is heard until the next ``Connected``."""


@dataclass(frozen=True, slots=True)
class HeardUpTo:
    """Every announcement that the server sent before a moment has been handed out.

    Attributes:
        moment: a reading of this process's ``coalesce_kit.clock``. It never goes back between two ``Connected``.
    """

    moment: float


@dataclass(frozen=True, slots=True)
class Finished:
    """A lease that this process waits for was published.

    Attributes:
        key: the record's.
        token: the lease's; the version of the result if it was kept.
        kind: what was published.
        body: its bytes; ``None`` if it is too large for a signal: then ask ``acquire(after=token)``.
        fresh_seconds, usable_seconds: what was left when the server sent it; 0 unless it was kept.
        fetch_seconds: how long the fetch took.
    """

    key: str
    token: str
    kind: PublishKind
    body: bytes | None
    fresh_seconds: float
    usable_seconds: float
    fetch_seconds: float


@dataclass(frozen=True, slots=True)
class Voided:
    """A lease that this process waits for ended without a result: abandoned, or its record invalidated.

    Attributes:
        key: the record's.
        token: the lease's.
    """

    key: str
    token: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """A record was invalidated, or replaced for everybody. Announced to every process, the one that did it included.

    Attributes:
        key: the record's.
        version: what it has now, if it was replaced by ``publish(announce=True)``; ``None`` if it was invalidated.
    """

    key: str
    version: str | None = None


@dataclass(frozen=True, slots=True)
class TagMoved:
    """A tag was given a new version. Announced to every process, the one that did it included.

    Attributes:
        tag: as it was given to ``tag_versions``.
        version: its new version.
    """

    tag: str
    version: str


Signal: TypeAlias = Connected | Lost | HeardUpTo | Finished | Voided | Dropped | TagMoved
"""What ``signals`` yields."""


class SignalStream(Protocol):
    """An asynchronous iterator over signals that can be closed."""

    def __aiter__(self) -> AsyncIterator[Signal]: ...

    async def __anext__(self) -> Signal: ...

    async def aclose(self) -> None:
        """End it: whoever waits in it, and whoever asks later, gets ``StopAsyncIteration``. Idempotent."""
        ...


class LeaseStore(Protocol):
    """A server of leases, results and announcements.

    Every operation raises ``StoreUnavailableError`` when the server cannot be reached or is in no state to answer, and
    ``StoreRefusedError`` when it answered that it will not do this (no memory, no permission, a key of another type).
    It raises nothing else but ``ValueError`` for arguments that make no sense, and ends within
    the store's own deadline, whatever the server does.
    """

    @property
    def namespace(self) -> str:
        """What tells its users on one server apart: a part of every key given to it and of every name that it makes."""
        ...

    @property
    def digest_key(self) -> bytes | None:
        """The secret with which parts of keys are hidden (``!h`` in a template); ``None`` without."""
        ...

    async def read(self, key: str, *, have: str | None = None) -> Kept | None:
        """Return the result of a record, fresh or stale, without taking part in anything.

        Args:
            key: the record's.
            have: a version that the caller has: then ``Kept`` comes without its body if it still is the record's.

        Returns:
            ``None`` if the record has no result that is of any use.
        """
        ...

    async def acquire(
        self,
        key: str,
        *,
        token: str,
        lease_seconds: float,
        wake: bool,
        after: str | None = None,
        reject: str | None = None,
        refresh_of: str | None = None,
        wait_if_held: bool = True,
    ) -> Acquired:
        """Return the answer of a record, or take its lease, or say whose end to wait for.

        The first that applies:

        1. ``after`` ended with an outcome for those who waited: ``Outcome``.
        2. ``after`` is the version of the record's result: ``Hit``, even if it is not fresh any more.
        3. The record's result is fresh, and not the one to be replaced: ``Hit``.
        4. Somebody else's lease has not lapsed: ``Wait``, or ``Busy`` if the caller does not want to.
        5. Otherwise the lease is the caller's: ``Won``.

        Args:
            key: the record's.
            token: of the lease that is asked for: at least 128 random bits, drawn for this call. An answer lost on
                the way is asked for again with the same token.
            lease_seconds: how long the lease lasts without ``renew``.
            wake: whether the caller wants a signal when the lease that it has to wait for ends. Without an open
                subscription none comes, and ``Wait`` says after how long to ask again.
            after: the token that the caller waited for last.
            reject: a version that the caller cannot use: for it the record is as good as empty.
            refresh_of: a version that the caller has and wants replaced: it is no ``Hit``, another one is.
            wait_if_held: whether to wait for somebody else's lease.
        """
        ...

    async def renew(self, leases: Sequence[tuple[str, str]], *, lease_seconds: float) -> Sequence[bool]:
        """Have leases last ``lease_seconds`` from now; one that lapsed is revived if nobody succeeded it.

        Args:
            leases: keys and tokens.
            lease_seconds: how long they last from now.

        Returns:
            For each in turn whether the record still carries the token. Once it does not, it never will.

        Raises:
            StoreUnavailableError, StoreRefusedError: the answer of at least one is not known; all were tried.
        """
        ...

    async def publish(
        self,
        key: str,
        *,
        token: str,
        body: bytes,
        kind: PublishKind,
        lifetimes: StoreLifetimes,
        fetch_seconds: float,
        announce: bool = False,
    ) -> Published:
        """End a lease with what its fetch brought, and wake those who wait for it.

        It is refused unless the record carries the token. A lease that lapsed and that nobody succeeded still does.

        Args:
            key: the record's.
            token: of the lease.
            body: what was fetched, or the failure, in bytes.
            kind: ``"keep"`` makes it the record's result, under the token as its version. ``"once"`` and ``"error"``
                leave the record's result alone and are given, for ``grace_seconds``, to those who waited.
            lifetimes: how long it may be used.
            fetch_seconds: how long the fetch took.
            announce: whether every process is told to drop what it has (``Dropped``); for ``"keep"`` only.

        Returns:
            ``REFUSED`` if the record does not carry the token. Under a full server ``DELIVERED``: those who waited
            have it, the record does not, and neither does it remember the token: a second try answers ``REFUSED``.
        """
        ...

    async def abandon(self, key: str, *, token: str) -> bool:
        """End a lease without a result, and wake those who wait for it (``Voided``).

        Returns:
            Whether the record still carried the token.
        """
        ...

    async def invalidate(self, keys: Sequence[str]) -> None:
        """Remove records, with their leases; wake those who wait (``Voided``); announce it to all (``Dropped``).

        A fetch that began before it cannot publish after it. A key without a record is announced too.

        Raises:
            StoreUnavailableError, StoreRefusedError: at least one was perhaps not removed; all were tried.
        """
        ...

    async def tag_versions(
        self, tags: Sequence[str], *, replace: bool = False, keep_seconds: float = TAG_KEEP_SECONDS
    ) -> Sequence[str]:
        """Return the version of each tag, in turn; one that has none is given one.

        Args:
            tags: any text.
            replace: give each a new version, and announce it to all (``TagMoved``).
            keep_seconds: each is kept so long from now at least. What forgets a tag gives it a new version next time,
                so that whatever carried the old one is of no use any more.

        Raises:
            StoreUnavailableError, StoreRefusedError: the answer of at least one is not known; all were tried.
        """
        ...

    def signals(self, *, heartbeat_seconds: float = HEARTBEAT_SECONDS) -> SignalStream:
        """Open the running loop's subscription and yield what is heard, until the store or the iterator is closed.

        The first signal is ``Connected``, when it stands. Then come wake-ups for the leases that ``acquire`` was told
        to wait for on this loop, and every announcement of the namespace, those of this process included. A broken
        subscription is ``Lost``, opened anew by itself, and ``Connected`` again. Duplicates are possible.

        Several iterators of one loop share the subscription; each yields everything.

        Args:
            heartbeat_seconds: how often ``HeardUpTo`` comes at least, while connected and while the server answers;
                ``math.inf`` for once per connection.
        """
        ...

    async def aclose(self) -> None:
        """End the running loop's subscription and connections.

        Its iterators end. A later operation opens new connections.
        """
        ...
