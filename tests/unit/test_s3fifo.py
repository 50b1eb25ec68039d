"""S3-FIFO: who is dropped, who stays, what it costs, and that its queues are whole after anything."""

from __future__ import annotations

import gc
import math
import weakref
from collections import OrderedDict
from typing import Any

import cachetools
import pytest
from hypothesis import given, settings, strategies as st

from coalesce_kit.cache import s3fifo
from coalesce_kit.cache.s3fifo import CHANCES, S3FIFOCache
from coalesce_kit.entry import NOWHERE, Entry, Lifetimes, Node
from tests.contracts.mapping import MappingContract


class TestMapping(MappingContract):
    """An S3-FIFO cache is a ``cachetools.Cache`` like any other."""

    cache_class = S3FIFOCache


def cache_of(maxsize: float, **items: Any) -> S3FIFOCache[str, Any]:
    """Return a cache with the items."""
    cache: S3FIFOCache[str, Any] = S3FIFOCache(maxsize)
    cache.update(items)
    return cache


def queues_of(cache: S3FIFOCache[Any, Any]) -> tuple[list[Any], list[Any]]:
    """Return the keys of the small and of the main queue, the next to be considered first; check the links."""
    found = []
    for queue in (cache._small, cache._main):
        keys, node = [], queue
        while node.after is not queue:
            assert node.after.before is node
            node = node.after
            keys.append(node.key)
        assert queue.before is node
        found.append(keys)
    return found[0], found[1]


def check(cache: S3FIFOCache[Any, Any]) -> None:
    """Assert that storage, queues and sizes tell the same story."""
    small, main = queues_of(cache)
    assert len(small + main) == len(cache.entries) == len({*small, *main} & cache.entries.keys())
    assert cache.currsize == sum(node.size for node in cache.entries.values()) <= cache.maxsize
    assert cache._small_size == sum(cache.entries[key].size for key in small)
    assert [cache.entries[key].in_main for key in small + main] == [False] * len(small) + [True] * len(main)
    assert cache._hand in (cache._small, cache._main, *cache.entries.values())
    assert NOWHERE.after is NOWHERE.before is NOWHERE


def touch(cache: S3FIFOCache[Any, Any], key: Any, times: int) -> None:
    """Read a key some times, as a compiled call does."""
    cache.entries[key].uses += times


# ---- who goes ----


def test_unused_newcomers_go_in_order():
    """What nobody asked for again is dropped in the order in which it came."""
    cache = cache_of(3, a=1, b=2, c=3)
    dropped = [cache.popitem()[0] for _ in range(3)]
    assert dropped == ["a", "b", "c"]


def test_used_newcomer_is_moved_to_the_main_queue():
    """Two hits save a newcomer from being dropped."""
    cache = cache_of(3, a=1, b=2, c=3)
    touch(cache, "a", 2)
    cache["d"] = 4
    assert queues_of(cache) == (["c", "d"], ["a"])


def test_one_hit_does_not_save_a_newcomer():
    """A single hit, such as a scan's second look, does not."""
    cache = cache_of(3, a=1, b=2, c=3)
    touch(cache, "a", 1)
    cache["d"] = 4
    assert queues_of(cache) == (["b", "c", "d"], [])


def numbered(maxsize: float, *keys: int) -> S3FIFOCache[int, Any]:
    """Return a cache with small numbers as keys, none of whose ghosts is in another's place."""
    cache: S3FIFOCache[int, Any] = S3FIFOCache(maxsize)
    cache.update((key, key) for key in keys)
    return cache


def test_ghost_comes_back_into_the_main_queue():
    """What was dropped lately and is asked for again was dropped too early."""
    cache = numbered(2, 1, 2)
    cache[3] = 3
    assert 1 not in cache
    cache[1] = 1
    assert queues_of(cache) == ([3], [1])


def test_ghost_counts_once():
    """A ghost that came back is a ghost no longer."""
    cache = numbered(2, 1, 2, 3, 1)
    del cache[1]
    cache[1] = 1
    assert queues_of(cache) == ([3, 1], [])


def test_ghosts_place_is_taken_by_the_next():
    """A ghost is forgotten when another one belongs in its place: a returning key is then a newcomer."""
    cache = numbered(1, 1, 1 + len(S3FIFOCache(1)._ghosts), 3)
    cache[1] = 1
    assert queues_of(cache) == ([1], [])


def test_clearing_forgets_the_ghosts():
    """After clearing, everything is a newcomer."""
    cache = numbered(2, 1, 2, 3)
    cache.clear()
    cache[1] = 1
    assert queues_of(cache) == ([1], [])


def test_main_queue_gives_second_chances():
    """A node of the main queue that was used goes back to its end and has one use less."""
    cache = cache_of(2, a=1, b=2)
    touch(cache, "a", 2)
    touch(cache, "b", 2)
    cache["c"] = 3  # moves both, then drops a
    assert queues_of(cache) == (["c"], ["b"])
    touch(cache, "b", 7)
    cache._small_room = 2  # so that the main queue gives
    cache["d"] = 4
    assert "b" in cache or "c" in cache
    check(cache)


def test_uses_beyond_the_most_earn_nothing():
    """However often it was asked for, a node that is not asked for any more is dropped after three rounds."""
    cache = cache_of(10, **{f"k{number}": number for number in range(10)})
    for key in cache.entries:
        touch(cache, key, 2)
    cache["new"] = 0
    touch(cache, "k5", 1_000_000)
    rounds = 0
    while "k5" in cache:
        cache[f"filler {rounds}"] = rounds
        cache[f"filler {rounds}"] = rounds
        touch(cache, f"filler {rounds}", 2)
        rounds += 1
    assert rounds < 80


def test_scan_does_not_wash_out_what_is_used():
    """A thousand keys asked for once do not push out the ten that everybody asks for."""
    cache: S3FIFOCache[Any, Any] = S3FIFOCache(100)
    for key in range(10):
        cache[key] = key
    for key in range(1000, 2000):
        for hot in range(10):
            assert hot in cache
            cache[hot]
        cache[key] = key


def test_renewed_value_keeps_its_place():
    """Exchanging a value is not a use, and moves nothing."""
    cache = cache_of(3, a=1, b=2, c=3)
    touch(cache, "b", 2)
    cache["a"] = 10
    cache["b"] = 20
    assert queues_of(cache) == (["a", "b", "c"], [])
    assert (cache.entries["a"].uses, cache.entries["b"].uses) == (0, 2)


def test_grown_value_is_not_dropped_for_itself():
    """A value that grows stays in its queue, and others make room for it."""
    cache: S3FIFOCache[Any, Any] = S3FIFOCache(10, getsizeof=lambda size: size)
    cache.update({"a": 3, "b": 3, "c": 3})
    cache["a"] = 6
    assert (queues_of(cache), cache.currsize) == ((["c", "a"], []), 9)
    touch(cache, "c", 2)
    touch(cache, "a", 2)
    cache["d"] = 1  # fits
    cache["e"] = 1  # moves both
    cache["a"] = 7
    check(cache)
    assert "a" in queues_of(cache)[1]


def test_what_sums_of_floats_leave_over_is_nothing():
    """A cache that holds nothing has room for whatever fits in, whatever the sum of what it has held may be."""
    cache: S3FIFOCache[str, float] = S3FIFOCache(1.0, getsizeof=lambda size: size)
    cache["a"], cache["b"], cache["c"] = 0.18, 0.57, 0.01
    del cache["a"], cache["b"], cache["c"]
    assert (len(cache), cache.currsize + 1.0 > 1.0) == (0, True)
    cache["d"] = 1.0
    assert (dict(cache), cache.currsize) == ({"d": 1.0}, 1.0)

    cache["a"], cache["b"], cache["c"] = 0.18, 0.57, 0.01
    del cache["a"], cache["b"], cache["c"]
    assert cache.insert("e", Node("e"), 1.0) == []
    assert (len(cache), cache.currsize) == (1, 1.0)


def test_eviction_gives_only_so_many_chances():
    """One put looks at no more nodes than it may give chances, however many were used."""
    cache: S3FIFOCache[int, int] = S3FIFOCache(1000)
    for key in range(1000):
        cache[key] = key
        cache.entries[key].uses = 3
    cache[1000] = 0
    small, main = queues_of(cache)
    assert (main, small[0]) == (list(range(CHANCES)), CHANCES + 1)  # the next one was taken, used or not
    check(cache)


# ---- the storage ----


def test_storage_is_never_rebound():
    """Whoever holds the storage's ``get`` sees what happens later, clearing included."""
    cache = cache_of(2, a=1)
    entries, get = cache.entries, cache.entries.get
    cache.clear()
    cache["b"] = 2
    cache["b"] = 3
    assert cache.entries is entries
    assert get("b").value == 3


def test_hit_moves_nothing():
    """Reading is one number in the node."""
    cache = cache_of(3, a=1, b=2)
    before = queues_of(cache)
    assert cache["a"] == 1
    assert (queues_of(cache), cache.entries["a"].uses) == (before, 1)


def test_value_that_is_a_node_is_a_value():
    """A node or an entry can be put in like anything else, more than once."""
    cache = cache_of(3)
    entry = Entry("value", at=0.0, lifetimes=Lifetimes(1.0))
    node = Node("value")
    cache.update(a=entry, b=entry, c=node)
    assert (cache["a"], cache["b"], cache["c"]) == (entry, entry, node)
    assert entry.after is NOWHERE


def test_inserted_entry_is_its_own_node():
    """With ``insert`` no other object is made, and the entry itself is given back."""
    cache = cache_of(1)
    first, second = (Entry(value, at=0.0, lifetimes=Lifetimes(1.0)) for value in "xy")
    assert cache.insert("a", first, 1) == ()
    assert cache.entries["a"] is cache["a"] is cache.find("a") is cache.peek("a") is first
    assert first.uses == 2
    assert cache.insert("b", second, 1) == [first]
    assert cache.held() == [second]
    assert cache.find("a") is cache.peek("a") is None


def test_removing_twice_is_harmless():
    """A node that is in no queue is not removed again."""
    cache = cache_of(2, a=1, b=2)
    node = cache.entries["a"]
    cache.remove(node)
    cache.remove(node)
    assert (dict(cache), cache.currsize) == ({"b": 2}, 1)


def test_what_was_dropped_is_released_at_once():
    """A dropped, deleted or cleared value dies without the collector, and keeps no neighbour alive."""

    class Value:
        pass

    gc.disable()
    try:
        cache: S3FIFOCache[int, Value] = S3FIFOCache(3)
        watched = []
        for key in range(6):
            value = Value()
            watched.append(weakref.ref(value))
            cache[key] = value
        del value
        assert [reference() is None for reference in watched] == [True] * 3 + [False] * 3
        del cache[4]
        assert watched[4]() is None
        kept = cache.entries[5]
        cache.clear()
        assert watched[3]() is None
        del kept
        assert watched[5]() is None
    finally:
        gc.enable()


def test_invalidate_and_reload_leaves_nothing_behind():
    """Deleting and putting in one key a hundred thousand times leaves one node."""
    cache = cache_of(1000)
    for number in range(100_000):
        cache["a"] = number
        del cache["a"]
    assert queues_of(cache) == ([], [])
    assert cache._size == cache._small_size == 0


class Moody:
    """A key whose hash can be changed."""

    def __init__(self, mood: int) -> None:
        self.mood = mood

    def __hash__(self) -> int:
        if self.mood < 0:
            raise RuntimeError("not today")
        return self.mood


def test_key_whose_hash_changed_is_in_nobodys_way():
    """A key that broke its promise is dropped from the queues when its time comes, without an error for others."""
    cache: S3FIFOCache[Any, int] = S3FIFOCache(2)
    key = Moody(1)
    cache[key] = 1
    key.mood = 2
    cache.update(a=1, b=2)
    assert queues_of(cache) == (["a", "b"], [])


def test_key_that_cannot_be_hashed_changes_nothing():
    """An error of the key's own ``__hash__`` reaches who puts it in, and nothing is left of it."""
    cache: S3FIFOCache[Any, int] = S3FIFOCache(2)
    with pytest.raises(RuntimeError, match="not today"):
        cache[Moody(-1)] = 1
    assert (len(cache), queues_of(cache)) == (0, ([], []))


# ---- the hand ----


def entry_until(until: float) -> Entry:
    """Return an entry that is of use until then."""
    return Entry("value", at=0.0, lifetimes=Lifetimes(until))


def test_hand_finds_everything_in_one_round():
    """Going on by two nodes a step, the hand finds all that is useless, in either queue, once."""
    cache: S3FIFOCache[Any, Any] = S3FIFOCache(20)
    for key in range(20):
        cache.insert(key, entry_until(5.0 if key % 3 else 50.0), 1)
        cache.entries[key].uses = 2 if key % 2 else 0
    cache.insert("newcomer", entry_until(50.0), 1)
    useless = {key for key, entry in cache.entries.items() if entry.usable_until <= 5.0}
    found = [entry.key for _ in range(12) for entry in cache.examine(5.0)]
    assert (len(found), set(found)) == (len(useless), useless)
    assert all(entry.usable_until == 50.0 for entry in cache.entries.values())
    check(cache)


def test_hand_of_an_empty_cache():
    """There is nothing to find in an empty cache, and no way to get lost."""
    cache = cache_of(2)
    assert [cache.examine(1e9) for _ in range(5)] == [()] * 5


def test_hand_survives_what_it_points_at():
    """Whatever the hand stands on may be dropped, renewed or moved."""
    cache: S3FIFOCache[Any, Any] = S3FIFOCache(4)
    for key in range(200):
        cache.insert(key % 7, entry_until(math.inf), 1)
        if key % 7 in cache.entries:
            touch(cache, key % 7, key % 3)
        cache.examine(0.0)
        if key % 5 == 0:
            cache.pop(key % 7, None)
        check(cache)


# ---- the ghosts ----


def test_ghosts_are_bounded():
    """However many keys come and go, the table of ghosts has the size it had."""
    cache: S3FIFOCache[int, int] = S3FIFOCache(100)
    places = len(cache._ghosts)
    for key in range(10_000):
        cache[key] = key
    assert len(cache._ghosts) == places == 127


def test_ghosts_of_a_sized_cache_grow_with_it(monkeypatch: pytest.MonkeyPatch):
    """Where nobody can say how many values fit in, the table grows when more do, up to a bound."""
    monkeypatch.setattr(s3fifo, "MOST_GHOSTS", 2047)
    cache: S3FIFOCache[int, int] = S3FIFOCache(3000, getsizeof=lambda _: 2)
    assert len(cache._ghosts) == 127
    for key in range(4000):
        cache[key] = key
    assert len(cache._ghosts) == 2047
    cache[2499] = 0  # the last to be dropped
    assert 2499 in queues_of(cache)[1]


def test_huge_bound_costs_nothing_until_it_is_used():
    """The table of ghosts of a cache for a billion entries is bounded."""
    assert len(S3FIFOCache(10**9)._ghosts) < 2**20


# ---- against a model ----


class PlainS3FIFO:
    """The same policy written for reading, with lists and linear searches."""

    def __init__(self, maxsize: int, ghosts: int) -> None:
        self.maxsize = maxsize
        self.places = ghosts
        self.small: OrderedDict[Any, int] = OrderedDict()
        self.main: OrderedDict[Any, int] = OrderedDict()
        self.ghosts: dict[int, Any] = {}

    def hit(self, key: Any) -> bool:
        for queue in (self.small, self.main):
            if key in queue:
                queue[key] += 1
                return True
        return False

    def put(self, key: Any) -> None:
        if self.hit(key):
            raise AssertionError("the model is asked only to put in what is not there")
        chances = CHANCES
        while len(self.small) + len(self.main) >= self.maxsize:
            if len(self.small) >= self.maxsize * s3fifo.SMALL_SHARE or not self.main:
                victim, uses = self.small.popitem(last=False)
                if uses >= s3fifo.PROMOTING_USES:
                    if chances:
                        self.main[victim] = 0
                else:
                    self.ghosts[hash(victim) % self.places] = hash(victim)
            else:
                victim, uses = self.main.popitem(last=False)
                if uses and chances:
                    self.main[victim] = min(uses, s3fifo.MOST_USES) - 1
            chances -= victim in self.main
        place = hash(key) % self.places
        returns = self.ghosts.get(place) == hash(key)
        if returns:
            del self.ghosts[place]
        (self.main if returns else self.small)[key] = 0


@settings(max_examples=200)
@given(st.integers(1, 12), st.lists(st.integers(0, 25), max_size=300))
def test_drops_what_a_plain_model_drops(maxsize: int, requests: list[int]):
    """For any sequence of requests, both queues hold what a model written for reading holds."""
    cache: S3FIFOCache[int, int] = S3FIFOCache(maxsize)
    model = PlainS3FIFO(maxsize, len(cache._ghosts))
    for key in requests:
        found = cache.find(key)
        assert (found is not None) == model.hit(key)
        if found is None:
            cache[key] = key
            model.put(key)
        assert queues_of(cache) == (list(model.small), list(model.main))
    check(cache)


SIZES = st.integers(0, 6)


@settings(max_examples=200)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.integers(0, 9), SIZES),
            st.tuples(st.sampled_from(["delete", "hit"]), st.integers(0, 9), st.just(0)),
            st.tuples(st.sampled_from(["popitem", "examine", "clear"]), st.just(0), st.just(0)),
        ),
        max_size=120,
    )
)
def test_whole_after_anything(steps: list[tuple[str, int, int]]):
    """After any sequence of changes storage, queues, sizes and hand agree, and what was put in last is there."""
    cache: S3FIFOCache[int, int] = S3FIFOCache(12, getsizeof=lambda size: size)
    for step, key, size in steps:
        if step == "put":
            cache.insert(key, Entry(size, at=0.0, lifetimes=Lifetimes(float(size))), size)
            assert cache.entries[key].value == size
        elif step == "hit" and key in cache:
            cache[key]
        elif step == "delete":
            cache.pop(key, None)
            assert key not in cache
        elif step == "popitem" and cache:
            cache.popitem()
        elif step == "examine":
            assert all(entry.usable_until <= 3.0 for entry in cache.examine(3.0))
        elif step == "clear":
            cache.clear()
        check(cache)


def test_is_a_cachetools_cache():
    """It can be given to whoever takes a ``cachetools.Cache``."""
    memoized = cachetools.cached(S3FIFOCache(2))(lambda number: number * 2)
    assert [memoized(number) for number in (1, 1, 2, 3)] == [2, 2, 4, 6]
