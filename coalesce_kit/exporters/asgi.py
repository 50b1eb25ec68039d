"""``health_app()``: the health endpoint as a bare ASGI application, for any framework and for none.

::

    app.mount("/health", health_app())  # Starlette, FastAPI: answers at /health/coalescer
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias

from ..stats.health import DEFAULT_THRESHOLDS, HealthReport, HealthThresholds, HealthWatch, Status
from ..stats.process import process_registry
from ..stats.registry import RegistrySnapshot, StatsRegistry
from .http import HTML, JSON, Headers, Response, has_token, prefers_html
from .page import read_page

logger = logging.getLogger(__name__)

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

ORIGINAL_NAMES: Final = (
    "total_requests",
    "coalesced_requests",
    "api_calls_made",
    "hit_rate_percent",
    "avg_wait_time_ms",
    "max_concurrent_waiters",
    "pending_keys",
)
"""The numbers that stand at the top, over all functions."""

MOST_FLIGHTS: Final = 100
"""So many fetches in the air are shown, the oldest ones."""

ALLOW: Final = (b"allow", b"GET, HEAD, OPTIONS")

_BUSY_SHARE: Final = 0.1
_BUSY_SECONDS: Final = 1.0
"""Looking may take a tenth of one core; only after a second's worth of it do polls share what the last one saw."""


class HealthApp:
    """The ASGI application that ``health_app`` makes.

    Concurrency: may serve any number of event loops in any number of threads.
    """

    def __init__(
        self,
        registry: StatsRegistry | None,
        *,
        thresholds: HealthThresholds,
        degraded_status: int,
        token: str | None,
        expose_keys: bool,
        path: str,
    ) -> None:
        self._registry = registry
        self._degraded_status = degraded_status
        self._token = None if token is None else token.encode()
        self._expose_keys = expose_keys
        self._path = path.removesuffix("/")
        self._watch = HealthWatch(thresholds)
        self._status: Status = "healthy"
        self._lock = threading.RLock()
        self._budget = Budget(seconds=_BUSY_SECONDS, share=_BUSY_SHARE)
        self._last: Response | None = None
        self._page: Response | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        kind = scope["type"]
        if kind == "http":
            await self._respond(scope, send)
        elif kind == "lifespan":
            await _live(receive, send)
        elif kind == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # before it is accepted: the client sees a 403
        else:
            raise NotImplementedError(f"health_app() serves http, and nothing of type {kind!r}")

    async def _respond(self, scope: Scope, send: Send) -> None:
        method, headers = scope["method"], scope.get("headers") or ()
        response = self.answer(method, _relative_path(scope), headers)
        told = response.all_headers()
        if response.is_news and scope.get("http_version", "1.1").startswith("1."):
            # Over a connection that is kept, whoever polls would hear the same worker for ever.
            told.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": response.status, "headers": told})
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else response.body})

    def answer(self, method: str, path: str, headers: Headers) -> Response:
        """Return the response to one request.

        Args:
            method: of the request.
            path: below the place where the application is mounted.
            headers: of the request, in any case.
        """
        below = path.removesuffix("/")
        if below and not f"{self._path}/".endswith(f"/{below.removeprefix('/')}/"):
            return _refusal(404, "not found")
        if method == "OPTIONS":
            return Response(status=204, headers=[ALLOW])
        if method not in ("GET", "HEAD"):
            return _refusal(405, "method not allowed", ALLOW)
        if prefers_html(headers):
            self._page = self._page or _page()
            return self._page  # without asking for the token: it holds no number, and asks for the token itself
        if self._token is not None and not has_token(headers, self._token):
            return _refusal(401, "a token is needed", (b"www-authenticate", b'Bearer realm="coalesce_kit"'))
        with self._lock:
            if self._last is None or self._budget.allows():
                with self._budget:
                    self._last = self._look()
            return self._last

    def _look(self) -> Response:
        registry = process_registry.find() if self._registry is None else self._registry
        snapshot = registry.snapshot()
        report = self._watch.look(snapshot)
        self._note(report)
        told = health_as_dict(snapshot, report)
        if self._expose_keys:
            flights = registry.flights(at_most=MOST_FLIGHTS)
            told["flights"] = [flight.as_dict() for flight in flights]
            told["flights_left_out"] = max(snapshot.totals.in_flight - len(flights), 0)
        return Response(
            status=self._degraded_status if report.status == "degraded" else 200,
            headers=[
                (b"content-type", JSON.encode()),
                (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
            ],
            body=json.dumps(told, allow_nan=False).encode(),
            is_news=True,
        )

    def _note(self, report: HealthReport) -> None:
        if report.status == self._status:
            return
        before, self._status = self._status, report.status  # first: a log handler may look, too
        logger.log(
            logging.INFO if report.status == "healthy" else logging.WARNING,
            "health_changed: from %s to %s",
            before,
            report.status,
            extra={
                "before": before,
                "after": report.status,
                "reasons": [reason.as_dict() for reason in report.reasons],
            },
        )


def health_app(
    registry: StatsRegistry | None = None,
    *,
    thresholds: HealthThresholds = DEFAULT_THRESHOLDS,
    degraded_status: int = 200,
    token: str | None = None,
    expose_keys: bool = False,
    path: str = "/health/coalescer",
) -> HealthApp:
    """Return an ASGI application that answers ``GET /health/coalescer``: JSON for programs, a page for browsers.

    Mount it at ``/health/coalescer``, at a prefix of that, or give it that route: it answers there without a redirect
    of its own. Never make it a *liveness* probe: a slow upstream would have every worker restarted, which helps
    nobody and lets each begin with an empty cache.

    Args:
        registry: whose numbers; ``None`` for those of every decorated function of this process.
        thresholds: when the status is ``"warning"``, and when ``"degraded"``.
        degraded_status: the HTTP status while degraded. The status in the body is the same either way.
        token: who asks for numbers must send it, as ``Authorization: Bearer …``; the page asks its reader for it.
        expose_keys: whether the keys of the fetches in the air are shown. They hold arguments of calls.
        path: where it is to be found, when it is mounted at ``/`` or at a prefix of this.

    Raises:
        ValueError: an argument makes no sense.
    """
    if not (isinstance(degraded_status, int) and 200 <= degraded_status <= 599):
        raise ValueError(f"degraded_status must be an HTTP status from 200 to 599, not {degraded_status!r}")
    if token is not None and not (token.isascii() and token.isprintable() and token and " " not in token):
        raise ValueError("token must be printable ASCII without spaces, and not empty")
    if not path.startswith("/"):
        raise ValueError(f"path must begin with a slash, not {path!r}")
    return HealthApp(
        registry,
        thresholds=thresholds,
        degraded_status=degraded_status,
        token=token,
        expose_keys=expose_keys,
        path=path,
    )


def health_as_dict(snapshot: RegistrySnapshot, report: HealthReport) -> dict[str, object]:
    """Return what the endpoint tells, ready for JSON; no key and no value is in it."""
    return {
        **report.as_dict(),
        **{name: getattr(snapshot.totals, name) for name in ORIGINAL_NAMES},
        **snapshot.as_dict(),
    }


class Budget:
    """A share of one core that some work may take, with some work in advance.

    ``with budget:`` measures the work.

    Args:
        seconds: how much of it may be done in advance.
        share: how much of the time, in the long run.
    """

    def __init__(self, *, seconds: float, share: float, now: Callable[[], float] = time.monotonic) -> None:
        self._most = seconds
        self._share = share
        self._now = now
        self._left = seconds
        self._filled = self._began = now()

    def allows(self) -> bool:
        """Whether work may be done now."""
        now = self._now()
        self._left = min(self._most, self._left + self._share * (now - self._filled))
        self._filled = now
        return self._left > 0

    def __enter__(self) -> None:
        self._began = self._now()

    def __exit__(self, *_: object) -> None:
        self._left -= self._now() - self._began


async def _live(receive: Receive, send: Send) -> None:
    """Start and stop with the server, when nothing stands between: there is nothing to be done."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def _relative_path(scope: Scope) -> str:
    """The path below the mount. ASGI has the whole path in the scope, some dispatchers cut their part off."""
    path, root = scope["path"], scope.get("root_path", "").rstrip("/")
    if root and (path == root or path.startswith(f"{root}/")):
        return str(path[len(root) :])
    return str(path)


def _page() -> Response:
    page = read_page()
    headers = [(b"content-type", f"{HTML}; charset=utf-8".encode()), (b"content-security-policy", page.policy)]
    return Response(status=200, headers=headers, body=page.body)


def _refusal(status: int, why: str, *headers: tuple[bytes, bytes]) -> Response:
    body = json.dumps({"detail": why}).encode()
    return Response(status=status, headers=[(b"content-type", JSON.encode()), *headers], body=body)
