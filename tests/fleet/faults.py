"""The faults: each a small story of three workers and a server, and what it must come to.

A story returns what it expects of one key, beside what must hold of every log (``invariants``).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tests.fleet.conductor import LEASE_SECONDS, Ended, Fleet, WorkerProcess
from tests.fleet.journal import entries
from tests.fleet.proxy import Direction, Traffic, Trouble, proxy_to

KEY = "k1"
FREEZE_SECONDS = 2.2 * LEASE_SECONDS


@dataclass
class Expected:
    """What a story must come to, for its key.

    Attributes:
        fetches: how often the function ran: at least and at most.
        answered: how many callers got a value, at least.
        refused: how many publishes were fenced off, at least.
        key: which key that is.
    """

    fetches: tuple[int, int]
    answered: int
    refused: int = 0
    key: str = KEY


Story = Callable[[Fleet], Awaitable[Expected]]
FAULTS: dict[str, Story] = {}


def fault(name: str) -> Callable[[Story], Story]:
    """List a story under a name: the fault, then when it strikes."""

    def note(story: Story) -> Story:
        FAULTS[name] = story
        return story

    return note


async def at_the_step(fleet: Fleet, leader: WorkerProcess, step: str, number: signal.Signals) -> asyncio.Future[Any]:
    """Have a worker lead and be struck at a step; return when it leads, or was struck before."""
    await leader.arm(step, number)
    calling = leader.tell("call", key=KEY, callers=5)
    await fleet.until(
        lambda entry: (
            entry["who"] == leader.name
            and (entry["what"] == "signal" or (entry.get("answer") == "Won" and entry["key"] == KEY))
        )
    )
    return calling


STRUCK: list[tuple[str, tuple[int, int], tuple[int, int], int]] = [
    # step, fetches when killed there, fetches when frozen there, late publishes that are refused
    ("acquire to be sent", (1, 1), (1, 1), 0),
    ("lease won", (1, 1), (2, 2), 1),
    ("function running", (2, 2), (2, 2), 1),
    ("lease renewed", (2, 2), (2, 2), 1),
    ("publish to be sent", (2, 2), (2, 2), 1),
    ("publish answered", (1, 1), (1, 1), 0),
]


def struck(step: str, kill: tuple[int, int], freeze: tuple[int, int], refused: int) -> None:
    fetch = 1.6 * LEASE_SECONDS if step == "lease renewed" else 0.3

    @fault(f"leader killed · {step}")
    async def killed(fleet: Fleet) -> Expected:
        leader, *others = await fleet.spawn_all("a", "b", "c", fetch=fetch)
        calling = await at_the_step(fleet, leader, step, signal.SIGKILL)
        await asyncio.gather(*(other.call(KEY) for other in others))
        with contextlib.suppress(Ended):
            await calling
        return Expected(kill, answered=10)

    @fault(f"leader frozen · {step}")
    async def frozen(fleet: Fleet) -> Expected:
        leader, *others = await fleet.spawn_all("a", "b", "c", fetch=fetch)
        calling = await at_the_step(fleet, leader, step, signal.SIGSTOP)
        waiting = asyncio.gather(*(other.call(KEY) for other in others))
        await fleet.until_noted("signal", who=leader.name)
        await asyncio.sleep(FREEZE_SECONDS)  # longer than its lease
        await waiting
        fleet.thaw(leader)
        await calling
        return Expected(freeze, answered=15, refused=refused)


for case in STRUCK:
    struck(*case)


async def led(fleet: Fleet, *, fetch: float = 0.8) -> tuple[list[WorkerProcess], asyncio.Future[Any]]:
    """Three workers, of which the first leads and the others wait."""
    leader, *others = await fleet.spawn_all("a", "b", "c", fetch=fetch)
    calling = [leader.call(KEY)]
    futures = [asyncio.ensure_future(one) for one in calling]
    await fleet.until_noted("fetch", who="a", key=KEY)
    futures += [asyncio.ensure_future(other.call(KEY)) for other in others]
    await fleet.until(lambda entry: entry["what"] == "acquire" and entry["answer"] == "Wait")
    return [leader, *others], asyncio.gather(*futures)


@fault("server killed and restarted · function running")
async def restarted(fleet: Fleet) -> Expected:
    _, calling = await led(fleet)
    with fleet.losing_data("restart"):
        fleet.server.kill()
        await asyncio.sleep(0.1)
        await asyncio.to_thread(fleet.server.start)
    await calling
    return Expected((2, 3), answered=15)


@fault("server lost everything · function running")
async def flushed(fleet: Fleet) -> Expected:
    _, calling = await led(fleet)
    with fleet.losing_data("FLUSHALL"):
        fleet.server.say("FLUSHALL")
    await calling
    return Expected((2, 2), answered=15, refused=1)


@fault("record evicted · function running")
async def evicted(fleet: Fleet) -> Expected:
    _, calling = await led(fleet)
    with fleet.losing_data("eviction"):
        keys = fleet.server.say("KEYS", "*chaos%3Ak1").split(b"\r\n")
        for key in keys[2::2]:
            fleet.server.say("DEL", key.decode())
    await calling
    return Expected((2, 2), answered=15, refused=1)


@fault("server down · before and while calls are made")
async def down(fleet: Fleet) -> Expected:
    workers = await fleet.spawn_all("a", "b", "c", ttl=60)
    first, second, _ = workers
    await asyncio.gather(*(worker.call("k2") for worker in workers))
    with fleet.losing_data("crash"):
        fleet.server.kill()
        await asyncio.gather(*(worker.call(KEY) for worker in workers))
        await first.change("k2")
        await first.call("k2")
        numbers = await first.ask("numbers")
        assert numbers["degraded"], numbers
        assert numbers["pending"] >= 1, numbers
        await asyncio.to_thread(fleet.server.start)
    async with asyncio.timeout(20):
        while True:  # told of what it had missed, and coherent again
            await asyncio.gather(*(worker.call("k2", callers=1) for worker in workers))
            numbers = [await worker.ask("numbers") for worker in workers]
            served = {entry["number"] for entry in entries(fleet.log)[-30:] if entry["what"] == "call"}
            if not any(one["degraded"] or one["pending"] for one in numbers) and served == {1}:
                break
            await asyncio.sleep(0.1)
    await second.change("k2")
    await asyncio.gather(*(worker.call("k2") for worker in workers))
    return Expected((3, 3), answered=15)


@fault("server paused · function running")
async def paused(fleet: Fleet) -> Expected:
    _, calling = await led(fleet, fetch=0.4)
    fleet.server.freeze()
    await asyncio.sleep(1.5 * LEASE_SECONDS)
    fleet.server.thaw()
    await calling
    return Expected((1, 3), answered=15)


@fault("server out of memory · before calls are made")
async def full(fleet: Fleet) -> Expected:
    workers = await fleet.spawn_all("a", "b", "c")
    fleet.server.say("CONFIG", "SET", "maxmemory", "1")
    try:
        await asyncio.gather(*(worker.call(KEY) for worker in workers))
    finally:
        fleet.server.say("CONFIG", "SET", "maxmemory", "0")
    return Expected((1, 3), answered=15)


@fault("server out of memory · function running")
async def filled(fleet: Fleet) -> Expected:
    _, calling = await led(fleet)
    fleet.server.say("CONFIG", "SET", "maxmemory", "1")
    await calling
    fleet.server.say("CONFIG", "SET", "maxmemory", "0")
    return Expected((1, 1), answered=15)


@fault("scripts flushed · every 20 ms under load")
async def scripts(fleet: Fleet) -> Expected:
    workers = await fleet.spawn_all("a", "b", "c", fetch=0.02)
    calls = [worker.call(f"k{number}", callers=2) for worker in workers for number in range(1, 30)]
    calling = asyncio.gather(*calls)
    while not calling.done():
        fleet.server.say("SCRIPT", "FLUSH")
        await asyncio.sleep(0.02)
    await calling
    return Expected((1, 1), answered=6)


@fault("connections killed by the server · function running")
async def disconnected(fleet: Fleet) -> Expected:
    _, calling = await led(fleet)
    for _ in range(3):
        for kind in ("normal", "pubsub"):
            fleet.server.say("CLIENT", "KILL", "TYPE", kind)
        await asyncio.sleep(0.1)
    await calling
    return Expected((1, 2), answered=15)


@fault("event loop blocked for a second · while nobody calls")
async def blocked(fleet: Fleet) -> Expected:
    first, *_ = await fleet.spawn_all("a", "b")
    blocking = first.tell("block", seconds=1.0)
    calling = first.tell("call", key=KEY, callers=5)
    await asyncio.gather(blocking, calling)
    numbers = await first.ask("numbers")
    assert not numbers["degraded"], numbers
    return Expected((1, 1), answered=5)


@fault("event loop blocked longer than the lease · function running")
async def stalled(fleet: Fleet) -> Expected:
    workers, calling = await led(fleet)
    await workers[0].ask("block", seconds=2 * LEASE_SECONDS)
    await calling
    return Expected((2, 2), answered=15, refused=1)


@fault("leader frozen, another's invalidation not heard · function running")
async def overtaken(fleet: Fleet) -> Expected:
    async with proxy_to(fleet.server.port) as proxy:
        leader = await fleet.spawn("a", url=proxy.url)
        (other,) = await fleet.spawn_all("b")
        await leader.call("k9", callers=1)
        calling = await at_the_step(fleet, leader, "function running", signal.SIGSTOP)
        await fleet.until_noted("signal", who=leader.name)
        with proxy.making(Trouble("to client", "signals")):
            await other.change(KEY)
            late = leader.tell("call", key=KEY, callers=5)  # they are there when it goes on
            await asyncio.sleep(FREEZE_SECONDS)  # longer than coherence_seconds
            fleet.thaw(leader)
            await asyncio.gather(calling, late)
        await other.call(KEY)
    return Expected((2, 2), answered=15, refused=1)


PROXIED: list[tuple[str, Direction, Traffic, float | None, int | None]] = [
    ("replies swallowed, then cut", "to client", "commands", None, 1),
    ("questions swallowed, then cut", "to server", "commands", None, 1),
    ("replies swallowed in silence", "to client", "commands", None, None),
    ("questions swallowed in silence", "to server", "commands", None, None),
    ("everything delayed by 0.2 s", "to client", "all", 0.2, None),
    ("everything delayed by 0.8 s", "to server", "all", 0.8, None),
    ("signals swallowed", "to client", "signals", None, None),
]


def proxied(what: str, direction: Direction, traffic: Traffic, seconds: float | None, cut_after: int | None) -> None:
    trouble = Trouble(direction, traffic, seconds, cut_after)

    @fault(f"{what} · the leader's, function running")
    async def leading(fleet: Fleet) -> Expected:
        async with proxy_to(fleet.server.port) as proxy:
            leader = await fleet.spawn("a", url=proxy.url)
            others = await asyncio.gather(fleet.spawn("b"), fleet.spawn("c"))
            await asyncio.gather(*(one.call("k9", callers=1) for one in (leader, *others)))
            calling = asyncio.ensure_future(leader.call(KEY))
            await fleet.until_noted("fetch", who="a", key=KEY)
            waiting = asyncio.gather(*(other.call(KEY) for other in others))
            with proxy.making(trouble):
                await asyncio.gather(calling, waiting)
            await leader.call(KEY)
        return Expected((1, 3), answered=20)

    @fault(f"{what} · a waiter's, while it waits")
    async def waiting(fleet: Fleet) -> Expected:
        async with proxy_to(fleet.server.port) as proxy:
            waiter = await fleet.spawn("w", url=proxy.url)
            leader, other = await fleet.spawn_all("a", "b", fetch=0.8)
            await waiter.call("k9", callers=1)
            calling = asyncio.ensure_future(leader.call(KEY))
            await fleet.until_noted("fetch", who="a", key=KEY)
            calls = asyncio.gather(waiter.call(KEY), other.call(KEY))
            await fleet.until_noted("acquire", who="w", answer="Wait")
            with proxy.making(trouble):
                await asyncio.gather(calling, calls)
            await other.change(KEY)
            await asyncio.gather(waiter.call(KEY), other.call(KEY))
        return Expected((2, 4), answered=25)


for one in PROXIED:
    proxied(*one)


@fault("none · while others invalidate")
async def healthy(fleet: Fleet) -> Expected:
    listener, other = await fleet.spawn_all("w", "a", fetch=0.02)
    await asyncio.gather(listener.call(KEY), other.call(KEY))
    for number in range(1, 6):
        await other.change(KEY)
        await fleet.until(lambda _, most=number: heard(fleet, "w") >= most)
        await asyncio.gather(listener.call(KEY), other.call(KEY))
    return Expected((6, 6), answered=60)


def heard(fleet: Fleet, who: str) -> int:
    """How many announcements a worker has heard."""
    return sum(entry["what"] == "told" and entry["who"] == who for entry in entries(fleet.log))


@fault("signals swallowed · while others invalidate")
async def deaf(fleet: Fleet) -> Expected:
    async with proxy_to(fleet.server.port) as proxy:
        deaf_one = await fleet.spawn("w", url=proxy.url, fetch=0.02)
        (other,) = await fleet.spawn_all("a", fetch=0.02)
        await asyncio.gather(deaf_one.call(KEY), other.call(KEY))
        with proxy.making(Trouble("to client", "signals")):
            until = time.monotonic() + 4
            while time.monotonic() < until:
                await other.change(KEY)
                await asyncio.gather(deaf_one.call(KEY), other.call(KEY))
                await asyncio.sleep(0.05)
        await other.change(KEY)
        await asyncio.gather(deaf_one.call(KEY), other.call(KEY))
    return Expected((3, 10_000), answered=10)


async def storm(fleet: Fleet, *, seed: int, seconds: float, consistency: str) -> Expected:
    """Everything at once: callers, invalidations, kills, freezes, cuts, restarts."""
    dice = random.Random(seed)
    options = {"consistency": consistency, "fetch": 0.05, "ttl": 0.5}
    async with proxy_to(fleet.server.port) as proxy:
        names = iter(range(1000))
        workers = list(
            await asyncio.gather(*(fleet.spawn(f"w{next(names)}", url=proxy.url, **options) for _ in range(3)))
        )
        calls: set[asyncio.Future[Any]] = set()

        def tell(worker: WorkerProcess, do: str, **what: Any) -> None:
            telling = worker.tell(do, **what)
            calls.add(telling)
            telling.add_done_callback(lambda done: done.exception())

        async def strike() -> None:
            what = dice.randrange(8)
            if what == 0:
                victim = workers.pop(dice.randrange(len(workers)))
                fleet.journal.note("killed", worker=victim.name)
                victim.kill()
                workers.append(await fleet.spawn(f"w{next(names)}", url=proxy.url, **options))
            elif what == 1:
                victim = dice.choice(workers)
                fleet.journal.note("signal", step="storm", signal="SIGSTOP", who=victim.name)
                victim.kill(signal.SIGSTOP)
                await asyncio.sleep(dice.choice([0.3, 1.5 * LEASE_SECONDS]))
                fleet.thaw(victim)
            elif what == 2:
                with fleet.losing_data("restart"):
                    fleet.server.kill()
                    await asyncio.to_thread(fleet.server.start)
            elif what == 3:
                proxy.cut(dice.choice(["commands", "signals", "all"]))
            elif what in (4, 5):
                direction: Direction = dice.choice(["to client", "to server"])
                with proxy.making(Trouble(direction, dice.choice(["commands", "signals"]), dice.choice([None, 0.1]))):
                    await asyncio.sleep(0.4)
            elif what == 6:
                with fleet.losing_data("FLUSHALL"):
                    fleet.server.say("FLUSHALL")
            else:
                fleet.server.say("SCRIPT", "FLUSH")

        until = time.monotonic() + seconds
        striking: asyncio.Future[None] | None = None
        while time.monotonic() < until:
            for worker in workers:
                tell(worker, "call", key=dice.choice([KEY, "k2"]), callers=2)
            if dice.random() < 0.3:
                tell(dice.choice(workers), "change", key=dice.choice([KEY, "k2"]))
            if striking is None or striking.done():
                if striking is not None:
                    striking.result()
                striking = asyncio.ensure_future(strike())
            await asyncio.sleep(0.05)
        if striking is not None:
            await striking
        async with asyncio.timeout(30):
            await asyncio.gather(*calls, return_exceptions=True)
    return Expected((1, 10_000), answered=1)


SEEDS = (1, 2)


def storms(seed: int) -> None:
    """List the storms of one seed."""
    for consistency in ("announced", "strict"):

        @fault(f"all together ({consistency}) · seed {seed}")
        async def story(fleet: Fleet, consistency: str = consistency) -> Expected:
            return await storm(fleet, seed=seed, seconds=6, consistency=consistency)


for number in SEEDS:
    storms(number)
