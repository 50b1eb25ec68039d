"""The package's own coalescers keep the contract, in virtual time and on every loop; each test of it can fail."""

from __future__ import annotations

import asyncio

import pytest

from coalesce_kit import CloseReport, FlightInfo, RecursiveFetchError, RequestCoalescer, detached_context
from coalesce_kit.backends.distributed import DistributedCoalescer
from coalesce_kit.stores.memory import MemoryServer, MemoryStore
from coalesce_kit.testing.coalescer_contract import CoalescerContract
from tests.contracts.breaking import fails, names_of_tests


@pytest.mark.on_every_loop
class TestRequestCoalescer(CoalescerContract):
    """The one behind every decorated function."""

    def make_coalescer(self):
        return RequestCoalescer()


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.on_every_loop
class TestRequestCoalescerInVirtualTime(CoalescerContract):
    """The same where time jumps."""

    def make_coalescer(self):
        return RequestCoalescer()


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.on_every_loop
class TestDistributedCoalescer(CoalescerContract):
    """The one that shares with other processes, of which there is none here."""

    def make_coalescer(self):
        return DistributedCoalescer(MemoryStore(MemoryServer()))


class NoSharing(RequestCoalescer):
    """Every caller fetches."""

    async def get_or_fetch(self, cache_key, fetch_fn, *, reserve=None, terms=None):
        return await fetch_fn()


class OneKeyForAll(RequestCoalescer):
    async def get_or_fetch(self, cache_key, fetch_fn, *, reserve=None, terms=None):
        return await super().get_or_fetch("key", fetch_fn, reserve=reserve, terms=terms)


class Keeping(RequestCoalescer):
    async def get_or_fetch(self, cache_key, fetch_fn, *, reserve=None, terms=None):
        self.kept = getattr(self, "kept", {})
        if cache_key not in self.kept:
            self.kept[cache_key] = await super().get_or_fetch(cache_key, fetch_fn, reserve=reserve, terms=terms)
        return self.kept[cache_key]


class SlotGoesWithTheFirst(RequestCoalescer):
    async def get_or_fetch(self, cache_key, fetch_fn, *, reserve=None, terms=None):
        try:
            return await super().get_or_fetch(cache_key, fetch_fn, reserve=reserve, terms=terms)
        except asyncio.CancelledError:
            self.forget(cache_key)
            raise


class EmptyIsNothing(RequestCoalescer):
    async def get_or_fetch(self, cache_key, fetch_fn, *, reserve=None, terms=None):
        return await super().get_or_fetch(cache_key, fetch_fn) or await fetch_fn()


class Wrapping(RequestCoalescer):
    """Failures arrive as something else."""

    async def get_or_fetch(self, cache_key, fetch_fn, *, reserve=None, terms=None):
        try:
            return await super().get_or_fetch(cache_key, fetch_fn)
        except Exception as error:
            raise RuntimeError("the fetch failed") from error


class OneErrorForAll(RequestCoalescer):
    async def get_or_fetch(self, cache_key, fetch_fn, *, reserve=None, terms=None):
        try:
            return await super().get_or_fetch(cache_key, fetch_fn, reserve=reserve, terms=terms)
        except LookupError as error:
            raise self.__dict__.setdefault("error", error) from None


class NeverLookingBack(RequestCoalescer):
    """The fetch is cancelled with its callers, and nobody asks how it ended."""

    async def get_or_fetch(self, cache_key, fetch_fn, *, reserve=None, terms=None):
        async def fetch():
            working = asyncio.get_running_loop().create_task(fetch_fn())
            try:
                await asyncio.wait([working])
            except asyncio.CancelledError:
                working.cancel()
                raise
            return working.result()

        return await super().get_or_fetch(cache_key, fetch, reserve=reserve, terms=terms)


class LeakingCancellation(RequestCoalescer):
    async def get_or_fetch(self, cache_key, fetch_fn, *, reserve=None, terms=None):
        try:
            return await super().get_or_fetch(cache_key, fetch_fn)
        except RuntimeError:
            raise asyncio.CancelledError from None


class SharedTask(RequestCoalescer):
    """The classical one: a dict of tasks, awaited by whoever comes."""

    async def get_or_fetch(self, cache_key, fetch_fn, *, reserve=None, terms=None):
        tasks = self.__dict__.setdefault("tasks", {})
        if cache_key not in tasks:
            tasks[cache_key] = asyncio.get_running_loop().create_task(fetch_fn())
        return await tasks[cache_key]


class SeeingNoCycles(RequestCoalescer):
    async def get_or_fetch(self, cache_key, fetch_fn, *, reserve=None, terms=None):
        asking = super().get_or_fetch(cache_key, fetch_fn)
        return await asyncio.get_running_loop().create_task(asking, context=detached_context())


class RefusingWhatIsNested(RequestCoalescer):
    async def get_or_fetch(self, cache_key, fetch_fn, *, reserve=None, terms=None):
        if self.flights():
            raise RecursiveFetchError("a fetch asks for a key")
        return await super().get_or_fetch(cache_key, fetch_fn, reserve=reserve, terms=terms)


class JoiningWhatIsGivenUp(RequestCoalescer):
    """The slot is there until the fetch has ended, however it ends."""

    async def get_or_fetch(self, cache_key, fetch_fn, *, reserve=None, terms=None):
        tasks = self.__dict__.setdefault("tasks", {})
        if cache_key not in tasks:
            tasks[cache_key] = asyncio.get_running_loop().create_task(fetch_fn())
        try:
            return await asyncio.shield(tasks[cache_key])
        except asyncio.CancelledError:
            tasks[cache_key].cancel()
            raise


class Shielding(RequestCoalescer):
    """Work goes on for nobody."""

    async def get_or_fetch(self, cache_key, fetch_fn, *, reserve=None, terms=None):
        work = asyncio.get_running_loop().create_task(super().get_or_fetch(cache_key, fetch_fn))
        return await asyncio.shield(work)


class WithoutTerms(RequestCoalescer):
    async def get_or_fetch(self, cache_key, fetch_fn, *, reserve=None, terms=None):
        return await super().get_or_fetch(cache_key, fetch_fn, reserve=reserve)


class WithoutTickets(RequestCoalescer):
    async def get_or_fetch(self, cache_key, fetch_fn, *, reserve=None, terms=None):
        return await super().get_or_fetch(cache_key, fetch_fn, terms=terms)


class TicketsTooEarly(RequestCoalescer):
    async def get_or_fetch(self, cache_key, fetch_fn, *, reserve=None, terms=None):
        ticket = None if reserve is None else reserve()
        return await super().get_or_fetch(cache_key, fetch_fn, reserve=lambda: ticket, terms=terms)


class Forgetful(RequestCoalescer):
    """Says that it has forgotten."""

    def forget(self, cache_key):
        return True


class Blind(RequestCoalescer):
    def flights(self):
        return (FlightInfo("another", 0.0, 0, zombie=False),)


class ClosingAtOnce(RequestCoalescer):
    async def aclose(self, *, deadline_seconds=10.0):
        return await super().aclose(deadline_seconds=0)


class NeverCutting(RequestCoalescer):
    async def aclose(self, *, deadline_seconds=10.0):
        return CloseReport(0)


class Hoarding(RequestCoalescer):
    async def get_or_fetch(self, cache_key, fetch_fn, *, reserve=None, terms=None):
        self.seen = [*getattr(self, "seen", ()), cache_key]
        return await super().get_or_fetch(cache_key, fetch_fn, reserve=reserve, terms=terms)


class TaskForEachKey(RequestCoalescer):
    """A watcher for every key that was ever asked for, until it is closed."""

    async def get_or_fetch(self, cache_key, fetch_fn, *, reserve=None, terms=None):
        watchers = self.__dict__.setdefault("watchers", {})
        if cache_key not in watchers:
            watchers[cache_key] = asyncio.get_running_loop().create_task(asyncio.Event().wait())
        return await super().get_or_fetch(cache_key, fetch_fn, reserve=reserve, terms=terms)

    async def aclose(self, *, deadline_seconds=10.0):
        for watcher in self.watchers.values():
            watcher.cancel()
        return await super().aclose(deadline_seconds=deadline_seconds)


BROKEN = {
    "test_a_crowd_shares_one_fetch": NoSharing,
    "test_keys_are_apart": OneKeyForAll,
    "test_who_comes_later_joins_although_the_first_has_left": SlotGoesWithTheFirst,
    "test_nothing_is_kept": Keeping,
    "test_empty_answers_are_answers": EmptyIsNothing,
    "test_a_failure_is_shared_by_those_who_waited": Wrapping,
    "test_each_gets_an_error_of_its_own": OneErrorForAll,
    "test_a_failure_that_nobody_waits_for_is_not_reported": NeverLookingBack,
    "test_a_fetch_that_is_cancelled_from_inside_cancels_nobody": LeakingCancellation,
    "test_a_fetch_that_asks_for_its_own_key_is_refused": lambda: SeeingNoCycles(max_wait_seconds=None),
    "test_fetches_that_wait_for_each_other_are_refused": lambda: SeeingNoCycles(max_wait_seconds=None),
    "test_a_fetch_may_ask_for_other_keys": RefusingWhatIsNested,
    "test_nobody_is_hurt_by_the_first_who_leaves": SharedTask,
    "test_nobody_is_hurt_by_another_who_leaves": SharedTask,
    "test_the_last_who_leaves_takes_the_fetch_along": Shielding,
    "test_a_fetch_that_was_given_up_is_not_joined": JoiningWhatIsGivenUp,
    "test_a_wait_is_bounded_and_the_fetch_is_not": lambda: WithoutTerms(max_wait_seconds=None),
    "test_a_fetch_is_bounded": WithoutTerms,
    "test_a_fetch_may_go_on_for_nobody": WithoutTerms,
    "test_a_ticket_is_taken_right_before_the_fetch": TicketsTooEarly,
    "test_a_fetch_whose_ticket_is_no_longer_good_is_not_joined": WithoutTickets,
    "test_what_is_found_at_the_last_moment_is_the_answer": WithoutTerms,
    "test_every_call_is_counted_once": WithoutTerms,
    "test_what_is_forgotten_is_not_joined": Forgetful,
    "test_flights_are_seen": Blind,
    "test_closing_lets_fetches_end": ClosingAtOnce,
    "test_closing_cuts_what_does_not_end": NeverCutting,
    "test_nothing_is_remembered": Hoarding,
    "test_nothing_grows_with_the_keys": TaskForEachKey,
    "test_loops_come_and_go": SharedTask,
}


@pytest.mark.parametrize(("test", "broken"), BROKEN.items())
def test_a_broken_coalescer_is_noticed(test, broken):
    """Each test of the contract fails on a coalescer that breaks what it is about."""

    class Broken(CoalescerContract):
        def make_coalescer(self):
            return broken()

    fails(Broken(), test)


def test_every_test_of_the_contract_can_fail():
    """The table has a row for each."""
    assert BROKEN.keys() == names_of_tests(CoalescerContract)


def test_a_fetch_that_is_answered_by_itself_is_noticed():
    """A coalescer that gives the inner call something, instead of refusing it, is as wrong as one that hangs."""

    class AnsweringItself(RequestCoalescer):
        async def get_or_fetch(self, cache_key, fetch_fn, *, reserve=None, terms=None):
            if getattr(self, "busy", False):
                return None
            self.busy = True
            return await super().get_or_fetch(cache_key, fetch_fn)

    class Broken(CoalescerContract):
        def make_coalescer(self):
            return AnsweringItself()

    fails(Broken(), "test_a_fetch_that_asks_for_its_own_key_is_refused")


async def test_a_contract_says_what_it_needs():
    """Without its one method the contract says which that is."""
    with pytest.raises(NotImplementedError, match="def make_coalescer"):
        await CoalescerContract().test_nothing_is_kept()
