"""What every coalescer does, whatever is behind it: subclass it, say how one is made, and all of it is tested.

::

    from coalesce_kit.testing.coalescer_contract import CoalescerContract

    class TestMyCoalescer(CoalescerContract):
        def make_coalescer(self) -> Coalescer:
            return MyCoalescer()

The tests are coroutines: pytest runs them with pytest-asyncio (in its strict mode with ``pytestmark =
pytest.mark.asyncio``) or anyio. No test waits for longer than a few hundredths of a second.
"""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any, Final

from ..errors import CoalescerClosedError, RecursiveFetchError, WaitTimeoutError
from ..protocols import Coalescer, FlightTerms
from ..stats.counters import Counters
from .contract_tools import HeldFetch, Permission, begin, ends, soon, turns
from .leaks import settle, what_is_left

SHORT_SECONDS: Final = 0.02
"""How long a waiter waits in the one test that is about waiting."""


class CoalescerContract:
    """Every line of what ``Coalescer`` promises, as tests. See the module for how it is used."""

    def make_coalescer(self) -> Coalescer:
        """Return a new coalescer. Called in a running loop, once in a test."""
        raise NotImplementedError(f"{type(self).__name__} has to say how one is made: def make_coalescer(self)")

    # ---- sharing ----

    async def test_a_crowd_shares_one_fetch(self) -> None:
        """A hundred callers of one key make one fetch, and all get the object that it returned."""
        coalescer, fetch, answer = self.make_coalescer(), HeldFetch(), object()
        crowd = await begin(*(coalescer.get_or_fetch("key", fetch) for _ in range(100)))
        fetch.answer(answer)
        assert all(got is answer for got in await ends(crowd))
        assert fetch.runs == 1
        await nothing_is_left(coalescer)

    async def test_keys_are_apart(self) -> None:
        """Callers of different keys have nothing to do with each other."""
        coalescer, one, two = self.make_coalescer(), HeldFetch(), HeldFetch()
        callers = await begin(coalescer.get_or_fetch(("key", 1), one), coalescer.get_or_fetch(("key", 2), two))
        two.answer("two")
        one.answer("one")
        assert await ends(callers) == ["one", "two"]
        await nothing_is_left(coalescer)

    async def test_nothing_is_kept(self) -> None:
        """Who asks after a fetch has ended makes another one."""
        coalescer = self.make_coalescer()
        assert await coalescer.get_or_fetch("key", soon("first")) == "first"
        assert await coalescer.get_or_fetch("key", soon("second")) == "second"
        await nothing_is_left(coalescer)

    async def test_empty_answers_are_answers(self) -> None:
        """``None``, ``False``, ``0`` and what is empty is shared like anything else."""
        answers: tuple[object, ...] = (None, False, 0, "", (), {})
        for answer in answers:
            coalescer, fetch = self.make_coalescer(), HeldFetch()
            crowd = await begin(*(coalescer.get_or_fetch("key", fetch) for _ in range(3)))
            fetch.answer(answer)
            assert all(got is answer for got in await ends(crowd)), f"{answer!r} was not shared"
            assert fetch.runs == 1, f"{answer!r} was taken for no answer"

    # ---- failures ----

    async def test_a_failure_is_shared_by_those_who_waited(self) -> None:
        """All who waited get a failure of that class, the first of them the original; who asks next tries again."""
        coalescer, fetch, failure = self.make_coalescer(), HeldFetch(), LookupError("nothing there")
        crowd = await begin(*(coalescer.get_or_fetch("key", fetch) for _ in range(3)))
        fetch.fail(failure)
        got = await ends(crowd)
        assert [type(error) for error in got] == [LookupError] * 3
        assert all(error.args == ("nothing there",) for error in got)
        assert got[0] is failure
        assert fetch.runs == 1
        assert await coalescer.get_or_fetch("key", soon("better")) == "better"
        await nothing_is_left(coalescer)

    async def test_a_fetch_that_is_cancelled_from_inside_cancels_nobody(self) -> None:
        """A fetch that ends in a cancellation which no caller asked for is a failure to all of them."""
        coalescer, fetch = self.make_coalescer(), HeldFetch()
        crowd = await begin(*(coalescer.get_or_fetch("key", fetch) for _ in range(3)))
        fetch.fail(asyncio.CancelledError())
        got = await ends(crowd)
        assert all(isinstance(error, Exception) for error in got), f"somebody was cancelled by it: {got}"
        await nothing_is_left(coalescer)

    async def test_a_fetch_that_asks_for_its_own_key_is_refused(self) -> None:
        """It would wait for itself for ever."""
        coalescer = self.make_coalescer()

        async def fetch() -> object:
            return await coalescer.get_or_fetch("key", fetch)

        try:
            async with asyncio.timeout(5):
                await coalescer.get_or_fetch("key", fetch)
        except RecursiveFetchError:
            pass
        else:
            raise AssertionError("it was answered, by itself")
        await nothing_is_left(coalescer)

    # ---- leaving ----

    async def test_nobody_is_hurt_by_the_first_who_leaves(self) -> None:
        """The caller who began the fetch is cancelled, and the others get their answer from that same fetch."""
        coalescer, fetch = self.make_coalescer(), HeldFetch()
        crowd = await begin(*(coalescer.get_or_fetch("key", fetch) for _ in range(3)))
        crowd[0].cancel()
        await turns()
        fetch.answer("answer")
        got = await ends(crowd)
        assert isinstance(got[0], asyncio.CancelledError)
        assert got[1:] == ["answer", "answer"]
        assert (fetch.runs, fetch.cancelled) == (1, 0)
        await nothing_is_left(coalescer)

    async def test_nobody_is_hurt_by_another_who_leaves(self) -> None:
        """A caller who joined is cancelled, and the others get their answer."""
        coalescer, fetch = self.make_coalescer(), HeldFetch()
        crowd = await begin(*(coalescer.get_or_fetch("key", fetch) for _ in range(3)))
        crowd[1].cancel()
        await turns()
        fetch.answer("answer")
        got = await ends(crowd)
        assert isinstance(got[1], asyncio.CancelledError)
        assert [got[0], got[2]] == ["answer", "answer"]
        await nothing_is_left(coalescer)

    async def test_the_last_who_leaves_takes_the_fetch_along(self) -> None:
        """A fetch that nobody waits for any more is cancelled, and who asks then makes another."""
        coalescer, fetch = self.make_coalescer(), HeldFetch()
        crowd = await begin(*(coalescer.get_or_fetch("key", fetch) for _ in range(3)))
        for caller in crowd:
            caller.cancel()
        await ends(crowd)
        await turns()
        assert (fetch.runs, fetch.cancelled) == (1, 1)
        assert await coalescer.get_or_fetch("key", soon("anew")) == "anew"
        await nothing_is_left(coalescer)

    # ---- terms and tickets ----

    async def test_a_wait_is_bounded_and_the_fetch_is_not(self) -> None:
        """Who joined gets ``WaitTimeoutError`` after ``max_wait_seconds``; who began the fetch gets its answer."""
        coalescer, fetch = self.make_coalescer(), HeldFetch()
        terms = FlightTerms(max_wait_seconds=SHORT_SECONDS)
        crowd = await begin(*(coalescer.get_or_fetch("key", fetch, terms=terms) for _ in range(2)))
        await asyncio.wait(crowd[1:])
        assert isinstance(crowd[1].exception(), WaitTimeoutError)
        fetch.answer("answer")
        assert await crowd[0] == "answer"
        await nothing_is_left(coalescer)

    async def test_a_ticket_is_taken_right_before_the_fetch(self) -> None:
        """``reserve`` is called once, by the fetch that begins, in the same step and before it."""
        coalescer, held, order = self.make_coalescer(), HeldFetch(), list[str]()

        def reserve() -> Permission:
            asyncio.get_running_loop().call_soon(order.append, "next step")
            order.append("reserve")
            return Permission()

        async def fetch() -> Any:
            order.append("fetch")
            return await held()

        crowd = await begin(*(coalescer.get_or_fetch("key", fetch, reserve=reserve) for _ in range(3)))
        held.answer("answer")
        assert await ends(crowd) == ["answer"] * 3
        assert order == ["reserve", "fetch", "next step"]

    async def test_a_fetch_whose_ticket_is_no_longer_good_is_not_joined(self) -> None:
        """Who asks after that makes another fetch; who waited keeps the first one's answer."""
        coalescer, fetch, tickets = self.make_coalescer(), HeldFetch(), list[Permission]()

        def reserve() -> Permission:
            tickets.append(Permission())
            return tickets[-1]

        early = await begin(*(coalescer.get_or_fetch("key", fetch, reserve=reserve) for _ in range(2)))
        tickets[0].good = False
        late = await begin(*(coalescer.get_or_fetch("key", fetch, reserve=reserve) for _ in range(2)))
        fetch.answer("old")
        assert await ends(early) == ["old", "old"]
        fetch.answer("new")
        assert await ends(late) == ["new", "new"]
        assert fetch.runs == 2
        await nothing_is_left(coalescer)

    async def test_what_is_found_at_the_last_moment_is_the_answer(self) -> None:
        """What ``terms.look`` returns when the fetch is about to begin spares it."""
        coalescer, fetch = self.make_coalescer(), HeldFetch()
        terms = FlightTerms(look=lambda key: f"found under {key!r}")
        assert await coalescer.get_or_fetch("key", fetch, terms=terms) == "found under 'key'"
        assert fetch.runs == 0
        await nothing_is_left(coalescer)

    async def test_every_call_is_counted_once(self) -> None:
        """The function's numbers have each call as one who led or one who joined, and each fetch."""
        coalescer, counters, fetch = self.make_coalescer(), Counters(), HeldFetch()
        terms = FlightTerms(counters=counters)
        crowd = await begin(*(coalescer.get_or_fetch("key", fetch, terms=terms) for _ in range(5)))
        crowd[0].cancel()
        crowd[1].cancel()
        await turns()
        fetch.answer("answer")
        await ends(crowd)
        assert (counters.led_requests, counters.coalesced_requests, counters.fetches) == (1, 4, 1)
        await nothing_is_left(coalescer)

    # ---- looking and ending ----

    async def test_what_is_forgotten_is_not_joined(self) -> None:
        """``forget`` detaches a fetch: it keeps its callers, and the next one makes another."""
        coalescer, fetch = self.make_coalescer(), HeldFetch()
        assert coalescer.forget("key") is False
        early = await begin(coalescer.get_or_fetch("key", fetch))
        assert coalescer.forget("key") is True
        late = await begin(coalescer.get_or_fetch("key", fetch))
        fetch.answer("old")
        fetch.answer("new")
        assert await ends([*early, *late]) == ["old", "new"]
        await nothing_is_left(coalescer)

    async def test_flights_are_seen(self) -> None:
        """``flights`` shows each fetch in the air with its key and waiters, and none when it has ended."""
        coalescer, fetch = self.make_coalescer(), HeldFetch()
        crowd = await begin(*(coalescer.get_or_fetch("key", fetch) for _ in range(4)))
        (flight,) = coalescer.flights()
        assert (flight.key, flight.waiters, flight.zombie) == ("key", 3, False)
        assert flight.age_seconds >= 0
        fetch.answer("answer")
        await ends(crowd)
        await nothing_is_left(coalescer)

    async def test_closing_lets_fetches_end(self) -> None:
        """``aclose`` waits for what is in the air, refuses new calls, and says what became of it."""
        coalescer, fetch = self.make_coalescer(), HeldFetch()
        crowd = await begin(*(coalescer.get_or_fetch("key", fetch) for _ in range(2)))
        (closing,) = await begin(coalescer.aclose(deadline_seconds=60))
        (refused,) = await ends(await begin(coalescer.get_or_fetch("other", soon("too late"))))
        assert isinstance(refused, CoalescerClosedError)
        fetch.answer("answer")
        assert await ends(crowd) == ["answer", "answer"]
        report = await closing
        assert (report.finished, report.cut) == (1, ())
        await nothing_is_left(coalescer)

    async def test_closing_cuts_what_does_not_end(self) -> None:
        """At the deadline fetches are cancelled, their callers get an error that is no cancellation of theirs."""
        coalescer, fetch = self.make_coalescer(), HeldFetch()
        crowd = await begin(*(coalescer.get_or_fetch("key", fetch) for _ in range(2)))
        report = await coalescer.aclose(deadline_seconds=0)
        got = await ends(crowd)
        assert (report.finished, len(report.cut)) == (0, 1)
        assert all(isinstance(error, Exception) for error in got)
        assert fetch.cancelled == 1
        await nothing_is_left(coalescer)

    async def test_nothing_is_remembered(self) -> None:
        """After the last caller has gone, the coalescer holds neither key nor fetch nor answer nor failure."""
        coalescer = self.make_coalescer()
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


class _Thing:
    """Something that can be weakly referenced."""


class _Failure(Exception):  # noqa: N818  # it is a thing that can be raised, and no kind of error
    """The same, raised."""


async def nothing_is_left(coalescer: Coalescer) -> None:
    """Fail if anything of what was done is still there."""
    await settle(coalescer)
    assert not coalescer.flights(), f"still in flight: {coalescer.flights()}"
    left = [line for line in what_is_left(coalescer) if line.startswith("timer") or "coalesce" in line]
    assert not left, f"left behind: {left}"
