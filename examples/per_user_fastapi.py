"""Per-user data with a database session in the signature: the session is not part of the question."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from coalesce_kit import coalesced, lifespan

app = FastAPI(lifespan=lifespan)
new_session = async_sessionmaker(create_async_engine("sqlite+aiosqlite:///shop.db"))


async def open_session() -> AsyncIterator[AsyncSession]:
    async with new_session() as session:
        yield session


@coalesced(ignore=("session",))
async def orders_of(user_id: int, session: AsyncSession) -> list[str]:
    query = text("SELECT title FROM orders WHERE user_id = :user_id")
    return list(await session.scalars(query, {"user_id": user_id}))


@app.get("/users/{user_id}/orders")
async def show_orders(user_id: int, session: Annotated[AsyncSession, Depends(open_session)]) -> list[str]:
    return await orders_of(user_id, session)
