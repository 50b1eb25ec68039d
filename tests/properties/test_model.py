"""Whatever is done to a decorated function, in whatever order, it does what the reference model says.

Hypothesis calls, cancels, refreshes, primes, invalidates, lets fetches return, fail, hang or ignore their cancellation,
and moves the clock, in virtual time. After every step the loop runs until nothing is runnable, so that the model can
say exactly what has happened by then. That it notices is shown with bugs that are planted in the package.
"""

from __future__ import annotations

import asyncio
import sys

import cachetools
import pytest
from hypothesis import HealthCheck, Phase, settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import coalesce_kit
from coalesce_kit import CachePolicy, Freshness, MemoryCache, RequestCoalescer, coalesced
from coalesce_kit.backends.flight import current_flight
from coalesce_kit.testing.clock import VirtualLoop
from coalesce_kit.testing.leaks import assert_nothing_left
from tests.exploration.history import Answer, OriginError
from tests.exploration.planting import BUGS
from tests.exploration.stage import rules_of
from tests.model import Model, State

TURNS = 15
KEYS = ("nba", "nfl")
TAGS = ("odds", "league:nba", "league:nfl", "weather")
AT_ONCE = {"retry_after_error_seconds": 0}  # the throttle after a failure has tests of its own
POLICIES = [
    None,
    CachePolicy(ttl=10),
    CachePolicy(ttl=10, stale_while_revalidate=20, **AT_ONCE),
    CachePolicy(ttl=10, stale_if_error=20, **AT_ONCE),
    CachePolicy(ttl=10, stale_while_revalidate=10, stale_if_error=20, **AT_ONCE),
    CachePolicy(ttl=10, stale_while_revalidate=20, stale_wait_seconds=5, **AT_ONCE),
    CachePolicy(ttl=10, stale_while_revalidate=10, refresh_ahead=0.5, **AT_ONCE),
    CachePolicy(ttl=10, error_ttl={OriginError: 5}, **AT_ONCE),
    CachePolicy(ttl=10, stale_if_error=20, error_ttl={OriginError: 5}, **AT_ONCE),
]
FRESHNESS = {Freshness.FRESH: State.FRESH, Freshness.STALE: State.STALE, Freshness.FALLBACK: State.FALLBACK}

EAGER = st.booleans() if sys.version_info >= (3, 12) else st.just(False)
some = st.integers(0, 7)
keys = st.sampled_from(KEYS)


class CoalescedFunction(RuleBasedStateMachine):
    """A decorated function, its origin, its callers, and beside them the model."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.loop.clock.__enter__()  # also for what is done outside the loop: invalidating, priming, peeking
        self.coalescer = RequestCoalescer(max_wait_seconds=None, max_flight_seconds=10**9)
        self.latest = 0  # the number of the last fetch, or primed value
        self.fetches = 0
        self.names = 0
        self.answers: dict[int, asyncio.Future[None]] = {}  # what fetches in flight wait for
        self.zombies: dict[int, asyncio.Future[None]] = {}  # the same of those that ignore their cancellation
        self.callers: dict[str, asyncio.Task[Answer]] = {}
        self.waits_for: dict[str, int] = {}
        self.covered: set[str] = set()  # those who wait for a while, and could have something old
        self.held: set[int] = set()  # fetches that go on although nobody waits

    @initialize(policy=st.sampled_from(POLICIES), stubborn=st.booleans(), eager=EAGER, foreign=st.booleans())
    def decorate(self, policy: CachePolicy | None, stubborn: bool, eager: bool, foreign: bool) -> None:
        if eager:
            self.loop.set_task_factory(asyncio.eager_task_factory)
        self.model = Model(rules_of(policy or CachePolicy()))
        self.refreshes_after = 10.0 * policy.refresh_ahead if policy and policy.refresh_ahead else float("inf")
        self.stubborn = stubborn

        # A cache of somebody else's is read under a lock, and not in line by the compiled call.
        cache = MemoryCache(cache=cachetools.LRUCache(100)) if foreign and policy else None

        @coalesced(policy=policy, cache=cache, backend=self.coalescer, tags=("odds", "league:{key}"))
        async def odds(key: str) -> Answer:
            return await self.origin(key)

        self.odds = odds

    async def origin(self, key: str) -> Answer:
        self.fetches += 1
        self.latest = number = self.latest + 1
        for_a_call = not current_flight.get().terms.refresh
        self.model.fetch_begins(number, key, self.now, tags=self.tags_of(key), for_a_call=for_a_call)
        self.answers[number] = self.loop.create_future()
        failed = dropped = False
        try:
            await self.answers[number]
        except OriginError:
            failed = True
            raise
        except asyncio.CancelledError:
            dropped = True
            del self.answers[number]
            self.model.flying[number].good = False
            if not self.stubborn:
                raise
            self.zombies[number] = self.loop.create_future()
            await self.zombies[number]
        finally:
            self.answers.pop(number, None)
            self.model.fetch_ends(number, self.now, failed=failed, dropped=dropped)
        return Answer(key, number)

    # ---- what may happen ----

    @rule(key=keys)
    def call(self, key: str) -> None:
        name, before = self.next_name(), self.fetches
        joinable = self.joinable(key)
        asked = self.model.call_begins(name, key, self.now)
        self.start(name, self.odds(key))
        began = self.fetches - before
        if asked.state is State.FRESH or (asked.state is State.STALE and not self.model.rules.waits_while_stale):
            assert self.collect() == {name}, "what is kept is given at once"
            refreshes = asked.state is State.STALE or self.now - asked.kept.at >= self.refreshes_after
            assert began == (refreshes and joinable is None), "one refresh, if it is time for it"
            if refreshes:
                self.held.add(self.latest if began else joinable or 0)
            return
        assert self.collect() == set(), "there is nothing to be given yet"
        self.wait(name, joinable, began)
        if asked.state is State.STALE:
            self.covered.add(name)
            self.held.add(self.waits_for[name])

    @rule(key=keys)
    def refresh(self, key: str) -> None:
        name, before, joinable = self.next_name(), self.fetches, self.joinable(key)
        self.model.call_begins(name, key, self.now, is_refresh=True)
        self.start(name, self.odds.refresh(key))
        assert self.collect() == set(), "there is nothing to be given yet"
        self.wait(name, joinable, self.fetches - before)

    @precondition(lambda self: self.answers)
    @rule(which=some, fails=st.booleans())
    def fetch_ends(self, which: int, fails: bool) -> None:
        number = sorted(self.answers)[which % len(self.answers)]
        waiting = {name for name, awaited in self.waits_for.items() if awaited == number}
        answer = self.answers.pop(number)
        answer.set_exception(OriginError(number)) if fails else answer.set_result(None)
        self.settle()
        assert self.collect() == waiting, "all who waited for it are told, and nobody else"

    @precondition(lambda self: self.zombies)
    @rule(which=some)
    def zombie_returns(self, which: int) -> None:
        self.zombies.pop(sorted(self.zombies)[which % len(self.zombies)]).set_result(None)
        self.settle()
        assert self.collect() == set(), "nobody is told what comes too late"

    @precondition(lambda self: self.callers)
    @rule(which=some)
    def cancel(self, which: int) -> None:
        name = sorted(self.callers)[which % len(self.callers)]
        number = self.waits_for[name]
        self.callers[name].cancel()
        self.settle()
        assert self.collect() == {name}, "he is cancelled, and nobody else"
        goes_on = number in self.held or number in self.waits_for.values()
        assert (number in self.answers) == goes_on, "a fetch goes on as long as somebody waits for it"

    @rule(what=st.sampled_from([*KEYS, *TAGS, "the function", "everything"]))
    def invalidate(self, what: str) -> None:  # one rule, or programs would invalidate more than they fetch
        if what in KEYS:
            self.odds.invalidate(what)
            self.model.invalidate(key=what)
        elif what in TAGS:
            coalesce_kit.invalidate_tags(what)
            self.model.invalidate(tag=what)
        else:
            (coalesce_kit.invalidate_all if what == "everything" else self.odds.invalidate_all)()
            self.model.invalidate()

    @rule(key=keys)
    def prime(self, key: str) -> None:
        self.latest += 1
        self.odds.prime(Answer(key, self.latest), key)
        self.model.prime(self.latest, key, self.now, tags=self.tags_of(key))

    @rule(seconds=st.sampled_from([1.0, 5.0, 10.0, 20.0]))
    def clock_jumps(self, seconds: float) -> None:
        self.loop.clock.advance(seconds)
        self.settle()
        assert self.collect() <= self.covered, "time alone answers those who could have something old"

    @rule(key=keys, seconds=st.sampled_from([10.0, 15.0, 25.0]))
    def is_kept_and_grows_old(self, key: str, seconds: float) -> None:
        """So that programs come to something stale more often than single steps would."""
        self.prime(key)
        self.clock_jumps(seconds)

    # ---- what has to be true after every step ----

    @invariant()
    def the_same_is_kept(self) -> None:
        for key in KEYS if self.latest else ():
            entry = self.odds.peek(key)
            state, kept = self.model.look(key, self.now)
            if entry is None:
                assert state is State.GONE, f"{kept} is not kept"
            else:
                number = entry.error.args[0] if entry.error is not None else entry.value.number
                assert (FRESHNESS[entry.freshness(self.now)], number) == (state, kept and kept.number)

    @invariant()
    def the_numbers_add_up(self) -> None:
        if self.latest:
            stats = self.odds.stats()
            assert stats.fetches == self.fetches
            assert stats.pending_keys <= len(KEYS)

    def teardown(self) -> None:
        try:
            if self.latest:
                for answer in [*self.answers.values(), *self.zombies.values()]:
                    answer.done() or answer.set_result(None)
                self.settle()
                self.collect()
                assert not self.callers, "everybody is told in the end"
                assert_nothing_left(self.coalescer, loop=self.loop)
        finally:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            for left in self.zombies.values():
                left.cancel()
            self.settle()
            for task in self.callers.values():  # left over where something went wrong
                task.done() and (task.cancelled() or task.exception())
            self.loop.close()
            self.loop.clock.__exit__(None, None, None)

    # ---- tools ----

    @property
    def now(self) -> float:
        return self.loop.time()

    def tags_of(self, key: str) -> frozenset[str]:
        return frozenset({"odds", f"league:{key}"})

    def joinable(self, key: str) -> int | None:
        good = [number for number, fetch in self.model.flying.items() if fetch.key == key and fetch.good]
        assert len(good) <= 1, f"fetches {good} of {key} could all be joined"
        return good[0] if good else None

    def next_name(self) -> str:
        self.names += 1
        return f"caller {self.names}"

    def start(self, name: str, coroutine) -> None:
        self.callers[name] = self.loop.create_task(coroutine, name=name)
        self.settle()

    def wait(self, name: str, joinable: int | None, began: int) -> None:
        assert began == (joinable is None), "one fetch in flight is joined, else one is begun"
        self.waits_for[name] = self.latest if joinable is None else joinable

    def settle(self) -> None:
        """Run the loop until nothing is runnable."""

        async def turns() -> None:
            for _ in range(TURNS):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns())

    def collect(self) -> set[str]:
        """Tell the model of those who have ended, and return them."""
        ended = {name: task for name, task in self.callers.items() if task.done()}
        for name, task in ended.items():
            del self.callers[name]
            self.waits_for.pop(name, None)
            if task.cancelled():
                self.model.call_leaves(name)
                continue
            error = task.exception()
            assert error is None or isinstance(error, OriginError), f"{name} got {error!r}"
            number = task.result().number if error is None else error.args[0]
            self.model.call_ends(name, self.now, number=number, failed=error is not None)
        return set(ended)


QUICK = settings(max_examples=150, stateful_step_count=40, suppress_health_check=list(HealthCheck))


def test_the_function_does_what_the_model_says():
    """No sequence of calls, faults, invalidations and jumps of the clock shows anything that the model excludes."""
    run_state_machine_as_test(CoalescedFunction, settings=QUICK)


LOOKING = settings(
    QUICK, max_examples=600, derandomize=True, database=None, phases=[Phase.generate], report_multiple_bugs=False
)
BY_NAME = {bug.name: bug for bug in BUGS}
NOTICED = [
    "the ticket is not checked at join",
    "the count is not decremented on cancel",
    "the flight is cancelled with its leader",
    "nobody cancels a fetch that nobody waits for",
    "invalidating voids tickets and drops nothing",
    "a tag's invalidation leaves the fetches in the air",
    "a tag's invalidation leaves the entries",
    "prime leaves the fetches in the air",
    "who waits gets nothing",
    "a fallback is given although nothing has failed",
    "a stale value is never refreshed",
]


@pytest.mark.parametrize("name", NOTICED)
def test_a_planted_bug_is_noticed(name):
    """With a bug planted in the package, some sequence shows something that the model excludes."""
    with BY_NAME[name].planted(), pytest.raises(AssertionError):
        run_state_machine_as_test(CoalescedFunction, settings=LOOKING)


def test_without_a_bug_nothing_is_noticed():
    """The very programs that are to notice a planted bug find nothing where there is none."""
    run_state_machine_as_test(CoalescedFunction, settings=LOOKING)
