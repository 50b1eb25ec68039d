"""Every line here that ends in ``# E`` must be rejected by ``mypy --strict``, and no other."""

from __future__ import annotations

from coalesce_kit import bound, coalesced


@coalesced
async def fixtures(sport: str, live: bool = True, *, limit: int = 5) -> list[str]:
    return [sport]


class Service:
    @coalesced
    async def odds(self, league: str) -> float:
        return 1.5


class NarrowerOverride(Service):
    async def odds(self, league: int) -> float:  # E
        return 1.5


class OtherAnswer(Service):
    async def odds(self, league: str) -> str:  # E
        return league


def synchronous(sport: str) -> str:
    return sport


coalesced(synchronous)  # E
coalesced("fixtures:{sport}")  # E
coalesced(ttl="30")  # E
coalesced(on_abandon="stop")  # E
coalesced(max_wait_seconds="5")  # E
coalesced(backend={})  # E
coalesced.using(name="fixtures")  # E
coalesced.using(key="fixtures")  # E
coalesced()(synchronous)  # E


async def calls(service: Service) -> None:
    await fixtures()  # E
    await fixtures(1)  # E
    await fixtures("nfl", True, 5)  # E
    number: int = await fixtures("nfl")  # E
    fixtures.invalidate(1)  # E
    fixtures.invalidate()  # E
    fixtures.cache_key("nfl", sports="nfl")  # E
    fixtures.explain(7)  # E
    await fixtures.origin(7)  # E
    await fixtures.refresh(7)  # E
    fixtures.prime([])  # E
    fixtures.peek(7)  # E
    fixtures.stats().total  # E
    await service.odds(7)  # E
    service.odds.invalidate("nba")  # E
    Service.odds.invalidate("nba")  # E
    bound(service.odds).invalidate(7)  # E
    bound(service.odds).invalidate()  # E
    bound(service.odds)("nba")  # E
