"""Where other libraries for Python fail: each of their failures, by the letter of its case, as something that works."""

import asyncio
import gc
import inspect
import threading
import traceback
import weakref
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any

import pytest

from coalesce_kit import (
    CachePolicy,
    ConfigurationError,
    FetchCancelledError,
    KeyDerivationError,
    MemoryCache,
    RecursiveFetchError,
    UnshareableResultError,
    WaitTimeoutError,
    coalesced,
)
from coalesce_kit.testing.leaks import unretrieved
from tests.conftest import LoopFactory
from tests.fakes import Origin, after, keeping, outcomes, start, turns

virtual = pytest.mark.usefixtures("virtual_time")
on_every_loop = pytest.mark.on_every_loop


@on_every_loop
async def test_case_a_a_hundred_callers_of_one_key() -> None:
    """One fetch."""
    origin = Origin()
    odds = keeping(origin, ttl=1000)

    assert await after(origin, "value", *(odds() for _ in range(100))) == ["value"] * 100
    assert len(origin.calls) == 1


@on_every_loop
async def test_case_b1_spellings_of_one_call() -> None:
    """Positional, keyword and default are one key."""
    calls = 0

    @coalesced(ttl=1000)
    async def odds(x: int, y: int = 2) -> None:
        nonlocal calls
        calls += 1

    for call in (odds(1), odds(x=1), odds(1, y=2), odds(y=2, x=1)):
        await call
    assert calls == 1


@on_every_loop
@pytest.mark.parametrize(
    "calls",
    [[(1,), (1.0,), (True,), ("1",)], [("a:y:b", "c"), ("a", "b:y:c")], [(None,), ("",)], [((1, 2),), ([1, 2],)]],
    ids=str,
)
async def test_case_b2_calls_that_only_look_alike(calls: list[tuple[Any, ...]]) -> None:
    """Each has a result of its own."""

    @coalesced(ttl=1000)
    async def odds(*arguments: Any) -> Any:
        return arguments

    for _ in range(2):
        for arguments in calls:
            assert repr(await odds(*arguments)) == repr(arguments)


@on_every_loop
async def test_case_c_the_leader_is_cancelled() -> None:
    """The other ninety-nine get the value of the one fetch: no error, no None, no second fetch, no hang."""
    origin = Origin()
    odds = keeping(origin, ttl=1000)
    leader, *others = start(*(odds() for _ in range(100)))
    await turns()
    leader.cancel()
    await turns()
    origin.answer("value")

    assert await outcomes(others) == ["value"] * 99
    await outcomes([leader])
    assert len(origin.calls) == 1
    assert await odds() == "value"


@on_every_loop
async def test_case_d_a_waiter_is_cancelled() -> None:
    """Nobody else notices."""
    origin = Origin()
    odds = keeping(origin, ttl=1000)
    first, waiter, third = start(odds(), odds(), odds())
    await turns()
    waiter.cancel()
    await turns()
    origin.answer("value")

    assert await outcomes([first, third]) == ["value", "value"]
    await outcomes([waiter])


@on_every_loop
async def test_case_e_all_are_cancelled() -> None:
    """The fetch ends too, and the next innocent caller gets a fetch of its own."""
    origin = Origin()
    odds = keeping(origin, ttl=1000)
    callers = start(odds(), odds())
    await turns()
    for caller in callers:
        caller.cancel()
    await outcomes(callers)
    await turns()
    assert origin.working == 0

    assert await after(origin, "value", odds()) == "value"


@on_every_loop
async def test_case_e2_the_fetch_itself_is_cancelled() -> None:
    """Its callers get an error, the key is not poisoned."""
    broken = True

    @coalesced(ttl=1000)
    async def odds() -> str:
        if broken:
            raise asyncio.CancelledError
        return "value"

    assert [type(end) for end in await outcomes(start(odds(), odds()))] == [FetchCancelledError] * 2
    broken = False
    assert await odds() == "value"


@on_every_loop
async def test_case_f1_a_failure_is_shared_and_not_kept() -> None:
    """A hundred callers, one fetch, one failure each; the next call tries again."""
    origin = Origin()
    odds = keeping(origin, ttl=1000)
    callers = start(*(odds() for _ in range(100)))
    await turns()
    origin.fail(OSError("down"))

    assert [str(end) for end in await outcomes(callers)] == ["down"] * 100
    assert len(origin.calls) == 1
    assert await after(origin, "value", odds()) == "value"


@on_every_loop
@pytest.mark.parametrize("policy", [CachePolicy(ttl=1000), CachePolicy(error_ttl={OSError: 1000})], ids=["one", "kept"])
async def test_case_f2_tracebacks_do_not_grow(policy: CachePolicy) -> None:
    """Neither with the number of waiters, nor with how often a remembered failure is raised."""

    @coalesced(policy=policy)
    async def odds() -> None:
        await asyncio.sleep(0)
        raise OSError

    ends = await outcomes(start(*(odds() for _ in range(200))))
    lengths = [len(traceback.extract_tb(end.__traceback__)) for end in ends]
    for _ in range(50):
        with pytest.raises(OSError) as caught:
            await odds()
    assert max(lengths) < 12
    assert len(traceback.extract_tb(caught.value.__traceback__)) < 12


async def test_case_f3_no_noise() -> None:
    """A failure whose callers have all left, or that only a refresh met, is reported by nobody."""
    origin = Origin()
    odds = keeping(origin, policy=CachePolicy(ttl=0, stale_while_revalidate=1000))
    with unretrieved() as reports:
        odds.prime("old")
        await odds()
        await turns()
        origin.fail(OSError())
        await turns()
        callers = start(odds("another"), odds("another"))
        await turns()
        origin.fail(OSError())
        for caller in callers:
            caller.cancel()
        await outcomes(callers)
        await turns()
        gc.collect()

    assert reports == []


@on_every_loop
async def test_case_g_none_is_kept() -> None:
    """Twenty callers in a row, one fetch."""
    calls = 0

    @coalesced(ttl=1000)
    async def odds() -> None:
        nonlocal calls
        calls += 1

    for _ in range(20):
        assert await odds() is None  # type: ignore[func-returns-value]
    assert calls == 1


@on_every_loop
async def test_case_h_invalidation_during_a_fetch() -> None:
    """Newcomers do not join the stale fetch, and what it brings is not kept."""
    origin = Origin()
    odds = keeping(origin, ttl=1000)
    old = start(odds())
    await turns()
    odds.invalidate()
    new = start(odds())
    await turns()
    assert origin.working == 2
    origin.answer("old")
    origin.answer("new")

    assert await outcomes([*old, *new]) == ["old", "new"]
    assert await odds() == "new"


@virtual
@on_every_loop
@pytest.mark.parametrize("ends", ["well", "badly"])
async def test_case_h2_the_old_fetch_ends_later(ends: str) -> None:
    """It neither deletes the new entry, nor displaces it, nor shortens its life."""
    origin = Origin()
    odds = keeping(origin, ttl=10)
    old = start(odds())
    await turns()
    odds.invalidate()
    new = start(odds())
    await turns()
    first, second = origin._held
    second.set_result("new")
    await asyncio.sleep(5)
    if ends == "well":
        first.set_result("old")
    else:
        first.set_exception(OSError())
    await outcomes([*old, *new])
    await asyncio.sleep(4.9)

    assert await odds() == "new"
    assert len(origin.calls) == 2


request: ContextVar[str] = ContextVar("request", default="none")


@on_every_loop
async def test_case_i_context_variables() -> None:
    """The fetch sees its leader's, and what it sets stays with it."""

    @coalesced(ttl=1000)
    async def odds() -> str:
        seen = request.get()
        request.set("changed")
        return seen

    request.set("mine")
    assert await odds() == "mine"
    assert request.get() == "mine"


def test_case_j_a_loop_after_another_and_one_that_died(loop_factory: LoopFactory) -> None:
    """The key is not stuck, the value is not lost, and no error speaks of another loop."""
    calls = 0

    @coalesced(ttl=1000)
    async def odds(hangs: bool = False) -> int:
        nonlocal calls
        calls += 1
        if hangs and calls < 3:
            await asyncio.sleep(1000)
        return calls

    async def leave() -> None:
        start(odds(True))
        await turns()

    for _ in range(2):
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            assert runner.run(odds()) == 1
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(leave())
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        assert runner.run(odds(True)) == 3


def test_case_j2_two_threads(loop_factory: LoopFactory) -> None:
    """Each with a loop of its own: both are answered, and the second finds what the first had fetched."""
    ends: list[Any] = []

    @coalesced(ttl=1000)
    async def odds() -> str:
        await asyncio.sleep(0.001)
        return "value"

    def work() -> None:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            ends.extend(runner.run(odds()) for _ in range(3))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert ends == ["value"] * 6
    assert odds.stats().fetches <= 2


@on_every_loop
async def test_case_u_eager_tasks() -> None:
    """A fetch that never suspends, in tasks that begin at once: one fetch, and recursion is seen."""
    calls = 0

    @coalesced(ttl=1000)
    async def odds(league: str) -> str:
        nonlocal calls
        calls += 1
        return await odds(league) if league == "itself" else league

    assert await outcomes(start(*(odds("nba") for _ in range(10)))) == ["nba"] * 10
    assert calls == 1
    with pytest.raises(RecursiveFetchError):
        await odds("itself")


@on_every_loop
async def test_case_k1_methods_and_addresses_used_again() -> None:
    """Two hundred objects, one after another: none gets another's answer, and none is kept alive."""

    class Service:
        def __init__(self, name: int) -> None:
            self.name = name

        @coalesced(ttl=1000)
        async def odds(self) -> int:
            return self.name

    references = []
    for name in range(200):
        service = Service(name)
        assert await service.odds() == name
        references.append(weakref.ref(service))
        del service
    await turns()
    gc.collect()
    assert not any(reference() for reference in references)


@on_every_loop
async def test_case_k2_class_static_and_unhashable() -> None:
    """Class methods, static methods, and instances that have no hash."""

    class Service:
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            return True

        @coalesced(ttl=1000)
        async def odds(self, league: str) -> str:
            return league

        @classmethod
        @coalesced(ttl=1000)
        async def of_class(cls, league: str) -> str:
            return f"{cls.__name__} {league}"

        @staticmethod
        @coalesced(ttl=1000)
        async def static(league: str) -> str:
            return league

    service = Service()
    for _ in range(2):
        assert [await service.odds("a"), await Service.of_class("b"), await service.static("c")] == [
            "a",
            "Service b",
            "c",
        ]


async def test_case_l_it_is_still_the_function() -> None:
    """A coroutine function with its signature, which ``create_task`` and ``unwrap`` understand."""

    async def odds(league: str, limit: int = 5) -> str:
        """Return odds."""
        return league

    kept = coalesced(ttl=1000)(odds)
    assert inspect.iscoroutinefunction(kept)
    assert inspect.signature(kept) == inspect.signature(odds)
    assert (kept.__name__, kept.__doc__, inspect.unwrap(kept)) == ("odds", "Return odds.", odds)
    assert await asyncio.create_task(kept("nba")) == "nba"


def test_case_l2_types() -> None:
    """What mypy makes of it is tests/typing; at run time the attributes are there on functions and methods alike."""

    class Service:
        @coalesced(ttl=1000)
        async def odds(self, league: str) -> str:
            return league

    assert callable(Service.odds.invalidate)
    assert callable(Service().odds)


@virtual
@on_every_loop
async def test_case_m1_the_ttl_counts_from_the_end() -> None:
    """A fetch longer than the ttl is kept for the whole ttl, to the moment."""

    @coalesced(ttl=2)
    async def odds() -> float:
        await asyncio.sleep(5)
        return asyncio.get_running_loop().time()

    ended = await odds()
    await asyncio.sleep(1.99)
    assert await odds() == ended
    await asyncio.sleep(0.01)
    assert await odds() > ended


@virtual
@on_every_loop
async def test_case_m2_the_policies_together() -> None:
    """A ttl by result, stale while revalidating and stale on errors, in one decorator."""
    origin = Origin()
    policy = CachePolicy(ttl=lambda seconds: seconds, stale_while_revalidate=5, stale_if_error=50)
    odds = keeping(origin, policy=policy)
    await after(origin, 10, odds())
    await asyncio.sleep(16)
    (caller,) = start(odds())
    await turns()
    origin.fail(OSError())

    assert await caller == 10


@on_every_loop
async def test_case_n_mutable_results() -> None:
    """With ``copy`` one caller's change is seen by no other; without, all share one object, as documented."""

    async def odds() -> list[int]:
        return [1]

    copied, shared = coalesced(ttl=1000, copy=list)(odds), coalesced(ttl=1000)(odds)
    (await copied()).append(2)
    assert await copied() == [1]
    assert await shared() is await shared()


@on_every_loop
async def test_case_o_recursion() -> None:
    """A function that asks for itself, over another, gets an error at once and can still be cancelled."""

    @coalesced(ttl=1000)
    async def a() -> Any:
        return await b()

    @coalesced(ttl=1000)
    async def b() -> Any:
        return await a()

    for ask in (a, b):
        with pytest.raises(RecursiveFetchError):
            await ask()


@virtual
@on_every_loop
async def test_case_p_the_longest_wait() -> None:
    """Waiters are let go at their time, all with an error, and none of them fetches for itself."""
    origin = Origin()
    odds = keeping(origin, ttl=1000, max_wait_seconds=1)
    leader, *others = start(*(odds() for _ in range(10)))

    assert [type(end) for end in await outcomes(others)] == [WaitTimeoutError] * 9
    assert len(origin.calls) == 1
    origin.answer("value")
    assert await leader == "value"


async def test_case_r_async_generators() -> None:
    """Refused where they are decorated, and where one is returned: never kept exhausted."""
    with pytest.raises(ConfigurationError):

        @coalesced(ttl=1000)  # type: ignore[arg-type]  # which is the mistake
        async def streaming() -> AsyncIterator[int]:
            yield 1

    @coalesced(ttl=1000)
    async def returning() -> Any:
        return iter([1])

    for _ in range(2):
        with pytest.raises(UnshareableResultError):
            await returning()


@on_every_loop
async def test_case_s_unhashable_arguments() -> None:
    """Lists, dictionaries and sets make keys by what they hold; an object without identity is refused loudly."""
    calls: list[Any] = []

    @coalesced(ttl=1000)
    async def odds(value: Any) -> None:
        calls.append(value)

    for value in ([1, {"a": {2}}], [1, {"a": {2}}], [1, {"a": {3}}]):
        await odds(value)
    assert calls == [[1, {"a": {2}}], [1, {"a": {3}}]]
    with pytest.raises(KeyDerivationError):
        await odds(object())


@on_every_loop
async def test_case_t1_memory() -> None:
    """Ten thousand keys leave as many entries as there is room for, and not one lock, ticket or flight."""

    @coalesced(ttl=1000, cache=MemoryCache(max_entries=100))
    async def odds(number: int) -> int:
        return number

    for number in range(10_000):
        await odds(number)
    workings: Any = odds.__coalesced__  # type: ignore[attr-defined]
    numbers = odds.stats()

    assert (numbers.cached_entries, numbers.in_flight, len(workings._tickets)) == (100, 0, 0)


@on_every_loop
async def test_case_t2_the_size_limit_and_flights() -> None:
    """A cache with room for one does not make a herd of the second key's callers."""
    origin = Origin()
    odds = keeping(origin, ttl=1000, cache=MemoryCache(max_entries=1))
    callers = start(*(odds(key) for key in "abcabcabc"))
    await turns()
    assert len(origin.calls) == 3
    for key in "abc":
        origin.answer(key)

    assert await outcomes(callers) == [*"abcabcabc"]


@virtual
@on_every_loop
async def test_case_q_the_numbers_tell_a_hit_from_a_wait() -> None:
    """Hits, waits, fetches, failures: each in its own number, and together they are all calls."""
    origin = Origin()
    odds = keeping(origin, ttl=1000)
    await after(origin, "value", odds(), odds())
    await odds()
    (failing,) = start(odds("nfl"))
    await turns()
    origin.fail(OSError())
    await outcomes([failing])
    numbers = odds.stats()

    assert (numbers.led_requests, numbers.coalesced_requests, numbers.cache_hits) == (2, 1, 1)
    assert (numbers.fetches, numbers.fetch_errors, numbers.total_requests) == (2, 1, 4)
