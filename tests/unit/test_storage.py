"""A cache of somebody else's as the place of entries: what it raises costs nobody an answer."""

from __future__ import annotations

import asyncio

import cachetools
import pytest

from coalesce_kit import MemoryCache, coalesced


def keeping_in(cache):
    """A function that keeps its results in a cache of somebody else's, and the list of its fetches."""
    fetched = []

    @coalesced(ttl=60, cache=MemoryCache(cache=cache))
    async def odds(league="nba"):
        fetched.append(league)
        return league

    return odds, fetched


def test_an_entry_that_vanishes_between_two_looks_is_a_miss(caplog):
    """A cache finds a key, and a moment later not its value: the caller gets a new one, and nothing is logged."""

    class Vanishing(cachetools.LRUCache):
        def get(self, key, default=None):
            return self[self.pop(key)]

    odds, fetched = keeping_in(Vanishing(10))
    assert [asyncio.run(odds()), asyncio.run(odds())] == ["nba", "nba"]
    assert fetched == ["nba", "nba"]
    assert not caplog.records


def test_an_entry_that_vanishes_while_it_is_dropped_is_dropped():
    """An invalidation finds the key, and a moment later not its value: it is gone either way."""

    class Vanishing(cachetools.LRUCache):
        def pop(self, key, default=None):
            del self[key]
            raise KeyError(key)

    odds, fetched = keeping_in(Vanishing(10))
    asyncio.run(odds())
    odds.invalidate()
    asyncio.run(odds())
    assert fetched == ["nba", "nba"]


@pytest.mark.parametrize("broken", ["get", "__setitem__", "pop"])
def test_a_cache_that_raises_is_told_of_once(broken, caplog):
    """Callers and invalidations go on without it, nothing old is given, and one line of the log says what it raised."""

    def fail(self, *arguments):
        raise OSError("the disk is full")

    odds, _ = keeping_in(type("Broken", (cachetools.LRUCache,), {broken: fail})(10))
    for _ in range(3):
        assert asyncio.run(odds()) == "nba"
        odds.invalidate()
        assert odds.peek() is None
    (record,) = caplog.records
    assert record.getMessage() == "cache_error: a Broken raised: what it cannot keep is fetched again"
    assert record.exc_info[0] is OSError
