"""The part of a coalescer's contract that is about sharing: one fetch for all, failures, and callers who leave."""

from __future__ import annotations

import asyncio
import gc
from typing import Final

from ..errors import RecursiveFetchError
from .coalescer_stage import CoalescerStage
from .contract_tools import HeldFetch, StubbornFetch, answered, begin, ends, soon, turns
from .leaks import unretrieved

_MOST_BEGUN: Final = 3
"""How often a fetch that asks for itself is begun before it does not, so that a coalescer that shares nothing ends."""


class SharingContract(CoalescerStage):
    """Who shares what with whom."""

    # ---- sharing ----

    async def test_a_crowd_shares_one_fetch(self) -> None:
        """A hundred callers of one key make one fetch, and all get the object that it returned."""
        fetch, answer = HeldFetch(), object()
        async with self.made() as coalescer:
            crowd = await begin(*(coalescer.get_or_fetch("key", fetch) for _ in range(100)))
            fetch.assert_shared()
            fetch.answer(answer)
            assert all(got is answer for got in await ends(crowd)), "all get the very object that the fetch returned"
            fetch.assert_shared()

    async def test_keys_are_apart(self) -> None:
        """Callers of different keys have nothing to do with each other."""
        one, two = HeldFetch(), HeldFetch()
        async with self.made() as coalescer:
            callers = await begin(coalescer.get_or_fetch(("key", 1), one), coalescer.get_or_fetch(("key", 2), two))
            two.answer("two")
            one.answer("one")
            assert await ends(callers) == ["one", "two"], "callers of two keys get what the fetch of their own returned"

    async def test_who_comes_later_joins_although_the_first_has_left(self) -> None:
        """There is one fetch for as long as anybody waits for it, whoever began it."""
        fetch = HeldFetch()
        async with self.made() as coalescer:
            crowd = await begin(*(coalescer.get_or_fetch("key", fetch) for _ in range(2)))
            crowd[0].cancel()
            await turns()
            crowd += await begin(coalescer.get_or_fetch("key", fetch))
            assert fetch.runs == 1, "who came last made a fetch, although another caller waits for the first one"
            fetch.answer("answer")
            assert (await ends(crowd))[1:] == ["answer", "answer"], (
                "who began the fetch has left, and the others have not"
            )

    async def test_nothing_is_kept(self) -> None:
        """Who asks after a fetch has ended makes another one."""
        async with self.made() as coalescer:
            assert await answered(coalescer.get_or_fetch("key", soon("first"))) == "first"
            got = await answered(coalescer.get_or_fetch("key", soon("second")))
            assert got == "second", (
                "a coalescer shares what is in the air and keeps nothing: who asks later fetches anew"
            )

    async def test_empty_answers_are_answers(self) -> None:
        """``None``, ``False``, ``0`` and what is empty is shared like anything else."""
        answers: tuple[object, ...] = (None, False, 0, "", (), {})
        for answer in answers:
            fetch = HeldFetch()
            async with self.made() as coalescer:
                crowd = await begin(*(coalescer.get_or_fetch("key", fetch) for _ in range(3)))
                fetch.assert_shared()
                fetch.answer(answer)
                assert all(got is answer for got in await ends(crowd)), f"{answer!r} was not shared"
                assert fetch.runs == 1, f"{answer!r} was taken for no answer"

    # ---- failures ----

    async def test_a_failure_is_shared_by_those_who_waited(self) -> None:
        """All who waited get a failure of that class, the first of them the original; who asks next tries again."""
        fetch, failure = HeldFetch(), LookupError("nothing there")
        async with self.made() as coalescer:
            crowd = await begin(*(coalescer.get_or_fetch("key", fetch) for _ in range(3)))
            fetch.assert_shared()
            fetch.fail(failure)
            got = await ends(crowd)
            assert [type(error) for error in got] == [LookupError] * 3, f"the fetch failed, and its callers got {got}"
            assert all(error.args == ("nothing there",) for error in got), f"they are told what the fetch was: {got}"
            assert got[0] is failure, "who began the fetch gets the exception that it raised, and no copy"
            assert fetch.runs == 1, "a failure is shared like an answer, but the fetch was begun again for a waiter"
            after = await answered(coalescer.get_or_fetch("key", soon("better")))
            assert after == "better", "a failure is not kept: who asks next fetches anew"

    async def test_each_gets_an_error_of_its_own(self) -> None:
        """No two callers get one exception object: a traceback would grow with each of them, and notes be mixed up."""
        fetch = HeldFetch()
        async with self.made() as coalescer:
            crowd = await begin(*(coalescer.get_or_fetch("key", fetch) for _ in range(3)))
            fetch.assert_shared()
            fetch.fail(LookupError("nothing there"))
            got = await ends(crowd)
            assert len(set(map(id, got))) == 3, "callers share an exception object: each but the first needs a copy"

    async def test_a_failure_that_nobody_waits_for_is_not_reported(self) -> None:
        """A fetch that fails when it is cancelled fails for nobody: asyncio has nothing that was never retrieved."""

        async def fetch() -> None:
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                raise LookupError("nobody looks")

        gc.collect()  # what was there before may be reported before
        with unretrieved() as reports:
            async with self.made() as coalescer:
                crowd = await begin(*(coalescer.get_or_fetch("key", fetch) for _ in range(2)))
                for caller in crowd:
                    caller.cancel()
                await ends(crowd)
            gc.collect()
        assert not reports, f"asyncio had to report: {reports}"

    async def test_a_fetch_that_is_cancelled_from_inside_cancels_nobody(self) -> None:
        """A fetch that ends in a cancellation which no caller asked for is a failure to all of them."""
        fetch = HeldFetch()
        async with self.made() as coalescer:
            crowd = await begin(*(coalescer.get_or_fetch("key", fetch) for _ in range(3)))
            fetch.assert_shared()
            fetch.fail(asyncio.CancelledError())
            got = await ends(crowd)
            assert all(isinstance(error, Exception) for error in got), (
                "nobody has cancelled the callers, so each gets an Exception and not the CancelledError that the fetch "
                f"raised: {got}"
            )

    async def test_a_fetch_that_asks_for_its_own_key_is_refused(self) -> None:
        """It would wait for itself for ever."""
        fetch, begun = soon("by itself"), 0
        async with self.made() as coalescer:

            async def asking_again() -> object:
                nonlocal begun
                begun += 1
                return await coalescer.get_or_fetch("key", asking_again if begun < _MOST_BEGUN else fetch)

            (got,) = await ends(await begin(coalescer.get_or_fetch("key", asking_again)))
            assert isinstance(got, RecursiveFetchError), (
                f"a fetch that asks for its own key gets RecursiveFetchError, but the call brought {got!r:.200}"
            )

    async def test_fetches_that_wait_for_each_other_are_refused(self) -> None:
        """One asks for the key of the other, in a task of its own, and the other for the first one's: nobody waits."""
        fetch, begun = soon("by itself"), 0
        async with self.made() as coalescer:

            async def one() -> object:
                return await asyncio.gather(coalescer.get_or_fetch("another", another))

            async def another() -> object:
                nonlocal begun
                begun += 1
                return await coalescer.get_or_fetch("one", one if begun < _MOST_BEGUN else fetch)

            callers = await begin(coalescer.get_or_fetch("one", one), coalescer.get_or_fetch("another", another))
            got = await ends(callers)
            assert [type(error) for error in got] == [RecursiveFetchError] * 2, (
                "two fetches that ask for each other's key would wait for ever: both callers get RecursiveFetchError"
            )

    async def test_a_fetch_may_ask_for_other_keys(self) -> None:
        """That is no recursion, also where another caller waits for the same."""
        inner = HeldFetch()
        async with self.made() as coalescer:

            async def outer() -> object:
                return "outer", await coalescer.get_or_fetch("inner", inner)

            callers = await begin(coalescer.get_or_fetch("outer", outer), coalescer.get_or_fetch("inner", inner))
            assert inner.runs == 1, f"two ask for the inner key, and make one fetch, but {inner.runs} were begun"
            inner.answer("inner")
            assert await ends(callers) == [("outer", "inner"), "inner"], "a fetch may ask for another key, and share it"

    # ---- leaving ----

    async def test_nobody_is_hurt_by_the_first_who_leaves(self) -> None:
        """The caller who began the fetch is cancelled, and the others get their answer from that same fetch."""
        fetch = HeldFetch()
        async with self.made() as coalescer:
            crowd = await begin(*(coalescer.get_or_fetch("key", fetch) for _ in range(3)))
            fetch.assert_shared()
            crowd[0].cancel()
            await turns()
            fetch.answer("answer")
            got = await ends(crowd)
            assert isinstance(got[0], asyncio.CancelledError), _swallowed(got[0])
            assert got[1:] == ["answer", "answer"], "two still waited for the fetch when its first caller was cancelled"
            assert (fetch.runs, fetch.cancelled) == (1, 0), "fetches begun, and cancelled: one caller of three has left"

    async def test_nobody_is_hurt_by_another_who_leaves(self) -> None:
        """A caller who joined is cancelled, and the others get their answer."""
        fetch = HeldFetch()
        async with self.made() as coalescer:
            crowd = await begin(*(coalescer.get_or_fetch("key", fetch) for _ in range(3)))
            fetch.assert_shared()
            crowd[1].cancel()
            await turns()
            fetch.answer("answer")
            got = await ends(crowd)
            assert isinstance(got[1], asyncio.CancelledError), _swallowed(got[1])
            assert [got[0], got[2]] == ["answer", "answer"], (
                "one who joined was cancelled, and it is nobody else's matter"
            )

    async def test_the_last_who_leaves_takes_the_fetch_along(self) -> None:
        """A fetch that nobody waits for any more is cancelled, and who asks then makes another."""
        fetch = HeldFetch()
        async with self.made() as coalescer:
            crowd = await begin(*(coalescer.get_or_fetch("key", fetch) for _ in range(3)))
            fetch.assert_shared()
            for caller in crowd:
                caller.cancel()
            await ends(crowd)
            await turns()
            assert (fetch.runs, fetch.cancelled) == (1, 1), (
                f"a fetch that nobody waits for any more is cancelled: {fetch.runs} begun, {fetch.cancelled} cancelled"
            )
            got = await answered(coalescer.get_or_fetch("key", soon("anew")))
            assert got == "anew", "who asks after a fetch was given up makes another"

    async def test_a_fetch_that_was_given_up_is_not_joined(self) -> None:
        """Who asks while a cancelled fetch is still ending makes another one, and gets nothing of the old."""
        fetch = StubbornFetch()
        async with self.made() as coalescer:
            (early,) = await begin(coalescer.get_or_fetch("key", fetch))
            early.cancel()
            await ends([early])
            (late,) = await begin(coalescer.get_or_fetch("key", soon("anew")))
            await turns()
            fetch.answer("too late")
            assert await ends([late]) == ["anew"], "who asks while a cancelled fetch is still ending gets nothing of it"
            assert (fetch.runs, fetch.cancelled) == (1, 1), (
                f"the only caller has left, so the fetch is cancelled: {fetch.runs} begun, {fetch.cancelled} cancelled"
            )


def _swallowed(got: object) -> str:
    return f"whoever is cancelled gets a CancelledError from get_or_fetch, but it returned or raised {got!r}"
