"""What every bounded mapping in the style of ``cachetools.Cache`` does, whatever it chooses to drop."""

from __future__ import annotations

import copy
import math
import pickle
import sys
import threading
from typing import Any

import cachetools
import pytest


class Loading:
    """A mixin whose ``__missing__`` makes a value out of the key, and keeps it if it fits."""

    def __missing__(self, key: Any) -> Any:
        try:
            self[key] = key
        except ValueError:
            pass
        return key


class OwnAttributes:
    """A mixin with attributes of its own, one of which nobody can copy."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.lock = threading.Lock()
        self.notes = {"seen": 0}


class Weighing:
    """A mixin whose values are their own sizes."""

    @staticmethod
    def getsizeof(value: Any) -> Any:
        return value


def identity(value: Any) -> Any:
    """A size function that can be pickled and compared."""
    return value


class MappingContract:
    """Subclass it, set ``cache_class``, and every behaviour is a test.

    ``cache_class`` is called with ``maxsize`` and, where sizes matter, ``getsizeof``.
    """

    cache_class: type[cachetools.Cache[Any, Any]]

    def filled(self, maxsize: float, **extra: Any) -> cachetools.Cache[Any, Any]:
        """Return a cache with 1: 1 and 2: 2."""
        cache = self.cache_class(maxsize, **extra)
        cache.update({1: 1, 2: 2})
        return cache

    # ---- a new one ----

    def test_new_is_empty(self):
        """A new cache is empty, knows its bound, counts every value as 1 and shows its class."""
        cache = self.cache_class(3)
        assert (len(cache), cache.currsize, cache.maxsize) == (0, 0, 3)
        assert [cache.getsizeof(value) for value in (None, "", 0, [1, 2])] == [1, 1, 1, 1]
        assert repr(cache).startswith(self.cache_class.__name__)

    @pytest.mark.parametrize("bound", [-1, -math.inf])
    def test_negative_bound_is_refused(self, bound: float):
        """No cache can be bounded by less than nothing."""
        with pytest.raises(ValueError):
            self.cache_class(bound)

    def test_bound_of_zero_keeps_nothing(self):
        """A cache without room exists, and refuses every value."""
        cache = self.cache_class(0)
        with pytest.raises(ValueError):
            cache["a"] = 1
        assert (len(cache), cache.currsize, cache.maxsize) == (0, 0, 0)

    def test_infinite_bound_drops_nothing(self):
        """Without a bound everything stays."""
        cache = self.cache_class(math.inf)
        cache.update((number, -number) for number in range(200))
        assert (len(cache), cache.currsize) == (200, 200)

    def test_shows_what_it_holds(self):
        """The representation names the bound, the size and the items."""
        text = repr(self.filled(7))
        assert "maxsize=7" in text
        assert "currsize=2" in text
        assert "{1: 1, 2: 2}" in text

    # ---- putting in ----

    def test_full_cache_drops_another_for_a_new_one(self):
        """What is put in is there afterwards, and something else is not."""
        cache = self.filled(2)
        for newcomer in (3, 4):
            before = set(cache)
            cache[newcomer] = newcomer * 10
            assert (len(cache), cache.currsize) == (2, 2)
            assert cache[newcomer] == newcomer * 10
            assert before & set(cache)

    def test_same_value_again_changes_nothing(self):
        """Putting in what is there drops nothing."""
        cache = self.filled(2)
        cache.update({1: 1, 2: 2})
        assert dict(cache) == {1: 1, 2: 2}

    def test_new_value_for_an_old_key(self):
        """A value is exchanged in its place, and nothing is dropped for it."""
        cache = self.filled(2)
        cache.update({1: "one", 2: "two"})
        assert dict(cache) == {1: "one", 2: "two"}
        assert cache.currsize == 2

    def test_iterates_over_its_keys(self):
        """Keys, values and items are those that were put in."""
        cache = self.filled(2)
        assert (sorted(cache), sorted(cache.values()), sorted(cache.items())) == ([1, 2], [1, 2], [(1, 1), (2, 2)])

    # ---- taking out ----

    def test_deleting(self):
        """A deleted key is gone and its room is free; deleting it again is a ``KeyError``."""
        cache = self.filled(2)
        del cache[2]
        assert (2 in cache, 1 in cache, len(cache), cache.currsize) == (False, True, 1, 1)
        del cache[1]
        assert (len(cache), cache.currsize) == (0, 0)
        with pytest.raises(KeyError):
            del cache[1]
        assert (len(cache), cache.currsize) == (0, 0)

    def test_reading_what_is_not_there(self):
        """A missing key is a ``KeyError``, or the default where one is given."""
        cache = self.filled(2)
        with pytest.raises(KeyError):
            cache[3]
        assert (cache.get(3), cache.get(3, "no"), cache.get(1)) == (None, "no", 1)

    def test_popping_a_key(self):
        """``pop`` returns and removes; what is missing is the default or a ``KeyError``."""
        cache = self.filled(2)
        assert (cache.pop(2), cache.pop(1), len(cache)) == (2, 1, 0)
        for key in (0, 1, 2):
            assert (cache.pop(key, None), cache.pop(key, "no")) == (None, "no")
            with pytest.raises(KeyError):
                cache.pop(key)

    def test_popping_any_item(self):
        """``popitem`` returns and removes one item after the other, until nothing is left."""
        cache = self.filled(2)
        assert {cache.popitem(), cache.popitem()} == {(1, 1), (2, 2)}
        assert (len(cache), cache.currsize) == (0, 0)
        with pytest.raises(KeyError):
            cache.popitem()

    def test_error_of_an_empty_cache_has_no_inner_story(self):
        """The error of ``popitem`` shows neither cause nor context."""
        with pytest.raises(KeyError) as caught:
            self.cache_class(2).popitem()
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__

    def test_setting_a_default(self):
        """``setdefault`` keeps what is there, and puts in what is not."""
        cache = self.cache_class(2)
        assert (cache.setdefault(1, "a"), cache.setdefault(1, "b"), cache.setdefault(1)) == ("a", "a", "a")
        assert (cache.setdefault(2), cache[2]) == (None, None)
        cache.setdefault(3, "c")
        assert (len(cache), cache[3]) == (2, "c")

    def test_clearing(self):
        """A cleared cache is empty, can be filled again and drops again."""
        cache = self.filled(2)
        cache.clear()
        assert (len(cache), cache.currsize, 1 in cache, 2 in cache) == (0, 0, False, False)
        cache.update({3: 3, 4: 4})
        assert dict(cache) == {3: 3, 4: 4}
        cache[5] = 5
        assert (len(cache), 5 in cache) == (2, True)

    def test_clearing_an_empty_one(self):
        """There is nothing wrong with clearing what is empty."""
        cache = self.cache_class(2)
        cache.clear()
        assert (len(cache), cache.currsize) == (0, 0)

    # ---- __missing__ ----

    def loading(self, maxsize: float, **extra: Any) -> cachetools.Cache[Any, Any]:
        """Return an empty cache whose class has a ``__missing__``."""
        return type("LoadingCache", (Loading, self.cache_class), {})(maxsize, **extra)

    def test_missing_makes_the_value(self):
        """Reading a missing key with ``[]`` asks ``__missing__``, which may put it in."""
        cache = self.loading(2)
        assert [cache[key] for key in (1, 2, 3, 4)] == [1, 2, 3, 4]
        assert (len(cache), 4 in cache) == (2, True)

    def test_missing_is_asked_by_nothing_else(self):
        """``get``, ``pop``, ``setdefault`` and ``in`` never make a value."""
        cache = self.loading(2)
        cache[4] = 4
        assert (cache.get(5), cache.get(5, 25), 5 in cache) == (None, 25, False)
        assert (cache.pop(5, None), cache.pop(5, 25), cache.pop(4)) == (None, 25, 4)
        with pytest.raises(KeyError):
            cache.pop(5)
        assert (cache.setdefault(6, 36), cache.setdefault(6), cache.setdefault(7)) == (36, 36, None)
        assert set(cache) == {6, 7}

    def test_missing_may_keep_nothing(self):
        """What ``__missing__`` makes and cannot keep is returned, and nothing is dropped for it."""
        cache = self.loading(2, getsizeof=identity)
        assert (cache[1], cache[2], dict(cache), cache.currsize) == (1, 2, {2: 2}, 2)
        assert (cache[3], dict(cache), cache.currsize) == (3, {2: 2}, 2)
        assert (cache[1], cache.popitem()) == (1, (1, 1))

    # ---- sizes ----

    @pytest.fixture(params=["a function", "a method"])
    def weighing(self, request: pytest.FixtureRequest) -> cachetools.Cache[Any, Any]:
        """A cache with room for 3 whose values are their own sizes."""
        if request.param == "a function":
            return self.cache_class(3, getsizeof=identity)
        return type("WeighingCache", (Weighing, self.cache_class), {})(3)

    def test_sizes_add_up(self, weighing: cachetools.Cache[Any, Any]):
        """The size of a cache is the sum of its values' sizes."""
        assert [weighing.getsizeof(value) for value in (1, 2, 3)] == [1, 2, 3]
        weighing.update({1: 1, 2: 2})
        assert (len(weighing), weighing.currsize) == (2, 3)

    def test_large_value_drops_several(self, weighing: cachetools.Cache[Any, Any]):
        """Room is made until the new value fits."""
        weighing.update({1: 1, 2: 2})
        weighing[3] = 3
        assert (dict(weighing), weighing.currsize) == ({3: 3}, 3)

    def test_grown_value_drops_others(self, weighing: cachetools.Cache[Any, Any]):
        """A value that is exchanged for a larger one stays, and another goes."""
        weighing.update({1: 1, 2: 2})
        weighing[1] = 2
        assert (dict(weighing), weighing.currsize) == ({1: 2}, 2)

    def test_too_large_a_value_is_refused(self, weighing: cachetools.Cache[Any, Any]):
        """What cannot fit alone is a ``ValueError``, for new keys and old, and everything stays as it was."""
        weighing[3] = 3
        for key in (3, 4):
            with pytest.raises(ValueError):
                weighing[key] = 4
            assert (dict(weighing), weighing.currsize) == ({3: 3}, 3)

    def test_negative_size_is_refused(self):
        """A value of less than no size is a ``ValueError``."""
        cache = self.cache_class(3, getsizeof=lambda _: -1)
        with pytest.raises(ValueError):
            cache[1] = 1
        assert (len(cache), cache.currsize) == (0, 0)

    def test_growing_takes_only_the_difference(self):
        """A value that grows into free room drops nothing; beyond it, another goes."""
        cache = self.cache_class(10, getsizeof=identity)
        cache.update({3: 3, 4: 4})
        cache[4] = 7
        assert (dict(cache), cache.currsize) == ({3: 3, 4: 7}, 10)
        cache[4] = 9
        assert (dict(cache), cache.currsize) == ({4: 9}, 9)

    @pytest.mark.parametrize("size", [4, 1, 0])
    def test_value_that_does_not_grow(self, size: int):
        """A value that keeps its size or shrinks drops nothing."""
        cache = self.cache_class(10, getsizeof=identity)
        cache.update({3: 3, 4: 4})
        cache[4] = size
        assert (dict(cache), cache.currsize) == ({3: 3, 4: size}, 3 + size)

    def test_clearing_frees_all_room(self):
        """After clearing, sizes count from nothing."""
        cache = self.cache_class(10, getsizeof=identity)
        cache.update({1: 1, 2: 2, 3: 3})
        cache.clear()
        assert (len(cache), cache.currsize) == (0, 0)
        cache[4] = 4
        assert (len(cache), cache.currsize) == (1, 4)

    # ---- copies ----

    @pytest.fixture(params=["copy", "deepcopy", "pickle"])
    def duplicate(self, request: pytest.FixtureRequest) -> Any:
        """A way to make a second cache out of one."""
        through_bytes = lambda cache: pickle.loads(pickle.dumps(cache))
        return {"copy": copy.copy, "deepcopy": copy.deepcopy, "pickle": through_bytes}[request.param]

    def test_copy_is_equal_and_apart(self, duplicate: Any):
        """A copy holds the same under the same bound, and what happens to one does not happen to the other."""
        source = self.filled(2)
        other = duplicate(source)
        assert other is not source
        assert type(other) is type(source)
        assert (other, other.maxsize, other.currsize) == (source, source.maxsize, source.currsize)
        other[3] = 3
        assert (len(other), other.currsize, other[3]) == (2, 2, 3)
        assert (dict(source), source.currsize) == ({1: 1, 2: 2}, 2)
        del other[3]
        source[4] = 4
        assert 4 not in other
        assert duplicate(other) == other

    @pytest.mark.parametrize("items", [0, 1, 2 * sys.getrecursionlimit()])
    def test_copy_of_any_length(self, duplicate: Any, items: int):
        """Empty, short, and longer than the interpreter's stack is deep: every cache can be copied."""
        source = self.cache_class(items)
        source.update((number, number) for number in range(items))
        other = duplicate(source)
        assert (len(other), other) == (items, source)

    def test_shallow_copy_shares_values_and_attributes(self):
        """``copy.copy`` shares what is in the cache and on it, and none of the cache's own state."""
        source = type("NotedCache", (OwnAttributes, self.cache_class), {})(2)
        source.update({1: ["one"], 2: ["two"]})
        other = copy.copy(source)
        assert (other.lock, other.notes) == (source.lock, source.notes)
        assert (other[1] is source[1], other[2] is source[2]) == (True, True)
        other[3] = ["three"]
        del other[next(iter(other))]
        assert (len(other), len(source), source.currsize, 3 in source) == (1, 2, 2, False)

    def test_copy_has_sizes_of_its_own(self, duplicate: Any):
        """Sizes are remembered apart in source and copy."""
        source = self.filled(3, getsizeof=identity)
        other = duplicate(source)
        assert other.getsizeof is source.getsizeof
        other[2] = 1
        assert (other.currsize, source.currsize) == (2, 3)
        del source[2]
        assert (other.currsize, source.currsize) == (2, 1)
        del other[2]
        assert (other.currsize, source.currsize) == (1, 1)
