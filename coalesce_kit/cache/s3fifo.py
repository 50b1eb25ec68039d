"""Eviction by S3-FIFO, as a ``cachetools.Cache``.

Source: Yang, Zhang, Qiu, Yue and Rashmi, "FIFO queues are all you need for cache eviction", SOSP '23. A newcomer stands
in a small queue and is dropped from there unless it was asked for meanwhile; a ghost of it is remembered, and if it
comes back it goes straight into the main queue, which gives a second chance to whatever was used since its last one.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, Final, Self, TypeVar

import cachetools

from ..entry import NOWHERE, Node

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

SMALL_SHARE: Final = 0.2
"""The share of the room from which newcomers are dropped; below it the main queue gives."""

PROMOTING_USES: Final = 2
"""Hits that a newcomer needs to be moved into the main queue instead of being dropped."""

MOST_USES: Final = 3
"""Hits beyond this number earn no further second chances. Applied where they are read, so that a hit only adds one."""

CHANCES: Final = 64
"""Second chances that one eviction gives before it takes the node at hand, so that no put walks a whole queue."""

FEWEST_GHOSTS: Final = 127
MOST_GHOSTS: Final = (1 << 20) - 1
"""Bounds of the table of ghosts; odd, so that no stride of integer keys falls on few places."""


_NOBODY: Final = -1
"""The one number that is nobody's hash."""

_new: Final = object.__new__


class S3FIFOCache(cachetools.Cache[K, V]):
    """A bounded mapping that drops what is asked for least, by S3-FIFO.

    It is used like any ``cachetools.Cache``, and is as little thread-safe as they are. ``MemoryCache`` goes past the
    mapping: with ``insert`` an entry is its own place in the queues, and no other object is made for it.

    The queues are doubly linked through the nodes, so that removing any one is O(1) and leaves nothing behind.

    Attributes:
        entries: the storage. Never rebound and cleared in place: compiled calls hold its ``get``.
    """

    def __init__(self, maxsize: float, getsizeof: Callable[[V], float] | None = None) -> None:
        """Make an empty cache.

        Args:
            maxsize: the most entries, or the largest sum of sizes; ``math.inf`` for no limit.
            getsizeof: the size of a value; 1 without it.

        Raises:
            ValueError: ``maxsize`` is negative.
        """
        super().__init__(maxsize, getsizeof)
        self.entries: dict[K, Node] = {}
        self._is_sized = self.getsizeof is not cachetools.Cache.getsizeof
        ghosts = FEWEST_GHOSTS if self._is_sized or math.isinf(maxsize) else max(int(maxsize), FEWEST_GHOSTS)
        self._start(min(ghosts, MOST_GHOSTS))

    def _start(self, ghosts: int) -> None:
        """Set up empty queues and a table for about ``ghosts`` ghosts."""
        self._small = _make_queue()
        self._main = _make_queue()
        self._hand = self._small
        self._small_size: float = 0
        self._size: float = 0
        self._room = self.maxsize  # reading the property takes longer than the comparison that it is read for
        self._small_room = self._room * SMALL_SHARE
        # Hashes of what was dropped, each in the one place where it belongs: what comes later overwrites it, which is
        # all the ageing that ghosts need, and no key is kept alive.
        self._ghosts = array("q", [_NOBODY]) * (ghosts | 1)

    @property
    def currsize(self) -> float:
        """The sum of the sizes of what is held."""
        return self._size

    def __repr__(self) -> str:
        held = {key: _content(node) for key, node in self.entries.items()}
        return f"{type(self).__name__}({held!r}, maxsize={self.maxsize!r}, currsize={self._size!r})"

    def __contains__(self, key: object) -> bool:
        return key in self.entries

    def __iter__(self) -> Iterator[K]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, key: K) -> V:
        try:
            node = self.entries[key]
        except KeyError:
            return self.__missing__(key)
        node.uses += 1
        value: V = _content(node)
        return value

    def __setitem__(self, key: K, value: V) -> None:
        size: float = 1
        if self._is_sized:
            size = self.getsizeof(value)
            if size < 0:
                raise ValueError("value size must be non-negative")
        if size > self._room:
            raise ValueError("value too large")
        node = self.entries.get(key)
        if node is not None:
            self._replace(node, Node(value), size)
            return
        dropped = () if self._size + size <= self._room else self._make_room(size)
        node = dropped[-1] if dropped else None
        if node is None or node.__class__ is not Node:
            node = _new(Node)
        node.value = value  # what was dropped is nobody else's: its node serves again
        self._enter(key, node, size)

    def __delitem__(self, key: K) -> None:
        self.remove(self.entries[key])

    def find(self, key: K) -> Node | None:
        """Return the node under ``key``, which counts as a use."""
        node = self.entries.get(key)
        if node is not None:
            node.uses += 1
        return node

    def peek(self, key: K) -> Node | None:
        """Return the node under ``key``, which counts as nothing."""
        return self.entries.get(key)

    def held(self) -> list[Node]:
        """Return all nodes."""
        return list(self.entries.values())

    def popitem(self) -> tuple[K, V]:
        """Drop what the policy would drop next, and return its key and value.

        Raises:
            KeyError: there is nothing to drop.
        """
        if not self.entries:
            raise KeyError(f"{type(self).__name__} is empty") from None
        node = self._drop_next()
        return node.key, _content(node)

    def clear(self) -> None:
        """Drop everything, ghosts included."""
        self.entries.clear()
        for queue in (self._small, self._main):
            node = queue.after
            while node is not queue:
                # Neighbours that refer to each other would keep each other until the collector comes.
                following = node.after
                node.after = node.before = NOWHERE
                node = following
        self._start(len(self._ghosts))

    def __copy__(self) -> Self:
        copy = type(self).__new__(type(self))
        copy.__setstate__(self.__getstate__())
        return copy

    def __getstate__(self) -> dict[str, Any]:
        # The links are left out: walking them recursively would need a stack as deep as the cache is large.
        state = self.__dict__.copy()
        for name in ("entries", "_small", "_main", "_hand", "_ghosts"):
            del state[name]
        state["ghosts"] = len(self._ghosts)
        state["held"] = [(key, _content(node)) for key, node in self.entries.items()]
        state["queues"] = [
            [(node.key, node.size, node.uses) for node in _walk(queue)] for queue in (self._small, self._main)
        ]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        held, queues, ghosts = (self.__dict__.pop(name) for name in ("held", "queues", "ghosts"))
        self.entries = {key: Node(value) for key, value in held}
        size, small_size = self._size, self._small_size
        self._start(ghosts)
        self._size, self._small_size = size, small_size
        for queue, nodes in zip((self._small, self._main), queues, strict=True):
            for key, node_size, uses in nodes:
                node = self.entries[key]
                node.key, node.fingerprint, node.size, node.uses = key, hash(key), node_size, uses
                node.in_main = queue is self._main
                _append(queue, node)

    def insert(self, key: K, node: Node, size: float) -> Sequence[Node]:
        """Put ``node`` in under ``key``, in the place of the one that is there if any.

        Args:
            key: what it is kept under.
            node: a node that stands in no queue.
            size: what it counts; not more than ``maxsize``.

        Returns:
            What was dropped to make room.
        """
        kept = self.entries.get(key)
        if kept is not None:
            return self._replace(kept, node, size)
        dropped = () if self._size + size <= self._room else self._make_room(size)
        self._enter(key, node, size)
        return dropped

    def remove(self, node: Node) -> None:
        """Take out a node, if it is held. O(1)."""
        if node.after is NOWHERE:
            return
        # A key whose hash has changed since is not found, and must not be in the way of others for that.
        self.entries.pop(node.key, None)
        before, after = node.before, node.after
        before.after = after
        after.before = before
        if self._hand is node:
            self._hand = after
        node.before = node.after = NOWHERE
        self._size -= node.size
        if not node.in_main:
            self._small_size -= node.size

    def examine(self, now: float) -> Sequence[Node]:
        """Move the hand over two nodes more and take out those of no use at ``now``. Return them.

        The hand goes round over both queues. Called at every put it comes round before the cache is filled anew, and so
        finds everything in time without a timer and without a walk.
        """
        small, main = self._small, self._main
        first = self._hand
        second = first.after
        if second is small or second is main:
            second = main if second is small else small
        following = second.after
        if following is small or following is main:
            following = main if following is small else small
        self._hand = following
        if first.usable_until > now and second.usable_until > now:
            return ()
        useless = [node for node in (first, second) if node.usable_until <= now]
        for node in useless:
            self.remove(node)
        return useless

    def _replace(self, kept: Node, node: Node, size: float) -> Sequence[Node]:
        """Let ``node`` have the place and the uses of ``kept``: that a value was renewed says nothing about its use."""
        node.key, node.fingerprint, node.in_main = kept.key, kept.fingerprint, kept.in_main
        node.uses, node.size = kept.uses, size
        growth = size - kept.size
        dropped: Sequence[Node] = ()
        if self._size + growth > self._room:
            # What is renewed must not be what has to go, so it stands aside meanwhile.
            self.remove(kept)
            dropped = self._make_room(size) if self._size + size > self._room else ()
            _append(self._main if node.in_main else self._small, node)
            growth = size
        else:
            node.before, node.after = kept.before, kept.after
            node.before.after = node.after.before = node
            kept.before = kept.after = NOWHERE
            if self._hand is kept:
                self._hand = node
        self.entries[node.key] = node
        self._size += growth
        if not node.in_main:
            self._small_size += growth
        return dropped

    def _enter(self, key: K, node: Node, size: float) -> None:
        """Put in a node under a new key, for which there is room."""
        fingerprint = hash(key)  # before anything is changed: it is the user's code, and may raise
        self.entries[key] = node
        self._size += size
        node.key = key
        node.size = size
        node.uses = 0
        node.fingerprint = fingerprint
        ghosts = self._ghosts
        place = fingerprint % len(ghosts)
        if ghosts[place] == fingerprint:
            ghosts[place] = _NOBODY
            queue = self._main
            node.in_main = True
        else:
            queue = self._small
            node.in_main = False
            self._small_size += size
        node.before = last = queue.before
        node.after = queue
        last.after = queue.before = node

    def _make_room(self, size: float) -> list[Node]:
        """Drop what has to go for ``size``, and return it."""
        small, main = self._small, self._main
        dropped: list[Node] = []
        while self._size + size > self._room:
            if small.after is small and main.after is main:
                self._size = self._small_size = 0  # nothing is held: what is left is what sums of floats are out by
                break
            dropped.append(self._drop_next())
        if self._is_sized and len(self._ghosts) <= min(len(self.entries), MOST_GHOSTS - 1):
            # More of them fit in than the table was made for. The ghosts in it are given up.
            self._ghosts = array("q", [_NOBODY]) * min(2 * len(self.entries) | 1, MOST_GHOSTS)
        return dropped

    def _drop_next(self) -> Node:
        """Drop what the policy drops next, and return it. There must be something."""
        small, main = self._small, self._main
        chances = CHANCES
        while True:
            if main.after is main or (self._small_size >= self._small_room and small.after is not small):
                node = small.after
                small.after = following = node.after
                following.before = small
                self._small_size -= node.size
                promoted = node.uses >= PROMOTING_USES
                if promoted:
                    node.uses = 0
                    node.in_main = True
                else:
                    ghosts, fingerprint = self._ghosts, node.fingerprint
                    ghosts[fingerprint % len(ghosts)] = fingerprint
            else:
                node = main.after
                main.after = following = node.after
                following.before = main
                uses = node.uses
                promoted = uses > 0
                node.uses = (uses if uses < MOST_USES else MOST_USES) - 1
            if node is self._hand:
                self._hand = following
            if not promoted or not chances:
                break
            chances -= 1
            node.before = last = main.before
            node.after = main
            last.after = main.before = node
        node.after = node.before = NOWHERE
        self._size -= node.size
        try:
            del self.entries[node.key]
        except KeyError:  # as in ``remove``
            pass
        return node


def _make_queue() -> Node:
    """Return an empty queue: a node that is its own neighbour, before the first and after the last."""
    queue = Node()
    queue.usable_until = math.inf
    queue.after = queue.before = queue
    return queue


def _append(queue: Node, node: Node) -> None:
    last = queue.before
    node.before, node.after = last, queue
    last.after = queue.before = node


def _walk(queue: Node) -> Iterator[Node]:
    node = queue.after
    while node is not queue:
        yield node
        node = node.after


def _content(node: Node) -> Any:
    """Return what was put in: a node of a class of its own is itself, any other was made for its value."""
    return node.value if node.__class__ is Node else node
