"""Invalidation after a POST: nobody who asks after it gets what was read before it."""

from fastapi import FastAPI

from coalesce_kit import coalesced, lifespan
from examples import shop

app = FastAPI(lifespan=lifespan)


@coalesced
async def price_of(product: str) -> int:
    return await shop.read_price("acme", product)


@app.get("/prices/{product}")
async def show_price(product: str) -> dict[str, int]:
    return {"pence": await price_of(product)}


@app.post("/prices/{product}")
async def change_price(product: str, pence: int) -> dict[str, int]:
    await shop.write_price("acme", product, pence)
    await price_of.invalidate(product)
    return {"pence": await price_of(product)}
