"""Every line here must be accepted by ``mypy --strict``."""

from __future__ import annotations

import abc
import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from datetime import timedelta
from functools import partial
from typing import Any, Generic, Protocol, TypeVar, assert_type

import coalesce_kit
from coalesce_kit import (
    CloseReport,
    CoalescedFunction,
    CoalescerStats,
    Explanation,
    Invalidation,
    Observer,
    RequestCoalescer,
    StatsRegistry,
    bound,
    coalesced,
)

T = TypeVar("T")
tenant: ContextVar[str] = ContextVar("tenant")


@coalesced
async def fixtures(sport: str, live: bool = True, *, limit: int = 5) -> list[str]:
    return [sport]


@coalesced(key="odds:{league}", ignore=("session",), max_wait_seconds=timedelta(seconds=2), on_abandon="finish")
async def odds(session: object, league: str) -> dict[str, float]:
    return {}


house = coalesced.using(
    vary=(tenant,), backend=RequestCoalescer(), enabled=False, observers=(Observer(),), fetch_timeout_seconds=None
)


@house
async def one() -> int:
    return 1


@house(key=("x",), name="two")
async def two(x: int) -> int:
    return x


@house.using(max_wait_seconds=None)(key=lambda x: x)
async def three(x: int) -> int:
    return x


async def functions() -> None:
    assert_type(await fixtures("nfl"), list[str])
    assert_type(await fixtures("nfl", False, limit=3), list[str])
    assert_type(await odds(object(), league="nba"), dict[str, float])
    assert_type(await asyncio.create_task(fixtures("nfl")), list[str])
    assert_type(await asyncio.gather(one(), two(1)), tuple[int, int])
    assert_type(fixtures.invalidate("nfl", live=False), Invalidation)
    assert_type(await fixtures.invalidate("nfl"), Invalidation)
    assert_type(fixtures.invalidate("nfl").voided, int)
    assert_type(fixtures.invalidate_key(sport="nfl", **{"user.id": 7}), Invalidation)
    assert_type(fixtures.invalidate_all(), Invalidation)
    assert_type(await fixtures.origin("nfl"), list[str])
    assert_type(await fixtures.__wrapped__("nfl"), list[str])
    assert_type(fixtures.cache_key("nfl"), str)
    assert_type(fixtures.explain("nfl"), Explanation)
    assert_type(fixtures.stats(), CoalescerStats)
    assert_type(fixtures.stats() - fixtures.stats(), CoalescerStats)
    assert_type(await three(3), int)
    assert_type(await partial(fixtures, "nfl")(), list[str])
    callback: Callable[[str], Awaitable[list[str]]] = fixtures
    coroutine: Coroutine[Any, Any, list[str]] = fixtures("nfl")
    named: CoalescedFunction[[int], int] = two
    await asyncio.gather(callback("nfl"), coroutine, named(1))


class Service:
    @coalesced
    async def odds(self, league: str, limit: int = 5) -> float:
        return 1.5

    @coalesced(ignore=("self",))
    async def fixtures(self, league: str) -> list[str]:
        return [league]

    @staticmethod
    @coalesced
    async def static(league: str) -> str:
        return league


async def methods(service: Service) -> None:
    assert_type(await service.odds("nba"), float)
    assert_type(await service.odds("nba", limit=3), float)
    assert_type(await Service.odds(service, "nba"), float)
    assert_type(await Service.static("nba"), str)
    assert_type(Service.odds.invalidate(service, "nba"), Invalidation)
    assert_type(Service.odds.stats(), CoalescerStats)
    assert_type(bound(service.odds).invalidate("nba", limit=3), Invalidation)
    assert_type(bound(service.odds).invalidate_key(league="nba", limit=3), Invalidation)
    assert_type(await bound(service.odds).origin("nba"), float)
    assert_type(bound(service.odds).explain("nba"), Explanation)
    assert_type(bound(service.odds).cache_key(league="nba"), str)
    assert_type(bound(service.odds).stats(), CoalescerStats)
    await asyncio.create_task(service.odds("nba"))


class PlainOverriding(Service):
    async def odds(self, league: str, limit: int = 5) -> float:
        return await super().odds(league, limit)


class DecoratedOverriding(Service):
    @coalesced
    async def odds(self, league: str, limit: int = 5) -> float:
        return await super().odds(league, limit)


class Plain:
    async def odds(self, league: str) -> float:
        return 1.5


class DecoratingAPlainOne(Plain):
    @coalesced
    async def odds(self, league: str) -> float:
        return await super().odds(league)


class Abstract(abc.ABC):
    @abc.abstractmethod
    async def odds(self, league: str) -> float: ...


class Concrete(Abstract):
    @coalesced
    async def odds(self, league: str) -> float:
        return 1.5


class Asks(Protocol):
    async def odds(self, league: str) -> float: ...


def ask(asks: Asks) -> None: ...


ask(Service())
ask(Concrete())


class Repository(Generic[T]):
    def __init__(self, kept: T) -> None:
        self.kept = kept

    @coalesced
    async def get(self, number: int) -> T:
        return self.kept


@coalesced
async def generic(value: T) -> T:
    return value


class CallableObject:
    async def __call__(self, league: str) -> int:
        return 1


async def others() -> None:
    assert_type(await Repository("kept").get(1), str)
    assert_type(bound(Repository("kept").get).invalidate(1), Invalidation)
    assert_type(await coalesced(CallableObject())("nba"), int)
    assert_type(await coalesced(partial(two, 1))(), int)
    assert_type(await coalesce_kit.aclose(deadline_seconds=1), CloseReport)
    assert_type(coalesce_kit.invalidate_all(), Invalidation)
    assert_type(coalesce_kit.get_request_coalescer(), RequestCoalescer)
    assert_type(coalesce_kit.get_stats_registry(), StatsRegistry)
    async with coalesce_kit.lifespan():
        pass
    async with RequestCoalescer() as coalescer:
        assert_type(await coalescer.get_or_fetch("key", one), int)
