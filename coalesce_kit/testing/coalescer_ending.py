"""The part of a coalescer's contract that is about looking at it and ending it, and about what remains of a fetch."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, Final

from ..errors import CoalescerClosedError
from ..protocols import FlightTerms
from .coalescer_stage import PATIENCE_SECONDS, CoalescerStage
from .contract_tools import HeldFetch, Surroundings, begin, ends, soon, turns
from .leaks import settle

_KEYS: Final = 10


class EndingContract(CoalescerStage):
    """What is seen of fetches, how they are ended, and that they leave nothing."""

    # ---- looking and ending ----

    async def test_what_is_forgotten_is_not_joined(self) -> None:
        """``forget`` detaches a fetch: it keeps its callers, and the next one makes another."""
        fetch = HeldFetch()
        async with self.made() as coalescer:
            assert coalescer.forget("key") is False
            early = await begin(coalescer.get_or_fetch("key", fetch))
            assert coalescer.forget("key") is True
            late = await begin(coalescer.get_or_fetch("key", fetch))
            fetch.answer("old")
            fetch.answer("new")
            assert await ends([*early, *late]) == ["old", "new"]

    async def test_flights_are_seen(self) -> None:
        """``flights`` shows each fetch in the air with its key and waiters, and none when it has ended."""
        fetch = HeldFetch()
        async with self.made() as coalescer:
            crowd = await begin(*(coalescer.get_or_fetch("key", fetch) for _ in range(4)))
            (flight,) = coalescer.flights()
            assert (flight.key, flight.waiters, flight.zombie) == ("key", 3, False)
            assert flight.age_seconds >= 0
            fetch.answer("answer")
            await ends(crowd)

    async def test_closing_lets_fetches_end(self) -> None:
        """``aclose`` waits for what is in the air, refuses new calls, and says what became of it."""
        fetch = HeldFetch()
        async with self.made() as coalescer:
            crowd = await begin(*(coalescer.get_or_fetch("key", fetch) for _ in range(2)))
            (closing,) = await begin(coalescer.aclose(deadline_seconds=60))
            (refused,) = await ends(await begin(coalescer.get_or_fetch("other", soon("too late"))))
            assert isinstance(refused, CoalescerClosedError)
            fetch.answer("answer")
            assert await ends(crowd) == ["answer", "answer"]
            report = await closing
            assert (report.finished, report.cut) == (1, ())

    async def test_closing_cuts_what_does_not_end(self) -> None:
        """At the deadline fetches are cancelled, their callers get an error that is no cancellation of theirs."""
        fetch = HeldFetch()
        async with self.made() as coalescer:
            crowd = await begin(*(coalescer.get_or_fetch("key", fetch) for _ in range(2)))
            report = await coalescer.aclose(deadline_seconds=0)
            got = await ends(crowd)
            assert (report.finished, len(report.cut)) == (0, 1)
            assert all(isinstance(error, Exception) for error in got)
            assert fetch.cancelled == 1

    async def test_nothing_is_remembered(self) -> None:
        """After the last caller has gone, the coalescer holds neither key nor fetch nor answer nor failure."""
        async with self.made() as coalescer:
            kinds: tuple[type, ...] = (_Thing, _Failure)
            for kind in kinds:
                outcome = kind()
                key, fetch = _Thing(), soon(outcome)
                references = [weakref.ref(thing) for thing in (key, fetch, outcome)]
                await ends(await begin(coalescer.get_or_fetch(key, fetch), coalescer.get_or_fetch(key, fetch)))
                del key, fetch, outcome
                await turns()
                gc.collect()
                assert [reference() for reference in references] == [None] * 3

    async def test_nothing_grows_with_the_keys(self) -> None:
        """However many keys were asked for: what stays until closing, a task that sweeps perhaps, is not one each."""
        terms = FlightTerms(max_wait_seconds=60, fetch_timeout_seconds=60)
        async with self.made() as coalescer:
            surroundings = Surroundings()
            stays: list[int] = []
            for turn in range(_KEYS):
                await ends(await begin(*(coalescer.get_or_fetch(turn, soon(turn), terms=terms) for _ in range(2))))
                await settle(coalescer)
                stays.append(len(surroundings.since()))
            assert stays[-1] <= stays[0], f"tasks and timers that stay, key after key: {stays}"

    # ---- loops ----

    async def test_loops_come_and_go(self) -> None:
        """A loop ends with a fetch in the air, and others follow it: no key is stuck, and each call is answered."""
        fetch = HeldFetch()
        async with self.made() as coalescer:

            async def leave_one_in_the_air() -> str:
                await begin(*(coalescer.get_or_fetch("key", fetch) for _ in range(2)))
                return "left"

            answers = [
                _in_a_loop_of_its_own(leave_one_in_the_air),
                _in_a_loop_of_its_own(lambda: coalescer.get_or_fetch("key", soon("second"))),
                _in_a_loop_of_its_own(lambda: coalescer.get_or_fetch("key", soon("third"))),
                await coalescer.get_or_fetch("key", soon("fourth")),
            ]
            assert answers == ["left", "second", "third", "fourth"]


def _in_a_loop_of_its_own(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run ``work()`` in another thread's loop while this one stands still; return what it returned or raised."""
    ended: list[Any] = [TimeoutError(f"it has not ended within {PATIENCE_SECONDS:g} s")]

    def live() -> None:
        try:
            ended.insert(0, asyncio.run(work()))
        except BaseException as error:
            ended.insert(0, error)

    thread = threading.Thread(target=live, daemon=True)
    thread.start()
    thread.join(PATIENCE_SECONDS)
    return ended[0]


class _Thing:
    """Something that can be weakly referenced."""


class _Failure(Exception):  # noqa: N818  # it is a thing that can be raised, and no kind of error
    """The same, raised."""
