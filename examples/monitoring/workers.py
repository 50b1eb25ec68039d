"""A service whose workers each show their own numbers, on the first free port from 9101 on.

``uvicorn examples.monitoring.workers:app --workers 4``, and ``prometheus.yml`` beside this file scrapes them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from fastapi import FastAPI
from prometheus_client import REGISTRY, start_http_server

import coalesce_kit
from coalesce_kit import coalesced, get_stats_registry
from coalesce_kit.exporters.prometheus import CoalesceKitCollector

PORTS = range(9101, 9117)


@contextmanager
def serving_metrics(ports: range = PORTS) -> Iterator[int]:
    """Serve this process's metrics, in a thread, on the first port that no other worker has taken."""
    REGISTRY.register(CoalesceKitCollector(get_stats_registry()))
    for port in ports:
        try:
            server, thread = start_http_server(port, addr="127.0.0.1")
        except OSError:
            continue
        try:
            yield port
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
        return
    raise RuntimeError(f"no port from {ports.start} to {ports.stop - 1} is free: there are more workers than ports")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with serving_metrics() as port:
        print(f"worker {os.getpid()} shows its metrics on http://127.0.0.1:{port}/metrics")
        async with coalesce_kit.lifespan():
            yield


app = FastAPI(lifespan=lifespan)


@coalesced(ttl=1)
async def read_odds(league: str) -> float:
    await asyncio.sleep(0.05)
    return 1.9


@app.get("/odds/{league}")
async def show_odds(league: str) -> dict[str, float]:
    return {"decimal": await read_odds(league)}
