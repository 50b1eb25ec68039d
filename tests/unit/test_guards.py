"""The guards of the test kit: they fail when what they guard is broken, and only then, and leave nothing behind."""

from __future__ import annotations

import asyncio
import copy
import threading
from contextlib import ExitStack

import pytest

from coalesce_kit import coalesced
from coalesce_kit.testing.fixtures import switched_off
from coalesce_kit.testing.guards import assert_results_unchanged, assert_single_flight
from tests.fakes import Origin, start, turns


async def test_one_fetch_for_a_crowd_is_a_single_flight():
    """A hundred callers of a few keys, and every key is fetched once at a time."""

    @coalesced
    async def odds(league):
        await asyncio.sleep(0)
        return league

    with assert_single_flight(odds):
        await asyncio.gather(*(odds(f"league {number % 3}") for number in range(100)))
        await odds("league 1")


async def test_two_fetches_of_one_key_at_once_are_found():
    """The guard names the key that was fetched beside itself."""
    origin = Origin()

    @coalesced
    async def odds(league):
        return await origin(league)

    async def fetch_twice():
        with assert_single_flight():
            calls = start(odds("nba"))
            await turns()
            odds.invalidate("nba")
            calls += start(odds("nba"))
            await turns()
            origin.answer()
            origin.answer()
            await asyncio.gather(*calls)

    told = r"not a single flight \(.*invalidation.*\):\n  2 fetches at once of .*odds\(league='nba'\) \(.*odds\)"
    with pytest.raises(AssertionError, match=told):
        await fetch_twice()


@pytest.mark.parametrize("is_off_before", [True, False])
async def test_a_function_that_is_off_has_no_flights(is_off_before):
    """One that was never on, and one that is switched off before the guard's block or in it."""
    origin = Origin()

    async def ask():
        return await origin()

    odds, never = coalesced(ask), coalesced(enabled=False)(ask)
    with ExitStack() as blocks:
        for block in (switched_off, assert_single_flight) if is_off_before else (assert_single_flight, switched_off):
            blocks.enter_context(block())
        calls = start(odds(), odds(), never(), never())
        await turns()
        assert origin.working == 4
        for _ in calls:
            origin.answer()
        await asyncio.gather(*calls)


async def test_a_changed_result_is_found():
    """A test that changes what others share fails, with the value before and after."""

    @coalesced(ttl=60)
    async def fixtures(league):
        return [league]

    async def change():
        with assert_results_unchanged(fixtures):
            (await fixtures("nba")).append("mine")

    with pytest.raises(AssertionError, match=r"fixtures.*: \['nba'\] is now \['nba', 'mine'\]"):
        await change()


async def test_a_changed_result_that_is_not_kept_is_found():
    """Those who waited for one fetch share its result, too."""

    @coalesced
    async def fixtures(self_like):
        return {"rows": [self_like]}

    async def change():
        with assert_results_unchanged():
            first, _ = await asyncio.gather(fixtures("a"), fixtures("a"))
            first["rows"].clear()

    with pytest.raises(AssertionError, match="a result that callers share was changed"):
        await change()


async def test_a_changed_result_that_cannot_be_printed_is_named():
    """A result whose repr fails is told of all the same."""

    class Shy(list):
        def __repr__(self):
            raise RuntimeError

    @coalesced
    async def odds():
        return Shy([1.9])

    async def change():
        with assert_results_unchanged():
            (await odds()).append(2.1)

    with pytest.raises(AssertionError, match=r"Shy\(\[1.9\]\) is now Shy\(\[1.9, 2.1\]\)"):
        await change()


async def test_copies_may_be_changed():
    """Where each caller has a copy of its own, it is nobody else's business what becomes of it."""

    @coalesced(ttl=60, copy=copy.deepcopy)
    async def fixtures(league):
        return [league]

    with assert_results_unchanged():
        (await fixtures("nba")).clear()


async def test_a_guard_is_gone_after_its_block():
    """Functions run as before, also after guards inside guards."""
    looks = []

    class Noting:
        def __reduce__(self):
            looks.append(self)
            return "Noting"

    @coalesced
    async def odds():
        return Noting()

    with assert_single_flight(), assert_results_unchanged(), assert_single_flight():
        await odds()
    assert len(looks) == 2  # at its fetch, and at the end
    await odds()
    assert len(looks) == 2


async def test_methods_are_guarded():
    """The key of a method names its instance, so two of them may fetch at once."""

    class Service:
        @coalesced
        async def odds(self, league):
            await asyncio.sleep(0)
            return league

    with assert_single_flight(Service.odds):
        one, other = Service(), Service()
        await asyncio.gather(one.odds("nba"), other.odds("nba"), one.odds("nba"))


def test_a_guard_takes_decorated_functions():
    """Anything else is refused by name."""
    with pytest.raises(TypeError, match="a decorated function was expected, not"), assert_single_flight(print):
        pass


def in_threads(*functions):
    """Run each function in a thread of its own, with a loop of its own, until all have ended."""
    threads = [threading.Thread(target=lambda function=function: asyncio.run(function())) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_every_loop_has_a_flight_of_its_own():
    """Two threads that fetch one key at the same time are what is promised: flights are of one loop."""
    both = threading.Barrier(2)

    @coalesced
    async def odds():
        both.wait(10)

    with assert_single_flight(odds):
        in_threads(odds, odds)


def test_a_crowd_in_one_of_two_loops_is_found():
    """What is counted for each loop is still counted."""

    @coalesced
    async def odds():
        await asyncio.sleep(0.01)

    async def fetch_twice():
        calls = start(odds())
        await turns()
        odds.invalidate()
        await asyncio.gather(*calls, odds())

    with pytest.raises(AssertionError, match="2 fetches at once of"), assert_single_flight(odds):
        in_threads(odds, fetch_twice)
