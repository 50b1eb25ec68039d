"""A tenant in a context variable: named in ``vary``, it is part of the key."""

from contextvars import ContextVar
from typing import Annotated

from fastapi import Depends, FastAPI, Header

from coalesce_kit import coalesced, lifespan
from examples import shop

tenant: ContextVar[str] = ContextVar("tenant")


async def enter_tenant(x_tenant: Annotated[str, Header()]) -> None:
    tenant.set(x_tenant)


@coalesced(vary=(tenant,))
async def price_of(product: str) -> int:
    return await shop.read_price(tenant.get(), product)


app = FastAPI(lifespan=lifespan, dependencies=[Depends(enter_tenant)])


@app.get("/prices/{product}")
async def show_price(product: str) -> dict[str, int]:
    return {"pence": await price_of(product)}
