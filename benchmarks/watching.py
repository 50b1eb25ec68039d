"""coalesce_kit with somebody watching, by the same few names as every rival (``rivals/__init__.py``)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import prometheus_client
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

import coalesce_kit
from coalesce_kit import Observer, coalesced as decorate, get_stats_registry
from coalesce_kit.exporters.log import LogObserver
from coalesce_kit.exporters.opentelemetry import OpenTelemetryObserver
from coalesce_kit.exporters.prometheus import CoalesceKitCollector

LABEL = "coalesce_kit, watched"
DISTRIBUTION = "coalesce-kit"
STYLES = {
    "an empty observer": "an Observer that overrides every event and does nothing",
    "LogObserver": "with nothing to log",
    "OpenTelemetryObserver, no SDK": "the API alone, which does nothing",
    "OpenTelemetryObserver, spans": "the SDK, every span sampled, exported in batches to nowhere; durations",
    "every observer": "the last, and LogObserver",
}


class _Empty(Observer):
    def _nothing(self, event: object) -> None:
        del event

    fetch_started = fetch_ended = waiter_joined = waiter_left = invalidated = state_changed = _nothing


class _Nowhere(SpanExporter):
    def export(self, spans: object) -> SpanExportResult:
        del spans
        return SpanExportResult.SUCCESS


def _telling_the_sdk() -> OpenTelemetryObserver:
    traces = TracerProvider()
    traces.add_span_processor(BatchSpanProcessor(_Nowhere()))
    return OpenTelemetryObserver(
        tracer_provider=traces, meter_provider=MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    )


OBSERVERS: Mapping[str, Callable[[], tuple[Observer, ...]]] = {
    "an empty observer": lambda: (_Empty(),),
    "LogObserver": lambda: (LogObserver(),),
    "OpenTelemetryObserver, no SDK": lambda: (OpenTelemetryObserver(),),
    "OpenTelemetryObserver, spans": lambda: (_telling_the_sdk(),),
    "every observer": lambda: (LogObserver(), _telling_the_sdk()),
}
"""Who watches, by style."""


def cached(function: Callable[..., Any], style: str, *, ttl_seconds: float, size: int) -> Any:
    """Keep results, watched."""
    cache = coalesce_kit.MemoryCache(max_entries=size)
    return decorate(cache=cache, ttl=ttl_seconds, observers=OBSERVERS[style]())(function)


def coalesced(function: Callable[..., Any], style: str) -> Any:
    """Coalesce and keep nothing, watched."""
    return decorate(observers=OBSERVERS[style]())(function)


def _scrape() -> Callable[[], object]:
    scraped = prometheus_client.CollectorRegistry()
    scraped.register(CoalesceKitCollector(get_stats_registry()))
    return functools.partial(prometheus_client.generate_latest, scraped)


def _collect() -> Callable[[], object]:
    collector = CoalesceKitCollector(get_stats_registry())
    return lambda: list(collector.collect())


LOOKS: Mapping[str, Callable[[], Callable[[], object]]] = {
    "snapshot": lambda: get_stats_registry().snapshot,
    "collector": _collect,
    "scrape, text included": _scrape,
}
"""Ways to look at the numbers of all functions."""
