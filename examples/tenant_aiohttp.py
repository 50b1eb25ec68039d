"""A tenant in a context variable: named in ``vary``, it is part of the key."""

from contextvars import ContextVar

from aiohttp import web
from aiohttp.typedefs import Handler

from coalesce_kit import coalesced
from examples import shop

tenant: ContextVar[str] = ContextVar("tenant")


@web.middleware
async def enter_tenant(request: web.Request, handler: Handler) -> web.StreamResponse:
    tenant.set(request.headers["X-Tenant"])
    return await handler(request)


@coalesced(vary=(tenant,))
async def price_of(product: str) -> int:
    return await shop.read_price(tenant.get(), product)


async def show_price(request: web.Request) -> web.Response:
    return web.json_response({"pence": await price_of(request.match_info["product"])})


def create_app() -> web.Application:
    app = web.Application(middlewares=[enter_tenant])
    app.router.add_get("/prices/{product}", show_price)
    return app
