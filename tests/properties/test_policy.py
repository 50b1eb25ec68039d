"""What is true of every policy, every entry and every moment."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import assume, given, strategies as st

from coalesce_kit.cache.policy import LONGEST_RETRY_SECONDS, CachePolicy, Verdict
from coalesce_kit.entry import MISSING, Entry, Freshness, Lifetimes

seconds = st.one_of(st.just(0.0), st.floats(0.001, 1e6), st.just(math.inf))
finite = st.floats(0.0, 1e6)
moments = st.floats(0.0, 4e6)
chance = st.floats(0.0, 1.0)

policies = st.builds(
    CachePolicy,
    ttl=seconds,
    stale_while_revalidate=seconds,
    stale_if_error=seconds,
    stale_wait_seconds=st.sampled_from([0.0, 0.5]),
    refresh_ahead=st.one_of(st.none(), st.floats(0.01, 0.99)),
    jitter=st.floats(0.0, 0.99),
    retry_after_error_seconds=finite,
)

BEST_FIRST = [Freshness.FRESH, Freshness.STALE, Freshness.FALLBACK, Freshness.EXPIRED]


@st.composite
def sealed(draw: Any) -> tuple[CachePolicy, Entry]:
    """A policy that keeps something, and a value sealed under it at some moment."""
    policy = draw(policies)
    lifetimes = policy.lifetimes("value", random=draw(chance))
    assume(lifetimes is not None)
    return policy, Entry("value", at=draw(moments), lifetimes=lifetimes)


@given(policies, chance)
def test_lifetimes_only_get_shorter(policy: CachePolicy, random: float):
    """Jitter never lengthens a ttl, never takes more than its fraction, and never touches the windows."""
    lifetimes = policy.lifetimes("value", random=random)
    if lifetimes is None:
        assert not policy.keeps_results or policy.ttl * (1 - policy.jitter * random) == 0
        return
    assert policy.ttl * (1 - policy.jitter) <= lifetimes.fresh_seconds * (1 + 1e-12)
    assert lifetimes.fresh_seconds <= policy.ttl
    assert (lifetimes.stale_seconds, lifetimes.fallback_seconds) == (
        policy.stale_while_revalidate,
        policy.stale_if_error,
    )
    assert lifetimes.refresh_after_seconds >= lifetimes.fresh_seconds or policy.refresh_ahead is not None


@given(sealed(), moments, moments)
def test_nothing_gets_fresher(policy_and_entry: tuple[CachePolicy, Entry], one: float, other: float):
    """As time passes, an entry only gets worse."""
    _, entry = policy_and_entry
    earlier, later = sorted([one, other])
    assert BEST_FIRST.index(entry.freshness(earlier)) <= BEST_FIRST.index(entry.freshness(later))


@given(sealed(), moments)
def test_what_is_served_is_usable(policy_and_entry: tuple[CachePolicy, Entry], now: float):
    """Nothing is served that has expired, and what is of no use to a call is of no use at all."""
    policy, entry = policy_and_entry
    verdict = policy.judge(entry, now)
    if now >= entry.usable_until:
        assert verdict is Verdict.FETCH
        assert not policy.masks(OSError(), entry, now)
    if now < entry.fresh_until:
        assert verdict in {Verdict.SERVE, Verdict.SERVE_AND_REFRESH}


@given(sealed(), moments)
def test_compiled_check_agrees_with_the_rules(policy_and_entry: tuple[CachePolicy, Entry], now: float):
    """``now < entry.fresh_until`` is true exactly where the rules call a value fresh."""
    policy, entry = policy_and_entry
    assert (now < entry.fresh_until) == (entry.freshness(now) is Freshness.FRESH)
    if now < min(entry.fresh_until, entry.refresh_at):
        assert policy.judge(entry, now) is Verdict.SERVE


@given(sealed(), moments, st.lists(finite, max_size=5))
def test_throttle_extends_nothing(policy_and_entry: tuple[CachePolicy, Entry], now: float, waits: list[float]):
    """However often a fetch fails, an entry is served no longer, and a failure never makes a call fetch more."""
    policy, entry = policy_and_entry
    before, usable = policy.judge(entry, now), entry.usable_until
    for wait in waits:
        entry.put_off(now + wait)
    assert entry.usable_until == usable
    assert entry.failures == len(waits)
    after = policy.judge(entry, now)
    if now >= entry.usable_until:
        assert after is Verdict.FETCH
    elif waits and now < now + waits[-1] and before is not Verdict.SERVE:
        assert after is Verdict.SERVE


@given(sealed(), moments)
def test_dead_is_dead(policy_and_entry: tuple[CachePolicy, Entry], now: float):
    """Whatever the policy, whatever happened before: an invalidated entry is never given to anybody."""
    policy, entry = policy_and_entry
    entry.put_off(now + 1)
    entry.mark_dead()
    assert policy.judge(entry, now) is Verdict.FETCH
    assert not policy.masks(OSError(), entry, now)
    assert not now < entry.fresh_until


@given(policies, st.integers(1, 10_000), st.integers(1, 10_000), chance)
def test_throttle_grows_within_its_limit(policy: CachePolicy, one: int, other: int, random: float):
    """More failures never mean a shorter wait; no wait is shorter than configured or longer than the limit."""
    fewer, more = sorted([one, other])
    first = policy.retry_after_error_seconds
    assert policy.retry_seconds(fewer, random=random) <= policy.retry_seconds(more, random=random)
    assert first <= policy.retry_seconds(more, random=random) <= max(first, LONGEST_RETRY_SECONDS)


@given(policies, st.floats(0.001, 1e6), moments)
def test_remembered_error_is_all_or_nothing(policy: CachePolicy, life: float, now: float):
    """A remembered error is served for its time and then forgotten: windows and refreshes are for values."""
    entry = Entry(MISSING, at=0.0, lifetimes=Lifetimes(life), error=LookupError())
    assert policy.judge(entry, now) is (Verdict.SERVE if now < life else Verdict.FETCH)
    assert not now < entry.fresh_until
