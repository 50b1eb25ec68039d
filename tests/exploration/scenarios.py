"""The scenarios: small programs, and all that may happen to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from coalesce_kit import CachePolicy
from coalesce_kit.errors import (
    CoalescerClosedError,
    FetchCancelledError,
    FetchTimeoutError,
    RecursiveFetchError,
    WaitTimeoutError,
)
from coalesce_kit.testing.explorer import Scenario
from coalesce_kit.testing.world import World
from tests.exploration import invariants
from tests.exploration.history import OriginError
from tests.exploration.stage import Odds


def callers(count: int, *, cancels: int, invalidations: int = 1, **options: object) -> Scenario:
    """Some callers of one key, so many cancellations of any of them, and an invalidation."""
    odds = Odds(**options)

    def scenario(world: World) -> None:
        stage = odds.on(world, max_wait_seconds=None)
        stage.may_cancel(stage.callers(*"abcd"[:count]), times=cancels)
        if invalidations:
            stage.invalidates()

    return scenario


def cut_inside() -> Scenario:
    """What a fetch runs inside is cancelled, by none of its callers, of whom one may be cancelled."""
    odds = Odds(fails=False, cut_inside=True)

    def scenario(world: World) -> None:
        stage = odds.on(world, max_wait_seconds=None)
        stage.history.allowed = (FetchCancelledError,)
        stage.checks.append(invariants.g04_a_cut_inside_is_an_error)
        stage.may_cancel(stage.callers("a", "b", "c"))

    return scenario


def over_age() -> Scenario:
    """A fetch grows too old to be joined; then it, a newer one and an invalidation race for the cache."""
    odds = Odds(fails=False, ttl=1000)

    def scenario(world: World) -> None:
        stage = odds.on(world, max_wait_seconds=None, max_flight_seconds=10)
        a, b, _ = stage.callers("a", "b", "c")
        world.event("it grows old", lambda: world.pass_time(11), when=lambda: a.is_running)
        stage.may_cancel([b])
        stage.invalidates()

    return scenario


def over_age_in_order() -> Scenario:
    """The same without a cache: who leads anew, who is cancelled, and what is left."""
    odds = Odds()

    def scenario(world: World) -> None:
        stage = odds.on(world, max_wait_seconds=None, max_flight_seconds=10)
        a, b, c = stage.callers("a", "b", "c")
        world.event("it grows old", lambda: world.pass_time(11), when=lambda: a.is_running)
        stage.may_cancel([a, b, c])

    return scenario


def invalidated_while_loading() -> Scenario:
    """Invalidate, load anew, and the old fetch would publish: three callers one after the other, kept results."""
    odds = Odds(fails=False, ttl=1000)

    def scenario(world: World) -> None:
        stage = odds.on(world, max_wait_seconds=None)
        stage.callers("a", "b", "c")
        stage.invalidates("invalidate")
        stage.invalidates("invalidate all", by=odds.function.invalidate_all)

    return scenario


def kept() -> Scenario:
    """Results are kept: three callers, a failure, a cancellation, an invalidation."""
    odds = Odds(ttl=1000)

    def scenario(world: World) -> None:
        stage = odds.on(world, max_wait_seconds=None)
        stage.may_cancel(stage.callers("a", "b", "c"))

    return scenario


SWR = CachePolicy(ttl=10, stale_while_revalidate=100)
SWR_AFTER_WAITING = CachePolicy(ttl=10, stale_while_revalidate=100, stale_wait_seconds=1)


def stale(readers: int = 2, *, policy: CachePolicy = SWR, cancels: int = 0, fails: bool = True) -> Scenario:
    """A stale value, readers, a refresh in the background, and an invalidation."""
    odds = Odds(policy=policy, fails=fails)

    def scenario(world: World) -> None:
        stage = odds.on(world, max_wait_seconds=None)
        stage.prime()
        world.pass_time(20)
        who = stage.callers(*"abc"[:readers])
        stage.invalidates()
        if cancels:
            stage.may_cancel(who, times=cancels)
        else:
            world.always(stage.check_one_refresh)

    return scenario


def expiring() -> Scenario:
    """Readers of a value that becomes stale, then useless, while they come."""
    odds = Odds(policy=SWR, fails=False)

    def scenario(world: World) -> None:
        stage = odds.on(world, max_wait_seconds=None)
        stage.prime()
        stage.callers("a", "b", "c")
        world.event("it grows stale", lambda: world.pass_time(20))
        world.event("it expires", lambda: world.pass_time(100))

    return scenario


def falling_back() -> Scenario:
    """A value that may be given if a fetch fails: readers, failures, an invalidation in between."""
    odds = Odds(policy=CachePolicy(ttl=10, stale_if_error=100, retry_after_error_seconds=0))

    def scenario(world: World) -> None:
        stage = odds.on(world, max_wait_seconds=None)
        stage.prime()
        world.pass_time(20)
        stage.callers("a", "b")
        stage.invalidates()

    return scenario


def refresh_races() -> Scenario:
    """``refresh``, a load and an invalidation of one key."""
    odds = Odds(ttl=1000)

    def scenario(world: World) -> None:
        stage = odds.on(world, max_wait_seconds=None)
        stage.callers("a", "b")
        stage.refresher("r")
        stage.invalidates()

    return scenario


def refresh_is_cancelled() -> Scenario:
    """``refresh`` and callers share a fetch, and any of them is cancelled."""
    odds = Odds(fails=False, ttl=1000)

    def scenario(world: World) -> None:
        stage = odds.on(world, max_wait_seconds=None)
        who = stage.callers("a", "b")
        stage.may_cancel([*who, stage.refresher("r")], times=2)

    return scenario


def prime_races() -> Scenario:
    """``prime``, loads, a cancellation, and time in which what was primed expires."""
    odds = Odds(ttl=10)

    def scenario(world: World) -> None:
        stage = odds.on(world, max_wait_seconds=None)
        stage.may_cancel(stage.callers("a", "b", "c")[:1])
        stage.primes()
        stage.waits(20)

    return scenario


def refresh_races_prime() -> Scenario:
    """``refresh``, two loads and ``prime``: who refreshes is never given what was primed."""
    odds = Odds(fails=False, ttl=1000)

    def scenario(world: World) -> None:
        stage = odds.on(world, max_wait_seconds=None)
        stage.callers("a", "b")
        stage.refresher("r")
        stage.primes()

    return scenario


def patient_reader() -> Scenario:
    """A reader waits a while for the fetch that a ``refresh`` has begun, and either of them leaves."""
    odds = Odds(policy=SWR_AFTER_WAITING, fails=False)

    def scenario(world: World) -> None:
        stage = odds.on(world, max_wait_seconds=None)
        stage.prime()
        world.pass_time(20)
        stage.may_cancel([stage.refresher("r"), *stage.callers("a")], times=2)

    return scenario


def prime_without_cache() -> Scenario:
    """``prime`` where nothing is kept: nobody joins what began before."""
    odds = Odds(fails=False)

    def scenario(world: World) -> None:
        stage = odds.on(world, max_wait_seconds=None)
        stage.callers("a", "b", "c")
        stage.invalidates("prime", by=lambda: odds.function.prime(None, "nba"))

    return scenario


def tags() -> Scenario:
    """Two keys with a tag in common, invalidated by it while they are loaded and read."""
    odds = Odds(fails=False, ttl=1000, tags=("odds", "league:{key}"))

    def scenario(world: World) -> None:
        stage = odds.on(world, max_wait_seconds=None)
        stage.callers("a", "b", key="nba")
        stage.callers("x", key="nfl")
        stage.invalidates_tags("the tag", "odds", keys=["nba", "nfl"])

    return scenario


def two_tags() -> Scenario:
    """One key, invalidated by either of its tags and by name."""
    odds = Odds(fails=False, ttl=1000, tags=("odds", "league:{key}"))

    def scenario(world: World) -> None:
        stage = odds.on(world, max_wait_seconds=None)
        stage.callers("a", "b", "c")
        stage.invalidates_tags("one tag", "odds", keys=["nba"])
        stage.invalidates_tags("the other", "league:nba", "league:nfl", keys=["nba"])

    return scenario


def remembered_failure() -> Scenario:
    """Failures are remembered for a while, unless they were invalidated."""
    odds = Odds(policy=CachePolicy(ttl=1000, error_ttl={OriginError: 5}))

    def scenario(world: World) -> None:
        stage = odds.on(world, max_wait_seconds=None)
        stage.callers("a", "b", "c")
        stage.invalidates()

    return scenario


def closing() -> Scenario:
    """``aclose()`` races two callers and a cancellation."""
    odds = Odds(fails=False)

    def scenario(world: World) -> None:
        stage = odds.on(world, max_wait_seconds=None)
        stage.history.allowed = (CoalescerClosedError, FetchCancelledError)
        stage.may_cancel(stage.callers("a", "b"))
        world.caller("closing", lambda: stage.close(deadline_seconds=5))

    return scenario


def closing_with_refresh() -> Scenario:
    """``coalesce_kit.aclose()`` races a reader of a stale value and the refresh that he starts."""
    odds = Odds(policy=SWR, fails=False)

    def scenario(world: World) -> None:
        stage = odds.on(world, max_wait_seconds=None)
        stage.history.allowed = (FetchCancelledError,)
        stage.prime()
        world.pass_time(20)
        stage.callers("a", "b")
        world.caller("closing", lambda: stage.close_all(deadline_seconds=5))

    return scenario


def cycle() -> Scenario:
    """x asks y and y asks x, begun by two callers, one of whom may be cancelled."""
    odds = Odds(fails=False)
    odds.asks("x", "y")
    odds.asks("y", "x")

    def scenario(world: World) -> None:
        stage = odds.on(world, max_wait_seconds=None)
        stage.history.allowed = (RecursiveFetchError,)
        stage.checks.append(invariants.everybody_is_refused)
        first, second = stage.callers("a", key="x"), stage.callers("b", key="y")
        stage.may_cancel([*first, *second])

    return scenario


def former_cycle() -> Scenario:
    """x asks z and goes on without it after a while; z asks x then, which waits for it no longer."""
    odds = Odds(fails=False)
    odds.asks("x", "z", patience=5)
    odds.asks("z", "x", later=True)

    def scenario(world: World) -> None:
        stage = odds.on(world, max_wait_seconds=None)
        stage.history.allowed = (RecursiveFetchError,)
        stage.callers("a", key="x")
        stage.callers("b", key="z")

    return scenario


def diamond() -> Scenario:
    """x and y both ask z: no cycle, so nobody is refused."""
    odds = Odds(fails=False)
    odds.asks("x", "z")
    odds.asks("y", "z")

    def scenario(world: World) -> None:
        stage = odds.on(world, max_wait_seconds=None)
        first, second = stage.callers("a", key="x"), stage.callers("b", key="y")
        stage.may_cancel([*first, *second])

    return scenario


def waiting_times_out(
    count: int = 3, *, cancels: int = 0, time_passes: Literal["anywhere", "when idle"] = "when idle"
) -> Scenario:
    """Waiters who come one after the other, and a fetch that takes longer than they may wait."""
    odds = Odds(fails=False)

    def scenario(world: World) -> None:
        world.time_passes = time_passes
        stage = odds.on(world, max_wait_seconds=5)
        stage.history.allowed = (WaitTimeoutError, FetchCancelledError)
        who = stage.callers(*"abc"[:count])
        stage.waits(3)
        stage.waits(10, "much time goes by")
        if cancels:
            stage.may_cancel(who, times=cancels)

    return scenario


def fetch_times_out() -> Scenario:
    """A fetch that ignores its cancellation runs into its limit, while others come."""
    odds = Odds(fails=False, swallows=True, fetch_timeout_seconds=5, ttl=1000)

    def scenario(world: World) -> None:
        stage = odds.on(world, max_wait_seconds=None)
        stage.history.allowed = (FetchTimeoutError,)
        stage.callers("a", "b")
        stage.invalidates()
        stage.waits(10)

    return scenario


def zombies() -> Scenario:
    """Fetches that ignore their cancellation: all callers leave, others come, something is invalidated."""
    odds = Odds(fails=False, swallows=True, ttl=1000)

    def scenario(world: World) -> None:
        stage = odds.on(world, max_wait_seconds=None)
        stage.may_cancel(stage.callers("a", "b", "c"), times=2)

    return scenario


def finishing() -> Scenario:
    """``on_abandon="finish"``: a fetch goes on when all have left, and is joined by who comes."""
    odds = Odds(fails=False, on_abandon="finish", ttl=1000)

    def scenario(world: World) -> None:
        stage = odds.on(world, max_wait_seconds=None)
        stage.may_cancel(stage.callers("a", "b", "c"), times=2)

    return scenario


def two_loops(cancels: int = 0, *, invalidations: int = 1, second: str = "xy", **options: object) -> Scenario:
    """Callers of one key on two loops that take turns, and an invalidation: fetches per loop, one cache."""
    odds = Odds(fails=False, ttl=1000, **options)

    def scenario(world: World) -> None:
        stage = odds.on(world, max_wait_seconds=None)
        other = world.another_loop("second")
        here, there = stage.callers("a"), stage.callers(*second, loop=other)
        if cancels:
            stage.may_cancel([*here, *there], times=cancels)
        if invalidations:
            stage.invalidates()

    return scenario


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table.

    Attributes:
        build: makes the scenario.
        large: too large to be exhausted in the ordinary tests: sampled there, exhausted with the larger budget.
        samples: too large to be exhausted at all: how many schedules are sampled with the larger budget.
        always: exhausted by ``make test-all``, too, whatever its budget: the scope that is promised.
    """

    build: Callable[[], Callable[[World], None]]
    large: bool = False
    samples: int = 0
    always: bool = False


CASES: dict[str, Case] = {
    # What a fetch does is in every scenario: it succeeds or, unless its stage says otherwise, fails.
    "leader and 2 waiters, 2 cancels, 1 invalidation": Case(lambda: callers(3, cancels=2), large=True, always=True),
    "leader and 2 waiters, 1 cancel, 1 invalidation": Case(lambda: callers(3, cancels=1), large=True),
    "leader and 2 waiters, 2 cancels": Case(lambda: callers(3, cancels=2, invalidations=0), large=True),
    "leader and 2 waiters, 1 cancel": Case(lambda: callers(3, cancels=1, invalidations=0)),
    "leader and 2 waiters, 1 invalidation": Case(lambda: callers(3, cancels=0)),
    "leader and 1 waiter, 2 cancels, 1 invalidation": Case(lambda: callers(2, cancels=2), large=True),
    "leader and 1 waiter, 1 cancel, 1 invalidation": Case(lambda: callers(2, cancels=1), large=True),
    "leader and 1 waiter, a fetch of 2 steps, 1 cancel, 1 invalidation": Case(
        lambda: callers(2, cancels=1, steps=1), large=True
    ),
    "cancelled from inside, 2 waiters, 1 cancel": Case(cut_inside),
    "over age": Case(over_age_in_order, large=True),
    "over age, kept": Case(over_age, large=True),
    "kept": Case(kept),
    "invalidated while loading": Case(invalidated_while_loading, large=True),
    "stale, 2 readers, 1 invalidation": Case(stale),
    "stale, 3 readers, 1 invalidation, 2 cancels": Case(lambda: stale(3, cancels=2), large=True),
    "stale, 2 readers who wait, 1 invalidation": Case(lambda: stale(policy=SWR_AFTER_WAITING)),
    "stale, a refresh and a reader who waits, 2 cancels": Case(patient_reader),
    "stale, then expired, 3 readers": Case(expiring, large=True),
    "stale on error, 2 readers, 1 invalidation": Case(falling_back),
    "remembered failure": Case(remembered_failure),
    "refresh and invalidate race a load": Case(refresh_races, large=True),
    "refresh, 2 callers, 2 cancels": Case(refresh_is_cancelled, large=True),
    "prime races a load": Case(prime_races, large=True),
    "refresh and prime race a load": Case(refresh_races_prime, large=True),
    "prime without a cache": Case(prime_without_cache),
    "a tag of two keys": Case(tags, large=True),
    "two tags of a key": Case(two_tags, large=True),
    "aclose() races a call": Case(closing),
    "aclose() races a refresh": Case(closing_with_refresh),
    "recursion in a cycle, 1 cancel": Case(cycle),
    "recursion in a cycle that has ended": Case(former_cycle),
    "recursion without a cycle, 1 cancel": Case(diamond, large=True),
    "waiting times out": Case(waiting_times_out, large=True),
    "waiting times out, 1 cancel": Case(lambda: waiting_times_out(2, cancels=1), large=True),
    "waiting times out, 1 cancel, the timer rings at any moment": Case(
        lambda: waiting_times_out(2, cancels=1, time_passes="anywhere"), large=True
    ),
    "a fetch times out": Case(fetch_times_out, large=True),
    "zombies, 2 cancels": Case(zombies, large=True),
    "on_abandon=finish, 2 cancels": Case(finishing, large=True),
    "two loops, 2 callers": Case(lambda: two_loops(second="x", invalidations=0)),
    "two loops, 2 callers, 1 invalidation": Case(lambda: two_loops(second="x"), large=True),
    "two loops, 2 callers, 1 cancel": Case(lambda: two_loops(1, second="x", invalidations=0), large=True),
    "two loops, 3 callers": Case(lambda: two_loops(invalidations=0), large=True),
    "two loops, 3 callers, 1 cancel, 1 invalidation": Case(lambda: two_loops(1), large=True, samples=20_000),
}


def scenario_of(name: str) -> Scenario:
    """Return a scenario of the table, which says in a failure how it is made."""
    scenario = CASES[name].build()
    scenario.__name__ = f"scenario_of({name!r})"
    return scenario
