"""The registry: rows by name, totals that add up, functions that go, and resets."""

from __future__ import annotations

import gc
import json
import os
import threading
import weakref

import pytest

from coalesce_kit.stats.counters import Counters, Gauges, process_instance
from coalesce_kit.stats.registry import RegistrySnapshot, StatsRegistry
from coalesce_kit.stats.showing import FlightSeen


def counted(led: int = 0, coalesced: int = 0, fetches: int = 0, in_flight: int = 0) -> Counters:
    """Make counters that have counted something."""
    return Counters(led_requests=led, coalesced_requests=coalesced, fetches=fetches, in_flight=in_flight)


def test_an_empty_registry_has_no_functions_and_totals_of_zero():
    """Without functions there are totals all the same."""
    snapshot = StatsRegistry().snapshot()
    assert snapshot.functions == {}
    assert (snapshot.totals.total_requests, snapshot.totals.calls_saved_percent) == (0, 0.0)


def test_each_function_has_a_row_under_its_name():
    """Rows stand in the order of registration and show what was counted since."""
    registry, counters = StatsRegistry(), counted(led=1)
    registry.register("b", counters)
    registry.register("a", counted(led=5))
    counters.coalesced_requests += 2
    functions = registry.snapshot().functions
    assert list(functions) == ["b", "a"]
    assert (functions["b"].name, functions["b"].total_requests, functions["a"].total_requests) == ("b", 3, 5)
    assert len(registry) == 2


def test_one_row_can_be_asked_for():
    """``stats`` is the function's row alone; a name nobody has is a ``KeyError``."""
    registry = StatsRegistry()
    registry.register("f", counted(led=2), gauges=lambda: Gauges(waiters=3))
    assert registry.stats("f") == registry.snapshot().functions["f"]
    assert registry.stats("f").waiters == 3
    with pytest.raises(KeyError):
        registry.stats("g")


def test_totals_are_the_sums_of_the_rows():
    """Counters, histograms and gauges add; maxima and ages are the largest; ratios follow."""
    registry = StatsRegistry()
    first, second = counted(led=1, coalesced=9, fetches=1, in_flight=1), counted(led=10, fetches=9, in_flight=2)
    first.max_concurrent_waiters, second.max_concurrent_waiters = 9, 4
    first.fetch_latency.record(0.1)
    second.fetch_latency.record(0.2, 9)
    registry.register("a", first, gauges=lambda: Gauges(waiters=1, oldest_flight_seconds=2.0, pending_keys=1))
    registry.register("b", second, gauges=lambda: Gauges(waiters=4, oldest_flight_seconds=1.0, pending_keys=2))
    totals = registry.snapshot().totals
    assert (totals.name, totals.total_requests, totals.fetches, totals.in_flight) == ("total", 20, 10, 3)
    assert (totals.calls_saved_percent, totals.hit_rate_percent) == (50.0, 45.0)
    assert (totals.max_concurrent_waiters, totals.fetch_latency.count) == (9, 10)
    assert (totals.waiters, totals.oldest_flight_seconds, totals.pending_keys) == (5, 2.0, 3)


def test_a_snapshot_says_where_and_how_long():
    """Instance, process and the seconds since the registry began."""
    seconds = 100.0
    registry = StatsRegistry(now=lambda: seconds)
    seconds = 107.5
    snapshot = registry.snapshot()
    assert (snapshot.instance, snapshot.pid) == (process_instance(), os.getpid())
    assert snapshot.started_seconds_ago == 7.5


def test_two_snapshots_totals_subtract():
    """Totals have a difference like a function's numbers."""
    registry, counters = StatsRegistry(), counted(led=1)
    registry.register("f", counters)
    before = registry.snapshot()
    counters.led_requests += 2
    assert (registry.snapshot().totals - before.totals).led_requests == 2


def test_a_snapshot_is_json():
    """``as_dict`` holds functions, totals and place, and JSON takes it as it is."""
    registry = StatsRegistry()
    registry.register("f", counted(led=1))
    data = registry.snapshot().as_dict()
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    place = {"instance", "pid", "started_seconds_ago", "version"}
    assert set(data) == {*place, "config", "functions", "gone", "totals"}
    assert data["functions"]["f"]["led_requests"] == data["totals"]["total_requests"] == 1


def test_the_numbers_of_a_function_that_is_gone_stay_in_the_totals():
    """Its row disappears; what it counted does not."""
    registry, counters = StatsRegistry(), counted(led=3)
    registry.register("f", counters)
    registry.register("g", counted(led=1))
    registry.fold("f", counters)
    snapshot = registry.snapshot()
    assert list(snapshot.functions) == ["g"]
    assert (snapshot.gone.total_requests, snapshot.totals.total_requests) == (3, 4)
    assert registry.snapshot().totals.total_requests == 4
    assert len(registry) == 1


def test_a_function_goes_once():
    """Telling twice, or of a function that was never registered, changes nothing."""
    registry, counters = StatsRegistry(), counted(led=3)
    registry.register("f", counters)
    registry.fold("f", counters)
    registry.fold("f", counters)
    registry.fold("g", counted(led=7))
    assert registry.snapshot().totals.total_requests == 3


def test_what_a_fetch_counts_after_its_function_is_gone_is_not_lost():
    """A fetch may outlive its function; its numbers and gauges count in the totals while it runs and after."""
    registry, counters = StatsRegistry(), counted(led=1, in_flight=1)
    registry.register("f", counters, gauges=lambda: Gauges(pending_keys=1))
    registry.fold("f", counters)
    during = registry.snapshot()
    assert (during.functions, during.totals.in_flight, during.totals.pending_keys) == ({}, 1, 1)
    counters.fetches += 1
    counters.in_flight -= 1
    after = registry.snapshot()
    assert (after.totals.fetches, after.totals.in_flight, after.totals.pending_keys) == (1, 0, 0)


def test_what_is_not_said_of_a_function_is_nothing():
    """One that is registered with its numbers alone has no flights, no waiters and no limits that anybody knows."""
    registry = StatsRegistry()
    registry.register("f", counted(led=1))
    assert registry.flights(at_most=5) == []
    assert (registry.stats("f").waiters, registry.stats("f").pending_keys) == (0, 0)


def test_a_snapshot_can_be_made_without_limits():
    """As one is whose numbers came from another process: it knows of no function's limits."""
    numbers = Counters().snapshot("f")
    snapshot = RegistrySnapshot(
        instance="there", pid=1, started_seconds_ago=1.0, functions={}, gone=numbers, totals=numbers
    )
    assert snapshot.as_dict()["config"]["functions"] == {}


def test_the_flights_of_a_function_that_is_gone_and_settled_are_not_asked_for():
    """What it had in the air is shown until its last fetch has ended, and the function is not asked after that."""
    seen = FlightSeen(function="f", key="key", age_seconds=1.0, waiters=0, zombie=False, joinable=False)
    registry, counters = StatsRegistry(), counted(led=1, in_flight=1)
    registry.register("f", counters, flights=lambda _: [seen])
    registry.fold("f", counters)
    assert registry.flights(at_most=5) == [seen]
    counters.in_flight -= 1

    assert registry.flights(at_most=5) == []


def test_a_settled_function_is_held_no_more():
    """When nothing of a gone function is in flight, the registry holds neither its counters nor its gauges."""

    class Look:
        def __call__(self):
            return Gauges()

    registry, counters, look = StatsRegistry(), counted(led=1), Look()
    registry.register("f", counters, gauges=look)
    registry.fold("f", counters)
    registry.snapshot()
    dead = weakref.ref(look)
    del look
    gc.collect()
    assert dead() is None


def test_a_new_function_under_the_name_of_one_that_is_gone_begins_at_zero():
    """The name is free again; the old numbers are in the totals, not in the new row, even while a fetch runs."""
    registry, old = StatsRegistry(), counted(led=3, in_flight=1)
    registry.register("f", old)
    registry.fold("f", old)
    registry.register("f", counted(led=1))
    assert registry.stats("f").total_requests == 1
    assert registry.snapshot().totals.total_requests == 4


def test_a_reloaded_function_takes_over_the_row():
    """The newer function's row goes on from the older one's numbers, which count on while the older lives."""
    registry, old, new = StatsRegistry(), counted(led=3), counted(led=1)
    registry.register("f", old, gauges=lambda: Gauges(waiters=1))
    registry.register("f", new, gauges=lambda: Gauges(waiters=2))
    old.led_requests += 1
    assert (registry.stats("f").total_requests, registry.stats("f").waiters) == (5, 3)
    registry.fold("f", old)
    new.led_requests += 1
    assert (registry.stats("f").total_requests, registry.stats("f").waiters) == (6, 2)
    registry.fold("f", new)
    assert registry.snapshot().functions == {}
    assert registry.snapshot().totals.total_requests == 6


def test_registering_the_same_counters_again_counts_them_once():
    """The row of one function is not doubled."""
    registry, counters = StatsRegistry(), counted(led=3)
    registry.register("f", counters)
    registry.register("f", counters, gauges=lambda: Gauges(waiters=1))
    assert (registry.stats("f").total_requests, registry.stats("f").waiters) == (3, 1)


def test_a_function_that_is_registered_again_is_there():
    """It keeps its row when another one of that name goes."""
    registry, counters, other = StatsRegistry(), counted(led=3), counted(led=1)
    for each in (counters, counters, other):
        registry.register("f", each)
    registry.fold("f", other)
    assert registry.stats("f").total_requests == 4


def test_a_function_that_is_gone_has_no_gauges():
    """What nobody holds is not looked at."""
    registry, counters = StatsRegistry(), counted(led=1)
    registry.register("f", counters, gauges=lambda: Gauges(waiters=3))
    registry.fold("f", counters)
    assert registry.snapshot().totals.waiters == 0


def test_every_function_that_is_gone_is_noted_in_one_look():
    """One that never had a row does not stand in the way of the next."""
    registry, counters = StatsRegistry(), counted(led=1)
    registry.register("f", counters)
    registry.fold("g", counted(led=7))
    registry.fold("f", counters)
    assert len(registry) == 0


def test_a_function_that_comes_back_before_anybody_looked_is_registered_anew():
    """Going and coming back between two looks is seen in that order."""
    registry, counters = StatsRegistry(), counted(led=3)
    registry.register("f", counters)
    registry.fold("f", counters)
    registry.register("f", Counters())
    assert registry.stats("f").total_requests == 0


def test_reset_zeroes_rows_totals_and_what_is_gone():
    """After ``reset`` every number is 0, past owners of a row included, and counting goes on."""
    registry, counters = StatsRegistry(), counted(led=3)
    gone, old, flying = counted(led=5), counted(led=7), counted(led=9, in_flight=1)
    for name, each in (("gone", gone), ("f", old), ("f", counters), ("flying", flying)):
        registry.register(name, each)
    for name, each in (("gone", gone), ("f", old), ("flying", flying)):
        registry.fold(name, each)
    assert registry.snapshot().totals.total_requests == 24
    registry.reset()
    assert registry.snapshot().totals.total_requests == 0
    counters.led_requests += 1
    flying.fetches += 1
    snapshot = registry.snapshot()
    assert (snapshot.functions["f"].led_requests, snapshot.totals.led_requests, snapshot.totals.fetches) == (1, 1, 1)


def test_a_difference_over_a_reset_is_what_happened_since_it():
    """Rows and totals recognise that they began again at zero."""
    registry, counters = StatsRegistry(), counted(led=3)
    registry.register("f", counters)
    before = registry.snapshot()
    registry.reset()
    counters.led_requests += 1
    after = registry.snapshot()
    assert (after.functions["f"] - before.functions["f"]).led_requests == 1
    assert (after.totals - before.totals).led_requests == 1


def test_a_function_may_go_while_the_registry_is_at_work():
    """A weak-reference callback that fires inside the registry, in its own thread, neither blocks nor is lost."""
    registry, counters = StatsRegistry(), counted(led=3)

    def dying_gauges():
        registry.fold("g", other)
        assert len(registry) == 1
        return Gauges()

    other = counted(led=1)
    registry.register("f", counters, gauges=dying_gauges)
    registry.register("g", other)
    snapshot = registry.snapshot()
    assert list(snapshot.functions) == ["f"]
    assert snapshot.totals.total_requests == 4


def test_a_function_that_goes_during_a_look_has_no_row():
    """Its numbers are in the totals of that very snapshot."""
    registry, other = StatsRegistry(), counted(led=1)

    def gauges():
        registry.fold("g", other)
        return Gauges()

    registry.register("f", counted(led=3), gauges=gauges)
    registry.register("g", other)
    snapshot = registry.snapshot()
    assert (list(snapshot.functions), snapshot.totals.total_requests) == (["f"], 4)


def test_a_function_registered_during_a_look_has_no_gauges_yet():
    """A row that appears between the two steps of a snapshot is counted, its gauges are 0."""
    registry = StatsRegistry()

    def busy_gauges():
        if len(registry) == 1:
            registry.register("g", counted(led=1), gauges=lambda: Gauges(waiters=5))
        return Gauges()

    registry.register("f", counted(), gauges=busy_gauges)
    snapshot = registry.snapshot()
    assert (snapshot.functions["g"].total_requests, snapshot.functions["g"].waiters) == (1, 0)


def test_g19_totals_add_up_while_functions_come_and_go_in_threads():
    """Whatever moves meanwhile, the totals of every snapshot are the sum of its rows, and nothing is lost."""
    registry, rounds, threads = StatsRegistry(), 50, 4

    def come_and_go(number: int) -> None:
        for step in range(rounds):
            counters, name = counted(led=1), f"{number}.{step}"
            registry.register(name, counters)
            counters.led_requests += 1
            registry.fold(name, counters)

    workers = [threading.Thread(target=come_and_go, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        snapshot = registry.snapshot()
        rows = sum(stats.led_requests for stats in snapshot.functions.values())
        assert rows + snapshot.gone.led_requests == snapshot.totals.led_requests
    for worker in workers:
        worker.join()
    assert registry.snapshot().totals.led_requests == 2 * rounds * threads


def test_it_prints_as_a_table():
    """``str()`` of the registry is the table of its snapshot; its repr is short."""
    registry = StatsRegistry()
    registry.register("app.fixtures", counted(led=1, coalesced=99, fetches=1))
    assert str(registry) == str(registry.snapshot())
    assert "app.fixtures" in str(registry)
    assert repr(registry) == "<StatsRegistry of 1 functions>"
