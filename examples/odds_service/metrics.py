"""The numbers for Prometheus, where its client library is installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from fastapi import APIRouter, Response

from coalesce_kit import get_stats_registry

METRICS_PATH: Final = "/metrics"


def has_prometheus() -> bool:
    """Whether prometheus_client is installed: pip install "coalesce-kit[prometheus]"."""
    return find_spec("prometheus_client") is not None


def metrics_routes() -> APIRouter:
    """Build the route that Prometheus scrapes; there is none where prometheus_client is not installed."""
    router = APIRouter()
    if has_prometheus():
        from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest  # noqa: PLC0415

        from coalesce_kit.exporters.prometheus import register  # noqa: PLC0415

        collectors = CollectorRegistry()
        register(get_stats_registry(), into=collectors)

        @router.get(METRICS_PATH)
        async def metrics() -> Response:
            return Response(generate_latest(collectors), media_type=CONTENT_TYPE_LATEST)

    return router
