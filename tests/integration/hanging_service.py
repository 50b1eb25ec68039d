"""A service whose origin hangs when it is told to, and whose health is judged in fractions of a second."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI

from coalesce_kit import coalesced, lifespan
from coalesce_kit.exporters.asgi import health_app
from coalesce_kit.stats.health import HealthThresholds
from examples.odds_service.processes import serve_on_loopback

THRESHOLDS = HealthThresholds(flight_seconds=0.3, window_seconds=1.0, recovery_seconds=0.3)


def create_app() -> FastAPI:
    """Build the service with its control address."""
    app = FastAPI(lifespan=lifespan)
    flows = asyncio.Event()
    flows.set()

    @coalesced(name="odds", max_wait_seconds=2)
    async def odds(league: str) -> float:
        await flows.wait()
        return 1.9

    @app.get("/odds/{league}")
    async def ask(league: str) -> float:
        return await odds(league)

    @app.post("/control/hang")
    async def hang() -> None:
        flows.clear()

    @app.post("/control/flow")
    async def flow() -> None:
        flows.set()

    app.mount("/health", health_app(thresholds=THRESHOLDS, degraded_status=503))
    return app


if __name__ == "__main__":
    serve_on_loopback(create_app(), until_stdin_closes=True)
