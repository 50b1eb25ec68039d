"""What OpenTelemetry is told: instruments that agree with the registry, and spans that are linked."""

from __future__ import annotations

import asyncio
import gc

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from coalesce_kit import CachePolicy, RequestCoalescer, WaitTimeoutError, coalesced, get_stats_registry
from coalesce_kit.exporters.measures import DEFAULT_BOUNDS_SECONDS, MEASURES
from coalesce_kit.exporters.opentelemetry import OpenTelemetryObserver, register
from coalesce_kit.stats.counters import Counters, Gauges
from coalesce_kit.stats.observer import FetchEnded, FetchStarted, Observer, WaiterLeft
from coalesce_kit.stats.registry import StatsRegistry
from coalesce_kit.stats.showing import Limits
from coalesce_kit.testing.observer_contract import ObserverContract
from tests.fakes import Origin, outcomes, start, turns


class Telemetry:
    """The SDK with its exporters in memory, and an observer that tells it."""

    def __init__(self, **options) -> None:
        self.exporter = InMemorySpanExporter()
        self.traces = TracerProvider()
        self.traces.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])
        self.tracer = self.traces.get_tracer("the application")
        self.observer = self.observing(**options)

    def observing(self, **options):
        """Return another observer."""
        return OpenTelemetryObserver(tracer_provider=self.traces, meter_provider=self.meters, **options)

    def spans(self, name):
        """Return every ended span of a name."""
        return [span for span in self.exporter.get_finished_spans() if span.name == name]

    def span(self, name):
        """Return the one ended span of a name."""
        (span,) = self.spans(name)
        return span

    def points(self, function="watched"):
        """Return the data points of every metric that are about one function, by the metric's name."""
        found = {
            name: [one for one in metric.data.data_points if one.attributes["coalesce_kit.function"] == function]
            for name, metric in self.metrics().items()
        }
        return {name: points for name, points in found.items() if points}

    def metrics(self):
        """Return every metric, by its name."""
        data = self.reader.get_metrics_data()
        return {
            metric.name: metric
            for resource in (() if data is None else data.resource_metrics)
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


@pytest.fixture
def telemetry():
    telemetry = Telemetry()
    yield telemetry
    assert telemetry.observer._fetches == {}
    assert telemetry.observer._waits == {}
    telemetry.meters.shutdown()
    telemetry.traces.shutdown()


def linked_to(span):
    """Return the identity of the one span that a span is linked to."""
    (link,) = span.links
    return link.context.span_id


@pytest.mark.on_every_loop
async def test_waiters_are_linked_to_the_leaders_fetch(telemetry):
    """Each caller's wait is in its own trace, and linked to the fetch, which is in the leader's."""
    origin = Origin()

    @coalesced(observers=[telemetry.observer], name="watched")
    async def odds(league):
        return await origin(league)

    async def ask(name):
        with telemetry.tracer.start_as_current_span(name):
            return await odds("nba")

    tasks = start(ask("leader"), ask("early"))  # the second joins before the fetch has started
    await turns()
    tasks += start(ask("late"))
    await turns()
    origin.answer()
    await outcomes(tasks)

    fetch, leader = telemetry.span("fetch watched"), telemetry.span("leader")
    assert fetch.parent.span_id == leader.context.span_id
    assert dict(fetch.attributes) == {
        "coalesce_kit.function": "watched",
        "coalesce_kit.refresh": False,
        "coalesce_kit.waiters": 2,
    }
    waits = telemetry.spans("wait for watched")
    assert [linked_to(wait) for wait in waits] == [fetch.context.span_id] * 2
    assert {wait.parent.span_id for wait in waits} == {
        telemetry.span(name).context.span_id for name in ("early", "late")
    }
    assert len({span.context.trace_id for span in (fetch, *waits)}) == 3
    assert fetch.status.is_unset
    assert fetch.kind is trace.SpanKind.INTERNAL


@pytest.mark.on_every_loop
async def test_what_the_function_does_belongs_to_its_fetch(telemetry):
    """A span that the function begins is a child of the fetch's, and the caller's own span is current afterwards."""

    @coalesced(observers=[telemetry.observer], name="watched")
    async def odds(league):
        with telemetry.tracer.start_as_current_span("select"):
            await asyncio.sleep(0)

    with telemetry.tracer.start_as_current_span("leader") as leader:
        await odds("nba")
        assert trace.get_current_span() is leader

    assert telemetry.span("select").parent.span_id == telemetry.span("fetch watched").context.span_id


async def test_a_refresh_is_a_trace_of_its_own_linked_to_its_cause(telemetry, virtual_time):
    """A fetch in the background is not a part of the request that was answered without it."""

    @coalesced(policy=CachePolicy(ttl=1, stale_while_revalidate=60), observers=[telemetry.observer], name="watched")
    async def odds(league):
        await asyncio.sleep(0.1)

    await odds("nba")
    await asyncio.sleep(5)
    telemetry.exporter.clear()
    with telemetry.tracer.start_as_current_span("reader") as reader:
        await odds("nba")
    await asyncio.sleep(1)

    refresh = telemetry.span("fetch watched")
    assert refresh.attributes["coalesce_kit.refresh"] is True
    assert refresh.parent is None
    assert linked_to(refresh) == reader.get_span_context().span_id


async def test_a_failure_is_told_by_its_type_alone(telemetry):
    """The spans of a fetch that failed and of the waits for it say what was raised, and not with what words."""
    origin = Origin()

    @coalesced(observers=[telemetry.observer], name="watched")
    async def odds(league):
        return await origin(league)

    tasks = start(odds("nba"), odds("nba"))
    await turns()
    origin.fail(LookupError("no odds for alice@example.com"))
    await outcomes(tasks)

    for name in ("fetch watched", "wait for watched"):
        span = telemetry.span(name)
        assert span.status.status_code is trace.StatusCode.ERROR
        assert span.status.description == span.attributes["error.type"] == "LookupError"
        assert span.events == ()
        assert "alice" not in span.to_json()


async def test_an_exception_is_recorded_where_that_is_wanted():
    """``record_exceptions=True`` puts message and traceback into the fetch's span, and into no waiter's."""
    telemetry, origin = Telemetry(record_exceptions=True), Origin()
    coalescer = RequestCoalescer(observers=[telemetry.observer])
    tasks = start(*(coalescer.get_or_fetch("nba", origin) for _ in range(2)))
    await turns()
    origin.fail(LookupError("no odds"))
    await outcomes(tasks)
    (event,) = telemetry.span("fetch RequestCoalescer").events
    assert event.attributes["exception.message"] == "no odds"
    assert telemetry.span("wait for RequestCoalescer").events == ()


@pytest.mark.parametrize(("options", "shown"), [({}, None), ({"expose_keys": True}, "odds:nba")])
async def test_keys_are_told_where_that_is_wanted(options, shown):
    """A key holds arguments: it is in no span unless ``expose_keys=True``."""
    telemetry, origin = Telemetry(**options), Origin()

    @coalesced(key="odds:{league}", observers=[telemetry.observer], name="watched")
    async def odds(league):
        return await origin(league)

    tasks = start(odds("nba"), odds("nba"))
    await turns()
    origin.answer()
    await outcomes(tasks)
    assert telemetry.span("fetch watched").attributes.get("coalesce_kit.key") == shown
    assert telemetry.span("wait for watched").attributes.get("coalesce_kit.key") == shown


async def test_whoever_leaves_has_no_error(telemetry):
    """A caller who hangs up ends his wait, which is no failure; one whose wait is too long has failed."""
    origin = Origin()
    coalescer = RequestCoalescer(observers=[telemetry.observer], max_wait_seconds=0.01)
    tasks = start(*(coalescer.get_or_fetch("nba", origin) for _ in range(3)))
    await turns()
    tasks[1].cancel()
    assert isinstance((await outcomes(tasks[2:]))[0], WaitTimeoutError)
    origin.answer()
    await outcomes(tasks)
    left, timed_out = telemetry.spans("wait for RequestCoalescer")
    assert (left.attributes["error.type"], left.status.is_unset) == ("asyncio.exceptions.CancelledError", True)
    assert timed_out.attributes["error.type"] == "coalesce_kit.errors.WaitTimeoutError"
    assert timed_out.status.status_code is trace.StatusCode.ERROR


async def test_a_fetch_that_never_starts_leaves_nothing(telemetry):
    """Waits for a fetch that is cut before the function is called end, linked to nothing."""
    origin = Origin()
    coalescer = RequestCoalescer(observers=[telemetry.observer])
    tasks = start(*(coalescer.get_or_fetch("nba", origin) for _ in range(3)))
    await asyncio.sleep(0)
    await coalescer.aclose(deadline_seconds=0)
    await outcomes(tasks)
    assert [wait.links for wait in telemetry.spans("wait for RequestCoalescer")] == [(), ()]
    assert origin.calls == []


async def test_a_fetch_whose_end_was_never_told_is_forgotten(telemetry):
    """Its loop was closed under it; when its number is used again, it is another fetch's."""
    event = {"function": "watched", "key": "nba", "flight": 1}
    telemetry.observer.fetch_started(FetchStarted(**event))
    telemetry.observer.fetch_started(FetchStarted(**event))
    telemetry.observer.fetch_ended(FetchEnded(**event, elapsed_seconds=1.0))
    assert len(telemetry.spans("fetch watched")) == 1


async def test_ends_of_what_was_never_begun_are_harmless(telemetry):
    """An observer that is told only the end of something ends nothing."""
    telemetry.observer.fetch_ended(FetchEnded(function="watched", key="nba", flight=7, elapsed_seconds=1.0))
    telemetry.observer.waiter_left(WaiterLeft(function="watched", key="nba", flight=7, waiter=8, waited_seconds=1.0))
    assert telemetry.exporter.get_finished_spans() == ()


async def test_durations_are_recorded_with_what_ended_them(telemetry):
    """Fetches and waits are in histograms in seconds, failures by their type, with bounds from 100 µs to 100 s."""
    origin = Origin()

    @coalesced(observers=[telemetry.observer], name="watched")
    async def odds(league):
        return await origin(league)

    for failure in (None, LookupError()):
        tasks = start(odds("nba"), odds("nba"), odds("nba"))
        await turns()
        origin.answer() if failure is None else origin.fail(failure)
        await outcomes(tasks)

    points = telemetry.points()
    for name, each in (("coalesce_kit.fetch.duration", 1), ("coalesce_kit.wait.duration", 2)):
        counted = {point.attributes.get("error.type"): point.count for point in points[name]}
        assert counted == {None: each, "LookupError": each}
        assert points[name][0].explicit_bounds == DEFAULT_BOUNDS_SECONDS
    assert telemetry.metrics()["coalesce_kit.fetch.duration"].unit == "s"


async def test_a_slow_fetch_is_recorded_with_its_trace(telemetry):
    """The sample of a duration is an exemplar that names the span of the fetch."""

    @coalesced(observers=[telemetry.observer], name="watched")
    async def odds(league):
        await asyncio.sleep(0)

    with telemetry.tracer.start_as_current_span("request"):
        await odds("nba")
    (point,) = telemetry.points()["coalesce_kit.fetch.duration"]
    assert [one.span_id for one in point.exemplars] == [telemetry.span("fetch watched").context.span_id]


async def test_instruments_agree_with_the_registry(telemetry):
    """Every number is exported as it is, by function and by what tells it apart."""
    register(get_stats_registry(), meter_provider=telemetry.meters)
    origin = Origin()

    @coalesced(ttl=60, name="watched")
    async def odds(league):
        return await origin(league)

    tasks = start(*(odds("nba") for _ in range(4)))
    await turns()
    during = telemetry.points()
    assert [point.value for point in during["coalesce_kit.in_flight"]] == [1]
    assert [point.value for point in during["coalesce_kit.waiters"]] == [3]
    assert during["coalesce_kit.oldest_flight"][0].value > 0
    origin.answer()
    await outcomes(tasks)
    await odds("nba")

    points = telemetry.points()
    requests = {point.attributes["coalesce_kit.outcome"]: point.value for point in points["coalesce_kit.requests"]}
    assert requests == {"hit": 1, "stale": 0, "coalesced": 3, "led": 1, "rejected": 0}
    assert [point.value for point in points["coalesce_kit.fetches"]] == [1]
    names = {f"coalesce_kit.{measure.name.removesuffix('_seconds')}" for measure in MEASURES if not measure.of_store}
    assert names | {"coalesce_kit.limit"} == set(points)


def test_instruments_are_of_the_kind_that_they_are(telemetry):
    """Counters only grow, gauges add up, maxima do not; units are the semantic conventions'."""
    registry = StatsRegistry()
    registry.register(
        "watched", Counters(), gauges=lambda: Gauges(waiters=1), limits=lambda: Limits(max_wait_seconds=5)
    )
    register(registry, meter_provider=telemetry.meters)
    metrics = telemetry.metrics()
    requests, waiters = metrics["coalesce_kit.requests"], metrics["coalesce_kit.waiters"]
    oldest, limit = metrics["coalesce_kit.oldest_flight"], metrics["coalesce_kit.limit"]
    assert (requests.data.is_monotonic, requests.unit) == (True, "{request}")
    assert (waiters.data.is_monotonic, waiters.unit) == (False, "{request}")
    assert (type(oldest.data).__name__, oldest.unit) == ("Gauge", "s")
    assert [(point.value, dict(point.attributes)) for point in limit.data.data_points] == [
        (5, {"coalesce_kit.function": "watched", "coalesce_kit.limit": "max_wait"})
    ]


def test_registering_again_changes_nothing(telemetry):
    """With the same provider, numbers are counted once."""
    registry = StatsRegistry()
    registry.register("watched", Counters(fetches=3))
    for _ in range(2):
        register(registry, meter_provider=telemetry.meters)
    assert [point.value for point in telemetry.points()["coalesce_kit.fetches"]] == [3]


def test_a_registry_that_is_gone_shows_nothing(telemetry):
    """Instruments keep no registry alive."""
    registry = StatsRegistry()
    registry.register("watched", Counters(fetches=3))
    register(registry, meter_provider=telemetry.meters)
    del registry
    gc.collect()
    assert telemetry.points() == {}


def test_all_instruments_see_the_same_moment(telemetry, monkeypatch):
    """The registry is looked at once for each export, not once for each instrument."""
    registry = StatsRegistry()
    looked, snapshot = [], registry.snapshot
    monkeypatch.setattr(registry, "snapshot", lambda: looked.append(None) or snapshot())
    register(registry, meter_provider=telemetry.meters)
    for _ in range(3):
        telemetry.reader.get_metrics_data()
    assert len(looked) == 3


@pytest.mark.parametrize("providers", ["none", "unsampled"])
async def test_without_an_sdk_nothing_happens(providers):
    """Before an application sets up the SDK, or where a trace is not sampled, the observer is harmless."""
    traces = TracerProvider(sampler=ALWAYS_OFF) if providers == "unsampled" else trace.NoOpTracerProvider()
    observer, origin = OpenTelemetryObserver(tracer_provider=traces, expose_keys=True), Origin()
    coalescer = RequestCoalescer(observers=[observer])
    tasks = start(*(coalescer.get_or_fetch("nba", origin) for _ in range(3)))
    await turns()
    origin.fail(LookupError())
    assert [type(outcome) for outcome in await outcomes(tasks)] == [LookupError] * 3
    assert observer.removed is False
    assert observer._fetches == observer._waits == {}


class TestAsAnObserver(ObserverContract):
    """What every observer keeps, with the SDK set up."""

    def make_observer(self):
        return Telemetry(record_exceptions=True).observer


def test_it_is_an_observer():
    """It overrides what is told of fetches and waiters, and nothing else."""
    assert issubclass(OpenTelemetryObserver, Observer)
    overridden = {name for name in vars(OpenTelemetryObserver) if not name.startswith("_")}
    assert overridden == {"fetch_started", "fetch_ended", "waiter_joined", "waiter_left"}


def test_a_registry_that_is_none_is_refused():
    """The function that returns the registry, given without being called, is a ``TypeError`` with the way out."""
    with pytest.raises(TypeError, match=r"coalesce_kit\.get_stats_registry\(\), not <function"):
        register(get_stats_registry)
