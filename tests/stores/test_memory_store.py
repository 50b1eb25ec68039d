"""The reference store keeps the contract, in virtual time."""

from __future__ import annotations

import pytest

from coalesce_kit.stores.memory import MemoryServer, MemoryStore
from coalesce_kit.testing.store_contract import LeaseStoreContract


@pytest.mark.usefixtures("virtual_time")
class TestMemoryStore(LeaseStoreContract):
    """The reference."""

    def setup_method(self):
        self.server = MemoryServer()

    async def open_store(self):
        return MemoryStore(self.server)

    async def lose(self, key):
        self.server.evict(key)

    async def lose_everything(self):
        self.server.empty()

    async def fill_up(self):
        self.server.is_full = True

    async def make_room(self):
        self.server.is_full = False
