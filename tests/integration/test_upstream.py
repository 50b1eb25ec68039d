"""The imitation of an odds API: seeded, limited, and held back on demand."""

from __future__ import annotations

import asyncio

import httpx
import pytest_asyncio

from examples.odds_service.upstream import RateLimit, create_upstream


@pytest_asyncio.fixture
async def api():
    """A client of an upstream in this process."""
    transport = httpx.ASGITransport(create_upstream())
    async with httpx.AsyncClient(transport=transport, base_url="http://upstream") as client:
        yield client


async def test_the_data_are_seeded(api):
    """Two upstreams give the same answers"""
    transport = httpx.ASGITransport(create_upstream())
    async with httpx.AsyncClient(transport=transport, base_url="http://another") as another:
        for path in ("/fixtures?league=nfl", "/odds?league=nba"):
            assert (await api.get(path)).content == (await another.get(path)).content


async def test_parameters_filter(api):
    """The games can be chosen by live, and their number by limit"""
    response = await api.get("/fixtures?league=mlb&live=false&limit=2")
    assert [fixture["live"] for fixture in response.json()] == [False, False]


async def test_the_sixth_call_of_a_second_is_refused(api):
    """Five calls at once are answered, the sixth gets 429"""
    responses = await asyncio.gather(*(api.get("/odds?league=nfl") for _ in range(6)))
    assert sorted(response.status_code for response in responses) == [200] * 5 + [429]
    assert (await api.get("/control/counters")).json() == {"calls": 6, "answered": 5, "refused": 1, "failed": 0}


def test_the_window_slides():
    """A call is admitted again as soon as one of the last five is older than the window"""
    limit = RateLimit(2, per_seconds=1.0)
    moments = [0.0, 0.5, 0.9, 1.0, 1.2, 1.5]
    assert [limit.admits_call(at) for at in moments] == [True, True, False, True, False, True]


async def test_answers_can_be_held_and_released(api):
    """A held call is answered after the release, and its arrival can be waited for"""
    await api.post("/control/hold")
    asking = asyncio.create_task(api.get("/odds?league=nfl"))
    assert (await api.get("/control/arrivals?at_least=1")).json()["calls"] == 1
    assert not asking.done()
    await api.post("/control/release")
    assert (await asking).status_code == 200


async def test_the_api_can_be_put_out_of_order(api):
    """While it is down every call fails and is counted; when it is up again it answers"""
    await api.post("/control/down")
    responses = [await api.get("/odds?league=nfl") for _ in range(7)]
    assert [response.status_code for response in responses] == [503] * 7
    assert (await api.post("/control/up")).json() == {"calls": 7, "answered": 0, "refused": 0, "failed": 7}
    assert (await api.get("/odds?league=nfl")).status_code == 200


async def test_reset_forgets_the_past(api):
    """After a reset the counters are zero, the limit is unused and the API is up"""
    await api.post("/control/down")
    await asyncio.gather(*(api.get("/odds?league=nfl") for _ in range(6)))
    assert (await api.post("/control/reset")).json() == {"calls": 0, "answered": 0, "refused": 0, "failed": 0}
    assert (await api.get("/odds?league=nfl")).status_code == 200
