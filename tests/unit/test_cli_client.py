"""Asking a health endpoint: what is sent, what is believed, and what is said when there is no answer."""

from __future__ import annotations

import json
import socket
import threading

import pytest

from coalesce_kit.cli.client import ClientError, address_of, ask, one_line, read_answer, read_stats
from coalesce_kit.stats.counters import Counters
from coalesce_kit.stats.latency import BOUNDS_SECONDS
from tests.endpoint import PATH, endpoint, worker_says


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    """The loopback is asked directly, whatever this machine has for the world."""
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def told():
    with endpoint() as told:
        yield told


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("localhost:8000", f"http://localhost:8000{PATH}"),
        ("http://localhost:8000/", f"http://localhost:8000{PATH}"),
        ("https://odds.example", f"https://odds.example{PATH}"),
        ("https://odds.example/status?x=1#top", "https://odds.example/status?x=1"),
        ("http://[::1]:80", f"http://[::1]:80{PATH}"),
    ],
)
def test_an_address_is_completed(given, meant):
    """A host is enough: the scheme is http, and the path the usual one"""
    assert address_of(given) == meant


@pytest.mark.parametrize(
    "given", ["ftp://odds.example", "http://", "http://[", "http://a:99999", "", "file:///etc/passwd"]
)
def test_what_is_no_address_is_told(given):
    """The message shows an address that would be one"""
    with pytest.raises(ClientError, match=r"is no address.*http://localhost:8000"):
        address_of(given)


def test_a_token_in_the_address_is_refused():
    """An address is shown and logged: a token has no place in it"""
    with pytest.raises(ClientError, match="--token or COALESCE_KIT_TOKEN") as caught:
        address_of("http://user:secret@localhost")
    assert "secret" not in str(caught.value)


def test_every_number_comes_back_as_it_was():
    """What a snapshot becomes as JSON is read as the same snapshot, for every bucket of its histograms"""
    counters = Counters()
    for index, number in enumerate(vars_of(counters), start=1):
        setattr(counters, number, index)
    for index, bound in enumerate(BOUNDS_SECONDS):
        counters.fetch_latency.record(bound, index + 1)
    counters.wait_latency.record(1e9)
    stats = counters.snapshot("shop.fixtures")
    read = read_stats(json.loads(json.dumps(stats.as_dict())), stats.name, stats.instance, stats.pid)
    assert read == stats


def vars_of(counters):
    return [name for name in counters.__slots__ if not name.endswith("_latency")]


def test_what_is_sent(told):
    """JSON is asked for, and the token goes along"""
    answer = ask(told.url + PATH, token="right-token")
    assert (answer.instance, answer.pid, answer.status) == ("a", 1, "healthy")
    (headers,) = told.asked
    assert headers["accept"] == "application/json"
    assert headers["authorization"] == "Bearer right-token"
    assert headers["connection"] == "close"


def test_without_a_token_none_is_sent(told):
    """No header is there for nothing"""
    ask(told.url + PATH)
    assert "authorization" not in told.asked[0]


def test_a_refused_token_is_told(told):
    """The message names both ways to give one"""
    told.token = "right-token"
    with pytest.raises(ClientError, match="asks for a token.*--token or COALESCE_KIT_TOKEN"):
        ask(told.url + PATH, token="wrong")


def test_a_token_is_never_sent_elsewhere(told):
    """A redirect is not followed: the message says where it leads"""
    with endpoint() as elsewhere:
        told.say((302, {"Location": elsewhere.url + PATH}, ""))
        with pytest.raises(ClientError, match=f"sends us to {elsewhere.url}"):
            ask(told.url + PATH, token="right-token")
        assert elsewhere.asked == []


def test_a_degraded_service_may_answer_503(told):
    """Numbers are numbers, whatever status comes with them"""
    told.say((503, {"Content-Type": "application/json"}, json.dumps(worker_says(status="degraded"))))
    assert ask(told.url + PATH).status == "degraded"


@pytest.mark.parametrize(
    ("turn", "why"),
    [
        ((500, {"Content-Type": "text/html"}, "<p>oh"), "answered with status 500: look into its log"),
        ((404, {"Content-Type": "application/json"}, "{}"), "status 404: the path is the one where health_app"),
        ((503, {"Content-Type": "application/json"}, "{}"), "something other than the numbers of coalesce_kit"),
        ((200, {"Content-Type": "text/html"}, "<p>hello"), "something other than the numbers of coalesce_kit"),
        ((200, {"Content-Type": "application/json"}, "[]"), "something other than the numbers of coalesce_kit"),
        ((200, {"Content-Type": "application/json"}, "[" * 100_000), "something other than the numbers"),
        ((302, {"Location": "http://x\x1bred"}, ""), r"sends us to http://x\?red"),
    ],
)
def test_what_is_no_answer_is_told(told, turn, why):
    """One line says what came, and what to do"""
    told.say(turn)
    with pytest.raises(ClientError, match=why) as caught:
        ask(told.url + PATH)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("number", [-1, True, "7", None, float("nan"), float("inf"), [1]])
def test_a_number_that_is_none_is_not_believed(number):
    """A count that is no count makes the whole answer none"""
    answer = worker_says(functions={"shop.fixtures": {}})
    answer["functions"]["shop.fixtures"]["cache_hits"] = number
    with pytest.raises(ClientError, match="something other than the numbers"):
        read_answer(json.dumps(answer).encode(), "http://x")


def test_a_newer_service_may_tell_more_and_an_older_one_less():
    """Fields that are not known are passed over, missing ones are zero, and another status is unknown"""
    answer = worker_says(functions={"shop.fixtures": {"cache_hits": 3}}, status="sleepy")
    answer["functions"]["shop.fixtures"]["quantum_hits"] = 7
    del answer["functions"]["shop.fixtures"]["led_requests"], answer["version"]
    read = read_answer(json.dumps(answer).encode(), "http://x")
    assert read.functions["shop.fixtures"].total_requests == 3
    assert (read.status, read.version) == ("unknown", "")


def test_a_reason_without_words_is_told_by_its_code():
    """A reason says something in any case"""
    reasons = [{"code": "oldest_flight", "function": None}, {"code": "zombies", "function": "f", "text": "two"}]
    read = read_answer(json.dumps(worker_says(reasons=reasons)).encode(), "http://x")
    assert [(reason.text, reason.function) for reason in read.reasons] == [("oldest flight", None), ("two", "f")]


def test_nobody_listens():
    """A closed port is told as that"""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(ClientError, match="nobody listens at .*: is the service running"):
        ask(f"http://127.0.0.1:{port}")


def test_a_host_that_is_not_known():
    """A name without an address is told as that"""
    with pytest.raises(ClientError, match=r"the host of .* is not known"):
        ask("http://nowhere.invalid")


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n{"])
def test_a_service_that_hangs_is_given_up(begun):
    """Silence ends after the time that was given, before the first byte as in the middle of an answer"""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        pytest.raises(ClientError, match=r"within 0\.2 s.*--timeout"),
    ):
        held = []

        def hold():
            connection, _ = listener.accept()
            held.append(connection)
            connection.sendall(begun)

        answered = threading.Thread(target=hold)
        answered.start()
        try:
            ask(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_seconds=0.2)
        finally:
            answered.join()
            held[0].close()


def test_an_answer_that_trickles_is_given_up(told, monkeypatch):
    """The time is for the whole answer: one byte now and then does not stretch it"""
    moments = iter([0.0, 11.0])
    monkeypatch.setattr("coalesce_kit.cli.client.time.monotonic", lambda: next(moments))
    with pytest.raises(ClientError, match="did not answer within 10 s"):
        ask(told.url + PATH)


def test_an_endless_answer_is_given_up(told, monkeypatch):
    """What is larger than any health endpoint's answer is none"""
    monkeypatch.setattr("coalesce_kit.cli.client.MOST_BYTES", 100)
    with pytest.raises(ClientError, match="is it a health endpoint"):
        ask(told.url + PATH)


def test_what_is_no_http_is_told():
    """Another protocol is told as one line"""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def talk():
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"220 mail\x1b[31m ready\r\n")

        talking = threading.Thread(target=talk)
        talking.start()
        with pytest.raises(ClientError, match="cannot be asked") as caught:
            ask(f"http://127.0.0.1:{listener.getsockname()[1]}")
        talking.join()
    assert str(caught.value).isprintable()


def test_a_token_that_is_no_header_is_told():
    """A line break in a token is an error, not a second header"""
    with pytest.raises(ClientError, match="cannot be asked"):
        ask("http://127.0.0.1:1", token="a\r\nX-Evil: 1")


def test_one_line_is_one_line():
    """What does not print is a question mark"""
    assert one_line("a\nb\x1b[31m\u202ec") == "a?b?[31m?c"
    assert len(one_line("x" * 10_000)) == 1000
