"""For Prometheus: a collector that shows the registry when somebody scrapes, and costs nothing meanwhile.

::

    from prometheus_client import REGISTRY
    from coalesce_kit import get_stats_registry
    from coalesce_kit.exporters.prometheus import CoalesceKitCollector

    REGISTRY.register(CoalesceKitCollector(get_stats_registry()))

What is exported beside it, and how, is prometheus_client's: ``start_http_server``, ``make_asgi_app``. Its multi-process
mode does not ask collectors; give every worker a target of its own.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from types import ModuleType
from typing import TYPE_CHECKING, Final

from ..stats.latency import BOUNDS_SECONDS
from ..stats.registry import RegistrySnapshot, StatsRegistry
from .extras import needed
from .measures import DEFAULT_BOUNDS_SECONDS, DURATIONS, FUNCTION_LABEL, LIMITS, MEASURES, PREFIX, Duration, Measure
from .rows import Row, Rows, label_of, registry_to_show

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric


NEEDS: Final = needed("prometheus_client", extra="prometheus")
"""The library to which this exporter shows."""


class CoalesceKitCollector:
    """Shows the numbers of every function of a registry as metrics, each labelled with the function's name.

    Two collectors of one registry are equal, so that registering another one changes nothing: an application that is
    made twice in a process counts once.

    Args:
        registry: whose numbers; those of every decorated function without. Held weakly: of a registry that is gone
            nothing is shown.
        bounds_seconds: upper bounds of the histograms' buckets, from ``coalesce_kit.stats.latency.BOUNDS_SECONDS``;
            four in every decade from 100 µs to 100 s without.

    Raises:
        TypeError: ``registry`` is no ``StatsRegistry``.
        ValueError: samples are not counted by one of the bounds, or the bounds do not ascend.

    Concurrency: scrapes may overlap, in any thread; none of them waits for a call, and no call for one of them.
    """

    def __init__(
        self, registry: StatsRegistry | None = None, *, bounds_seconds: Sequence[float] = DEFAULT_BOUNDS_SECONDS
    ) -> None:
        shown = registry_to_show(registry)
        self._library: Final = _prometheus_client()
        self._registry: Final = weakref.ref(shown)
        self._hash: Final = hash((CoalesceKitCollector, id(shown)))
        self._bounds: Final = {index: str(BOUNDS_SECONDS[index]) for index in _checked(bounds_seconds)}
        self._rows: Final = Rows(shown)

    def describe(self) -> Iterable[Metric]:
        """Name no metric, which leaves it to ``==`` whether a collector is there already."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield every metric as it is now, from one look at the registry."""
        look = self._rows.look()
        if look is None:
            return
        info = self._metric("process", "The process in which the numbers are counted.", "info")
        process = {"process": look.snapshot.instance, "pid": str(look.snapshot.pid), "version": look.snapshot.version}
        info.add_sample(f"{info.name}_info", process, 1)
        yield info
        yield self._limits(look.snapshot)
        for measure in MEASURES:
            yield self._family(measure, look.rows)
        for duration in DURATIONS:
            yield self._histogram(duration, look.rows)

    def _limits(self, snapshot: RegistrySnapshot) -> Metric:
        metric = self._metric("limit_seconds", "The limits that are set, by what they limit.", "gauge")
        for name, limits in snapshot.function_limits.items():
            for limit in LIMITS:
                seconds: float | None = getattr(limits, f"{limit}_seconds")
                if seconds is not None:
                    metric.add_sample(metric.name, {FUNCTION_LABEL: label_of(name), "limit": limit}, seconds)
        return metric

    def _family(self, measure: Measure, rows: Sequence[Row]) -> Metric:
        counter = measure.kind == "counter"
        metric = self._metric(measure.name, measure.text, "counter" if counter else "gauge")
        name = f"{metric.name}_total" if counter else metric.name
        for row in rows:
            if (counter or row.living) and measure.is_shown_of(row.stats):
                for value, number in measure.parts.items():
                    labels = {FUNCTION_LABEL: row.label, measure.label: value} if value else {FUNCTION_LABEL: row.label}
                    metric.add_sample(name, labels, getattr(row.stats, number))
        return metric

    def _histogram(self, duration: Duration, rows: Sequence[Row]) -> Metric:
        metric = self._metric(f"{duration.name}_seconds", duration.text, "histogram")
        for row in rows:
            sums = [0, *accumulate(duration.latency_of(row.stats).buckets)]
            for index, bound in self._bounds.items():
                metric.add_sample(f"{metric.name}_bucket", {FUNCTION_LABEL: row.label, "le": bound}, sums[index + 1])
            metric.add_sample(f"{metric.name}_bucket", {FUNCTION_LABEL: row.label, "le": "+Inf"}, sums[-1])
            metric.add_sample(f"{metric.name}_count", {FUNCTION_LABEL: row.label}, sums[-1])
            metric.add_sample(f"{metric.name}_sum", {FUNCTION_LABEL: row.label}, duration.seconds_of(row.stats))
        return metric

    def _metric(self, name: str, text: str, kind: str) -> Metric:
        metric: Metric = self._library.Metric(f"{PREFIX}_{name}", text, kind)
        return metric

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CoalesceKitCollector) and other._registry == self._registry

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._registry()!r}>"


def register(registry: StatsRegistry | None = None, *, into: CollectorRegistry | None = None) -> None:
    """Show a registry's numbers wherever prometheus_client's are shown; doing it again changes nothing.

    Args:
        registry: whose numbers; those of every decorated function without.
        into: the collectors that are scraped together; ``prometheus_client.REGISTRY`` without.

    Raises:
        TypeError: ``registry`` is no ``StatsRegistry``.
    """
    collector = CoalesceKitCollector(registry)
    scraped: CollectorRegistry = _prometheus_client().REGISTRY if into is None else into
    scraped.register(collector)


def _checked(bounds_seconds: Sequence[float]) -> Iterator[int]:
    """Yield where in the registry's own bounds each of ``bounds_seconds`` stands."""
    before = -1
    for bound in bounds_seconds:
        nearest = min(range(len(BOUNDS_SECONDS)), key=lambda index: abs(BOUNDS_SECONDS[index] - bound))
        if BOUNDS_SECONDS[nearest] != bound:
            raise ValueError(f"bounds_seconds: samples are not counted by {bound!r}; {BOUNDS_SECONDS[nearest]} is near")
        if nearest <= before:
            raise ValueError(f"bounds_seconds must ascend, and {bound!r} does not")
        yield nearest
        before = nearest


def _prometheus_client() -> ModuleType:
    import prometheus_client  # noqa: PLC0415  # when it is used, as importing it reads the environment

    return prometheus_client
