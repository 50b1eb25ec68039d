"""Chaos goes wrong as often as it was told to, and what it surrounds keeps its promises."""

from __future__ import annotations

import asyncio
from collections import Counter

import cachetools
import pytest

from coalesce_kit import MemoryCache, RequestCoalescer, coalesced
from coalesce_kit.backends.distributed import DistributedCoalescer
from coalesce_kit.errors import StoreUnavailableError
from coalesce_kit.stores.memory import MemoryServer, MemoryStore
from coalesce_kit.testing.chaos import Chaos, ChaosError, chaotic
from coalesce_kit.testing.leaks import assert_nothing_left

pytestmark = pytest.mark.usefixtures("virtual_time")


async def outcomes_of(ask, times):
    """What so many calls ended in: how many values, how many errors of each class."""
    ended = await asyncio.gather(*(ask() for _ in range(times)), return_exceptions=True)
    return Counter("value" if not isinstance(one, BaseException) else type(one).__name__ for one in ended)


@pytest.mark.parametrize(
    ("options", "runs", "values"),
    [
        ({}, 100, 100),
        ({"throw": 1.0}, 100, 0),
        ({"drop": 1.0}, 0, 0),
        ({"duplicate": 1.0}, 200, 100),
        ({"delay": 1.0}, 100, 100),
    ],
)
async def test_what_each_mishap_is(options, runs, values):
    """What is done when an answer is lost, a question is lost, comes twice, or is late."""
    asked = []

    async def upstream():
        asked.append(None)
        return "answer"

    struck = chaotic(upstream, Chaos(**options))
    loop = asyncio.get_running_loop()
    before = loop.time()
    assert (await outcomes_of(struck, 100))["value"] == values
    assert len(asked) == runs
    assert (loop.time() > before) is ("delay" in options)
    assert struck.__name__ == "upstream"


async def test_the_same_seed_goes_the_same_way():
    """What is drawn depends on the seed and the order of the questions."""

    async def upstream():
        return "answer"

    async def story(seed):
        struck = chaotic(upstream, Chaos(throw=0.5, seed=seed))
        return [type(await anyhow(struck)).__name__ for _ in range(20)]

    async def anyhow(ask):
        return (await asyncio.gather(ask(), return_exceptions=True))[0]

    assert await story(1) == await story(1) != await story(2)


async def test_what_happened_is_told():
    """The numbers of each mishap of each operation are there, and in what is printed."""

    async def upstream():
        return "answer"

    chaos = Chaos(throw=1.0)
    await outcomes_of(chaotic(upstream, chaos), 3)
    assert chaos.happened == {("throw", "upstream"): 3}
    assert repr(chaos) == "<Chaos upstream throw 3>"
    assert repr(Chaos()) == "<Chaos nothing went wrong>"


async def test_a_chaotic_coalescer_hurts_whom_it_strikes_and_nobody_else():
    """Who is struck gets the error, others their answer; nothing is left, and numbers add up."""
    chaos = Chaos(throw=0.2, drop=0.2, duplicate=0.2, delay=0.5, seed=3)
    backend = chaotic(RequestCoalescer(), chaos)

    @coalesced(ttl=1, backend=backend, max_wait_seconds=None)
    async def odds(league):
        await asyncio.sleep(0.01)
        return league

    async def ask(number):
        league = f"league {number % 5}"
        assert await odds(league) == league

    for _ in range(10):
        ended = await asyncio.gather(*(ask(number) for number in range(50)), return_exceptions=True)
        assert {type(one) for one in ended} == {type(None), ChaosError}
        await asyncio.sleep(2)
    assert {what for what, _ in chaos.happened} == {"throw", "drop", "duplicate", "delay"}
    stats = odds.stats()
    assert stats.total_requests == stats.cache_hits + stats.coalesced_requests + stats.led_requests
    assert backend.flights() == ()
    assert_nothing_left(backend)


@pytest.mark.parametrize("options", [{"throw": 0.3}, {"drop": 0.3}, {"duplicate": 0.3}])
async def test_a_chaotic_cache_costs_nobody_an_answer(options, caplog):
    """Where a cache raises, forgets or keeps twice, results are fetched again, and nobody hears of it."""
    chaos = Chaos(**options)

    @coalesced(ttl=60, cache=MemoryCache(cache=chaotic(cachetools.LRUCache(5), chaos)))
    async def odds(number):
        return number

    for number in range(300):
        assert await odds(number % 7) == number % 7
        if number % 10 == 0:
            odds.invalidate(number % 7)
            assert odds.peek(number % 7) is None
    assert sum(chaos.happened.values()) > 20
    assert [record.msg.partition(":")[0] for record in caplog.records] == ["cache_error"] * ("throw" in options)
    assert odds.stats().cached_entries <= 5


@pytest.mark.parametrize(
    "options",
    [{"throw": 0.2}, {"drop": 0.2}, {"duplicate": 0.3}, {"delay": 0.5}, {"throw": 0.1, "drop": 0.1, "delay": 0.3}],
)
async def test_a_chaotic_store_costs_nobody_an_answer(options):
    """Whatever becomes of questions, answers and signals, every caller gets what his own key has."""
    chaos = Chaos(error=StoreUnavailableError, seed=3, **options)
    backend = DistributedCoalescer(chaotic(MemoryStore(MemoryServer()), chaos))

    @coalesced(ttl=5, backend=backend, key="odds:{league}", name="odds")
    async def odds(league: str) -> str:
        await asyncio.sleep(0.5)
        return f"odds of {league}"

    for turn in range(15):
        answers = await asyncio.gather(*(odds(f"league {number % 4}") for number in range(20)))
        assert answers == [f"odds of league {number % 4}" for number in range(20)]
        await asyncio.sleep(3)
        if turn % 5 == 0:
            await odds.invalidate("league 1")
    await backend.aclose()
    assert sum(chaos.happened.values()) > 10


class Feed:
    """Something with a stream, a property, and a method that is called."""

    name = "a feed"

    @property
    def length(self):
        return 100

    def describe(self):
        return "a hundred numbers"

    async def numbers(self):
        for number in range(100):
            yield number

    async def aclose(self):
        return "closed"


async def received(feed):
    stream = feed.numbers()
    try:
        return [number async for number in stream]
    finally:
        await stream.aclose()


async def test_a_stream_is_struck_item_by_item():
    """Items are lost, doubled and late; the stream may break off."""
    assert await received(chaotic(Feed(), Chaos(delay=1.0))) == list(range(100))
    assert await received(chaotic(Feed(), Chaos(drop=1.0))) == []
    assert await received(chaotic(Feed(), Chaos(duplicate=1.0))) == [number // 2 for number in range(200)]
    some = await received(chaotic(Feed(), Chaos(drop=0.5)))
    assert some == sorted(some)
    assert 20 < len(some) < 80
    with pytest.raises(ChaosError, match="numbers broke off"):
        await received(chaotic(Feed(), Chaos(throw=1.0)))


async def test_what_is_not_asynchronous_is_left_alone():
    """Properties and methods that are called are as they were; what ends things is spared unless it is asked for."""
    feed = chaotic(Feed(), Chaos(drop=1.0))
    assert (feed.length, feed.name, feed.describe(), repr(feed)[:8]) == (100, "a feed", "a hundred numbers", "<chaotic")
    assert await feed.aclose() == "closed"
    with pytest.raises(ChaosError):
        await chaotic(Feed(), Chaos(drop=1.0), sparing=()).aclose()


async def test_the_error_is_of_the_users_choice():
    """A store's own error, for example."""

    async def upstream():
        return "answer"

    with pytest.raises(TimeoutError, match="chaos: upstream got lost"):
        await chaotic(upstream, Chaos(drop=1.0, error=TimeoutError))()


async def test_a_function_that_is_not_async_is_refused():
    """There is nothing to be late or lost in one that is only called."""

    def plain():
        return "answer"

    with pytest.raises(TypeError, match="chaos strikes async functions, and plain is none"):
        chaotic(plain, Chaos())


@pytest.mark.parametrize("probability", [-0.1, 1.1])
async def test_a_probability_is_one(probability):
    """Nothing happens more often than always."""
    with pytest.raises(ValueError, match="throw is a probability"):
        Chaos(throw=probability)


@pytest.mark.parametrize("chaos", [0.5, None, Chaos])
async def test_chaos_is_a_chaos(chaos):
    """Anything else is refused at once, whatever is to be struck."""
    for target in (received, Feed(), cachetools.LRUCache(3)):
        with pytest.raises(TypeError, match=r"chaotic takes a Chaos, such as Chaos\(throw=0\.5\), not "):
            chaotic(target, chaos)


async def test_what_is_spared_are_methods():
    """One that is not there would be spared by a slip of the pen, and the others struck."""
    chaos = Chaos(drop=1.0)
    with pytest.raises(TypeError, match=r"as in sparing=\('aclose',\), not the text 'aclose'"):
        chaotic(Feed(), chaos, sparing="aclose")
    for target, name in ((Feed(), "alcose"), (Feed(), "length"), (received, "ask"), (cachetools.LRUCache(3), "get")):
        with pytest.raises(ValueError, match=f"has no method '{name}' that could be spared"):
            chaotic(target, chaos, sparing=("aclose", name))
    assert await received(chaotic(Feed(), chaos, sparing=["aclose", "drain", "numbers"])) == list(range(100))
