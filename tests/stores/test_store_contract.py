"""The contract notices stores that are wrong, skips what it was not told, and says what it needs."""

from __future__ import annotations

from unittest import SkipTest

import pytest

from coalesce_kit.store_port import Connected, Lost
from coalesce_kit.stores.memory import MemoryServer, MemoryStore
from coalesce_kit.testing import store_stage
from coalesce_kit.testing.store_contract import LeaseStoreContract
from tests.stores.broken import SERVERS, STORES


class Contract(LeaseStoreContract):
    """The contract over any kind of server and store."""

    __test__ = False

    def __init__(self, server_class=MemoryServer, store_class=MemoryStore):
        self.server = server_class()
        self.store_class = store_class

    async def open_store(self):
        return self.store_class(self.server)

    async def lose(self, key):
        self.server.evict(key)

    async def lose_everything(self):
        self.server.empty()

    async def fill_up(self):
        self.server.is_full = True

    async def make_room(self):
        self.server.is_full = False


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.parametrize(("broken", "name"), SERVERS.items(), ids=lambda value: getattr(value, "__name__", value))
async def test_a_broken_server_is_noticed(broken, name):
    """Each planted fault of a server turns the test red that is about it."""
    with pytest.raises((AssertionError, ValueError)):
        await getattr(Contract(broken), name)()
    await getattr(Contract(), name)()


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.parametrize(("broken", "name"), STORES.items(), ids=lambda value: getattr(value, "__name__", value))
async def test_a_broken_store_is_noticed(broken, name):
    """The same for faults of a store."""
    with pytest.raises(AssertionError):
        await getattr(Contract(store_class=broken), name)()


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.parametrize(
    "name", ["test_an_evicted_record_refuses", "test_an_emptied_server_refuses", "test_a_full_server_still_delivers"]
)
async def test_what_a_contract_does_not_say_is_skipped(name):
    """A contract that does not say how its server is hurt skips those tests."""

    class Silent(LeaseStoreContract):
        async def open_store(self):
            return MemoryStore(server)

    server = MemoryServer()
    with pytest.raises(SkipTest, match="does not say"):
        await getattr(Silent(), name)()


async def test_a_contract_says_how_a_store_is_opened():
    """Without `open_store` the first test says what is missing."""
    with pytest.raises(NotImplementedError, match="has to say how a store is opened"):
        await LeaseStoreContract().test_an_empty_record_is_won()


@pytest.mark.usefixtures("virtual_time")
async def test_a_signal_that_does_not_come_fails_by_name():
    """Waiting for a signal ends, and says what came instead."""
    contract = Contract()
    async with contract.stores() as (store,):
        heard = store_stage.Heard(store.signals())
        with pytest.raises(AssertionError, match=r"no Lost came within 10 s, only \[Connected"):
            await heard.until(Lost)
        await heard.close()
        heard = store_stage.Heard(store.signals())
        await heard.until(Connected)
        await store.aclose()
        with pytest.raises(AssertionError, match="the signals ended without a Connected"):
            await heard.until(Connected)
