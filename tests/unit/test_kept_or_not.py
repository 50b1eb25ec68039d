"""The attributes beside the call: with results kept, with nothing kept, and switched off."""

import asyncio
from typing import Self

import pytest

from coalesce_kit import CachePolicy, bound, coalesced, invalidate_tags
from coalesce_kit.cache.remembering import MOST_REASONS, NotKept
from coalesce_kit.protocols import describe_key
from coalesce_kit.sharing import bare_twin
from tests.fakes import Origin, outcomes, start, turns


async def test_refresh_without_a_cache_joins_or_leads_outside_the_sum() -> None:
    """Nothing is kept, so a refresh is one more who wants the fetch, and no request."""
    origin = Origin()

    @coalesced
    async def odds(league: str) -> object:
        return await origin(league)

    caller, refresh = start(odds("nba"), odds.refresh("nba"))
    await turns()
    origin.answer("new")

    assert await outcomes([caller, refresh]) == ["new", "new"]
    numbers = odds.stats()
    assert (numbers.fetches, numbers.total_requests, numbers.refreshes, numbers.refresh_errors) == (1, 1, 1, 0)


async def test_a_failed_refresh_without_a_cache_is_raised_and_counted() -> None:
    """Its failure is its caller's."""

    @coalesced
    async def odds() -> None:
        raise LookupError("down")

    with pytest.raises(LookupError):
        await odds.refresh()
    assert (odds.stats().refreshes, odds.stats().refresh_errors) == (1, 1)


async def test_attributes_of_a_function_that_is_off_work_on_nothing() -> None:
    """Refreshing runs the function, priming keeps nothing."""

    @coalesced(ttl=60, enabled=False)
    async def odds() -> str:
        return "run"

    odds.prime("primed")
    assert (await odds.refresh(), await odds(), odds.peek()) == ("run", "run", None)
    assert odds.stats().total_requests == 0


async def test_bound_refreshes_the_instances_own_result() -> None:
    """``bound`` fills in the instance."""

    class Service:
        runs = 0

        @coalesced(ttl=60)
        async def odds(self, league: str) -> tuple[str, int]:
            self.runs += 1
            return league, self.runs

    service = Service()
    assert await service.odds("nba") == ("nba", 1)
    assert await bound(service.odds).refresh("nba") == ("nba", 2)
    assert await service.odds("nba") == ("nba", 2)


async def test_no_copy_is_a_way_to_undo_a_default() -> None:
    """``copy=None`` where the decorator is used replaces the copy that ``using`` was given."""
    copying = coalesced.using(policy=CachePolicy(ttl=60), copy=list)

    @copying(copy=None)
    async def odds() -> list[int]:
        return [1]

    assert await odds() is await odds()


def test_a_tag_that_is_no_string_is_refused() -> None:
    """A tuple of tags in the place of one is a mistake that would invalidate nothing."""
    with pytest.raises(TypeError, match="tags are strings, each an argument"):
        invalidate_tags(("odds", "nba"))  # type: ignore[arg-type]


def test_reasons_are_bounded() -> None:
    """The oldest key is forgotten first."""
    reasons = NotKept()
    for number in range(MOST_REASONS + 1):
        reasons.note(number, "too large")
    assert reasons.reason(0) is None
    assert reasons.reason(MOST_REASONS) == "too large"


def test_a_key_that_cannot_be_printed_is_described_all_the_same() -> None:
    """A message does not fail for a user's ``__repr__``."""

    class Unprintable:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    assert describe_key(Unprintable()) == "<unprintable Unprintable>"


def test_a_group_with_a_member_that_has_no_twin_has_no_bare_one() -> None:
    """What is remembered keeps no frames alive, not even a member's."""

    class Stubborn(Exception):
        def __new__(cls, *args: object) -> Self:
            return super().__new__(cls, *args)

    assert bare_twin(ExceptionGroup("several", [Stubborn(), ValueError()])) is None
    assert bare_twin(ExceptionGroup("several", [KeyError(), ValueError()])) is not None


async def test_priming_without_a_cache_lets_nobody_join_what_began_before() -> None:
    """There is nowhere to keep the value, but the fetch in flight is older than it."""
    origin = Origin()

    @coalesced
    async def odds() -> object:
        return await origin()

    (before,) = start(odds())
    await turns()
    odds.prime("newer")
    (after,) = start(odds())
    await turns()
    assert len(origin.calls) == 2
    origin.answer("old")
    origin.answer("new")

    assert await asyncio.gather(before, after) == ["old", "new"]
