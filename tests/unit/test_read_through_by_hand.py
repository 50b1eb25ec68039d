"""``refresh``, ``prime``, ``peek``, and invalidations that come from elsewhere."""

import asyncio
import gc
import threading
import weakref
from typing import Any

import pytest

from coalesce_kit import (
    CachePolicy,
    CoalescerClosedError,
    MemoryCache,
    RecursiveFetchError,
    RequestCoalescer,
    UnshareableResultError,
    bound,
    coalesced,
)
from tests.fakes import Origin, after, keeping, outcomes, start, turns

virtual = pytest.mark.usefixtures("virtual_time")
on_every_loop = pytest.mark.on_every_loop

SWR = CachePolicy(ttl=10, stale_while_revalidate=20)
FALLBACK = CachePolicy(ttl=10, stale_if_error=100)


class Down(Exception):
    """The upstream is down."""


class NotFound(Exception):
    """The upstream says that there is no such thing."""


class Forbidden(Exception):
    """The upstream says no."""


# ---- refresh, prime, peek ----


@virtual
@on_every_loop
async def test_refresh_leads_past_a_fresh_value() -> None:
    """It fetches although the value is fresh; readers get the old one meanwhile, at once."""
    origin = Origin()
    odds = keeping(origin, ttl=10)
    await after(origin, "old", odds())
    (refreshing,) = start(odds.refresh())
    await turns()
    assert await odds() == "old"
    origin.answer("new")

    assert await refreshing == "new"
    assert await odds() == "new"
    numbers = odds.stats()
    assert (numbers.total_requests, numbers.refreshes, numbers.fetches) == (3, 1, 2)


@virtual
@on_every_loop
async def test_refresh_joins_a_fetch_that_is_good() -> None:
    """One fetch answers both."""
    origin = Origin()
    odds = keeping(origin, ttl=10)
    (caller,) = start(odds())
    await turns()
    (refreshing,) = start(odds.refresh())
    await turns()
    assert origin.working == 1
    origin.answer("one")

    assert await outcomes([caller, refreshing]) == ["one", "one"]
    assert odds.stats().total_requests == 1


@virtual
@on_every_loop
async def test_refresh_does_not_join_what_was_invalidated() -> None:
    """A fetch that began before the invalidation is not joined: it leads."""
    origin = Origin()
    odds = keeping(origin, ttl=10)
    (caller,) = start(odds())
    await turns()
    odds.invalidate()
    (refreshing,) = start(odds.refresh())
    await turns()
    origin.answer("old")
    origin.answer("new")

    assert await outcomes([caller, refreshing]) == ["old", "new"]
    assert await odds() == "new"


@virtual
@on_every_loop
async def test_a_failed_refresh_leaves_a_fresh_value() -> None:
    """The failure is raised to who asked, and the old value stays as fresh as it was."""
    origin = Origin()
    odds = keeping(origin, ttl=10)
    await after(origin, "old", odds())
    (refreshing,) = start(odds.refresh())
    await turns()
    origin.fail(Down())

    assert [type(end) for end in await outcomes([refreshing])] == [Down]
    assert await odds() == "old"
    assert odds.explain().fresh_seconds_left == 10
    assert odds.stats().refresh_errors == 1


@virtual
@on_every_loop
async def test_a_refresh_that_is_refused_is_no_request() -> None:
    """A refresh inside its own fetch, or on a closed coalescer, is refused outside the sum of requests."""

    @coalesced(ttl=10)
    async def odds() -> Any:
        with pytest.raises(RecursiveFetchError):
            await odds.refresh()
        return "answer"

    await odds()
    assert odds.stats().total_requests == 1
    coalescer = RequestCoalescer()
    closed = keeping(Origin(), policy=SWR, backend=coalescer)
    closed.prime("old")
    await asyncio.sleep(11)
    await coalescer.aclose()
    assert await closed() == "old"
    await turns()
    with pytest.raises(CoalescerClosedError):
        await closed.refresh()

    numbers = closed.stats()
    assert (numbers.total_requests, numbers.stale_hits, numbers.rejected_requests) == (1, 1, 0)
    assert numbers.refresh_errors == 2


@virtual
@on_every_loop
async def test_prime_voids_what_is_in_the_air() -> None:
    """Who waits keeps what the fetch brings, nobody else gets it, and the primed value stays."""
    origin = Origin()
    odds = keeping(origin, ttl=10)
    callers = start(odds(), odds())
    await turns()
    odds.prime("primed")
    assert await odds() == "primed"
    origin.answer("fetched")

    assert await outcomes(callers) == ["fetched", "fetched"]
    assert await odds() == "primed"
    numbers = odds.stats()
    assert (numbers.primes, numbers.stale_publishes_refused, numbers.cache_hits) == (1, 1, 2)


@virtual
@on_every_loop
async def test_prime_between_look_up_and_first_step() -> None:
    """A value primed after the slot was taken and before the fetch began is the answer: nothing is fetched."""
    origin = Origin()
    odds = keeping(origin, ttl=10)
    asking = odds()
    asking.send(None)
    begun = len(origin.calls)  # an eager task has begun by then
    odds.prime("primed")
    others = start(odds(), odds())
    await turns()

    assert await outcomes(others) == ["primed", "primed"]
    assert len(origin.calls) == begun
    asking.close()
    await turns()


@virtual
@on_every_loop
async def test_prime_that_raises_changes_nothing() -> None:
    """What cannot be kept is refused before anything is dropped."""
    origin = Origin()
    odds = keeping(origin, ttl=lambda value: 1 / value)
    await after(origin, 1, odds())
    with pytest.raises(ZeroDivisionError):
        odds.prime(0)
    with pytest.raises(UnshareableResultError):
        odds.prime(iter(()))

    assert await odds() == 1


@virtual
@on_every_loop
async def test_prime_obeys_the_policy() -> None:
    """What ``cache_if`` refuses is not kept, and what was kept before is gone all the same."""
    origin = Origin()
    odds = keeping(origin, policy=CachePolicy(ttl=10, cache_if=bool))
    odds.prime(1)
    assert await odds() == 1
    odds.prime(0)

    assert odds.peek() is None
    assert "cache_if" in str(odds.explain())


@virtual
@on_every_loop
async def test_a_primed_value_has_a_size() -> None:
    """What is larger than the cache is not kept, whoever has made it, and ``explain`` says so."""
    odds = keeping(Origin(), ttl=10, cache=MemoryCache(max_bytes=3, size_of=len))
    odds.prime("four")
    assert odds.peek() is None
    assert "larger than the cache" in str(odds.explain())
    odds.prime("two")

    assert await odds() == "two"
    assert odds.stats().oversized_results == 1


@virtual
@on_every_loop
async def test_a_primed_value_goes_with_its_instance() -> None:
    """What was primed for an instance is out of use when the instance is gone, as what was fetched for it is."""

    class Client:
        @coalesced(ttl=1000)
        async def odds(self) -> str:
            return "fetched"

    client = Client()
    bound(client.odds).prime("primed")
    assert await client.odds() == "primed"
    entry = bound(client.odds).peek()
    del client
    gc.collect()

    assert entry.is_dead


@virtual
@on_every_loop
async def test_prime_leaves_nothing_but_its_value() -> None:
    """An invalidation after it finds the value, and no fetch that would be on its way."""
    odds = keeping(Origin(), ttl=10)
    odds.prime("one")
    odds.prime("two")

    assert odds.invalidate().voided == 1
    assert odds.invalidate().voided == 0


@virtual
@on_every_loop
async def test_peek_shows_what_is_of_use_and_touches_nothing() -> None:
    """Fresh or stale, it is shown as it is; what has expired is not."""
    origin = Origin()
    odds = keeping(origin, policy=SWR)
    await after(origin, "old", odds())
    before = odds.stats()
    uses = odds.peek().uses
    await asyncio.sleep(11)
    entry = odds.peek()
    assert (entry.value, entry.uses) == ("old", uses)
    await asyncio.sleep(20)
    assert odds.peek() is None
    await turns()

    assert odds.stats() - before == odds.stats() - odds.stats()
    assert len(origin.calls) == 1


# ---- invalidation from elsewhere ----


@on_every_loop
async def test_a_thread_without_a_loop_invalidates_what_is_kept() -> None:
    """Value and fetch in flight are gone when it returns."""
    origin = Origin()
    odds = keeping(origin, ttl=1000)
    await after(origin, "old", odds("kept"))
    flying = start(odds("flying"))
    await turns()
    voided: list[int] = []
    thread = threading.Thread(target=lambda: voided.append(odds.invalidate_all().voided))
    thread.start()
    thread.join()
    assert voided == [2]
    later = start(odds("kept"), odds("flying"))
    await turns()
    for value in ("flew before", "new kept", "new flying"):
        origin.answer(value)

    assert await outcomes([*flying, *later]) == ["flew before", "new kept", "new flying"]
    assert await odds("flying") == "new flying"


@on_every_loop
async def test_a_synchronous_hook_invalidates_what_is_kept() -> None:
    """A finaliser, run by the collector, drops what it names; nobody has to await it."""
    origin = Origin()
    odds = keeping(origin, ttl=1000)
    await after(origin, "old", odds("nba"))

    class Row:
        pass

    row = Row()
    weakref.finalize(row, odds.invalidate, "nba")
    del row
    gc.collect()

    assert odds.peek("nba") is None
    assert await after(origin, "new", odds("nba")) == "new"
