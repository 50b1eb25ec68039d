"""Health over real HTTP, of a process of its own: an origin that hangs, and more polls than anybody sends."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import pytest_asyncio

from examples.odds_service.processes import Server, running

from .conftest import PATIENCE_SECONDS

PATH = "/health/coalescer"


@pytest.fixture(scope="module")
def service() -> Iterator[Server]:
    """The service with the origin that hangs."""
    with running("tests.integration.hanging_service") as server:
        yield server


@pytest_asyncio.fixture
async def clients(service: Server) -> AsyncIterator[httpx.AsyncClient]:
    """What sends requests to it."""
    async with httpx.AsyncClient(base_url=service.url, timeout=PATIENCE_SECONDS) as clients:
        yield clients


async def until(clients: httpx.AsyncClient, status: str) -> list[str]:
    """Poll until the status is this; return every status that was told on the way, and what for."""
    story: list[str] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not story or not story[-1].startswith(status):
            response = await clients.get(PATH)
            told = response.json()
            codes = [reason["code"] for reason in told["reasons"] if not reason["recovering"]]
            moment = f"{told['status']} {response.status_code} {' '.join(codes)}".rstrip()
            if not story or story[-1] != moment:
                story.append(moment)
    return story


async def test_a_hung_origin_for_real(clients):
    """Healthy, then a warning, then degraded as 503, each for the oldest fetch; and healthy again when it answers"""
    for league in range(20):
        await clients.get(f"/odds/{league}")
    assert await until(clients, "healthy") == ["healthy 200"]
    await clients.post("/control/hang")
    asking = asyncio.create_task(clients.get("/odds/nba"))
    *_, warned = await until(clients, "warning")
    *_, degraded = await until(clients, "degraded")
    await clients.post("/control/flow")
    assert (await asking).json() == 1.9
    *_, healthy = await until(clients, "healthy")
    assert [warned, degraded, healthy] == ["warning 200 flight_too_old", "degraded 503 flight_too_old", "healthy 200"]


async def test_many_polls_do_no_harm(clients):
    """A thousand polls at once leave the service answering, and each of them is whole"""

    async def poll() -> None:
        response = await clients.get(PATH)
        assert response.json()["pid"] > 0

    async with asyncio.TaskGroup() as polls:
        for _ in range(50):
            polls.create_task(in_a_row(20, poll))
    assert (await clients.get("/odds/mlb")).json() == 1.9


async def in_a_row(times, do):
    """Do something again and again."""
    for _ in range(times):
        await do()


RUBBISH = [
    b"GET /health/coalescer HTTP/1.1\r\n\r\n",
    b"GET /health/coalescer HTTP/9.9\r\nHost: x\r\n\r\n",
    b"GET /health/coalescer HTTP/1.1\r\nHost: x\r\nAccept: \xff\xfe;q=\x80\r\nConnection: close\r\n\r\n",
    b"GET /health/coalescer?%00%ff=%% HTTP/1.1\r\nHost: x\r\nAccept: text/html;q=,,,;;\r\nConnection: close\r\n\r\n",
    b"POST /health/coalescer HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345",
    b"GET /health/../health/coalescer HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
    b"GET " + b"/health/coalescer" * 5000 + b" HTTP/1.1\r\n",
]


@pytest.mark.parametrize("rubbish", RUBBISH, ids=range(len(RUBBISH)))
async def test_malformed_requests_do_no_harm(service, clients, rubbish):
    """Whatever a socket sends, the next request is answered"""
    address = httpx.URL(service.url)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(rubbish)
    writer.write_eof()
    answer = b""
    with contextlib.suppress(ConnectionError):  # a server may hang up on rubbish, before or after it says so
        async with asyncio.timeout(PATIENCE_SECONDS):
            answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert b"Internal Server Error" not in answer
    response = await clients.get(PATH)
    assert json.loads(response.content)["status"] in {"healthy", "warning"}
    assert response.headers["connection"] == "close"
