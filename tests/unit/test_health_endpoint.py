"""The health endpoint as an ASGI application: what it answers, whom, and what no request can do to it."""

from __future__ import annotations

import asyncio
import base64
import gc
import hashlib
import json
import logging
import re
import subprocess
import sys
from itertools import count

import hypothesis
import pytest
from hypothesis import strategies as st

from coalesce_kit import RequestCoalescer, StatsRegistry, coalesced, get_request_coalescer
from coalesce_kit.exporters.asgi import MOST_FLIGHTS, ORIGINAL_NAMES, Budget, health_app
from coalesce_kit.exporters.http import has_token, prefers_html
from coalesce_kit.exporters.page import Page, policy_for, read_page
from coalesce_kit.stats.counters import Counters, Gauges
from coalesce_kit.stats.health import HealthThresholds
from coalesce_kit.stats.version import __version__
from tests.fakes import Origin, outcomes, start, turns
from tests.unit.test_health import HOSTILE

PATH = "/health/coalescer"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


class Answer:
    """What an application sent."""

    def __init__(self, sent):
        first, self.last = sent
        self.status = first["status"]
        self.headers = {name.decode(): value.decode() for name, value in first["headers"]}
        self.body = self.last["body"]

    def json(self):
        return json.loads(self.body)


async def ask(app, path=PATH, method="GET", *, root_path="", http_version="1.1", **headers):
    """Send one request to an application; a header's underscores are hyphens."""
    sent = []

    async def receive():
        raise AssertionError("the body of a request is nothing to the endpoint")

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "root_path": root_path,
        "http_version": http_version,
        "headers": [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()],
    }
    await app(scope, receive, send)
    return Answer(sent)


def sick_registry(**gauges: float):
    """A registry with one function that has these gauges."""
    registry = StatsRegistry()
    registry.register("sick", Counters(), gauges=lambda: Gauges(**gauges))
    return registry


# ---- what is told ----


async def test_the_health_of_this_process_is_told():
    """Without a registry it shows every decorated function, the seven numbers over all, and where that is."""

    @coalesced(name="seen", max_wait_seconds=2)
    async def odds(league):
        await asyncio.sleep(0)
        return 1.9

    app = health_app()
    await asyncio.gather(odds("nba"), odds("nba"))
    answer = await ask(app)
    told = answer.json()
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert (told["status"], told["reasons"]) == ("healthy", [])
    assert {name: told[name] for name in ORIGINAL_NAMES} == {
        "total_requests": 2,
        "coalesced_requests": 1,
        "api_calls_made": 1,
        "hit_rate_percent": 50.0,
        "avg_wait_time_ms": told["totals"]["avg_wait_time_ms"],
        "max_concurrent_waiters": 1,
        "pending_keys": 0,
    }
    assert told["functions"]["seen"]["led_requests"] == told["totals"]["led_requests"] == 1
    assert (told["instance"], told["pid"]) == (told["totals"]["instance"], told["totals"]["pid"])
    assert told["started_seconds_ago"] >= 0
    assert told["version"] == __version__
    assert told["gone"]["total_requests"] == 0
    assert told["config"]["max_wait_seconds"] == get_request_coalescer().max_wait_seconds == 5
    assert told["config"]["functions"]["seen"]["max_wait_seconds"] == 2


async def test_limits_of_a_backend_are_those_of_its_functions():
    """A function inherits what its coalescer says, and one that says nothing is without limit."""

    class Quiet:
        get_or_fetch = RequestCoalescer.get_or_fetch

        def flights(self):
            return ()

    @coalesced(name="inherits", backend=RequestCoalescer(max_wait_seconds=7, max_flight_seconds=9))
    async def inherits(league): ...

    @coalesced(name="quiet", backend=Quiet(), fetch_timeout_seconds=3)
    async def quiet(league): ...

    told = (await ask(health_app())).json()["config"]["functions"]
    assert told["inherits"] == {"max_wait_seconds": 7, "fetch_timeout_seconds": None, "max_flight_seconds": 9}
    assert (told["quiet"]["max_wait_seconds"], told["quiet"]["fetch_timeout_seconds"]) == (None, 3)


async def test_a_registry_of_ones_own():
    """With a registry it shows that one's functions and no other."""

    @coalesced
    async def elsewhere(): ...

    registry = StatsRegistry()
    registry.register("mine", Counters(led_requests=3))
    told = (await ask(health_app(registry))).json()
    assert list(told["functions"]) == ["mine"]
    assert told["total_requests"] == 3
    assert told["config"]["functions"]["mine"]["max_wait_seconds"] is None


async def test_a_service_made_per_request_is_told():
    """A method that never met the same instance twice is a reason, found in the numbers of the process."""

    class Service:
        @coalesced(name="price")
        async def price(self, product):
            return 300

    for _ in range(100):
        await Service().price("tea")
    told = (await ask(health_app())).json()
    assert [(reason["code"], reason["function"]) for reason in told["reasons"]] == [("never_shared", "price")]


@pytest.mark.parametrize(("options", "status"), [({}, 200), ({"degraded_status": 503}, 503)])
async def test_degraded_is_200_unless_it_is_chosen(options, status):
    """The body says degraded either way; a warning is 200 in any case."""
    degraded = await ask(health_app(sick_registry(zombies=11), **options))
    assert (degraded.status, degraded.json()["status"]) == (status, "degraded")
    warning = await ask(health_app(sick_registry(zombies=1), **options))
    assert (warning.status, warning.json()["status"]) == (200, "warning")


async def test_thresholds_are_an_argument():
    """What is too much is for the service to say."""
    app = health_app(sick_registry(zombies=11), thresholds=HealthThresholds(zombies=20, degraded_zombies=30))
    assert (await ask(app)).json()["status"] == "healthy"


async def test_a_change_of_health_is_logged_once(caplog):
    """From healthy to warning is one record, with the reasons as facts; and back is one that is no warning."""
    zombies = iter([1, 1, 0, 0])
    registry = StatsRegistry()
    registry.register("sick", Counters(), gauges=lambda: Gauges(zombies=next(zombies)))
    app = health_app(registry, thresholds=HealthThresholds(recovery_seconds=0))
    with caplog.at_level(logging.INFO):
        for _ in range(4):
            await ask(app)
    worse, better = caplog.records
    assert worse.getMessage() == "health_changed: from healthy to warning"
    assert (worse.before, worse.after, worse.reasons[0]["code"]) == ("healthy", "warning", "zombies")
    assert better.getMessage() == "health_changed: from warning to healthy"
    assert (worse.levelname, better.levelname) == ("WARNING", "INFO")


async def test_a_log_handler_may_look_itself():
    """What hears of a change may ask for the health, in the middle of it."""
    app, heard = health_app(sick_registry(zombies=1)), []

    class Curious(logging.Handler):
        def emit(self, record):
            heard.append(json.loads(app.answer("GET", "", []).body)["status"])

    handler = Curious()
    logging.getLogger("coalesce_kit.exporters.asgi").addHandler(handler)
    try:
        await ask(app)
    finally:
        logging.getLogger("coalesce_kit.exporters.asgi").removeHandler(handler)
    assert heard == ["warning"]


async def test_names_that_are_hostile_stay_json():
    """A function may be called anything: the answer is ASCII, can be parsed, and has the name as it is."""
    registry = StatsRegistry()
    registry.register(HOSTILE, Counters(led_requests=1), gauges=lambda: Gauges(zombies=1))
    answer = await ask(health_app(registry))
    assert answer.body.isascii()
    assert answer.json()["functions"][HOSTILE]["led_requests"] == 1
    assert answer.json()["reasons"][0]["function"] == HOSTILE


# ---- keys ----


async def flights_in_the_air(app, *keys: str, name="seen"):
    """The answer while a fetch of each key is in the air."""
    origin = Origin()

    @coalesced(name=name, key="odds:{league}")
    async def odds(league):
        return await origin(league)

    tasks = start(*(odds(key) for key in keys), odds(keys[0]))
    await turns()
    answer = await ask(app)
    for _ in keys:
        origin.answer()
    await outcomes(tasks)
    return answer


async def test_no_key_is_shown():
    """Keys hold arguments of calls, so nothing of them is in the answer."""
    answer = await flights_in_the_air(health_app(), "s3cret")
    assert answer.json()["pending_keys"] == 1
    assert b"s3cret" not in answer.body


async def test_keys_are_shown_to_who_exposes_them():
    """With expose_keys the fetches in the air are listed, with key, age and waiters."""
    told = (await flights_in_the_air(health_app(expose_keys=True), "s3cret")).json()
    (flight,) = told["flights"]
    assert (flight["function"], flight["key"], flight["waiters"]) == ("seen", "odds:s3cret", 1)
    assert flight["age_seconds"] >= 0
    assert told["flights_left_out"] == 0


async def test_only_so_many_flights_are_shown():
    """Of many fetches in the air a hundred are listed, each with at most 200 characters of its key."""
    keys = [f"{number:03}{'x' * 1000}" for number in range(MOST_FLIGHTS + 5)]
    told = (await flights_in_the_air(health_app(expose_keys=True), *keys)).json()
    assert (len(told["flights"]), told["flights_left_out"]) == (MOST_FLIGHTS, 5)
    assert max(len(flight["key"]) for flight in told["flights"]) == 200


async def test_the_oldest_flights_are_shown(virtual_time):
    """Over all functions the oldest come first."""
    origin = Origin()

    @coalesced(key="{name}")
    async def first(name):
        return await origin(name)

    @coalesced(key="{name}")
    async def second(name):
        return await origin(name)

    app = health_app(expose_keys=True)
    tasks = []
    for number in range(60):
        tasks += start(first(f"first{number}"), second(f"second{number}"))
        await asyncio.sleep(1)
    told = (await ask(app)).json()["flights"]
    assert [flight["age_seconds"] for flight in told] == [float(60 - number // 2) for number in range(MOST_FLIGHTS)]
    for _ in tasks:
        origin.answer()
    await outcomes(tasks)


async def test_a_function_that_is_gone_shows_no_flight():
    """The registry keeps no function alive to look at its limits or flights."""

    @coalesced(name="brief")
    async def brief(): ...

    app = health_app(expose_keys=True)
    counters = brief.__coalesced__.counters
    counters.in_flight += 1  # as if a fetch outlived its function
    del brief
    gc.collect()
    told = (await ask(app)).json()
    counters.in_flight -= 1
    assert "brief" not in told["functions"]
    assert (told["flights"], told["flights_left_out"]) == ([], 1)


# ---- HTTP ----


@pytest.mark.parametrize("path", [PATH, f"{PATH}/", "/coalescer", "/coalescer/", "/", "", "coalescer"])
async def test_it_answers_wherever_it_is_mounted(path):
    """Mounted at its path, at a prefix of it or at the root, with a slash at the end or without."""
    assert (await ask(health_app(), path)).status == 200


@pytest.mark.parametrize(
    ("root", "path", "status"),
    [
        ("/health/coalescer", "/health/coalescer", 200),
        ("/health/coalescer", "/health/coalescer/", 200),
        ("/health", "/health/coalescer", 200),
        ("/api/v1/", "/api/v1/health/coalescer", 200),
        ("/api", "/coalescer", 200),  # a dispatcher that cut its part off, behind a proxy that told its own
        ("/health", "/health/other", 404),
        ("/health", "/healthy", 404),
        ("/health", "/healthcoalescer", 404),
        ("/health/coalescer", "/health/coalescer/deeper", 404),
    ],
)
async def test_the_part_of_the_mount_is_told_apart(root, path, status):
    """What ASGI calls root_path is not part of the question."""
    assert (await ask(health_app(), path, root_path=root)).status == status


@pytest.mark.parametrize(
    "path", ["/nothing", "/health", "/ealth/coalescer", "/lescer", "lescer", "/health/coalescer/x", "//", "*"]
)
async def test_an_unknown_path_is_404(path):
    """Whatever the method, and without a number in the body."""
    for method in ("GET", "POST", "OPTIONS"):
        answer = await ask(health_app(), path, method)
        assert (answer.status, answer.json()) == (404, {"detail": "not found"})


async def test_another_path_may_be_chosen():
    """Where the route is called otherwise, the application is told."""
    app = health_app(path="/internal/coalescing/")
    assert (await ask(app, "/internal/coalescing")).status == 200
    assert (await ask(app, PATH)).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "BREW", "get", ""])
async def test_another_method_is_405(method):
    """And says which are allowed."""
    answer = await ask(health_app(), method=method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


async def test_options_says_what_is_allowed():
    """204 without a body, and without a length."""
    answer = await ask(health_app(token="s3cret"), method="OPTIONS")
    assert (answer.status, answer.headers["allow"], answer.body) == (204, "GET, HEAD, OPTIONS", b"")
    assert "content-length" not in answer.headers


@pytest.mark.parametrize("accept", ["*/*", BROWSER])
async def test_head_is_get_without_the_body(accept):
    """The same status and headers, with the length that the body would have."""
    app = health_app(StatsRegistry(now=lambda: 0.0))
    head, get = await ask(app, method="HEAD", accept=accept), await ask(app, accept=accept)
    assert (head.status, head.headers, head.body) == (get.status, get.headers, b"")
    assert int(head.headers["content-length"]) == len(get.body)


@pytest.mark.parametrize("accept", ["*/*", BROWSER])
async def test_nothing_is_stored_sniffed_or_referred(accept):
    """Every answer forbids caches, guesses at its type and referrers, and says that its form was negotiated."""
    headers = (await ask(health_app(), accept=accept)).headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "Accept" in headers["vary"].split(", ")
    assert "default-src 'none'" in headers["content-security-policy"]


@pytest.mark.parametrize(("version", "closes"), [("1.0", True), ("1.1", True), ("2", False), ("3", False)])
async def test_the_connection_is_closed_after_the_numbers(version, closes):
    """Over HTTP/1 whoever polls comes to another worker next time; later versions know no such header."""
    answer = await ask(health_app(), http_version=version)
    assert (answer.headers.get("connection") == "close") is closes
    assert "connection" not in (await ask(health_app(), accept=BROWSER)).headers


async def test_a_scope_with_nothing_but_the_necessary():
    """What ASGI calls optional may be missing."""
    sent = []

    async def send(message):
        sent.append(message)

    await health_app()({"type": "http", "method": "GET", "path": PATH}, None, send)
    assert sent[0]["status"] == 200


# ---- which form ----


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        (None, False),
        ("", False),
        ("*/*", False),
        ("application/json", False),
        ("text/html", True),
        ("TEXT/HTML;Charset=utf-8", True),
        (BROWSER, True),
        ("text/*", True),
        ("application/json, text/html", False),  # undecided is JSON
        ("text/html, application/json;q=0.9", True),
        ("text/html;q=0.5, application/json;q=0.6", False),
        ("text/html;q=0.5, application/json;q=0.4", True),
        ("text/html;q=0, */*", False),
        ("text/html;q=0", False),
        ("text/html ; q=1.000 , */* ; q = 0.999", True),
        ("text/html;level=1;q=0.2, */*;q=0.1", True),
        ("image/png", False),
        # what cannot be understood does not count
        ("text/html;q=2", False),
        ("text/html;q=nan", False),
        ("text/html;q=inf", False),
        ("text/html;q=-1", False),
        ("text/html;q=1e0", False),
        ("text/html;q=0.12345", False),
        ("text/html;q=", False),
        (";;;,,,q=1;", False),
        ("text/html" + ",a/b" * 1000, True),
        ("a/b," * 1000 + "text/html", False),
    ],
)
def test_the_form_that_is_preferred(accept, html):
    """A page for who prefers HTML to JSON by the quality of the most specific range; JSON for everybody else."""
    headers = [] if accept is None else [(b"accept", accept.encode("utf-8"))]
    assert prefers_html(headers) is html


def test_digits_of_other_scripts_are_no_quality():
    """A superscript two is a digit to Python and no number."""
    assert not prefers_html([(b"accept", b"text/html;q=\xb2")])


def test_several_accept_headers_are_one():
    """Repeated headers are read together, whatever the case of their names."""
    assert prefers_html([(b"Accept", b"application/json;q=0.1"), (b"accept", b"text/html")])


async def test_the_page_is_for_browsers():
    """HTML is the dashboard, as it lies beside the application; JSON is for all others at the same address."""
    answer = await ask(health_app(), accept=BROWSER)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.body == read_page().body
    assert answer.body.lstrip().lower().startswith(b"<!doctype html>")


async def test_the_page_is_read_once(monkeypatch):
    """However many browsers ask."""
    reads = []
    monkeypatch.setattr("coalesce_kit.exporters.asgi.read_page", lambda: reads.append(1) or Page(b"page", b"policy"))
    app = health_app()
    bodies = [(await ask(app, accept=BROWSER)).body for _ in range(3)]
    assert (bodies, reads) == ([b"page"] * 3, [1])


async def test_the_page_may_run_its_own_scripts_and_nothing_else():
    """The policy names each script and style of the page by its hash, its own address to poll, and forbids the rest."""
    answer = await ask(health_app(), accept=BROWSER)
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    page = answer.body.decode()
    for tag in ("script", "style"):
        bodies = re.findall(rf"<{tag}\b[^>]*>(.*?)</{tag}>", page, flags=re.DOTALL)
        hashes = [base64.b64encode(hashlib.sha256(body.encode()).digest()).decode() for body in bodies]
        assert bodies
        assert policy[f"{tag}-src"].split() == [f"'sha256-{digest}'" for digest in hashes]
    assert {name: value for name, value in policy.items() if not name.startswith(("script", "style"))} == {
        "default-src": "'none'",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
    }


def test_a_page_without_scripts_may_run_none():
    """A kind of which the page has none is forbidden."""
    policy = policy_for("<style>a</style><p>script</p>")
    assert "script-src;" in policy
    assert "style-src 'sha256-" in policy


def test_the_page_is_read_when_it_is_asked_for():
    """Who never asks for the page does not pay for it, and importing the package imports no exporter."""
    question = (
        "import sys, coalesce_kit; print([name for name in sys.modules if name.startswith('coalesce_kit.exporters')])"
    )
    done = subprocess.run([sys.executable, "-c", question], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert health_app()._page is None


# ---- the token ----


async def test_without_the_token_there_is_no_number():
    """Who does not send it is told which way to send it, and nothing else."""
    answer = await ask(health_app(token="s3cret"))
    assert (answer.status, answer.json()) == (401, {"detail": "a token is needed"})
    assert answer.headers["www-authenticate"] == 'Bearer realm="coalesce_kit"'
    assert (await ask(health_app(token="s3cret"), method="HEAD")).status == 401


@pytest.mark.parametrize("given", ["Bearer s3cret", "bearer s3cret", "BEARER  s3cret "])
async def test_with_the_token_the_numbers_are_told(given):
    """The scheme is not case-sensitive, the token is."""
    assert (await ask(health_app(token="s3cret"), authorization=given)).status == 200


@pytest.mark.parametrize(
    "given",
    ["", "s3cret", "Bearer", "Bearer ", "Bearer S3CRET", "Bearer s3cre", "Bearer s3cret x", "Basic s3cret", "Bearer é"],
)
async def test_another_token_is_refused(given):
    """Nothing but the token itself, as Bearer."""
    assert (await ask(health_app(token="s3cret"), authorization=given)).status == 401


async def test_the_page_itself_is_no_secret():
    """It holds no number, and asks its reader for the token."""
    answer = await ask(health_app(token="s3cret"), accept=BROWSER)
    assert answer.status == 200
    assert b"s3cret" not in answer.body


def test_the_token_is_compared_in_constant_time(monkeypatch):
    """The whole of it goes through hmac.compare_digest, whatever the scheme."""
    compared = []
    monkeypatch.setattr("hmac.compare_digest", lambda *pair: compared.append(pair) or True)
    assert has_token([(b"authorization", b"Bearer x")], b"s3cret")
    assert not has_token([(b"authorization", b"Basic x")], b"s3cret")
    assert compared == [(b"x", b"s3cret")] * 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"token": ""},
        {"token": "two words"},
        {"token": "é"},
        {"token": "a\nb"},
        {"degraded_status": 99},
        {"degraded_status": 600},
        {"degraded_status": "503"},
        {"path": "health"},
    ],
)
def test_arguments_that_make_no_sense(wrong):
    """An application that could never work is refused by the argument's name."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        health_app(**wrong)


# ---- other connections ----


async def test_it_starts_and_stops_with_a_server():
    """When nothing stands between it and the server, the lifespan is answered."""
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent = []

    async def receive():
        return next(messages)

    async def send(message):
        sent.append(message["type"])

    await health_app()({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_a_websocket_is_refused():
    """It is closed before it is accepted."""
    sent = []

    async def send(message):
        sent.append(message)

    await health_app()({"type": "websocket", "path": PATH}, None, send)
    assert sent == [{"type": "websocket.close", "code": 1008}]


async def test_an_unknown_kind_of_connection_is_an_error():
    """As ASGI has it."""
    with pytest.raises(NotImplementedError, match="'smoke'"):
        await health_app()({"type": "smoke"}, None, None)


# ---- much, and malformed ----


@hypothesis.given(
    method=st.text(max_size=20),
    path=st.text(max_size=100),
    root=st.text(max_size=20),
    headers=st.lists(
        st.tuples(st.sampled_from([b"accept", b"authorization", b"host", b"Accept"]), st.binary(max_size=200)),
        max_size=5,
    ),
)
def test_no_request_does_harm(method, path, root, headers):
    """Whatever is asked, there is one answer, and it is one of the known ones."""
    app = health_app(StatsRegistry(), token="s3cret")
    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "root_path": root, "headers": headers}
    with pytest.raises(StopIteration):
        app(scope, None, send).send(None)
    assert sent[0]["status"] in {200, 204, 401, 404, 405}
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]


def test_looking_takes_a_tenth_of_the_time():
    """Ten thousand polls a minute of something that takes 20 ms cost a second at once, and then 10 % of one core."""
    time = 0.0
    budget = Budget(seconds=1.0, share=0.1, now=lambda: time)
    looks = 0
    for poll in range(10_000):
        time = max(time, poll * 0.006)
        if budget.allows():
            with budget:
                looks += 1
                time += 0.02
    assert 7.0 <= looks * 0.02 <= 7.2


async def test_polls_beyond_the_budget_share_an_answer():
    """When looking takes too long, a poll is given what the last one saw, and never waits."""
    looks = count(1)
    registry = sick_registry()
    app = health_app(registry)
    registry.register("looked", Counters(), gauges=lambda: Gauges(waiters=next(looks)))
    app._budget = Budget(seconds=0.5, share=0.1, now=iter(range(1000)).__next__)
    bodies = [(await ask(app)).json()["functions"]["looked"]["waiters"] for _ in range(30)]
    assert bodies[:3] == [1, 1, 1]
    assert bodies[-1] > 1


async def test_few_polls_are_never_given_an_old_answer():
    """What was counted a moment ago is in the next answer."""

    @coalesced(name="seen")
    async def odds(league): ...

    registry = StatsRegistry()  # of its own: looking at the functions of all tests would be looking for long
    odds.__coalesced__.register(registry)
    app = health_app(registry)
    for number in range(1, 50):
        await odds("nba")
        assert (await ask(app)).json()["total_requests"] == number


# ---- an origin that hangs ----


async def test_a_hung_origin_is_a_warning_then_degraded_then_over(virtual_time):
    """Polled every second: three times the p99 (a second at least), then max_wait_seconds, then ten good seconds."""
    origin = Origin()

    @coalesced(name="seen", max_wait_seconds=5)
    async def odds(league):
        return await origin(league)

    registry = StatsRegistry(now=virtual_time.now)
    odds.__coalesced__.register(registry)
    app = health_app(registry, degraded_status=503)
    for number in range(20):
        await answered_after(origin, 0.1, odds(number))
    story = []

    async def poll(seconds):
        for _ in range(seconds):
            await asyncio.sleep(1)
            answer = await ask(app)
            told = answer.json()
            codes = tuple((reason["code"], reason["status"], reason["recovering"]) for reason in told["reasons"])
            if not story or story[-1][1:] != (told["status"], answer.status, codes):
                story.append((round(virtual_time.now() - hung), told["status"], answer.status, codes))

    hung = virtual_time.now()
    callers = start(odds("nba"), odds("nba"))
    await poll(8)
    origin.answer()
    leader, waiter = await outcomes(callers)
    assert (leader, type(waiter).__name__) == ("answer", "WaitTimeoutError")
    await poll(90)

    too_old, slow, timed_out = "flight_too_old", "slow_fetches", "wait_timeouts"
    assert story == [
        (1, "healthy", 200, ()),
        (2, "warning", 200, ((too_old, "warning", False),)),
        (5, "warning", 200, ((too_old, "warning", False), (timed_out, "warning", False))),
        (6, "degraded", 503, ((too_old, "degraded", False), (timed_out, "warning", False))),
        # the fetch has ended, and had outlasted what others would have waited
        (9, "degraded", 503, ((too_old, "degraded", True), (slow, "warning", False), (timed_out, "warning", False))),
        (19, "warning", 200, ((slow, "warning", False), (timed_out, "warning", False))),
        # the window has passed, and ten good seconds after it
        (68, "warning", 200, ((slow, "warning", False), (timed_out, "warning", True))),
        (73, "warning", 200, ((slow, "warning", True), (timed_out, "warning", True))),
        (78, "warning", 200, ((slow, "warning", True),)),
        (83, "healthy", 200, ()),
    ]


async def answered_after(origin, seconds, call):
    """Make a call that the origin answers after so many seconds."""
    (task,) = start(call)
    await asyncio.sleep(seconds)
    origin.answer()
    await task
