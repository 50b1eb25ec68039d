"""The explorer on other people's code: given a library behind an adapter, it finds a fault that is known of it.

It is told nothing of the fault: the scenario is the same for all, and so is what is asked of them. The faults are those
that the libraries have when they are run by hand, in the versions that are pinned for the tests.
"""

from __future__ import annotations

from typing import Any

import pytest
from aiocoalesce import Coalescer
from async_lru import alru_cache
from singleflight.asynchronous import SingleFlightAsync

from coalesce_kit.testing.explorer import ScheduleFailedError, explore, replay
from tests.exploration import invariants
from tests.exploration.history import History
from tests.exploration.stage import Odds, Stage

ASKED_OF_EVERYBODY = (
    invariants.answers_are_answers,
    invariants.g02_nobody_is_hurt,
    invariants.g03_no_orphan_work,
    invariants.g06_exactly_one_load,
    invariants.g07_invalidation_wins,
)


class AsyncLru:
    """``@alru_cache``, which keeps what it has fetched until it is invalidated."""

    keeps = True

    def __init__(self, origin):
        self._cached = alru_cache(origin)

    async def ask(self, key):
        return await self._cached(key)

    def invalidate(self, key):
        self._cached.cache_invalidate(key)


class AioCoalesce:
    """``Coalescer.run``, which keeps nothing and has no way to invalidate."""

    keeps = False

    def __init__(self, origin):
        self._origin = origin
        self._coalescer = Coalescer()

    async def ask(self, key):
        return await self._coalescer.run(key, self._origin(key))


class SingleFlight:
    """``SingleFlightAsync.call``, which keeps nothing and has no way to invalidate."""

    keeps = False

    def __init__(self, origin):
        self._origin = origin
        self._flights = SingleFlightAsync()

    async def ask(self, key):
        return await self._flights.call(self._origin, key, key)


class PeerStage(Stage):
    """A stage on which somebody else's library stands."""

    def __init__(self, world, peer, history):
        self.world, self.function, self.history = world, peer, history
        world.at_rest(self.check)

    def check(self):
        for holds in ASKED_OF_EVERYBODY:
            holds(self.history)

    def _ask(self, key, *, is_refresh):
        return self.function.ask(key)


class PeerOdds(Odds):
    """The origin of the scenarios behind somebody else's library."""

    def __init__(self, adapter: Any) -> None:
        self._adapter = adapter
        self._fails, self._cut_inside, self._steps, self._swallows, self._asks = True, False, 0, False, {}

    def on(self, world, **limits):
        async def odds(key):
            return await self._origin(stage, key)

        history = History(fresh_seconds=float("inf") if self._adapter.keeps else 0.0)
        stage = PeerStage(world, self._adapter(odds), history)
        return stage


def crowd(adapter):
    """Three callers of one key, one of whom may be cancelled, and an invalidation where there is such a thing."""
    odds = PeerOdds(adapter)

    def scenario(world):
        stage = odds.on(world)
        stage.may_cancel(stage.callers("a", "b", "c"))
        if hasattr(adapter, "invalidate"):
            stage.invalidates()

    return scenario


FAULTS = [
    pytest.param(
        AsyncLru,
        r"G6: fetch 3 began although what fetch 2 had brought was fresh",
        id="async-lru: an old fetch that fails takes away what a newer one brought",
    ),
    pytest.param(
        AioCoalesce,
        r"G3: fetch 1 went on to its end and nobody waited for it|exception was never retrieved",
        id="aiocoalesce: work goes on for nobody, and its failure is reported to nobody",
    ),
    pytest.param(
        SingleFlight,
        r"got None, which no fetch returned",
        id="singleflight: who waits for a cancelled leader gets None",
    ),
]


@pytest.mark.parametrize(("adapter", "fault"), FAULTS)
def test_a_known_fault_of_a_peer_is_found(adapter, fault):
    """The fault shows on some schedule of a scenario that knows nothing of it, and again when that is replayed."""
    with pytest.raises(ScheduleFailedError, match=fault) as found:
        explore(crowd(adapter), most_schedules=50_000)
    with pytest.raises(AssertionError):
        replay(crowd(adapter), found.value.trace)


def test_the_package_has_none_of_these_faults():
    """The same crowd, before the package's own decorator, has no schedule on which any of it happens."""
    odds = Odds(ttl=1000)

    def scenario(world):
        stage = odds.on(world, max_wait_seconds=None)
        stage.may_cancel(stage.callers("a", "b"))
        stage.invalidates()

    assert explore(scenario).exhausted
