"""What is timed: each function prepares one workload for one subject, and returns what runs one round of it.

A round is given how many operations it should run, about, and returns the CPU seconds of one. Both sides of a
comparison do the same work around the thing compared: the same ``gather``, the same loop, the same arguments.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import random
import resource
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from pathlib import Path
from time import process_time
from typing import Any, TypeAlias

from .children import SubjectError
from .subjects import Subject

Round: TypeAlias = Callable[[int], Awaitable[float]]

ANSWER = ["an answer"]


async def one(sport: object) -> object:
    """Stand for a function of one parameter."""
    del sport
    return ANSWER


async def fixtures(sport: object, live: object = True, limit: object = 5) -> object:
    """Stand for a function of three parameters."""
    del sport, live, limit
    return ANSWER


async def odds(self: object, league: object) -> object:
    """Stand for a method."""
    del self, league
    return ANSWER


async def prices(self: object, league: object, live: object = True, limit: object = 5) -> object:
    """Stand for a method of three parameters."""
    del self, league, live, limit
    return ANSWER


# ------------------------------------------------------------------------------------------------------------- hits


def hits_of_one(subject: Subject, size: int) -> Round:
    """One parameter, one key, fresh."""
    return _calling(subject.cached(one, size=size), ("nfl",))


def hits_of_three(subject: Subject, size: int) -> Round:
    """Three parameters, one key, fresh."""
    return _calling(subject.cached(fixtures, size=size), ("nfl", True, 5))


def hits_of_a_method(subject: Subject, size: int) -> Round:
    """A method of one instance, fresh."""
    service: Any = type("OddsService", (), {"odds": subject.cached(odds, size=size)})()

    async def run_round(operations: int) -> float:
        league = "nba"
        await service.odds(league)
        began = process_time()
        for _ in itertools.repeat(None, operations):
            await service.odds(league)  # through the attribute, as in a program
        return (process_time() - began) / operations

    return run_round


def hits_of_a_method_of_three(subject: Subject, size: int) -> Round:
    """A method of three parameters, one instance, fresh."""
    service: Any = type("OddsService", (), {"prices": subject.cached(prices, size=size)})()

    async def run_round(operations: int) -> float:
        league, live, limit = "nba", True, 5
        await service.prices(league, live, limit)
        began = process_time()
        for _ in itertools.repeat(None, operations):
            await service.prices(league, live, limit)
        return (process_time() - began) / operations

    return run_round


def hits_of_one_among_many(subject: Subject, size: int) -> Round:
    """One hot key, in a cache that is full of ``size`` of them."""
    call = subject.cached(fixtures, size=size)
    hot = _calling(call, ("team-0", True, 5))
    filled = False

    async def run_round(operations: int) -> float:
        nonlocal filled
        if not filled:
            for number in range(size):
                await call(f"team-{number}", True, 5)
            filled = True
        return await hot(operations)

    return run_round


def _calling(call: Callable[..., Any], args: tuple[Any, ...]) -> Round:
    async def run_round(operations: int) -> float:
        await call(*args)
        first, *others = args
        began = process_time()
        if others:
            second, third = others
            for _ in itertools.repeat(None, operations):
                await call(first, second, third)
        else:
            for _ in itertools.repeat(None, operations):
                await call(first)
        return (process_time() - began) / operations

    return run_round


def hits_of_many(subject: Subject, size: int) -> Round:
    """``size`` keys in a cache that is full of them, asked for by Zipf's law."""
    call = subject.cached(fixtures, size=size)
    names = [f"team-{number}" for number in range(size)]
    weights = list(itertools.accumulate(1 / rank for rank in range(1, size + 1)))
    asked = random.Random(1).choices(names, cum_weights=weights, k=1 << 16)
    filled = False

    async def run_round(operations: int) -> float:
        nonlocal filled
        if not filled:
            for name in names:
                await call(name, True, 5)
            filled = True
        keys = list(itertools.islice(itertools.cycle(asked), operations))
        began = process_time()
        for key in keys:
            await call(key, True, 5)
        return (process_time() - began) / operations

    return run_round


def misses(subject: Subject, size: int) -> Round:
    """A new key every time, on a cache that is full: a fetch that returns at once, a result kept, another evicted."""
    call = subject.cached(fixtures, size=size)
    numbers = itertools.count()
    full = False

    async def run_round(operations: int) -> float:
        nonlocal full
        if not full:
            for number in itertools.islice(numbers, size):
                await call(number, True, 5)
            full = True
        keys = list(itertools.islice(numbers, operations))
        began = process_time()
        for key in keys:
            await call(key, True, 5)
        return (process_time() - began) / operations

    return run_round


def puts(subject: Subject, size: int) -> Round:
    """A new key every time, put into a mapping that is full."""
    mapping: Any = subject.module.MAPPINGS[subject.style](size)
    numbers = itertools.count()
    for number in itertools.islice(numbers, size):
        mapping[one, int, number] = ANSWER

    async def run_round(operations: int) -> float:
        keys = [(one, int, number) for number in itertools.islice(numbers, operations)]
        began = process_time()
        for key in keys:
            mapping[key] = ANSWER
        return (process_time() - began) / operations

    return run_round


# ---------------------------------------------------------------------------------------------- waiting for another


def waiters(subject: Subject, size: int) -> Round:
    """``size`` callers on one key; the fetch ends when all are there.

    Raises:
        SubjectError: they do not share one fetch.
    """
    gate: asyncio.Future[None]
    fetches = 0

    async def one(sport: object) -> object:
        nonlocal fetches
        fetches += 1
        await gate
        return sport

    call = subject.shared(one)
    keys = itertools.count()

    async def herd() -> float:
        nonlocal gate, fetches
        gate = asyncio.get_running_loop().create_future()
        fetches = 0
        key = next(keys)
        callers = [call(key) for _ in range(size)]
        if not asyncio.iscoroutine(callers[0]):  # one object for all, perhaps, of which gather would await one
            callers = [_awaiting(caller) for caller in callers]
        seconds = await _timed_gather(callers, lambda: gate.set_result(None))
        if fetches > 1:
            raise SubjectError("does not coalesce")
        return seconds

    return _repeated(herd, size)


def bare_futures(_subject: None, size: int) -> Round:
    """``size`` callers who each await a future of their own, all of which are set together."""

    async def herd() -> float:
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[int]] = []

        async def caller() -> int:
            future: asyncio.Future[int] = loop.create_future()
            futures.append(future)
            return await future

        def release() -> None:
            for future in futures:
                future.set_result(1)

        return await _timed_gather([caller() for _ in range(size)], release)

    return _repeated(herd, size)


async def _awaiting(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


async def _timed_gather(callers: Iterable[Awaitable[Any]], release: Callable[[], None]) -> float:
    async def releaser() -> None:
        for _ in range(_STEPS_TO_THE_FETCH):
            await asyncio.sleep(0)
        release()

    began = process_time()
    await asyncio.gather(*callers, releaser())
    return process_time() - began


_STEPS_TO_THE_FETCH = 8
"""Turns of the loop after which every caller has joined and the fetch has begun, with every subject."""


def _repeated(herd: Callable[[], Awaitable[float]], size: int) -> Round:
    async def run_round(operations: int) -> float:
        herds = max(1, operations // size)
        return sum([await herd() for _ in range(herds)]) / (herds * size)

    return run_round


# -------------------------------------------------------------------------------------------------- leading alone


def leaders(subject: Subject, _size: int) -> Round:
    """Callers who come one after another, each with a key of its own: nobody to share with."""
    return _one_after_another(subject.shared(one))


def bare_tasks(_subject: None, _size: int) -> Round:
    """The same coroutine, each time in a task of its own: what any fetch costs that its caller may leave."""
    create_task = asyncio.get_running_loop().create_task
    return _one_after_another(lambda key: create_task(one(key)))


def _one_after_another(call: Callable[[int], Awaitable[Any]]) -> Round:
    numbers = itertools.count()

    async def run_round(operations: int) -> float:
        keys = list(itertools.islice(numbers, operations))
        began = process_time()
        for key in keys:
            await call(key)
        return (process_time() - began) / operations

    return run_round


# -------------------------------------------------------------------------------------------------------- looking on


def looks(subject: Subject, size: int) -> Round:
    """Looks at the numbers of ``size`` functions, each of which has answered, fetched and had a caller wait."""
    functions = [
        subject.module.decorate(ttl=86_400, name=f"{one.__qualname__} {number}")(one) for number in range(size)
    ]
    look = subject.module.LOOKS[subject.style]()
    called = False

    async def run_round(operations: int) -> float:
        nonlocal called
        if not called:
            for function in functions:
                await asyncio.gather(function("nfl"), function("nfl"))
            called = True
        began = process_time()
        for _ in itertools.repeat(None, operations):
            look()
        return (process_time() - began) / operations

    return run_round


# ---------------------------------------------------------------------------------------------------------- memory


def entry_bytes(subject: Subject, size: int) -> Round:
    """The memory of one result kept, its key included, the result itself not."""
    call = subject.cached(one, size=size)

    async def run_round(_operations: int) -> float:
        before = _resident_bytes()
        for number in range(size):
            await call(number)
        return (_resident_bytes() - before) / size

    return run_round


def waiter_bytes(subject: Subject, size: int) -> Round:
    """The memory of one caller who waits, its task included.

    Raises:
        SubjectError: the callers do not share one fetch.
    """
    gate = asyncio.Event()
    fetches = 0

    async def one(sport: object) -> object:
        nonlocal fetches
        fetches += 1
        await gate.wait()
        return sport

    call = subject.shared(one)

    async def run_round(_operations: int) -> float:
        await asyncio.sleep(0)
        found = await _bytes_of_tasks([_awaiting(call("nfl")) for _ in range(size)], gate.set)
        if fetches > 1:
            raise SubjectError("does not coalesce")
        return found

    return run_round


def bare_waiter_bytes(_subject: None, size: int) -> Round:
    """The memory of one caller who awaits a bare future, its task included."""

    async def run_round(_operations: int) -> float:
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[None]] = []

        async def caller() -> None:
            future: asyncio.Future[None] = loop.create_future()
            futures.append(future)
            await future

        def release() -> None:
            for future in futures:
                future.set_result(None)

        return await _bytes_of_tasks([caller() for _ in range(size)], release)

    return run_round


async def _bytes_of_tasks(callers: list[Coroutine[Any, Any, Any]], release: Callable[[], object]) -> float:
    before = _resident_bytes()
    tasks = [asyncio.ensure_future(caller) for caller in callers]
    for _ in range(_STEPS_TO_THE_FETCH):
        await asyncio.sleep(0)
    found = _resident_bytes() - before
    release()
    await asyncio.gather(*tasks)
    return found / len(tasks)


def _resident_bytes() -> float:
    """Return what the process holds: what is allocated in Rust or C counts like what Python allocates."""
    gc.collect()
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
