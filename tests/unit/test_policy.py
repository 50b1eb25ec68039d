"""CachePolicy: its ranges, and every rule at every kind of moment."""

from __future__ import annotations

import copy
import dataclasses
import math
from datetime import timedelta
from typing import Any

import pytest

from coalesce_kit.cache.policy import LONGEST_RETRY_SECONDS, CachePolicy, Verdict
from coalesce_kit.entry import MISSING, Entry, Freshness, Lifetimes
from coalesce_kit.errors import (
    CoalescerClosedError,
    ConfigurationError,
    FetchCancelledError,
    FetchTimeoutError,
    KeyDerivationError,
    RecursiveFetchError,
    UnshareableResultError,
    WaitTimeoutError,
)


class NotFound(LookupError):
    """The upstream has no such thing."""


class GoneForever(NotFound):
    """The upstream will never have it again."""


def sealed(policy: CachePolicy, value: object = "value", *, at: float = 0.0) -> Entry:
    """Return a value sealed under ``policy``, without jitter."""
    lifetimes = policy.lifetimes(value, random=0.0)
    assert lifetimes is not None
    return Entry(value, at=at, lifetimes=lifetimes)


# ---- ranges ----


@pytest.mark.parametrize(
    "wrong",
    [
        {"ttl": -1},
        {"ttl": math.nan},
        {"ttl": "5"},
        {"ttl": True},
        {"ttl": timedelta(seconds=-1)},
        {"stale_while_revalidate": -1},
        {"stale_while_revalidate": math.nan},
        {"stale_if_error": -0.5},
        {"stale_if_error": None},
        {"stale_wait_seconds": -1},
        {"stale_wait_seconds": math.inf},
        {"refresh_ahead": 0},
        {"refresh_ahead": 1},
        {"refresh_ahead": -0.1},
        {"refresh_ahead": "half"},
        {"refresh_ahead": True},
        {"refresh_ahead": math.nan},
        {"jitter": -0.1},
        {"jitter": 1},
        {"jitter": math.nan},
        {"error_ttl": {NotFound: 0}},
        {"error_ttl": {NotFound: -1}},
        {"error_ttl": {"NotFound": 1}},
        {"error_ttl": {KeyboardInterrupt: 1}},
        {"error_ttl": [NotFound]},
        {"cache_if": True},
        {"retry_after_error_seconds": -1},
        {"retry_after_error_seconds": math.inf},
        {"always_raise": "NotFound"},
        {"always_raise": (NotFound, "NotFound")},
        {"always_raise": [NotFound]},
        {"always_raise": SystemExit},
    ],
    ids=repr,
)
def test_out_of_range(wrong: dict[str, Any]):
    """A policy that cannot work is refused, and the message names the option."""
    with pytest.raises(ConfigurationError) as caught:
        CachePolicy(**{"ttl": 5, **wrong})
    assert next(iter(wrong)) in str(caught.value)


@pytest.mark.parametrize("option", ["ttl", "cache_if"])
def test_async_function_is_refused(option: str):
    """What is asked between two steps of a flight cannot be awaited."""

    async def later(result: object) -> Any:
        return 5

    with pytest.raises(ConfigurationError, match=f"{option} must be a plain function"):
        CachePolicy(**{option: later})


@pytest.mark.parametrize("ttl", [0, 0.5, 5, math.inf, timedelta(minutes=5)])
def test_lifetimes_in_range(ttl: Any):
    """Seconds, a ``timedelta``, 0 and infinity are lifetimes."""
    assert CachePolicy(ttl=ttl).ttl == (ttl.total_seconds() if isinstance(ttl, timedelta) else ttl)


def test_a_failure_may_be_remembered_until_it_is_invalidated():
    """Infinity is a lifetime of a failure, too."""
    assert CachePolicy(error_ttl={NotFound: math.inf}).error_lifetimes(NotFound()) == Lifetimes(math.inf)


def test_after_a_failure_nothing_is_tried_for_a_second():
    """Without another wish."""
    assert CachePolicy().retry_after_error_seconds == 1.0


def test_windows_may_be_infinite_or_durations():
    """A stale window is any duration, without end too."""
    policy = CachePolicy(stale_while_revalidate=timedelta(seconds=30), stale_if_error=math.inf)
    assert (policy.stale_while_revalidate, policy.stale_if_error) == (30.0, math.inf)


def test_frozen_and_comparable():
    """A policy cannot be changed, equals one with the same rules, can be hashed, and is varied by ``replace``."""
    policy = CachePolicy(ttl=5, error_ttl={NotFound: 10}, always_raise=NotFound)
    with pytest.raises(dataclasses.FrozenInstanceError):
        policy.ttl = 6  # type: ignore[misc]
    with pytest.raises(TypeError):
        policy.error_ttl[KeyError] = 1  # type: ignore[index]
    same = CachePolicy(ttl=5.0, error_ttl={NotFound: 10.0}, always_raise=(NotFound,))
    assert policy == same
    assert hash(policy) == hash(same)
    assert copy.copy(policy) == policy
    assert dataclasses.replace(policy, ttl=6).error_ttl == {NotFound: 10.0}


def test_later_changes_of_the_mapping_do_not_matter():
    """The remembered errors are those that were there when the policy was made."""
    remembered = {NotFound: 10.0}
    policy = CachePolicy(error_ttl=remembered)
    remembered[KeyError] = 5.0
    assert dict(policy.error_ttl) == {NotFound: 10.0}


@pytest.mark.parametrize(
    ("options", "results", "stale", "anything"),
    [
        ({}, False, False, False),
        ({"ttl": 5}, True, False, True),
        ({"ttl": lambda result: 0}, True, False, True),
        ({"stale_while_revalidate": 5}, True, True, True),
        ({"stale_if_error": 5}, True, True, True),
        ({"error_ttl": {NotFound: 5}}, False, False, True),
    ],
)
def test_what_there_is_to_keep(options: dict[str, Any], results: bool, stale: bool, anything: bool):
    """A policy knows whether results, stale results or anything at all can be of later use under it."""
    policy = CachePolicy(**options)
    assert (policy.keeps_results, policy.keeps_stale, policy.keeps_anything) == (results, stale, anything)


# ---- sealing ----


def test_nothing_to_keep():
    """With a ttl of 0 and no window a result is for those who waited, and nobody else."""
    assert CachePolicy(ttl=0).lifetimes("value", random=0.0) is None


def test_ttl_of_the_result():
    """A function decides for each result how long it is fresh."""
    policy = CachePolicy(ttl=lambda result: {"s": 3, "t": timedelta(minutes=1), "0": 0, "inf": math.inf}[result])
    assert policy.lifetimes("s", random=0.0) == Lifetimes(3.0)
    assert policy.lifetimes("t", random=0.0) == Lifetimes(60.0)
    assert policy.lifetimes("inf", random=0.9) == Lifetimes(math.inf)
    assert policy.lifetimes("0", random=0.0) is None


@pytest.mark.parametrize("nonsense", [-1, math.nan, None, "5"])
def test_nonsense_from_ttl_function(nonsense: Any):
    """What a ttl function returns is checked like a ttl."""
    with pytest.raises(ConfigurationError, match=r"ttl\(\) returned"):
        CachePolicy(ttl=lambda result: nonsense).lifetimes("value", random=0.0)


def test_errors_of_the_users_functions_come_out():
    """Whoever seals the result hears what ``ttl`` and ``cache_if`` raised."""

    def broken(result: object) -> Any:
        raise ZeroDivisionError

    for option in ("ttl", "cache_if"):
        with pytest.raises(ZeroDivisionError):
            CachePolicy(**{option: broken}).lifetimes("value", random=0.0)


def test_cache_if():
    """A result that may not be kept has no lifetimes, and ``ttl`` is not asked about it."""
    policy = CachePolicy(ttl=lambda result: 1 / result, cache_if=bool)
    assert policy.lifetimes(0, random=0.0) is None
    assert policy.lifetimes(2, random=0.0) == Lifetimes(0.5)


@pytest.mark.parametrize(("random", "fresh"), [(0.0, 10.0), (0.5, 9.0), (1.0, 8.0)])
def test_jitter_shortens(random: float, fresh: float):
    """Jitter takes up to its fraction from the ttl; refreshing ahead counts from what is left."""
    policy = CachePolicy(ttl=10, jitter=0.2, refresh_ahead=0.5)
    lifetimes = policy.lifetimes("value", random=random)
    assert lifetimes == Lifetimes(pytest.approx(fresh), refresh_after_seconds=pytest.approx(fresh / 2))


# ---- remembering failures ----


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (NotFound(), 10.0),
        (GoneForever(), 99.0),
        (LookupError(), 1.0),
        (KeyError(), 1.0),
        (ValueError(), None),
        (KeyboardInterrupt(), None),
    ],
    ids=repr,
)
def test_nearest_class_decides(error: BaseException, seconds: float | None):
    """Of the remembered classes, the one nearest to the error's own decides how long."""
    policy = CachePolicy(error_ttl={LookupError: 1, NotFound: 10, GoneForever: 99})
    lifetimes = policy.error_lifetimes(error)
    assert lifetimes == (None if seconds is None else Lifetimes(seconds))


# ---- what a call does ----

EVERYTHING = CachePolicy(ttl=10, stale_while_revalidate=10, stale_if_error=30, refresh_ahead=0.8)


@pytest.mark.parametrize(
    ("now", "verdict"),
    [
        (0.0, Verdict.SERVE),
        (7.9, Verdict.SERVE),
        (8.0, Verdict.SERVE_AND_REFRESH),
        (9.9, Verdict.SERVE_AND_REFRESH),
        (10.0, Verdict.SERVE_AND_REFRESH),
        (19.9, Verdict.SERVE_AND_REFRESH),
        (20.0, Verdict.FETCH),
        (39.9, Verdict.FETCH),
        (40.0, Verdict.FETCH),
    ],
)
def test_verdict_over_a_life(now: float, verdict: Verdict):
    """Fresh, due for a refresh, stale, fallback, expired: each has its verdict."""
    assert EVERYTHING.judge(sealed(EVERYTHING), now) is verdict


def test_verdict_without_an_entry():
    """With nothing at hand there is nothing but to fetch."""
    assert EVERYTHING.judge(None, 0.0) is Verdict.FETCH


def test_verdict_on_a_dead_entry():
    """An invalidated entry is as good as none, whatever its windows were."""
    entry = sealed(EVERYTHING)
    entry.mark_dead()
    assert EVERYTHING.judge(entry, 0.0) is Verdict.FETCH
    assert not EVERYTHING.masks(OSError(), entry, 0.0)


def test_verdict_on_a_remembered_error():
    """A remembered error is served for its time, is never refreshed ahead, and then fetched again."""
    entry = Entry(MISSING, at=0.0, lifetimes=Lifetimes(10.0), error=NotFound())
    assert [EVERYTHING.judge(entry, now) for now in (9.9, 10.0)] == [Verdict.SERVE, Verdict.FETCH]


def test_waiting_before_serving_stale():
    """With ``stale_wait_seconds`` a caller of a stale value first waits for a fresh one; a fresh value never waits."""
    policy = CachePolicy(ttl=10, stale_while_revalidate=10, stale_wait_seconds=0.1)
    entry = sealed(policy)
    assert [policy.judge(entry, now) for now in (5.0, 15.0)] == [Verdict.SERVE, Verdict.WAIT_THEN_SERVE]


@pytest.mark.parametrize(
    ("now", "freshness", "verdict"),
    [
        (9.0, Freshness.FRESH, Verdict.SERVE),
        (15.0, Freshness.STALE, Verdict.SERVE),
        (25.0, Freshness.FALLBACK, Verdict.SERVE),
        (40.0, Freshness.EXPIRED, Verdict.FETCH),
    ],
)
def test_throttle(now: float, freshness: Freshness, verdict: Verdict):
    """After a failure what is at hand is served without another try, for as long as its windows last and no longer."""
    policy = dataclasses.replace(EVERYTHING, stale_wait_seconds=1)
    entry = sealed(policy)
    entry.put_off(1e9)
    assert entry.freshness(now) is freshness
    assert policy.judge(entry, now) is verdict


def test_throttle_ends():
    """When the time after a failure is over, the next call tries again."""
    entry = sealed(EVERYTHING)
    entry.put_off(15.0)
    assert [EVERYTHING.judge(entry, now) for now in (14.9, 15.0)] == [Verdict.SERVE, Verdict.SERVE_AND_REFRESH]


# ---- masking failures ----


@pytest.mark.parametrize(
    "error",
    [OSError(), ValueError(), FetchTimeoutError(), WaitTimeoutError(), FetchCancelledError(), NotFound()],
    ids=repr,
)
def test_trouble_of_the_upstream_is_masked(error: Exception):
    """Whatever the fetch or the wait ended in, an old value within its windows is given instead."""
    entry = sealed(EVERYTHING)
    assert [EVERYTHING.masks(error, entry, now) for now in (15.0, 39.9, 40.0)] == [True, True, False]


@pytest.mark.parametrize(
    "error",
    [
        ConfigurationError(),
        KeyDerivationError(),
        RecursiveFetchError(),
        CoalescerClosedError(),
        UnshareableResultError(),
        KeyboardInterrupt(),
    ],
    ids=repr,
)
def test_mistakes_are_never_masked(error: BaseException):
    """A mistake of the program, or the end of it, is raised whatever is at hand."""
    assert not EVERYTHING.masks(error, sealed(EVERYTHING), 15.0)


def test_always_raise():
    """What is always raised is raised, its subclasses too; everything else is masked."""
    policy = dataclasses.replace(EVERYTHING, always_raise=(NotFound, PermissionError))
    entry = sealed(policy)
    masked = [policy.masks(error, entry, 15.0) for error in (NotFound(), GoneForever(), PermissionError(), OSError())]
    assert masked == [False, False, False, True]


def test_nothing_to_mask_with():
    """Without a value at hand, or with a remembered error in its place, a failure is raised."""
    error = Entry(MISSING, at=0.0, lifetimes=Lifetimes(100.0), error=NotFound())
    assert not EVERYTHING.masks(OSError(), None, 15.0)
    assert not EVERYTHING.masks(OSError(), error, 15.0)


def test_no_window_no_mask():
    """Without a stale window a value is of use as long as it is fresh."""
    policy = CachePolicy(ttl=10)
    assert [policy.masks(OSError(), sealed(policy), now) for now in (9.9, 10.0)] == [True, False]


# ---- the throttle's growth ----


def test_retries_grow_to_a_minute():
    """The wait after a failure doubles, and is never more than a minute."""
    policy = CachePolicy(ttl=1, retry_after_error_seconds=5)
    waits = [policy.retry_seconds(failures, random=0.0) for failures in (1, 2, 3, 4, 5, 10, 10_000)]
    assert waits == [5, 10, 20, 40, 60, 60, 60]


def test_retries_spread():
    """The random part lengthens a wait by up to a quarter, within the limit."""
    policy = CachePolicy(ttl=1, retry_after_error_seconds=8)
    assert [policy.retry_seconds(1, random=random) for random in (0.0, 0.5, 1.0)] == [8, 9, 10]
    assert policy.retry_seconds(4, random=1.0) == LONGEST_RETRY_SECONDS


def test_longer_first_wait_than_the_limit():
    """Who asks for more than a minute gets it, every time."""
    policy = CachePolicy(ttl=1, retry_after_error_seconds=300)
    assert [policy.retry_seconds(failures, random=1.0) for failures in (1, 5)] == [300, 300]


def test_no_throttle():
    """With 0 every call may try again."""
    policy = CachePolicy(ttl=1, retry_after_error_seconds=0)
    assert policy.retry_seconds(5, random=1.0) == 0
