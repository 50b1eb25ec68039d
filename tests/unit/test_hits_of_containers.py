"""A hit of a call with a container in it: not found in line, and all the same a hit like any other."""

import asyncio

import pytest

from coalesce_kit import CachePolicy, coalesced
from tests.fakes import Origin, after, keeping, start, turns

virtual = pytest.mark.usefixtures("virtual_time")
on_every_loop = pytest.mark.on_every_loop

THEIRS = pytest.mark.parametrize("league", ["nfl", ["nfl"], ("nfl",)], ids=["plain", "list", "tuple"])


@virtual
@on_every_loop
@THEIRS
@pytest.mark.parametrize(("seconds", "kept"), [(0, True), (9.99, True), (10, False)])
async def test_it_is_a_hit_to_the_end_of_its_ttl(league: object, seconds: float, *, kept: bool) -> None:
    """A container changes nothing about when a value is fresh, nor about what is counted."""
    origin = Origin()
    odds = keeping(origin, ttl=10)
    await after(origin, "old", odds(league))
    await asyncio.sleep(seconds)
    (asked,) = start(odds(league))
    await turns()
    if not kept:
        origin.answer("new")

    assert await asked == ("old" if kept else "new")
    numbers = odds.stats()
    assert (numbers.cache_hits, numbers.led_requests) == ((1, 1) if kept else (0, 2))


@virtual
@on_every_loop
@THEIRS
@pytest.mark.parametrize(("seconds", "refreshes"), [(4.99, 0), (5, 1)])
async def test_a_reader_starts_a_refresh_when_it_is_time(league: object, seconds: float, refreshes: int) -> None:
    """``refresh_ahead`` begins at its moment: whoever comes then is answered at once, and has it fetched anew."""
    origin = Origin()
    odds = keeping(origin, policy=CachePolicy(ttl=10, refresh_ahead=0.5))
    await after(origin, "old", odds(league))
    await asyncio.sleep(seconds)

    assert await odds(league) == "old"
    await turns()
    assert origin.working == refreshes
    if refreshes:
        origin.answer("new")
        await turns()
    numbers = odds.stats()
    assert (numbers.cache_hits, numbers.stale_hits, numbers.refreshes) == (1, 0, refreshes)


@virtual
@on_every_loop
async def test_a_failure_that_is_remembered_is_raised_for_it() -> None:
    """What is kept may be a failure: it is raised, and counted as a hit."""

    @coalesced(policy=CachePolicy(error_ttl={LookupError: 10}))
    async def odds(leagues: list[str]) -> str:
        raise LookupError(*leagues)

    for _ in range(3):
        with pytest.raises(LookupError, match="nfl"):
            await odds(["nfl"])
    numbers = odds.stats()
    assert (numbers.fetches, numbers.cache_hits, numbers.remembered_errors_served) == (1, 2, 2)
