"""The service: one method per question, each answered by one call to the odds API however many clients ask at once."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

import httpx
from pydantic import BaseModel, TypeAdapter

from coalesce_kit import coalesced


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
    """Asks the odds API once for all who ask the same thing at the same moment."""

    def __init__(self, api: OddsSource) -> None:
        self._api = api

    @coalesced
    async def fixtures(self, league: str, live: bool = True, limit: int = 5) -> list[Fixture]:
        """Return the next games of a league."""
        return await self._api.fixtures(league, live, limit)

    @coalesced
    async def odds(self, league: str) -> list[Odds]:
        """Return the odds of a league's games."""
        return await self._api.odds(league)
