"""G13, with a cache: results are shared between loops, one after another and side by side in threads."""

import asyncio
import threading
from typing import Any

from coalesce_kit import CachePolicy, coalesced
from coalesce_kit.testing.clock import VirtualClock
from tests.conftest import LoopFactory
from tests.fakes import switching_threads_often


def run(loop_factory: LoopFactory, main: Any) -> Any:
    """Run a coroutine on a new loop, as ``asyncio.run`` does."""
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(main)


def test_g13_results_are_shared_by_successive_runs(loop_factory: LoopFactory) -> None:
    """What one ``asyncio.run`` had fetched is a hit in the next; values, failures and stale ones."""
    calls: list[str] = []

    @coalesced(policy=CachePolicy(ttl=10, stale_while_revalidate=10, error_ttl={LookupError: 10}))
    async def odds(league: str) -> str:
        calls.append(league)
        number = len(calls)
        await asyncio.sleep(0)
        if league == "none":
            raise LookupError
        return f"{league} {number}"

    async def both() -> list[Any]:
        ends = await asyncio.gather(odds("nba"), odds("none"), return_exceptions=True)
        for _ in range(10):
            await asyncio.sleep(0)
        return [end if isinstance(end, str) else type(end) for end in ends]

    time = VirtualClock()
    with time:
        assert run(loop_factory, both()) == ["nba 1", LookupError]
        assert run(loop_factory, both()) == ["nba 1", LookupError]
        assert calls == ["nba", "none"]
        time.advance(11)
        assert run(loop_factory, both()) == ["nba 1", LookupError]
        assert run(loop_factory, both())[0] in ("nba 3", "nba 4")
        assert sorted(calls) == ["nba", "nba", "none", "none"]


def test_g13_an_invalidation_between_runs_holds(loop_factory: LoopFactory) -> None:
    """With no loop running at all."""
    calls = 0

    @coalesced(ttl=1000)
    async def odds() -> int:
        nonlocal calls
        calls += 1
        return calls

    assert [run(loop_factory, odds()), run(loop_factory, odds())] == [1, 1]
    odds.invalidate()
    assert run(loop_factory, odds()) == 2
    odds.prime(7)
    assert run(loop_factory, odds()) == 7


def test_g13_results_are_shared_by_threads(loop_factory: LoopFactory) -> None:
    """Loops side by side find what any of them had fetched, and the numbers stay exact."""
    calls: list[int] = []
    threads, rounds, keys = 4, 300, 10

    @coalesced(ttl=1000)
    async def odds(number: int) -> int:
        calls.append(number)
        await asyncio.sleep(0)
        return number

    barrier = threading.Barrier(threads)
    wrong: list[Any] = []

    async def read() -> None:
        for step in range(rounds):
            number = step % keys
            if await odds(number) != number:
                wrong.append(number)

    def work() -> None:
        barrier.wait()
        run(loop_factory, read())

    with switching_threads_often():
        workers = [threading.Thread(target=work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    numbers = odds.stats()
    assert wrong == []
    assert numbers.total_requests == threads * rounds
    assert keys <= len(calls) == numbers.fetches <= threads * keys
    assert numbers.cached_entries == keys
