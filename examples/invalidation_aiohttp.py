"""Invalidation after a POST: nobody who asks after it gets what was read before it."""

from aiohttp import web

from coalesce_kit import coalesced
from examples import shop

routes = web.RouteTableDef()


@coalesced
async def price_of(product: str) -> int:
    return await shop.read_price("acme", product)


@routes.get("/prices/{product}")
async def show_price(request: web.Request) -> web.Response:
    return web.json_response({"pence": await price_of(request.match_info["product"])})


@routes.post("/prices/{product}")
async def change_price(request: web.Request) -> web.Response:
    product = request.match_info["product"]
    await shop.write_price("acme", product, int(request.query["pence"]))
    await price_of.invalidate(product)
    return web.json_response({"pence": await price_of(product)})


def create_app() -> web.Application:
    app = web.Application()
    app.router.add_routes(routes)
    return app
