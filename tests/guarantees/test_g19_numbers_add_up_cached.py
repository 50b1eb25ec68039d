"""G19, with a cache: every call is counted exactly once, whatever is kept, stale, refreshed or remembered."""

import asyncio
import random
from typing import Any

import pytest

import coalesce_kit
from coalesce_kit import CachePolicy, CoalescerStats, MemoryCache, RequestCoalescer, coalesced
from tests.fakes import turns

POLICIES: dict[str, CachePolicy] = {
    "ttl": CachePolicy(ttl=5),
    "revalidating": CachePolicy(ttl=3, stale_while_revalidate=10, refresh_ahead=0.5),
    "waiting": CachePolicy(ttl=2, stale_while_revalidate=20, stale_wait_seconds=1),
    "falling back": CachePolicy(ttl=2, stale_if_error=30, always_raise=KeyError),
    "remembering": CachePolicy(ttl=2, error_ttl={LookupError: 3, TimeoutError: 1}),
    "everything": CachePolicy(
        ttl=lambda result: result % 5,
        stale_while_revalidate=4,
        stale_if_error=8,
        stale_wait_seconds=0.5,
        refresh_ahead=0.3,
        jitter=0.3,
        error_ttl={LookupError: 2},
        cache_if=lambda result: result % 7 != 0,
    ),
}


class Unkeyable:
    """An argument that makes no key: it is compared by identity."""


def add_up(numbers: CoalescerStats) -> int:
    """Return how many calls were counted, as the sum of what became of each."""
    return (
        numbers.cache_hits
        + numbers.stale_hits
        + numbers.coalesced_requests
        + numbers.led_requests
        + numbers.rejected_requests
    )


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.on_every_loop
@pytest.mark.parametrize("seed", range(12))
async def test_g19_chaos_over_a_cache(seed: int) -> None:
    """A seeded script of calls, leavers, failures, invalidations, primes and refreshes: every call is counted once."""
    choose = random.Random(seed)
    cache = MemoryCache(max_entries=6)
    coalescer = RequestCoalescer(max_wait_seconds=3, max_flight_seconds=20)
    called = dict.fromkeys(POLICIES, 0)
    looked = dict.fromkeys(POLICIES, 0)
    runs = dict.fromkeys(POLICIES, 0)
    functions: dict[str, Any] = {}
    tasks: list[asyncio.Task[Any]] = []

    def decorate(name: str, policy: CachePolicy) -> None:
        @coalesced(
            name=f"{name} {seed}", policy=policy, cache=cache, backend=coalescer, tags=("all", "key:{key}"),
            fetch_timeout_seconds=choose.choice([None, 4]), on_abandon=choose.choice(["cancel", "finish"]),
        )  # fmt: skip
        async def function(key: Any) -> int:
            runs[name] += 1
            number = runs[name]
            await asyncio.sleep(choose.choice([0, 0, 0.5, 2, 6]))
            if choose.random() < 0.3:
                raise choose.choice([KeyError, LookupError, TimeoutError, OSError])
            return number

        functions[name] = function

    for name, policy in POLICIES.items():
        decorate(name, policy)

    async def call(name: str, key: Any) -> None:
        called[name] += 1
        await functions[name](key)

    async def refresh(name: str, key: Any) -> None:
        looked[name] += 1
        await functions[name].refresh(key)

    for _ in range(300):
        name, key = choose.choice([*functions]), choose.choice("abc")
        thing = choose.random()
        if thing < 0.5:
            tasks += [asyncio.ensure_future(call(name, key)) for _ in range(choose.randrange(1, 5))]
        elif thing < 0.6:
            tasks.append(asyncio.ensure_future(refresh(name, key)))
        elif thing < 0.65:
            functions[name].prime(choose.randrange(1, 100), key)
        elif thing < 0.7:
            if choose.random() < 0.5:
                functions[name].invalidate(key)
            else:
                functions[name].invalidate_all()
        elif thing < 0.73:
            coalesce_kit.invalidate_tags(choose.choice(["all", f"key:{key}"]))
        elif thing < 0.76:
            tasks.append(asyncio.ensure_future(call(name, Unkeyable())))
        elif thing < 0.8:
            functions[name].peek(key)
            str(functions[name].explain(key))
        elif thing < 0.9 and tasks:
            choose.choice(tasks).cancel()
        else:
            await asyncio.sleep(choose.choice([0.1, 1, 3]))
        if choose.random() < 0.5:
            await turns(choose.randrange(3))
        for name_now, function in functions.items():
            numbers = function.stats()
            assert add_up(numbers) == numbers.total_requests <= called[name_now]
    await asyncio.gather(*tasks, return_exceptions=True)
    await coalesce_kit.aclose(deadline_seconds=100)

    begun = coalescer.statistics()
    for name, function in functions.items():
        numbers = function.stats()
        # A task that was cancelled before its first step never made its call.
        assert numbers.total_requests == called[name], name
        assert numbers.fetches == runs[name] == numbers.fetch_latency.count
        assert numbers.refreshes >= 0
        assert (numbers.in_flight, numbers.waiters, numbers.refreshes_running) == (0, 0, 0)
        assert numbers.fetch_errors + numbers.fetch_cancelled + numbers.fetch_timeouts <= numbers.fetches
        assert numbers.remembered_errors_served <= numbers.cache_hits
    assert len(cache) == sum(function.stats().cached_entries for function in functions.values()) <= 6
    assert begun.fetches == sum(runs.values())
    assert begun.led_requests == sum(function.stats().led_requests for function in functions.values())
    assert begun.coalesced_requests == sum(function.stats().coalesced_requests for function in functions.values())
