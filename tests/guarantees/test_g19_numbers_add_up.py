"""G19: every call is counted exactly once, so the numbers add up: per function, per coalescer and in total."""

import asyncio
import gc
import random
from collections import Counter
from typing import Any

import pytest

from coalesce_kit import CoalescerStats, RequestCoalescer, coalesced, get_stats_registry
from tests.fakes import Origin, outcomes, start, turns


def add_up(numbers: CoalescerStats) -> int:
    """Return how many calls were counted, as the sum of what became of each."""
    return (
        numbers.cache_hits
        + numbers.stale_hits
        + numbers.coalesced_requests
        + numbers.led_requests
        + numbers.rejected_requests
    )


class Unkeyable:
    """An argument that makes no key: it is compared by identity."""


class Chaos:
    """Calls of several functions over two coalescers, an upstream that does as it likes, and a ledger of every call.

    What is done, and in which order, is chosen by a seeded generator: a seed is a script.

    Attributes:
        called: how many calls of each function have begun.
        reached: how many calls have got as far as each coalescer.
        refused: how many calls of each function had arguments that make no key.
        bypassed: how many runs of a function nobody counts.
        invalidated: how many invalidations there were of each function.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.choose = random.Random(seed)
        self.before = get_stats_registry().snapshot().totals.total_requests
        self.called: Counter[str] = Counter()
        self.reached: Counter[RequestCoalescer] = Counter()
        self.refused: Counter[str] = Counter()
        self.bypassed: Counter[str] = Counter()
        self.invalidated: Counter[str] = Counter()
        self.tasks: list[asyncio.Task[Any]] = []
        self.held: list[asyncio.Future[Any]] = []
        self.functions: dict[str, Any] = {}
        self.backends: dict[str, RequestCoalescer] = {}
        busy = RequestCoalescer(max_wait_seconds=3, max_flight_seconds=20)
        calm = RequestCoalescer(max_wait_seconds=None)
        self.decorate("plain", busy)
        self.decorate("impatient", busy, max_wait_seconds=1, fetch_timeout_seconds=2)
        self.decorate("patient", calm, fetch_timeout_seconds=7)
        self.decorate("finishing", calm, on_abandon="finish", max_wait_seconds=2, fetch_timeout_seconds=9)
        self.decorated = tuple(self.functions)
        self.backends["alone"] = busy
        self.functions["alone"] = lambda key: busy.get_or_fetch(key, lambda: self.fetch("alone", key))

    def decorate(self, name: str, backend: RequestCoalescer, **options: Any) -> None:
        async def function(key: Any) -> Any:
            return await self.fetch(name, key)

        self.functions[name] = coalesced(name=f"{name} {self.seed}", backend=backend, **options)(function)
        self.backends[name] = backend

    async def fetch(self, name: str, key: Any) -> Any:
        """Ask the upstream, or do as the key says: wait for itself, for another fetch, or return what is used once."""
        if key == "itself":
            return await self.call(name, key)
        if key == "another":
            return await self.call("patient", "nfl")
        if key == "iterator":
            return iter(())
        self.held.append(asyncio.get_running_loop().create_future())
        return await self.held[-1]

    async def call(self, name: str, key: Any) -> Any:
        """Make one call; enter it into the ledger in the step in which it begins."""
        unkeyable = isinstance(key, Unkeyable)
        self.called[name] += 1
        self.refused[name] += unkeyable
        self.reached[self.backends[name]] += not unkeyable
        return await self.functions[name](key)

    # ---- what can happen ----

    async def step(self) -> None:
        """Do one thing."""
        things = {
            self.herd: 8,
            self.leave: 4,
            self.answer: 4,
            self.fail: 2,
            self.wait: 3,
            self.refuse: 1,
            self.invalidate: 1,
            self.look: 1,
        }
        (thing,) = self.choose.choices([*things], weights=[*things.values()])
        await thing()

    async def herd(self) -> None:
        name = self.choose.choice([*self.functions])
        key = self.choose.choice(["nfl", "nba"] * 3 + ["itself", "another", "iterator"])
        self.tasks += start(*(self.call(name, key) for _ in range(self.choose.randrange(1, 6))))
        if self.choose.random() < 0.2:
            self.tasks[-1].cancel()  # before it has begun, unless tasks are eager
        await turns(self.choose.randrange(3))

    async def refuse(self) -> None:
        self.tasks += start(self.call(self.choose.choice(self.decorated), Unkeyable()))

    async def leave(self) -> None:
        waiting = [task for task in self.tasks if not task.done()]
        for task in self.choose.sample(waiting, min(len(waiting), self.choose.choice([1, 2, 5, 100]))):
            task.cancel()
        await turns(self.choose.randrange(2))

    async def answer(self) -> None:
        for future in self.some_held():
            future.set_result(self.choose.choice([None, 0, "answer"]))
        await turns(self.choose.randrange(3))

    async def fail(self) -> None:
        errors = [LookupError("down"), asyncio.CancelledError("inside"), TimeoutError(), OSError(2, "no such upstream")]
        for future in self.some_held():
            future.set_exception(self.choose.choice(errors))
        await turns(self.choose.randrange(3))

    async def wait(self) -> None:
        await asyncio.sleep(self.choose.choice([0.5, 1, 2.5, 6]))

    async def invalidate(self) -> None:
        name = self.choose.choice(self.decorated)
        self.invalidated[name] += 1
        if self.choose.random() < 0.5:
            self.functions[name].invalidate("nfl")
        else:
            self.functions[name].invalidate_all()
        self.backends["alone"].forget("nfl")

    async def look(self) -> None:
        """Do what is outside of the sum."""
        name = self.choose.choice(self.decorated)
        function = self.functions[name]
        function.explain("nfl")
        function.cache_key("nfl")
        function("nfl").close()  # never awaited, so it is no call
        await function.origin("iterator")
        self.bypassed[name] += 1

    def some_held(self) -> list[asyncio.Future[Any]]:
        self.held = [future for future in self.held if not future.done()]
        return self.choose.sample(self.held, min(len(self.held), self.choose.randrange(1, 4)))

    # ---- what must hold ----

    def check(self) -> None:
        """Compare the numbers with the ledger, at this very moment."""
        snapshot = get_stats_registry().snapshot()
        for name in self.decorated:
            numbers = snapshot.functions[f"{name} {self.seed}"]
            assert add_up(numbers) == numbers.total_requests == self.called[name]
            assert numbers.rejected_requests == numbers.recursions_refused + self.refused[name]
            assert numbers.bypassed_requests == self.bypassed[name]
            assert numbers.invalidations == self.invalidated[name]
            check_one(numbers)
        totals = snapshot.totals
        assert add_up(totals) == totals.total_requests
        assert totals.total_requests - self.before == sum(self.called[name] for name in self.decorated)
        for backend, reached in self.reached.items():
            numbers = backend.statistics()
            assert add_up(numbers) == numbers.total_requests == reached
            check_one(numbers)

    async def end(self) -> None:
        """Cut what is open, and compare what is left of it: nothing."""
        for task in self.tasks:
            task.cancel()
        await turns()
        for backend in set(self.backends.values()):
            await backend.aclose(deadline_seconds=0)
        ends = await outcomes(start(*(self.call(name, "nfl") for name in self.functions)))  # refused: it is closed
        self.refused.update(self.decorated)
        assert {type(end).__name__ for end in ends} == {"CoalescerClosedError"}
        self.check()
        for numbers in (
            *(self.functions[name].stats() for name in self.decorated),
            *(backend.statistics() for backend in self.backends.values()),
        ):
            assert (numbers.in_flight, numbers.waiters, numbers.pending_keys, numbers.zombies) == (0, 0, 0, 0)
            assert numbers.ended_waits == numbers.coalesced_requests
            assert numbers.fetch_latency.count == numbers.fetches


def check_one(numbers: CoalescerStats) -> None:
    """Check what must hold of one row of numbers at any moment."""
    ended_badly = numbers.fetch_errors + numbers.fetch_cancelled + numbers.fetch_timeouts
    assert ended_badly <= numbers.fetch_latency.count <= numbers.fetches <= numbers.led_requests
    assert numbers.fetches - numbers.fetch_latency.count <= numbers.in_flight
    assert numbers.ended_waits + numbers.waiters == numbers.coalesced_requests
    assert numbers.wait_timeouts <= numbers.ended_waits
    assert numbers.error_fanout <= numbers.ended_waits
    assert numbers.abandoned_fetches <= numbers.led_requests
    assert 0 <= numbers.calls_saved_percent <= 100
    assert 0 <= numbers.hit_rate_percent <= 100


@pytest.mark.on_every_loop
async def test_g19_the_sum_holds_through_chaos(virtual_time: object) -> None:
    """Joins, leads, refusals, leavers, failures and time-outs in any order: no call is lost or counted twice."""
    for seed in range(5):
        chaos = Chaos(seed)
        for _ in range(150):
            await chaos.step()
            chaos.check()
        await chaos.end()
        del chaos
        gc.collect()  # its functions are gone, and their numbers stay in the totals

    met = get_stats_registry().snapshot().totals
    assert min(met.coalesced_requests, met.led_requests, met.rejected_requests, met.recursions_refused) > 10
    assert min(met.fetch_errors, met.fetch_cancelled, met.fetch_timeouts) > 0
    assert min(met.wait_timeouts, met.abandoned_fetches, met.error_fanout, met.invalidations) > 0


class ImpatientChaos(Chaos):
    """Waits for nothing: for loops on which time is real."""

    async def wait(self) -> None:
        await turns(self.choose.randrange(1, 4))


@pytest.mark.on_every_loop
async def test_g19_the_sum_holds_on_real_loops() -> None:
    """The same without time-outs, on the loops that people use."""
    for seed in range(3):
        chaos = ImpatientChaos(seed)
        for _ in range(100):
            await chaos.step()
            chaos.check()
        await chaos.end()


@pytest.mark.on_every_loop
async def test_g19_a_call_is_counted_when_it_is_decided() -> None:
    """A call is in the sum from its first step on, before it has an answer, and stays what it was."""
    origin = Origin()

    @coalesced
    async def odds(league: str) -> Any:
        return await origin(league)

    coroutine = odds("nba")
    assert odds.stats().total_requests == 0
    coroutine.send(None)
    assert (odds.stats().led_requests, odds.stats().total_requests) == (1, 1)
    tasks = start(odds("nba"), odds("nba"))
    await turns()
    assert (odds.stats().coalesced_requests, odds.stats().total_requests) == (2, 3)
    tasks[0].cancel()
    coroutine.close()
    origin.answer()
    await outcomes(tasks)

    assert (odds.stats().led_requests, odds.stats().coalesced_requests, odds.stats().total_requests) == (1, 2, 3)


async def test_g19_a_waiter_that_times_out_stays_coalesced(virtual_time: object) -> None:
    """A time-out is a second, named event of a call that was counted when it joined."""
    origin = Origin()

    @coalesced(max_wait_seconds=1)
    async def odds() -> Any:
        return await origin()

    tasks = start(odds(), odds())
    await asyncio.sleep(2)
    numbers = odds.stats()
    assert (numbers.coalesced_requests, numbers.wait_timeouts, numbers.total_requests) == (1, 1, 2)
    origin.answer()
    await outcomes(tasks)

    assert odds.stats().total_requests == 2


async def test_g19_numbers_of_functions_that_are_gone_stay_in_the_total() -> None:
    """When a function dies, the totals still add up to all calls that were ever made."""

    async def answer() -> str:
        return "answer"

    lasting = coalesced(name="lasting")(answer)
    for number in range(5):
        passing = coalesced(name=f"passing {number}")(answer)
        await asyncio.gather(lasting(), passing(), passing())
        del passing
        gc.collect()
        snapshot = get_stats_registry().snapshot()
        assert add_up(snapshot.gone) == 2 * (number + 1)
        assert add_up(snapshot.totals) == snapshot.totals.total_requests == 3 * (number + 1)


async def test_g19_the_seven_original_numbers() -> None:
    """The numbers that were there first mean what they meant: a hundred callers, one call, 99 of them coalesced."""
    origin = Origin()

    @coalesced
    async def fixtures() -> Any:
        return await origin()

    tasks = start(*(fixtures() for _ in range(100)))
    await turns()
    assert fixtures.stats().pending_keys == 1
    origin.answer()
    await outcomes(tasks)
    numbers = fixtures.stats()

    assert (numbers.total_requests, numbers.coalesced_requests, numbers.api_calls_made) == (100, 99, 1)
    assert (numbers.hit_rate_percent, numbers.calls_saved_percent) == (99.0, 99.0)
    assert numbers.max_concurrent_waiters == 99
    assert numbers.avg_wait_time_ms > 0
    assert numbers.pending_keys == 0
