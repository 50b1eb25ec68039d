"""Methods: instances never share by accident, and a service built per request is warned about."""

from __future__ import annotations

import asyncio
import gc
import logging

import pytest

from coalesce_kit import bound, coalesced
from tests.fakes import Origin, outcomes, start, turns


class Service:
    def __init__(self, tenant: object) -> None:
        self.tenant = tenant


class Slotted:
    __slots__ = ("tenant",)

    def __init__(self, tenant: object) -> None:
        self.tenant = tenant


async def of_tenant(self, league: str = "nba") -> object:
    """Return whose method this is."""
    return self.tenant


def service_of(kind: type, **options) -> type:
    """Return a new class with a newly decorated method."""
    return type("Fresh", (kind,), {"__slots__": (), "odds": coalesced(**options)(of_tenant)})


@pytest.mark.on_every_loop
async def test_g09_two_instances_never_share():
    """Instances of one class are told apart, whatever they are equal to."""

    class Equal(Service):
        __eq__ = lambda self, other: True
        __hash__ = lambda self: 7
        odds = coalesced(of_tenant)

    assert await asyncio.gather(Equal("a").odds(), Equal("b").odds()) == ["a", "b"]


@pytest.mark.on_every_loop
async def test_g09_a_reused_address_meets_nothing_old():
    """200 instances created, used, dropped and collected, many at the same address, all answer for themselves."""
    fresh = service_of(Service)
    addresses = set()
    for number in range(200):
        instance = fresh(number)
        addresses.add(id(instance))
        assert await instance.odds() == number
        del instance
        if number % 50 == 0:
            gc.collect()
    assert len(addresses) < 200


async def test_g09_instances_share_where_the_key_says_so():
    """A key that names a part of the instance, or ignores it, lets instances share."""
    origin = Origin()

    class Api(Service):
        @coalesced(key="{self.tenant}:{league}")
        async def odds(self, league: str) -> object:
            return await origin(self.tenant, league)

        @coalesced(ignore=("self",))
        async def fixtures(self, league: str) -> object:
            return await origin("fixtures", league)

    tasks = start(Api("a").odds("nba"), Api("a").odds("nba"), Api("b").odds("nba"))
    tasks += start(Api("a").fixtures("nba"), Api("b").fixtures("nba"))
    await turns()
    assert origin.working == 3
    for number in range(3):
        origin.answer(number)
    assert await outcomes(tasks) == [0, 0, 1, 2, 2]


async def test_g11_nothing_keeps_an_instance_after_its_fetch():
    """A flight holds its instance, and nothing does afterwards: no key, no list, no watch."""
    fresh = service_of(Service)
    living = lambda: sum(
        issubclass(type(thing), fresh) for thing in gc.get_objects()
    )  # asks no lazy object for its class
    for number in range(10):
        await fresh(number).odds()
    await turns()
    gc.collect()
    assert living() == 0


async def test_a_service_built_per_call_is_warned_about_once(caplog):
    """When the first hundred calls came from a hundred instances, one WARNING says so and shows the way out."""
    way_out = 'key="{self.tenant}:..."'
    fresh = service_of(Service, name="built per request")
    with caplog.at_level(logging.WARNING, logger="coalesce_kit"):
        for number in range(99):
            await fresh(number).odds()
        assert caplog.records == []
        for number in range(200):
            await fresh(number).odds()
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith("instance_per_call: the first 100 calls of built per request came from 100")
    assert way_out in record.getMessage()
    assert (record.function, record.calls, record.instances) == ("built per request", 100, 100)
    assert way_out in str(bound(fresh(0).odds).explain())


async def test_the_watch_costs_nothing_once_it_has_ended():
    """After the first hundred calls, and after a first repetition, the function's body does not watch any more."""
    watching, ended = service_of(Service), service_of(Service)
    for kind, calls in ((watching, 99), (ended, 100)):
        for number in range(calls):
            await kind(number).odds()
    assert watches(watching.odds)
    assert not watches(ended.odds)
    again = service_of(Service)
    twice = again(0)
    await twice.odds()
    assert watches(again.odds)
    await twice.odds()
    assert not watches(again.odds)


def watches(function) -> bool:
    """Whether the body in place is the one that watches."""
    return function.__code__ is function.__coalesced__._compiled._codes["watching"]


async def test_a_service_that_is_used_twice_is_not_warned_about(caplog):
    """One instance that comes a second time ends the watch."""
    fresh = service_of(Service)
    kept = fresh("kept")
    for number in range(50):
        await fresh(number).odds()
    await kept.odds()
    await kept.odds()
    for number in range(200):
        await fresh(number).odds()
    assert caplog.records == []
    assert bound(kept.odds).explain().notes == ()


async def test_a_reused_address_counts_as_another_instance(caplog):
    """A new instance at the address of a dead one is another one: the rule goes by weak reference."""
    fresh = service_of(Service, name="at one address")
    addresses = set()
    for number in range(100):
        instance = fresh(number)
        addresses.add(id(instance))
        await instance.odds()
        del instance
    assert len(addresses) < 100
    assert len(caplog.records) == 1


async def test_instances_without_weak_references_are_not_watched(caplog):
    """What cannot be told from the next one gives no warning."""
    fresh = service_of(Slotted)
    for number in range(150):
        await fresh(number).odds()
    assert caplog.records == []
    assert not watches(fresh.odds)


async def test_functions_and_methods_without_the_instance_in_the_key_are_not_watched(caplog):
    """Only a method whose instance is in the key can have this fault."""
    fresh = service_of(Service, key="{self.tenant}", ignore=("league",))
    for number in range(150):
        await fresh(number).odds()
    assert caplog.records == []
    assert set(fresh.odds.__coalesced__._compiled._codes) == {"on", "off"}


async def test_switching_off_and_on_goes_on_watching(caplog):
    """A watch that has not ended goes on after the function was switched off and on."""
    fresh = service_of(Service)
    await fresh(0).odds()
    fresh.odds.__coalesced__.switch(enabled=False)
    await fresh(0).odds()
    assert fresh.odds.__code__ is fresh.odds.__coalesced__._compiled._codes["off"]
    fresh.odds.__coalesced__.switch(enabled=True)
    assert watches(fresh.odds)
