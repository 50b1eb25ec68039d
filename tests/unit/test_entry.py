"""Entries: the stretches of their life, and that nobody can lengthen it."""

from __future__ import annotations

import math
import pickle

import pytest

from coalesce_kit.entry import MISSING, NOWHERE, Entry, Freshness, Lifetimes, Missing

WINDOWS = Lifetimes(fresh_seconds=10.0, stale_seconds=5.0, fallback_seconds=20.0, refresh_after_seconds=8.0)


@pytest.mark.parametrize(
    ("now", "freshness"),
    [
        (100.0, Freshness.FRESH),
        (109.999, Freshness.FRESH),
        (110.0, Freshness.STALE),
        (114.999, Freshness.STALE),
        (115.0, Freshness.FALLBACK),
        (129.999, Freshness.FALLBACK),
        (130.0, Freshness.EXPIRED),
        (math.inf, Freshness.EXPIRED),
    ],
)
def test_stretches_of_a_life(now: float, freshness: Freshness):
    """Lifetimes count from the end of the fetch; a stretch includes its first moment and excludes its last."""
    assert Entry("value", at=100.0, lifetimes=WINDOWS).freshness(now) is freshness


def test_stale_window_may_be_the_longer_one():
    """Where ``stale_while_revalidate`` outlasts ``stale_if_error``, there is no fallback stretch."""
    entry = Entry("value", at=0.0, lifetimes=Lifetimes(10.0, stale_seconds=30.0, fallback_seconds=5.0))
    assert [entry.freshness(now) for now in (12.0, 39.0, 40.0)] == [Freshness.STALE, Freshness.STALE, Freshness.EXPIRED]
    assert entry.usable_until == 40.0


def test_infinite_life():
    """With an infinite ttl a value is fresh until it is invalidated."""
    entry = Entry("value", at=5.0, lifetimes=Lifetimes(math.inf))
    assert entry.freshness(1e300) is Freshness.FRESH
    entry.mark_dead()
    assert entry.freshness(1e300) is Freshness.EXPIRED


def test_never_fresh():
    """With a ttl of 0 a value is stale from its first moment."""
    entry = Entry("value", at=5.0, lifetimes=Lifetimes(0.0, stale_seconds=1.0))
    assert entry.freshness(5.0) is Freshness.STALE


def test_dead_entry_is_of_no_use_to_anybody():
    """Marking an entry dead ends every stretch of its life, also for those who read only ``fresh_until``."""
    for entry in (
        Entry("value", at=0.0, lifetimes=WINDOWS),
        Entry(MISSING, at=0.0, lifetimes=Lifetimes(10.0), error=KeyError("gone")),
    ):
        assert not entry.is_dead
        entry.mark_dead()
        assert entry.is_dead
        assert entry.freshness(-1e300) is Freshness.EXPIRED
        assert not entry.fresh_until > -1e300
        assert entry.usable_until == -math.inf


def test_remembered_error_is_fresh_but_not_in_line():
    """A remembered error is the answer for its time, and ``fresh_until`` never says so to the compiled call."""
    error = KeyError("gone")
    entry = Entry(MISSING, at=100.0, lifetimes=Lifetimes(10.0, 5.0, 5.0), error=error)
    assert (entry.error, entry.value, entry.fresh_until) == (error, MISSING, -math.inf)
    assert (entry.freshness(109.0), entry.freshness(110.0)) == (Freshness.FRESH, Freshness.EXPIRED)
    assert (entry.usable_until, entry.refresh_at) == (110.0, math.inf)


def test_refresh_moment():
    """A reader starts a refresh from the moment that the lifetimes name; without one, never."""
    assert Entry("value", at=100.0, lifetimes=WINDOWS).refresh_at == 108.0
    assert Entry("value", at=100.0, lifetimes=Lifetimes(10.0)).refresh_at == math.inf


def test_putting_off():
    """A failed fetch is counted, and no other is tried before the moment given; the life is not lengthened."""
    entry = Entry("value", at=0.0, lifetimes=WINDOWS)
    before = (entry.fresh_until, entry.stale_until, entry.fallback_until, entry.usable_until)
    entry.put_off(11.0)
    entry.put_off(13.0)
    assert (entry.failures, entry.retry_at, entry.refresh_at) == (2, 13.0, 13.0)
    assert (entry.fresh_until, entry.stale_until, entry.fallback_until, entry.usable_until) == before


def test_age():
    """The age counts from the end of the fetch, and a clock that is a little behind makes no negative one."""
    entry = Entry("value", at=100.0, lifetimes=WINDOWS)
    assert (entry.age_seconds(103.0), entry.age_seconds(99.0)) == (3.0, 0.0)


def test_missing_is_not_a_value():
    """``MISSING`` is one object, is none of the falsy values, and stays itself through pickling."""
    assert MISSING is Missing.MISSING
    assert repr(MISSING) == "MISSING"
    assert all(value != MISSING for value in (None, False, 0, "", [], ()))
    assert pickle.loads(pickle.dumps(MISSING)) is MISSING


@pytest.mark.parametrize("value", [None, False, 0, "", [], {}])
def test_empty_values_are_values(value: object):
    """What is falsy is kept like anything else."""
    entry = Entry(value, at=0.0, lifetimes=WINDOWS)
    assert entry.value is value
    assert entry.freshness(1.0) is Freshness.FRESH


def test_usable_seconds():
    """A result is of use for its ttl and the longer of its windows."""
    assert WINDOWS.usable_seconds == 30.0
    assert Lifetimes(10.0).usable_seconds == 10.0


def test_shows_no_value():
    """The representation names types and times, never the value or what the error says."""
    value = repr(Entry("secret", at=1.5, lifetimes=WINDOWS))
    error = repr(Entry(MISSING, at=1.5, lifetimes=WINDOWS, error=KeyError("secret")))
    assert "secret" not in value + error
    assert "value str" in value
    assert "error KeyError" in error


def test_new_entry_stands_nowhere():
    """An entry that was not kept is in no queue."""
    entry = Entry("value", at=0.0, lifetimes=WINDOWS)
    assert entry.after is entry.before is NOWHERE
