"""What the store has to be told: invalidations, and values to put in place. Remembered until it was told.

An item *waits* until some loop sends it, is *on its way* until the store has answered, and waits again, *overdue*, if
that failed. Nothing is read past an item: a fetch first waits for those of its own record and tags, and, while any is
overdue, for all.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Collection
from typing import Final, Literal, TypeAlias

MOST_OWED: Final = 10_000
"""How many items are remembered; one more and they become one: everything of the namespace is invalid."""

Name: TypeAlias = tuple[Literal["record", "tag"], str]
"""What an item is about."""

EVERYTHING: Final[Name] = ("tag", "everything")
"""The tag that everything has."""


class Item:
    """One thing that the store has to be told. It is a ``Telling``.

    Attributes:
        name: what it is about.
        put: puts a value in place once the record was removed; ``None`` where that is all.
    """

    __slots__ = ("_told", "_waiting", "name", "put")

    def __init__(self, name: Name, put: Callable[[], Awaitable[None]] | None = None) -> None:
        self.name = name
        self.put = put
        self._told: bool | None = None
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[bool]]] = []

    def __repr__(self) -> str:
        return f"<Item {self.name} told={self._told}>"

    @property
    def told(self) -> bool | None:
        """Whether the store has taken it; ``None`` while nobody knows."""
        return self._told

    def resolve(self, *, told: bool) -> None:
        """Note what became of it, once. Any thread."""
        if self._told is None:
            self._told = told
            waiting, self._waiting = self._waiting, []
            for loop, future in waiting:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(_set, future, told)

    async def wait(self) -> bool:
        """Wait until the store has taken it, or could not be told."""
        loop = asyncio.get_running_loop()
        if self._told is None:
            future: asyncio.Future[bool] = loop.create_future()
            self._waiting.append((loop, future))
            if self._told is None:  # another thread may have resolved it in between, and found nobody waiting
                return await future
        return bool(self._told)


class Batch:
    """Items that are on their way together.

    Attributes:
        items: by name.
        done: tells whether the store has taken them all.
        loop: the loop that sends them.
    """

    __slots__ = ("done", "items", "loop")

    def __init__(self, items: dict[Name, list[Item]], loop: asyncio.AbstractEventLoop) -> None:
        self.items = items
        self.loop = loop
        self.done = Item(EVERYTHING)


class Owed:
    """What the store was not told yet, in the order of the calls.

    *Concurrency*: any thread.
    """

    __slots__ = ("_batches", "_lock", "_overdue", "_waiting")

    def __init__(self) -> None:
        self._waiting: dict[Name, list[Item]] = {}
        self._batches: list[Batch] = []
        self._overdue: set[Name] = set()
        self._lock = threading.RLock()

    def __len__(self) -> int:
        """How many the store was not told yet."""
        with self._lock:
            return len(self._waiting) + sum(len(batch.items) for batch in self._batches)

    @property
    def is_overdue(self) -> bool:
        """Whether there is one that the store could not be told of when that was last tried."""
        return bool(self._overdue)

    @property
    def is_waiting(self) -> bool:
        """Whether there is one that nobody is sending."""
        return bool(self._waiting)

    def add(self, item: Item) -> None:
        """Remember an item."""
        with self._lock:
            items = self._waiting.setdefault(item.name, [])
            for earlier in items:
                earlier.put = None  # what it would put in place is invalid by now
            items.append(item)
            if len(self._waiting) > MOST_OWED:
                self._make_one_of_all()

    def blocks(self, names: Collection[Name]) -> bool:
        """Whether one of ``names``, or anything that is overdue, has to be told before anything is read."""
        with self._lock:
            batches = self._live_batches()
            if self._overdue or not self._waiting.keys().isdisjoint(names):
                return True
            return any(not batch.items.keys().isdisjoint(names) for batch in batches)

    def take(self, loop: asyncio.AbstractEventLoop) -> Batch | None:
        """Take what waits, to send it on a loop; ``None`` if nothing can be sent. Give it back with ``end``.

        What is about a record for which a value is on its way stays: the store must not hear of it before.
        """
        with self._lock:
            putting = {
                name
                for batch in self._live_batches()
                for name, items in batch.items.items()
                if items[-1].put is not None
            }
            taken = {name: items for name, items in self._waiting.items() if name not in putting}
            if not taken:
                return None
            batch = Batch(taken, loop)
            self._waiting = {name: items for name, items in self._waiting.items() if name in putting}
            self._batches.append(batch)
            return batch

    def end(self, batch: Batch, failed: Collection[Name]) -> None:
        """Note what became of a batch: the names that the store could not be told of are overdue."""
        with self._lock:
            if batch not in self._batches:
                return
            self._batches.remove(batch)
            self._overdue.difference_update(batch.items)
            for name in failed:
                later = self._waiting.get(name, [])
                for item in batch.items[name] if later else ():
                    item.put = None
                self._waiting[name] = batch.items[name] + later
                self._overdue.add(name)
        for name, items in batch.items.items():
            for item in items:
                item.resolve(told=name not in failed)
        batch.done.resolve(told=not failed)

    def on_its_way(self, names: Collection[Name]) -> Batch | None:
        """Return a batch that has to arrive before ``names`` are read; any with what is overdue is one."""
        with self._lock:
            for batch in self._live_batches():
                about = batch.items.keys()
                if not about.isdisjoint(names) or not about.isdisjoint(self._overdue):
                    return batch
        return None

    def clear(self) -> None:
        """Forget everything: after a fork it is the parent's to tell."""
        with self._lock:
            self._waiting, self._batches, self._overdue = {}, [], set()

    def _make_one_of_all(self) -> None:
        together = [item for items in self._waiting.values() for item in items]
        for item in together:
            item.put = None
        was_overdue = not self._overdue.isdisjoint(self._waiting)
        self._overdue.difference_update(self._waiting)
        self._waiting = {EVERYTHING: together}
        if was_overdue:
            self._overdue.add(EVERYTHING)

    def _live_batches(self) -> list[Batch]:
        """Have what a loop that was closed was sending wait again."""
        for batch in [batch for batch in self._batches if batch.loop.is_closed()]:
            self.end(batch, list(batch.items))
        return self._batches


def _set(future: asyncio.Future[bool], told: bool) -> None:
    if not future.done():
        future.set_result(told)
