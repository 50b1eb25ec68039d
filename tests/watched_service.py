"""A service to be watched: ``health_app()`` beside functions that a test calls over HTTP, in one worker or several.

``POST /ask?name=…&callers=…`` lets so many callers ask for one thing at once; with ``&key=held`` the origin answers
only when ``POST /release`` comes to the same worker.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coalesce_kit import coalesced
from coalesce_kit.exporters.asgi import health_app
from coalesce_kit.stats.health import HealthThresholds

ORDINARY = ("shop.odds.Service.fixtures", "shop.odds.Service.odds")
HOSTILE = (
    "<script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "two\nlines\x1b[31m\u202ered",
    "x" * 10_000,
)
PATIENCE_SECONDS = 30.0
ROOT = Path(__file__).parents[1]


class Service:
    """The ASGI application; what it is made of comes from the environment, as its workers are started by a server."""

    def __init__(self) -> None:
        count = int(os.environ.get("WATCHED_FUNCTIONS", "2"))
        names = list(ORDINARY[:count]) + [f"shop.catalog.section_{number}.load" for number in range(count - 2)]
        if os.environ.get("WATCHED_HOSTILE"):
            names += HOSTILE
        self.released = asyncio.Event()
        self.calls: set[asyncio.Task[Any]] = set()
        self.functions = {name: self._decorated(name) for name in names}
        self.health = health_app(
            token=os.environ.get("WATCHED_TOKEN"),
            thresholds=HealthThresholds(flight_seconds=0.5, unlimited_flight_seconds=0.5, recovery_seconds=0.5),
        )

    def _decorated(self, name: str) -> Any:
        async def origin(key: str) -> str:
            if key == "held":
                await self.released.wait()
            await asyncio.sleep(0.02)
            return key

        return coalesced(name=name, max_wait_seconds=None)(origin)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/health"):
            await self.health(scope, receive, send)
            return
        query = dict(urllib.parse.parse_qsl(scope["query_string"].decode()))
        if scope["path"] == "/release":
            self.released.set()
        else:
            function = self.functions[query.get("name", ORDINARY[0])]
            for _ in range(int(query.get("callers", "1"))):
                call = asyncio.create_task(function(query.get("key", "nfl")))
                self.calls.add(call)
                call.add_done_callback(self.calls.discard)
        body = json.dumps({"pid": os.getpid()}).encode()
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@dataclass(frozen=True)
class Watched:
    """A running service."""

    url: str

    @property
    def health(self) -> str:
        return f"{self.url}/health/coalescer"

    def ask(self, callers: int = 1, **query: str) -> int:
        """Let callers ask, in whichever worker; return the number of its process."""
        return self._post(f"/ask?{urllib.parse.urlencode({'callers': callers, **query})}")

    def release(self) -> int:
        """Let what is held go on, in whichever worker."""
        return self._post("/release")

    def _post(self, path: str) -> int:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.url + path, b"", timeout=PATIENCE_SECONDS) as response:
            return json.load(response)["pid"]


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextmanager
def watched_service(
    *, port: int | None = None, workers: int = 1, functions: int = 2, hostile: bool = False, token: str | None = None
) -> Iterator[Watched]:
    """Run the service in processes of its own for as long as the block lasts."""
    port = port or free_port()
    options = {"WATCHED_FUNCTIONS": str(functions), "WATCHED_HOSTILE": "1" if hostile else ""}
    if token is not None:
        options["WATCHED_TOKEN"] = token
    command = [sys.executable, "-m", "uvicorn", "--factory", "tests.watched_service:Service", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", str(workers), "--log-level", "warning", "--lifespan", "off"]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **options, "PYTHONPATH": str(ROOT)})
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not listens(port):
            assert process.poll() is None, "the service ended before it listened"
            assert time.monotonic() < deadline, "the service does not listen"
            time.sleep(0.05)
        yield Watched(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        try:
            process.wait(10)
        finally:
            process.kill()
            process.wait()


def listens(port: int) -> bool:
    """Whether somebody listens on a port of the loopback."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
