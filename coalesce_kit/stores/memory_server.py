"""The reference of what a store's server does: one record per key, one indivisible step per operation."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable

from ..clock import clock
from ..errors import StoreRefusedError
from ..store_port import (
    INLINE_BYTES,
    Acquired,
    Busy,
    Connected,
    Dropped,
    Finished,
    Hit,
    Kept,
    Lost,
    Published,
    PublishKind,
    Signal,
    StoreLifetimes,
    TagMoved,
    Voided,
    Wait,
    Won,
)
from .memory_record import Channel, Record, put, show


class MemoryServer:
    """A store's server in this process, which any number of ``MemoryStore`` share, as processes share a Redis.

    Everything that can happen to a server can be done to this one. Nothing in it is random, and it has no timers.

    Args:
        now: its clock; the package's own without. Nobody compares it with another.

    Attributes:
        is_full: whether it refuses to grow, as a server without memory does.
        calls: how often each operation was done, by name.

    *Concurrency*: any thread.
    """

    def __init__(self, *, now: Callable[[], float] | None = None) -> None:
        self.is_full = False
        self.calls: dict[str, int] = {}
        self._now = now if now is not None else lambda: clock.now()
        self._records: dict[str, Record] = {}
        self._tags: dict[tuple[str, str], tuple[str, float]] = {}
        self._channels: dict[Channel, str] = {}
        self._numbers = itertools.count(1)
        self._is_up = True
        self._sweep_at = 64
        self._outbox: list[tuple[Channel, Signal]] = []
        self._lock = threading.RLock()

    # ---- what can happen to a server ----

    @property
    def is_up(self) -> bool:
        """Whether it answers."""
        return self._is_up

    def go_down(self) -> None:
        """Refuse every connection, and lose those that there are."""
        self._is_up = False
        self.cut_off()

    def come_back(self, *, empty: bool = False) -> None:
        """Answer again, with what it had, or with nothing."""
        if empty:
            self.empty()
        self._is_up = True
        for channel in tuple(self._channels):
            channel(Connected())

    def cut_off(self) -> None:
        """Break every subscription; each is made again at once if the server is up."""
        for channel in tuple(self._channels):
            channel(Lost())
            if self._is_up:
                channel(Connected())

    def empty(self) -> None:
        """Forget every record and every tag, without a word to anybody."""
        with self._lock:
            self._records.clear()
            self._tags.clear()

    def evict(self, key: str) -> bool:
        """Forget one record, without a word to anybody; return whether there was one."""
        with self._lock:
            return self._records.pop(key, None) is not None

    def forget_tag(self, namespace: str, tag: str) -> bool:
        """Forget one tag's version, without a word to anybody; return whether there was one."""
        with self._lock:
            return self._tags.pop((namespace, tag), None) is not None

    def __len__(self) -> int:
        """How many records it holds that are of any use."""
        with self._lock:
            now = self._now()
            return sum(record.expires_at > now for record in self._records.values())

    # ---- subscriptions ----

    def subscribe(self, channel: Channel, namespace: str) -> None:
        """Send a namespace's announcements to a channel."""
        self._channels[channel] = namespace
        if self._is_up:
            channel(Connected())

    def unsubscribe(self, channel: Channel) -> None:
        """Send nothing more to a channel."""
        self._channels.pop(channel, None)

    # ---- the operations, each one step ----

    def read(self, key: str, have: str | None) -> Kept | None:
        """See ``LeaseStore.read``."""
        with self._lock:
            self._count("read")
            record, now = self._find(key), self._now()
            return show(record, now, have) if record is not None and record.usable_until > now else None

    def acquire(
        self,
        key: str,
        *,
        token: str,
        lease_seconds: float,
        channel: Channel | None,
        after: str | None = None,
        reject: str | None = None,
        refresh_of: str | None = None,
        wait_if_held: bool = True,
    ) -> Acquired:
        """See ``LeaseStore.acquire``."""
        with self._lock:
            self._count("acquire")
            record, now = self._find(key) or Record(), self._now()
            if after and record.outcome_of == after and record.outcome_until > now:
                return record.outcome
            is_wanted = record.version not in ("", reject)
            if after and is_wanted and record.version == after:
                return Hit(show(record, now, refresh_of))
            is_usable = is_wanted and record.usable_until > now
            if is_usable and record.fresh_until > now and record.version != refresh_of:
                return Hit(show(record, now, refresh_of))
            stale = show(record, now, refresh_of) if is_usable else None
            if record.token not in ("", token) and record.lease_until > now:
                if not wait_if_held:
                    return Busy()
                if channel is not None and not self.is_full:
                    record.waiting[channel] = None
                return Wait(record.token, record.lease_until - now, stale)
            self._must_grow()
            if record.token != token:
                record.waiting = {}
            record.token, record.lease_until = token, now + lease_seconds
            self._keep(key, record)
            return Won(stale)

    def renew(self, key: str, *, token: str, lease_seconds: float) -> bool:
        """See ``LeaseStore.renew``: one lease of it."""
        with self._lock:
            self._count("renew")
            record = self._find(key)
            if record is None or record.token != token:
                return False
            self._must_grow()
            record.lease_until = self._now() + lease_seconds
            return True

    def publish(
        self,
        key: str,
        *,
        namespace: str,
        token: str,
        body: bytes,
        kind: PublishKind,
        lifetimes: StoreLifetimes,
        fetch_seconds: float,
        announce: bool,
    ) -> Published:
        """See ``LeaseStore.publish``."""
        with self._lock:
            self._count("publish")
            record, now = self._find(key), self._now()
            if record is None:
                return Published.REFUSED
            if record.token != token:
                if record.version == token:
                    return Published.KEPT
                return Published.DELIVERED if record.outcome_of == token else Published.REFUSED
            if not self.is_full:
                put(record, now, token, body, kind, lifetimes, fetch_seconds)
            is_kept = kind == "keep" and not self.is_full
            signal = Finished(
                key,
                token,
                kind,
                body if self.is_full or len(body) <= INLINE_BYTES else None,
                lifetimes.fresh_seconds if kind == "keep" else 0.0,
                lifetimes.usable_seconds if kind == "keep" else 0.0,
                fetch_seconds,
            )
            self._outbox += [(channel, signal) for channel in record.end_lease()]
            if is_kept and announce:
                self._announce(namespace, Dropped(key, token))
            self._drop_if_useless(key, record)
        self._send()
        return Published.KEPT if is_kept else Published.DELIVERED

    def abandon(self, key: str, *, token: str) -> bool:
        """See ``LeaseStore.abandon``."""
        with self._lock:
            self._count("abandon")
            record = self._find(key)
            if record is None or record.token != token:
                return False
            self._outbox += [(channel, Voided(key, token)) for channel in record.end_lease()]
            self._drop_if_useless(key, record)
        self._send()
        return True

    def invalidate(self, key: str, *, namespace: str) -> None:
        """See ``LeaseStore.invalidate``: one key of it."""
        with self._lock:
            self._count("invalidate")
            record = self._find(key)
            if record is not None:
                token = record.token
                self._outbox += [(channel, Voided(key, token)) for channel in record.end_lease()]
                del self._records[key]
            self._announce(namespace, Dropped(key))
        self._send()

    def tag_version(self, tag: str, *, namespace: str, replace: bool, keep_seconds: float) -> str:
        """See ``LeaseStore.tag_versions``: one tag of it."""
        with self._lock:
            self._count("tag_version")
            now = self._now()
            version, until = self._tags.get((namespace, tag), ("", -math.inf))
            if replace or until <= now:
                if self.is_full and not replace:
                    raise StoreRefusedError("the server has no memory left")
                version = f"v{next(self._numbers)}"
            if self.is_full and replace:
                # Forgetting needs no memory, and whoever asks next gives the tag another version.
                self._tags.pop((namespace, tag), None)
            else:
                self._tags[namespace, tag] = version, max(until, now + keep_seconds)
            if replace:
                self._announce(namespace, TagMoved(tag, version))
        self._send()
        return version

    # ---- inside ----

    def _count(self, operation: str) -> None:
        self.calls[operation] = self.calls.get(operation, 0) + 1

    def _find(self, key: str) -> Record | None:
        record = self._records.get(key)
        if record is not None and record.expires_at <= self._now():
            del self._records[key]
            return None
        return record

    def _keep(self, key: str, record: Record) -> None:
        self._records[key] = record
        if len(self._records) > self._sweep_at:
            for other in tuple(self._records):
                self._find(other)
            self._sweep_at = max(2 * len(self._records), 64)

    def _drop_if_useless(self, key: str, record: Record) -> None:
        if record.expires_at <= self._now():
            del self._records[key]

    def _must_grow(self) -> None:
        if self.is_full:
            raise StoreRefusedError("the server has no memory left")

    def _announce(self, namespace: str, signal: Signal) -> None:
        self._outbox += [(channel, signal) for channel, name in self._channels.items() if name == namespace]

    def _send(self) -> None:
        """Hand out what an operation had to say, after it and outside the lock."""
        outbox, self._outbox = self._outbox, []
        for channel, signal in outbox:
            channel(signal)
