"""The part of a coalescer's contract that is about the terms of a call: limits, tickets, numbers."""

from __future__ import annotations

import asyncio
from typing import Any

from ..errors import FetchTimeoutError, WaitTimeoutError
from ..protocols import FlightTerms
from ..stats.counters import Counters
from .coalescer_stage import SHORT_SECONDS, CoalescerStage
from .contract_tools import HeldFetch, Permission, StubbornFetch, begin, ends, soon, turns


class TermsContract(CoalescerStage):
    """What a coalescer does with ``reserve`` and with ``terms``."""

    # ---- terms and tickets ----

    async def test_a_wait_is_bounded_and_the_fetch_is_not(self) -> None:
        """Who joined gets ``WaitTimeoutError`` after ``max_wait_seconds``; who began the fetch gets its answer."""
        fetch = HeldFetch()
        async with self.made() as coalescer:
            terms = FlightTerms(max_wait_seconds=SHORT_SECONDS)
            crowd = await begin(*(coalescer.get_or_fetch("key", fetch, terms=terms) for _ in range(2)))
            fetch.assert_shared()
            (got,) = await ends(crowd[1:])
            assert isinstance(got, WaitTimeoutError), (
                f"who joined a fetch waits for terms.max_wait_seconds, and then gets WaitTimeoutError, not {got!r}"
            )
            fetch.answer("answer")
            got = (await ends(crowd))[0]
            assert got == "answer", f"who began the fetch is not bound by max_wait_seconds, but got {got!r}"

    async def test_a_fetch_is_bounded(self) -> None:
        """After ``fetch_timeout_seconds`` all get ``FetchTimeoutError``; what it brings later is dropped."""
        fetch = StubbornFetch()
        terms = FlightTerms(fetch_timeout_seconds=SHORT_SECONDS)
        async with self.made() as coalescer:
            crowd = await begin(*(coalescer.get_or_fetch("key", fetch, terms=terms) for _ in range(2)))
            fetch.assert_shared()
            assert [type(error) for error in await ends(crowd)] == [FetchTimeoutError] * 2, (
                "a fetch may run for terms.fetch_timeout_seconds; then all who wait for it get FetchTimeoutError"
            )
            (late,) = await begin(coalescer.get_or_fetch("key", soon("anew"), terms=terms))
            fetch.answer("too late")
            assert await ends([late]) == ["anew"], "what a fetch returns after its time is given to nobody"
            assert (fetch.runs, fetch.cancelled) == (1, 1), (
                f"after its time a fetch is cancelled: {fetch.runs} begun, {fetch.cancelled} cancelled"
            )

    async def test_a_fetch_may_go_on_for_nobody(self) -> None:
        """With ``on_abandon="finish"`` it is not cancelled with its last caller, and who comes later joins it."""
        fetch = HeldFetch()
        terms = FlightTerms(on_abandon="finish")
        async with self.made() as coalescer:
            (early,) = await begin(coalescer.get_or_fetch("key", fetch, terms=terms))
            early.cancel()
            await ends([early])
            await turns()
            late = await begin(coalescer.get_or_fetch("key", fetch, terms=terms))
            assert (fetch.runs, fetch.cancelled) == (1, 0), (
                'with terms.on_abandon="finish" a fetch goes on when its last caller has left, and is joined: '
                f"{fetch.runs} begun, {fetch.cancelled} cancelled"
            )
            fetch.answer("answer")
            assert await ends(late) == ["answer"]

    async def test_a_ticket_is_taken_right_before_the_fetch(self) -> None:
        """``reserve`` is called once, by the fetch that begins, in the same step and before it."""
        held, order = HeldFetch(), list[str]()
        async with self.made() as coalescer:

            def reserve() -> Permission:
                asyncio.get_running_loop().call_soon(order.append, "next step")
                order.append("reserve")
                return Permission()

            async def fetch() -> Any:
                order.append("fetch")
                return await held()

            crowd = await begin(*(coalescer.get_or_fetch("key", fetch, reserve=reserve) for _ in range(3)))
            held.assert_shared()
            held.answer("answer")
            assert await ends(crowd) == ["answer"] * 3
            assert order == ["reserve", "fetch", "next step"], (
                "reserve() is called once for a fetch, right before it, with no step of the event loop in between"
            )

    async def test_a_fetch_whose_ticket_is_no_longer_good_is_not_joined(self) -> None:
        """Who asks after that makes another fetch; who waited keeps the first one's answer."""
        fetch, tickets = HeldFetch(), list[Permission]()
        async with self.made() as coalescer:

            def reserve() -> Permission:
                tickets.append(Permission())
                return tickets[-1]

            early = await begin(*(coalescer.get_or_fetch("key", fetch, reserve=reserve) for _ in range(2)))
            fetch.assert_shared()
            assert len(tickets) == 1, (
                f"the fetch that began calls reserve() once, but it was called {len(tickets)} times"
            )
            tickets[0].good = False
            late = await begin(*(coalescer.get_or_fetch("key", fetch, reserve=reserve) for _ in range(2)))
            fetch.answer("old")
            assert await ends(early) == ["old", "old"], "who waited when the ticket went bad keeps that fetch's answer"
            fetch.answer("new")
            assert await ends(late) == ["new", "new"], "who asked when the ticket was no longer good gets a new answer"
            assert fetch.runs == 2

    async def test_what_is_found_at_the_last_moment_is_the_answer(self) -> None:
        """What ``terms.look`` returns when the fetch is about to begin spares it."""
        fetch = HeldFetch()
        async with self.made() as coalescer:
            terms = FlightTerms(look=lambda key: f"found under {key!r}")
            (got,) = await begin(coalescer.get_or_fetch("key", fetch, terms=terms))
            assert fetch.runs == 0, "terms.look(key) found an answer, and the fetch was begun all the same"
            assert await ends([got]) == ["found under 'key'"], "what terms.look(key) returns is the answer"

    async def test_every_call_is_counted_once(self) -> None:
        """The function's numbers have each call as one who led or one who joined, and each fetch."""
        counters, fetch = Counters(), HeldFetch()
        async with self.made() as coalescer:
            terms = FlightTerms(counters=counters)
            crowd = await begin(*(coalescer.get_or_fetch("key", fetch, terms=terms) for _ in range(5)))
            fetch.assert_shared()
            crowd[0].cancel()
            crowd[1].cancel()
            await turns()
            fetch.answer("answer")
            await ends(crowd)
            counted = (counters.led_requests, counters.coalesced_requests, counters.fetches)
            assert counted == (1, 4, 1), (
                "led_requests, coalesced_requests and fetches of terms.counters, after five calls that shared one fetch"
            )
