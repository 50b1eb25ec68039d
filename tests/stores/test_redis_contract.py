"""The Redis store keeps the contract, on every server that is installed, over every way to reach it."""

from __future__ import annotations

import pytest
import redis.asyncio

from coalesce_kit.stores.redis import RedisStore
from coalesce_kit.testing.store_contract import LeaseStoreContract

pytestmark = pytest.mark.heavy("redis")

PATIENT = 5.0  # seconds: a busy machine is no outage


class RedisContract(LeaseStoreContract):
    """What is the same however the server is reached."""

    @pytest.fixture(autouse=True)
    def use_server(self, server):
        self.server = server

    def client_or_url(self):
        return self.server.url

    async def open_store(self):
        return RedisStore(self.client_or_url(), namespace="contract", operation_timeout_seconds=PATIENT)

    async def lose(self, key):
        self.server.say("DEL", key)

    async def lose_everything(self):
        self.server.say("FLUSHALL")

    async def fill_up(self):
        self.server.say("CONFIG", "SET", "maxmemory", "1")

    async def make_room(self):
        self.server.say("CONFIG", "SET", "maxmemory", "0")


@pytest.mark.on_every_loop
class TestUrl(RedisContract):
    """A URL."""


class TestSocket(RedisContract):
    """A unix socket."""

    def client_or_url(self):
        return f"unix://{self.server.socket_path}"


class TestClient(RedisContract):
    """A client that decodes, retries and times out: none of it is taken over."""

    def client_or_url(self):
        return redis.asyncio.Redis(
            port=self.server.port, decode_responses=True, socket_timeout=0.001, max_connections=1, protocol=2
        )


class TestThirdProtocol(RedisContract):
    """A client that speaks the protocol's third version."""

    def client_or_url(self):
        return redis.asyncio.Redis(port=self.server.port, protocol=3)
