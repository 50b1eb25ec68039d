"""Tags: labels by which many entries are invalidated at once, in O(1), without looking for them.

Source: FusionCache's lazy markers, with numbers in place of timestamps, so that nothing can happen "in the same tick".
"""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from ..tickets import Ticket

MOST_TAGS: Final = 4096
"""How many tags one table remembers as invalidated."""


class CacheTicket:
    """One fetch's permission to be joined and to publish: its key's ticket, its number, and its tags.

    Attributes:
        of_key: the ticket of the key.
        number: of two tickets, the one with the greater number was taken later.
        tags: the fetch's tags, rendered.
        moved: one of the tags was invalidated after it was taken; set once, never taken back.
    """

    __slots__ = ("moved", "number", "of_key", "tags")

    def __init__(self, of_key: Ticket, number: int, tags: tuple[str, ...]) -> None:
        self.of_key = of_key
        self.number = number
        self.tags = tags
        self.moved = False

    def is_good(self) -> bool:
        """Whether nothing that it may have read was invalidated since. Any thread; never blocks."""
        return not (self.moved or self.of_key.void)


class TagTable:
    """When each tag was last invalidated, in numbers that tickets are drawn from too.

    An entry is dead if one of its tags was invalidated after its ticket was drawn. Only so many tags are remembered;
    for the others a floor is: an entry whose ticket is not above it is dead, as its tag may be one of those forgotten.

    Concurrency:
        Thread-safe. The lock is re-entrant because the collector, and with it a finaliser that invalidates, may run
        inside; every step leaves the table whole.

    Args:
        most_tags: how many tags are remembered.

    Attributes:
        epoch: the number of the last invalidation. A reader that has found an entry valid notes the epoch in it and
            need not ask again until this number is another one. It is moved after everything else.
    """

    __slots__ = ("_floor", "_live", "_lock", "_most_tags", "_moved", "draw", "epoch")

    def __init__(self, *, most_tags: int = MOST_TAGS) -> None:
        self.epoch = 0
        self.draw = itertools.count(1).__next__  # one step of the interpreter: no two callers get the same number
        self._floor = 0
        self._most_tags = most_tags
        self._moved: OrderedDict[str, int] = OrderedDict()  # the tag that was invalidated longest ago comes first
        self._live: dict[str, set[CacheTicket]] = {}
        self._lock = threading.RLock()

    def __len__(self) -> int:
        """How many tags are remembered."""
        return len(self._moved)

    def reserve(self, of_key: Ticket, tags: tuple[str, ...]) -> CacheTicket:
        """Make the ticket of a fetch that begins now. Give it back with ``release``."""
        ticket = CacheTicket(of_key, self.draw(), tags)
        if tags:
            with self._lock:
                for tag in tags:
                    self._live.setdefault(tag, set()).add(ticket)
        return ticket

    def release(self, ticket: CacheTicket) -> None:
        """Give back the ticket of a fetch that has ended."""
        if not ticket.tags:
            return
        with self._lock:
            for tag in ticket.tags:
                live = self._live.get(tag)
                if live is not None:
                    live.discard(ticket)
                    if not live:
                        del self._live[tag]

    def invalidate(self, tags: Iterable[str]) -> int:
        """Invalidate ``tags``. Return how many tickets that are out became void by it."""
        voided = 0
        with self._lock:
            number = self.draw()
            for tag in tags:
                self._moved[tag] = number
                self._moved.move_to_end(tag)
                for ticket in tuple(self._live.get(tag, ())):
                    voided += ticket.is_good()
                    ticket.moved = True
            while len(self._moved) > self._most_tags:
                forgotten = next(iter(self._moved))
                self._floor = max(self._floor, self._moved[forgotten])  # before: who misses the tag finds the floor
                del self._moved[forgotten]
            # Last: who sees the new epoch finds the tags moved. Never back: a finaliser may have been here meanwhile.
            self.epoch = max(self.epoch, number)
        return voided

    def distrust(self) -> None:
        """Have every entry looked at again at its next use, though nothing is known to be invalid."""
        with self._lock:
            number = self.draw()
            self.epoch = max(self.epoch, number)

    def have_moved(self, tags: tuple[str, ...], since: int) -> bool:
        """Whether one of ``tags`` was, or may have been, invalidated after the ticket ``since`` was drawn."""
        moved = self._moved
        for tag in tags:
            number = moved.get(tag)
            if (self._floor if number is None else number) > since:  # the floor is read after the tag was missed
                return True
        return False
