"""What every store does, whatever server is behind it: subclass it, say how a store is opened, and all of it is tested.

::

    from coalesce_kit.testing.store_contract import LeaseStoreContract

    class TestMyStore(LeaseStoreContract):
        async def open_store(self) -> LeaseStore:
            return MyStore("my://localhost")

The tests are coroutines: pytest runs them with pytest-asyncio or anyio. They need a server that is up, and no server to
themselves: every test has keys of its own. Four more methods say how the server is hurt (``lose``, ``lose_everything``,
``fill_up`` and ``make_room``); the tests of what a contract does not say are skipped by name.
"""

from __future__ import annotations

from .store_asking import AskingContract
from .store_hearing import HearingContract
from .store_holding import HoldingContract
from .store_publishing import PublishingContract


class LeaseStoreContract(AskingContract, PublishingContract, HoldingContract, HearingContract):
    """Every line of what ``LeaseStore`` promises, as tests. See the module for how it is used."""
