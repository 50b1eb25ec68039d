"""What a stranger who subclasses a contract gets wrong first, and what he is told."""

from __future__ import annotations

import asyncio
import functools
import re
from unittest import SkipTest

import pytest

from coalesce_kit import MemoryCache, Observer, RequestCoalescer
from coalesce_kit.stores.memory import MemoryServer, MemoryStore
from coalesce_kit.testing.cache_contract import ResultCacheContract
from coalesce_kit.testing.clock import run
from coalesce_kit.testing.coalescer_contract import CoalescerContract
from coalesce_kit.testing.contract_tools import to_be_said
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


def test_a_class_in_between_may_ask_in_its_own_words():
    """What it marks is still to be said."""

    class ContractOfMine(CoalescerContract):
        @to_be_said("what I mean: def make_coalescer(self)")
        def make_coalescer(self):
            pass

    with pytest.raises(TypeError, match="TestMine has to say what I mean"):
        type("TestMine", (ContractOfMine,), {})


class FilledCoalescers(CoalescerContract):
    def make_coalescer(self):
        return self.came

    test = CoalescerContract.test_nothing_is_kept


class FilledCaches(ResultCacheContract):
    def keeping(self, *, most, ttl):
        return self.came

    test = ResultCacheContract.test_what_is_kept_is_the_answer


class FilledObservers(ObserverContract):
    def make_observer(self):
        return self.came

    test = ObserverContract.test_it_takes_every_event


class FilledStores(LeaseStoreContract):
    async def open_store(self):
        return self.came

    test = LeaseStoreContract.test_stores_see_one_server


class FilledStoresAtOnce(LeaseStoreContract):
    def open_store(self):
        return self.came

    test = LeaseStoreContract.test_stores_see_one_server


async def later():
    """What an ``async def`` returns before it is awaited."""


FILLED_WRONGLY = [
    (FilledCoalescers, lambda: None, "make_coalescer() has to return a new coalescer, but it returned None"),
    (FilledCoalescers, lambda: RequestCoalescer, "returned the class RequestCoalescer, and no object of it: call it"),
    (FilledCoalescers, later, "returned a coroutine, which has to be awaited first"),
    (FilledCoalescers, asyncio.Future, "returned a Future, which has to be awaited first"),
    (FilledCoalescers, object, "returned a object, which has no get_or_fetch, no forget, no flights, no aclose"),
    (FilledCaches, lambda: None, "keeping() has to return a decorator, such as coalesced(ttl=ttl, cache=...), but"),
    (FilledCaches, lambda: MemoryCache, "returned the class MemoryCache, and no object of it: call it"),
    (FilledCaches, MemoryCache, "but it returned a MemoryCache: give that to the decorator"),
    (FilledCaches, lambda: functools.lru_cache, "which has no invalidate, no invalidate_all, no peek, no prime"),
    (FilledCaches, lambda: lambda _: None, "a decorator that makes what coalesced makes, but it returned None"),
    (FilledObservers, lambda: None, "make_observer() has to return a new observer, but it returned None"),
    (FilledObservers, lambda: Observer, "returned the class Observer, and no object of it: call it"),
    (FilledStores, lambda: None, "open_store() has to return a new store, but it returned None: a return is missing"),
    (FilledStores, MemoryServer, "returned a MemoryServer, which has no namespace"),
    (FilledStoresAtOnce, lambda: MemoryStore(MemoryServer()), "returned a MemoryStore: make it an async def"),
]


@pytest.mark.parametrize(("contract", "make", "message"), FILLED_WRONGLY)
def test_what_a_contract_is_given_is_looked_at(contract, make, message):
    """What came, what was expected, and the way out."""

    async def judged():
        filled = contract()
        filled.came = make()
        await filled.test()

    with pytest.raises(TypeError, match=re.escape(message)):
        run(judged())


@pytest.mark.parametrize("contract", [CoalescerContract, ResultCacheContract, ObserverContract])
def test_what_is_not_awaited_is_no_async_def(contract):
    """It is one error, when the class is made."""
    method = TO_BE_SAID[contract].removeprefix("def ").partition("\\")[0]

    async def asynchronous(self, **options):
        pass

    with pytest.raises(TypeError, match=f"Mine.{method} is an async def, but it is called and not awaited"):
        type("Mine", (contract,), {method: asynchronous})


@pytest.mark.usefixtures("virtual_time")
async def test_stores_apart_are_not_waited_for():
    """Once it is known that stores do not see one server, what needs two is skipped; until it is known that they do."""

    class Apart(LeaseStoreContract):
        servers = [MemoryServer(), MemoryServer()]

        async def open_store(self):
            self.servers.reverse()
            return MemoryStore(self.servers[0])

    with pytest.raises(AssertionError, match="two stores that were opened see one server"):
        await Apart().test_stores_see_one_server()
    with pytest.raises(SkipTest, match="test_stores_see_one_server has failed"):
        await Apart().test_an_invalidation_is_announced_to_all()
    await Apart().test_an_empty_record_is_won()
    Apart.servers = [Apart.servers[0]]
    await Apart().test_stores_see_one_server()
    await Apart().test_an_invalidation_is_announced_to_all()


@pytest.mark.parametrize(
    "test", ["test_the_first_signal_says_that_it_stands", "test_a_closed_iterator_ends", "test_the_horizon_moves"]
)
def test_signals_that_do_not_come_are_not_waited_for_for_ever(test):
    """A store whose signals neither come nor end fails what is about them."""

    class Silence:
        async def __anext__(self):
            await asyncio.get_running_loop().create_future()

        def __aiter__(self):
            return self

        async def aclose(self):
            pass

    class Silent(MemoryStore):
        def signals(self, **options):
            return Silence()

    class Contract(LeaseStoreContract):
        async def open_store(self):
            return Silent(MemoryServer())

    async def judged():
        await getattr(Contract(), test)()

    with pytest.raises(AssertionError, match="within 10 s"):
        run(judged())


def test_signals_that_never_begin_are_waited_for_once():
    """The other tests of the class fail at once; those of another class wait for themselves."""

    class Deaf(MemoryStore):
        async def signals(self, **options):
            await asyncio.sleep(1000)
            yield

    class Contract(LeaseStoreContract):
        async def open_store(self):
            return Deaf(MemoryServer())

    class Another(Contract):
        pass

    async def judged(contract, message):
        started = asyncio.get_running_loop().time()
        with pytest.raises(AssertionError, match=message):
            await contract().test_the_horizon_moves()
        return asyncio.get_running_loop().time() - started

    assert run(judged(Contract, "no Connected came within 10 s")) == 10
    assert run(judged(Contract, "no Connected came in an earlier test")) == 0
    assert run(judged(Another, "no Connected came within 10 s")) == 10


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
