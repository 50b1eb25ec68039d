"""The running pair of processes, and the settings that a Django project would have."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import django
import httpx
import pytest
import pytest_asyncio
from django.conf import settings

from examples.odds_service.control import Upstream
from examples.odds_service.serve import Pair, running_pair

PATIENCE_SECONDS = 20.0

# Models can be imported only after this, and the examples are imported when the tests are collected.
_directory = tempfile.TemporaryDirectory(prefix="coalesce-kit-")
_database = {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{_directory.name}/shop.db"}
settings.configure(
    ALLOWED_HOSTS=["testserver"],
    DATABASES={"default": _database, "replica": dict(_database)},
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
    ROOT_URLCONF="examples.tenant_django",
    SECRET_KEY="only for tests",
)
django.setup()


@dataclass(frozen=True)
class Running:
    """The pair of processes, and where the service writes its log."""

    pair: Pair
    log: Path

    def log_lines(self, text: str) -> int:
        return sum(text in line for line in self.log.read_text().splitlines())


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The pair of processes, started once for all tests. What was answered once is fresh until they are through."""
    logs = tmp_path_factory.mktemp("logs")
    with running_pair(environment={"ODDS_FRESH_SECONDS": "3600"}, logs=logs) as pair:
        yield Running(pair, logs / "service.log")


@pytest_asyncio.fixture
async def client(running: Running) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the service."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=running.pair.service.url, timeout=PATIENCE_SECONDS, limits=limits) as client:
        yield client


@pytest_asyncio.fixture
async def upstream(running: Running) -> AsyncIterator[Upstream]:
    """The upstream's control address; the upstream counts from zero and answers."""
    async with httpx.AsyncClient(timeout=PATIENCE_SECONDS) as client:
        upstream = Upstream(client, running.pair.upstream.url)
        await upstream.reset()
        yield upstream
        await upstream.release()


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what another process does, by looking again and again."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await holds():
            await asyncio.sleep(0.005)
