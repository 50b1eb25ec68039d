"""Chaos in a mapping: what is put and what is looked up goes wrong, or the mapping is refused."""

from __future__ import annotations

from collections import OrderedDict, UserDict
from collections.abc import MutableMapping
from types import MappingProxyType

import cachetools
import pytest

from coalesce_kit import MemoryCache, coalesced
from coalesce_kit.cache.s3fifo import S3FIFOCache
from coalesce_kit.testing.chaos import Chaos, ChaosError, chaotic


def test_a_put_whose_answer_is_lost_is_done():
    """As with any other question; what is looked up is not there for who looks."""
    cache = cachetools.LRUCache(3)
    struck = chaotic(cache, Chaos(throw=1.0))
    with pytest.raises(ChaosError, match="put was done, and its answer got lost"):
        struck["nba"] = 1.9
    assert cachetools.Cache.__getitem__(cache, "nba") == 1.9
    with pytest.raises(ChaosError, match="get failed"):
        struck["nba"]


def test_a_put_that_is_lost_is_not_done():
    """Nobody hears of it."""
    struck = chaotic(cachetools.LRUCache(3), Chaos(drop=1.0))
    struck["nba"] = 1.9
    assert len(struck) == 0


def test_what_is_dropped_is_forgotten():
    """A key is there, and is not any more when it is looked up."""
    cache = cachetools.LRUCache(3)
    cache["nba"] = 1.9
    struck = chaotic(cache, Chaos(drop=1.0))
    assert struck.get("nba") is None
    assert len(cache) == 0


def test_a_put_may_be_done_twice():
    """Somebody who counts sees it."""
    puts = []

    class Counting(cachetools.FIFOCache):
        def __setitem__(self, key, value):
            puts.append(key)
            super().__setitem__(key, value)

    chaotic(Counting(3), Chaos(duplicate=1.0))["nba"] = 1.9
    assert puts == ["nba", "nba"]


@pytest.mark.parametrize("chaos", [Chaos(drop=1.0), Chaos(throw=1.0)])
async def test_every_mapping_that_a_memory_cache_takes_is_struck_or_refused(chaos):
    """Chaos that is asked for and does not come would prove anything."""

    @coalesced(ttl=60, cache=MemoryCache(cache=chaotic(cachetools.LRUCache(10), chaos)))
    async def odds():
        return 1.9

    for _ in range(5):
        await odds()
    assert odds.stats().cache_hits == 0
    with pytest.raises(TypeError, match=r"S3FIFOCache is asked past its \[\], .* cachetools.LRUCache\(\.\.\.\)"):
        chaotic(S3FIFOCache(10), chaos)


@pytest.mark.parametrize("mapping", [{}, OrderedDict(), type("Mine", (dict,), {})()])
def test_a_mapping_that_is_read_past_its_items_is_refused(mapping):
    """A dict's get never asks for the item, so that nothing would go wrong there."""
    with pytest.raises(TypeError, match=rf"{type(mapping).__name__} is .* cachetools.LRUCache\(\.\.\.\)"):
        chaotic(mapping, Chaos())


def test_a_mapping_that_nobody_can_change_is_refused():
    """It is no mapping to put into, and has nothing to wait for."""
    with pytest.raises(TypeError, match="not mappingproxy"):
        chaotic(MappingProxyType({}), Chaos())


def test_any_other_mapping_is_struck():
    """Also one whose instances have no room for anything else."""

    class Slotted(MutableMapping):
        __slots__ = ("held",)

        def __init__(self):
            self.held = {}

        def __getitem__(self, key):
            return self.held[key]

        def __setitem__(self, key, value):
            self.held[key] = value

        def __delitem__(self, key):
            del self.held[key]

        def __iter__(self):
            return iter(self.held)

        def __len__(self):
            return len(self.held)

    for mapping in (Slotted(), UserDict()):
        mapping["nba"] = 1.9
        assert chaotic(mapping, Chaos(drop=1.0)).get("nba") is None
        assert not mapping
        assert type(mapping).__name__ == f"Chaotic{type(mapping).__mro__[1].__name__}"
