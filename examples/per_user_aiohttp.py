"""Per-user data with a database session in the signature: the session is not part of the question."""

from aiohttp import web
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from coalesce_kit import coalesced

new_session = async_sessionmaker(create_async_engine("sqlite+aiosqlite:///shop.db"))


@coalesced(ignore=("session",))
async def orders_of(user_id: int, session: AsyncSession) -> list[str]:
    query = text("SELECT title FROM orders WHERE user_id = :user_id")
    return list(await session.scalars(query, {"user_id": user_id}))


async def show_orders(request: web.Request) -> web.Response:
    async with new_session() as session:
        return web.json_response(await orders_of(int(request.match_info["user_id"]), session))


def create_app() -> web.Application:
    app = web.Application()
    app.router.add_get("/users/{user_id}/orders", show_orders)
    return app
