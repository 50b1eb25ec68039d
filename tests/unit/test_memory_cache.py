"""MemoryCache: its bounds, whatever policy is inside, and what it counts."""

from __future__ import annotations

import functools
import gc
import threading
import tracemalloc
import weakref
from typing import Any

import cachetools
import pytest

from coalesce_kit.cache.memory import BYTES_OF_ERROR, DEFAULT_MAX_ENTRIES, Kept, MemoryCache
from coalesce_kit.cache.s3fifo import S3FIFOCache
from coalesce_kit.cache.shelf import Shelf
from coalesce_kit.entry import MISSING, Entry, Freshness, Lifetimes
from coalesce_kit.errors import ConfigurationError
from coalesce_kit.stats.counters import Counters
from coalesce_kit.tickets import Tickets

POLICIES = {
    "own": MemoryCache,
    "S3FIFO": lambda **_: MemoryCache(cache=S3FIFOCache(4)),
    "LRU": lambda **_: MemoryCache(cache=cachetools.LRUCache(4)),
    "LFU": lambda **_: MemoryCache(cache=cachetools.LFUCache(4)),
    "FIFO": lambda **_: MemoryCache(cache=cachetools.FIFOCache(4)),
    "RR": lambda **_: MemoryCache(cache=cachetools.RRCache(4)),
    "TTL": lambda **_: MemoryCache(cache=cachetools.TTLCache(4, 3600)),
    "TLRU": lambda **_: MemoryCache(cache=cachetools.TLRUCache(4, lambda key, value, now: now + 3600)),
}


@pytest.fixture(params=sorted(POLICIES))
def cache(request: pytest.FixtureRequest) -> MemoryCache:
    """A cache for four entries, once with each policy."""
    return POLICIES[request.param](max_entries=4)


def shelf_in(cache: MemoryCache, **options: Any) -> Shelf:
    """Return a new function's part of a cache."""
    return Shelf(cache, tickets=Tickets(), counters=Counters(), **options)


def evictions(shelf: Shelf) -> int:
    """Return how many of a function's entries were dropped to make room."""
    return shelf._tally.counters.evictions


def seal(shelf: Shelf, value: Any, *, at: float = 0.0, ttl: float = 60.0, tags: tuple[str, ...] = ()) -> Entry:
    """Seal a value as the read-through does: the size is asked for before anything is locked."""
    return Entry(value, at=at, lifetimes=Lifetimes(ttl), tags=tags, size=shelf.cache.size_of(value))


def keep(
    shelf: Shelf, key: Any, value: Any, *, tags: tuple[str, ...] = (), instance: object = None, **options: Any
) -> Kept:
    """Fetch and keep a value with nothing in between."""
    ticket = shelf.reserve(key, tags)
    entry = seal(shelf, value, tags=tags, **options)
    kept = shelf.keep(ticket, entry, now=entry.ended_at, instance=instance)
    shelf.release(ticket)
    return kept


def value_of(shelf: Shelf, key: Any) -> Any:
    """Return what a reader of the key gets, whatever its age."""
    entry = shelf.find(key)
    return MISSING if entry is None else entry.value


# ---- making one ----


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_entries": 10, "max_bytes": 10, "size_of": len}, "one of max_entries, max_bytes and cache"),
        ({"max_entries": 10, "cache": cachetools.LRUCache(10)}, "one of max_entries, max_bytes and cache"),
        ({"max_bytes": 10}, "belong together"),
        ({"size_of": len}, "belong together"),
        ({"max_entries": 5, "size_of": len}, "belong together"),
        ({"max_entries": 0}, "max_entries must be"),
        ({"max_entries": -1}, "max_entries must be"),
        ({"max_entries": True}, "max_entries must be"),
        ({"max_entries": float("inf")}, "max_entries must be"),
        ({"max_entries": float("nan")}, "max_entries must be"),
        ({"max_bytes": 0, "size_of": len}, "max_bytes must be"),
        ({"max_bytes": "1 GB", "size_of": len}, "max_bytes must be"),
        ({"cache": {}}, r"must be a cachetools\.Cache, not dict"),
        ({"cache": cachetools.LRUCache}, r"must be a cachetools\.Cache, not ABCMeta"),
    ],
    ids=str,
)
def test_cache_that_cannot_be(options: dict[str, Any], message: str):
    """Contradictory or impossible bounds are refused."""
    with pytest.raises(ConfigurationError, match=message):
        MemoryCache(**options)


def test_somebodys_cache_is_refused():
    """A ``cachetools.Cache`` with something in it, or in another memory cache, is not taken over."""
    with pytest.raises(ConfigurationError, match="not empty"):
        MemoryCache(cache=cachetools_cache_with_something_in_it())
    taken = cachetools.LRUCache(2)
    MemoryCache(cache=taken)
    with pytest.raises(ConfigurationError, match="another MemoryCache's"):
        MemoryCache(cache=taken)


def cachetools_cache_with_something_in_it() -> cachetools.LRUCache[str, int]:
    """Return a cache that is in use."""
    cache: cachetools.LRUCache[str, int] = cachetools.LRUCache(2)
    cache["a"] = 1
    return cache


def test_default_bound():
    """Without a word a cache holds 1024 entries and no more."""
    cache = MemoryCache()
    shelf = shelf_in(cache)
    for number in range(2000):
        keep(shelf, number, number)
    assert len(cache) == DEFAULT_MAX_ENTRIES == 1024


def test_shows_bound_and_length():
    """The representation says what bounds a cache and how much is in it; an empty one is still a cache."""
    cache = MemoryCache(max_entries=7)
    assert repr(cache) == "<MemoryCache max_entries=7, holds 0>"
    assert repr(MemoryCache(max_bytes=9, size_of=len)) == "<MemoryCache max_bytes=9, holds 0>"
    assert repr(MemoryCache(cache=cachetools.LRUCache(3))) == "<MemoryCache cache=LRUCache(maxsize=3), holds 0>"
    assert cache
    assert shelf_in(cache)


# ---- whatever the policy ----


def test_kept_and_found(cache: MemoryCache):
    """What was kept is found, falsy values too; what was not is not."""
    shelf = shelf_in(cache)
    for key, value in (("a", None), ("b", 0), ("c", "text")):
        assert keep(shelf, key, value) is Kept.KEPT
        assert value_of(shelf, key) is value
        assert shelf.peek(key).value is value
    assert shelf.find("d") is shelf.peek("d") is None
    assert len(cache) == len(shelf) == 3


def test_bound_holds(cache: MemoryCache):
    """A full cache drops something for what is new, and counts it for the function that lost it."""
    shelf = shelf_in(cache)
    for number in range(20):
        keep(shelf, number, number)
        assert value_of(shelf, number) == number
    assert len(cache) == len(shelf) == 4
    assert evictions(shelf) == 16


def test_renewing_drops_nothing(cache: MemoryCache):
    """A newer result takes the place of the older one."""
    shelf = shelf_in(cache)
    for number in range(4):
        keep(shelf, number, "old")
    keep(shelf, 2, "new")
    assert [value_of(shelf, number) for number in range(4)] == ["old", "old", "new", "old"]
    assert (len(shelf), evictions(shelf)) == (4, 0)


def test_invalidated_key_is_gone(cache: MemoryCache):
    """Dropping a key takes its entry away from readers, and from those who already hold it."""
    shelf = shelf_in(cache)
    keep(shelf, "a", 1)
    keep(shelf, "b", 2)
    held = shelf.find("a")
    shelf.invalidate("a")
    shelf.invalidate("never kept")
    assert (value_of(shelf, "a"), value_of(shelf, "b"), len(shelf), evictions(shelf)) == (MISSING, 2, 1, 0)
    assert held.is_dead


def test_invalidating_all_spares_other_functions(cache: MemoryCache):
    """Two functions share the room; dropping everything of one leaves the other's alone."""
    one, other = shelf_in(cache), shelf_in(cache)
    keep(one, ("one", 1), "a")
    keep(one, ("one", 2), "b")
    keep(other, ("other", 1), "c")
    assert (len(one), len(other), len(cache)) == (2, 1, 3)
    one.invalidate_all()
    assert (len(one), len(other), len(cache)) == (0, 1, 1)
    assert value_of(other, ("other", 1)) == "c"
    other.invalidate_all()
    assert (len(other), len(cache)) == (0, 0)
    keep(one, ("one", 1), "again")
    assert value_of(one, ("one", 1)) == "again"


def test_entries_die_with_their_instance(cache: MemoryCache):
    """When an instance is gone nothing kept for it is served, before its address can be used again."""
    shelf = shelf_in(cache)
    service = Service()
    key = ("odds", id(service))
    keep(shelf, key, "theirs", instance=service)
    keep(shelf, "other", "everybody's")
    assert value_of(shelf, key) == "theirs"
    del service
    assert shelf.find(key) is shelf.peek(key) is None
    assert value_of(shelf, "other") == "everybody's"


def test_instance_may_outlive_its_entries(cache: MemoryCache):
    """When what was kept for an instance is dropped, what is kept for it later still dies with it."""
    shelf = shelf_in(cache)
    service = Service()
    for value in range(3):
        keep(shelf, ("odds", id(service)), value, instance=service)
        shelf.invalidate(("odds", id(service)))
    keep(shelf, ("odds", id(service)), "last", instance=service)
    key = ("odds", id(service))
    assert value_of(shelf, key) == "last"
    del service
    assert value_of(shelf, key) is MISSING


def test_tagged_entries_die_with_their_tag(cache: MemoryCache):
    """Invalidating a tag takes away what has it, and nothing else."""
    shelf = shelf_in(cache)
    keep(shelf, "a", 1, tags=("odds", "nfl"))
    keep(shelf, "b", 2, tags=("odds",))
    keep(shelf, "c", 3)
    shelf.invalidate_tags(["nfl"])
    assert shelf.peek("a") is None
    assert [value_of(shelf, key) for key in "abc"] == [MISSING, 2, 3]


# ---- shared by functions ----


def test_evictions_are_counted_where_they_hurt():
    """The function whose entry was dropped counts it, whoever needed the room."""
    cache = MemoryCache(max_entries=2)
    quiet, busy = shelf_in(cache), shelf_in(cache)
    keep(quiet, "q1", 1)
    keep(quiet, "q2", 2)
    keep(busy, "b1", 1)
    assert (evictions(quiet), evictions(busy), len(quiet), len(busy)) == (1, 0, 1, 1)


# ---- sizes ----


def test_bytes_are_bounded():
    """With ``max_bytes`` it is the sum of the sizes that has a bound."""
    shelf = shelf_in(MemoryCache(max_bytes=100, size_of=len))
    for number in range(10):
        keep(shelf, number, b"x" * 30)
    assert (len(shelf), evictions(shelf)) == (3, 7)
    keep(shelf, "large", b"x" * 100)
    assert (len(shelf), value_of(shelf, "large")) == (1, b"x" * 100)


def test_a_bound_in_bytes_is_no_number_of_entries():
    """What remembers the keys that went is not made for as many entries as there may be bytes."""
    by_bytes = MemoryCache(max_bytes=100_000, size_of=len)
    assert len(by_bytes._storage._ghosts) < len(MemoryCache(max_entries=100_000)._storage._ghosts) / 100


@pytest.mark.parametrize(
    "cache",
    [
        lambda: MemoryCache(max_bytes=100, size_of=len),
        lambda: MemoryCache(cache=cachetools.LRUCache(100, getsizeof=len)),
        lambda: MemoryCache(cache=S3FIFOCache(100, getsizeof=len)),
        lambda: MemoryCache(cache=cachetools.TTLCache(100, 60, getsizeof=len)),
    ],
    ids=["max_bytes", "LRU", "S3FIFO", "TTL"],
)
def test_too_large_a_value_is_not_kept(cache: Any):
    """What alone exceeds the bound is not kept, without an error, and drops nothing."""
    shelf = shelf_in(cache())
    assert keep(shelf, "small", b"x") is Kept.KEPT
    assert keep(shelf, "large", b"x" * 101) is Kept.TOO_LARGE
    assert (value_of(shelf, "small"), value_of(shelf, "large"), evictions(shelf)) == (b"x", MISSING, 0)


def test_value_that_grows_makes_room_once():
    """A renewed value that is larger than before drops others, in a foreign cache as in our own."""
    for cache in (MemoryCache(max_bytes=10, size_of=len), MemoryCache(cache=cachetools.LRUCache(10, getsizeof=len))):
        shelf = shelf_in(cache)
        keep(shelf, "a", b"xxx")
        keep(shelf, "b", b"xxx")
        keep(shelf, "c", b"xxx")
        keep(shelf, "a", b"x" * 7)
        assert value_of(shelf, "a") == b"x" * 7
        assert (len(shelf), evictions(shelf)) == (2, 1)
        keep(shelf, "a", b"x" * 10)
        assert (len(shelf), value_of(shelf, "a"), evictions(shelf)) == (1, b"x" * 10, 2)


def test_foreign_cache_that_drops_what_is_renewed():
    """A foreign policy may choose the very entry that is renewed; it is not counted as lost."""
    cache = MemoryCache(cache=cachetools.FIFOCache(10, getsizeof=len))
    shelf = shelf_in(cache)
    keep(shelf, "a", b"xxx")
    keep(shelf, "b", b"xxx")
    keep(shelf, "a", b"x" * 8)
    assert (value_of(shelf, "a"), len(shelf), evictions(shelf)) == (b"x" * 8, 1, 1)


def test_empty_values_count_too():
    """There is a bound to the number of values without a size."""
    shelf = shelf_in(MemoryCache(max_bytes=10, size_of=len))
    for number in range(100):
        keep(shelf, number, b"")
    assert len(shelf) == 10


@pytest.mark.parametrize("nonsense", [-1, float("nan"), None, "5"])
def test_nonsense_size(nonsense: Any):
    """A size that is none is a mistake that the caller of ``size_of`` hears of."""
    with pytest.raises(ConfigurationError, match="size of a result"):
        MemoryCache(max_bytes=10, size_of=lambda value: nonsense).size_of("value")


def test_a_remembered_error_counts_a_kilobyte():
    """Whatever ``size_of`` would say of it."""
    assert MemoryCache(max_bytes=10_000, size_of=len).size_of_error == 1024


def test_remembered_errors_have_a_size():
    """A failure counts as one entry, or as so many bytes, and never as more than there is."""
    assert MemoryCache().size_of_error == 1
    assert MemoryCache(max_bytes=10_000, size_of=len).size_of_error == BYTES_OF_ERROR
    assert MemoryCache(max_bytes=10, size_of=len).size_of_error == 10


def test_foreign_size_function_sees_results():
    """The size function of a cache that is taken over is asked about results, as before."""
    seen = []
    cache = MemoryCache(cache=cachetools.LRUCache(10, getsizeof=lambda value: seen.append(value) or 1))
    keep(shelf_in(cache), "a", "value")
    assert seen == ["value"]


def test_what_others_put_into_a_foreign_cache_is_not_seen():
    """Values that somebody else puts into the cache beside us are no entries, and go like any other."""
    foreign: cachetools.LRUCache[Any, Any] = cachetools.LRUCache(3, getsizeof=len)
    cache = MemoryCache(cache=foreign)
    shelf = shelf_in(cache)
    foreign["a"] = "not ours"
    assert foreign.currsize == 1  # whatever its own size function would have said
    assert shelf.find("a") is shelf.peek("a") is None
    for key in "bcd":
        keep(shelf, key, key)
    assert (len(shelf), evictions(shelf)) == (3, 0)
    assert "a" not in foreign


def test_what_a_foreign_cache_drops_without_a_word_is_held_no_more():
    """Its entries are counted where they are, not where they were put."""
    now = [0.0]
    shelf = shelf_in(MemoryCache(cache=cachetools.TTLCache(4, 10, timer=lambda: now[0])))
    keep(shelf, "a", 1)
    keep(shelf_in(shelf.cache), "b", 1)
    assert len(shelf) == 1
    now[0] = 20.0
    assert len(shelf) == 0


class ElsewhereCache(cachetools.Cache[Any, Any]):
    """A cache that keeps its values somewhere else than its base class."""

    def __init__(self, maxsize: float) -> None:
        super().__init__(maxsize)
        self.values_by_key: dict[Any, Any] = {}

    def __getitem__(self, key: Any) -> Any:
        return self.values_by_key[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self.values_by_key[key] = value

    def __delitem__(self, key: Any) -> None:
        del self.values_by_key[key]

    def __contains__(self, key: object) -> bool:
        return key in self.values_by_key

    def __iter__(self) -> Any:
        return iter(self.values_by_key)

    def __len__(self) -> int:
        return len(self.values_by_key)


def test_foreign_cache_with_a_storage_of_its_own():
    """Where the base class knows nothing of the values, they are read through the front."""
    shelf = shelf_in(MemoryCache(cache=ElsewhereCache(4)))
    keep(shelf, "a", 1)
    assert (value_of(shelf, "a"), shelf.peek("a").value) == (1, 1)
    shelf.invalidate("a")
    assert len(shelf) == 0


def test_look_is_no_use():
    """``peek`` does not save an entry from being dropped; ``find`` does."""
    for look, survivor in (("peek", "b"), ("find", "a")):
        shelf = shelf_in(MemoryCache(cache=cachetools.LRUCache(2)))
        keep(shelf, "a", 1)
        keep(shelf, "b", 2)
        getattr(shelf, look)("a")
        keep(shelf, "c", 3)
        assert value_of(shelf, survivor) is not MISSING


def test_each_use_counts_once():
    """In our own storage ``find`` counts as one use, as a compiled hit does, and ``peek`` as none."""
    shelf = shelf_in(MemoryCache())
    keep(shelf, "a", 1)
    assert [shelf.peek("a").uses, shelf.find("a").uses, shelf.find("a").uses, shelf.peek("a").uses] == [0, 1, 2, 2]


def test_read_in_line():
    """Our own storage can be read without the cache; a foreign one cannot."""
    cache = MemoryCache()
    shelf = shelf_in(cache)
    entries_get = cache.entries.get
    keep(shelf, "a", 1)
    entry = entries_get("a")
    assert entry is shelf.peek("a")
    assert entry.fresh_until > 59.0
    shelf.invalidate_all()
    assert entries_get("a") is None
    assert MemoryCache(cache=cachetools.LRUCache(5)).entries is None
    assert MemoryCache(cache=S3FIFOCache(5)).entries is not None


# ---- expired and dead ----


def test_expired_entries_are_reclaimed():
    """What nobody can use any more goes when others are kept, without a timer and without being asked for."""
    shelf = shelf_in(MemoryCache(max_entries=1000))
    for number in range(500):
        keep(shelf, ("old", number), number, ttl=10.0)
    for number in range(505):  # a round of the hand: two steps for every entry, of which there is one more
        keep(shelf, ("new", number), number, at=20.0)
    assert len(shelf) == 505
    assert evictions(shelf) == 0


def test_stale_entries_are_not_reclaimed():
    """What has a stale window is of use until that is over."""
    shelf = shelf_in(MemoryCache(max_entries=100))
    ticket = shelf.reserve("old")
    shelf.keep(ticket, Entry(1, at=0.0, lifetimes=Lifetimes(10.0, fallback_seconds=50.0)), now=0.0)
    for number in range(20):
        keep(shelf, number, number, at=30.0)
    assert value_of(shelf, "old") == 1
    for number in range(20):
        keep(shelf, number, number, at=60.0)
    assert value_of(shelf, "old") is MISSING


# ---- instances ----


class Service:
    """Something with methods."""


class Slotted:
    """Something that nobody can watch."""

    __slots__ = ()


def test_address_that_is_used_again_meets_nothing_old():
    """Objects made one after the other at the same address never see each other's entries."""
    shelf = shelf_in(MemoryCache())
    addresses = set()
    for number in range(5_000):
        service = Service()
        addresses.add(id(service))
        assert value_of(shelf, id(service)) is MISSING
        keep(shelf, id(service), number, instance=service)
        assert value_of(shelf, id(service)) == number
        del service
    assert len(addresses) < 5_000
    assert len(shelf) <= len(addresses) + 1
    assert len(shelf.cache._instances) == 0


def test_instance_is_not_kept_alive():
    """A cache holds no reference to the instances that its entries were made for."""
    shelf = shelf_in(MemoryCache())
    service = Service()
    watched = weakref.ref(service)
    keep(shelf, id(service), 1, instance=service)
    del service
    assert watched() is None


def test_records_of_instances_come_and_go():
    """A cache knows an instance as long as it holds something for it, and once for any number of entries."""
    shelf = shelf_in(MemoryCache(max_entries=10))
    services = [Service() for _ in range(3)]
    for number in range(9):
        keep(shelf, (number, id(services[number % 3])), number, instance=services[number % 3])
    instances = shelf.cache._instances
    assert len(instances) == 3
    for number in range(0, 9, 3):
        shelf.invalidate((number, id(services[0])))
    assert len(instances) == 2
    for number in range(100):
        keep(shelf, number, number)
    assert (len(instances), len(shelf)) == (0, 10)


def test_entries_of_the_dead_are_reclaimed():
    """What an instance left behind goes, a part with every entry that is kept."""
    shelf = shelf_in(MemoryCache(max_entries=1000))
    service = Service()
    for number in range(300):
        keep(shelf, (number, id(service)), number, instance=service)
    del service
    assert len(shelf) == 300
    for number in range(10):
        keep(shelf, number, number)
    assert len(shelf) == 10
    assert not shelf.cache._instances.dead


def test_so_many_entries_of_the_dead_go_at_once():
    """With one that is kept 64 are dropped, and the two that the hand comes by: all at once would be a pause."""
    shelf = shelf_in(MemoryCache(max_entries=1000))
    service = Service()
    for number in range(200):
        keep(shelf, (number, id(service)), number, instance=service)
    del service
    held = []
    for number in range(4):
        keep(shelf, number, number)
        held.append(len(shelf) - number - 1)
    assert held == [134, 68, 2, 0]


def test_instance_that_cannot_be_watched():
    """Results of an instance that cannot be weakly referenced are not kept, and the error names the ways out."""
    shelf = shelf_in(MemoryCache())
    with pytest.raises(ConfigurationError) as caught:
        keep(shelf, "a", 1, instance=Slotted())
    for way_out in ("__weakref__", "weakref_slot=True", "{self.tenant}", 'ignore=("self",)', "Slotted"):
        assert way_out in str(caught.value)
    assert len(shelf) == 0
    assert keep(shelf, "a", 1) is Kept.KEPT


def test_instance_that_comes_back_from_its_finaliser():
    """An object that is resurrected has lost its entries, and gets new ones."""

    class Phoenix:
        def __del__(self) -> None:
            nests.append(self)

    nests: list[Any] = []
    shelf = shelf_in(MemoryCache())
    phoenix = Phoenix()
    key = id(phoenix)
    keep(shelf, key, "before", instance=phoenix)
    del phoenix
    gc.collect()
    assert id(nests[0]) == key
    keep(shelf, key, "after", instance=nests[0])
    assert value_of(shelf, key) == "after"
    nests.clear()
    assert value_of(shelf, key) is MISSING


# ---- no user's code under the lock ----


def test_values_are_let_go_of_after_the_lock():
    """A value's finaliser may use the cache, or wait for a thread that does, whichever way the value left."""

    class Loud:
        def __del__(self) -> None:
            helper = threading.Thread(target=functools.partial(keep, shelf, "from a finaliser", 0))
            helper.start()
            helper.join(10)
            finished.append(not helper.is_alive())

    finished: list[bool] = []
    shelf = shelf_in(MemoryCache(max_entries=3))
    keep(shelf, "evicted", Loud())
    for key in "abc":
        keep(shelf, key, 1)
    shelf.invalidate_all()
    keep(shelf, "renewed", Loud())
    keep(shelf, "renewed", 1)
    shelf.invalidate_all()
    keep(shelf, "expired", Loud(), ttl=1.0)
    for _ in range(3):
        keep(shelf, "a", 1, at=2.0)
    keep(shelf, "invalidated", Loud())
    shelf.invalidate("invalidated")
    keep(shelf, "all", Loud())
    shelf.invalidate_all()
    assert finished == [True] * 5


def test_values_of_the_dead_are_let_go_of_after_the_lock():
    """The finaliser of what a dead instance left behind may use the cache, too."""

    class Loud:
        def __del__(self) -> None:
            helper = threading.Thread(target=functools.partial(keep, shelf, "from a finaliser", 0))
            helper.start()
            helper.join(3)
            finished.append(not helper.is_alive())

    finished: list[bool] = []
    shelf, service = shelf_in(MemoryCache()), Service()
    for number in range(6):
        keep(shelf, (number, id(service)), Loud(), instance=service)
    del service
    keep(shelf, "a", 1)
    assert finished == [True] * 6


class Meddler:
    """A key that does something with the cache when it is compared, in the middle of whatever the cache does."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.meddle: Any = None

    def __hash__(self) -> int:
        return hash(self.name)

    def __eq__(self, other: object) -> bool:
        for key in (self, other):
            meddle, key.meddle = key.meddle, None
            if meddle is not None:
                meddle()
        return self.name == other.name


def test_keeping_inside_a_change_is_refused():
    """Code that comes back into the cache in the middle of a change does not tear it."""
    shelf = shelf_in(MemoryCache())
    keep(shelf, Meddler("a"), 1)
    inner: list[Kept] = []
    key = Meddler("a")
    key.meddle = lambda: inner.append(keep(shelf, "inner", 2))
    assert keep(shelf, key, 3) is Kept.KEPT
    assert inner == [Kept.REFUSED]
    assert (value_of(shelf, Meddler("a")), value_of(shelf, "inner")) == (3, MISSING)


def test_invalidating_inside_a_change_wins():
    """What is invalidated in the middle of being kept is not kept."""
    shelf = shelf_in(MemoryCache())
    keep(shelf, Meddler("a"), 1)
    key = Meddler("a")
    key.meddle = lambda: shelf.invalidate(Meddler("a"))
    ticket, entry = shelf.reserve(key), seal(shelf, 2)
    assert shelf.keep(ticket, entry, now=0.0) is Kept.REFUSED
    shelf.release(ticket)
    assert entry.freshness(0.0) is Freshness.EXPIRED  # a reader without a lock may have seen it in between
    assert value_of(shelf, Meddler("a")) is MISSING
    assert (len(shelf), len(shelf.cache)) == (0, 0)


def test_invalidating_another_inside_a_change():
    """What is invalidated in the middle of another change is dead at once, and dropped when the hand comes by."""
    shelf = shelf_in(MemoryCache())
    keep(shelf, Meddler("a"), 1)
    keep(shelf, "other", 2)
    key = Meddler("a")
    key.meddle = shelf.invalidate_all
    assert keep(shelf, key, 3) is Kept.REFUSED
    assert value_of(shelf, "other") is MISSING
    for number in range(5):
        keep(shelf, number, number)
    assert (len(shelf), "other" in shelf.cache.entries) == (5, False)


def test_reading_a_foreign_cache_inside_a_change_finds_nothing():
    """In the middle of a change a foreign cache may be in pieces, so it is not read."""
    shelf = shelf_in(MemoryCache(cache=cachetools.LRUCache(4)))
    keep(shelf, Meddler("a"), 1)
    found: list[Entry | None] = []
    key = Meddler("a")
    key.meddle = lambda: found.extend([shelf.find("b"), shelf.peek("b")])
    keep(shelf, "b", 2)
    keep(shelf, key, 3)
    assert found == [None, None]


def test_dropping_inside_a_drop_is_put_off():
    """What is invalidated while something else is being dropped is dead at once, and one alone changes the storage."""
    shelf = shelf_in(MemoryCache())
    cache = shelf.cache
    changing: list[bool] = []
    remove = cache._storage.remove

    def meddle(entry: Entry) -> None:
        changing.append(cache._is_changing)
        if len(changing) == 1:
            shelf.invalidate("b")
        remove(entry)

    keep(shelf, "a", 1)
    keep(shelf, "b", 2)
    cache._storage.remove = meddle
    shelf.invalidate("a")
    assert changing == [True]
    assert value_of(shelf, "a") is MISSING
    assert value_of(shelf, "b") is MISSING
    assert "b" in cache.entries


def test_key_that_cannot_be_compared():
    """An error of a key's own ``__eq__`` reaches who keeps it, and the cache is as it was."""

    def fail() -> None:
        raise RuntimeError("not today")

    shelf = shelf_in(MemoryCache())
    keep(shelf, Meddler("a"), 1)
    key = Meddler("a")
    key.meddle = fail
    with pytest.raises(RuntimeError, match="not today"):
        keep(shelf, key, 2)
    assert (len(shelf), value_of(shelf, Meddler("a"))) == (1, 1)
    assert keep(shelf, Meddler("a"), 3) is Kept.KEPT


# ---- memory ----


def grown_by(work: Any) -> int:
    """Return by how many bytes memory is larger after ``work``."""
    gc.collect()
    tracemalloc.start()
    work()
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return grown


def test_distinct_keys_leave_memory_flat():
    """However many keys pass through a bounded cache, it takes no more memory than what it holds."""
    shelf = shelf_in(MemoryCache(max_entries=1000))
    for number in range(3_000):
        keep(shelf, ("warm", number), number)

    def pass_through() -> None:
        for number in range(30_000):
            keep(shelf, ("key", number), number)

    assert grown_by(pass_through) < 1_000_000
    assert len(shelf) == 1000


def test_invalidate_and_reload_leaves_memory_flat():
    """Reloading one key over and over leaves nothing behind."""
    shelf = shelf_in(MemoryCache(max_entries=1000))
    keep(shelf, "key", 0, tags=("odds",))

    def reload() -> None:
        for number in range(30_000):
            shelf.invalidate("key")
            keep(shelf, "key", number, tags=("odds",))

    assert grown_by(reload) < 50_000
    assert (len(shelf), len(shelf._tickets)) == (1, 0)
