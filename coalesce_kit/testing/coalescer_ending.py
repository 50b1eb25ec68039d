"""The part of a coalescer's contract that is about looking at it and ending it, and about what remains of a fetch."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, Final

from ..errors import CoalescerClosedError
from ..protocols import CloseReport, FlightTerms
from .coalescer_stage import PATIENCE_SECONDS, CoalescerStage
from .contract_tools import HeldFetch, Surroundings, answered, begin, ends, soon, turns
from .leaks import settle

_KEYS: Final = 10
_CANCELLATIONS: Final = 4
_ENDING_SECONDS: Final = 0.1


class EndingContract(CoalescerStage):
    """What is seen of fetches, how they are ended, and that they leave nothing."""

    # ---- looking and ending ----

    async def test_what_is_forgotten_is_not_joined(self) -> None:
        """``forget`` detaches a fetch: it keeps its callers, and the next one makes another."""
        fetch = HeldFetch()
        async with self.made() as coalescer:
            assert coalescer.forget("key") is False, "forget() returns False where no fetch was in flight"
            early = await begin(coalescer.get_or_fetch("key", fetch))
            assert coalescer.forget("key") is True, "forget() returns True where it has detached a fetch"
            late = await begin(coalescer.get_or_fetch("key", fetch))
            fetch.answer("old")
            fetch.answer("new")
            got = await ends([*early, *late])
            assert got == ["old", "new"], "who asks after forget() gets the answer of a fetch of its own"

    async def test_flights_are_seen(self) -> None:
        """``flights`` shows each fetch in the air with its key and waiters, and none when it has ended."""
        fetch = HeldFetch()
        async with self.made() as coalescer:
            crowd = await begin(*(coalescer.get_or_fetch("key", fetch) for _ in range(4)))
            flights = coalescer.flights()
            assert len(flights) == 1, f"one fetch is in the air, but flights() shows {flights}"
            seen = (flights[0].key, flights[0].waiters, flights[0].zombie)
            assert seen == ("key", 3, False), (
                "key, waiters (all callers but the one who began it), whether it is a zombie"
            )
            assert flights[0].age_seconds >= 0
            fetch.answer("answer")
            await ends(crowd)

    async def test_closing_lets_fetches_end(self) -> None:
        """``aclose`` waits for what is in the air, refuses new calls, and says what became of it."""
        fetch = HeldFetch()
        async with self.made() as coalescer:
            crowd = await begin(*(coalescer.get_or_fetch("key", fetch) for _ in range(2)))
            fetch.assert_shared()
            (closing,) = await begin(coalescer.aclose(deadline_seconds=60))
            (refused,) = await ends(await begin(coalescer.get_or_fetch("other", soon("too late"))))
            assert isinstance(refused, CoalescerClosedError), (
                f"once aclose() has begun, a new call gets CoalescerClosedError, but this one got {refused!r}"
            )
            fetch.answer("answer")
            assert await ends(crowd) == ["answer", "answer"], "before its deadline aclose() leaves callers their answer"
            (report,) = await ends([closing])
            assert report == CloseReport(1), "aclose() returns what became of the fetches: one finished, none was cut"

    async def test_closing_cuts_what_does_not_end(self) -> None:
        """At the deadline fetches are cancelled, their callers get an error that is no cancellation of theirs."""
        fetch = HeldFetch()
        async with self.made() as coalescer:
            crowd = await begin(*(coalescer.get_or_fetch("key", fetch) for _ in range(2)))
            fetch.assert_shared()
            report = await coalescer.aclose(deadline_seconds=0)
            assert isinstance(report, CloseReport), f"aclose() returns a CloseReport of what was cut, not {report!r}"
            got = await ends(crowd)
            assert (report.finished, len(report.cut)) == (0, 1), f"one fetch was cut, but aclose() returned {report}"
            assert all(isinstance(error, Exception) for error in got), (
                f"callers of a fetch that aclose() cuts get an error, and neither an answer nor a cancellation: {got}"
            )
            assert fetch.cancelled == 1, "at its deadline aclose() cancels the fetch"

    async def test_nothing_is_remembered(self) -> None:
        """After the last caller has gone, the coalescer holds neither key nor fetch nor answer nor failure."""
        async with self.made() as coalescer:
            kinds: tuple[type, ...] = (_Thing, _Failure)
            for kind in kinds:
                outcome = kind()
                key, fetch = _Thing(), soon(outcome)
                things = {"the key": key, "the fetch": fetch, "what it returned or raised": outcome}
                references = {name: weakref.ref(thing) for name, thing in things.items()}
                await ends(await begin(coalescer.get_or_fetch(key, fetch), coalescer.get_or_fetch(key, fetch)))
                del key, fetch, outcome, things
                await turns()
                gc.collect()
                held = [name for name, reference in references.items() if reference() is not None]
                assert not held, (
                    f"after its last caller has gone, the coalescer still holds {', '.join(held)}: what it notes of a "
                    "fetch has to be the text of the key and numbers, and bounded"
                )

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
            assert stays[-1] <= stays[0], (
                f"tasks and timers that stay must not grow with the keys, but they do: {stays}"
            )

    # ---- loops ----

    async def test_loops_come_and_go(self) -> None:
        """A loop ends with a fetch in the air, and others follow it: no key is stuck, and each call is answered."""
        fetch = HeldFetch()
        async with self.made() as coalescer:

            async def leave_one_in_the_air() -> str:
                await begin(*(coalescer.get_or_fetch("key", fetch) for _ in range(2)))
                return "left"

            assert _in_a_loop_of_its_own(leave_one_in_the_air) == "left"
            for turn in ("second", "third"):
                got = _in_a_loop_of_its_own(functools.partial(coalescer.get_or_fetch, "key", soon(turn)))
                assert got == turn, f"a loop has ended with a fetch in the air, and a call of the {turn} got {got!r}"
            got = await answered(coalescer.get_or_fetch("key", soon("fourth")))
            assert got == "fourth", f"loops have come and gone, and a call of the fourth got {got!r}"


def _in_a_loop_of_its_own(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run ``work()`` in another thread's loop while this one stands still; return what it returned or raised."""
    ended: list[Any] = [TimeoutError(f"it has not ended within {PATIENCE_SECONDS:g} s")]
    loops: list[asyncio.AbstractEventLoop] = []

    async def patient() -> Any:
        surroundings = Surroundings()
        loops.append(asyncio.get_running_loop())
        try:
            async with asyncio.timeout(PATIENCE_SECONDS) as limit:
                return await answered(work())
        except BaseException:
            await surroundings.end()
            if limit.expired():
                return ended[0]
            raise

    def live() -> None:
        try:
            ended.insert(0, asyncio.run(patient()))
        except BaseException as error:
            ended.insert(0, error)

    thread = threading.Thread(target=live, daemon=True)
    thread.start()
    thread.join(2 * PATIENCE_SECONDS)
    if thread.is_alive():  # it is ending, and has cancelled once what is still there
        for _ in range(_CANCELLATIONS):
            with contextlib.suppress(RuntimeError):  # it has ended by now
                loops[0].call_soon_threadsafe(_cancel_all, loops[0])
            thread.join(_ENDING_SECONDS)
    return ended[0]


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):
        task.cancel()


class _Thing:
    """Something that can be weakly referenced."""


class _Failure(Exception):  # noqa: N818  # it is a thing that can be raised, and no kind of error
    """The same, raised."""
