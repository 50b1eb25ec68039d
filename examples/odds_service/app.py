"""The application: routes over an odds source, windows on the coalesced functions, errors as HTTP statuses."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import httpx
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

import coalesce_kit
from coalesce_kit import get_stats_registry
from coalesce_kit.exporters.asgi import health_app

from .metrics import metrics_routes
from .middleware import CancelOnDisconnect
from .naive import NaiveOddsService
from .processes import serve_on_loopback
from .service import Fixture, Odds, OddsApi, OddsService, OddsSource

UPSTREAM_TIMEOUT_SECONDS: Final = 10.0
AGE_HEADER: Final = "X-Age-Seconds"


def routes_to(source: OddsSource) -> APIRouter:
    """Build the public routes over one odds source."""
    router = APIRouter()

    @router.get("/optic-odds/fixtures/{league}")
    async def fixtures(response: Response, league: str, live: bool = True, limit: int = 5) -> list[Fixture]:
        answer = await source.fixtures(league, live, limit)
        age_seconds = source.age_of_fixtures(league, live, limit) if isinstance(source, OddsService) else None
        if age_seconds is not None:
            response.headers[AGE_HEADER] = f"{age_seconds:.3f}"
        return answer

    @router.get("/optic-odds/odds/{league}")
    async def odds(league: str) -> list[Odds]:
        return await source.odds(league)

    return router


def create_app(upstream_url: str, *, with_harmful_rows: bool = False) -> FastAPI:
    """Build the service.

    Args:
        upstream_url: address of the odds API.
        with_harmful_rows: whether the same routes also stand under ``/uncoalesced`` and ``/naive``, where nothing is
            shared, or shared badly: for the demonstration.
    """
    client = httpx.AsyncClient(
        base_url=upstream_url, timeout=UPSTREAM_TIMEOUT_SECONDS, limits=httpx.Limits(max_connections=None)
    )
    api = OddsApi(client)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with client, coalesce_kit.lifespan():
            yield

    app = FastAPI(title="Odds service", lifespan=lifespan)
    app.add_middleware(CancelOnDisconnect)
    app.include_router(routes_to(OddsService(api)))
    if with_harmful_rows:
        naive = NaiveOddsService(api)
        app.include_router(routes_to(api), prefix="/uncoalesced")
        app.include_router(routes_to(naive), prefix="/naive")

        @app.get("/naive/asked")
        async def asked() -> dict[str, int]:
            return {"asked": naive.shared.asked}

    @app.get("/health/coalescer.txt")
    async def health_table() -> PlainTextResponse:
        return PlainTextResponse(str(get_stats_registry()))

    # After the routes that begin in the same way: it answers at /health/coalescer, and 404 to the rest of /health.
    app.mount("/health", health_app())
    app.include_router(metrics_routes())

    @app.exception_handler(httpx.HTTPStatusError)
    async def upstream_refused(_: Request, error: httpx.HTTPStatusError) -> JSONResponse:
        status = error.response.status_code
        if status == httpx.codes.NOT_FOUND:
            return JSONResponse(error.response.json(), status_code=status)
        if status == httpx.codes.TOO_MANY_REQUESTS:
            return JSONResponse({"detail": "the odds API is busy"}, status_code=503, headers={"Retry-After": "1"})
        return JSONResponse({"detail": f"the odds API answered {status}"}, status_code=502)

    @app.exception_handler(httpx.TransportError)
    async def upstream_unreachable(_: Request, error: httpx.TransportError) -> JSONResponse:
        return JSONResponse({"detail": f"the odds API cannot be reached: {error}"}, status_code=502)

    @app.exception_handler(coalesce_kit.WaitTimeoutError)
    async def waited_too_long(_: Request, error: coalesce_kit.WaitTimeoutError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, status_code=504)

    return app


def main() -> None:
    """Serve the application on a free loopback port, printing its address."""
    parser = argparse.ArgumentParser(description="The odds service.")
    parser.add_argument("--upstream", required=True, metavar="URL", help="address of the odds API")
    parser.add_argument("--with-harmful-rows", action="store_true", help="also serve /uncoalesced and /naive")
    parser.add_argument("--until-stdin-closes", action="store_true", help="stop when the starting process is gone")
    arguments = parser.parse_args()
    app = create_app(arguments.upstream, with_harmful_rows=arguments.with_harmful_rows)
    serve_on_loopback(app, until_stdin_closes=arguments.until_stdin_closes)


if __name__ == "__main__":
    main()
