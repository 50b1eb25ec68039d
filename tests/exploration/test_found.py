"""What the exploration and the reference model have found in the package as it stood, each with what showed it."""

from __future__ import annotations

import asyncio

import cachetools
import pytest

from coalesce_kit import CachePolicy, MemoryCache, coalesced
from coalesce_kit.testing.explorer import replay
from tests.exploration.scenarios import scenario_of


def test_a_cancellation_catches_up_with_a_recursion():
    """x asks y and y asks x; cancelled while the inner fetch is about to begin, both come to rest.

    A fetch that is given up leaves its slot at once, and what it waits for a turn later. In that turn the inner fetch
    found the slot free and began another one in it, which was a turn ahead of its own cancellation, and so on: the two
    functions went on calling each other for ever, for a caller who had gone.
    """
    replay(scenario_of("recursion in a cycle, 1 cancel"), "b starts, 1, cancel b")


def test_who_refreshes_is_not_given_what_was_primed():
    """A ``refresh`` that joins a fetch before its origin is called has it called, whatever is kept by then.

    The fetch looks once more, before it begins, whether somebody has published meanwhile. What it found was the answer
    for whoever had joined, and so ``refresh`` returned a value that was older than itself. The model said so.
    """
    replay(scenario_of("refresh and prime race a load"), "a starts, b starts, r starts, 2, prime")


def test_a_fetch_goes_on_that_a_patient_reader_has_joined():
    """Who waits a while for a new value and leaves with the old one leaves the fetch running, whoever began it.

    It was so where the reader himself had led the fetch. One that a ``refresh`` had begun was cancelled with its last
    caller. The state machine found it: refresh, call, cancel both.
    """
    replay(
        scenario_of("stale, a refresh and a reader who waits, 2 cancels"),
        "r starts, 1, a starts, 2, cancel r, 1, cancel a",
    )


@pytest.mark.usefixtures("virtual_time")
async def test_a_remembered_failure_is_not_tried_again():
    """A failure that a refresh brought is the answer until its time is over, and nobody fetches meanwhile.

    A failed refresh puts off the next try of what is kept. What was kept by then was the failure itself, so its readers
    began to refresh it as soon as the put-off was over: an upstream that was to be left alone for long was asked once a
    second. The state machine beside the reference model found it: refresh, it fails, call.
    """
    fetches = 0

    @coalesced(policy=CachePolicy(ttl=60, error_ttl={LookupError: 30}))
    async def odds():
        nonlocal fetches
        fetches += 1
        raise LookupError("not yet")

    with pytest.raises(LookupError):
        await odds.refresh()
    for _ in range(5):
        await asyncio.sleep(5)
        with pytest.raises(LookupError):
            await odds()
    assert fetches == 1


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.parametrize("league", ["nba", ["nba"]])
@pytest.mark.parametrize("cache", [None, "somebody else's"])
async def test_a_fresh_value_is_not_refreshed_for_a_refresh_that_failed(league, cache):
    """Without ``refresh_ahead`` a fresh value is the answer and nothing else, also after a failed ``refresh()``.

    That failure noted in the entry when to try again, and whoever found the entry fresh after that moment began a
    refresh in the background; only calls that are answered in line did not look. So a cache of somebody else's, and a
    key with a list in it, had fetches that nobody had asked for. The state machine found it as soon as it was given
    such a cache: call, it returns, refresh, it fails, call.
    """
    fetches = 0

    @coalesced(ttl=60, cache=cache and MemoryCache(cache=cachetools.LRUCache(10)))
    async def odds(of):
        nonlocal fetches
        fetches += 1
        if fetches > 1:
            raise LookupError("not now")
        return "1.9"

    await odds(league)
    with pytest.raises(LookupError):
        await odds.refresh(league)
    for _ in range(5):
        await asyncio.sleep(5)
        assert await odds(league) == "1.9"
    await asyncio.sleep(0)
    assert fetches == 2
