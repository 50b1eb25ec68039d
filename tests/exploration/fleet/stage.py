"""The furniture of the fleet's scenarios: simulated processes over one server, and all that is noted of them.

Every question, answer and signal is an event of the world: it arrives at any moment, or is lost where a scenario says
so. Each process hears its signals in the order in which they were sent. Time passes only when a scenario says so.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import coalesce_kit
from coalesce_kit import DistributedCoalescer, coalesced
from coalesce_kit.backends.envelope import Envelope, open_envelope
from coalesce_kit.decorators.workings import WORKINGS
from coalesce_kit.defaults import reset_for_tests
from coalesce_kit.errors import StoreUnavailableError
from coalesce_kit.store_port import (
    Acquired,
    Connected,
    Dropped,
    Hit,
    Kept,
    Lost,
    Outcome,
    Published,
    Signal,
    SignalStream,
    TagMoved,
)
from coalesce_kit.stores.memory import MemoryServer, MemoryStore, Wire
from coalesce_kit.testing.world import Caller, World

FAR = 10.0**6
"""Seconds that do not pass in a scenario."""

LEASE_SECONDS = 3.0

_TURNS = 10


class OriginError(Exception):
    """A fetch has failed; its first argument is the number of the fetch."""


@dataclass(slots=True, eq=False)
class Fetch:
    """One run of the origin: what it returns is its number, and stands for what the source held when it began.

    A value that is put in place by hand counts as one, too.
    """

    number: int
    process: str
    began: int
    ended: int | None = None
    is_primed: bool = False


@dataclass(slots=True, eq=False)
class Call:
    """One call: which fetch's outcome it got."""

    name: str
    process: str
    began: int
    at: float = 0.0
    answer: int | None = None
    ended: bool = False
    failed: bool = False
    refreshes: bool = False


@dataclass(slots=True, eq=False)
class Invalidation:
    """One invalidation: when it was called, when the store did it, and when each process had heard of it."""

    process: str
    called: int
    done: int | None = None
    done_at: float = 0.0
    acknowledged: int | None = None
    heard: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class History:
    """One run."""

    fetches: list[Fetch] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    invalidations: list[Invalidation] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    moments: Any = field(default_factory=itertools.count)

    def moment(self) -> int:
        return int(next(self.moments))


@dataclass(frozen=True, slots=True)
class Faults:
    """What the environment is free to do.

    Attributes:
        free_questions, free_answers: operations whose questions, and answers, take any time; others take none.
        free_signals: signals take any time.
        lost_signals, lost_answers: how many are lost.
    """

    free_questions: frozenset[str] = frozenset()
    free_answers: frozenset[str] = frozenset()
    free_signals: bool = True
    lost_signals: int = 0
    lost_answers: int = 0


class FreeWire(Wire):
    """The way between one process and the server, as free as the scenario says."""

    def __init__(self, stage: FleetStage, name: str) -> None:
        self._stage = stage
        self._name = name
        self._numbers = itertools.count(1)
        self._sent: list[int] = []
        self._held: list[asyncio.Future[None]] = []
        self.is_dead = False
        self.is_deaf = False
        self.is_cut = False
        self.is_frozen = False
        self.under_way = 0  # questions and answers

    def thaw(self) -> None:
        """Let a frozen process go on where it was."""
        self.is_frozen = False
        held, self._held = self._held, []
        for future in held:
            future.set_result(None)

    async def thawed(self) -> None:
        """Wait while the process is frozen: it does nothing, sends nothing, and takes nothing."""
        while self.is_frozen:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._held.append(future)
            await future

    async def ask(self, operation: str, key: str) -> None:  # of the port
        await self.thawed()
        self._require_life()
        if operation in self._stage.faults.free_questions and self._stage.is_on:
            what = f"{self._name} {operation} {next(self._numbers)}"
            await self._way(what, {"arrives": None})
            self._require_life()

    async def answer(self, operation: str, key: str) -> None:  # of the port
        self._require_life()
        if operation in self._stage.faults.free_answers and self._stage.is_on:
            outcomes: dict[str, Any] = {"comes": None}
            if self._stage.answers_to_lose > 0:
                outcomes["is lost"] = StoreUnavailableError("lost")
            try:
                await self._way(f"answer {self._name} {operation} {next(self._numbers)}", outcomes)
            except StoreUnavailableError:
                self._stage.answers_to_lose -= 1
                raise
            await self.thawed()
            self._require_life()

    async def _way(self, what: str, outcomes: dict[str, Any]) -> None:
        self.under_way += 1
        try:
            await self._stage.world.outcome(what, outcomes)
        finally:
            self.under_way -= 1
            self._stage.note_arrival()

    def push(self, signal: Signal, deliver: Callable[[], None]) -> None:
        if self.is_dead or self.is_deaf or self.is_cut:
            return
        if not (self._stage.faults.free_signals and self._stage.is_on):
            deliver()
            return
        number = next(self._numbers)
        self._sent.append(number)

        def arrive() -> None:
            self._sent.remove(number)
            if not self.is_dead:
                deliver()
            self._stage.note_arrival()

        def is_first() -> bool:
            return self._sent[0] == number and not self.is_frozen

        name = f"{self._name} hears {type(signal).__name__} {number}"
        self._stage.world.event(name, arrive, when=is_first)
        if self._stage.faults.lost_signals and not isinstance(signal, Dropped | TagMoved):

            def lose() -> None:
                self._stage.signals_to_lose -= 1
                self._sent.remove(number)
                self._stage.world._events.pop(name)

            def may_be_lost() -> bool:
                return number in self._sent and is_first() and self._stage.signals_to_lose > 0

            self._stage.world.event(f"{self._name} misses {number}", lose, when=may_be_lost)

    def _require_life(self) -> None:
        if self.is_dead or self.is_cut:
            raise StoreUnavailableError("this process is dead, or cut off")


class NotedServer(MemoryServer):
    """A server that notes what it does, and complains of what no server may do."""

    def __init__(self, stage: FleetStage) -> None:
        super().__init__()
        self._stage = stage
        self._last_removed = -1
        self._kept = 0

    def acquire(self, key: str, **arguments: Any) -> Acquired:
        reply = super().acquire(key, **arguments)
        if isinstance(reply, Hit):
            self._check(reply.kept)
        if isinstance(reply, Outcome) and not arguments.get("after"):
            self._stage.history.wrong.append("F5: an outcome was given to somebody who did not wait for it")
        return reply

    def read(self, key: str, have: str | None) -> Kept | None:
        kept = super().read(key, have)
        if kept is not None:
            self._check(kept)
        return kept

    def publish(self, key: str, **arguments: Any) -> Published:
        published = super().publish(key, **arguments)
        if published is Published.KEPT and self._number_of(arguments["body"]) is not None:
            number = self._number_of(arguments["body"])
            if number is not None and self._is_older(number):
                self._stage.history.wrong.append(f"G7: fetch {number} was published after its record was invalidated")
            if number is not None and number < self._kept:
                self._stage.history.wrong.append(f"F4: fetch {number} took the place of fetch {self._kept}")
            self._kept = number or 0
        return published

    def invalidate(self, key: str, *, namespace: str) -> None:
        self._last_removed = self._stage.done()
        self._kept = 0
        super().invalidate(key, namespace=namespace)

    def tag_version(self, tag: str, *, namespace: str, replace: bool, keep_seconds: float) -> str:
        if replace:
            self._stage.done()
        return super().tag_version(tag, namespace=namespace, replace=replace, keep_seconds=keep_seconds)

    def _check(self, kept: Kept) -> None:
        number = None if kept.body is None else self._number_of(kept.body)
        if number is not None and self._is_older(number):
            self._stage.history.wrong.append(f"G7: fetch {number} was read after its record was invalidated")

    def _is_older(self, number: int) -> bool:
        """Whether the record was removed after a fetch had begun; a primed value is newer than its own removal."""
        fetch = self._stage.fetch(number)
        if fetch.is_primed:
            return any(one.called > fetch.began and one.done is not None for one in self._stage.history.invalidations)
        return fetch.began < self._last_removed

    def _number_of(self, body: bytes) -> int | None:
        opened = open_envelope(body, text=self._stage.text)
        return int(opened.body[-1]) if isinstance(opened, Envelope) and opened.kind == "value" else None


class RepeatingStore(MemoryStore):
    """A store that sends a question once more when its answer is lost, as one over a network does."""

    def signals(self, *, heartbeat_seconds: float = FAR) -> SignalStream:  # of the port
        return super().signals(heartbeat_seconds=float("inf"))

    async def _do(self, operation: str, key: str, act: Callable[[], Any]) -> Any:
        try:
            return await super()._do(operation, key, act)
        except StoreUnavailableError:
            return await super()._do(operation, key, act)


class Process:
    """One simulated process."""

    def __init__(self, stage: FleetStage, name: str, *, backend: dict[str, Any], options: dict[str, Any]) -> None:
        self.name = name
        self.wire = FreeWire(stage, name)
        self.store = RepeatingStore(stage.server, wire=self.wire)
        self.fleet = DistributedCoalescer(
            self.store,
            **{"lease_seconds": LEASE_SECONDS, "coherence_seconds": FAR, "max_wait_seconds": None, **backend},
        )
        self.callers: list[Caller] = []

        async def odds(key: str) -> int:
            return await stage.origin(self)

        self.function: Any = coalesced(name="odds", backend=self.fleet, **options)(odds)
        self.process: Any = self.fleet._process

    @property
    def numbers(self) -> Any:
        return getattr(self.function, WORKINGS).counters


class FleetStage:
    """One run: the world, the server, the processes and the history.

    Args:
        world: the world.
        count: how many processes there are.
        faults: what the environment is free to do.
        fails: whether a fetch may fail.
        backend: options of the coalescers.
        options: of the decorator.
    """

    def __init__(
        self,
        world: World,
        count: int,
        *,
        faults: Faults,
        fails: bool = False,
        backend: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        reset_for_tests()
        self.world = world
        self.faults = faults
        self.fails = fails
        self.history = History()
        self.text = "(key='nba')"
        self.coherence_seconds: float = (backend or {}).get("coherence_seconds", FAR)
        self.is_on = False
        self.signals_to_lose = faults.lost_signals
        self.answers_to_lose = faults.lost_answers
        self.server = NotedServer(self)
        self._left = 0
        self._at_the_end: asyncio.Event = asyncio.Event()
        self._arrival: asyncio.Event = asyncio.Event()
        self.last_look: Callable[[], None] | None = None  # called when all calls have ended and everything was heard
        if not {"ttl", "policy"} & options.keys():
            options["ttl"] = 1000
        self.processes = [
            Process(self, f"p{number}", backend=backend or {}, options=options) for number in range(1, count + 1)
        ]
        self._warm_up()
        world.loop.next_timer = lambda: None  # type: ignore[method-assign]  # time passes by events only
        world.loop.create_task(self._close())
        world.at_rest(self.check)

    def _warm_up(self) -> None:
        """Have every process connected, and know the tags, before anything is explored."""
        for process in self.processes:
            process.process.link()
        self._run()
        for process in self.processes:
            names = ("everything", "function:odds", "tag:sport")
            versions = {
                name: self.server.tag_version(name, namespace="memory", replace=False, keep_seconds=FAR)
                for name in names
            }
            tags, generation = process.process.tags, process.process.horizon.generation
            tags.learn(versions, asked=tags.now(), generation=generation, ask_again_at=FAR * FAR)
            for loop_link in process.process._links.values():
                loop_link._first = None
        self.is_on = True

    def _run(self) -> None:
        handles = self.world.loop.ready()
        while handles:
            handles.popleft()._run()
            handles = self.world.loop.ready()

    def fetch_beforehand(self, process: Process) -> None:
        """Have the store, and one process, hold an answer before anything is explored."""
        self.is_on = False
        self.world.loop.create_task(process.function("nba"))
        self._run()
        self.is_on = True

    # ---- what may happen ----

    def callers(self, process: Process, *names: str, after: Caller | None = None) -> list[Caller]:
        """Callers in one process, who start in this order."""
        made: list[Caller] = []
        for name in names:
            self._left += 1
            after = self.world.caller(f"{process.name}.{name}", partial(self.call, process, name), after=after)
            self.not_while_frozen(process, f"{after.name} starts")
            made.append(after)
            process.callers.append(after)
        return made

    def not_while_frozen(self, process: Process, event: str) -> None:
        """Have an event not happen while a process is frozen."""
        inner = self.world._events[event].is_possible
        self.world._events[event].is_possible = lambda: not process.wire.is_frozen and (inner is None or inner())

    def expects(self, count: int = 1) -> Callable[[], None]:
        """Have the run not end before what is returned was called so often."""
        self._left += count
        return self._done_one

    def invalidates(self, process: Process, name: str = "invalidates", *, by: str = "key") -> None:
        """An invalidation by one process, at any moment."""
        self._left += 1

        def act() -> None:
            if process.wire.is_dead:
                self._done_one()
                return
            invalidation = Invalidation(process.name, self.history.moment())
            self.history.invalidations.append(invalidation)
            if by == "key":
                telling = process.function.invalidate("nba")
            else:
                getattr(process.function, WORKINGS).void_tags(("sport",))
                telling = process.fleet.invalidate_tags(("sport",))
            self.world.loop.create_task(self._acknowledge(invalidation, telling))

        self.world.event(f"{process.name} {name}", act)
        self.not_while_frozen(process, f"{process.name} {name}")

    async def _acknowledge(self, invalidation: Invalidation, telling: Any) -> None:
        try:
            told = await telling if not hasattr(telling, "wait") else await telling.wait()
            if told is True or getattr(told, "told", False) is True:
                invalidation.acknowledged = self.history.moment()
        finally:
            self._done_one()

    def dies(self, process: Process) -> None:
        """A process is killed, at any moment."""

        def act() -> None:
            process.wire.is_dead = True
            begun = {call.name for call in self.history.calls if call.process == process.name}
            for caller in process.callers:
                has_begun = caller.name.rpartition(".")[2] in begun
                if caller.is_running:
                    caller.cancel()
                else:
                    self.world._events.pop(f"{caller.name} starts", None)
                if not has_begun:
                    self._done_one()

        self.world.event(f"{process.name} dies", act, when=lambda: any(one.is_running for one in process.callers))

    def time_passes(self, seconds: float, *, times: int = 1, when: Callable[[], bool] | None = None) -> None:
        """Time passes, while nothing is runnable."""
        ready = self.world.loop.ready

        def may() -> bool:
            return not ready() and (when is None or when())

        self.world.event(f"{seconds:g} s pass", lambda: self.world.pass_time(seconds), when=may, times=times)

    def is_asking(self) -> bool:
        """Whether an answer is on its way."""
        return any(name.startswith("answer") for name in self.world._events)

    def is_fetching(self) -> bool:
        """Whether the function runs somewhere."""
        return any(name.startswith("fetch ") for name in self.world._events)

    def is_waiting(self) -> bool:
        """Whether somebody waits for another process's lease."""
        return any(
            flight._woken is not None
            for process in self.processes
            for link in process.process._links.values()
            for flight in link.flights()
        )

    def loses_the_record(self) -> None:
        """The server evicts the record, at any moment."""
        self.world.event(
            "the record is evicted", lambda: [self.server.evict(key) for key in list(self.server._records)]
        )

    def reconnects(self, process: Process) -> None:
        """The process's subscription breaks and stands again; what was on its way is lost."""

        def act() -> None:
            self.loses_signals(process)
            self.tells(process, Lost(), Connected())

        self.world.event(f"{process.name} reconnects", act)

    def loses_signals(self, process: Process) -> None:
        """What is on its way to a process does not arrive."""
        for number in process.wire._sent:
            for kind in ("Finished", "Voided", "Dropped", "TagMoved", "HeardUpTo", "Connected", "Lost"):
                self.world._events.pop(f"{process.name} hears {kind} {number}", None)
        process.wire._sent.clear()

    def tells(self, process: Process, *signals: Signal) -> None:
        """Have a process hear of its subscription, at once."""
        was, self.is_on = self.is_on, False
        for channel in list(self.server._channels):
            if channel.__self__._store is process.store:
                for signal in signals:
                    channel(signal)
        self.is_on = was

    # ---- doing it ----

    async def call(self, process: Process, name: str) -> int:
        call = Call(name, process.name, self.history.moment(), self.world.clock.now())
        call.refreshes = name.startswith("refresh")
        self.history.calls.append(call)
        try:
            call.answer = await (process.function.refresh if call.refreshes else process.function)("nba")
            return int(call.answer)
        except OriginError as error:
            call.answer, call.failed = error.args[0], True
            raise
        except coalesce_kit.RemoteFetchError:
            call.failed = True
            raise
        finally:
            call.ended = True
            self._done_one()

    async def origin(self, process: Process) -> int:
        fetch = Fetch(len(self.history.fetches) + 1, process.name, self.history.moment())
        self.history.fetches.append(fetch)
        outcomes: dict[str, Any] = {"returns": None}
        if self.fails:
            outcomes["fails"] = OriginError(fetch.number)
        if self.is_on:
            await self.world.outcome(f"fetch {fetch.number}", outcomes)
            await process.wire.thawed()
        fetch.ended = self.history.moment()
        return fetch.number

    def fetch(self, number: int) -> Fetch:
        return self.history.fetches[number - 1]

    def done(self) -> int:
        """Note that the server does the oldest invalidation that it was not seen to do."""
        moment = self.history.moment()
        for invalidation in self.history.invalidations:
            if invalidation.done is None:
                invalidation.done, invalidation.done_at = moment, self.world.clock.now()
                break
        return moment

    def heard(self, process: Process) -> None:
        """Note that a process has heard of everything that the server has done so far."""
        moment = self.history.moment()
        for invalidation in self.history.invalidations:
            if invalidation.done is not None:
                invalidation.heard.setdefault(process.name, moment)

    def _done_one(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._at_the_end.set()

    def note_arrival(self) -> None:
        """Look whether it was the last thing under way."""
        self._arrival.set()

    async def _quiet(self) -> None:
        """Wait until everybody has told, and heard, everything."""
        while True:
            self._arrival.clear()
            for _ in range(_TURNS):  # what has arrived is acted on
                await asyncio.sleep(0)
            if self._arrival.is_set():
                continue
            if not any(process.wire._sent or process.wire.under_way for process in self.processes):
                return
            await self._arrival.wait()

    async def _close(self) -> None:
        await self._at_the_end.wait()
        if self.last_look is not None:
            await self._quiet()
            try:
                self.last_look()
            except AssertionError as error:
                self.history.wrong.append(str(error))
        self.is_on = False
        for process in self.processes:
            await process.fleet.aclose(deadline_seconds=0)

    # ---- what has to be true ----

    def check(self) -> None:
        history = self.history
        assert not history.wrong, history.wrong[0]
        for call in history.calls:
            if call.answer is None or call.failed:
                continue
            fetch = self.fetch(call.answer)
            if call.refreshes:
                assert fetch.ended is not None, f"refresh: {call.process} got fetch {fetch.number}, which has not ended"
                assert fetch.ended > call.began, f"refresh: {call.process} got fetch {fetch.number}, over before it"
            for one in history.invalidations:
                if fetch.began > one.called:
                    continue
                assert not (call.process == one.process and call.began > one.called), (
                    f"G7: {call.process}.{call.name} read fetch {fetch.number} past its own invalidation"
                )
                heard = one.heard.get(call.process)
                assert heard is None or call.began < heard, (
                    f"G7: {call.process}.{call.name} got fetch {fetch.number} after {call.process} heard of its end"
                )
                assert one.done is None or call.at < one.done_at + self.coherence_seconds, (
                    f"G7: {call.process}.{call.name} got fetch {fetch.number} too long after its end"
                )
                if self.processes[0].fleet._options.is_strict and one.acknowledged is not None:
                    assert call.began < one.acknowledged, (
                        f"G7: {call.process}.{call.name} got fetch {fetch.number} after its end was acknowledged"
                    )

    def check_one_fetch(self) -> None:
        """Nothing went wrong, so there is one fetch."""
        assert len(self.history.fetches) <= 1, f"G1: {len(self.history.fetches)} fetches"

    def check_at_most(self, count: int) -> None:
        """There are no more fetches than there is reason for."""
        assert len(self.history.fetches) <= count, f"G1: {len(self.history.fetches)} fetches, more than {count}"


def listen(stage: FleetStage, processes: Iterable[Process]) -> None:
    """Note when each process has heard of an invalidation."""
    for process in processes:
        inner = process.process

        def hear(act: Callable[[str], None], process: Process, name: str) -> None:
            act(name)
            stage.heard(process)

        def begin(act: Callable[..., None], process: Process, link: object, *, connected: bool) -> None:
            act(link, connected=connected)
            if connected:  # what was done before cannot be announced any more
                stage.heard(process)

        inner.begin_generation = partial(begin, inner.begin_generation, process)
        inner.hear_dropped = partial(hear, inner.hear_dropped, process)
        inner.hear_tag_moved = partial(hear, inner.hear_tag_moved, process)
