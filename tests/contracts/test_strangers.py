"""What a stranger who subclasses a contract gets wrong first, and what he is told."""

from __future__ import annotations

import asyncio

import pytest

from coalesce_kit import RequestCoalescer
from coalesce_kit.stores.memory import MemoryServer, MemoryStore
from coalesce_kit.testing.cache_contract import ResultCacheContract
from coalesce_kit.testing.clock import run
from coalesce_kit.testing.coalescer_contract import CoalescerContract
from coalesce_kit.testing.observer_contract import ObserverContract
from coalesce_kit.testing.store_contract import LeaseStoreContract

TO_BE_SAID = {
    CoalescerContract: r"def make_coalescer\(self\)",
    ResultCacheContract: r"def keeping\(self, \*, most, ttl\)",
    ObserverContract: r"def make_observer\(self\)",
    LeaseStoreContract: r"async def open_store\(self\)",
}


def judge(coalescer_class, test="test_nothing_is_kept"):
    """Run one test of the contract on a coalescer, in virtual time."""

    class Contract(CoalescerContract):
        def make_coalescer(self):
            return coalescer_class()

    async def judged():
        await getattr(Contract(), test)()

    run(judged())


def test_tasks_that_are_not_ours_are_left_too():
    """A coalescer leaves a task of its own module behind at every call."""

    class Leaking(RequestCoalescer):
        async def get_or_fetch(self, cache_key, fetch_fn, *, reserve=None, terms=None):
            self.left = asyncio.create_task(asyncio.Event().wait(), name="mine")
            return await super().get_or_fetch(cache_key, fetch_fn, reserve=reserve, terms=terms)

    with pytest.raises(AssertionError, match="left behind: .*task: mine"):
        judge(Leaking)


def test_timers_that_are_not_ours_are_left_too():
    """A coalescer that forgets to cancel its timers is noticed where a loop shows them."""

    class Leaking(RequestCoalescer):
        async def get_or_fetch(self, cache_key, fetch_fn, *, reserve=None, terms=None):
            asyncio.get_running_loop().call_later(1000, print)
            return await super().get_or_fetch(cache_key, fetch_fn, reserve=reserve, terms=terms)

    with pytest.raises(AssertionError, match="left behind: .*timer: "):
        judge(Leaking)


def test_what_ends_with_the_coalescer_may_stay_until_then():
    """One task that sweeps for as long as the coalescer is open is not left behind."""

    class Sweeping(RequestCoalescer):
        def __init__(self):
            super().__init__()
            self.sweeping = asyncio.create_task(self.sweep())

        async def sweep(self):
            while True:
                await asyncio.sleep(60)

        async def aclose(self, *, deadline_seconds=10.0):
            self.sweeping.cancel()
            return await super().aclose(deadline_seconds=deadline_seconds)

    for test in ("test_nothing_is_kept", "test_closing_lets_fetches_end", "test_nothing_grows_with_the_keys"):
        judge(Sweeping, test)


async def test_what_was_there_before_is_not_the_coalescers():
    """The contract's tests run beside other tasks and timers: those of a test run, of a server."""

    class Contract(CoalescerContract):
        def make_coalescer(self):
            return RequestCoalescer()

    other = asyncio.create_task(asyncio.sleep(1000), name="somebody else's")
    await asyncio.sleep(0)
    await Contract().test_nothing_is_kept()
    assert not other.done()
    other.cancel()


@pytest.mark.usefixtures("virtual_time")
async def test_a_server_for_each_store_is_told_so():
    """Whoever opens every store on a server of its own is told what a store is, by one test."""

    class Apart(LeaseStoreContract):
        async def open_store(self):
            return MemoryStore(MemoryServer())

    with pytest.raises(AssertionError, match="two stores that were opened see one server"):
        await Apart().test_stores_see_one_server()


@pytest.mark.parametrize(("contract", "method"), TO_BE_SAID.items())
def test_a_test_class_says_what_its_contract_asks_for(contract, method):
    """Without the method the class cannot be made, which is one error and not one for each test."""
    with pytest.raises(TypeError, match=f"TestMine has to say .*: {method}"):
        type("TestMine", (contract,), {})


@pytest.mark.parametrize("contract", TO_BE_SAID)
def test_a_class_in_between_may_leave_it_open(contract):
    """What pytest does not collect, by its name or by its word, need not be complete; what comes after it must."""
    between = type("ContractOfMine", (contract,), {})
    silent = type("TestBase", (contract,), {"__test__": False})
    for base in (between, silent):
        with pytest.raises(TypeError, match="TestMine has to say"):
            type("TestMine", (base,), {"__test__": True})


def test_who_hangs_is_told_so():
    """A coalescer for which a test would wait for ever, on a real loop too, fails it."""

    class Hanging(RequestCoalescer):
        async def get_or_fetch(self, cache_key, fetch_fn, *, reserve=None, terms=None):
            await asyncio.get_running_loop().create_future()

    with pytest.raises(AssertionError, match="after 5 s somebody still waits"):
        judge(Hanging)


def test_a_timeout_of_the_coalescers_own_is_shown_as_it_is():
    """It is no hanging."""

    class Impatient(RequestCoalescer):
        async def get_or_fetch(self, cache_key, fetch_fn, *, reserve=None, terms=None):
            raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        judge(Impatient)
