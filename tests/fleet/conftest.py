"""Several simulated workers in one process over one server, the memory's or, among the heavy tests, a real one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio

from coalesce_kit import coalesced
from coalesce_kit.backends.distributed import DistributedCoalescer
from coalesce_kit.store_port import LeaseStore, StoreLifetimes
from coalesce_kit.stores.memory import MemoryStore
from coalesce_kit.stores.memory_server import MemoryServer
from coalesce_kit.stores.redis import RedisStore
from tests.stores.servers import BINARIES, running

NAMESPACE = "fleet"


@pytest.fixture(params=["memory", *(pytest.param(binary, marks=pytest.mark.heavy("redis")) for binary in BINARIES)])
def make_store(request: pytest.FixtureRequest) -> Iterator[Callable[[], LeaseStore]]:
    """Makes stores that share a server, one for each worker."""
    if request.param == "memory":
        memory = MemoryServer()
        yield lambda: MemoryStore(memory, namespace=NAMESPACE, digest_key=b"digest key")
        return
    with running(request.param) as server:
        yield lambda: RedisStore(
            server.url, namespace=NAMESPACE, digest_key=b"digest key", operation_timeout_seconds=5.0
        )


class Workers:
    """The workers of one test: each a coalescer of its own over a store of its own."""

    def __init__(self, make_store: Callable[[], LeaseStore]) -> None:
        self.make_store = make_store
        self.coalescers: list[DistributedCoalescer] = []

    def __call__(
        self, function: Callable[..., Awaitable[Any]], *, fleet: dict[str, Any] | None = None, **options: Any
    ) -> Any:
        """Return ``function`` as another worker has it."""
        coalescer = DistributedCoalescer(self.make_store(), **(fleet or {}))
        self.coalescers.append(coalescer)
        return coalesced(**{"name": "app.function", "backend": coalescer, **options})(function)


@pytest_asyncio.fixture
async def workers(make_store: Callable[[], LeaseStore]) -> AsyncIterator[Workers]:
    """Makes workers and closes them."""
    made = Workers(make_store)
    yield made
    for coalescer in made.coalescers:
        await coalescer.aclose(deadline_seconds=1)


async def put(store: LeaseStore, key: str, body: bytes, *, seconds: float = 60.0) -> None:
    """Put bytes in a record's place, as somebody does who may write to the server."""
    token = "a" * 32
    await store.invalidate([key])
    await store.acquire(key, token=token, lease_seconds=5, wake=False)
    lifetimes = StoreLifetimes(seconds, seconds, 1.0)
    await store.publish(key, token=token, body=body, kind="keep", lifetimes=lifetimes, fetch_seconds=0.1)
