"""The defaults: when they are looked up, names, and what becomes of numbers and work at the end."""

from __future__ import annotations

import asyncio
import gc
import linecache
import types
import weakref

import fastapi
import pytest

import coalesce_kit
from coalesce_kit import (
    CloseReport,
    ConfigurationError,
    FetchCancelledError,
    RequestCoalescer,
    StatsRegistry,
    coalesced,
    get_request_coalescer,
    get_stats_registry,
)
from coalesce_kit.defaults import decorated_functions, known_coalescers, reset_for_tests
from coalesce_kit.stats.counters import NO_GAUGES
from coalesce_kit.stats.showing import NO_LIMITS
from tests.fakes import Origin, outcomes, start, turns


async def answer(league: str = "nba") -> str:
    """Answer."""
    return league


def named(name: str, qualname: str = "odds") -> types.FunctionType:
    """Return a new function with a default name of its own."""

    async def odds() -> int:
        return 7

    odds.__module__, odds.__qualname__ = name, qualname
    return odds


# ---- the default coalescer and registry ----


async def test_the_default_coalescer_is_looked_up_at_the_first_call():
    """Decorating makes no coalescer; the first call does, and later ones ask it directly."""
    decorated = coalesced(answer)
    decorated.invalidate()
    decorated.explain()
    decorated.stats()
    assert decorated.__coalesced__.coalescer() is None
    await decorated()
    assert decorated.__coalesced__.coalescer() is get_request_coalescer()
    await decorated()
    assert get_request_coalescer().statistics().led_requests == 2
    assert get_request_coalescer() is get_request_coalescer()


async def test_a_backend_is_asked_instead_of_the_default():
    """A function with a backend of its own leaves the default alone."""
    backend = RequestCoalescer()
    decorated = coalesced(backend=backend)(answer)
    await decorated()
    assert backend.statistics().led_requests == 1
    assert get_request_coalescer().statistics().led_requests == 0
    assert known_coalescers().count(backend) == 1


async def test_a_reset_moves_decorated_functions_along():
    """After a reset, functions and backends count from zero, and who has no backend asks the new coalescer."""
    backend = RequestCoalescer()
    decorated = coalesced(name="moves along")(answer)
    other = coalesced(name="moves too", backend=backend)(answer)
    await decorated()
    await other()
    registry, coalescer = get_stats_registry(), get_request_coalescer()
    reset_for_tests()
    assert get_stats_registry() is not registry
    assert get_request_coalescer() is not coalescer
    assert get_stats_registry().snapshot().functions["moves along"].led_requests == 0
    await decorated()
    await other()
    assert (decorated.stats().led_requests, other.stats().led_requests) == (1, 1)
    assert get_request_coalescer().statistics().led_requests == 1
    assert coalescer.statistics().led_requests == 0
    assert backend.statistics().led_requests == 1


# ---- names ----


def test_a_name_is_module_and_qualname_or_what_was_given():
    """The label of a function's numbers."""
    assert coalesced(named("shop.odds")).stats().name == "shop.odds.odds"
    assert coalesced(name="odds")(answer).stats().name == "odds"


def test_equal_default_names_are_numbered():
    """Two living functions with one default name are told apart; a number is free again when its function is gone."""
    first, second, third = (coalesced(named("shop.numbered")) for _ in range(3))
    assert [one.stats().name for one in (first, second, third)] == [
        "shop.numbered.odds",
        "shop.numbered.odds#2",
        "shop.numbered.odds#3",
    ]
    del second
    gc.collect()
    assert coalesced(named("shop.numbered")).stats().name == "shop.numbered.odds#2"


async def test_equal_default_names_share_nothing():
    """In process two functions never share a key, however they are called."""
    first, second = coalesced(named("shop.shared")), coalesced(named("shop.shared"))
    await asyncio.gather(first(), second())
    assert (first.stats().led_requests, second.stats().led_requests) == (1, 1)


def test_an_explicit_name_is_given_once():
    """The same explicit name on another function is refused, naming both; it is free again when its owner is gone."""
    first = coalesced(name="taken")(named("shop.first"))
    with pytest.raises(ConfigurationError, match="name='taken' is taken by shop.first.odds, and shop.second.odds"):
        coalesced(name="taken")(named("shop.second"))
    with pytest.raises(ConfigurationError, match="taken"):
        coalesced(name="taken", enabled=False)(named("shop.second"))
    del first
    gc.collect()
    assert coalesced(name="taken")(named("shop.second")).stats().name == "taken"


async def test_a_reloaded_function_takes_over_its_row():
    """The same explicit name on a function of the same module and qualname goes on counting in the same row."""
    old = coalesced(name="reloaded")(named("shop.reloaded"))
    await old()
    new = coalesced(name="reloaded")(named("shop.reloaded"))
    await new()
    assert new.stats().led_requests == 2
    assert list(get_stats_registry().snapshot().functions).count("reloaded") == 1
    del old
    gc.collect()
    await new()
    assert new.stats().led_requests == 3


# ---- dying ----


async def test_a_function_dies_with_its_last_reference_and_its_numbers_stay():
    """Being decorated keeps nothing alive, not even until the next collection; its numbers stay in the totals."""
    decorated = coalesced(name="mortal")(named("shop.mortal"))
    await decorated()
    await turns()
    before = get_stats_registry().snapshot().totals
    dead = weakref.ref(decorated), weakref.ref(decorated.__coalesced__), weakref.ref(decorated.__wrapped__)
    filename = decorated.__code__.co_filename
    assert filename in linecache.cache
    gc.disable()
    try:
        del decorated
        assert [reference() for reference in dead] == [None, None, None]
    finally:
        gc.enable()
    assert filename not in linecache.cache
    snapshot = get_stats_registry().snapshot()
    assert "mortal" not in snapshot.functions
    assert snapshot.totals.led_requests == before.led_requests
    assert all(function.name != "mortal" for function in decorated_functions())


async def test_a_dying_method_takes_its_watch_along():
    """The watch of a method's first calls keeps nothing alive."""

    async def odds(self: object) -> int:
        return 7

    decorated = coalesced(odds)
    await decorated(Origin())
    dead = weakref.ref(decorated.__coalesced__)
    gc.disable()
    try:
        del decorated
        assert dead() is None
    finally:
        gc.enable()


def test_a_function_that_dies_without_a_registry_is_forgotten():
    """Nothing goes wrong when there is no registry to fold the numbers into."""
    state = coalesce_kit.defaults._state
    decorated = coalesced(named("shop.late"))
    state.registry = None
    del decorated
    gc.collect()
    reset_for_tests()


async def test_what_is_held_of_a_dead_function_still_works():
    """An attribute may outlive its function: it answers, and looking at the function finds nothing."""
    decorated = coalesced(name="held")(named("shop.held"))
    await decorated()
    await turns()
    looks = []

    class Registry(StatsRegistry):
        def register(self, name, counters, *, gauges, limits, flights):
            looks.extend((gauges, limits, flights))

    workings = decorated.__coalesced__
    workings.register(Registry())
    invalidate, explain, switch = decorated.invalidate, decorated.explain, workings.switch
    del decorated
    reset_for_tests()
    switch(enabled=True)
    assert invalidate().voided == 0
    assert explain().state == "missing"
    gauges, limits, flights = looks
    assert gauges() == workings.gauges()
    assert limits() == workings.limits()
    assert flights(1) == []
    del workings, invalidate, explain, switch
    assert (gauges(), limits(), flights(1)) == (NO_GAUGES, NO_LIMITS, ())


# ---- the end ----


@pytest.mark.on_every_loop
async def test_aclose_ends_everything_open_and_leaves_functions_usable():
    """Fetches in flight are drained to the deadline, the rest is cut and reported, and calls work on."""
    origin, backend = Origin(), RequestCoalescer()

    @coalesced(key="default:{league}")
    async def odds(league: str) -> object:
        return await origin(league)

    @coalesced(key="backend:{league}", backend=backend)
    async def fixtures(league: str) -> object:
        return await origin(league)

    tasks = start(odds("nba"), fixtures("nba"))
    await turns()
    report = await coalesce_kit.aclose(deadline_seconds=0)
    assert report == CloseReport(0, report.cut)
    assert sorted(report.cut) == ["backend:nba", "default:nba"]
    assert [type(error) for error in await outcomes(tasks)] == [FetchCancelledError] * 2

    tasks = start(odds("nba"), fixtures("nba"))
    await turns()
    origin.answer(1)
    origin.answer(2)
    assert await outcomes(tasks) == [1, 2]


@pytest.mark.on_every_loop
async def test_aclose_waits_for_what_ends_in_time():
    """A fetch that ends before the deadline is finished, not cut."""
    origin = Origin()

    @coalesced
    async def odds() -> object:
        return await origin()

    tasks = start(odds())
    await turns()
    (closing,) = start(coalesce_kit.aclose())
    await turns()
    origin.answer()
    assert await closing == CloseReport(1)
    assert await outcomes(tasks) == ["answer"]


async def test_aclose_with_nothing_open():
    """Closing nothing reports nothing, also when there is no default coalescer yet."""
    reset_for_tests()
    assert await coalesce_kit.aclose() == CloseReport(0)
    with pytest.raises(ConfigurationError, match="deadline_seconds must be at least 0"):
        await coalesce_kit.aclose(deadline_seconds=-1)


class NotDrainable:
    """The port of a coalescer, and nothing more."""

    async def get_or_fetch(self, key, fetch, /, *, reserve=None, terms=None):
        return await fetch()

    def forget(self, key, /) -> bool:
        return False

    def flights(self):
        return ()

    async def aclose(self, *, deadline_seconds: float = 10.0) -> CloseReport:
        raise AssertionError("functions stay usable")


async def test_a_foreign_coalescer_may_be_the_backend():
    """Whatever has the port can be a backend: reservations are its choice, and what cannot be drained is left alone."""
    decorated = coalesced(backend=NotDrainable())(answer)
    assert await decorated("nba") == "nba"
    assert await coalesce_kit.aclose() == CloseReport(0)


async def test_lifespan_closes_at_the_end():
    """As a block, and as the lifespan of an application; also when the block fails."""
    origin = Origin()

    @coalesced(key="odds", on_abandon="finish")
    async def odds() -> object:
        return await origin()

    for app in (None, fastapi.FastAPI(lifespan=coalesce_kit.lifespan)):
        with pytest.raises(ZeroDivisionError):
            async with coalesce_kit.lifespan(app, deadline_seconds=0):
                tasks = start(odds())
                await turns()
                raise ZeroDivisionError
        assert [type(error) for error in await outcomes(tasks)] == [FetchCancelledError]
    assert app.router.lifespan_context is coalesce_kit.lifespan
