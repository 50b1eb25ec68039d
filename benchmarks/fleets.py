"""What shares results between processes over Redis, each behind the same few lines: ours, the rivals, and by hand.

Every one is set up as its documentation shows for "one caller computes, the others wait", with a lock or lease of
``LEASE_SECONDS`` where it takes a number, and its results are kept for ``ttl_seconds``. The rivals have redis-py's pool
that waits for a connection: with its other one, which all but cashews take by default, every caller beyond the
hundredth in a process gets an error.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

LEASE_SECONDS = 3.0
POOL_CONNECTIONS = 50
"""So many has redis-py's ``BlockingConnectionPool``; more callers wait for one of them."""

Function = Callable[[str], Awaitable[dict[str, Any]]]
Decorate = Callable[[Function, str, float], Function]


def ours(function: Function, url: str, ttl_seconds: float) -> Function:
    return _ours(function, url, ttl_seconds, consistency="announced")


def ours_strict(function: Function, url: str, ttl_seconds: float) -> Function:
    return _ours(function, url, ttl_seconds, consistency="strict")


def _ours(function: Function, url: str, ttl_seconds: float, *, consistency: Any) -> Function:
    from coalesce_kit import DistributedCoalescer, RedisStore, coalesced  # noqa: PLC0415  # each subject alone

    fleet = DistributedCoalescer(
        RedisStore(url, namespace="bench"), lease_seconds=LEASE_SECONDS, consistency=consistency, max_wait_seconds=20
    )

    async def answer(key: str) -> dict[str, Any]:
        return await function(key)

    return coalesced(key="answer:{key}", ttl=ttl_seconds, backend=fleet, name="bench.answer")(answer)


def cashews(function: Function, url: str, ttl_seconds: float) -> Function:
    from cashews import Cache  # noqa: PLC0415

    cache = Cache()
    cache.setup(url, max_connections=POOL_CONNECTIONS)
    return cache(ttl=ttl_seconds, key="answer:{key}", lock=True)(function)


def aiocache(function: Function, url: str, ttl_seconds: float) -> Function:
    from aiocache import Cache, cached_stampede  # noqa: PLC0415
    from aiocache.serializers import JsonSerializer  # noqa: PLC0415
    from redis.asyncio import BlockingConnectionPool  # noqa: PLC0415

    where = urlsplit(url)
    return cached_stampede(
        lease=LEASE_SECONDS,
        ttl=ttl_seconds,
        key_builder=lambda _function, key: f"answer:{key}",
        cache=Cache.REDIS,
        serializer=JsonSerializer(),
        endpoint=where.hostname,
        port=where.port,
        pool_max_size=POOL_CONNECTIONS,
        connection_pool_class=BlockingConnectionPool,
        connection_pool_kwargs={"timeout": None},
    )(function)


def dogpile(function: Function, url: str, ttl_seconds: float) -> Function:
    from dogpile.cache import make_region  # noqa: PLC0415
    from redis import BlockingConnectionPool  # noqa: PLC0415

    region = make_region().configure(
        "dogpile.cache.redis",
        expiration_time=ttl_seconds,
        arguments={
            "connection_pool": BlockingConnectionPool.from_url(url, max_connections=POOL_CONNECTIONS, timeout=None),
            "distributed_lock": True,
            "lock_timeout": int(LEASE_SECONDS),
            "thread_local_lock": False,
        },
    )
    threads = ThreadPoolExecutor(256)

    async def answer(key: str) -> dict[str, Any]:
        loop = asyncio.get_running_loop()

        def compute() -> Any:
            return asyncio.run_coroutine_threadsafe(function(key), loop).result()  # type: ignore[arg-type]

        found: dict[str, Any] = await loop.run_in_executor(threads, region.get_or_create, f"answer:{key}", compute)
        return found

    return answer


def cache_aside(function: Function, url: str, ttl_seconds: float) -> Function:
    from redis.asyncio import BlockingConnectionPool, Redis  # noqa: PLC0415

    client = Redis.from_pool(BlockingConnectionPool.from_url(url, max_connections=POOL_CONNECTIONS, timeout=None))

    async def answer(key: str) -> dict[str, Any]:
        kept = await client.get(f"answer:{key}")
        if kept is not None:
            found: dict[str, Any] = json.loads(kept)
            return found
        made = await function(key)
        await client.set(f"answer:{key}", json.dumps(made), px=int(ttl_seconds * 1000))
        return made

    return answer


@dataclass(frozen=True)
class Fleet:
    """One subject.

    Attributes:
        label: what it is called.
        distribution: the package it comes from.
        style: its settings, in words.
        decorate: makes the shared function: the function, the server's URL, how long results are kept.
    """

    label: str
    distribution: str
    style: str
    decorate: Decorate


FLEETS: Mapping[str, Fleet] = {
    "ours": Fleet("coalesce_kit", "", "leases, a local cache told of invalidations", ours),
    "ours_strict": Fleet("coalesce_kit, strict", "", "leases, no local cache", ours_strict),
    "cashews": Fleet("cashews", "cashews", "lock=True", cashews),
    "aiocache": Fleet("aiocache", "aiocache", "cached_stampede, a lock in Redis", aiocache),
    "dogpile": Fleet("dogpile.cache", "dogpile.cache", "distributed_lock=True, in threads", dogpile),
    "cache_aside": Fleet("redis-py by hand", "redis", "get, compute, set", cache_aside),
}
"""Every subject by name."""

RIVALS = tuple(name for name in FLEETS if not name.startswith("ours"))
"""Those that can be chosen."""
