"""What a server's absence costs, measured: the part of ``acceptance`` in which something is out of order."""

from __future__ import annotations

import asyncio
import statistics
from typing import Any

from tests.fleet.acceptance import Figure, Size, about, measurement, new_fleet
from tests.fleet.conductor import Fleet, WorkerProcess

OPERATION_TIMEOUT_SECONDS = 0.5
CALLS = 60
TIME_OUTS = 3
"""So many in a row open the breaker."""


async def _one_after_the_other(worker: WorkerProcess, first: int) -> list[float]:
    """How long calls for cold keys take whose function takes no time."""
    return [(await worker.ask("call", key=f"k{first + number}", callers=1))["slowest"] for number in range(CALLS)]


def _latency(what: str, seconds: list[float], size: Size, *, most_slow: int) -> Figure:
    slow = sum(one > 0.05 for one in seconds)
    most_seconds = OPERATION_TIMEOUT_SECONDS + 0.1 + size.margin_seconds
    return Figure(
        f"added to {CALLS} calls, one after the other: {what}",
        f"p50 {statistics.median(seconds) * 1000:.1f} ms, slowest {max(seconds) * 1000:.0f} ms, {slow} above 50 ms",
        f"slowest one operation's time-out ({OPERATION_TIMEOUT_SECONDS:g} s) + 0.1 s, at most {most_slow} above 50 ms",
        max(seconds) <= most_seconds and slow <= most_slow,
    )


async def _until_healthy(worker: WorkerProcess, key: str) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while True:
            await worker.call(key, callers=1)
            numbers = await worker.ask("numbers")
            if not (numbers["degraded"] or numbers["pending"] or numbers["reasons"]):
                return numbers
            await asyncio.sleep(0.05)


@measurement("the server is down")
async def down(size: Size) -> list[Figure]:
    """A server that is gone, then one that accepts and says nothing; invalidations meanwhile; the return."""
    async with new_fleet() as fleet:
        one, other = await fleet.spawn_all("a", "b", fetch=0.0)
        await asyncio.gather(one.call("k20"), other.call("k20"))
        healthy = await _one_after_the_other(one, 100)
        fleet.server.freeze()
        silent = await _one_after_the_other(one, 200)
        change = asyncio.ensure_future(one.change("k20"))
        await fleet.until_noted("invalidate", key="k20")
        await change
        while_silent = await one.ask("numbers")
        fleet.server.thaw()
        after = await _until_healthy(one, "k21")
        await _until_served(fleet, other, "k20", 1)
        with fleet.losing_data("crash"):
            fleet.server.kill()
            gone = await _one_after_the_other(one, 300)
            while_gone = await one.ask("numbers")
            await asyncio.to_thread(fleet.server.start)
        await _until_healthy(one, "k22")
        back = await _one_after_the_other(one, 400)
        returned = await one.ask("numbers")
    told = [entry["told"] for entry in about(fleet.story, "invalidated", key="k20")]
    replayed = [entry for entry in about(fleet.story, "removed", who="a") if entry["answer"] == "done"]
    most = max(healthy) + 0.05
    is_back = max(back) <= max(most, 0.1 + size.margin_seconds) and returned["breaker"] == 0
    return [
        _latency("with the server", healthy, size, most_slow=1),
        _latency("the server is silent", silent, size, most_slow=TIME_OUTS + 2),
        _latency("the server is gone", gone, size, most_slow=2),
        Figure(
            "health while it is silent · gone",
            f"{_health(while_silent)} · {_health(while_gone)}",
            "degraded, breaker_open",
            all(one["health"] == "degraded" and "breaker_open" in one["reasons"] for one in (while_silent, while_gone)),
        ),
        Figure(
            "an invalidation while it is silent",
            f"told: {told[0]}; pending: {while_silent['pending']}; health: {', '.join(while_silent['reasons'])}",
            "told: False; pending: 1; invalidations_pending",
            (told[0], while_silent["pending"], "invalidations_pending" in while_silent["reasons"]) == (False, 1, True),
        ),
        Figure(
            "after its return",
            f"sent {len(replayed)} time; pending: {after['pending']}; the other process serves the new value",
            "sent once; pending: 0",
            (len(replayed), after["pending"]) == (1, 0),
        ),
        Figure(
            f"{CALLS} calls after the second return",
            f"p50 {statistics.median(back) * 1000:.1f} ms, slowest {max(back) * 1000:.0f} ms; health:"
            f" {_health(returned)}; breaker: {_breaker(returned)}",
            "as before; healthy; closed",
            is_back and returned["health"] == "healthy",
        ),
    ]


async def _until_served(fleet: Fleet, worker: WorkerProcess, key: str, number: int) -> None:
    async with asyncio.timeout(20):
        while (await worker.ask("call", key=key, callers=1))["numbers"] != [number]:  # in another process
            await asyncio.sleep(0.02)


def _health(numbers: dict[str, Any]) -> str:
    return " ".join([numbers["health"], *(f"({reason})" for reason in numbers["reasons"])])


def _breaker(numbers: dict[str, Any]) -> str:
    return ("closed", "half-open", "open")[numbers["breaker"]]


@measurement("the loop is blocked")
async def blocked(_size: Size) -> list[Figure]:
    """A loop that stands still for a second while questions are on their way."""
    async with new_fleet() as fleet:
        one, _ = await fleet.spawn_all("a", "b", fetch=0.0)
        blocking = one.tell("block", seconds=1.0)
        calls = [one.tell("call", key=f"k{100 + number}", callers=1) for number in range(20)]
        await asyncio.gather(blocking, *calls)
        for number in range(20):  # and while calls are under way
            calling = one.tell("call", key=f"k{200 + number}", callers=1)
            await asyncio.gather(calling, *([one.tell("block", seconds=1.0)] if number == 5 else []))
        numbers = await one.ask("numbers")
    return [
        Figure(
            "a loop blocked for 1 s, twice, questions on their way",
            f"breaker: {_breaker(numbers)}; unanswered questions: {numbers['store_errors']}; {_health(numbers)}",
            "closed; 0; healthy",
            (numbers["breaker"], numbers["store_errors"], numbers["health"]) == (0, 0, "healthy"),
        )
    ]
