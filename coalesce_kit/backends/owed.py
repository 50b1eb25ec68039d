"""What the store has to be told: invalidations, and values to put in place. Remembered until it was told.

An item *waits* until some loop takes it, is *on its way* until the store has answered, and waits again, *overdue*, if
that failed. Nothing is read past an item: a fetch first waits for those of its own record and tags, and, while any is
overdue, for all.

There is one item for a name, however often it is told of while it waits, and one for everything in place of too many:
neither a burst nor an outage makes more of them than ``MOST_OWED``.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from itertools import chain
from typing import Final, Literal, TypeAlias

MOST_OWED: Final = 10_000
"""How many items wait or are on their way; one more, and those that wait become one: everything is invalid."""

Name: TypeAlias = tuple[Literal["record", "tag"], str]
"""What an item is about."""

EVERYTHING: Final[Name] = ("tag", "everything")
"""The tag that everything has."""

Put: TypeAlias = Callable[[Callable[[], bool]], Awaitable[None]]
"""Puts a value in place. It is given what tells whether the value was invalidated meanwhile."""


class Item:
    """One thing that the store has to be told. It is a ``Telling``.

    Attributes:
        name: what it is about.
        put: puts a value in place once the record was removed; ``None`` where that is all.
        was_overtaken: the same was told of again while it was on its way: what it puts in place is invalid by now.
    """

    __slots__ = ("_instead", "_told", "_waiting", "name", "put", "was_overtaken")

    def __init__(self, name: Name, put: Put | None = None) -> None:
        self.name = name
        self.put = put
        self.was_overtaken = False
        self._told: bool | None = None
        self._instead: Item | None = None
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[bool]]] = []

    @property
    def told(self) -> bool | None:
        """Whether the store has taken it; ``None`` while nobody knows."""
        return self._told if self._instead is None else self._instead.told

    def resolve(self, *, told: bool) -> None:
        """Note what became of it, once. Any thread."""
        if self._told is None:
            self._told = told
            self._hand_over()

    def follow(self, other: Item) -> None:
        """Have what becomes of ``other`` be what becomes of this one. Any thread."""
        self._instead = other
        self._hand_over()

    async def wait(self) -> bool:
        """Wait until the store has taken it, or could not be told."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bool] = loop.create_future()
        self.tell(loop, future)
        return await future

    def tell(self, loop: asyncio.AbstractEventLoop, future: asyncio.Future[bool]) -> None:
        """Have a future of a loop told what becomes of it. Any thread."""
        self._waiting.append((loop, future))
        if self._told is not None or self._instead is not None:
            # Another thread may have looked before this one was there; then nobody else will.
            self._hand_over()

    def _hand_over(self) -> None:
        waiting, self._waiting = self._waiting, []
        for loop, future in waiting:
            if self._instead is not None:
                self._instead.tell(loop, future)
            elif not loop.is_closed():
                loop.call_soon_threadsafe(_set, future, bool(self._told))


class Owed:
    """What the store was not told yet, in the order of the calls.

    Attributes:
        is_wanted: somebody wants it told since it was last taken: what has failed meanwhile is tried again.

    *Concurrency*: any thread.
    """

    __slots__ = ("_lock", "_overdue", "_sent", "_waiting", "is_wanted")

    def __init__(self) -> None:
        self._waiting: dict[Name, Item] = {}
        self._sent: dict[asyncio.AbstractEventLoop, dict[Name, Item]] = {}
        self._overdue: set[Name] = set()
        self._lock = threading.RLock()
        self.is_wanted = False

    def __len__(self) -> int:
        """How many the store was not told yet."""
        with self._lock:
            return len(self._waiting) + sum(map(len, self._sent.values()))

    @property
    def is_overdue(self) -> bool:
        """Whether there is one that the store could not be told of when that was last tried."""
        return bool(self._overdue)

    @property
    def is_waiting(self) -> bool:
        """Whether there is one that is not on its way."""
        return bool(self._waiting)

    def add(self, name: Name, put: Put | None = None) -> Item:
        """Remember something, and return the item that stands for it: perhaps one that waits already.

        Args:
            name: what it is about.
            put: puts a value in place once the record was removed.
        """
        with self._lock:
            for sent in self._sent.values():
                if name in sent:
                    sent[name].was_overtaken = True
            item = self._waiting.get(name)
            if item is None and put is None:
                item = self._waiting.get(EVERYTHING)  # which says as much
            if item is None:
                item = self._waiting[name] = Item(name)
                if len(self) > MOST_OWED:
                    return self._make_one_of_all()
            if item.name == name:
                item.put = put  # what an earlier one would put in place is invalid by now
            return item

    def take(self, loop: asyncio.AbstractEventLoop) -> Mapping[Name, Item]:
        """Take what waits, to send it on a loop. Give each back with ``end``.

        What is about a name that is on its way stays: the store must not hear of it before.
        """
        with self._lock:
            self._recover()
            on_their_way = [sent.keys() for sent in self._sent.values()]
            taken = {
                name: item for name, item in self._waiting.items() if not any(name in names for names in on_their_way)
            }
            self._waiting = {name: item for name, item in self._waiting.items() if name not in taken}
            self.is_wanted = False
            if taken:
                self._sent.setdefault(loop, {}).update(taken)
            return taken

    def end(self, loop: asyncio.AbstractEventLoop, items: Iterable[Item], *, told: bool) -> None:
        """Note what became of items that a loop has sent: those that the store could not be told of are overdue."""
        with self._lock:
            sent = self._sent.get(loop, {})
            ended = [item for item in items if sent.get(item.name) is item]
            for item in ended:
                del sent[item.name]
            if not sent:
                self._sent.pop(loop, None)
            self._overdue.difference_update(item.name for item in ended)
            if not told:
                # Anew, so that it can be told what becomes of it now; and without its value, which another process may
                # have invalidated by the time the store hears of it.
                again = {item.name: self._waiting.get(item.name) or Item(item.name) for item in ended}
                self._overdue.update(again)
                self._waiting = {**again, **self._waiting}
        for item in ended:
            item.resolve(told=told)

    def first_of(self, names: Collection[Name]) -> Item | None:
        """Return an item that the store has to be told of before ``names`` are read; any that is overdue is one."""
        with self._lock:
            self._recover()
            places = (self._waiting, *self._sent.values())
            return next(
                (place[name] for name in chain(names, self._overdue) for place in places if name in place), None
            )

    def leave(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have what a loop was sending wait again: it will not end."""
        self.end(loop, tuple(self._sent.get(loop, {}).values()), told=False)

    def clear(self) -> None:
        """Forget everything: after a fork it is the parent's to tell."""
        self._lock = threading.RLock()  # a thread of the parent's may have held it
        self._waiting, self._sent, self._overdue = {}, {}, set()

    def _make_one_of_all(self) -> Item:
        together, self._waiting = self._waiting, {}
        everything = self._waiting[EVERYTHING] = together.get(EVERYTHING, Item(EVERYTHING))
        for item in together.values():
            if item is not everything:
                item.follow(everything)
        if not self._overdue.isdisjoint(together):
            self._overdue.difference_update(together)
            self._overdue.add(EVERYTHING)
        return everything

    def _recover(self) -> None:
        for loop in [loop for loop in self._sent if loop.is_closed()]:
            self.leave(loop)


def _set(future: asyncio.Future[bool], told: bool) -> None:
    if not future.done():
        future.set_result(told)
