"""The package's caches, and those of cachetools inside them, keep the contract; each test of it can fail."""

from __future__ import annotations

import functools
import math

import cachetools
import pytest

from coalesce_kit import CachePolicy, Invalidation, MemoryCache, S3FIFOCache, coalesced
from coalesce_kit.testing.cache_contract import ResultCacheContract
from coalesce_kit.testing.clock import run
from tests.contracts.breaking import fails, names_of_tests


class TestMemoryCache(ResultCacheContract):
    """Bounded by the number of results."""

    def keeping(self, *, most, ttl):
        return coalesced(ttl=ttl, cache=MemoryCache(max_entries=most))


class TestMemoryCacheOfBytes(ResultCacheContract):
    """Bounded by the sum of sizes."""

    def keeping(self, *, most, ttl):
        return coalesced(ttl=ttl, cache=MemoryCache(max_bytes=most, size_of=lambda _: 1))


class TestS3FIFOCache(ResultCacheContract):
    """Its storage, brought by hand."""

    def keeping(self, *, most, ttl):
        return coalesced(ttl=ttl, cache=MemoryCache(cache=S3FIFOCache(most)))


class TestLRUCache(ResultCacheContract):
    """A cache of cachetools, read under the lock."""

    def keeping(self, *, most, ttl):
        return coalesced(ttl=ttl, cache=MemoryCache(cache=cachetools.LRUCache(most)))


class TestLFUCache(ResultCacheContract):
    """Another."""

    def keeping(self, *, most, ttl):
        return coalesced(ttl=ttl, cache=MemoryCache(cache=cachetools.LFUCache(most)))


class TestTTLCache(ResultCacheContract):
    """One that has a time of its own."""

    def keeping(self, *, most, ttl):
        return coalesced(ttl=ttl, cache=MemoryCache(cache=cachetools.TTLCache(most, 1000)))


class Losing(cachetools.LRUCache):
    """Half of what is put in is lost."""

    def __setitem__(self, key, value):
        self.turn = getattr(self, "turn", 0) + 1
        if self.turn % 2:
            super().__setitem__(key, value)


class Hoarding(cachetools.LRUCache):
    """Whatever was put in is held for ever."""

    def __setitem__(self, key, value):
        self.hoard = [*getattr(self, "hoard", ()), value]
        super().__setitem__(key, value)


class Deaf:
    """A decorated function on which nothing has an effect but calling it."""

    def __init__(self, function):
        self._function = function

    def __call__(self, *args):
        return self._function(*args)

    def __getattr__(self, name):
        return getattr(self._function, name)

    def invalidate(self, *args):
        return Invalidation(0)

    def invalidate_all(self):
        return Invalidation(0)

    async def refresh(self, *args):
        return await self._function(*args)

    def peek(self, *args):
        return None


class Fragile(Deaf):
    """Now and then it raises."""

    turn = 0

    def prime(self, value, *args):
        Fragile.turn += 1
        if Fragile.turn % 100 == 0:
            raise LookupError("not now")
        self._function.prime(value, *args)


def with_storage(storage):
    return lambda most, ttl: coalesced(ttl=ttl, cache=MemoryCache(cache=storage(most)))


def with_policy(**options):
    return lambda most, ttl: coalesced(
        policy=CachePolicy(**{"ttl": ttl, **options}), cache=MemoryCache(max_entries=most)
    )


def with_room(factor):
    return lambda most, ttl: coalesced(ttl=ttl, cache=MemoryCache(max_entries=int(most * factor)))


def deaf(most, ttl, kind=Deaf):
    decorate = coalesced(ttl=ttl, cache=MemoryCache(max_entries=most))
    return lambda function: kind(decorate(function))


def one_for_all(most, ttl):
    made = []
    decorate = coalesced(ttl=ttl)
    return lambda function: made[0] if made else made.append(decorate(function)) or made[0]


def holding_instances(most, ttl):
    held = []

    def decorate(function):
        decorated = coalesced(ttl=ttl)(function)

        @functools.wraps(function)
        async def call(self):
            held.append(self)
            return await decorated(self)

        return call

    return decorate


def nothing(most, ttl):
    return coalesced()


BROKEN = {
    "test_what_is_kept_is_the_answer": nothing,
    "test_empty_answers_are_answers": with_policy(cache_if=bool),
    "test_a_failure_is_not_kept": with_policy(error_ttl={LookupError: 60}),
    "test_a_result_ends_with_its_time": with_policy(ttl=math.inf),
    "test_keys_are_apart": lambda most, ttl: coalesced(ttl=ttl, key=lambda of: hash(of)),
    "test_functions_are_apart": one_for_all,
    "test_it_is_bounded": with_room(10),
    "test_it_is_not_smaller_than_it_says": with_room(0.5),
    "test_what_was_dropped_is_fetched_again": with_storage(Losing),
    "test_what_was_invalidated_is_gone": deaf,
    "test_everything_can_be_invalidated": deaf,
    "test_what_was_invalidated_while_it_was_fetched_is_not_kept": deaf,
    "test_a_new_value_takes_the_place_of_the_old": deaf,
    "test_a_look_changes_nothing": deaf,
    "test_what_is_gone_is_let_go_of": with_storage(Hoarding),
    "test_an_instance_is_not_kept_alive": holding_instances,
    "test_threads_may_change_it_together": lambda most, ttl: deaf(most, ttl, Fragile),
}


@pytest.mark.parametrize(("test", "broken"), BROKEN.items())
def test_a_broken_cache_is_noticed(test, broken):
    """Each test of the contract fails on a cache that breaks what it is about."""

    class Broken(ResultCacheContract):
        def keeping(self, *, most, ttl):
            return broken(most, ttl)

    fails(Broken(), test)


def test_a_cache_that_is_one_too_large_is_told_so():
    """With both numbers, and where the one comes from."""

    class Contract(ResultCacheContract):
        def keeping(self, *, most, ttl):
            return coalesced(ttl=ttl, cache=MemoryCache(max_entries=most + 1))

    with pytest.raises(AssertionError, match=r"was to keep at most 8 results \(most\) holds 9"):
        run(Contract().test_it_is_bounded())


def test_every_test_of_the_contract_can_fail():
    """The table has a row for each."""
    assert BROKEN.keys() == names_of_tests(ResultCacheContract)


async def test_a_contract_says_what_it_needs():
    """Without its one method the contract says which that is."""
    with pytest.raises(NotImplementedError, match="def keeping"):
        await ResultCacheContract().test_keys_are_apart()
