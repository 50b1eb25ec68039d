"""G16: an observer that raises is logged once and removed; watching changes no result, no number and no order."""

import asyncio
import gc
import logging
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import pytest

from coalesce_kit import CoalescerStats, Observer, RequestCoalescer, coalesced
from coalesce_kit.stats.observer import EVENTS
from coalesce_kit.testing.leaks import unretrieved
from tests.conftest import LoopFactory
from tests.fakes import Door, Origin, both_doors, outcomes, start, turns

caller: ContextVar[str] = ContextVar("caller", default="nobody")


def every_event(told: Callable[[str, Any], None]) -> Observer:
    """Return an observer that overrides every event with a call of ``told``."""
    methods = {name: lambda _, event, name=name: told(name, event) for name in EVENTS}
    return type("EveryEvent", (Observer,), methods)()


def listening(log: list[str]) -> Observer:
    """Return an observer that writes down what it is told."""
    return every_event(lambda name, event: log.append(name))


def looking_closely() -> Observer:
    """Return an observer that reads everything there is to read of an event."""
    return every_event(lambda name, event: (repr(event), event.text))


def raising(error: BaseException) -> Observer:
    """Return an observer that raises at its first event."""

    def told(name: str, event: object) -> None:
        raise error

    return every_event(told)


def raising_at(event: str) -> Observer:
    """Return an observer that raises at one kind of event only."""

    def told(name: str, _: object) -> None:
        if name == event:
            raise LookupError(name)

    return every_event(told)


def raising_the_events_error() -> Observer:
    """Return an observer that raises what the event was about, a cancellation among them."""

    def told(name: str, event: Any) -> None:
        error = getattr(event, "error", None)
        if error is not None:
            raise error

    return every_event(told)


WATCHING: dict[str, Callable[[], list[Observer]]] = {
    "listening": lambda: [listening([])],
    "looking closely": lambda: [looking_closely()],
    "several": lambda: [listening([]), raising(LookupError()), listening([])],
    "raising": lambda: [raising(LookupError())],
    "raising a cancellation": lambda: [raising(asyncio.CancelledError())],
    "raising the event's error": lambda: [raising_the_events_error()],
    **{f"raising at {name}": lambda name=name: [raising_at(name)] for name in EVENTS},
}

watching = pytest.mark.parametrize("observers", WATCHING.values(), ids=WATCHING)


async def eventful(door: Callable[..., Door], **options: Any) -> tuple[list[str], CoalescerStats]:
    """Run a herd, leavers, failures, an abandoned fetch and an inner cancellation.

    Returns:
        What happened, in its order, and the numbers, without those that are measured by a clock.
    """
    log: list[str] = []
    origin = Origin()

    async def told(*arguments: Any) -> Any:
        log.append(f"fetch of {arguments} begins")
        try:
            return await origin(*arguments)
        finally:
            log.append(f"fetch of {arguments} ends")

    asked = door(told, **options)

    async def call(name: str, key: str) -> None:
        log.append(f"{name} asks")
        try:
            log.append(f"{name} got {await asked.ask(key)}")
        except BaseException as error:
            log.append(f"{name} got {error!r}, then {error.__cause__!r} and {error.__context__!r}")

    herd = start(*(call(f"caller {number}", "nfl") for number in range(4)))
    await turns()
    herd[0].cancel()
    herd[2].cancel()
    await turns()
    origin.answer("the answer")
    herd += start(call("in the tick of the answer", "nfl"))
    await turns()
    while origin.working:  # it has joined or led, as the loop would have it
        origin.answer("the next answer")
    herd += start(*(call(f"caller {number}", "nba") for number in range(3)))
    await turns()
    origin.fail(ValueError("down"))
    abandoned = start(*(call(f"leaver {number}", "nhl") for number in range(2)))
    await turns()
    for task in abandoned:
        task.cancel()
    cancelled = start(*(call(f"caller {number}", "mlb") for number in range(2)))
    await turns()
    origin.fail(asyncio.CancelledError("inside"))
    await outcomes([*herd, *abandoned, *cancelled])
    await turns()
    numbers = asked.numbers()
    return log, replace(
        numbers,
        name="",
        fetch_seconds_total=0.0,
        wait_seconds_total=0.0,
        fetch_latency=replace(numbers.fetch_latency, buckets=(numbers.fetch_latency.count,)),
        wait_latency=replace(numbers.wait_latency, buckets=(numbers.wait_latency.count,)),
    )


@pytest.mark.on_every_loop
@both_doors
@watching
async def test_g16_watching_changes_no_result_no_number_and_no_order(
    door: Callable[..., Door], observers: Callable[[], list[Observer]]
) -> None:
    """Whoever watches, and whatever the observer raises, everything happens as if nobody did, in the same order."""
    unwatched = await eventful(door)
    assert len(unwatched[0]) > 30

    assert await eventful(door, observers=observers()) == unwatched


@both_doors
@watching
@pytest.mark.on_every_loop
async def test_g16_watching_changes_no_limit(
    door: Callable[..., Door], observers: Callable[[], list[Observer]], virtual_time: object
) -> None:
    """Waits and fetches time out at the same moments, with the same errors."""

    async def hangs(*_: object) -> None:
        await asyncio.get_running_loop().create_future()

    async def timed_out(**options: Any) -> list[str]:
        asked = door(hangs, max_wait_seconds=1, fetch_timeout_seconds=3, **options)
        loop = asyncio.get_running_loop()
        began = loop.time()

        async def call(key: str) -> str:
            try:
                return str(await asked.ask(key))
            except Exception as error:
                return f"{error!r} after {loop.time() - began:.3f} s"

        return await asyncio.gather(*(call("nfl") for _ in range(3)))

    unwatched = await timed_out()

    assert await timed_out(observers=observers()) == unwatched


@pytest.mark.on_every_loop
@both_doors
async def test_g16_an_observer_that_raises_is_logged_once_and_removed(
    door: Callable[..., Door], caplog: pytest.LogCaptureFixture
) -> None:
    """However much happens, there is one line about it, and whoever else watches is told everything."""
    log: list[str] = []
    alone_log: list[str] = []
    with caplog.at_level(logging.INFO, logger="coalesce_kit"):
        await eventful(door, observers=[raising(LookupError("broken")), listening(log)])
        await eventful(door, observers=[listening(alone_log)])

    (record,) = [record for record in caplog.records if record.message == "observer_removed"]
    assert record.levelname == "ERROR"
    assert "LookupError: broken" in (record.exc_text or "")
    assert log == alone_log
    assert {"fetch_started", "fetch_ended", "waiter_joined", "waiter_left"} == set(log)


@pytest.mark.on_every_loop
@pytest.mark.parametrize("error", [LookupError(), asyncio.CancelledError()])
async def test_g16_an_invalidation_outlives_its_observer(error: BaseException) -> None:
    """An invalidation has its effect, and a call gets its result, though the observer raises."""
    origin = Origin()

    @coalesced(observers=[raising(error)])
    async def odds(league: str) -> Any:
        return await origin(league)

    assert odds.invalidate("nba").voided == 0

    @coalesced(observers=[raising_at("invalidated")])
    async def fixtures(league: str) -> Any:
        return await origin(league)

    tasks = start(fixtures("nba"))
    await turns()
    assert fixtures.invalidate("nba").voided == 1
    tasks += start(fixtures("nba"))
    await turns()
    origin.answer("old")
    origin.answer("new")
    assert await outcomes(tasks) == ["old", "new"]


@pytest.mark.parametrize("event", ["fetch_started", "fetch_ended"])
def test_g16_an_observer_that_ends_the_program_leaves_nothing(event: str, loop_factory: LoopFactory) -> None:
    """``KeyboardInterrupt`` in an observer ends the loop as it would anywhere, and no flight is left or counted."""

    def told(name: str, _: object) -> None:
        if name == event:
            raise KeyboardInterrupt

    coalescer = RequestCoalescer(observers=[every_event(told)])

    async def answer() -> str:
        await asyncio.sleep(0)
        return "answer"

    ended = False
    with unretrieved():  # asyncio tells of whatever a loop was stopped by
        try:
            with asyncio.Runner(loop_factory=loop_factory) as runner:
                runner.run(coalescer.get_or_fetch("nba", answer))
        except KeyboardInterrupt:
            ended = True
        gc.collect()

    assert ended
    assert coalescer.flights() == ()
    assert coalescer.pending_keys == ()
    assert coalescer.statistics().in_flight == 0


@pytest.mark.on_every_loop
async def test_g16_events_are_told_in_the_context_that_they_are_about() -> None:
    """A fetch's events are told in the context of the fetch, a waiter's in the waiter's own."""
    contexts: list[tuple[str, str]] = []
    origin = Origin()

    @coalesced(observers=[every_event(lambda name, event: contexts.append((name, caller.get())))])
    async def odds(league: str) -> Any:
        caller.set("the fetch")
        return await origin(league)

    async def ask(name: str) -> Any:
        caller.set(name)
        return await odds("nba")

    tasks = start(ask("leader"), ask("waiter"))
    await turns()
    origin.answer()
    await outcomes(tasks)

    assert sorted(contexts) == [
        ("fetch_ended", "the fetch"),
        ("fetch_started", "leader"),
        ("waiter_joined", "waiter"),
        ("waiter_left", "waiter"),
    ]


@pytest.mark.on_every_loop
async def test_g16_an_observer_may_use_what_it_observes() -> None:
    """An observer that looks at numbers, forgets and invalidates in the middle of things breaks nothing."""
    origin = Origin()
    coalescer = RequestCoalescer()

    def use(name: str, event: Any) -> None:
        if name != "invalidated":
            seen.append(odds.stats().total_requests)
            coalescer.flights()
            coalescer.forget(event.key)
            odds.invalidate("nba")

    seen: list[int] = []

    @coalesced(observers=[every_event(use)], backend=coalescer)
    async def odds(league: str) -> Any:
        return await origin(league)

    tasks = start(odds("nba"))
    await turns()
    tasks += start(odds("nba"))  # the first fetch was detached when it began, so this one does not join it
    await turns()
    origin.answer("first")
    origin.answer("second")

    assert await outcomes(tasks) == ["first", "second"]
    assert seen == sorted(seen)
    assert odds.stats().total_requests == 2
