"""The service: one method per question, each answered by one call to the odds API however many clients ask.

Who asks at the same moment shares the call; who asks within seconds gets the same answer; and while the odds API is
down, the last one it gave. With ``ODDS_REDIS_URL`` that holds for all workers together, without it for each.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from typing import Final, Protocol

import httpx
from pydantic import BaseModel, TypeAdapter

from coalesce_kit import CachePolicy, DistributedCoalescer, RedisStore, bound, coalesced
from coalesce_kit.exporters.log import LogObserver


class Fixture(BaseModel):
    """One game of a league."""

    id: str
    league: str
    home: str
    away: str
    starts_at: datetime
    live: bool


class Odds(BaseModel):
    """Decimal odds of one game."""

    fixture_id: str
    home: float
    away: float


FIXTURES = TypeAdapter(list[Fixture])
ODDS = TypeAdapter(list[Odds])


def policy_from(environment: Mapping[str, str]) -> CachePolicy:
    """Build the policy that all answers are kept by.

    Args:
        environment: ``ODDS_FRESH_SECONDS`` is how long an answer is given without asking (5);
            ``ODDS_REVALIDATE_SECONDS`` how long after that it is given while a new one is fetched (30);
            ``ODDS_FALLBACK_SECONDS`` how long after it was fresh it is given if that fails (300).
    """
    return CachePolicy(
        ttl=float(environment.get("ODDS_FRESH_SECONDS", "5")),
        stale_while_revalidate=float(environment.get("ODDS_REVALIDATE_SECONDS", "30")),
        stale_if_error=float(environment.get("ODDS_FALLBACK_SECONDS", "300")),
    )


def fleet_from(environment: Mapping[str, str]) -> DistributedCoalescer | None:
    """Build what shares the answers among workers; none, if each is to share for itself.

    Args:
        environment: ``ODDS_REDIS_URL`` is the server that all workers use.
    """
    url = environment.get("ODDS_REDIS_URL")
    return DistributedCoalescer(RedisStore(url, namespace="odds")) if url else None


POLICY: Final = policy_from(os.environ)
FLEET: Final = fleet_from(os.environ)
SLOW_SECONDS: Final = 2.0

shared: Final = coalesced.using(policy=POLICY, backend=FLEET, observers=(LogObserver(slow_fetch_seconds=SLOW_SECONDS),))
"""The decorator of every method: all keep their answers alike, and log what fails or is slow."""

NOT_IN_THE_KEY: Final = ("self",) if FLEET else ()
"""A worker has one service. Its address, which would be in the key, means nothing to another worker."""


class OddsSource(Protocol):
    """Whatever the routes can ask."""

    async def fixtures(self, league: str, live: bool = True, limit: int = 5) -> list[Fixture]:
        """Return the next games of a league."""
        ...

    async def odds(self, league: str) -> list[Odds]:
        """Return the odds of a league's games."""
        ...


class OddsApi:
    """The odds API over HTTP: every question is a call.

    Raises:
        httpx.HTTPStatusError: from each method, the API answered with an error; 429 means too many calls.
    """

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def fixtures(self, league: str, live: bool = True, limit: int = 5) -> list[Fixture]:
        """Ask for the next games of a league."""
        response = await self._client.get("/fixtures", params={"league": league, "live": live, "limit": limit})
        return FIXTURES.validate_json(response.raise_for_status().content)

    async def odds(self, league: str) -> list[Odds]:
        """Ask for the odds of a league's games."""
        response = await self._client.get("/odds", params={"league": league})
        return ODDS.validate_json(response.raise_for_status().content)


class OddsService:
    """Asks the odds API once for all who ask the same thing. They are given one list, and only read it."""

    def __init__(self, api: OddsSource) -> None:
        self._api = api

    @shared(ignore=NOT_IN_THE_KEY)
    async def fixtures(self, league: str, live: bool = True, limit: int = 5) -> list[Fixture]:
        """Return the next games of a league."""
        return await self._api.fixtures(league, live, limit)

    @shared(ignore=NOT_IN_THE_KEY)
    async def odds(self, league: str) -> list[Odds]:
        """Return the odds of a league's games."""
        return await self._api.odds(league)

    def age_of_fixtures(self, league: str, live: bool = True, limit: int = 5) -> float | None:
        """Return how many seconds ago the odds API told what is kept for a question; ``None`` if nothing is."""
        return bound(self.fixtures).explain(league, live, limit).age_seconds
