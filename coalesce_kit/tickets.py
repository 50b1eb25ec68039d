"""Tickets: a fetch's permission to be joined and to publish, and the epoch that every invalidation advances.

A flight takes a ticket in its own first step, right before the origin is called. Invalidating a key voids *all* tickets
of that key that are still out, because a detached flight may run beside a newer one, and one slot per key would let the
older publish after the newer had overwritten its ticket::

    fetch 1 begins, ticket 1 · over age, detached · fetch 2 begins, ticket 2 · invalidate · fetch 1 publishes?  no

Source: the conditional completion of Caffeine and otter, with a set of live tickets instead of one slot.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable


class Ticket:
    """One fetch's permission. Good until something that it may have read is invalidated.

    Attributes:
        key: what is being fetched.
        epoch: the epoch in which the fetch began.
        void: an invalidation came after; set once, never taken back.
        older: the next older ticket of the same key that is still out; belongs to ``Tickets``.
    """

    __slots__ = ("epoch", "key", "older", "void")

    def __init__(self, key: Hashable, epoch: int) -> None:
        self.key = key
        self.epoch = epoch
        self.void = False
        self.older: Ticket | None = None

    def is_good(self) -> bool:
        """Whether nothing was invalidated since. Any thread; never blocks."""
        return not self.void


class Tickets:
    """The epoch and the live tickets of one function's keys, or of one cache's.

    Thread-safe. The lock is re-entrant because an allocation inside it may start the garbage collector, and with it a
    finaliser that invalidates; every step leaves the table whole.
    """

    __slots__ = ("_live", "_lock", "epoch")

    def __init__(self) -> None:
        self.epoch = 0  # advanced under the lock, read without it
        self._live: dict[Hashable, Ticket] = {}  # the youngest live ticket of each key; the older ones hang on it
        self._lock = threading.RLock()

    def __len__(self) -> int:
        """How many keys have a live ticket."""
        return len(self._live)

    def reserve(self, key: Hashable) -> Ticket:
        """Take a ticket for a fetch of ``key`` that begins now. Give it back with ``release``."""
        with self._lock:
            ticket = Ticket(key, self.epoch)
            youngest = self._live.setdefault(key, ticket)
            if youngest is not ticket:
                ticket.older = youngest
                self._live[key] = ticket
        return ticket

    def release(self, ticket: Ticket) -> None:
        """Give back the ticket of a fetch that has ended. A ticket that is not out is ignored."""
        with self._lock:
            youngest = self._live.get(ticket.key)
            if youngest is ticket:
                if ticket.older is None:
                    del self._live[ticket.key]
                else:
                    self._live[ticket.key] = ticket.older
            else:
                _unlink(youngest, ticket)

    def void(self, key: Hashable) -> int:
        """Void every live ticket of ``key`` and advance the epoch. Return how many became void."""
        with self._lock:
            self.epoch += 1
            return _void_chain(self._live.get(key))

    def void_all(self) -> int:
        """Void every live ticket and advance the epoch. Return how many became void."""
        with self._lock:
            self.epoch += 1
            return sum(_void_chain(ticket) for ticket in list(self._live.values()))


def _void_chain(ticket: Ticket | None) -> int:
    voided = 0
    while ticket is not None:
        voided += not ticket.void
        ticket.void = True
        ticket = ticket.older
    return voided


def _unlink(younger: Ticket | None, ticket: Ticket) -> None:
    """Take ``ticket`` out of the chain that hangs on ``younger``."""
    while younger is not None:
        if younger.older is ticket:
            younger.older = ticket.older
            return
        younger = younger.older
