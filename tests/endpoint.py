"""A health endpoint that says what a test tells it to say: one or several workers, hostile or broken ones too."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from coalesce_kit.exporters.page import read_page
from coalesce_kit.stats.counters import NO_GAUGES, CoalescerStats, Counters

PATH = "/health/coalescer"


def worker_says(
    instance: str = "a",
    *,
    uptime: float = 100.0,
    functions: Mapping[str, Mapping[str, Any]] | None = None,
    status: str = "healthy",
    reasons: Sequence[Mapping[str, Any]] = (),
    pid: int = 1,
) -> dict[str, Any]:
    """What one worker answers: numbers by function, with totals that are their sums."""
    rows = {
        name: CoalescerStats(name=name, instance=instance, pid=pid, **numbers)
        for name, numbers in (functions or {}).items()
    }
    totals, gauges = Counters(), NO_GAUGES
    for row in rows.values():
        totals.fold(row)
        totals.in_flight += row.in_flight
        gauges += row.gauges()
    return {
        "status": status,
        "reasons": list(reasons),
        "instance": instance,
        "pid": pid,
        "version": "0.1.0",
        "started_seconds_ago": uptime,
        "functions": {name: row.as_dict() for name, row in rows.items()},
        "gone": Counters().snapshot("gone").as_dict(),
        "totals": totals.snapshot("total", gauges).as_dict(),
    }


class Endpoint:
    """What is answered to whom.

    Attributes:
        turns: the answers, one after another and again from the first: what ``worker_says`` made, or status and text.
        token: what must be sent; ``None`` for nothing.
        asked: the headers of every question for JSON.
        url: the address.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.turns: list[dict[str, Any] | tuple[int, dict[str, str], str]] = [worker_says()]
        self.token: str | None = None
        self.asked: list[dict[str, str]] = []
        self._turn = 0
        self._lock = threading.Lock()

    def say(self, *turns: dict[str, Any] | tuple[int, dict[str, str], str]) -> None:
        """Answer these from now on, in turn."""
        with self._lock:
            self.turns, self._turn = list(turns), 0

    def answer(self, headers: dict[str, str]) -> tuple[int, dict[str, str], str]:
        with self._lock:
            self.asked.append(headers)
            if self.token is not None and headers.get("authorization") != f"Bearer {self.token}":
                return 401, {"Content-Type": "application/json", "WWW-Authenticate": "Bearer"}, "{}"
            turn = self.turns[self._turn % len(self.turns)]
            self._turn += 1
        return turn if isinstance(turn, tuple) else (200, {"Content-Type": "application/json"}, json.dumps(turn))


class _Server(ThreadingHTTPServer):
    endpoint: Endpoint

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is nobody's error."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        if self.path.partition("?")[0] != PATH:
            status, told, text = 404, {"Content-Type": "application/json"}, "{}"
        elif "text/html" in headers.get("accept", ""):
            page = read_page()
            policy = page.policy.decode()
            status, told = 200, {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": policy}
            text = page.body.decode()
        else:
            status, told, text = self.server.endpoint.answer(headers)
        body = text.encode()
        self.send_response(status)
        for name, value in told.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """A test prints nothing."""


@contextmanager
def endpoint() -> Iterator[Endpoint]:
    """Serve for as long as the block lasts."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.daemon_threads = False
    server.endpoint = Endpoint(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server.endpoint
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
