"""``MemoryCache``: results of this process, bounded, shared by any number of functions and threads."""

from __future__ import annotations

import enum
import math
import threading
from collections.abc import Callable, Hashable
from typing import Any, Final

import cachetools

from ..entry import Entry, Tally
from ..errors import ConfigurationError
from .instances import InstanceRecord, Instances
from .s3fifo import S3FIFOCache
from .storage import AnyStorage, Storage
from .tags import CacheTicket

DEFAULT_MAX_ENTRIES: Final = 1024

BYTES_OF_ERROR: Final = 1024
"""What a remembered failure counts in a cache that is bounded by bytes: ``size_of`` knows results only."""

_ORPHANS_PER_KEEP: Final = 64
"""How many entries of instances that have died are dropped with one that is kept: all at once would be a pause."""


class Kept(enum.Enum):
    """What became of a result that was to be kept."""

    KEPT = "kept"
    """It is in the cache."""

    REFUSED = "refused"
    """It was invalidated while it was fetched, or something fetched later is already there."""

    TOO_LARGE = "too large"
    """It alone is more than the cache may hold."""


KEPT: Final = Kept.KEPT
"""What nearly all results become: up to Python 3.11, to look a member of an enum up is to call a function."""


class MemoryCache:
    """Keeps results, within a bound; when it is full, the least asked for go first. Empty and unbounded by time.

    Give one to several functions and they share the room, not the results::

        cache = MemoryCache(max_bytes=50_000_000, size_of=len)

        @coalesced(ttl=30, cache=cache)
        async def logo(team: str) -> bytes: ...

    Args:
        max_entries: the most entries held; 1024 without any of the others.
        max_bytes: the largest sum of what ``size_of`` says.
        size_of: the size of a result, in bytes. There is no default, because ``sys.getsizeof`` sees only the shell.
        cache: an empty ``cachetools.Cache`` of one's own, whose policy then decides. It belongs to this cache from now
            on. Its ``getsizeof`` is asked about results; anything else that it asks about values (``ttu``) is asked
            about an ``Entry``, whose ``value`` is the result. Unless it is an ``S3FIFOCache``, a hit takes the lock.

    Raises:
        ConfigurationError: more than one bound is given, a bound is not positive, ``max_bytes`` or ``size_of`` stands
            without the other, or the cache is not empty, not a ``cachetools.Cache``, or another memory cache's.

    Concurrency:
        Any thread. A hit takes no lock. A change takes one, under which no user's code runs except ``__hash__`` and
        ``__eq__`` of the arguments: sizes are computed before, what is dropped is let go of after. Should such code, or
        a finaliser that the collector runs, come back into the cache in the middle of a change, what it invalidates is
        marked dead at once and dropped later, and what it wants kept is refused.

    Attributes:
        entries: the storage itself, for readers that take no lock; ``None`` if every look has to go through the cache.
    """

    def __init__(
        self,
        *,
        max_entries: int | None = None,
        max_bytes: float | None = None,
        size_of: Callable[[Any], float] | None = None,
        cache: cachetools.Cache[Any, Any] | None = None,
    ) -> None:
        if sum(bound is not None for bound in (max_entries, max_bytes, cache)) > 1:
            raise ConfigurationError("a MemoryCache takes one of max_entries, max_bytes and cache, not several")
        if (max_bytes is None) != (size_of is None):
            raise ConfigurationError(
                "max_bytes and size_of belong together: only you know how large a result is; "
                "for bytes that is size_of=len"
            )
        self._measure: Callable[[Any], float] | None = size_of
        if cache is not None:
            self._bound = f"cache={type(cache).__name__}(maxsize={getattr(cache, 'maxsize', None)!r})"
            self._measure = _take_over(cache)
        elif max_bytes is not None:
            self._bound = f"max_bytes={max_bytes!r}"
            cache = S3FIFOCache(_positive(max_bytes, name="max_bytes"), getsizeof=size_of)
        else:
            most = DEFAULT_MAX_ENTRIES if max_entries is None else max_entries
            self._bound = f"max_entries={most!r}"
            cache = S3FIFOCache(_positive(most, name="max_entries"))
        self.entries: Final[dict[Any, Any] | None] = cache.entries if isinstance(cache, S3FIFOCache) else None
        self._storage: Final[Storage] = cache if isinstance(cache, S3FIFOCache) else AnyStorage(cache)
        self._most = self._storage.maxsize
        self._instances = Instances()
        self._lock = threading.RLock()
        self._is_changing = False  # under the lock: somebody further down this thread's stack is in the middle of it

    def __len__(self) -> int:
        """How many entries are held, those that have expired and were not yet come across included."""
        with self._lock:
            return len(self._storage)

    def __bool__(self) -> bool:
        return True  # an empty cache is a cache

    def __repr__(self) -> str:
        return f"<MemoryCache {self._bound}, holds {len(self)}>"

    # ---- what a shelf asks ----

    def size_of(self, value: object) -> float:
        """Return what ``value`` counts against the bound. Runs the user's code: never under a lock.

        Raises:
            ConfigurationError: the user's function returned what is no size.
            Exception: whatever it raises.
        """
        if self._measure is None:
            return 1
        size = self._measure(value)
        if not isinstance(size, int | float) or not size >= 0:
            raise ConfigurationError(f"the size of a result must be a number of at least 0, not {size!r}")
        return max(size, 1)  # or there would be no bound to the number of empty ones

    @property
    def size_of_error(self) -> float:
        """What a remembered failure counts against the bound."""
        return 1 if self._measure is None else min(BYTES_OF_ERROR, self._most)

    def find(self, key: Hashable) -> Entry | None:
        """Return the entry under ``key``, whatever its state; counts as a use."""
        if self.entries is None:
            with self._lock:
                return None if self._is_changing else _unless_orphaned(self._storage.find(key))
        entry: Entry | None = self.entries.get(key)
        if entry is not None:
            entry.uses += 1
        return entry

    def peek(self, key: Hashable) -> Entry | None:
        """Return the entry under ``key``, whatever its state; touches nothing."""
        if self.entries is None:
            with self._lock:
                return None if self._is_changing else _unless_orphaned(self._storage.peek(key))
        return self.entries.get(key)

    def keep(
        self, entry: Entry, ticket: CacheTicket, epoch: int, tally: Tally, now: float, instance: object = None
    ) -> Kept:
        """Keep ``entry`` under its ticket's key, if the ticket is good and nothing younger is there.

        Args:
            entry: a sealed result.
            ticket: what its fetch took in its first step.
            epoch: of its tags, read before anything was checked.
            tally: the account of its function.
            now: the time, for reclaiming what has expired.
            instance: for a method, the instance whose address is in the key.

        Raises:
            ConfigurationError: the instance cannot be weakly referenced.
        """
        storage, of_key = self._storage, ticket.of_key
        key = of_key.key
        if entry.size > self._most:
            return Kept.TOO_LARGE
        with self._lock:
            if self._is_changing or of_key.void or ticket.moved:
                return Kept.REFUSED
            self._is_changing = True
            try:
                replaced = storage.peek(key)
                if replaced is not None:
                    if replaced.ticket > ticket.number:
                        return Kept.REFUSED
                    self._account_for(replaced)
                entry.ticket, entry.epoch, entry.tally = ticket.number, epoch, tally
                if instance is not None:
                    self._tie(entry, instance)
                evicted = storage.insert(key, entry, entry.size)
                tally.held += 1
                for gone in evicted:
                    gone.tally.counters.evictions += 1
                    gone.tally.held -= 1
                    if gone.instance is not None:
                        self._let_go(gone)
                if of_key.void or ticket.moved:
                    # Invalidated from further up this very stack, by a finaliser that found nothing to drop yet.
                    entry.mark_dead()
                    self._drop(entry)
                    return Kept.REFUSED
                useless = storage.examine(now)
                for gone in useless:
                    self._account_for(gone)
                orphans = self._drop_orphans() if self._instances.dead else ()
            finally:
                self._is_changing = False
        del replaced, evicted, useless, orphans  # after the lock: a value's ``__del__`` is the user's code
        return KEPT

    def drop(self, key: Hashable) -> bool:
        """Drop the entry under ``key`` and mark it dead for those who hold it. Return whether there was one."""
        with self._lock:
            entry = self._storage.peek(key)
            if entry is None:
                return False
            entry.mark_dead()
            self._change(lambda: self._drop(entry))
        return True

    def drop_all(self, tally: Tally) -> int:
        """Drop everything held on ``tally``. Return how many entries that were. O(everything in the cache)."""
        with self._lock:
            entries = [entry for entry in self._storage.held() if entry.tally is tally]
            for entry in entries:
                entry.mark_dead()
            self._change(lambda: self._drop_many(entries))
        return len(entries)

    def held_by(self, tally: Tally) -> int:
        """Return how many entries are held on ``tally``."""
        if self.entries is not None:
            return tally.held
        with self._lock:
            return sum(entry.tally is tally for entry in self._storage.held())

    # ---- within ----

    def _change(self, change: Callable[[], None]) -> None:
        """Change the storage, unless that is going on further down the stack: the hand will find what was marked."""
        if not self._is_changing:
            self._is_changing = True
            try:
                change()
            finally:
                self._is_changing = False

    def _drop(self, entry: Entry) -> None:
        self._storage.remove(entry)
        self._account_for(entry)

    def _drop_many(self, entries: list[Entry]) -> None:
        if len(entries) == len(self._storage):
            self._storage.clear()
            for entry in entries:
                self._account_for(entry)
        else:
            for entry in entries:
                self._drop(entry)

    def _tie(self, entry: Entry, instance: object) -> None:
        """Have ``entry`` die with ``instance``."""
        record = self._instances.record_of(instance)
        entry.instance = record
        if self.entries is not None:
            record.entries.add(entry)

    def _account_for(self, entry: Entry) -> None:
        """Settle the accounts of an entry that is no longer held."""
        assert entry.tally is not None
        entry.tally.held -= 1
        if entry.instance is not None:
            self._let_go(entry)

    def _let_go(self, entry: Entry) -> None:
        if self.entries is not None:
            self._instances.let_go(entry)

    def _drop_orphans(self) -> list[Entry]:
        """Drop some entries of instances that have died. Return them."""
        orphans: list[Entry] = []
        dead = self._instances.dead
        while dead and len(orphans) < _ORPHANS_PER_KEEP:
            if dead[0].entries:
                orphan = dead[0].entries.pop()
                orphans.append(orphan)
                self._drop(orphan)
            else:
                dead.popleft()
        return orphans


def _unless_orphaned(entry: Entry | None) -> Entry | None:
    """Return ``entry`` unless its instance is gone.

    A cache with a policy of its own may drop entries without a word, so records of instances do not list them; what
    is read under the lock can be asked instead.
    """
    orphaned = entry is not None and isinstance(entry.instance, InstanceRecord) and entry.instance.is_gone
    return None if orphaned else entry


def _positive(bound: float, *, name: str) -> float:
    if isinstance(bound, int | float) and not isinstance(bound, bool) and bound > 0 and not math.isinf(bound):
        return bound
    raise ConfigurationError(f"{name} must be a number greater than 0, and finite, not {bound!r}")


class _SizeOfEntry:
    """What a cache that was taken over asks for a size: the entries know theirs."""

    def __call__(self, held: Any) -> Any:
        return held.size if isinstance(held, Entry) else 1


def _take_over(cache: cachetools.Cache[Any, Any]) -> Callable[[Any], float] | None:
    """Let ``cache`` ask its entries for their size. Return what it asked before, or ``None`` if that was nothing."""
    if not isinstance(cache, cachetools.Cache):
        raise ConfigurationError(f"cache must be a cachetools.Cache, not {type(cache).__name__}")
    measure = cache.getsizeof
    if isinstance(measure, _SizeOfEntry) or len(cache):
        raise ConfigurationError(
            f"this {type(cache).__name__} is not empty, or another MemoryCache's already: "
            "to share it between functions, give them one MemoryCache"
        )
    setattr(cache, "getsizeof", _SizeOfEntry())  # noqa: B010  # cachetools itself sets it on the instance
    return None if measure is cachetools.Cache.getsizeof else measure
