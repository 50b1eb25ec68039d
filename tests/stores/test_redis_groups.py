"""The Redis store keeps the contract on a cluster of three, behind a sentinel, and over TLS."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess

import pytest
import redis.asyncio
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.sentinel import Sentinel

from coalesce_kit.store_port import Connected, Dropped, Lost, Published
from coalesce_kit.stores import redis_connections, redis_pipeline, redis_signals
from coalesce_kit.stores.redis import RedisStore
from coalesce_kit.testing.store_contract import LeaseStoreContract
from tests.stores.servers import BINARIES, free_port, running, running_cluster, running_sentinel

pytestmark = pytest.mark.heavy("redis")

PATIENT = 5.0  # seconds: a busy machine is no outage


@pytest.fixture(autouse=True)
def patient_connections(monkeypatch):
    """A handshake of TLS takes its time on a busy machine, too."""
    for module in (redis_connections, redis_pipeline, redis_signals):
        monkeypatch.setattr(module, "CONNECT_TIMEOUT_SECONDS", PATIENT)


KINDS = pytest.fixture(scope="module", params=BINARIES or [None])


def need(binary):
    """Skip where no server is installed."""
    if binary is None:
        pytest.skip("no server is installed: python -m tools.binaries --install")
    return binary


@KINDS
def cluster(request):
    """Three primaries."""
    with running_cluster(need(request.param)) as nodes:
        yield nodes


@KINDS
def watched(request):
    """A primary, and a sentinel that watches it."""
    with running(need(request.param)) as primary, running_sentinel(request.param, primary) as sentinel:
        yield primary, sentinel


@KINDS
def secret(request, tmp_path_factory):
    """A server that speaks TLS."""
    need(request.param)
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names]
    subprocess.run([*command, "-keyout", "key.pem", "-out", "cert.pem"], cwd=folder, check=True, capture_output=True)
    port = free_port()
    options = ["--tls-port", str(port), "--tls-cert-file", str(folder / "cert.pem"), "--tls-auth-clients", "no"]
    options += ["--tls-key-file", str(folder / "key.pem"), "--tls-ca-cert-file", str(folder / "cert.pem")]
    with running(request.param, *options) as server:
        server.tls_url = f"rediss://localhost:{port}/0?ssl_ca_certs={folder / 'cert.pem'}"
        yield server


class GroupContract(LeaseStoreContract):
    """What is the same for a group of servers."""

    def client_or_url(self):
        raise NotImplementedError

    def nodes(self):
        raise NotImplementedError

    async def open_store(self):
        return RedisStore(self.client_or_url(), namespace="contract", operation_timeout_seconds=PATIENT)

    async def lose(self, key):
        for node in self.nodes():
            node.say("DEL", key)

    async def lose_everything(self):
        for node in self.nodes():
            node.say("FLUSHALL")

    async def fill_up(self):
        for node in self.nodes():
            node.say("CONFIG", "SET", "maxmemory", "1")

    async def make_room(self):
        for node in self.nodes():
            node.say("CONFIG", "SET", "maxmemory", "0")


class TestCluster(GroupContract):
    """A cluster: commands go where their key is, and everything is heard from everywhere."""

    @pytest.fixture(autouse=True)
    def use_cluster(self, cluster):
        self.cluster = cluster

    def nodes(self):
        return self.cluster

    def client_or_url(self):
        return redis.asyncio.RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", self.cluster[0].port)])

    async def test_announcements_of_every_node_are_heard(self):
        """Keys of all three nodes are invalidated, and heard at least once each."""
        async with self.stores(2) as (store, other), self.listening(other) as heard:
            keys = {self.key(str(number)) for number in range(60)}
            await store.invalidate(sorted(keys))
            left = set(keys)
            while left:
                left.discard((await heard.first(Dropped)).key)
            counts = [int(node.say("DBSIZE")[1:].split()[0]) for node in self.cluster]
            assert len(counts) == 3

    async def test_a_node_that_is_cut_off_is_noticed(self):
        """Losing the subscription at one of three is losing it, and it is made again."""
        async with self.stores() as (store,), self.listening(store) as heard:
            self.cluster[1].say("CLIENT", "KILL", "TYPE", "pubsub")
            await heard.until(Lost)
            await heard.until(Connected)

    async def test_killed_connections_are_made_again(self):
        """Whoever asks after every node closed every connection is answered."""
        async with self.stores() as (store,):
            keys = [self.key(str(number)) for number in range(9)]
            for key in keys:
                await self.keep(store, key)
            for node in self.cluster:
                node.say("CLIENT", "KILL", "TYPE", "normal")
            answers = await asyncio.gather(*(store.read(key) for key in keys))
            assert [kept.body for kept in answers] == [b"body"] * 9


class TestSentinel(GroupContract):
    """The primary that a sentinel knows. A fail-over is not tested here."""

    @pytest.fixture(autouse=True)
    def use_sentinel(self, watched):
        self.primary, self.sentinel = watched

    def nodes(self):
        return [self.primary]

    def client_or_url(self):
        return Sentinel([("127.0.0.1", self.sentinel.port)]).master_for("primary")


class TestTls(GroupContract):
    """An encrypted connection."""

    @pytest.fixture(autouse=True)
    def use_secret(self, secret):
        self.server = secret

    def nodes(self):
        return [self.server]

    def client_or_url(self):
        return self.server.tls_url


async def test_a_key_that_moved_is_found(cluster):
    """A key whose slot another node has taken over is found there, without an error for anybody."""
    store = RedisStore(
        redis.asyncio.RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", cluster[0].port)]),
        namespace="moved",
        operation_timeout_seconds=PATIENT,
    )
    stage = LeaseStoreContract()
    try:
        for number in range(20):
            await stage.keep(store, f"cc1:moved:{number}")
        with contextlib.ExitStack() as stack:
            slot = int(cluster[0].say("CLUSTER", "KEYSLOT", "cc1:moved:free").strip(b":\r\n"))
            owner = next(number for number in range(3) if 16384 * number // 3 <= slot <= 16384 * (number + 1) // 3 - 1)
            heir = (owner + 1) % 3
            ids = [node.say("CLUSTER", "MYID").split(b"\r\n")[1].decode() for node in cluster]

            def give(to):
                for node in cluster:
                    node.say("CLUSTER", "SETSLOT", str(slot), "NODE", ids[to])

            stack.callback(give, owner)
            give(heir)
            token = await stage.win(store, "cc1:moved:free")
            assert await stage.publish(store, "cc1:moved:free", token) is Published.KEPT
            await store.invalidate(["cc1:moved:free"])
    finally:
        await store.aclose()
