"""What the plugin's fixtures do, as context managers."""

from __future__ import annotations

import asyncio
import time

import pytest

from coalesce_kit import RequestCoalescer, coalesced, get_request_coalescer
from coalesce_kit.backends.distributed import DistributedCoalescer
from coalesce_kit.clock import clock
from coalesce_kit.stores.memory import MemoryServer, MemoryStore
from coalesce_kit.testing.clock import VirtualClock, run
from coalesce_kit.testing.fixtures import isolated, switched_off, virtual_clock
from tests.fakes import Origin, start, turns


def keeping():
    """A function that keeps its results, and the list of its fetches."""
    fetched = []

    @coalesced(ttl=60)
    async def odds(league="nba"):
        fetched.append(league)
        return [league]

    return odds, fetched


def test_isolated_begins_and_ends_with_nothing():
    """Results and numbers from before are not seen inside, and those of inside not afterwards, also after a failure."""
    odds, fetched = keeping()
    asyncio.run(odds())
    outer = get_request_coalescer()
    with pytest.raises(LookupError), isolated():
        assert odds.stats().total_requests == 0
        assert get_request_coalescer() is not outer
        asyncio.run(odds())
        raise LookupError
    assert odds.peek() is None
    assert odds.stats().total_requests == 0
    assert len(fetched) == 2


class Forwarding:
    """A coalescer of somebody else's: nothing but what the protocol has."""

    def __init__(self):
        self._inner = RequestCoalescer()
        self.get_or_fetch = self._inner.get_or_fetch
        self.forget = self._inner.forget
        self.flights = self._inner.flights


def fleet():
    """A coalescer that shares over a store."""
    return DistributedCoalescer(MemoryStore(MemoryServer()))


@pytest.mark.parametrize("make", [RequestCoalescer, Forwarding, fleet])
async def test_a_fetch_that_was_begun_on_a_backend_is_not_joined(make):
    """Also one that no decorated function has begun; those who wait for it keep it."""
    backend, origin = make(), Origin()
    used = coalesced(backend=backend, name="used", key="used")(origin_of(origin))
    calls = start(backend.get_or_fetch("key", origin))
    await turns()
    with isolated():
        calls += start(backend.get_or_fetch("key", origin))
        await turns()
        assert origin.working == 2
    calls += start(backend.get_or_fetch("key", origin))
    await turns()
    assert origin.working == 3
    for number in range(3):
        origin.answer(number)
    assert await asyncio.gather(*calls) == [0, 1, 2]
    assert used.stats().total_requests == 0


def test_a_fetch_on_another_loop_is_not_joined():
    """Whatever loop runs, or none, while everything is made new."""
    backend, origin = RequestCoalescer(), Origin()
    used = coalesced(backend=backend)(origin_of(origin))
    with asyncio.Runner() as runner:

        async def ask_twice(calls):
            calls += start(backend.get_or_fetch("key", origin))
            await turns()
            return calls

        async def isolate():
            with isolated():
                pass

        async def answer(calls):
            for number in range(2):
                origin.answer(number)
            return await asyncio.gather(*calls)

        calls = runner.run(ask_twice([]))
        asyncio.run(isolate())
        assert runner.run(answer(runner.run(ask_twice(calls)))) == [0, 1]
    assert used.stats().total_requests == 0


@pytest.mark.parametrize("make", [RequestCoalescer, fleet])
async def test_the_numbers_of_a_backend_are_new(make):
    """As those of every function."""
    backend = make()
    used = coalesced(backend=backend, name="used", key="used")(origin_of(asyncio.sleep))
    await backend.get_or_fetch("key", lambda: asyncio.sleep(0))
    assert backend.statistics().fetches == 1
    with isolated():
        assert backend.statistics().total_requests == backend.statistics().fetches == 0
        await backend.get_or_fetch("key", lambda: asyncio.sleep(0))
    assert backend.statistics().total_requests == 0
    assert used.stats().total_requests == 0


async def test_a_warning_is_given_in_every_isolated_block(caplog):
    """What one test was warned of, the next one is warned of, too, and why a result was not kept is forgotten."""

    @coalesced(ttl=lambda _: 1 / 0)
    async def odds():
        return 1.9

    for _ in range(2):
        with isolated():
            await odds()
            await odds()
            odds.invalidate()
    assert [record.msg.partition(":")[0] for record in caplog.records] == ["policy_error"] * 2


async def test_why_a_result_was_not_kept_is_forgotten():
    """It was another test's result."""

    @coalesced(ttl=lambda _: None)
    async def odds():
        return 1.9

    await odds()
    assert "was not kept" in str(odds.explain())
    with isolated():
        assert "was not kept" not in str(odds.explain())


async def test_what_a_fetch_leaves_that_was_in_the_air():
    """It is not counted as a fetch of the block in which it ends, but its time is: that is as documented."""
    origin = Origin()
    odds = coalesced(ttl=60)(origin_of(origin))
    calls = start(odds())
    await turns()
    with isolated():
        origin.answer()
        await asyncio.gather(*calls)
        stats = odds.stats()
        assert (stats.total_requests, stats.fetches, stats.fetch_latency.count) == (0, 0, 1)
        assert stats.stale_publishes_refused == 1


def origin_of(origin):
    """An async function that asks an origin."""

    async def ask() -> str:
        return await origin()

    return ask


def test_the_virtual_clock_reaches_what_was_decorated_before():
    """Results of a function that lived already grow old when the clock is moved."""
    odds, fetched = keeping()
    with virtual_clock(1000.0) as time_of_the_package:
        assert time_of_the_package.now() == 1000.0
        for seconds in (0, 59, 1):
            time_of_the_package.advance(seconds)
            asyncio.run(odds())
    assert len(fetched) == 2
    assert clock.now is time.monotonic


def test_in_a_virtual_loop_it_is_the_loops_time_that_moves():
    """Whoever moves the package's time in a virtual loop moves its timers too."""

    async def story(time_of_the_package):
        sleeping = asyncio.get_running_loop().create_task(asyncio.sleep(50))
        await asyncio.sleep(0)
        time_of_the_package.advance(50)
        await sleeping
        return time_of_the_package.now()

    with virtual_clock() as time_of_the_package:
        assert run(story(time_of_the_package), time=VirtualClock(7.0)) == 57.0
        assert time_of_the_package.now() == 0.0


def test_switched_off_functions_run_their_original():
    """Nothing is shared, kept or counted inside, and afterwards it is as before; what was off stays off."""
    odds, fetched = keeping()
    never = coalesced(ttl=60, enabled=False)(odds.__wrapped__)
    asyncio.run(odds())
    with switched_off():
        asyncio.run(odds())
        asyncio.run(odds())
    assert len(fetched) == 3
    asyncio.run(odds())
    assert len(fetched) == 3
    asyncio.run(never())
    asyncio.run(never())
    assert len(fetched) == 5
    assert odds.stats().total_requests == 2
