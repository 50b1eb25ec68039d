"""The odds API that the service asks: an imitation with seeded data, a latency and a rate limit, as its own process.

Its control address lets a demonstration or a test order events instead of racing a clock: answers can be held and
released, whoever wants to know that a call has arrived waits for exactly that, and the API can be put out of order.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import Final

from fastapi import FastAPI, HTTPException

from .processes import serve_on_loopback

CALLS_PER_SECOND: Final = 5
LATENCY_SECONDS: Final = 0.15
LONGEST_WATCH_SECONDS: Final = 10.0
SEED: Final = 2026
FIRST_KICK_OFF: Final = datetime(2026, 9, 10, 18, 0, tzinfo=UTC)
TEAMS: Final = {
    "nfl": ("Bears", "Bills", "Chiefs", "Cowboys", "Eagles", "Giants", "Packers", "Ravens"),
    "nba": ("Bucks", "Bulls", "Celtics", "Heat", "Knicks", "Lakers", "Nets", "Suns"),
    "mlb": ("Astros", "Braves", "Cubs", "Dodgers", "Mets", "Padres", "Red Sox", "Yankees"),
}


def fixtures_of(league: str) -> list[dict[str, object]]:
    """Draw the league's fixtures: the same ones in every process and at every call."""
    chance = random.Random(f"{SEED}:{league}")
    fixtures: list[dict[str, object]] = []
    for number in range(24):
        home, away = chance.sample(TEAMS[league], 2)
        kick_off = FIRST_KICK_OFF + timedelta(hours=3 * number)
        fixtures.append(
            {
                "id": f"{league}-{number:02}",
                "league": league,
                "home": home,
                "away": away,
                "starts_at": kick_off.isoformat(),
                "live": chance.random() < 0.5,
            }
        )
    return fixtures


def odds_of(league: str) -> list[dict[str, object]]:
    """Draw decimal odds for each of the league's fixtures."""
    chance = random.Random(f"{SEED}:odds:{league}")
    return [
        {
            "fixture_id": fixture["id"],
            "home": round(chance.uniform(1.2, 4.0), 2),
            "away": round(chance.uniform(1.2, 4.0), 2),
        }
        for fixture in fixtures_of(league)
    ]


class RateLimit:
    """A sliding window: at most ``calls`` within any ``per_seconds``."""

    def __init__(self, calls: int, *, per_seconds: float = 1.0) -> None:
        self._calls = calls
        self._per_seconds = per_seconds
        self._admitted: deque[float] = deque()

    def admits_call(self, now: float) -> bool:
        """Count a call made at ``now`` and say whether it is within the limit. A refused call uses nothing up."""
        while self._admitted and now - self._admitted[0] >= self._per_seconds:
            self._admitted.popleft()
        if len(self._admitted) >= self._calls:
            return False
        self._admitted.append(now)
        return True


class Desk:
    """Takes every call that reaches the API: counts it, refuses it or answers it, and can hold the answers back.

    Attributes:
        is_down: whether every call fails.
    """

    def __init__(self) -> None:
        self._limit = RateLimit(CALLS_PER_SECOND)
        self._arrival = asyncio.Condition()
        self._answers_flow = asyncio.Event()
        self._answers_flow.set()
        self.is_down = False
        self._calls = 0
        self._answered = 0
        self._refused = 0
        self._failed = 0

    def counters(self) -> dict[str, int]:
        """Calls that arrived, were answered, were refused with 429, and failed with 503."""
        return {"calls": self._calls, "answered": self._answered, "refused": self._refused, "failed": self._failed}

    def hold(self) -> None:
        """Keep every answer back until ``release``."""
        self._answers_flow.clear()

    def release(self) -> None:
        """Let the answers go that are held, and all later ones."""
        self._answers_flow.set()

    async def arrival_of(self, calls: int) -> None:
        """Wait until so many calls have arrived."""
        async with self._arrival:
            await self._arrival.wait_for(lambda: self._calls >= calls)

    async def serve_call(self) -> None:
        """Go through one call up to the moment its answer may leave.

        Raises:
            HTTPException: 503, the API is down; 429, the caller exceeds the rate limit.
        """
        async with self._arrival:
            self._calls += 1
            self._arrival.notify_all()
        if self.is_down:
            self._failed += 1
            raise HTTPException(503, "out of order")
        if not self._limit.admits_call(time.monotonic()):
            self._refused += 1
            raise HTTPException(429, f"at most {CALLS_PER_SECOND} calls a second", headers={"Retry-After": "1"})
        await asyncio.sleep(LATENCY_SECONDS)
        await self._answers_flow.wait()
        self._answered += 1


def create_upstream() -> FastAPI:
    """Build the API with its control address."""
    app = FastAPI(title="An imitation of an odds API")
    desk = Desk()

    def known(league: str) -> str:
        if league not in TEAMS:
            raise HTTPException(404, f"no league {league!r}; there are {', '.join(TEAMS)}")
        return league

    @app.get("/fixtures")
    async def fixtures(league: str, live: bool = True, limit: int = 5) -> list[dict[str, object]]:
        await desk.serve_call()
        return [fixture for fixture in fixtures_of(known(league)) if fixture["live"] is live][:limit]

    @app.get("/odds")
    async def odds(league: str) -> list[dict[str, object]]:
        await desk.serve_call()
        return odds_of(known(league))

    @app.get("/control/counters")
    async def counters() -> dict[str, int]:
        return desk.counters()

    @app.get("/control/arrivals")
    async def arrivals(at_least: int) -> dict[str, int]:
        try:
            async with asyncio.timeout(LONGEST_WATCH_SECONDS):
                await desk.arrival_of(at_least)
        except TimeoutError:
            raise HTTPException(504, f"{desk.counters()['calls']} calls arrived, not {at_least}") from None
        return desk.counters()

    @app.post("/control/hold")
    async def hold() -> dict[str, int]:
        desk.hold()
        return desk.counters()

    @app.post("/control/release")
    async def release() -> dict[str, int]:
        desk.release()
        return desk.counters()

    @app.post("/control/down")
    async def down() -> dict[str, int]:
        desk.is_down = True
        return desk.counters()

    @app.post("/control/up")
    async def up() -> dict[str, int]:
        desk.is_down = False
        return desk.counters()

    @app.post("/control/reset")
    async def reset() -> dict[str, int]:
        nonlocal desk
        desk.release()
        desk = Desk()  # what is still waiting at the old one is not counted here
        return desk.counters()

    return app


def main() -> None:
    """Serve the API on a free loopback port, printing its address."""
    parser = argparse.ArgumentParser(description="An imitation of a rate-limited odds API.")
    parser.add_argument("--until-stdin-closes", action="store_true", help="stop when the starting process is gone")
    arguments = parser.parse_args()
    serve_on_loopback(create_upstream(), until_stdin_closes=arguments.until_stdin_closes)


if __name__ == "__main__":
    main()
