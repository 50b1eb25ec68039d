"""What the tests of a store stand on: how a store is opened and hurt, which a subclass says, and the tools."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar
from unittest import SkipTest

from ..store_port import (
    Acquired,
    Connected,
    LeaseStore,
    Published,
    PublishKind,
    Signal,
    SignalStream,
    StoreLifetimes,
    Wait,
    Won,
)
from .contract_tools import Contract, to_be_said, unsaid

S = TypeVar("S")

LONG_SECONDS: Final = 30.0
"""A time that no test outlives."""

PATIENCE_SECONDS: Final = 10.0
"""How long a test waits for a signal before it fails."""


def new_token() -> str:
    """Draw a token."""
    return secrets.token_hex(16)


def about(key: str) -> Callable[[Any], bool]:
    """Return whether a signal is about a key, as a function. Signals may come more than once."""
    return lambda signal: bool(signal.key == key)


class StoreStage(Contract):
    """How a store is opened and hurt, the tools of the tests, and the first of them, on which all others stand.

    Attributes:
        short_seconds: a time that the server can tell from none. Tests wait for two of it.
    """

    short_seconds: float = 0.05

    # ---- what a subclass says ----

    @to_be_said("how a store is opened: async def open_store(self)")
    async def open_store(self) -> LeaseStore:
        """Return a new store on the test's server, as one more process has it. The contract closes it."""
        raise unsaid(self.open_store)

    async def lose(self, key: str) -> None:  # noqa: ARG002  # for subclasses
        """Have the server forget one record without a word, as an eviction does."""
        raise SkipTest("this contract does not say how its server loses a record: async def lose(self, key)")

    async def lose_everything(self) -> None:
        """Have the server forget everything without a word, as a restart without persistence does."""
        raise SkipTest("this contract does not say how its server is emptied: async def lose_everything(self)")

    async def fill_up(self) -> None:
        """Have the server refuse to grow."""
        raise SkipTest("this contract does not say how its server is filled: async def fill_up(self)")

    async def make_room(self) -> None:
        """Take ``fill_up`` back. Called at the end of every test too."""

    # ---- what all tests stand on ----

    async def test_stores_see_one_server(self) -> None:
        """What a store that was opened publishes, another one that was opened reads: ``open_store`` makes no server."""
        async with self.stores(2) as (store, other):
            key = self.key()
            await self.keep(store, key, b"published")
            record = await other.read(key)
            if record is None or record.body != b"published":
                raise AssertionError(
                    "two stores that were opened see one server: what one publishes the other reads, but it read "
                    f"{record!r}; open_store() has to open each store on the server that the test has"
                )

    # ---- tools ----

    @asynccontextmanager
    async def stores(self, count: int = 1) -> AsyncIterator[list[LeaseStore]]:
        """Open stores, and close them."""
        opened: list[LeaseStore] = []
        try:
            for _ in range(count):
                opened.append(await self.open_store())  # noqa: PERF401  # what was opened before a failure is closed
            yield opened
        finally:
            await self.make_room()
            for store in opened:
                await store.aclose()

    @asynccontextmanager
    async def listening(self, store: LeaseStore, *, heartbeat_seconds: float = LONG_SECONDS) -> AsyncIterator[Heard]:
        """Open a store's signals and wait until the subscription stands."""
        heard = Heard(store.signals(heartbeat_seconds=heartbeat_seconds))
        try:
            await heard.until(Connected)
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
        assert isinstance(answer, Won), f"a lease that nobody holds is won, not {answer!r}"
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
        answer = await self.ask(store, key)
        assert isinstance(answer, Wait), f"the lease is held, so the answer is to wait, not {answer!r}"
        assert answer.token == token, "the answer names the lease to wait for"

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
        assert published is Published.KEPT, f"the holder's result is kept, not {published}"
        return token


class Heard:
    """The signals of one iterator, as they come."""

    def __init__(self, signals: SignalStream) -> None:
        self._signals = signals

    async def until(self, kind: type[S], matches: Callable[[S], bool] = lambda _: True) -> list[Signal]:
        """Return every signal up to the first of a kind that matches, which is the last of the list."""
        heard: list[Signal] = []
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                async for signal in self._signals:
                    heard.append(signal)
                    if isinstance(signal, kind) and matches(signal):
                        return heard
        except TimeoutError:
            raise AssertionError(f"no {kind.__name__} came within {PATIENCE_SECONDS:g} s, only {heard}") from None
        raise AssertionError(f"the signals ended without a {kind.__name__}, after {heard}")

    async def first(self, kind: type[S], matches: Callable[[S], bool] = lambda _: True) -> S:
        """Return the first signal of a kind that matches."""
        last = (await self.until(kind, matches))[-1]
        assert isinstance(last, kind)
        return last

    async def close(self) -> None:
        """Close the iterator."""
        await self._signals.aclose()
