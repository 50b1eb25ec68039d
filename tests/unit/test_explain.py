"""``explain`` tells the truth, as data and as text, and looks without counting or touching anything."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from coalesce_kit import CachePolicy, MemoryCache, RequestCoalescer
from coalesce_kit.decorators.explain import Explanation, NextCall, State
from tests.fakes import Origin, after, keeping, outcomes, start, turns

pytestmark = [pytest.mark.usefixtures("virtual_time"), pytest.mark.on_every_loop]


class NotFound(Exception):
    """There is no such thing."""


class Scene:
    """A decorated function in the state that a row of the table is about.

    Attributes:
        odds: the function.
        origin: what it asks; what is still held at the end is answered.
        tasks: callers who still wait.
    """

    def __init__(self, **options: Any) -> None:
        self.origin = Origin()
        self.tasks: list[asyncio.Task[Any]] = []
        self.odds = keeping(self.origin, key="odds:{league}", name="odds", **options)

    async def keep(self, value: object = "value", *, seconds: float = 0.0) -> None:
        """Have a value fetched, and let time pass."""
        await after(self.origin, value, self.odds())
        await asyncio.sleep(seconds)

    async def fail(self, error: Exception, *calls: Any) -> None:
        """Make a call whose fetch fails."""
        (caller,) = start(*(calls or [self.odds()]))
        await turns()
        self.origin.fail(error)
        await outcomes([caller])
        await turns()

    async def fly(self, *, seconds: float = 0.0) -> None:
        """Have three callers wait for a fetch."""
        self.tasks += start(self.odds(), self.odds(), self.odds())
        await turns()
        await asyncio.sleep(seconds)

    async def end(self) -> None:
        while self.origin.working:
            self.origin.answer("late")
        await outcomes(self.tasks)
        await turns()


async def missing() -> Scene:
    return Scene(ttl=10)


async def fresh() -> Scene:
    scene = Scene(ttl=10)
    await scene.keep(seconds=4)
    return scene


async def fresh_and_refreshing_ahead() -> Scene:
    scene = Scene(policy=CachePolicy(ttl=10, refresh_ahead=0.5))
    await scene.keep(seconds=6)
    return scene


async def stale() -> Scene:
    scene = Scene(policy=CachePolicy(ttl=10, stale_while_revalidate=20))
    await scene.keep(seconds=12)
    return scene


async def stale_and_waited_for() -> Scene:
    scene = Scene(policy=CachePolicy(ttl=10, stale_while_revalidate=20, stale_wait_seconds=1))
    await scene.keep(seconds=12)
    return scene


async def stale_and_throttled() -> Scene:
    policy = CachePolicy(ttl=10, stale_while_revalidate=20, stale_if_error=100, retry_after_error_seconds=50)
    scene = Scene(policy=policy)
    await scene.keep(seconds=31)
    await scene.fail(NotFound())
    return scene


async def stale_for_errors() -> Scene:
    scene = Scene(policy=CachePolicy(ttl=10, stale_if_error=100))
    await scene.keep(seconds=12)
    return scene


async def expired() -> Scene:
    scene = Scene(ttl=10)
    await scene.keep(seconds=12)
    return scene


async def expired_and_in_flight() -> Scene:
    scene = await expired()
    await scene.fly(seconds=2)
    return scene


async def in_flight() -> Scene:
    scene = Scene(ttl=10)
    await scene.fly(seconds=2)
    return scene


async def remembered_error() -> Scene:
    scene = Scene(policy=CachePolicy(error_ttl={NotFound: 10}))
    await scene.fail(NotFound("no such league"))
    await asyncio.sleep(4)
    return scene


async def invalidated_in_flight() -> Scene:
    scene = await in_flight()
    scene.odds.invalidate()
    return scene


async def over_age() -> Scene:
    scene = Scene(ttl=10, backend=RequestCoalescer(max_flight_seconds=5), max_wait_seconds=None)
    await scene.fly(seconds=6)
    return scene


async def refused_by_cache_if() -> Scene:
    scene = Scene(policy=CachePolicy(ttl=10, cache_if=lambda result: result is not None))
    await scene.keep(None)
    return scene


async def too_large() -> Scene:
    scene = Scene(ttl=10, cache=MemoryCache(max_bytes=4, size_of=len))
    await scene.keep("value")
    return scene


async def not_shareable() -> Scene:
    scene = Scene(ttl=10)
    (caller,) = start(scene.odds())
    await turns()
    scene.origin.answer(iter(()))
    await outcomes([caller])
    return scene


async def off() -> Scene:
    scene = Scene(ttl=10, enabled=False)
    await scene.keep()
    return scene


@dataclass(frozen=True)
class Row:
    """What ``explain`` says in one state.

    Attributes:
        make: brings it about.
        state, next_call: as data.
        numbers: age, fresh seconds left, usable seconds left, seconds in flight, waiters.
        lines: the text, without its first line.
    """

    make: Callable[[], Awaitable[Scene]]
    state: State
    next_call: NextCall
    numbers: tuple[float | None, float | None, float | None, float | None, int]
    lines: str


NOTHING = (None, None, None, None, 0)

TABLE = [
    Row(
        missing,
        "missing",
        "led",
        NOTHING,
        """
  state: missing
  a call now: led
  why: nothing is kept for this key and no fetch is in flight: a call leads a new one""",
    ),
    Row(
        fresh,
        "fresh",
        "hit",
        (4, 6, 6, None, 0),
        """
  state: fresh
  age: 4.000 s
  fresh for: 6.000 s
  a call now: hit
  why: a fresh result is kept: a call gets it at once""",
    ),
    Row(
        fresh_and_refreshing_ahead,
        "fresh",
        "hit",
        (6, 4, 4, None, 0),
        """
  state: fresh
  age: 6.000 s
  fresh for: 4.000 s
  a call now: hit
  why: a fresh result is kept: a call gets it at once and has a newer one fetched in the background""",
    ),
    Row(
        stale,
        "stale",
        "stale hit",
        (12, -2, 18, None, 0),
        """
  state: stale
  age: 12.000 s
  of use for: 18.000 s
  a call now: stale hit
  why: a stale result is kept: a call gets it at once and has a newer one fetched in the background""",
    ),
    Row(
        stale_and_waited_for,
        "stale",
        "led",
        (12, -2, 18, None, 0),
        """
  state: stale
  age: 12.000 s
  of use for: 18.000 s
  a call now: led
  why: a stale result is kept: a call leads a fetch, and gets the stale one if that takes too long""",
    ),
    Row(
        stale_and_throttled,
        "stale",
        "stale hit",
        (31, -21, 79, None, 0),
        """
  state: stale
  age: 31.000 s
  of use for: 79.000 s
  a call now: stale hit
  why: a stale result is kept: a call gets it at once, as a fetch has just failed and none is tried for a while""",
    ),
    Row(
        stale_for_errors,
        "stale",
        "led",
        (12, -2, 98, None, 0),
        """
  state: stale
  age: 12.000 s
  of use for: 98.000 s
  a call now: led
  why: a stale result is kept for the case that the fetch fails: a call leads a fetch""",
    ),
    Row(
        expired,
        "expired",
        "led",
        (12, -2, -2, None, 0),
        """
  state: expired
  age: 12.000 s
  a call now: led
  why: what is kept is too old to be given: a call leads a fetch""",
    ),
    Row(
        expired_and_in_flight,
        "expired",
        "joined",
        (14, -4, -4, 2, 2),
        """
  state: expired
  age: 14.000 s
  in flight since: 2.000 s
  waiters: 2
  a call now: joined
  why: what is kept is too old to be given: a call joins the fetch in flight""",
    ),
    Row(
        in_flight,
        "in flight",
        "joined",
        (None, None, None, 2, 2),
        """
  state: in flight
  in flight since: 2.000 s
  waiters: 2
  a call now: joined
  why: a fetch is in flight: a call joins it and gets the same answer""",
    ),
    Row(
        remembered_error,
        "remembered error",
        "hit",
        (4, 6, 6, None, 0),
        """
  state: remembered error
  age: 4.000 s
  fresh for: 6.000 s
  a call now: hit
  why: a failure that is remembered is kept: a call gets it at once""",
    ),
    Row(
        invalidated_in_flight,
        "invalidated in flight",
        "led",
        (None, None, None, 2, 2),
        """
  state: invalidated in flight
  in flight since: 2.000 s
  waiters: 2
  a call now: led
  why: the fetch in flight began before an invalidation: its callers keep it, a call leads anew""",
    ),
    Row(
        over_age,
        "over age",
        "led",
        (None, None, None, 6, 2),
        """
  state: over age
  in flight since: 6.000 s
  waiters: 2
  a call now: led
  why: the fetch in flight was given up or is too old to be joined: its callers keep it, a call leads anew""",
    ),
    Row(
        refused_by_cache_if,
        "missing",
        "led",
        NOTHING,
        """
  state: missing
  a call now: led
  why: nothing is kept for this key and no fetch is in flight: a call leads a new one
  note: the last result was not kept: cache_if or ttl said so""",
    ),
    Row(
        too_large,
        "missing",
        "led",
        NOTHING,
        """
  state: missing
  a call now: led
  why: nothing is kept for this key and no fetch is in flight: a call leads a new one
  note: the last result was not kept: it is larger than the cache""",
    ),
    Row(
        not_shareable,
        "missing",
        "led",
        NOTHING,
        """
  state: missing
  a call now: led
  why: nothing is kept for this key and no fetch is in flight: a call leads a new one
  note: the last result was not kept: it can be used only once""",
    ),
    Row(
        off,
        "off",
        "bypassed",
        NOTHING,
        """
  state: off
  a call now: bypassed
  why: enabled=False: a call runs the function itself, and nothing is counted""",
    ),
]


def numbers_of(explanation: Explanation) -> tuple[float | None, ...]:
    seconds = (
        explanation.age_seconds,
        explanation.fresh_seconds_left,
        explanation.usable_seconds_left,
        explanation.in_flight_seconds,
    )
    return (*(None if one is None else pytest.approx(one) for one in seconds), explanation.waiters)


every_row = pytest.mark.parametrize("row", TABLE, ids=lambda row: row.make.__name__)


@every_row
async def test_explain_as_data(row: Row) -> None:
    """State, what a call would be, and the seconds that matter."""
    scene = await row.make()
    explanation = scene.odds.explain()
    await scene.end()

    assert (explanation.function, explanation.key) == ("odds", "odds:nba")
    assert (explanation.state, explanation.next_call) == (row.state, row.next_call)
    assert numbers_of(explanation) == row.numbers


@every_row
async def test_explain_as_text(row: Row) -> None:
    """The same for people: one line for each thing that there is to know."""
    scene = await row.make()
    text = str(scene.odds.explain())
    await scene.end()

    assert text == "odds: odds:nba" + row.lines


@every_row
async def test_explain_moves_nothing(row: Row) -> None:
    """No counter, no use of an entry, no fetch, no reason forgotten: explaining twice says the same twice."""
    scene = await row.make()
    entry = scene.odds.peek()
    uses = None if entry is None else entry.uses
    before, calls, tasks = scene.odds.stats(), len(scene.origin.calls), asyncio.all_tasks()
    said = [scene.odds.explain() for _ in range(3)]
    await turns()

    assert said[0] == said[1] == said[2]
    assert scene.odds.stats().as_dict() == before.as_dict()
    assert (len(scene.origin.calls), asyncio.all_tasks()) == (calls, tasks)
    assert (None if entry is None else scene.odds.peek().uses) == uses
    await scene.end()


MOVED: dict[NextCall, str] = {
    "hit": "cache_hits",
    "stale hit": "stale_hits",
    "led": "led_requests",
    "joined": "coalesced_requests",
}


@every_row
async def test_explain_foretells_the_next_call(row: Row) -> None:
    """A call made now is counted as it says."""
    scene = await row.make()
    foretold = scene.odds.explain().next_call
    before = scene.odds.stats()
    scene.tasks += start(scene.odds())
    await turns()
    since = scene.odds.stats() - before
    await scene.end()

    assert since.total_requests == (foretold != "bypassed")
    assert foretold == "bypassed" or getattr(since, MOVED[foretold]) == 1
