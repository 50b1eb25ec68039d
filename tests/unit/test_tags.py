"""Tags: what an invalidation reaches, what it leaves alone, and that the table stays small."""

from __future__ import annotations

import sys
import threading

import pytest
from hypothesis import given, strategies as st

from coalesce_kit.cache.tags import MOST_TAGS, CacheTicket, TagTable
from coalesce_kit.tickets import Tickets


class Fetches:
    """Tickets of fetches, taken as a flight takes them."""

    def __init__(self, **options: int) -> None:
        self.tickets = Tickets()
        self.table = TagTable(**options)

    def begin(self, *tags: str, key: str = "key") -> CacheTicket:
        return self.table.reserve(self.tickets.reserve(key), tags)

    def end(self, ticket: CacheTicket) -> None:
        self.table.release(ticket)
        self.tickets.release(ticket.of_key)


@pytest.fixture
def fetches() -> Fetches:
    """Fetches of one function."""
    return Fetches()


def test_invalidating_voids_the_tickets_that_are_out(fetches: Fetches):
    """A fetch with the tag that runs now may neither be joined nor publish; one without it may."""
    odds, other, untagged = fetches.begin("odds", "nfl"), fetches.begin("lines"), fetches.begin()
    assert fetches.table.invalidate(["odds"]) == 1
    assert [ticket.is_good() for ticket in (odds, other, untagged)] == [False, True, True]


def test_later_fetches_are_not_touched(fetches: Fetches):
    """What begins after an invalidation is as good as if there had been none."""
    fetches.table.invalidate(["odds"])
    ticket = fetches.begin("odds")
    assert ticket.is_good()
    assert not fetches.table.have_moved(("odds",), ticket.number)


def test_entries_are_found_dead_by_number(fetches: Fetches):
    """What was fetched before an invalidation of one of its tags is dead, and stays so."""
    ticket = fetches.begin("odds", "nfl")
    fetches.end(ticket)
    assert not fetches.table.have_moved(ticket.tags, ticket.number)
    assert fetches.table.invalidate(["nfl"]) == 0
    assert fetches.table.have_moved(ticket.tags, ticket.number)
    fetches.table.invalidate(["nba"])
    assert fetches.table.have_moved(ticket.tags, ticket.number)


def test_voided_counts_tickets_once(fetches: Fetches):
    """A fetch is counted once, whatever number of its tags moves, and not if it was void already."""
    fetches.begin("odds", "nfl")
    gone = fetches.begin("odds", key="other")
    fetches.tickets.void("other")
    assert not gone.is_good()
    assert fetches.table.invalidate(["odds", "nfl"]) == 1
    assert fetches.table.invalidate(["odds"]) == 0


def test_void_key_voids_the_ticket(fetches: Fetches):
    """A ticket is good only as long as its key's is."""
    ticket = fetches.begin("odds")
    fetches.tickets.void("key")
    assert not ticket.is_good()


def test_tickets_are_numbered_in_order(fetches: Fetches):
    """Of two tickets the later one has the greater number, with or without tags."""
    numbers = [fetches.begin(*tags).number for tags in ((), ("a",), (), ("a", "b"))]
    assert numbers == sorted(set(numbers))


def test_epoch_moves_with_every_invalidation(fetches: Fetches):
    """A reader who compares the epoch notices any invalidation, and nothing else moves it."""
    seen = [fetches.table.epoch]
    for tags in (["a"], ["a"], ["b", "c"]):
        fetches.table.invalidate(tags)
        seen.append(fetches.table.epoch)
    fetches.end(fetches.begin("a"))
    assert fetches.table.epoch == seen[-1]
    assert seen == sorted(set(seen))


def test_nothing_is_kept_of_ended_fetches(fetches: Fetches):
    """When all tickets are given back, the table knows no tag that was not invalidated."""
    tickets = [fetches.begin(f"t{number % 7}", "all") for number in range(50)]
    for ticket in tickets:
        fetches.end(ticket)
        fetches.table.release(ticket)  # once more is harmless
    assert fetches.table._live == {}
    assert len(fetches.table) == 0


def test_million_tags_stay_bounded():
    """A million distinct tags invalidated leave a table of a few thousand."""
    fetches = Fetches()
    table = fetches.table
    for number in range(10):
        table.invalidate([f"warm up {number}"])
    for number in range(1_000_000):
        table.invalidate((str(number),))
    assert len(table) == MOST_TAGS
    assert sys.getsizeof(table._moved) < 2**20


def test_forgotten_tag_leaves_a_floor():
    """When a tag is forgotten, everything fetched before it moved is dead, and what was fetched later is not."""
    fetches = Fetches(most_tags=2)
    before = fetches.begin("odds")
    fetches.table.invalidate(["odds"])
    between = fetches.begin("odds")
    for tag in ("x", "y"):
        fetches.table.invalidate([tag])
    after = fetches.begin("odds")
    assert len(fetches.table) == 2
    moved = [fetches.table.have_moved(("odds",), ticket.number) for ticket in (before, between, after)]
    assert moved == [True, False, False]


def test_tag_that_moves_again_is_remembered_longer():
    """The tag that was invalidated longest ago is forgotten first."""
    fetches = Fetches(most_tags=2)
    for tag in ("a", "b", "a", "c"):
        fetches.table.invalidate([tag])
    assert list(fetches.table._moved) == ["a", "c"]


def test_untagged_never_moves():
    """What has no tags is not asked about, whatever the floor."""
    fetches = Fetches(most_tags=1)
    ticket = fetches.begin()
    for number in range(5):
        fetches.table.invalidate([str(number)])
    assert not fetches.table.have_moved((), ticket.number)


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.sampled_from("fi"), st.frozensets(st.sampled_from("abcdef"), max_size=3)), max_size=60),
)
def test_never_alive_after_an_invalidation(most_tags: int, history: list[tuple[str, frozenset[str]]]):
    """Whatever is fetched and invalidated in whatever order, nothing survives the invalidation of one of its tags.

    The other way round it is exact as long as no tag had to be forgotten.
    """
    fetches = Fetches(most_tags=most_tags)
    begun: list[tuple[CacheTicket, bool]] = []
    for kind, tags in history:
        if kind == "f":
            begun.append((fetches.begin(*sorted(tags)), False))
        else:
            fetches.table.invalidate(sorted(tags))
            begun = [(ticket, dead or not tags.isdisjoint(ticket.tags)) for ticket, dead in begun]
    forgot = fetches.table._floor > 0
    for ticket, dead in begun:
        assert ticket.is_good() is not dead
        found_dead = fetches.table.have_moved(ticket.tags, ticket.number)
        assert found_dead or not dead
        assert forgot or found_dead == dead


class Reentrant(str):
    """A tag whose hash invalidates another tag, as a finaliser could in the middle of anything."""

    table: TagTable | None = None

    def __hash__(self) -> int:
        table, self.table = self.table, None
        if table is not None:
            table.invalidate(["inner"])
        return super().__hash__()


def test_invalidation_inside_an_invalidation(fetches: Fetches):
    """An invalidation that begins in the middle of another one is complete, and neither takes the epoch back."""
    inner = fetches.begin("inner")
    tag = Reentrant("outer")
    tag.table = fetches.table
    outer = fetches.begin("outer")
    epoch = fetches.table.epoch
    fetches.table.invalidate([tag])
    assert (inner.is_good(), outer.is_good()) == (False, False)
    assert fetches.table.epoch > epoch
    assert fetches.table.have_moved(("inner",), inner.number)
    assert fetches.table.have_moved(("outer",), outer.number)


def test_threads_that_invalidate_and_fetch():
    """With several threads at it, no ticket that was out when its tag was invalidated is good afterwards."""
    fetches = Fetches(most_tags=3)
    wrong: list[str] = []
    start = threading.Barrier(4)

    def work(name: str) -> None:
        start.wait()
        for number in range(2_000):
            ticket = fetches.begin(name, key=name)
            if not ticket.is_good():
                wrong.append(f"{name} {number}: void from the start")
            fetches.table.invalidate([name])
            if ticket.is_good() or not fetches.table.have_moved((name,), ticket.number):
                wrong.append(f"{name} {number}: alive afterwards")
            fetches.end(ticket)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert wrong == []
    assert fetches.table._live == {}
