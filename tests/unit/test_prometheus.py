"""What Prometheus scrapes: legal, complete, adding up, and without a label by key."""

from __future__ import annotations

import asyncio
import gc
import math
import shutil
import subprocess
import threading
from collections import defaultdict

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from coalesce_kit import coalesced, get_stats_registry
from coalesce_kit.exporters.prometheus import CoalesceKitCollector, register
from coalesce_kit.stats.counters import Counters
from coalesce_kit.stats.latency import BOUNDS_SECONDS
from coalesce_kit.stats.registry import StatsRegistry
from coalesce_kit.stats.showing import Limits
from tests.fakes import Origin, outcomes, start, turns

HOSTILE = [
    '<script>alert("x")</script>',
    "line\nbreak",
    "tab\tand\r",
    'quote"and\\slash',
    "nul\0",
    "\ud800",
    "x" * 10_000,
]


@pytest.fixture
def scraped():
    """A set of collectors of the test's own, with one of ours."""
    scraped = CollectorRegistry()
    scraped.register(CoalesceKitCollector(get_stats_registry()))
    return scraped


def counted(name="watched", registry=None, **numbers):
    """Return a registry with a function that has counted this."""
    registry = registry or StatsRegistry()
    registry.register(name, Counters(**numbers))
    return registry


def scrape(registry, **options):
    """Return every sample of a scrape by its name and labels, as the official parser reads it."""
    scraped = CollectorRegistry()
    scraped.register(CoalesceKitCollector(registry, **options))
    samples = {}
    for family in parse(generate_latest(scraped).decode()):
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            assert (sample.name, labels) not in samples, "twice"
            samples[sample.name, labels] = sample.value
    return samples


def value(samples, name, **labels):
    """Return one sample."""
    return samples[f"coalesce_kit_{name}", tuple(sorted(labels.items()))]


async def test_calls_are_shown_by_what_became_of_them():
    """A herd and a hit are one led, the rest coalesced, and a hit; the upstream saw one fetch."""
    origin = Origin()

    @coalesced(ttl=60, name="watched")
    async def odds(league):
        return await origin(league)

    tasks = start(*(odds("nba") for _ in range(4)))
    await turns()
    origin.answer()
    await outcomes(tasks)
    await odds("nba")

    samples = scrape(get_stats_registry())
    outcomes_shown = {
        outcome: value(samples, "requests_total", function="watched", outcome=outcome)
        for outcome in ("hit", "stale", "coalesced", "led", "rejected")
    }
    assert outcomes_shown == {"hit": 1, "stale": 0, "coalesced": 3, "led": 1, "rejected": 0}
    assert value(samples, "fetches_total", function="watched") == 1
    assert value(samples, "cached_entries", function="watched") == 1
    assert value(samples, "fetch_duration_seconds_count", function="watched") == 1
    assert value(samples, "wait_duration_seconds_count", function="watched") == 3


async def test_nothing_is_labelled_by_key(scraped):
    """What a function was asked with is nowhere in what is exported."""

    @coalesced(ttl=60, key="secret:{user}")
    async def orders(user):
        return user

    await orders("alice@example.com")
    text = generate_latest(scraped).decode()
    assert "orders" in text
    assert "alice" not in text
    labels = {label for family in parse(text) for sample in family.samples for label in sample.labels}
    assert labels == {"function", "outcome", "reason", "limit", "le", "process", "pid", "version"}


def test_each_failure_has_a_reason():
    """Errors, cancellations and time-outs are told apart by a label."""
    samples = scrape(counted(fetch_errors=1, fetch_cancelled=2, fetch_timeouts=3))
    assert [
        value(samples, "fetch_failures_total", function="watched", reason=reason)
        for reason in ("error", "cancelled", "timeout")
    ] == [1, 2, 3]


def test_a_histogram_is_cumulative_and_in_seconds():
    """Each bucket holds all samples up to its bound, the last one all of them, and the sum is their seconds."""
    counters = Counters()
    for seconds in (0.00005, 0.02, 0.02, 3.0, 5000.0, 50_000.0):
        counters.fetch_latency.record(seconds)
        counters.fetch_seconds_total += seconds
    registry = StatsRegistry()
    registry.register("watched", counters)
    samples = scrape(registry)

    buckets = {
        dict(labels)["le"]: count
        for (name, labels), count in samples.items()
        if name == "coalesce_kit_fetch_duration_seconds_bucket"
    }
    assert buckets["0.0001"] == 1
    assert buckets["0.01778"] == 1
    assert buckets["0.03162"] == 3
    assert buckets["3.162"] == buckets["100.0"] == 4
    assert buckets["+Inf"] == value(samples, "fetch_duration_seconds_count", function="watched") == 6
    assert value(samples, "fetch_duration_seconds_sum", function="watched") == pytest.approx(55_003.04005)
    assert list(buckets.values()) == sorted(buckets.values())


@pytest.mark.parametrize("bounds", [(), BOUNDS_SECONDS, BOUNDS_SECONDS[40:161:20]], ids=["none", "all", "decades"])
def test_other_bounds_may_be_chosen(bounds):
    """Whatever buckets are shown, count and sum stay the same."""
    counters = Counters(fetch_seconds_total=3.0)
    counters.fetch_latency.record(3.0)
    registry = StatsRegistry()
    registry.register("watched", counters)
    samples = scrape(registry, bounds_seconds=bounds)
    shown = [dict(labels)["le"] for (name, labels) in samples if name == "coalesce_kit_fetch_duration_seconds_bucket"]
    assert [float(bound) for bound in shown] == [*bounds, math.inf]
    assert value(samples, "fetch_duration_seconds_count", function="watched") == 1
    assert value(samples, "fetch_duration_seconds_sum", function="watched") == 3.0


@pytest.mark.parametrize(
    ("bounds", "message"),
    [([0.5], r"not counted by 0.5; 0.5012 is near"), ([1.0, 0.1], "must ascend, and 0.1"), ([1.0, 1.0], "must ascend")],
)
def test_bounds_by_which_nothing_is_counted_are_refused(bounds, message):
    """A bound of another histogram would make wrong numbers; the nearest right one is named."""
    with pytest.raises(ValueError, match=message):
        CoalesceKitCollector(StatsRegistry(), bounds_seconds=bounds)


def test_limits_are_shown_where_they_are_set():
    """A function's limits are numbers to compare its times with."""
    registry = StatsRegistry()
    registry.register("watched", Counters(), limits=lambda: Limits(max_wait_seconds=5.0))
    samples = scrape(registry)
    assert value(samples, "limit_seconds", function="watched", limit="max_wait") == 5.0
    assert ("coalesce_kit_limit_seconds", (("function", "watched"), ("limit", "fetch_timeout"))) not in samples


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_name_is_a_legal_label(name):
    """Whatever a function is called, both official parsers read every family back, and one function is one label."""
    scraped, registry = CollectorRegistry(), counted(name, counted(cache_hits=1), cache_hits=1)
    scraped.register(CoalesceKitCollector(registry))
    for generate, read in ((generate_latest, parse), (generate_openmetrics, parse_openmetrics)):
        functions = defaultdict(set)
        for family in read(generate(scraped).decode()):
            for sample in family.samples:
                functions[family.name].add(sample.labels.get("function"))
        assert all(len(labels) == 2 for family, labels in functions.items() if family.endswith("requests"))
        assert len({label for labels in functions.values() for label in labels} - {None}) == 2


def test_the_openmetrics_parser_accepts_everything(scraped):
    """The stricter of the two formats is kept: types, suffixes, buckets, the end."""
    families = {family.name: family for family in parse_openmetrics(generate_openmetrics(scraped).decode())}
    assert families["coalesce_kit_requests"].type == "counter"
    assert families["coalesce_kit_fetch_duration_seconds"].type == "histogram"
    assert families["coalesce_kit_process"].type == "info"


def test_registering_again_changes_nothing():
    """An application that is made twice in one process is counted once."""
    scraped, registry = CollectorRegistry(), counted(cache_hits=3)
    for _ in range(2):
        scraped.register(CoalesceKitCollector(registry))
        register(registry, into=scraped)
    text = generate_latest(scraped).decode()
    assert text.count('coalesce_kit_requests_total{function="watched",outcome="hit"} 3.0') == 1
    scraped.unregister(CoalesceKitCollector(registry))
    assert generate_latest(scraped) == b""


def test_two_sets_of_collectors_show_the_same():
    """Registered in two places, each shows everything."""
    registry = counted(cache_hits=3)
    assert scrape(registry) == scrape(registry)


def test_the_short_way_registers_where_everybody_looks():
    """``register(registry)`` shows it in prometheus_client's own registry."""
    registry = counted(cache_hits=3)
    try:
        register(registry)
        assert REGISTRY.get_sample_value("coalesce_kit_requests_total", {"function": "watched", "outcome": "hit"}) == 3
    finally:
        REGISTRY.unregister(CoalesceKitCollector(registry))


def test_without_a_registry_every_decorated_function_is_shown():
    """The registry that is meant is mostly the only one."""
    assert CoalesceKitCollector() == CoalesceKitCollector(get_stats_registry())


def test_collectors_are_equal_by_their_registry():
    """Two of one registry are one; others are not, nor is anything else."""
    registry = StatsRegistry()
    assert CoalesceKitCollector(registry) == CoalesceKitCollector(registry)
    other = StatsRegistry()
    assert CoalesceKitCollector(registry) != CoalesceKitCollector(other)
    assert CoalesceKitCollector(registry) != registry
    assert repr(CoalesceKitCollector(registry)) == "<CoalesceKitCollector of <StatsRegistry of 0 functions>>"


def test_a_registry_that_is_gone_shows_nothing():
    """A collector that is registered for ever keeps no registry alive, as where each test has one of its own."""
    scraped, registry = CollectorRegistry(), counted(cache_hits=3)
    scraped.register(CoalesceKitCollector(registry))
    del registry
    gc.collect()
    assert generate_latest(scraped) == b""


def test_a_registry_that_is_none_is_refused():
    """The function that returns the registry, given without being called, is a ``TypeError`` with the way out."""
    with pytest.raises(TypeError, match=r"coalesce_kit\.get_stats_registry\(\), not <function"):
        CoalesceKitCollector(get_stats_registry)


async def test_totals_do_not_go_back_when_a_function_goes(scraped):
    """The sum over all functions stays when one of them is gone, and no row leaps."""

    def make():
        @coalesced(ttl=60, name="watched")
        async def odds(league):
            return league

        return odds

    odds = make()

    def shown():
        family = next(family for family in scraped.collect() if family.name == "coalesce_kit_requests")
        return {sample.labels["function"]: 0 for sample in family.samples} | {
            sample.labels["function"]: sample.value for sample in family.samples if sample.value
        }

    for _ in range(5):
        await odds("nba")
    before = shown()
    del odds
    gc.collect()
    assert shown() == before
    later = make()
    assert shown() == before
    await later("nba")
    assert sum(shown().values()) == sum(before.values()) + 1


def test_scrapes_may_overlap():
    """Many threads scrape while a function counts; each sees a sum that never goes back."""
    counters = Counters()
    registry = StatsRegistry()
    registry.register("watched", counters)
    collector = CoalesceKitCollector(registry)
    done, wrong = threading.Event(), []

    def scraping():
        last = 0
        while not done.is_set():
            families = {family.name: family for family in collector.collect()}
            now = sum(sample.value for sample in families["coalesce_kit_requests"].samples)
            if now < last:
                wrong.append((last, now))
            last = now

    threads = [threading.Thread(target=scraping) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20_000):
        counters.cache_hits += 1
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_what_only_a_store_moves_is_shown_of_functions_with_a_store():
    """A function that has none has no numbers of one."""
    registry = counted("stored", counted("local"), leases_won=1)
    functions = {
        dict(labels)["function"] for name, labels in scrape(registry) if name == "coalesce_kit_store_errors_total"
    }
    assert functions == {"stored"}


async def test_scraping_counts_nothing(scraped):
    """Looking changes no number."""

    @coalesced(ttl=60)
    async def odds(league):
        return league

    await odds("nba")
    before = odds.stats().as_dict()
    for _ in range(3):
        generate_latest(scraped)
    assert odds.stats().as_dict() == before


@pytest.mark.heavy("promtool")
@pytest.mark.parametrize("name", ["watched", *HOSTILE], ids=range(len(HOSTILE) + 1))
def test_promtool_has_nothing_to_say(name):
    """``promtool check metrics`` finds no fault in names, types and texts."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    scraped, registry = CollectorRegistry(), counted(name, cache_hits=1)
    scraped.register(CoalesceKitCollector(registry))
    done = subprocess.run(
        [promtool, "check", "metrics"], input=generate_latest(scraped), capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


async def test_a_scrape_does_not_wait_for_a_fetch(scraped):
    """While a fetch hangs, a scrape shows it, its age and who waits."""
    origin = Origin()

    @coalesced(name="watched")
    async def odds(league):
        return await origin(league)

    tasks = start(*(odds("nba") for _ in range(3)))
    await turns()
    samples = {
        sample.name: sample.value
        for family in scraped.collect()
        for sample in family.samples
        if len(sample.labels) == 1
    }
    assert samples["coalesce_kit_in_flight"] == 1
    assert samples["coalesce_kit_waiters"] == 2
    assert samples["coalesce_kit_pending_keys"] == 1
    assert samples["coalesce_kit_oldest_flight_seconds"] > 0
    origin.answer()
    await asyncio.gather(*tasks)
