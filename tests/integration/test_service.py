"""The example service over real HTTP: both processes run, on loopback.

Answers are kept for as long as the tests run, so each asks what no other does.
"""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import httpx
import pytest

from coalesce_kit.exporters.asgi import ORIGINAL_NAMES
from examples.odds_service.app import AGE_HEADER
from examples.odds_service.control import Upstream
from examples.odds_service.service import policy_from

from .conftest import Running, until

FIXTURES = "examples.odds_service.service.OddsService.fixtures"


async def numbers(client: httpx.AsyncClient) -> dict[str, float]:
    """The numbers of the method that answers for fixtures."""
    health = (await client.get("/health/coalescer")).json()
    return health["functions"][FIXTURES]


async def test_the_health_endpoint_answers_with_every_field(client):
    """GET /health/coalescer has a status, reasons, the seven names and the functions"""
    response = await client.get("/health/coalescer")
    assert response.status_code == 200
    health = response.json()
    assert health["status"] in {"healthy", "warning", "degraded"}
    assert isinstance(health["reasons"], list)
    assert all(isinstance(health[name], int | float) for name in ORIGINAL_NAMES)
    assert FIXTURES in health["functions"]


async def test_max_wait_seconds_is_five(client):
    """A waiter of the service waits five seconds at most"""
    config = (await client.get("/health/coalescer")).json()["config"]
    assert config["max_wait_seconds"] == config["functions"][FIXTURES]["max_wait_seconds"] == 5


async def test_a_browser_is_given_the_dashboard(client):
    """The same address is a page for whoever prefers HTML, without a redirect"""
    response = await client.get("/health/coalescer", headers={"Accept": "text/html,*/*;q=0.8"})
    assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")


async def test_metrics_are_there_for_prometheus(client):
    """GET /metrics has a row for the functions of the service"""
    response = await client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    assert FIXTURES in response.text


async def test_a_refused_fetch_is_logged_and_not_its_key(running: Running, client, upstream):
    """The service's log has the function and the kind of the error, and no argument of the call"""
    before = running.log_lines("fetch_failed: of examples.odds_service.service.OddsService.odds after")
    await client.get("/optic-odds/odds/quidditch")
    assert running.log_lines("fetch_failed: of examples.odds_service.service.OddsService.odds after") == before + 1
    assert running.log_lines("quidditch") == 0


async def test_the_table_names_the_functions(client):
    """GET /health/coalescer.txt is the registry as a table of at most 100 columns"""
    lines = (await client.get("/health/coalescer.txt")).text.splitlines()
    assert any("fixtures" in line for line in lines)
    assert max(map(len, lines)) <= 100


async def test_concurrent_requests_share_one_upstream_call(client, upstream):
    """Twenty clients who ask the same at once are one call to the upstream"""
    before = await numbers(client)
    await upstream.hold()
    asking = [asyncio.create_task(client.get("/optic-odds/fixtures/nfl?limit=3")) for _ in range(20)]

    async def all_have_come() -> bool:
        return (await numbers(client))["total_requests"] - before["total_requests"] == 20

    await until(all_have_come)
    await upstream.release()
    responses = await asyncio.gather(*asking)
    assert [response.status_code for response in responses] == [200] * 20
    assert len({response.content for response in responses}) == 1
    assert len(responses[0].json()) == 3
    assert await upstream.seen(1) == {"calls": 1, "answered": 1, "refused": 0, "failed": 0}


async def test_different_questions_are_different_calls(client, upstream):
    """Another league, another filter or another limit is another call"""
    paths = ["fixtures/nfl", "fixtures/nba", "fixtures/nfl?live=false", "fixtures/nfl?limit=2", "odds/nfl"]
    responses = await asyncio.gather(*(client.get(f"/optic-odds/{path}") for path in paths))
    assert [response.status_code for response in responses] == [200] * 5
    assert len({response.content for response in responses}) == 5
    assert (await upstream.seen(5))["calls"] == 5


async def test_defaults_and_their_spelling_are_one_question(client, upstream):
    """A request without parameters joins one that spells the defaults out"""
    await upstream.hold()
    first = asyncio.create_task(client.get("/optic-odds/fixtures/mlb"))
    await upstream.seen(1)
    before = await numbers(client)
    second = asyncio.create_task(client.get("/optic-odds/fixtures/mlb?live=true&limit=5"))

    async def joined() -> bool:
        return (await numbers(client))["coalesced_requests"] == before["coalesced_requests"] + 1

    await until(joined)
    await upstream.release()
    assert (await first).content == (await second).content
    assert (await upstream.seen(1))["calls"] == 1


async def test_an_answer_is_kept(client, upstream):
    """A request after the answer gets the same one and is no call"""
    first = await client.get("/optic-odds/odds/nba")
    second = await client.get("/optic-odds/odds/nba")
    assert first.content == second.content
    assert (await upstream.seen(1))["calls"] == 1


async def test_the_age_of_an_answer_is_told(client, upstream):
    """A header says how long ago the upstream told it"""
    responses = [await client.get("/optic-odds/fixtures/mlb?live=false&limit=3") for _ in range(2)]
    ages = [float(response.headers[AGE_HEADER]) for response in responses]
    assert 0 <= ages[0] < ages[1]


async def test_a_kept_answer_outlives_the_upstream(client, upstream):
    """While the upstream is down, what was answered before is answered, and what was not is a 502"""
    path = "/optic-odds/fixtures/mlb?live=false&limit=4"
    before = await client.get(path)
    await upstream.go_down()
    assert (await client.get(path)).content == before.content
    assert (await client.get("/optic-odds/fixtures/mlb?live=false&limit=5")).status_code == 502


def test_the_policy_as_shipped():
    """Answers are fresh for five seconds, and of use long after that while the upstream is in trouble"""
    policy = policy_from({})
    assert (policy.ttl, policy.stale_while_revalidate, policy.stale_if_error) == (5, 30, 300)


def test_the_environment_sets_the_policy():
    """Each of the three durations is a variable"""
    variables = {"ODDS_FRESH_SECONDS": "1", "ODDS_REVALIDATE_SECONDS": "2.5", "ODDS_FALLBACK_SECONDS": "4"}
    policy = policy_from(variables)
    assert (policy.ttl, policy.stale_while_revalidate, policy.stale_if_error) == (1, 2.5, 4)


@pytest.mark.parametrize("followers", [20])
async def test_the_leader_hangs_up_and_nobody_else_notices(running: Running, client, upstream: Upstream, followers):
    """The leading client closes its socket: its handler is cancelled, the others get the answer of the one call"""
    path = "/optic-odds/fixtures/nba?live=false&limit=4"
    hung_up = "client hung up: handler of GET /optic-odds/fixtures/nba ended in CancelledError"
    lines_before = running.log_lines(hung_up)
    await upstream.hold()
    address = urlsplit(running.pair.service.url)
    _, leader = await asyncio.open_connection(address.hostname, address.port)
    leader.write(f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
    await upstream.seen(1)
    asking = [asyncio.create_task(client.get(path)) for _ in range(followers)]

    async def all_wait() -> bool:
        return (await numbers(client))["waiters"] == followers

    async def the_handler_was_cancelled() -> bool:
        return running.log_lines(hung_up) == lines_before + 1

    await until(all_wait)
    leader.close()
    await leader.wait_closed()
    await until(the_handler_was_cancelled)
    await upstream.release()
    responses = await asyncio.gather(*asking)
    assert [response.status_code for response in responses] == [200] * followers
    assert len({response.content for response in responses}) == 1
    assert await upstream.seen(1) == {"calls": 1, "answered": 1, "refused": 0, "failed": 0}


async def test_when_everybody_hangs_up_the_flight_is_gone(running: Running, client, upstream):
    """The last client's hang-up cancels the call: nothing is in flight any more"""
    await upstream.hold()
    asking = [asyncio.create_task(client.get("/optic-odds/fixtures/mlb?limit=1")) for _ in range(3)]
    await upstream.seen(1)
    for request in asking:
        request.cancel()
    await asyncio.wait(asking)

    async def nothing_is_pending() -> bool:
        return (await numbers(client))["in_flight"] == 0

    await until(nothing_is_pending)


async def test_a_refusal_is_told_and_not_kept(client, upstream):
    """A 429 of the upstream becomes a 503 that says when to try again, and the same question may be asked again"""
    paths = [f"/optic-odds/fixtures/nba?limit={limit}" for limit in range(101, 121)]
    responses = await asyncio.gather(*(client.get(path) for path in paths))
    refused = [response for response in responses if response.status_code == 503]
    assert refused
    assert all(response.headers["Retry-After"] == "1" for response in refused)
    assert (await upstream.seen(20))["refused"] == len(refused)
    await upstream.reset()
    assert (await client.get(str(refused[0].url))).status_code == 200


async def test_an_unknown_league_is_not_found(client, upstream):
    """The upstream's 404 is the service's"""
    response = await client.get("/optic-odds/fixtures/curling")
    assert response.status_code == 404
    assert "curling" in response.json()["detail"]
