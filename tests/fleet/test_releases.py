"""Two releases of a service beside each other over one store, as during every rolling deploy."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest

from coalesce_kit.backends.codec import codec_for
from coalesce_kit.backends.record_key import record_key, record_prefix
from tests.fleet.conftest import NAMESPACE


@dataclasses.dataclass
class FixtureOne:
    home: str


@dataclasses.dataclass
class FixtureTwo:
    home: str
    away: str = "unknown"


FixtureOne.__qualname__ = FixtureTwo.__qualname__ = "Fixture"


def release(cls: type) -> Any:
    """The function as one release has it, and how often it ran."""
    ran: list[str] = []

    async def fixtures(sport: str):
        ran.append(sport)
        await asyncio.sleep(0.02)
        return [cls(sport)]

    fixtures.__annotations__["return"] = list[cls]
    return fixtures, ran


def record(cls: type, sport: str) -> str:
    """The key of the record under which a release keeps its result."""
    codec = codec_for(list[cls], name="f")
    return record_key(record_prefix(NAMESPACE, "app.function", codec.fingerprint), f"fixtures:{sport}")


OPTIONS: dict[str, Any] = {"key": "fixtures:{sport}", "ttl": 60}


async def test_each_release_coalesces_to_one_call(workers):
    """For the whole overlap, each among its own workers; nobody is given the other's type."""
    one, ran_one = release(FixtureOne)
    two, ran_two = release(FixtureTwo)
    ones = [workers(one, **OPTIONS) for _ in range(2)]
    twos = [workers(two, **OPTIONS) for _ in range(2)]
    for _ in range(3):
        results = await asyncio.gather(*(f("nfl") for f in (*ones, *twos) for _ in range(5)))
        assert results == [[FixtureOne("nfl")]] * 10 + [[FixtureTwo("nfl")]] * 10
        assert {type(each[0]) for each in results[:10]} == {FixtureOne}
    assert (ran_one, ran_two) == (["nfl"], ["nfl"])


async def test_no_release_overwrites_the_others_record(workers):
    """Nor decodes it: nothing is unreadable, and both records stand beside each other."""
    made = [release(cls) for cls in (FixtureOne, FixtureTwo, FixtureOne)]
    functions = [workers(function, **OPTIONS) for function, _ in made]
    for function in functions:
        await function("nfl")
    store = workers.coalescers[0].store
    bodies = [await store.read(record(cls, "nfl")) for cls in (FixtureOne, FixtureTwo)]
    assert None not in bodies
    assert bodies[0].version != bodies[1].version
    assert sum(function.stats().unreadable_records for function in functions) == 0
    assert [len(ran) for _, ran in made] == [1, 1, 0]


async def test_a_tag_reaches_both_releases(workers):
    """What was invalidated is dead whatever its type."""
    one, ran_one = release(FixtureOne)
    two, ran_two = release(FixtureTwo)
    first = workers(one, **OPTIONS, tags=("odds",))
    second = workers(two, **OPTIONS, tags=("odds",))
    await asyncio.gather(first("nfl"), second("nfl"))
    await workers.coalescers[0].invalidate_tags(["odds"]).wait()
    async with asyncio.timeout(5):
        while len(ran_two) < 2:
            await second("nfl")
            await asyncio.sleep(0.01)
    await first("nfl")
    assert (len(ran_one), len(ran_two)) == (2, 2)


async def test_a_worker_that_was_restarted_finds_what_its_release_kept(workers):
    """Types made anew in another process have the same fingerprint."""
    one, ran = release(FixtureOne)
    again = dataclasses.make_dataclass("Fixture", [("home", str)])
    await workers(one, **OPTIONS)("nfl")
    restarted, ran_again = release(again)
    assert await workers(restarted, **OPTIONS)("nfl") == [again("nfl")]
    assert (len(ran), len(ran_again)) == (1, 0)


@pytest.mark.parametrize("change", [{"key": "f:{sport}"}, {"name": "app.other"}])
async def test_what_is_named_otherwise_is_not_shared(workers, change):
    """Another template, another name: another record."""
    one, ran = release(FixtureOne)
    await workers(one, **OPTIONS)("nfl")
    await workers(one, **{**OPTIONS, **change})("nfl")
    assert len(ran) == 2
