"""The small parts of the Redis store that need no server: recipes, messages, errors, scripts, arguments."""

from __future__ import annotations

import asyncio
import hashlib

import pytest
import redis.asyncio
from redis import exceptions
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool

from coalesce_kit.errors import ConfigurationError
from coalesce_kit.store_port import Dropped, Finished, TagMoved, Voided
from coalesce_kit.stores.redis import RedisStore
from coalesce_kit.stores.redis_connections import CONNECT_TIMEOUT_SECONDS, close_client, find_endpoint
from coalesce_kit.stores.redis_failures import Failure, judge
from coalesce_kit.stores.redis_messages import read_message
from coalesce_kit.stores.redis_scripts import Scripts

# ---- where and how to connect ----


def settings_of(client):
    """What a client's connections are made with."""
    return client.connection_pool.connection_kwargs


async def test_a_client_is_only_looked_at():
    """Place, database, user and protocol are taken over; decoding, retries and time-outs are ours."""
    given = redis.asyncio.Redis(
        host="there",
        port=7,
        db=3,
        username="u",
        password="p",
        protocol=3,
        decode_responses=True,
        socket_timeout=0.1,
        health_check_interval=9,
        max_connections=1,
    )
    own = find_endpoint(given).make_client()
    settings = settings_of(own)
    assert own.connection_pool is not given.connection_pool
    taken = {name: settings[name] for name in ("host", "port", "db", "username", "password", "protocol")}
    assert taken == {"host": "there", "port": 7, "db": 3, "username": "u", "password": "p", "protocol": 3}
    assert (settings["decode_responses"], settings["socket_timeout"], settings["health_check_interval"]) == (
        False,
        None,
        0,
    )
    assert (settings["socket_connect_timeout"], settings["socket_keepalive"]) == (CONNECT_TIMEOUT_SECONDS, True)
    assert settings["retry"]._retries == 0
    assert own.connection_pool.max_connections > 2
    await close_client(own)


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("rediss://there:7/1?ssl_cert_reqs=none", SSLConnection),
        ("unix:///tmp/somewhere?db=2", UnixDomainSocketConnection),
    ],
)
async def test_a_url_says_how(url, kind):
    """`rediss://` is TLS with its options, `unix://` a socket."""
    endpoint = find_endpoint(url)
    client = endpoint.make_client()
    assert client.connection_pool.connection_class is kind
    assert ("socket_keepalive" in settings_of(client)) is (kind is SSLConnection)
    assert endpoint.primaries(client) == frozenset()
    (listener,) = await endpoint.make_listeners()
    assert settings_of(listener)["db"] in (1, 2)


async def test_a_sentinel_is_asked_by_sentinels_of_our_own():
    """The service and the sentinels are taken over; asking them ends within the time for connecting."""
    given = Sentinel([("one", 1), ("two", 2)], min_other_sentinels=1).master_for("primary", db=4)
    endpoint = find_endpoint(given)
    client = endpoint.make_client()
    pool = client.connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    assert pool is not given.connection_pool
    assert (pool.service_name, pool.sentinel_manager.min_other_sentinels, settings_of(client)["db"]) == (
        "primary",
        1,
        4,
    )
    asked = [settings_of(sentinel) for sentinel in pool.sentinel_manager.sentinels]
    assert [(one["host"], one["port"], one["socket_timeout"]) for one in asked] == [("one", 1, 1.0), ("two", 2, 1.0)]
    assert endpoint.primaries(client) == frozenset()
    assert len(await endpoint.make_listeners()) == 1
    await close_client(client)


async def test_a_replica_is_no_place_for_a_store():
    """A sentinel's replicas cannot be written to."""
    with pytest.raises(ConfigurationError, match="needs the primary"):
        find_endpoint(Sentinel([("one", 1)]).slave_for("primary"))


async def test_a_cluster_is_a_cluster_of_our_own():
    """Startup nodes, user and TLS are taken over."""
    given = redis.asyncio.RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", 7)], password="p", ssl=True)
    own = find_endpoint(given).make_client()
    assert own is not given
    (node,) = own.nodes_manager.startup_nodes.values()
    assert (node.host, node.port, own.connection_kwargs["password"]) == ("127.0.0.1", 7, "p")
    assert own.connection_kwargs["socket_timeout"] is None
    await close_client(own)


@pytest.mark.filterwarnings("ignore:.*cluster_error_retry_attempts:DeprecationWarning")
async def test_an_older_cluster_client_is_told_to_try_once(monkeypatch):
    """Before 6 the client has a number of its own for it."""
    monkeypatch.setattr("coalesce_kit.stores.redis_connections.redis_version", "5.0.1")
    given = redis.asyncio.RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", 7)])
    own = find_endpoint(given).make_client()
    assert own.retry._retries == 0 if own.retry else own.cluster_error_retry_attempts == 1
    await close_client(own)


@pytest.mark.parametrize("wrong", ["http://there", "there", None, 7, object()])
async def test_what_is_no_server_is_refused(wrong):
    """A URL of another kind, or no client of redis.asyncio, is told at construction."""
    with pytest.raises(ConfigurationError):
        RedisStore(wrong, namespace="odds")


@pytest.mark.parametrize("wrong", ["", "a:b", "a{b", "a}b", "a\nb"])
async def test_a_namespace_is_a_word(wrong):
    """What would be read as another key is no namespace."""
    with pytest.raises(ConfigurationError, match="a namespace is a word"):
        RedisStore("redis://there", namespace=wrong)


async def test_a_store_says_what_it_is():
    """Its namespace and secret are seen, the secret not in its text; nothing was counted, nothing connected."""
    store = RedisStore("redis://there", namespace="odds", digest_key=b"secret")
    assert (store.namespace, store.digest_key, repr(store)) == ("odds", b"secret", "<RedisStore namespace='odds'>")
    assert store.stats().breaker_state == "closed"
    await store.aclose()


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), "1"])
async def test_a_time_out_is_a_duration(wrong):
    """What is no duration is told at construction."""
    with pytest.raises(ConfigurationError, match="operation_timeout_seconds"):
        RedisStore("redis://there", namespace="odds", operation_timeout_seconds=wrong)


def test_a_store_is_made_without_a_loop():
    """Construction opens nothing; a loop that is gone leaves nothing behind but its numbers once another one asks."""
    store = RedisStore("redis://127.0.0.1:1", namespace="odds")

    async def ask(*, close):
        with pytest.raises(ConnectionError):
            await store.read("key")
        links = len(store._links)
        assert store.stats().breaker_state == "open"
        if close:
            await store.aclose()
        return links

    assert [asyncio.run(ask(close=close)) for close in (True, False, True)] == [1, 1, 1]
    assert (store.stats().breaker_state, store.stats().store_errors) == ("closed", 6)


# ---- what errors mean ----

JUDGED = [
    (exceptions.ConnectionError("Connection closed by server."), Failure.CUT),
    (ConnectionResetError(), Failure.CUT),
    (exceptions.InvalidResponse("Protocol Error"), Failure.CUT),
    (exceptions.RedisClusterException("Redis Cluster cannot be connected"), Failure.CUT),
    (exceptions.TimeoutError("Timeout connecting"), Failure.LATE),
    (TimeoutError(), Failure.LATE),
    (exceptions.BusyLoadingError("Redis is loading the dataset in memory"), Failure.NOT_NOW),
    (exceptions.ClusterDownError("The cluster is down"), Failure.NOT_NOW),
    (exceptions.MasterDownError("Link with MASTER is down"), Failure.NOT_NOW),
    (exceptions.TryAgainError("Multiple keys request"), Failure.NOT_NOW),
    (exceptions.ResponseError("BUSY Redis is busy running a script"), Failure.NOT_NOW),
    (exceptions.ResponseError("NOREPLICAS Not enough good replicas"), Failure.NOT_NOW),
    (exceptions.ReadOnlyError("You can't write against a read only replica."), Failure.DEMOTED),
    (exceptions.ResponseError("READONLY You can't write"), Failure.DEMOTED),
    (exceptions.ResponseError("ERR READONLY inside a script"), Failure.DEMOTED),
    (exceptions.NoScriptError("No matching script."), Failure.UNKNOWN_SCRIPT),
    (exceptions.ResponseError("NOSCRIPT No matching script."), Failure.UNKNOWN_SCRIPT),
    (exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), Failure.REFUSED),
    (exceptions.NoPermissionError("this user has no permissions"), Failure.REFUSED),
    (exceptions.ResponseError("WRONGTYPE Operation against a key"), Failure.REFUSED),
    (exceptions.AuthenticationError("invalid username-password pair"), Failure.REFUSED),
    (exceptions.DataError("Invalid input"), Failure.REFUSED),
]


@pytest.mark.parametrize(("error", "failure"), JUDGED, ids=lambda value: str(value)[:40])
def test_every_error_has_a_meaning(error, failure):
    """Each error of redis-py and each code of the server is what it is to an operation."""
    assert judge(error) is failure


# ---- messages ----


def frames(*values):
    return b"".join(b"%d:%s" % (len(value), value) for value in values)


@pytest.mark.parametrize(
    ("message", "signal"),
    [
        (
            frames(b"finished", "kéy".encode(), b"t", b"keep", b"1500", b"2000", b"0.25", b"\x001:2\r\n"),
            Finished("kéy", "t", "keep", b"\x001:2\r\n", 1.5, 2.0, 0.25),
        ),
        (
            frames(b"finished", b"k", b"t", b"error", b"0", b"0", b"1e-05", b""),
            Finished("k", "t", "error", b"", 0, 0, 1e-05),
        ),
        (frames(b"finished", b"k", b"t", b"once", b"0", b"0", b"1.0"), Finished("k", "t", "once", None, 0, 0, 1.0)),
        (frames(b"voided", b"k", b"t"), Voided("k", "t")),
        (frames(b"dropped", b"k"), Dropped("k")),
        (frames(b"dropped", b"k", b"v"), Dropped("k", "v")),
        (frames(b"moved", b"a:b", b"v"), TagMoved("a:b", "v")),
    ],
)
def test_a_message_is_a_signal(message, signal):
    """Each kind of message is read as it was written."""
    assert read_message(message) == signal


@pytest.mark.parametrize(
    "message",
    [
        *(b"", b"hello", b"5:hello", b"9:hello", b"x:hello", b"-1:a"),
        frames(b"voided", b"k"),
        frames(b"moved", b"k", b"\xff"),
        frames(b"finished", b"k", b"t", b"never", b"0", b"0", b"1"),
        frames(b"finished", b"k", b"t", b"keep", b"x", b"0", b"1"),
    ],
)
def test_what_is_no_message_is_nothing(message):
    """Whatever somebody else publishes on our channels harms nobody."""
    assert read_message(message) is None


# ---- scripts ----


@pytest.mark.parametrize(
    "name", ["acquire", "renew", "publish", "abandon", "invalidate", "read", "tag_version", "open"]
)
def test_a_script_is_known_by_its_digest(name):
    """Each script is there, without a header that would have a full server refuse it, and read once."""
    scripts = Scripts()
    script = getattr(scripts, name)
    assert script.digest == hashlib.sha1(script.text.encode()).hexdigest()
    assert not script.text.startswith("#!")
    assert script.text.count("redis.call('TIME')") == 1
    assert getattr(scripts, name) is script
