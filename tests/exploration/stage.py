"""The furniture of the scenarios: one decorated function whose every call, fetch and invalidation is noted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import coalesce_kit
from coalesce_kit import CachePolicy, coalesced, get_request_coalescer
from coalesce_kit.backends.flight import current_flight
from coalesce_kit.backends.in_process import RequestCoalescer
from coalesce_kit.decorators.workings import WORKINGS
from coalesce_kit.defaults import reset_for_tests
from coalesce_kit.testing.events import Caller
from coalesce_kit.testing.step_loop import StepLoop
from coalesce_kit.testing.world import World
from tests.exploration import endings, invariants
from tests.exploration.counting import g19_numbers_add_up
from tests.exploration.history import Answer, Call, Closing, Fetch, History, Invalidation, OriginError
from tests.model import Rules

calling: ContextVar[Call | None] = ContextVar("calling", default=None)
"""The call in whose context something runs."""

_INSIDE = "inside"


def _what_hangs_on(fetch: Fetch) -> bool:
    """Whether a flight that has ended, and that a context may hold for long, still leads to anything."""
    flight = fetch.flight
    return flight is not None and any((flight.task, flight.key, flight.ticket, flight.waits_for, flight.callers))


def _refreshes() -> bool:
    flight = current_flight.get()
    return flight is not None and flight.terms.refresh


def rules_of(policy: CachePolicy) -> Rules:
    """The windows of a policy, for the reference model."""
    return Rules(
        ttl=policy.ttl,
        stale_while_revalidate=policy.stale_while_revalidate,
        stale_if_error=policy.stale_if_error,
        error_ttl=max(policy.error_ttl.values(), default=0.0),
        waits_while_stale=bool(policy.stale_wait_seconds),
    )


class Odds:
    """A function, decorated once, that can be put on the stage of one world after the other.

    Args:
        fails: whether a fetch may fail.
        cut_inside: whether what a fetch runs inside may be cancelled, by nobody who calls.
        steps: how often a fetch suspends before it ends.
        swallows: whether a fetch that is cancelled goes on all the same.
        options: of ``@coalesced``.
    """

    def __init__(
        self,
        *,
        fails: bool = True,
        cut_inside: bool = False,
        steps: int = 0,
        swallows: bool = False,
        **options: Any,
    ) -> None:
        self._fails = fails
        self._cut_inside = cut_inside
        self._steps = steps
        self._swallows = swallows
        self._stage: Stage | None = None
        self._asks: dict[str, Asks] = {}
        self._policy = options.get("policy") or CachePolicy(ttl=options.get("ttl", 0))
        self._finishes = options.get("on_abandon") == "finish"
        self._fetch_timeout = options.get("fetch_timeout_seconds")
        self._tags = options.get("tags", ())

        @coalesced(**options)
        async def odds(key: str) -> Answer:
            assert self._stage is not None
            return await self._origin(self._stage, key)

        self.function = odds

    def on(self, world: World, **limits: Any) -> Stage:
        """Put it on the stage of a new world, everything as new.

        Args:
            world: the world.
            limits: of the default coalescer.
        """
        reset_for_tests()
        if limits:
            coalesce_kit.defaults._state.coalescer = RequestCoalescer(**limits)
        history = History(
            rules=rules_of(self._policy),
            tags=self._tags,
            fresh_seconds=self._policy.ttl,
            usable_seconds=self._policy.ttl + max(self._policy.stale_while_revalidate, self._policy.stale_if_error),
            error_seconds=max(self._policy.error_ttl.values(), default=0.0),
            may_be_unwanted=bool(self._policy.stale_while_revalidate) or self._finishes,
            finishes=self._finishes,
            fetch_timeout=self._fetch_timeout,
        )
        self._stage = Stage(world, self.function, history)
        return self._stage

    def asks(self, key: str, other: str, *, patience: float | None = None, later: bool = False) -> None:
        """Have every fetch of ``key`` ask for ``other`` before it ends.

        Args:
            key: whose fetches.
            other: what they ask for.
            patience: after so many seconds they go on without it.
            later: they suspend before they ask.
        """
        self._asks[key] = Asks(other, patience, later)

    async def _origin(self, stage: Stage, key: str) -> Answer:
        fetch = stage.history.begin_fetch(key, calling.get(), stage.now, is_refresh=_refreshes())
        fetch.flight = current_flight.get()
        error = None
        try:
            await self._work(stage, fetch)
            return Answer(key, fetch.number)
        except BaseException as raised:
            error = raised
            raise
        finally:
            stage.history.end_fetch(fetch, error, stage.now)

    async def _work(self, stage: Stage, fetch: Fetch) -> None:
        name = f"fetch {fetch.number}"
        if (asks := self._asks.get(fetch.key)) is not None:
            if asks.later:
                await stage.world.outcome(name, {"goes on": None})
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(asks.patience):
                    await stage.call(f"{name} inside", asks.key, inside=fetch)
        outcomes: dict[str, Any] = {"returns": None}
        if self._fails:
            outcomes["fails"] = OriginError(fetch.number)
        if self._cut_inside:
            outcomes["is cancelled inside"] = asyncio.CancelledError(_INSIDE)
        try:
            for _ in range(self._steps):
                await stage.world.outcome(name, {"goes on": None})
            await stage.world.outcome(name, outcomes)
        except asyncio.CancelledError as cut:
            fetch.was_cut_inside = cut.args == (_INSIDE,)
            if not self._swallows:
                raise
            fetch.was_stopped = True
            await stage.world.outcome(name, {"returns late": None})


@dataclass(frozen=True)
class Asks:
    """What a fetch asks for: see ``Odds.asks``."""

    key: str
    patience: float | None
    later: bool


class Stage:
    """One run: the world, the function, and the history."""

    def __init__(self, world: World, function: Any, history: History) -> None:
        self.world = world
        self.function = function
        self.history = history
        self.coalescer = get_request_coalescer()
        self.checks: list[Callable[[History], object]] = [*invariants.OF_A_HISTORY, *endings.OF_A_HISTORY]
        history.max_flight_seconds = self.coalescer.max_flight_seconds
        history.max_wait_seconds = self.coalescer.max_wait_seconds
        world.at_rest(self.check)

    @property
    def now(self) -> float:
        return self.world.clock.now()

    # ---- what may happen ----

    def callers(
        self, *names: str, key: str = "nba", after: Caller | None = None, loop: StepLoop | None = None
    ) -> list[Caller]:
        """Callers of one key, who start in this order."""
        callers: list[Caller] = []
        for name in names:
            after = self.world.caller(name, lambda name=name: self.try_call(name, key), after=after, loop=loop)
            callers.append(after)
        return callers

    def refresher(self, name: str, key: str = "nba") -> Caller:
        return self.world.caller(name, lambda: self.try_call(name, key, is_refresh=True))

    def may_cancel(self, callers: Iterable[Caller], times: int = 1) -> None:
        self.world.may_cancel(*callers, times=times)

    def invalidates(self, name: str = "invalidate", *, by: Callable[[], object] | None = None) -> None:
        """An invalidation of the one key, at any moment; or by hand."""
        act = (lambda: self.function.invalidate("nba")) if by is None else by
        self.world.event(name, lambda: self.invalidate(["nba"], act))

    def invalidates_tags(self, name: str, *tags: str, keys: Iterable[str]) -> None:
        """An invalidation of all that has one of the tags, at any moment: that is what is asked of these keys."""
        self.world.event(name, lambda: self.invalidate(keys, lambda: coalesce_kit.invalidate_tags(*tags), tags))

    def waits(self, seconds: float, name: str = "time goes by", *, when: Callable[[], bool] | None = None) -> None:
        """The clock moves on, when no handle of the loop is ready and no timer rings before."""
        loop = self.world.loop

        def possible() -> bool:
            timer = loop.next_timer()
            rings_before = timer is not None and timer < self.now + seconds
            return not loop.ready() and not rings_before and (when is None or when())

        self.world.event(name, lambda: self.world.pass_time(seconds), when=possible)

    def primes(self, name: str = "prime", key: str = "nba") -> None:
        self.world.event(name, lambda: self.prime(key))

    # ---- doing it ----

    def invalidate(self, keys: Iterable[str], act: Callable[[], object], tags: tuple[str, ...] = ()) -> None:
        self.history.invalidations.append(Invalidation(self.history.moment(), frozenset(keys), tags))
        act()

    def prime(self, key: str = "nba") -> None:
        self.invalidate([key], lambda: None)
        fetch = self.history.begin_fetch(key, None, self.now)
        self.function.prime(Answer(key, fetch.number), key)
        self.history.end_fetch(fetch, None, self.now)

    async def try_call(self, name: str, key: str, *, is_refresh: bool = False) -> None:
        """Call, and leave it to the history what became of it."""
        with contextlib.suppress(Exception):
            await self.call(name, key, is_refresh=is_refresh)

    async def call(self, name: str, key: str, *, is_refresh: bool = False, inside: Fetch | None = None) -> Answer:
        loop = asyncio.get_running_loop()
        call = self.history.begin_call(name, key, self.now, is_refresh=is_refresh, loop=loop, inside=inside)
        before = calling.set(call)
        result, error = None, None
        try:
            result = await self._ask(key, is_refresh=is_refresh)
            return result
        except BaseException as raised:
            error = raised
            raise
        finally:
            calling.reset(before)
            task = asyncio.current_task()
            call.was_cancelled = task is not None and task.cancelling() > 0
            self.history.end_call(call, result, error, self.now)

    async def close(self, *, deadline_seconds: float) -> None:
        self.history.closed = self.history.moment()
        await self._end(self.coalescer.aclose, deadline_seconds)

    async def close_all(self, *, deadline_seconds: float) -> None:
        """End all that is open; calls are accepted as before."""
        await self._end(coalesce_kit.aclose, deadline_seconds)

    async def _end(self, aclose: Callable[..., Coroutine[Any, Any, object]], seconds: float) -> None:
        began, began_at = self.history.moment(), self.now
        await aclose(deadline_seconds=seconds)
        self.history.closing = Closing(began, began_at, seconds, self.history.moment(), self.now)

    def _ask(self, key: str, *, is_refresh: bool) -> Coroutine[Any, Any, Answer]:
        return self.function.refresh(key) if is_refresh else self.function(key)

    # ---- what has to be true ----

    def check(self) -> None:
        for holds in self.checks:
            holds(self.history)
        counters = getattr(self.function, WORKINGS).counters
        g19_numbers_add_up(self.history, counters, self.coalescer._totals)
        self.check_nothing_is_left()

    def check_nothing_is_left(self) -> None:
        """G11: no flight, no slot, no ticket, no refresh."""
        workings = getattr(self.function, WORKINGS)
        gauges = workings.gauges()
        left = {
            "flights": len(self.coalescer.flights()),
            "slots": sum(len(table.pending) for table in self.coalescer._open_tables()),
            "detached flights": sum(len(table.detached) for table in self.coalescer._open_tables()),
            "what hangs on ended flights": sum(map(_what_hangs_on, self.history.fetches)),
            "flights counted": workings.counters.in_flight,
            "waiters": gauges.waiters,
            "keys with tickets": len(workings._tickets),
            "refreshes": gauges.refreshes_running,
            "tickets with tags": sum(map(len, self._tagged_tickets(workings))),
        }
        assert not any(left.values()), f"G11: left behind: {left}"

    def check_one_refresh(self) -> None:
        """No more than one refresh of the key runs."""
        running = [task for task in asyncio.all_tasks(self.world.loop) if task.get_name() == "coalesce_kit.refresh"]
        assert len(running) <= 1, f"{len(running)} refreshes run at once"

    def _tagged_tickets(self, workings: Any) -> Iterable[Any]:
        shelf = getattr(workings._keeping, "_shelf", None)
        return () if shelf is None else shelf.tags._live.values()
