"""G6: exactly one load: a value is published before its slot is given back, and looked for again once a slot is won."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from coalesce_kit import CachePolicy, KeyDerivationError, MemoryCache, RequestCoalescer, coalesced
from tests.fakes import Origin, after, keeping, outcomes, start, turns

virtual = pytest.mark.usefixtures("virtual_time")
on_every_loop = pytest.mark.on_every_loop


@on_every_loop
async def test_g06_a_herd_is_one_load() -> None:
    """Whoever comes before, while or after the value is published, there is one load."""
    origin = Origin()
    odds = keeping(origin, ttl=1000)
    callers = start(*(odds() for _ in range(50)))
    await turns()
    origin.answer("value")
    for _ in range(6):  # one newcomer in each turn in which the outcome is being handed on
        callers += start(odds())
        await asyncio.sleep(0)
    await turns()

    assert len(origin.calls) == 1  # first: a second load would not be answered
    assert await outcomes(callers) == ["value"] * 56


@on_every_loop
async def test_g06_the_value_is_kept_when_the_slot_is_free() -> None:
    """At no moment is there neither a slot nor a value: seen from every step of the loop."""
    origin = Origin()
    coalescer = RequestCoalescer()
    odds = keeping(origin, ttl=1000, backend=coalescer)
    (caller,) = start(odds())
    await turns()
    origin.answer("value")
    seen = []
    while not caller.done():
        seen.append((len(coalescer.pending_keys), odds.peek() is not None))
        await asyncio.sleep(0)

    assert (0, False) not in seen
    assert coalescer.pending_keys == ()


class Gap(RequestCoalescer):
    """A coalescer in which a caller who has looked stops before it asks, as a slow backend would have it stop."""

    def __init__(self) -> None:
        super().__init__()
        self.gate: asyncio.Event | None = None

    async def get_or_fetch(self, *arguments: Any, **options: Any) -> Any:
        if self.gate is not None:
            await self.gate.wait()
        return await super().get_or_fetch(*arguments, **options)


@on_every_loop
@pytest.mark.parametrize("how", ["fetched", "primed"])
async def test_g06_who_wins_the_slot_looks_again(how: str) -> None:
    """A caller who read "missing" before the publish, and wins the slot after it, finds the value and loads nothing."""
    origin = Origin()
    coalescer = Gap()
    odds = keeping(origin, ttl=1000, backend=coalescer)
    coalescer.gate = asyncio.Event()
    late = start(odds(), odds())
    await turns()
    gate, coalescer.gate = coalescer.gate, None
    if how == "fetched":
        await after(origin, "value", odds())
    else:
        odds.prime("value")
    loads = len(origin.calls)
    gate.set()
    await turns()

    assert len(origin.calls) == loads  # first: another load would not be answered
    assert await outcomes(late) == ["value", "value"]
    assert odds.stats().fetches == loads


@virtual
@on_every_loop
async def test_g06_what_is_stale_is_not_taken_for_the_load() -> None:
    """Looking again finds only what is fresh: an old value that is there for errors does not stop the fetch."""
    origin = Origin()
    odds = keeping(origin, policy=CachePolicy(ttl=10, stale_if_error=100))
    await after(origin, "old", odds())
    await asyncio.sleep(11)

    assert await after(origin, "new", odds()) == "new"


@virtual
@on_every_loop
async def test_g06_a_remembered_failure_is_found_again_too() -> None:
    """The slot's winner raises what was remembered since it looked."""
    origin = Origin()
    coalescer = Gap()
    odds = keeping(origin, policy=CachePolicy(error_ttl={LookupError: 100}), backend=coalescer)
    coalescer.gate = asyncio.Event()
    late = start(odds())
    await turns()
    gate, coalescer.gate = coalescer.gate, None
    first = start(odds())
    await turns()
    origin.fail(LookupError("none"))
    ends = await outcomes(first)
    gate.set()
    await turns()

    assert len(origin.calls) == 1
    ends += await outcomes(late)
    assert [str(end) for end in ends] == ["none", "none"]


CALLABLES: dict[str, Callable[[Callable[..., Any]], dict[str, Any]]] = {
    "ttl": lambda look: {"policy": CachePolicy(ttl=lambda result: look(1000))},
    "cache_if": lambda look: {"policy": CachePolicy(ttl=1000, cache_if=lambda result: look(True))},
    "size_of": lambda look: {"ttl": 1000, "cache": MemoryCache(max_bytes=100, size_of=lambda result: look(1))},
    "tags": lambda look: {"ttl": 1000, "tags": ("tag:{league.tag}",)},
}


class League:
    """An argument whose tag is computed by somebody's code."""

    def __init__(self, tag: Callable[[], object]) -> None:
        self._tag = tag

    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, League)

    @property
    def tag(self) -> object:
        return self._tag()


@on_every_loop
@pytest.mark.parametrize("make", CALLABLES.values(), ids=CALLABLES)
async def test_g06_user_code_runs_before_anything_is_published(make: Callable[..., dict[str, Any]]) -> None:
    """While it runs the fetch still has its slot and nothing is kept; once it has run, both change in one step."""
    seen: list[tuple[int, bool]] = []
    coalescer = RequestCoalescer()

    def look(answer: Any) -> Any:
        seen.append((len(coalescer.pending_keys), odds.peek(league) is not None))
        return answer

    league = League(lambda: look("nba"))

    @coalesced(backend=coalescer, **make(look))
    async def odds(league: League) -> str:
        await asyncio.sleep(0)
        return "value"

    assert await asyncio.gather(odds(league), odds(league)) == ["value", "value"]
    assert seen == [(1, False)]
    assert odds.peek(league).value == "value"


@on_every_loop
@pytest.mark.parametrize("make", CALLABLES.values(), ids=CALLABLES)
async def test_g06_user_code_that_raises_costs_nobody_the_value(
    make: Callable[..., dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    """The value reaches all who waited, is not kept, and that is counted; the log says it once."""

    def refuse(answer: Any) -> Any:
        raise ZeroDivisionError

    league = League(lambda: refuse("nba"))

    @coalesced(**make(refuse))
    async def odds(league: League) -> str:
        return "value"

    with caplog.at_level(logging.ERROR):
        assert [await odds(league), await odds(league)] == ["value", "value"]
    numbers = odds.stats()
    assert (numbers.fetches, numbers.fetch_errors, numbers.policy_errors, numbers.in_flight) == (2, 0, 2, 0)
    assert len(caplog.records) == 1
    assert odds.peek(league) is None


class Turning:
    """An argument that cannot be compared, or hashed, any more once it has turned bad."""

    bad: str | None = None

    def __hash__(self) -> int:
        if self.bad == "hash":
            raise ZeroDivisionError
        return 1

    def __eq__(self, other: object) -> bool:
        if self.bad == "eq" or (isinstance(other, Turning) and other.bad == "eq"):
            raise ZeroDivisionError
        return isinstance(other, Turning)


@on_every_loop
@pytest.mark.parametrize("bad", ["hash", "eq"])
async def test_g06_an_argument_that_cannot_be_looked_up_is_refused(bad: str) -> None:
    """The call raises, is counted as rejected, and leaves nothing."""
    origin = Origin()
    odds = keeping(origin, ttl=1000)
    await after(origin, "value", odds(Turning()))
    asked = Turning()
    asked.bad = bad
    with pytest.raises((KeyDerivationError, ZeroDivisionError)):
        await odds(asked)

    numbers = odds.stats()
    assert (numbers.total_requests, numbers.rejected_requests, numbers.in_flight) == (2, 1, 0)
    assert await odds(Turning()) == "value"


@virtual
@on_every_loop
async def test_g06_a_refresh_beside_readers_is_one_load() -> None:
    """A hundred stale readers, and one who refreshes, are one load."""
    origin = Origin()
    odds = keeping(origin, policy=CachePolicy(ttl=10, stale_while_revalidate=100))
    await after(origin, "old", odds())
    await asyncio.sleep(11)
    readers = start(*(odds() for _ in range(100)), odds.refresh())
    await turns()
    assert len(origin.calls) == 2
    origin.answer("new")

    assert await outcomes(readers) == ["old"] * 100 + ["new"]
    await turns()
    assert len(origin.calls) == 2
