"""*What happens when ...*: each function tries one thing on one subject and says what it saw.

Callers and fetches are ordered by events, not by time, except where a lifetime is the question. A probe says whether
what it saw is what a caller would want; why that is so stands in ``QUESTIONS``.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import inspect
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeAlias

from .children import describe
from .subjects import Subject


@dataclass(frozen=True)
class Seen:
    """What a probe saw, in a few words, and whether that is well."""

    well: bool
    says: str


Probe: TypeAlias = Callable[[Subject], Seen]

PATIENCE_SECONDS = 1.5
"""How long a caller waits for an answer that is there before it counts as hanging."""


class Upstream:
    """An origin that counts its runs, holds its answers until it is told, and then does what it is told."""

    def __init__(self, *, held: bool = True) -> None:
        self.calls = 0
        self.cancelled = 0
        self.gate = asyncio.Event()
        self.error: type[BaseException] | None = None
        if not held:
            self.gate.set()

    async def answer(self, value: Any) -> Any:
        """Be asked once."""
        self.calls += 1
        number = self.calls
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return f"{value}, answer {number}"


async def settle() -> None:
    """Let everything that can go on go on."""
    for _ in range(30):
        await asyncio.sleep(0)


def start(subject: Subject, call: Callable[..., Awaitable[Any]], *args: Any) -> asyncio.Task[Any]:
    """Begin one caller, in a task of its own, as a server would."""

    async def caller() -> Any:
        with subject.scope():
            return await call(*args)

    return asyncio.ensure_future(caller())


async def outcomes(tasks: list[asyncio.Task[Any]]) -> list[str]:
    """Return what became of callers: ``ok``, ``hangs`` or the name of an error."""
    if tasks:
        await asyncio.wait(tasks, timeout=PATIENCE_SECONDS)
    found = [outcome(task) for task in tasks]
    for task in tasks:
        task.cancel()
    return found


def outcome(task: asyncio.Task[Any]) -> str:
    """Return what became of one caller."""
    if not task.done():
        return "hangs"
    if task.cancelled():
        return "CancelledError"
    error = task.exception()
    if error is not None:
        return type(error).__name__
    return "ok" if isinstance(task.result(), str) else repr(task.result())


def plural(number: int, noun: str) -> str:
    """Return "1 fetch", "3 fetches"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}{'es' if noun.endswith('h') else 's'}"


def counted(found: list[str]) -> str:
    """Return how many callers did not fare well, and how."""
    bad = [one for one in found if one != "ok"]
    return f"{len(bad)} of {len(found)}: {bad[0]}" if bad else f"{len(found)} of {len(found)} answered"


def runs(probe: Callable[[Subject], Coroutine[Any, Any, Seen]]) -> Probe:
    """Run an asynchronous probe on a loop of its own."""

    def run(subject: Subject) -> Seen:
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda *_: None)
        try:
            return loop.run_until_complete(asyncio.wait_for(probe(subject), 4 * PATIENCE_SECONDS))
        except TimeoutError:
            return Seen(well=False, says="hangs")
        finally:
            with contextlib.suppress(Exception):
                for task in asyncio.all_tasks(loop):
                    task.cancel()
                loop.run_until_complete(asyncio.sleep(0.01))
                loop.close()

    return run


# ------------------------------------------------------------------------------------------------- callers and fetches


def _fetching(upstream: Upstream) -> Callable[..., Any]:
    async def fixtures(sport: object, live: object = True, limit: object = 5) -> Any:
        del live, limit
        return await upstream.answer(sport)

    return fixtures


async def herd(subject: Subject) -> Seen:
    """Ten callers ask for one thing at once."""
    upstream = Upstream()
    call = subject.shared(_fetching(upstream))
    tasks = [start(subject, call, "nfl") for _ in range(10)]
    await settle()
    upstream.gate.set()
    found = await outcomes(tasks)
    return Seen(upstream.calls == 1 and set(found) == {"ok"}, f"{plural(upstream.calls, 'fetch')}, {counted(found)}")


async def first_hangs_up(subject: Subject) -> Seen:
    """The first of ten is cancelled while the fetch runs."""
    return await _hang_up(subject, 0)


async def waiter_hangs_up(subject: Subject) -> Seen:
    """The fifth of ten is cancelled while the fetch runs."""
    return await _hang_up(subject, 4)


async def _hang_up(subject: Subject, who: int) -> Seen:
    upstream = Upstream()
    call = subject.shared(_fetching(upstream))
    tasks = [start(subject, call, "nfl") for _ in range(10)]
    await settle()
    tasks.pop(who).cancel()
    await settle()
    upstream.gate.set()
    found = await outcomes(tasks)
    return Seen(upstream.calls == 1 and set(found) == {"ok"}, f"{counted(found)}, {plural(upstream.calls, 'fetch')}")


async def all_hang_up(subject: Subject) -> Seen:
    """All callers are cancelled; then somebody new asks."""
    upstream = Upstream()
    call = subject.shared(_fetching(upstream))
    tasks = [start(subject, call, "nfl") for _ in range(3)]
    await settle()
    for task in tasks:
        task.cancel()
    await settle()
    stopped = upstream.cancelled == upstream.calls
    upstream.gate.set()
    found = await outcomes([start(subject, call, "nfl")])
    work = "work stops" if stopped else "work goes on"
    return Seen(stopped and found == ["ok"], f"{work}, next caller {found[0]}")


async def origin_fails(subject: Subject) -> Seen:
    """The fetch fails; then somebody asks again."""
    upstream = Upstream()
    upstream.error = ConnectionRefusedError
    call = subject.shared(_fetching(upstream))
    tasks = [start(subject, call, "nfl") for _ in range(10)]
    await settle()
    upstream.gate.set()
    found = await outcomes(tasks)
    fetches = upstream.calls
    upstream.error = None
    after = (await outcomes([start(subject, call, "nfl")]))[0]
    good = fetches == 1 and set(found) == {"ConnectionRefusedError"} and after == "ok"
    others = sorted(set(found) - {"ConnectionRefusedError"})
    seen = f", some got {others[0]}" if others else ""
    return Seen(good, f"{plural(fetches, 'fetch')}{seen}, next caller {after}")


async def origin_is_cancelled(subject: Subject) -> Seen:
    """The fetch ends in ``CancelledError`` that no caller asked for."""
    upstream = Upstream()
    upstream.error = asyncio.CancelledError
    call = subject.shared(_fetching(upstream))
    tasks = [start(subject, call, "nfl") for _ in range(3)]
    await settle()
    upstream.gate.set()
    found = await outcomes(tasks)
    upstream.error = None
    after = (await outcomes([start(subject, call, "nfl")]))[0]
    good = "CancelledError" not in found and "hangs" not in found and after == "ok"
    return Seen(good, f"{found[-1]}, next caller {after}")


async def tracebacks_grow(subject: Subject) -> Seen:
    """Fifty callers share one failure; how long is the last one's traceback, against the second's?"""
    upstream = Upstream()
    upstream.error = ConnectionRefusedError
    call = subject.shared(_fetching(upstream))
    lengths = []

    async def caller() -> None:
        try:
            with subject.scope():
                await call("nfl")
        except ConnectionRefusedError as error:
            frame, length = error.__traceback__, 0
            while frame is not None:
                frame, length = frame.tb_next, length + 1
            lengths.append(length)

    tasks = [asyncio.ensure_future(caller()) for _ in range(50)]
    await settle()
    upstream.gate.set()
    await asyncio.wait(tasks, timeout=PATIENCE_SECONDS)
    if len(lengths) < 2:
        return Seen(well=False, says="hangs")
    return Seen(lengths[-1] <= lengths[1] + 2, f"{lengths[1]} to {lengths[-1]} frames")


async def failure_is_logged(subject: Subject) -> Seen:
    """A fetch fails, once with one caller who sees it, once when its caller has left: does the loop log it?"""
    reports: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reports.append(context.get("message")))
    for leaves in (False, True):
        upstream = Upstream()
        upstream.error = ConnectionRefusedError
        call = subject.shared(_fetching(upstream))
        tasks = [start(subject, call, "nfl")]
        await settle()
        if leaves:
            tasks[0].cancel()
            await settle()
        upstream.gate.set()
        await outcomes(tasks)
        del call, tasks, upstream
        for _ in range(3):
            gc.collect()
            await settle()
    return Seen(not reports, "silent" if not reports else "never retrieved")


async def asks_itself(subject: Subject) -> Seen:
    """A fetch asks for its own key."""
    return await _recursion(subject, direct=True)


async def asks_in_a_circle(subject: Subject) -> Seen:
    """A's fetch asks for B, whose fetch asks for A."""
    return await _recursion(subject, direct=False)


async def _recursion(subject: Subject, *, direct: bool) -> Seen:
    calls: dict[str, Callable[..., Any]] = {}

    async def first(sport: object) -> Any:
        return await calls["first" if direct else "second"](sport)

    async def second(sport: object) -> Any:
        return await calls["first"](sport)

    calls["first"] = subject.shared(first)
    calls["second"] = subject.shared(second)
    found = (await outcomes([start(subject, calls["first"], "nfl")]))[0]
    return Seen("Recursi" in found or found == "RuntimeError", found)


# --------------------------------------------------------------------------------------------------- what is the key


async def spellings(subject: Subject) -> Seen:
    """``f("nfl")``, ``f(sport="nfl")`` and ``f("nfl", True, 5)``, which are the same call."""
    keys = await _keys(subject, [(("nfl",), {}), ((), {"sport": "nfl"}), (("nfl", True, 5), {})])
    return Seen(keys == 1, plural(keys, "key"))


async def types_differ(subject: Subject) -> Seen:
    """``1``, ``1.0``, ``True`` and ``"1"``."""
    keys = await _keys(subject, [((value,), {}) for value in (1, 1.0, True, "1")])
    return Seen(keys == 4, plural(keys, "key"))


async def _keys(subject: Subject, calls: list[tuple[tuple[object, ...], dict[str, object]]]) -> int:
    """Return how many keys some calls have: one after the other where results are kept, else all at once."""
    keeps = subject.offers("cached")
    upstream = Upstream(held=not keeps)
    call = subject.cached(_fetching(upstream)) if keeps else subject.shared(_fetching(upstream))
    tasks = []
    for args, kwargs in calls:
        tasks.append(start(subject, functools.partial(call, *args, **kwargs)))
        await settle()
    upstream.gate.set()
    for task in tasks:
        await asyncio.wait_for(task, PATIENCE_SECONDS)
    return upstream.calls


async def argument_is_a_list(subject: Subject) -> Seen:
    """An argument that cannot be hashed."""
    upstream = Upstream(held=False)
    call = subject.cached(_fetching(upstream))
    with subject.scope():
        await call(["nfl"])
        await call(["nfl"])
        await call(["nba"])
    return Seen(upstream.calls == 2, {2: "kept", 3: "never kept"}.get(upstream.calls, plural(upstream.calls, "fetch")))


class _Named:
    def __init__(self, name: int) -> None:
        self.name = name


def _service(subject: Subject) -> type[_Named]:
    async def odds(self: _Named, league: object) -> Any:
        del league
        return self.name

    return type("OddsService", (_Named,), {"odds": subject.cached(odds)})


async def two_instances(subject: Subject) -> Seen:
    """A method, called on two instances."""
    service = _service(subject)
    one, other = service(1), service(2)
    with subject.scope():
        found = [await one.odds("nba"), await other.odds("nba"), await one.odds("nba")]  # type: ignore[attr-defined]
    return Seen(found == [1, 2, 1], "apart" if found == [1, 2, 1] else "they share a value")


async def instances_come_and_go(subject: Subject) -> Seen:
    """A method on 200 instances, each dropped before the next is made."""
    service = _service(subject)
    wrong = 0
    with subject.scope():
        for number in range(200):
            instance = service(number)
            wrong += await instance.odds("nba") != number  # type: ignore[attr-defined]
            del instance
    return Seen(wrong == 0, f"{wrong} of 200 got another's value")


async def instance_is_kept_alive(subject: Subject) -> Seen:
    """A method's instance is dropped while its result is kept."""
    service = _service(subject)
    instance = service(1)
    with subject.scope():
        await instance.odds("nba")  # type: ignore[attr-defined]
    watch = weakref.ref(instance)
    del instance
    await settle()
    gc.collect()
    return Seen(watch() is None, "let go" if watch() is None else "kept alive")


# ------------------------------------------------------------------------------------------------- what is kept


async def none_is_kept(subject: Subject) -> Seen:
    """The answer is ``None``."""
    calls = 0

    async def fixtures(sport: object) -> None:
        nonlocal calls
        del sport
        calls += 1

    call = subject.cached(fixtures)
    with subject.scope():
        await call("nfl")
        await call("nfl")
    return Seen(calls == 1, "kept" if calls == 1 else "fetched again")


async def result_is_mutated(subject: Subject) -> Seen:
    """A caller changes the list that it got."""

    async def fixtures(sport: object) -> list[object]:
        return [sport]

    call = subject.cached(fixtures)
    with subject.scope():
        (await call("nfl")).append("mine")
        found = await call("nfl")
    return Seen(found == ["nfl"], "his own" if found == ["nfl"] else "the next caller sees it")


async def invalidated_while_loading(subject: Subject) -> Seen:
    """An entry is invalidated while it is fetched; somebody asks; the old fetch ends last."""
    gates = [asyncio.Event(), asyncio.Event()]
    calls = 0

    async def fixtures(sport: object) -> str:
        nonlocal calls
        del sport
        calls += 1
        mine = calls
        await gates[min(mine, 2) - 1].wait()
        return f"answer {mine}"

    call = subject.cached(fixtures)
    early = start(subject, call, "nfl")
    await settle()
    with subject.scope():
        await subject.invalidate(call, "nfl")
    late = start(subject, call, "nfl")
    await settle()
    gates[1].set()
    await settle()
    gates[0].set()
    await outcomes([early, late])
    kept = start(subject, call, "nfl")
    await outcomes([kept])
    values = [
        "hangs" if task.cancelled() or not task.done() else str(task.exception() or task.result())
        for task in (late, kept)
    ]
    if values[0] == "answer 1":
        return Seen(well=False, says="the newcomer gets the old value")
    if values[1] == "answer 1":
        return Seen(well=False, says="the old value is kept")
    return Seen(
        values == ["answer 2", "answer 2"], "new value" if values == ["answer 2"] * 2 else f"{values[0]}, {values[1]}"
    )


async def many_keys(subject: Subject) -> Seen:
    """A thousand keys, with room for fifty."""
    upstream = Upstream(held=False)
    call = subject.cached(_fetching(upstream), size=50)
    with subject.scope():
        for number in range(1_000):
            await call(number)
        upstream.calls = 0
        for number in range(1_000):
            await call(number)
    kept = 1_000 - upstream.calls
    return Seen(kept <= 60, "bounded" if kept <= 60 else f"{kept} kept")


async def fetch_is_evicted(subject: Subject) -> Seen:
    """Room for one entry: is a fetch in flight still joined when another key has come by?"""
    upstream = Upstream()
    call = subject.cached(_fetching(upstream), size=1)
    tasks = [start(subject, call, "nfl") for _ in range(3)]
    await settle()
    tasks += [start(subject, call, other) for other in ("nba", "nhl", "mlb")]
    await settle()
    tasks += [start(subject, call, "nfl") for _ in range(3)]
    await settle()
    upstream.gate.set()
    found = await outcomes(tasks)
    return Seen(upstream.calls == 4 and set(found) == {"ok"}, f"{plural(upstream.calls - 3, 'fetch')} of one key")


async def lifetime_begins(subject: Subject) -> Seen:
    """A lifetime of 1 s, a fetch of 0.6 s, and a call 0.7 s after its end."""
    calls = 0

    async def fixtures(sport: object) -> object:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0.6)
        return sport

    call = subject.cached(fixtures, ttl_seconds=1)
    with subject.scope():
        await call("nfl")
        await asyncio.sleep(0.7)
        await asyncio.wait_for(call("nfl"), PATIENCE_SECONDS)
    return Seen(calls == 1, "at the end of the fetch" if calls == 1 else "at its start")


# ------------------------------------------------------------------------------------------------ loops and functions


def second_loop(subject: Subject) -> Seen:
    """One ``asyncio.run`` after another."""
    calls = 0

    async def fixtures(sport: object) -> object:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0)
        return sport

    call = subject.cached(fixtures)
    return _two_runs(subject, call, call, lambda: "kept" if calls == 1 else "fetched again")


def loop_dies(subject: Subject) -> Seen:
    """A loop ends while a fetch is in flight; the next loop asks for the same."""
    dying = True

    async def fixtures(sport: object) -> object:
        if dying:
            await asyncio.sleep(3600)
        return sport

    call = subject.shared(fixtures)

    async def leave(sport: str) -> None:
        nonlocal dying
        start(subject, call, sport)
        await settle()
        dying = False

    return _two_runs(subject, leave, call, lambda: "answered")


def _two_runs(
    subject: Subject, first: Callable[[str], Any], second: Callable[[str], Any], well: Callable[[], str]
) -> Seen:
    async def within(call: Callable[[str], Any]) -> object:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        with subject.scope():
            return await asyncio.wait_for(call("nfl"), PATIENCE_SECONDS)

    asyncio.run(within(first))
    try:
        asyncio.run(within(second))
    except TimeoutError:
        return Seen(well=False, says="hangs")
    except BaseException as error:
        return Seen(well=False, says=describe(error).partition(":")[0])
    return Seen(well=True, says=well())


def still_a_coroutine_function(subject: Subject) -> Seen:
    """``inspect.iscoroutinefunction``, which frameworks ask; ``asyncio.create_task(f(...))``."""
    upstream = _fetching(Upstream.__new__(Upstream))
    call = subject.shared(upstream)
    well = inspect.iscoroutinefunction(call)
    return Seen(well, "yes" if well else "no")


@dataclass(frozen=True)
class Question:
    """One row of the table.

    Attributes:
        when: ends the sentence *what happens when ...*
        wanted: what a caller would want.
    """

    when: str
    wanted: str
    probe: Probe


QUESTIONS = {
    "herd": Question("ten callers ask at once", "one fetch", runs(herd)),
    "first": Question("the first caller hangs up", "the other nine get the answer of one fetch", runs(first_hangs_up)),
    "waiter": Question("a waiter hangs up", "the other nine get the answer of one fetch", runs(waiter_hangs_up)),
    "all": Question("all callers hang up", "the work stops, and the next caller is answered", runs(all_hang_up)),
    "fails": Question(
        "the origin fails", "one fetch fails for all ten, and the next call tries again", runs(origin_fails)
    ),
    "inner": Question("the origin raises CancelledError", "an error, and no cancellation", runs(origin_is_cancelled)),
    "frames": Question("fifty callers share a failure", "tracebacks do not grow", runs(tracebacks_grow)),
    "noise": Question("a fetch fails, seen or unseen", "no log of it as never retrieved", runs(failure_is_logged)),
    "itself": Question("a fetch asks for its own key", "an error that says so, at once", runs(asks_itself)),
    "circle": Question("A's fetch asks for B, and B's for A", "an error that says so, at once", runs(asks_in_a_circle)),
    "spellings": Question("one call is spelt three ways", "one key", runs(spellings)),
    "types": Question('the argument is 1, 1.0, True, "1"', "four keys", runs(types_differ)),
    "list": Question("an argument is a list", "kept like any other", runs(argument_is_a_list)),
    "instances": Question("a method is called on two instances", "each its own", runs(two_instances)),
    "addresses": Question("instances come and go", "none gets a dead one's value", runs(instances_come_and_go)),
    "alive": Question("an instance is dropped", "the cache does not keep it", runs(instance_is_kept_alive)),
    "none": Question("the answer is None", "kept like any other", runs(none_is_kept)),
    "mutated": Question("a caller changes the result", "only his own", runs(result_is_mutated)),
    "invalidated": Question(
        "a key is invalidated while loading", "later callers get the new value", runs(invalidated_while_loading)
    ),
    "bounded": Question("a thousand keys come by", "memory is bounded", runs(many_keys)),
    "evicted": Question(
        "the cache is full while a fetch runs", "it is still joined: one fetch", runs(fetch_is_evicted)
    ),
    "lifetime": Question("a lifetime begins", "at the end of the fetch", runs(lifetime_begins)),
    "loops": Question("a second event loop comes", "answered", second_loop),
    "dead loop": Question("a loop dies with a fetch in flight", "the next loop is answered", loop_dies),
    "inspected": Question("a framework asks whether it is async", "yes", still_a_coroutine_function),
}

TRAITS = {"T": "types", "A": "spellings", "B": "bounded", "E": "lifetime", "D": "first"}
"""What a speed row says of its subject, each found by a probe: typed keys, arguments bound, bounded, lifetime from the
end, detached fetch.
"""
