"""What the tests of a store stand on: how a store is opened and hurt, which a subclass says, and the tools."""

from __future__ import annotations

import asyncio
import inspect
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Final
from unittest import SkipTest

from ..store_port import (
    Acquired,
    Connected,
    LeaseStore,
    Published,
    PublishKind,
    StoreLifetimes,
    Wait,
    Won,
)
from .contract_tools import Contract, check_what_came, names_of, to_be_said, unsaid
from .store_answers import Heard, expect

LONG_SECONDS: Final = 30.0
"""A time that no test outlives."""


def new_token() -> str:
    """Draw a token."""
    return secrets.token_hex(16)


class StoreStage(Contract):
    """How a store is opened and hurt, the tools of the tests, and the first of them, on which all others stand.

    Attributes:
        short_seconds: a time that the server can tell from none. Tests wait for two of it.
    """

    short_seconds: float = 0.05

    _apart: ClassVar[bool] = False
    _silent: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        """Note for each class of tests what has them wait in vain: stores apart, signals that do not come."""
        super().__init_subclass__(**options)
        cls._apart = cls._silent = False

    # ---- what a subclass says ----

    @to_be_said("how a store is opened: async def open_store(self)")
    async def open_store(self) -> LeaseStore:
        """Return a new store on the test's server, as one more process has it. The contract closes it.

        Raises:
            NotImplementedError: a subclass has not said it.

        *Cancellation*: what it has opened when it is cancelled is its own to close.
        """
        raise unsaid(self.open_store)

    async def lose(self, key: str) -> None:  # noqa: ARG002  # for subclasses
        """Have the server forget one record without a word, as an eviction does.

        Raises:
            SkipTest: a subclass has not said it, and what needs it is skipped.
        """
        raise SkipTest("this contract does not say how its server loses a record: async def lose(self, key)")

    async def lose_everything(self) -> None:
        """Have the server forget everything without a word, as a restart without persistence does.

        Raises:
            SkipTest: a subclass has not said it, and what needs it is skipped.
        """
        raise SkipTest("this contract does not say how its server is emptied: async def lose_everything(self)")

    async def fill_up(self) -> None:
        """Have the server refuse to grow.

        Raises:
            SkipTest: a subclass has not said it, and what needs it is skipped.
        """
        raise SkipTest("this contract does not say how its server is filled: async def fill_up(self)")

    async def make_room(self) -> None:
        """Take ``fill_up`` back. Called at the end of every test too, whether it failed or not."""

    # ---- what all tests stand on ----

    async def test_stores_see_one_server(self) -> None:
        """What a store that was opened publishes, another one that was opened reads: ``open_store`` makes no server."""
        cls = type(self)
        cls._apart = False
        async with self.stores(2) as (store, other):
            key = self.key()
            await self.keep(store, key, b"published")
            record = await other.read(key)
            if record is None or record.body != b"published":
                cls._apart = True
                raise AssertionError(
                    "two stores that were opened see one server: what one publishes the other reads, but it read "
                    f"{record!r}; open_store() has to open each store on the server that the test has"
                )

    # ---- tools ----

    @asynccontextmanager
    async def stores(self, count: int = 1) -> AsyncIterator[list[LeaseStore]]:
        """Open stores, and close them.

        Raises:
            SkipTest: there is to be more than one, and ``test_stores_see_one_server`` has failed.
            TypeError: ``open_store`` returned something else.

        *Cancellation*: what was opened is closed.
        """
        if count > 1 and self._apart:
            raise SkipTest("it needs stores that see one server: test_stores_see_one_server has failed")
        opened: list[LeaseStore] = []
        try:
            for _ in range(count):
                opened.append(await self._open())  # noqa: PERF401  # what was opened before a failure is closed
            yield opened
        finally:
            await self.make_room()
            for store in opened:
                await store.aclose()

    async def _open(self) -> LeaseStore:
        opening: object = self.open_store()
        if not inspect.isawaitable(opening):
            raise TypeError(
                f"{type(self).__name__}.open_store() is awaited, but it returned a {type(opening).__name__}: make it "
                "an async def"
            )
        store: LeaseStore = await opening
        check_what_came(self, "open_store", store, expected="a new store", needed=names_of(LeaseStore))
        return store

    @asynccontextmanager
    async def listening(self, store: LeaseStore, *, heartbeat_seconds: float = LONG_SECONDS) -> AsyncIterator[Heard]:
        """Open a store's signals and wait until the subscription stands.

        Raises:
            AssertionError: it does not stand in time, or did not in an earlier test of the class.
        """
        cls = type(self)
        assert not cls._silent, "no Connected came in an earlier test of this class, and it is not waited for again"
        heard = Heard(store.signals(heartbeat_seconds=heartbeat_seconds))
        try:
            try:
                await heard.until(Connected)
            except AssertionError:
                cls._silent = True
                raise
            yield heard
        finally:
            await heard.close()

    def key(self, name: str = "key") -> str:
        """Return a key that no other test has."""
        return f"cc1:contract:{name}:{secrets.token_hex(8)}"

    async def pass_short_time(self) -> None:
        """Wait until what lasts ``short_seconds`` is over."""
        await asyncio.sleep(2 * self.short_seconds)

    async def win(
        self,
        store: LeaseStore,
        key: str,
        *,
        token: str | None = None,
        lease_seconds: float = LONG_SECONDS,
        reject: str | None = None,
    ) -> str:
        """Take a lease that nobody holds and return its token."""
        token = new_token() if token is None else token
        answer = await store.acquire(key, token=token, lease_seconds=lease_seconds, wake=False, reject=reject)
        expect(Won, answer, "nobody holds the lease, so who asks wins it")
        return token

    async def ask(
        self,
        store: LeaseStore,
        key: str,
        *,
        token: str | None = None,
        wake: bool = True,
        after: str | None = None,
        reject: str | None = None,
        refresh_of: str | None = None,
        wait_if_held: bool = True,
    ) -> Acquired:
        """Ask with a token of its own."""
        return await store.acquire(
            key,
            token=new_token() if token is None else token,
            lease_seconds=LONG_SECONDS,
            wake=wake,
            after=after,
            reject=reject,
            refresh_of=refresh_of,
            wait_if_held=wait_if_held,
        )

    async def wait_for(self, store: LeaseStore, key: str, token: str) -> None:
        """Have a store wait for a lease."""
        answer = expect(Wait, await self.ask(store, key), "another holds the lease, and who asks is told to wait")
        assert answer.token == token, "the answer to wait names the lease that is waited for"

    async def publish(
        self,
        store: LeaseStore,
        key: str,
        token: str,
        body: bytes = b"body",
        *,
        kind: PublishKind = "keep",
        fresh_seconds: float = LONG_SECONDS,
        usable_seconds: float = LONG_SECONDS,
        grace_seconds: float = LONG_SECONDS,
        fetch_seconds: float = 0.25,
        announce: bool = False,
    ) -> Published:
        """Publish."""
        return await store.publish(
            key,
            token=token,
            body=body,
            kind=kind,
            lifetimes=StoreLifetimes(fresh_seconds, max(usable_seconds, fresh_seconds), grace_seconds),
            fetch_seconds=fetch_seconds,
            announce=announce,
        )

    async def keep(
        self,
        store: LeaseStore,
        key: str,
        body: bytes = b"body",
        *,
        fresh_seconds: float = LONG_SECONDS,
        usable_seconds: float = LONG_SECONDS,
        reject: str | None = None,
    ) -> str:
        """Take the lease, publish a result, and return its version."""
        token = await self.win(store, key, reject=reject)
        published = await self.publish(
            store, key, token, body, fresh_seconds=fresh_seconds, usable_seconds=usable_seconds
        )
        assert published is Published.KEPT, "who holds the lease publishes a result, and it is kept"
        return token
