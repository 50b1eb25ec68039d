"""Where and how to connect: what a URL or a client of the user says, as a recipe for connections of our own.

A client is a description, not a tool: it may decode what are bytes, retry what must not be retried, run out of
connections, and belong to a loop that is closed. So its settings are copied, and the client is never used.
"""

from __future__ import annotations

import inspect
from typing import Any, Final, Protocol, TypeAlias

from redis import __version__ as redis_version
from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff

from ..errors import ConfigurationError

Client: TypeAlias = "Redis | RedisCluster"

CONNECT_TIMEOUT_SECONDS: Final = 1.0

_NOT_COPIED: Final = (
    "connection_pool",  # the pool that a Sentinel's connection belongs to
    "event_dispatcher",
    "himport_registry",
    "maint_notifications_config",
    "maint_notifications_pool_handler",
    "oss_cluster_maint_notifications_handler",
    "orig_host_address",
    "orig_socket_timeout",
    "orig_socket_connect_timeout",
    "response_callbacks",
)
"""Settings that redis-py's own pools and clients add for themselves, and will add to ours."""


class Endpoint(Protocol):
    """A recipe for connections to one server, or one group of servers that act as one."""

    def make_client(self) -> Client:
        """Return a new client, which connects when it is first used."""
        ...

    def primaries(self, client: Client) -> frozenset[tuple[str, int]]:
        """Return where messages are published, as far as the client knows; nothing if there is only one place."""
        ...

    async def make_listeners(self) -> list[Redis]:
        """Return a new client for each place where messages are published."""
        ...


def find_endpoint(client_or_url: object) -> Endpoint:
    """Return the recipe that a URL or a client of redis-py says.

    Raises:
        ConfigurationError: it is neither, or no URL that redis-py knows.
    """
    if isinstance(client_or_url, str):
        try:
            client_or_url = Redis.from_url(client_or_url)
        except ValueError as error:
            raise ConfigurationError(f"this is no URL of a server: {error}") from error
    if isinstance(client_or_url, RedisCluster):
        return _ClusterEndpoint(client_or_url)
    if isinstance(client_or_url, Redis):
        if isinstance(client_or_url.connection_pool, SentinelConnectionPool):
            return _SentinelEndpoint(client_or_url.connection_pool)
        return _SingleEndpoint(client_or_url.connection_pool)
    raise ConfigurationError(
        "a store is opened with a URL (redis://, rediss://, unix://) or with a client of redis.asyncio "
        f"(Redis, RedisCluster, or Sentinel(...).master_for(...)), not with {type(client_or_url).__qualname__}"
    )


async def close_client(client: Client) -> None:
    """Close a client that ``make_client`` or ``make_listeners`` made, with every connection that it has."""
    if isinstance(client, RedisCluster):
        await client.aclose()
        return
    pool = client.connection_pool
    await pool.disconnect()
    if isinstance(pool, SentinelConnectionPool):
        for sentinel in pool.sentinel_manager.sentinels:
            await sentinel.connection_pool.disconnect()


class _SingleEndpoint:
    """One server, over TCP, TLS or a unix socket."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._class: Final = pool.connection_class
        self._settings: Final = _own_settings(pool.connection_kwargs, self._class)

    def make_client(self) -> Redis:
        return Redis(connection_pool=ConnectionPool(self._class, **_fresh(self._settings)))

    def primaries(self, client: Client) -> frozenset[tuple[str, int]]:  # noqa: ARG002  # there is one
        return frozenset()

    async def make_listeners(self) -> list[Redis]:
        return [self.make_client()]


class _SentinelEndpoint:
    """The primary that sentinels know."""

    def __init__(self, pool: SentinelConnectionPool) -> None:
        if not pool.is_master:
            raise ConfigurationError("a store needs the primary: Sentinel(...).master_for(...), not slave_for(...)")
        self._service: Final = pool.service_name
        self._settings: Final = _own_settings(pool.connection_kwargs, Connection)
        self._is_secret: Final = issubclass(pool.connection_class, SSLConnection)
        manager = pool.sentinel_manager
        self._quorum: Final = manager.min_other_sentinels
        pools = [sentinel.connection_pool for sentinel in manager.sentinels]
        # A sentinel is asked while a connection is made, so it has to answer within the time for that.
        patience = {"socket_timeout": CONNECT_TIMEOUT_SECONDS}
        self._sentinels: Final = [_own_settings(known.connection_kwargs, Connection) | patience for known in pools]
        self._sentinels_are_secret: Final = [issubclass(known.connection_class, SSLConnection) for known in pools]

    def make_client(self) -> Redis:
        sentinel = Sentinel([], min_other_sentinels=self._quorum)  # type: ignore[no-untyped-call]  # redis-py's own
        sentinel.sentinels = [
            Redis(connection_pool=ConnectionPool(SSLConnection if is_secret else Connection, **_fresh(settings)))
            for settings, is_secret in zip(self._sentinels, self._sentinels_are_secret, strict=True)
        ]
        pool = SentinelConnectionPool(  # type: ignore[no-untyped-call]  # redis-py's own
            self._service, sentinel, ssl=self._is_secret, **_fresh(self._settings)
        )
        return Redis(connection_pool=pool)

    def primaries(self, client: Client) -> frozenset[tuple[str, int]]:  # noqa: ARG002  # there is one
        return frozenset()

    async def make_listeners(self) -> list[Redis]:
        return [self.make_client()]


class _ClusterEndpoint:
    """A cluster: commands go where their key is; what is published anywhere is heard at every primary."""

    def __init__(self, client: RedisCluster) -> None:
        settings = dict(client.connection_kwargs)
        known = client.get_nodes() or list(client.nodes_manager.startup_nodes.values())
        self._startup: Final = [(str(node.host), int(node.port)) for node in known]
        self._class: Final = settings.pop("connection_class", None) or known[0].connection_class
        self._remap: Final = getattr(client.nodes_manager, "address_remap", None)
        self._settings: Final = _own_settings(settings, self._class)

    def make_client(self) -> RedisCluster:
        accepted = inspect.signature(RedisCluster).parameters
        settings: dict[str, Any] = {name: value for name, value in _fresh(self._settings).items() if name in accepted}
        if int(redis_version.partition(".")[0]) < 6:  # later ones take it from `retry`, and warn of this
            settings["cluster_error_retry_attempts"] = 1
        return RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in self._startup],
            ssl=issubclass(self._class, SSLConnection),
            address_remap=self._remap,
            **settings,
        )

    def primaries(self, client: Client) -> frozenset[tuple[str, int]]:
        assert isinstance(client, RedisCluster)
        return frozenset((str(node.host), int(node.port)) for node in client.get_primaries())

    async def make_listeners(self) -> list[Redis]:
        # A client of its own looks, now: the one for commands learns of a new primary when it is sent there.
        finder = self.make_client()
        try:
            await finder.initialize()
            places = sorted(self.primaries(finder))
        finally:
            await finder.aclose()
        settings = {name: value for name, value in self._settings.items() if name not in ("host", "port")}
        return [
            Redis(connection_pool=ConnectionPool(self._class, host=host, port=port, **_fresh(settings)))
            for host, port in places
        ]


def _own_settings(settings: dict[str, Any], connection_class: type) -> dict[str, Any]:
    """Return a connection's settings with what must be ours put in the place of what was the user's."""
    own = {name: value for name, value in settings.items() if name not in _NOT_COPIED}
    own.update(
        decode_responses=False,
        retry_on_timeout=False,
        retry_on_error=[],
        socket_timeout=None,  # every operation has a deadline of its own
        socket_connect_timeout=CONNECT_TIMEOUT_SECONDS,
        health_check_interval=0,
    )
    if issubclass(connection_class, Connection):
        own["socket_keepalive"] = True
    return own


def _fresh(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings for one more pool: its connections try once."""
    return {**settings, "retry": Retry(NoBackoff(), 0)}
