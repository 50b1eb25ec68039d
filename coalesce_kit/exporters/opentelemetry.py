"""For OpenTelemetry: the registry's numbers as instruments, and fetches and waits as spans that are linked.

::

    from coalesce_kit import coalesced, get_stats_registry
    from coalesce_kit.exporters.opentelemetry import OpenTelemetryObserver, register

    register(get_stats_registry())  # counters and gauges, looked at when they are exported
    coalesced = coalesced.using(observers=(OpenTelemetryObserver(),))  # spans and durations, told as they happen

Only the API is needed here, which does nothing until an application sets up the SDK.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Final

from ..stats.observer import FetchEnded, FetchStarted, KeyedEvent, Observer, WaiterJoined, WaiterLeft
from ..stats.registry import StatsRegistry
from ..stats.version import __version__
from .extras import needed
from .measures import DEFAULT_BOUNDS_SECONDS, LIMITS, MEASURES, PREFIX, Measure
from .rows import Look, Rows, label_of, registry_to_show

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Histogram, Meter, MeterProvider, Observation
    from opentelemetry.trace import Link, Span, Tracer, TracerProvider

NEEDS: Final = needed("opentelemetry.trace", extra="opentelemetry")
"""The library to which this exporter shows."""

FUNCTION: Final = f"{PREFIX}.function"
ERROR_TYPE: Final = "error.type"


@dataclass(slots=True, eq=False)
class _Fetch:
    """What is known of a fetch in the air.

    Attributes:
        span: the fetch's; ``None`` before it has started.
        early: the spans of those who joined before it started, who are to be linked to it, by waiter.
    """

    span: Span | None = None
    early: dict[int, Span] = field(default_factory=dict)


class OpenTelemetryObserver(Observer):
    """Makes a span of every fetch and of every wait for one, and records how long both took.

    The span of a fetch is a child of what its leader was doing, and the parent of what the function does. The span of a
    wait is a child of what the waiter was doing, and is *linked* to the span of the fetch, which is another caller's
    child. A refresh begins a trace of its own, linked to whoever caused it: nobody waits for it.

    Durations are recorded here and not read from the registry, as the API has no histogram that is looked at; so
    those of a slow fetch come with the trace that it belongs to, as an exemplar. Give one observer to all functions.

    Args:
        tracer_provider: makes the spans; the global one without.
        meter_provider: makes the histograms; the global one without.
        expose_keys: put the key into spans. It holds arguments of calls.
        record_exceptions: put an exception's message and traceback into the span of a fetch that fails. They may hold
            arguments, too; the exception's type is there anyway.

    Concurrency: any number of loops in any number of threads.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        expose_keys: bool = False,
        record_exceptions: bool = False,
    ) -> None:
        context, metrics, trace = _opentelemetry_api()
        self._context: Final = context
        self._trace: Final = trace
        self._expose_keys: Final = expose_keys
        self._record_exceptions: Final = record_exceptions
        self._tracer: Final[Tracer] = trace.get_tracer(PREFIX, __version__, tracer_provider)
        meter: Meter = metrics.get_meter(PREFIX, __version__, meter_provider)
        self._fetch_duration: Final = _histogram(meter, "fetch.duration", "How long fetches ran, however they ended.")
        self._wait_duration: Final = _histogram(
            meter, "wait.duration", "How long callers waited for a fetch begun by another."
        )
        self._fetches: Final[dict[int, _Fetch]] = {}
        self._waits: Final[dict[int, Span]] = {}

    def fetch_started(self, event: FetchStarted, /) -> None:
        """Begin the fetch's span, make it what the function's own spans belong to, and link who waits already."""
        fetch = self._fetches.setdefault(event.flight, _Fetch())
        function = label_of(event.function)
        attributes: dict[str, str | bool] = {FUNCTION: function, f"{PREFIX}.refresh": event.refresh}
        fetch.span = span = self._tracer.start_span(
            f"fetch {function}",
            context=self._context.Context() if event.refresh else None,
            attributes=attributes,
            links=self._links_to(self._trace.get_current_span()) if event.refresh else (),
        )
        self._add_key(span, event)
        for link in self._links_to(span):
            for wait in fetch.early.values():
                wait.add_link(link.context)
        fetch.early.clear()
        # Never detached: this is the context of the fetch's own task, and ends with it.
        self._context.attach(self._trace.set_span_in_context(span))

    def fetch_ended(self, event: FetchEnded, /) -> None:
        """End the fetch's span, and record how long it ran."""
        self._fetch_duration.record(event.elapsed_seconds, _attributes_of_end(event))
        fetch = self._fetches.pop(event.flight, None)
        if fetch is not None and fetch.span is not None:
            fetch.span.set_attribute(f"{PREFIX}.waiters", event.waiters)
            if event.error is not None and self._record_exceptions:
                fetch.span.record_exception(event.error)
            self._end(fetch.span, event.error)

    def waiter_joined(self, event: WaiterJoined, /) -> None:
        """Begin the wait's span, linked to the fetch's; where that has not started, it will be linked then."""
        fetch = self._fetches.setdefault(event.flight, _Fetch())
        function = label_of(event.function)
        attributes: dict[str, str | float] = {
            FUNCTION: function,
            f"{PREFIX}.flight_age": event.flight_age_seconds,
            f"{PREFIX}.waiters": event.waiters,
        }
        links = () if fetch.span is None else self._links_to(fetch.span)
        self._waits[event.waiter] = span = self._tracer.start_span(
            f"wait for {function}", attributes=attributes, links=links
        )
        self._add_key(span, event)
        if fetch.span is None:
            fetch.early[event.waiter] = span

    def waiter_left(self, event: WaiterLeft, /) -> None:
        """End the wait's span, and record how long it was."""
        self._wait_duration.record(event.waited_seconds, _attributes_of_end(event))
        fetch = self._fetches.get(event.flight)
        if fetch is not None and fetch.span is None:
            fetch.early.pop(event.waiter, None)
            if not fetch.early:  # it may never start
                self._fetches.pop(event.flight, None)
        span = self._waits.pop(event.waiter, None)
        if span is not None:
            self._end(span, event.error)

    def _links_to(self, span: Span) -> list[Link]:
        found = span.get_span_context()
        return [self._trace.Link(found)] if found.is_valid else []

    def _add_key(self, span: Span, event: KeyedEvent) -> None:
        if self._expose_keys and span.is_recording():
            span.set_attribute(f"{PREFIX}.key", event.text)

    def _end(self, span: Span, error: BaseException | None) -> None:
        if error is not None:
            span.set_attribute(ERROR_TYPE, _type_of(error))
            if not isinstance(error, asyncio.CancelledError):  # who leaves has no error
                span.set_status(self._trace.StatusCode.ERROR, _type_of(error))
        span.end()


def register(registry: StatsRegistry | None = None, *, meter_provider: MeterProvider | None = None) -> None:
    """Show a registry's counters and gauges as instruments that are looked at when they are exported.

    Doing it again with the same provider changes nothing.

    Args:
        registry: whose numbers; those of every decorated function without. Held weakly: of a registry that is gone
            nothing is shown.
        meter_provider: makes the instruments; the global one without.

    Raises:
        TypeError: ``registry`` is no ``StatsRegistry``.
    """
    shown = registry_to_show(registry)
    _, metrics, _ = _opentelemetry_api()
    meter: Meter = metrics.get_meter(PREFIX, __version__, meter_provider)
    looks = _Looks(shown)
    for measure in MEASURES:
        make = {
            "counter": meter.create_observable_counter,
            "gauge": meter.create_observable_up_down_counter,
            "maximum": meter.create_observable_gauge,
        }[measure.kind]
        make(
            f"{PREFIX}.{measure.name.removesuffix('_seconds')}",
            callbacks=[_observing(looks, measure, metrics)],
            unit="s" if measure.counted == "second" else f"{{{measure.counted}}}",
            description=measure.text,
        )
    meter.create_observable_gauge(
        f"{PREFIX}.limit",
        callbacks=[_observing_limits(looks, metrics)],
        unit="s",
        description="The limits that are set, by what they limit.",
    )


class _Looks:
    """One look at the registry for all instruments that are exported together.

    The API asks instrument by instrument. Whoever asks for the second time begins the next round.
    """

    def __init__(self, registry: StatsRegistry) -> None:
        self._rows: Final = Rows(registry)
        self._lock: Final = threading.Lock()
        self._asked: Final[set[str]] = set()
        self._seen: Look | None = None

    def look(self, asking: str) -> Look | None:
        """Return what this round sees; ``None`` when the registry is gone."""
        with self._lock:
            if self._seen is None or asking in self._asked:
                self._seen = self._rows.look()
                self._asked.clear()
            self._asked.add(asking)
            return self._seen


def _observing(
    looks: _Looks, measure: Measure, metrics: ModuleType
) -> Callable[[CallbackOptions], Iterator[Observation]]:
    def observe(_: CallbackOptions) -> Iterator[Observation]:
        look = looks.look(measure.name)
        for row in () if look is None else look.rows:
            if (measure.kind == "counter" or row.living) and measure.is_shown_of(row.stats):
                for value, number in measure.parts.items():
                    attributes = {FUNCTION: row.label}
                    if value:
                        attributes[f"{PREFIX}.{measure.label}"] = value
                    yield metrics.Observation(getattr(row.stats, number), attributes)

    return observe


def _observing_limits(looks: _Looks, metrics: ModuleType) -> Callable[[CallbackOptions], Iterator[Observation]]:
    def observe(_: CallbackOptions) -> Iterator[Observation]:
        look = looks.look("limits")
        for name, limits in () if look is None else look.snapshot.function_limits.items():
            for limit in LIMITS:
                seconds: float | None = getattr(limits, f"{limit}_seconds")
                if seconds is not None:
                    yield metrics.Observation(seconds, {FUNCTION: label_of(name), f"{PREFIX}.limit": limit})

    return observe


def _histogram(meter: Meter, name: str, text: str) -> Histogram:
    return meter.create_histogram(
        f"{PREFIX}.{name}",
        unit="s",
        description=text,
        explicit_bucket_boundaries_advisory=list(DEFAULT_BOUNDS_SECONDS),
    )


def _attributes_of_end(event: FetchEnded | WaiterLeft) -> dict[str, str]:
    attributes = {FUNCTION: label_of(event.function)}
    if event.error is not None:
        attributes[ERROR_TYPE] = _type_of(event.error)
    return attributes


def _type_of(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _opentelemetry_api() -> tuple[ModuleType, ModuleType, ModuleType]:
    import opentelemetry.context  # noqa: PLC0415  # when it is used, as importing it reads the environment
    import opentelemetry.metrics  # noqa: PLC0415
    import opentelemetry.trace  # noqa: PLC0415

    return opentelemetry.context, opentelemetry.metrics, opentelemetry.trace
