"""One function's part of a ``MemoryCache``: its tickets, its tags and its account."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Final

from ..entry import Entry, Tally
from ..stats.counters import Counters
from ..tickets import Tickets
from .memory import Kept, MemoryCache
from .tags import MOST_TAGS, CacheTicket, TagTable


class Shelf:
    """What one function keeps in a cache, and under which tickets. All keys begin with the function's identity.

    A read goes through ``find``, or in line, for a cache that has ``entries``::

        entry = entries_get(key)
        if entry is not None and now() < entry.fresh_until:      # and entry.epoch == tags.epoch, if it has tags
            entry.uses += 1
            counters.cache_hits += 1
            return entry.value

    Args:
        cache: where the entries stand.
        tickets: the live tickets of the function's keys.
        counters: where its evictions are counted.
        most_tags: how many invalidated tags are remembered.

    Attributes:
        cache: where the entries stand.
        tags: when each tag was invalidated; its ``epoch`` is what a hit compares.

    Concurrency:
        Any thread.
    """

    __slots__ = ("_tally", "_tickets", "cache", "tags")

    def __init__(self, cache: MemoryCache, *, tickets: Tickets, counters: Counters, most_tags: int = MOST_TAGS) -> None:
        self.cache: Final = cache
        self.tags: Final = TagTable(most_tags=most_tags)
        self._tickets = tickets
        self._tally = Tally(counters)

    def __len__(self) -> int:
        """How many entries the function has in the cache."""
        return self.cache.held_by(self._tally)

    def __bool__(self) -> bool:
        return True

    def find(self, key: Hashable) -> Entry | None:
        """Return what is kept under ``key`` and was not invalidated, fresh or not. Counts as a use of it."""
        entry = self.cache.find(key)
        if entry is None or entry.is_dead:
            return None
        if entry.tags and entry.epoch != self.tags.epoch:
            epoch = self.tags.epoch
            if self.tags.have_moved(entry.tags, entry.ticket):
                entry.mark_dead()
                return None
            entry.epoch = epoch
        return entry

    def peek(self, key: Hashable) -> Entry | None:
        """Return what ``find`` would, and touch nothing."""
        entry = self.cache.peek(key)
        if entry is None or entry.is_dead or self.tags.have_moved(entry.tags, entry.ticket):
            return None
        return entry

    def reserve(self, key: Hashable, tags: tuple[str, ...] = ()) -> CacheTicket:
        """Take the ticket of a fetch of ``key`` that begins now. Give it back with ``release`` when it has ended."""
        return self.tags.reserve(self._tickets.reserve(key), tags)

    def release(self, ticket: CacheTicket) -> None:
        """Give back a ticket: after its result was kept, or when there is none."""
        self.tags.release(ticket)
        self._tickets.release(ticket.of_key)

    def keep(self, ticket: CacheTicket, entry: Entry, *, now: float, instance: object = None) -> Kept:
        """Keep a sealed result for later callers, if its ticket is good and nothing younger is there.

        Free of awaits and of the user's code, except ``__hash__`` and ``__eq__`` of the arguments.

        Args:
            ticket: what the fetch took in its first step.
            entry: the result, sealed with the ticket's tags.
            now: the time.
            instance: for a method whose key contains the address of its instance: the instance.

        Raises:
            ConfigurationError: the instance cannot be weakly referenced.
        """
        epoch = self.tags.epoch  # before the ticket is looked at: what is invalidated meanwhile makes it another one
        return self.cache.keep(entry, ticket, epoch, self._tally, now, instance)

    def invalidate(self, key: Hashable) -> int:
        """Void the tickets of ``key`` and drop its entry. Return how many tickets and entries that were."""
        voided = self._tickets.void(key)  # first: what is published from now on is refused, what was before is dropped
        return voided + self.cache.drop(key)

    def invalidate_tags(self, tags: Iterable[str]) -> int:
        """Void the tickets that have one of ``tags``, and have entries that have one found dead. O(1) for each tag."""
        return self.tags.invalidate(tags)

    def invalidate_all(self) -> int:
        """Void every ticket and drop every entry of the function. Return how many of both that were."""
        voided = self._tickets.void_all()
        return voided + self.cache.drop_all(self._tally)
