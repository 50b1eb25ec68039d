"""A service built per request: its methods share nothing between requests until the key says what it is."""

from typing import Annotated

from fastapi import Depends, FastAPI, Header

from coalesce_kit import coalesced, lifespan
from examples import shop

app = FastAPI(lifespan=lifespan)


class PriceService:
    def __init__(self, x_tenant: Annotated[str, Header()]) -> None:
        self.tenant = x_tenant

    @coalesced
    async def unshared_price_of(self, product: str) -> int:
        return await shop.read_price(self.tenant, product)

    @coalesced(key="price:{self.tenant}:{product}")
    async def price_of(self, product: str) -> int:
        return await shop.read_price(self.tenant, product)


@app.get("/unshared-prices/{product}")
async def show_unshared_price(product: str, prices: Annotated[PriceService, Depends()]) -> dict[str, int]:
    return {"pence": await prices.unshared_price_of(product)}


@app.get("/prices/{product}")
async def show_price(product: str, prices: Annotated[PriceService, Depends()]) -> dict[str, int]:
    return {"pence": await prices.price_of(product)}
