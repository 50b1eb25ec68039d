"""The small programs, each asked by a crowd in this process, as its framework's own test client asks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from aiohttp.test_utils import TestClient, TestServer
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.db import connections
from django.test import AsyncClient
from django.test.utils import override_settings
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from examples import shop

CROWD = 20
FRAMEWORKS = ("fastapi", "django", "aiohttp")
ACME = {"X-Tenant": "acme"}
GLOBEX = {"X-Tenant": "globex"}

Ask = Callable[..., Awaitable[Any]]


@asynccontextmanager
async def site(program: str) -> AsyncIterator[Ask]:
    """Serve a program; yield what sends it a request and returns the JSON of the answer."""
    module = import_module(f"examples.{program}")
    if program.endswith("fastapi"):
        transport = httpx.ASGITransport(module.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:

            async def ask(path, *, method="GET", headers=None, **fields):
                response = await client.request(method, path, headers=headers, params=fields)
                return response.raise_for_status().json()

            yield ask
    elif program.endswith("aiohttp"):
        async with TestClient(TestServer(module.create_app())) as client:

            async def ask(path, *, method="GET", headers=None, **fields):
                async with client.request(method, path, headers=headers, params=fields) as response:
                    response.raise_for_status()
                    return await response.json()

            yield ask
    else:
        middleware = [f"examples.{program}.tenant_middleware"] if hasattr(module, "tenant_middleware") else []
        with override_settings(ROOT_URLCONF=f"examples.{program}", MIDDLEWARE=middleware):
            browser = AsyncClient()

            async def ask(path, *, method="GET", headers=None, **fields):
                send = browser.post if method == "POST" else browser.get
                response = await send(path, fields, headers=headers)
                assert response.status_code == 200
                return response.json()

            yield ask


class HeldShop:
    """Prices that are read at once and told only when the shop is opened."""

    def __init__(self) -> None:
        self.pence = {("acme", "tea"): 300, ("globex", "tea"): 450}
        self.reads: list[tuple[str, str]] = []
        self.opened = asyncio.Event()

    async def read_price(self, tenant: str, product: str) -> int:
        self.reads.append((tenant, product))
        price = self.pence[tenant, product]
        await self.opened.wait()
        return price

    async def write_price(self, tenant: str, product: str, pence: int) -> None:
        self.pence[tenant, product] = pence


@pytest_asyncio.fixture
async def held_shop(monkeypatch) -> HeldShop:
    """The shop that all programs ask, closed."""
    held = HeldShop()
    monkeypatch.setattr(shop, "read_price", held.read_price)
    monkeypatch.setattr(shop, "write_price", held.write_price)
    return held


async def until(holds: Callable[[], bool]) -> None:
    """Give the loop turns until something holds."""
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0)


async def crowd(ask: Ask, function: Any, *questions: tuple[str, dict[str, str]]) -> list[asyncio.Task[Any]]:
    """Let a crowd ask each question, and return their tasks when all of them are inside ``function``."""
    before = function.stats()
    asking = [asyncio.create_task(ask(path, headers=headers)) for path, headers in questions for _ in range(CROWD)]
    await until(lambda: (function.stats() - before).total_requests == len(asking) or any(t.done() for t in asking))
    return asking


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_tenants_share_within_and_not_between(framework, held_shop):
    """Two tenants ask for the same product: one read each, and each gets its own price"""
    program = import_module(f"examples.tenant_{framework}")
    async with site(f"tenant_{framework}") as ask:
        asking = await crowd(ask, program.price_of, ("/prices/tea", ACME), ("/prices/tea", GLOBEX))
        held_shop.opened.set()
        answers = await asyncio.gather(*asking)
    assert answers == [{"pence": 300}] * CROWD + [{"pence": 450}] * CROWD
    assert sorted(held_shop.reads) == [("acme", "tea"), ("globex", "tea")]


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_who_asks_after_a_post_gets_what_it_wrote(framework, held_shop):
    """A POST while an old price is being read: its own answer, and every later one, is the new price"""
    program = import_module(f"examples.invalidation_{framework}")
    async with site(f"invalidation_{framework}") as ask:
        early = await crowd(ask, program.price_of, ("/prices/tea", {}))
        post = asyncio.create_task(ask("/prices/tea", method="POST", pence="350"))
        await until(lambda: len(held_shop.reads) == 2 or post.done())
        late = await crowd(ask, program.price_of, ("/prices/tea", {}))
        held_shop.opened.set()
        assert await asyncio.gather(*early) == [{"pence": 300}] * CROWD
        assert await post == {"pence": 350}
        assert await asyncio.gather(*late) == [{"pence": 350}] * CROWD
    assert len(held_shop.reads) == 2


def methods_of(framework: str) -> tuple[Any, Any]:
    """The method that shares nothing, and the one that does."""
    program = import_module(f"examples.service_per_request_{framework}")
    if framework == "django":
        return program.UnsharedPrice.price_of, program.Price.price_of
    return program.PriceService.unshared_price_of, program.PriceService.price_of


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_a_service_per_request_shares_nothing_and_a_warning_says_so(framework, held_shop, caplog):
    """A hundred requests, a hundred services, a hundred reads, and one warning that shows the way out"""
    held_shop.opened.set()
    function, _ = methods_of(framework)
    with caplog.at_level(logging.WARNING, logger="coalesce_kit"):
        async with site(f"service_per_request_{framework}") as ask:
            for _ in range(100):
                assert await ask("/unshared-prices/tea", headers=ACME) == {"pence": 300}
    assert len(held_shop.reads) == 100
    [warning] = [record.getMessage() for record in caplog.records if record.name.startswith("coalesce_kit")]
    assert function.__qualname__ in warning
    assert "{self." in warning
    assert 'ignore=("self",)' in warning


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_a_service_per_request_shares_by_what_the_key_names(framework, held_shop):
    """With the way out taken, the requests of one tenant share one read"""
    _, function = methods_of(framework)
    async with site(f"service_per_request_{framework}") as ask:
        asking = await crowd(ask, function, ("/prices/tea", ACME), ("/prices/tea", GLOBEX))
        held_shop.opened.set()
        answers = await asyncio.gather(*asking)
    assert answers == [{"pence": 300}] * CROWD + [{"pence": 450}] * CROWD
    assert sorted(held_shop.reads) == [("acme", "tea"), ("globex", "tea")]


@pytest_asyncio.fixture
async def new_session(tmp_path: Path) -> AsyncIterator[async_sessionmaker[AsyncSession]]:
    """Sessions of a database with the orders of users 7 and 8."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/shop.db")
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE orders (user_id INTEGER, title TEXT)"))
        await connection.execute(text("INSERT INTO orders VALUES (7, 'tea'), (7, 'milk'), (8, 'rum')"))
    yield async_sessionmaker(engine)
    await engine.dispose()


@pytest.mark.parametrize("framework", ["fastapi", "aiohttp"])
async def test_users_get_their_own_orders_by_one_query_each(framework, new_session, monkeypatch):
    """Twenty requests of each of two users, each with a session of its own: one query per user"""
    program = import_module(f"examples.per_user_{framework}")
    monkeypatch.setattr(program, "new_session", new_session)
    opened = asyncio.Event()
    users = []
    scalars = AsyncSession.scalars

    async def held_scalars(self, query, parameters):
        users.append(parameters["user_id"])
        await opened.wait()
        return await scalars(self, query, parameters)

    monkeypatch.setattr(AsyncSession, "scalars", held_scalars)
    async with site(f"per_user_{framework}") as ask:
        asking = await crowd(ask, program.orders_of, ("/users/7/orders", {}), ("/users/8/orders", {}))
        opened.set()
        answers = await asyncio.gather(*asking)
    assert answers == [["tea", "milk"]] * CROWD + [["rum"]] * CROWD
    assert sorted(users) == [7, 8]


@pytest.fixture
def groups() -> Iterator[None]:
    """A user 7 who is in two groups, and a user 8 who is in one."""
    call_command("migrate", verbosity=0)
    for number, names in ((7, ("buyers", "friends")), (8, ("sellers",))):
        user = User.objects.create(id=number, username=f"user {number}")
        user.groups.set([Group.objects.get_or_create(name=name)[0] for name in names])
    yield
    call_command("flush", verbosity=0, interactive=False)
    connections.close_all()


async def test_users_get_their_own_groups_by_one_query_each(groups, monkeypatch):
    """Twenty requests of each of two users, over whichever replica: one query per user"""
    program = import_module("examples.per_user_django")
    opened = asyncio.Event()
    users = []
    using = Group.objects.using

    class HeldGroups:
        def __init__(self, database):
            self.database = database

        async def filter(self, *, user):
            users.append(user)
            await opened.wait()
            async for group in using(self.database).filter(user=user).order_by("name"):
                yield group

    monkeypatch.setattr(Group.objects, "using", HeldGroups)
    async with site("per_user_django") as ask:
        asking = await crowd(ask, program.groups_of, ("/users/7/groups", {}), ("/users/8/groups", {}))
        opened.set()
        answers = await asyncio.gather(*asking)
    await sync_to_async(connections.close_all)()
    assert answers == [{"groups": ["buyers", "friends"]}] * CROWD + [{"groups": ["sellers"]}] * CROWD
    assert sorted(users) == [7, 8]


def test_every_program_is_tried():
    """Each small program in examples/ is asked by a test of this file, but for the one that has tests of its own."""
    stems = {path.stem for path in Path(shop.__file__).parent.glob("*.py")} - {
        "__init__",
        "shop",
        "prices",
        "test_prices",
    }
    topics = ("tenant", "invalidation", "service_per_request", "per_user")
    assert stems == {f"{topic}_{framework}" for topic in topics for framework in FRAMEWORKS}
