"""What a ``MemoryCache`` asks of the place where its entries stand, and any ``cachetools.Cache`` as one."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Protocol

import cachetools

from ..entry import Entry


class Storage(Protocol):
    """A bounded place for entries. All of it is called under the cache's lock. ``S3FIFOCache`` is one."""

    def __len__(self) -> int:
        """How many entries it holds."""
        ...

    @property
    def maxsize(self) -> float:
        """The most entries, or the largest sum of sizes."""
        ...

    def find(self, key: Any, /) -> Any:
        """Return the entry under ``key``, if any; counts as a use."""
        ...

    def peek(self, key: Any, /) -> Any:
        """Return the entry under ``key``, if any; counts as nothing."""
        ...

    def insert(self, key: Any, entry: Any, size: float, /) -> Sequence[Any]:
        """Keep ``entry`` in the place of the one under ``key``, if any. Return what was dropped to make room."""
        ...

    def remove(self, entry: Any, /) -> None:
        """Drop ``entry`` if it is held."""
        ...

    def examine(self, now: float, /) -> Sequence[Any]:
        """Look at a few entries more; drop and return those of no use at ``now``."""
        ...

    def held(self) -> Sequence[Any]:
        """Return all entries."""
        ...

    def clear(self) -> None:
        """Drop all entries."""
        ...


class AnyStorage:
    """Entries in any ``cachetools.Cache``, by its public face. Its policy decides, also about entries that expired.

    A cache tells nobody what it drops in ``__setitem__``, so room is made with ``popitem`` before. What is not an entry
    was put in by somebody else and is not seen.
    """

    def __init__(self, cache: cachetools.Cache[Any, Any]) -> None:
        self.maxsize = cache.maxsize
        self._cache = cache

    def __len__(self) -> int:
        return len(self._cache)

    def find(self, key: Hashable) -> Entry | None:
        """Return the entry under ``key``, which counts as a use of it."""
        entry = self._cache.get(key)
        return entry if isinstance(entry, Entry) else None

    def peek(self, key: Hashable) -> Entry | None:
        """Return the entry under ``key``, which counts as nothing as far as the cache can tell."""
        if key not in self._cache:
            return None
        try:
            entry = cachetools.Cache.__getitem__(self._cache, key)  # past the policies, to whom a look is a use
        except KeyError:  # it keeps its values somewhere else
            entry = self._cache.get(key)
        return entry if isinstance(entry, Entry) else None

    def insert(self, key: Hashable, entry: Entry, size: float) -> Sequence[Entry]:
        """Keep ``entry``; return what was dropped to make room."""
        cache = self._cache
        kept = self.peek(key)
        growth = size if kept is None else size - kept.size
        dropped = []
        while cache.currsize + growth > cache.maxsize:
            gone = cache.popitem()[1]
            dropped.append(gone)
            if gone is kept:
                growth = size
        entry.key = key
        cache[key] = entry
        return [gone for gone in dropped if isinstance(gone, Entry) and gone is not kept]

    def remove(self, entry: Entry) -> None:
        """Drop ``entry`` if it is held."""
        self._cache.pop(entry.key, None)  # its own clock may have dropped it in this very moment

    def examine(self, now: float) -> Sequence[Entry]:  # noqa: ARG002  # a cache of its own policy has its own time
        """Return nothing: the cache decides alone."""
        return ()

    def held(self) -> list[Entry]:
        """Return all entries."""
        return [entry for key in list(self._cache) if (entry := self.peek(key)) is not None]

    def clear(self) -> None:
        """Drop all entries."""
        self._cache.clear()
