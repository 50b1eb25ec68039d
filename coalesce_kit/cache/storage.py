"""What a ``MemoryCache`` asks of the place where its entries stand, and any ``cachetools.Cache`` as one."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence
from typing import Any, Protocol

import cachetools

from ..entry import Entry

logger = logging.getLogger(__name__)


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
    was put in by somebody else and is not seen. It is somebody else's code: where it raises, a result is not there, or
    not kept, and the first time is logged; nobody who wanted an answer hears of it.
    """

    def __init__(self, cache: cachetools.Cache[Any, Any]) -> None:
        self.maxsize = cache.maxsize
        self._cache = cache
        self._has_failed = False

    def __len__(self) -> int:
        return len(self._cache)

    def find(self, key: Hashable) -> Entry | None:
        """Return the entry under ``key``, which counts as a use of it."""
        try:
            entry = self._cache.get(key)
        except KeyError:  # it vanished between the cache's own two looks, as by a time of its own
            return None
        except Exception as error:  # somebody else's code
            self._note(error)
            return None
        return entry if isinstance(entry, Entry) else None

    def peek(self, key: Hashable) -> Entry | None:
        """Return the entry under ``key``, which counts as nothing as far as the cache can tell."""
        if key not in self._cache:
            return None
        try:
            entry = cachetools.Cache.__getitem__(self._cache, key)  # past the policies, to whom a look is a use
        except KeyError:  # it keeps its values somewhere else
            return self.find(key)
        return entry if isinstance(entry, Entry) else None

    def insert(self, key: Hashable, entry: Entry, size: float) -> Sequence[Entry]:
        """Keep ``entry``; return what was dropped to make room."""
        cache = self._cache
        kept = self.peek(key)
        growth = size if kept is None else size - kept.size
        dropped = []
        entry.key = key
        try:
            while cache.currsize + growth > cache.maxsize:
                gone = cache.popitem()[1]
                dropped.append(gone)
                if gone is kept:
                    growth = size
            cache[key] = entry
        except Exception as error:  # somebody else's code
            self._note(error)
        return [gone for gone in dropped if isinstance(gone, Entry) and gone is not kept]

    def remove(self, entry: Entry) -> None:
        """Drop ``entry`` if it is held."""
        try:
            self._cache.pop(entry.key, None)
        except KeyError:  # its own clock has dropped it in this very moment
            pass
        except Exception as error:  # somebody else's code; the entry is marked as dead, so that nobody is given it
            self._note(error)

    def examine(self, now: float) -> Sequence[Entry]:  # noqa: ARG002  # a cache of its own policy has its own time
        """Return nothing: the cache decides alone."""
        return ()

    def held(self) -> list[Entry]:
        """Return all entries."""
        return [entry for key in list(self._cache) if (entry := self.peek(key)) is not None]

    def clear(self) -> None:
        """Drop all entries."""
        self._cache.clear()

    def _note(self, error: Exception) -> None:
        if not self._has_failed:
            self._has_failed = True
            logger.error(
                "cache_error: a %s raised: what it cannot keep is fetched again",
                type(self._cache).__name__,
                exc_info=error,
                extra={"cache": type(self._cache).__name__},
            )
