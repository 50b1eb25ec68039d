"""Entries that belong to an instance: dead when it dies, before its address can be used again."""

from __future__ import annotations

import weakref
from collections import deque

from ..entry import Entry
from ..errors import ConfigurationError


class InstanceRecord:
    """What a cache holds for one instance, which it does not keep alive.

    Attributes:
        entries: those held for the instance. Changed under the cache's lock; copied whole when the instance dies.
        is_gone: the instance died. Set before its address can be used again.
    """

    __slots__ = ("_address", "_dead", "_reference", "_table", "entries", "is_gone")

    def __init__(self, instance: object, table: dict[int, InstanceRecord], dead: deque[InstanceRecord]) -> None:
        self.entries: set[Entry] = set()
        self.is_gone = False
        self._address = id(instance)
        self._table = table
        self._dead = dead
        self._reference: weakref.ref[object] | None = weakref.ref(instance, self._mark_dead)

    def close(self) -> None:
        """Stop watching the instance: nothing is held for it any more."""
        self._table.pop(self._address, None)
        self._reference = None  # which leads back here

    def _mark_dead(self, _reference: weakref.ref[object]) -> None:
        """Take everything of the instance out of use. Runs anywhere, so it takes no lock and changes no queue."""
        self.is_gone = True
        for entry in tuple(self.entries):
            entry.mark_dead()
        self._table.pop(self._address, None)
        self._dead.append(self)


class Instances:
    """The instances that a cache holds entries for.

    Concurrency:
        Called under the cache's lock, except for what the weak references do by themselves.

    Attributes:
        dead: records of instances that have died, whose entries are still to be dropped.
    """

    __slots__ = ("_table", "dead")

    def __init__(self) -> None:
        self.dead: deque[InstanceRecord] = deque()
        self._table: dict[int, InstanceRecord] = {}

    def __len__(self) -> int:
        return len(self._table)

    def record_of(self, instance: object) -> InstanceRecord:
        """Return the record of ``instance``, a new one if need be.

        Raises:
            ConfigurationError: the instance cannot be weakly referenced.
        """
        record = self._table.get(id(instance))
        if record is not None:  # of this very instance: it left the table before its address could be used again
            return record
        try:
            record = InstanceRecord(instance, self._table, self.dead)
        except TypeError:
            owner = type(instance).__name__
            raise ConfigurationError(
                f"results cannot be kept for an instance of {owner}: it cannot be weakly referenced, so nobody would "
                f'know when it is gone. Add "__weakref__" to the __slots__ of {owner}, or use '
                "@dataclass(slots=True, weakref_slot=True), or give the method a key that names what identifies the "
                'instance ("{self.tenant}") or leaves it out (ignore=("self",))'
            ) from None
        self._table[id(instance)] = record
        return record

    def let_go(self, entry: Entry) -> None:
        """Note that ``entry``, which has a record, is no longer held; a record without entries goes too."""
        record = entry.instance
        assert isinstance(record, InstanceRecord)
        record.entries.discard(entry)
        if not record.entries and not record.is_gone:
            record.close()
