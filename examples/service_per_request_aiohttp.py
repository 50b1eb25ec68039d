"""A service built per request: its methods share nothing between requests until the key says what it is."""

from aiohttp import web

from coalesce_kit import coalesced
from examples import shop


class PriceService:
    def __init__(self, request: web.Request) -> None:
        self.tenant = request.headers["X-Tenant"]

    @coalesced
    async def unshared_price_of(self, product: str) -> int:
        return await shop.read_price(self.tenant, product)

    @coalesced(key="price:{self.tenant}:{product}")
    async def price_of(self, product: str) -> int:
        return await shop.read_price(self.tenant, product)


async def show_unshared_price(request: web.Request) -> web.Response:
    pence = await PriceService(request).unshared_price_of(request.match_info["product"])
    return web.json_response({"pence": pence})


async def show_price(request: web.Request) -> web.Response:
    pence = await PriceService(request).price_of(request.match_info["product"])
    return web.json_response({"pence": pence})


def create_app() -> web.Application:
    app = web.Application()
    app.router.add_get("/unshared-prices/{product}", show_unshared_price)
    app.router.add_get("/prices/{product}", show_price)
    return app
