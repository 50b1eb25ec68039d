"""Tests as a user of the package writes them, with the fixtures of its pytest plugin and its explorer."""

import asyncio
from itertools import count
from unittest.mock import AsyncMock

import pytest

from coalesce_kit.testing.explorer import explore
from coalesce_kit.testing.fixtures import PackageTime
from coalesce_kit.testing.world import World
from examples.prices import PriceService

pytestmark = pytest.mark.usefixtures("coalesce_isolated")


async def test_a_crowd_costs_one_read() -> None:
    read_price = AsyncMock(return_value=300)
    prices = PriceService(read_price)
    assert set(await asyncio.gather(*(prices.price_of("tea") for _ in range(100)))) == {300}
    read_price.assert_awaited_once_with("tea")


async def test_a_price_is_kept_for_a_minute(coalesce_clock: PackageTime) -> None:
    prices = PriceService(AsyncMock(side_effect=[300, 350]))
    assert await prices.price_of("tea") == 300
    coalesce_clock.advance(59.9)
    assert await prices.price_of("tea") == 300
    coalesce_clock.advance(0.1)
    assert await prices.price_of("tea") == 350


@pytest.mark.usefixtures("coalesce_off")
async def test_switched_off_every_call_reads() -> None:
    prices = PriceService(AsyncMock(side_effect=[300, 350]))
    assert [await prices.price_of("tea"), await prices.price_of("tea")] == [300, 350]


def a_change_and_two_callers(world: World) -> None:
    pence = 300
    numbers = count(1)

    async def read_price(_product: str) -> int:
        return await world.outcome(f"read {next(numbers)}", {"returns": pence})

    prices = PriceService(read_price)

    async def ask() -> None:
        at_least = pence
        assert await prices.price_of("tea") >= at_least

    def change() -> None:
        nonlocal pence
        pence = 350
        prices.price_has_changed("tea")

    first = world.caller("first", ask)
    world.caller("second", ask, after=first)
    world.may_cancel(first)
    world.event("change", change)


def test_no_order_of_events_shows_a_price_of_before_the_change() -> None:
    assert explore(a_change_and_two_callers).exhausted
