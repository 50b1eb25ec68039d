"""The health endpoint inside real frameworks: at its address, mounted, without a redirect."""

from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI
from hypercorn.middleware import DispatcherMiddleware
from litestar import Litestar, asgi, get
from quart import Quart
from starlette.applications import Starlette
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from coalesce_kit import coalesced
from coalesce_kit.exporters.asgi import health_app

PATH = "/health/coalescer"


async def hello(request):
    return PlainTextResponse("hello")


def starlette_mounted(**options):
    return Starlette(routes=[Route("/hello", hello), Mount("/health", health_app(**options))])


def starlette_route(**options):
    return Starlette(routes=[Route("/hello", hello), Route(PATH, health_app(**options))])


def starlette_root(**options):
    return Starlette(routes=[Route("/hello", hello), Mount("/", health_app(**options))])


def starlette_compressed(**options):
    app = starlette_mounted(**options)
    app.add_middleware(GZipMiddleware, minimum_size=1)
    return app


def fastapi_mounted(**options):
    app = FastAPI()
    app.get("/hello", response_class=PlainTextResponse)(lambda: "hello")
    app.mount("/health", health_app(**options))
    return app


def fastapi_route(**options):
    app = FastAPI()
    app.get("/hello", response_class=PlainTextResponse)(lambda: "hello")
    app.add_route(PATH, health_app(**options))
    return app


@get("/hello", media_type="text/plain", sync_to_thread=False)
def litestar_hello() -> str:
    return "hello"


def litestar_mounted(**options):
    mounted = asgi("/health", is_mount=True, copy_scope=True)(health_app(**options))
    return Litestar([litestar_hello, mounted], logging_config=None)


def litestar_route(**options):
    return Litestar([litestar_hello, asgi(PATH, copy_scope=True)(health_app(**options))], logging_config=None)


def quart_dispatched(**options):
    app = Quart(__name__)
    app.get("/hello")(lambda: "hello")
    return DispatcherMiddleware({"/health": health_app(**options), "": app})


def bare(**options):
    return health_app(**options)


IN_FRAMEWORKS = [
    starlette_mounted,
    starlette_route,
    starlette_root,
    starlette_compressed,
    fastapi_mounted,
    fastapi_route,
    litestar_mounted,
    litestar_route,
    quart_dispatched,
]
everywhere = pytest.mark.parametrize("make", [*IN_FRAMEWORKS, bare], ids=lambda make: make.__name__)


def clients_of(app):
    """What sends requests to an application, and follows no redirect."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")


@everywhere
async def test_it_answers_itself_without_a_redirect(make):
    """GET /health/coalescer is the health of the process, as JSON, right there."""

    @coalesced(name="odds")
    async def odds(league): ...

    await odds("nba")
    async with clients_of(make()) as clients:
        response = await clients.get(PATH)
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert response.json()["functions"]["odds"]["total_requests"] == 1


@everywhere
async def test_head_options_and_other_methods(make):
    """Each framework hands every method on."""
    async with clients_of(make()) as clients:
        responses = [await clients.request(method, PATH) for method in ("HEAD", "OPTIONS", "POST", "DELETE")]
    assert [response.status_code for response in responses] == [200, 204, 405, 405]
    assert responses[0].content == b""
    assert [response.headers["allow"] for response in responses[1:]] == ["GET, HEAD, OPTIONS"] * 3


@everywhere
async def test_a_browser_is_given_the_page(make):
    """The same address, in the form that the client prefers."""
    async with clients_of(make()) as clients:
        response = await clients.get(PATH, headers={"Accept": "text/html,*/*;q=0.8"})
    assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")


@everywhere
async def test_the_token_comes_through(make):
    """What a framework does to headers, the token survives."""
    async with clients_of(make(token="s3cret")) as clients:
        assert (await clients.get(PATH)).status_code == 401
        assert (await clients.get(PATH, headers={"Authorization": "Bearer s3cret"})).status_code == 200


@pytest.mark.parametrize("make", IN_FRAMEWORKS, ids=lambda make: make.__name__)
async def test_the_rest_of_the_application_is_as_it_was(make):
    """Its own routes answer, and what nobody knows is not found."""
    async with clients_of(make()) as clients:
        assert (await clients.get("/hello")).text == "hello"
        assert (await clients.get("/health/nothing")).status_code == 404
        assert (await clients.get("/nothing")).status_code == 404
