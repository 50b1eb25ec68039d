"""Health with a store: what goes wrong between processes is told by each of them, once, and goes away again."""

from __future__ import annotations

import asyncio

from coalesce_kit import StatsRegistry
from coalesce_kit.decorators.workings import WORKINGS
from coalesce_kit.stats.health import HealthReport, HealthWatch
from tests.fakes import turns


class Watched:
    """One simulated process under watch, in virtual time."""

    def __init__(self, process, now):
        self.registry = StatsRegistry(now=now)
        getattr(process.odds, WORKINGS).register(self.registry)
        self.watch = HealthWatch()

    def look(self) -> HealthReport:
        return self.watch.look(self.registry.snapshot())

    def codes(self) -> dict[str, str]:
        """What is wrong now, and how bad it is."""
        return {reason.code: reason.status for reason in self.look().reasons if not reason.recovering}


async def test_a_store_that_is_out_of_reach(world, virtual_time):
    """Degraded while it is, with the invalidations that it was not told; healthy when it is back, after a while."""
    (process,) = world.start(1)
    await world.primed("old", process)
    watched = Watched(process, virtual_time.now)
    assert watched.look().status == "healthy"

    process.wire.is_cut = process.wire.deaf = True
    await process.odds.invalidate("nba")
    await turns(30)
    assert watched.codes() == {"breaker_open": "degraded", "invalidations_pending": "warning"}
    assert {reason.function for reason in watched.look().reasons} == {None}

    process.wire.is_cut = process.wire.deaf = False
    await asyncio.sleep(60)
    await world.primed("new", process)  # the next call finds out
    assert watched.codes() == {}
    await asyncio.sleep(10)
    assert watched.look().status == "healthy"
