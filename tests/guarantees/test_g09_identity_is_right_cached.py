"""G9, with a cache: instances and functions never meet in it, and it keeps nobody alive."""

import asyncio
import copy
import gc
import weakref
from typing import Any

import cachetools
import pytest

from coalesce_kit import CachePolicy, ConfigurationError, MemoryCache, bound, coalesced
from tests.fakes import turns

on_every_loop = pytest.mark.on_every_loop

CACHES: dict[str, Any] = {
    "own": lambda: None,
    "shared": lambda: MemoryCache(max_entries=100),
    "LRU": lambda: MemoryCache(cache=cachetools.LRUCache(100)),
}
every_cache = pytest.mark.parametrize("make", CACHES.values(), ids=CACHES)


def service_class(cache: MemoryCache | None, **options: Any) -> Any:
    """Return a class whose method's results are kept; each instance answers with its own name."""

    class Service:
        def __init__(self, name: object) -> None:
            self.name = name

        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 7

        @coalesced(**{"ttl": 1000, "cache": cache, **options})
        async def odds(self, league: str = "nba") -> Any:
            await asyncio.sleep(0)
            return self.name

    return Service


@on_every_loop
@every_cache
async def test_g09_two_instances_keep_two_results(make: Any) -> None:
    """Equal, hashing alike, of one class: each finds its own, and invalidates its own."""
    service = service_class(make())
    one, other = service("one"), service("other")
    for _ in range(2):
        assert (await one.odds(), await other.odds()) == ("one", "other")
    bound(one.odds).invalidate()

    assert (bound(one.odds).peek(), bound(other.odds).peek().value) == (None, "other")
    assert service.odds.stats().fetches == 2


@on_every_loop
@every_cache
async def test_g09_a_reused_address_meets_no_kept_result(make: Any) -> None:
    """Two hundred instances, one after another, most of them at the same address: each gets its own answer."""
    service = service_class(make())
    addresses = set()
    for number in range(200):
        instance = service(number)
        addresses.add(id(instance))
        assert [await instance.odds(), await instance.odds()] == [number, number]
        del instance

    assert len(addresses) < 200, "no address was used again, so nothing was tested"
    assert service.odds.stats().cache_hits == 200


@on_every_loop
@every_cache
async def test_g09_a_reused_address_meets_no_remembered_failure(make: Any) -> None:
    """The same for failures that are remembered."""

    class Service:
        def __init__(self, name: int) -> None:
            self.name = name

        @coalesced(policy=CachePolicy(error_ttl={LookupError: 1000}), cache=make())
        async def odds(self) -> None:
            raise LookupError(self.name)

    for number in range(50):
        instance = Service(number)
        for _ in range(2):
            with pytest.raises(LookupError) as caught:
                await instance.odds()
            assert caught.value.args == (number,)
        del caught, instance


@on_every_loop
@every_cache
async def test_g09_a_cache_keeps_no_instance_alive(make: Any) -> None:
    """An instance dies with its last user, at once; what was kept for it is of no use from then on."""
    service = service_class(make())
    instance = service("one")
    await instance.odds()
    entry = bound(instance.odds).peek()
    bound(instance.odds).prime("primed", "nfl")
    reference = weakref.ref(instance)
    gc.disable()
    try:
        del instance
        await turns()
        assert reference() is None
    finally:
        gc.enable()
    assert entry.is_dead or make is CACHES["LRU"]


@on_every_loop
@every_cache
async def test_g09_an_instance_that_dies_while_refreshing_is_kept_for_that_long(make: Any) -> None:
    """A refresh holds the instance that it is for; when it ends the instance dies, and its entries with it."""
    release = asyncio.Event()

    class Service:
        @coalesced(policy=CachePolicy(ttl=0, stale_while_revalidate=1000), cache=make())
        async def odds(self) -> str:
            await release.wait()
            return "value"

    instance = Service()
    bound(instance.odds).prime("old")
    assert await instance.odds() == "old"
    await turns()
    reference = weakref.ref(instance)
    del instance
    assert reference() is not None
    release.set()
    await turns()
    gc.collect()

    assert reference() is None


@on_every_loop
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
async def test_g09_copies_of_used_instances_keep_their_own(copied: Any) -> None:
    """A copy of an instance with results in the cache has none."""
    service = service_class(None)
    one = service("one")
    await one.odds()
    other = copied(one)
    other.name = "other"

    assert (await other.odds(), await one.odds()) == ("other", "one")


@on_every_loop
async def test_g09_an_instance_that_cannot_be_watched_is_refused() -> None:
    """It coalesces, and nothing can be kept for it: an error names the ways out."""

    class Service:
        __slots__ = ()

        @coalesced(ttl=1000)
        async def odds(self) -> str:
            await asyncio.sleep(0)
            return "value"

        @coalesced(ttl=1000, ignore=("self",))
        async def scores(self) -> str:
            return "value"

    service = Service()
    for end in await asyncio.gather(service.odds(), service.odds(), return_exceptions=True):
        assert isinstance(end, ConfigurationError)
        assert "weakref_slot=True" in str(end)
    assert [await service.scores(), await Service().scores()] == ["value", "value"]
    assert Service.scores.stats().cache_hits == 1  # type: ignore[attr-defined]


@on_every_loop
@pytest.mark.parametrize("values", [[1, 1.0, True, "1"], [(1,), (1.0,), (True,)], [[1], [1.0], [True], (1,)]], ids=str)
async def test_g09_different_arguments_keep_different_results(values: list[Any]) -> None:
    """Types tell keys apart in the cache too, in containers as well; each is found again."""

    @coalesced(ttl=1000)
    async def odds(value: Any) -> Any:
        return value

    for _ in range(2):
        for value in values:
            answer = await odds(value)
            assert (answer, type(answer)) == (value, type(value))
    numbers = odds.stats()
    assert (numbers.fetches, numbers.cache_hits) == (len(values), len(values))


@on_every_loop
async def test_g09_however_it_is_spelled_it_is_one_result() -> None:
    """Positional, by keyword, with the default written out: all find what one of them had fetched."""

    @coalesced(ttl=1000)
    async def odds(league: str, limit: int = 5) -> str:
        return league

    for call in (odds("nba"), odds(league="nba"), odds("nba", 5), odds(limit=5, league="nba")):
        await call

    assert odds.stats().fetches == 1
