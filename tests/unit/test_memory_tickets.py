"""Invalidation wins: what may be published when, for one function and for many threads."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest

from coalesce_kit.cache.memory import Kept, MemoryCache
from coalesce_kit.cache.shelf import Shelf
from coalesce_kit.entry import Entry, Lifetimes
from coalesce_kit.stats.counters import Counters
from coalesce_kit.tickets import Tickets

HOUR = Lifetimes(3600.0)


@pytest.fixture
def shelf() -> Shelf:
    """One function's part of a cache."""
    return Shelf(MemoryCache(), tickets=Tickets(), counters=Counters())


def publish(shelf: Shelf, ticket: Any, value: Any) -> Kept:
    """Keep what a fetch brought, with its ticket."""
    kept = shelf.keep(ticket, Entry(value, at=0.0, lifetimes=HOUR, tags=ticket.tags), now=0.0)
    shelf.release(ticket)
    return kept


def value_of(shelf: Shelf, key: Any = "key") -> Any:
    """Return what a reader gets."""
    entry = shelf.find(key)
    return None if entry is None else entry.value


@pytest.mark.parametrize(
    "invalidate",
    [
        lambda shelf: shelf.invalidate("key"),
        lambda shelf: shelf.invalidate_tags(["odds"]),
        lambda shelf: shelf.invalidate_all(),
    ],
    ids=["key", "tag", "all"],
)
def test_fetch_begun_before_an_invalidation_is_not_kept(shelf: Shelf, invalidate: Any):
    """Race museum 1: whatever is invalidated between the start of a fetch and its end, its result is not kept."""
    ticket = shelf.reserve("key", ("odds",))
    assert ticket.is_good()
    assert invalidate(shelf) == 1
    assert not ticket.is_good()
    assert publish(shelf, ticket, "stale") is Kept.REFUSED
    assert value_of(shelf) is None
    assert publish(shelf, shelf.reserve("key", ("odds",)), "new") is Kept.KEPT
    assert value_of(shelf) == "new"


@pytest.mark.parametrize(
    "invalidate",
    [lambda shelf: shelf.invalidate("new"), lambda shelf: shelf.invalidate_tags(["odds"])],
    ids=["key", "tag"],
)
def test_what_is_refused_makes_no_room(invalidate: Any):
    """Nothing is evicted for a result that is not kept."""
    shelf = Shelf(MemoryCache(max_entries=2), tickets=Tickets(), counters=Counters())
    for key in "ab":
        publish(shelf, shelf.reserve(key), key)
    ticket = shelf.reserve("new", ("odds",))
    invalidate(shelf)
    assert publish(shelf, ticket, "stale") is Kept.REFUSED
    assert [value_of(shelf, key) for key in "ab"] == ["a", "b"]


def test_a_fetch_may_publish_again(shelf: Shelf):
    """Its own result is not younger than itself."""
    ticket = shelf.reserve("key")
    for value in ("first", "second"):
        assert shelf.keep(ticket, Entry(value, at=0.0, lifetimes=HOUR), now=0.0) is Kept.KEPT
    shelf.release(ticket)
    assert value_of(shelf) == "second"


def test_older_fetch_after_invalidate_and_reload(shelf: Shelf):
    """Race museum 3: invalidate, reload, and then the first fetch ends: the reloaded value stays."""
    first = shelf.reserve("key")
    shelf.invalidate("key")
    assert publish(shelf, shelf.reserve("key"), "reloaded") is Kept.KEPT
    assert publish(shelf, first, "stale") is Kept.REFUSED
    assert value_of(shelf) == "reloaded"


def test_refused_result_costs_nobody_a_place():
    """What is not kept makes no room for itself."""
    shelf = Shelf(MemoryCache(max_entries=1), tickets=Tickets(), counters=Counters())
    publish(shelf, shelf.reserve("other"), "stays")
    ticket = shelf.reserve("key")
    shelf.invalidate("key")
    assert publish(shelf, ticket, "stale") is Kept.REFUSED
    assert value_of(shelf, "other") == "stays"


def test_two_fetches_of_one_key_are_both_voided(shelf: Shelf):
    """A detached flight beside a newer one: an invalidation reaches both, in whatever order they end."""
    for order in ([0, 1], [1, 0]):
        tickets = [shelf.reserve("key"), shelf.reserve("key")]
        assert shelf.invalidate("key") == 2
        assert [publish(shelf, tickets[number], "stale") for number in order] == [Kept.REFUSED] * 2
        assert value_of(shelf) is None


def test_younger_result_stays(shelf: Shelf):
    """Of two fetches the one that began later has the say, whichever ends last."""
    older, younger = shelf.reserve("key"), shelf.reserve("key")
    assert publish(shelf, younger, "younger") is Kept.KEPT
    assert publish(shelf, older, "older") is Kept.REFUSED
    assert value_of(shelf) == "younger"
    older, younger = shelf.reserve("key"), shelf.reserve("key")
    assert publish(shelf, older, "older") is Kept.KEPT
    assert publish(shelf, younger, "younger still") is Kept.KEPT
    assert value_of(shelf) == "younger still"


def test_primed_value_survives_what_was_in_the_air(shelf: Shelf):
    """Race museum 4: a value put in by hand during a fetch stays, also when the same value was there before."""
    refresh = shelf.reserve("key")
    shelf.invalidate("key")
    publish(shelf, shelf.reserve("key"), "primed")
    assert publish(shelf, refresh, "refreshed") is Kept.REFUSED
    assert value_of(shelf) == "primed"


def test_tag_invalidated_during_a_refresh(shelf: Shelf):
    """Race museum 2: a tag that moves during a background refresh takes the old value and the new one."""
    publish(shelf, shelf.reserve("key", ("odds",)), "old")
    refresh = shelf.reserve("key", ("odds",))
    shelf.invalidate_tags(["odds"])
    assert value_of(shelf) is None
    assert publish(shelf, refresh, "refreshed") is Kept.REFUSED
    assert value_of(shelf) is None


def test_invalidation_and_keeping_in_one_tick(shelf: Shelf):
    """Race museum 25: with numbers in place of times, nothing can happen at the same time."""
    for number in range(100):
        ticket = shelf.reserve("key", ("odds",))
        shelf.invalidate_tags(["odds"])
        later = shelf.reserve("key", ("odds",))
        assert publish(shelf, later, number) is Kept.KEPT
        assert publish(shelf, ticket, "stale") is Kept.REFUSED
        assert value_of(shelf) == number


def test_invalidation_of_other_things_changes_nothing(shelf: Shelf):
    """Other keys, other tags and other functions of the same cache leave a fetch and its result alone."""
    neighbour = Shelf(shelf.cache, tickets=Tickets(), counters=Counters())
    ticket = shelf.reserve("key", ("odds",))
    shelf.invalidate("other")
    shelf.invalidate_tags(["lines"])
    neighbour.invalidate("key")
    neighbour.invalidate_tags(["odds"])
    neighbour.invalidate_all()
    assert publish(shelf, ticket, "value") is Kept.KEPT
    shelf.invalidate("other")
    shelf.invalidate_tags(["lines"])
    neighbour.invalidate_all()
    assert value_of(shelf) == "value"


def test_hit_asks_its_tags_only_when_the_epoch_has_moved(shelf: Shelf):
    """A reader compares one number; after some other tag moved it asks once, and then compares again."""
    publish(shelf, shelf.reserve("key", ("odds",)), "value")
    entry = shelf.peek("key")
    assert entry.epoch == shelf.tags.epoch
    shelf.invalidate_tags(["lines"])
    assert entry.epoch != shelf.tags.epoch
    assert value_of(shelf) == "value"
    assert entry.epoch == shelf.tags.epoch


def test_peek_changes_nothing(shelf: Shelf):
    """Looking neither notes an epoch, nor counts as a use, nor marks anything dead."""
    publish(shelf, shelf.reserve("key", ("odds",)), "value")
    entry = shelf.peek("key")
    shelf.invalidate_tags(["lines"])
    before = (entry.epoch, entry.uses)
    assert shelf.peek("key") is entry
    assert (entry.epoch, entry.uses) == before
    shelf.invalidate_tags(["odds"])
    assert shelf.peek("key") is None
    assert not entry.is_dead
    assert shelf.find("key") is None
    assert entry.is_dead


def test_dead_entry_is_replaced(shelf: Shelf):
    """What was found dead is no obstacle for what is fetched next."""
    publish(shelf, shelf.reserve("key", ("odds",)), "old")
    shelf.invalidate_tags(["odds"])
    assert publish(shelf, shelf.reserve("key", ("odds",)), "new") is Kept.KEPT
    assert (value_of(shelf), len(shelf)) == ("new", 1)


def test_tickets_are_given_back(shelf: Shelf):
    """After its fetch nothing is left of a ticket, whether something was kept or not."""
    publish(shelf, shelf.reserve("key", ("odds",)), "value")
    ticket = shelf.reserve("key", ("odds",))
    shelf.release(ticket)
    assert len(shelf._tickets) == 0
    assert shelf.tags._live == {}


@pytest.mark.parametrize("kind", ["key", "tag", "all"])
def test_threads_never_read_what_was_invalidated(shelf: Shelf, kind: str):
    """With threads that fetch and publish, no look that begins after an invalidation sees a value from before it."""
    upstream = [0]
    wrong: list[tuple[int, int]] = []
    done = threading.Event()
    entries_get = shelf.cache.entries.get

    def fetch() -> None:
        while not done.is_set():
            ticket = shelf.reserve("key", ("odds",))
            publish(shelf, ticket, upstream[0])

    def write() -> None:
        for version in range(1, 1_500):
            upstream[0] = version
            if kind == "key":
                shelf.invalidate("key")
            elif kind == "tag":
                shelf.invalidate_tags(["odds"])
            else:
                shelf.invalidate_all()
            entry = shelf.find("key")
            if entry is not None and entry.value < version:
                wrong.append((version, entry.value))
            in_line = entries_get("key")
            fresh = in_line is not None and in_line.fresh_until > 0 and in_line.epoch == shelf.tags.epoch
            if fresh and in_line.value < version:
                wrong.append((version, in_line.value))
        done.set()

    run_together(fetch, fetch, write)
    assert wrong == []


def test_threads_share_a_cache_exactly():
    """Several threads that keep, read and invalidate leave accounts, queues and storage in agreement."""
    cache = MemoryCache(max_entries=50)
    shelves = [Shelf(cache, tickets=Tickets(), counters=Counters()) for _ in range(4)]
    kept = [0] * 4

    def work(number: int) -> None:
        shelf = shelves[number]
        for turn in range(3_000):
            key = (number, turn % 40)
            kept[number] += publish(shelf, shelf.reserve(key), turn) is Kept.KEPT
            shelf.find((number, (turn * 7) % 40))
            if turn % 10 == 0:
                shelf.invalidate((number, (turn * 3) % 40))
            if turn % 500 == 0:
                shelf.invalidate_all()

    run_together(*(lambda number=number: work(number) for number in range(4)))
    assert kept == [3_000] * 4
    assert sum(len(shelf) for shelf in shelves) == len(cache) <= 50
    for number, shelf in enumerate(shelves):
        assert len(shelf) == sum(key[0] == number for key in cache.entries)
        shelf.invalidate_all()
    assert len(cache) == 0
    assert cache._storage._size == cache._storage._small_size == 0


def run_together(*work: Any) -> None:
    """Run each in a thread of its own, switching as often as the interpreter can; raise what one of them raised."""
    failures: list[BaseException] = []

    def guarded(one: Any) -> None:
        try:
            one()
        except BaseException as error:
            failures.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=guarded, args=(one,)) for one in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert failures == []
