"""The reference store: processes that are simulated in one, over a server that is an object."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeVar

from ..clock import clock
from ..errors import StoreRefusedError, StoreUnavailableError
from ..store_port import (
    HEARTBEAT_SECONDS,
    TAG_KEEP_SECONDS,
    Acquired,
    Connected,
    HeardUpTo,
    Kept,
    Lost,
    Published,
    PublishKind,
    Signal,
    SignalStream,
    StoreLifetimes,
)
from .listening import Audience
from .memory_server import MemoryServer

__all__ = ["MemoryServer", "MemoryStore", "Wire"]

R = TypeVar("R")
T = TypeVar("T")


class Wire:
    """The way between one process and the server; a subclass makes it slow, or loses what goes over it.

    This one takes one turn of the loop in each direction and loses nothing.
    """

    async def ask(self, operation: str, key: str) -> None:  # noqa: ARG002  # for subclasses
        """Carry a question. What this raises reaches the caller, and nothing happens on the server.

        Args:
            operation: its name, as in the port.
            key: the first of its keys or tags.
        """
        await asyncio.sleep(0)

    async def answer(self, operation: str, key: str) -> None:  # noqa: ARG002  # for subclasses
        """Carry an answer. What this raises reaches the caller, although the server did it."""
        await asyncio.sleep(0)

    def push(self, signal: Signal, deliver: Callable[[], None]) -> None:  # noqa: ARG002  # for subclasses
        """Carry a signal: call ``deliver()`` now, later on the same loop, or never."""
        deliver()


class MemoryStore:
    """One process's store over a ``MemoryServer``. The reference of the port, and a store for tests.

    Args:
        server: which it shares with the other simulated processes; one of its own without.
        namespace: see the port.
        digest_key: see the port.
        wire: the way to the server; one that loses nothing without.

    *Concurrency*: any number of loops in any number of threads.
    """

    def __init__(
        self,
        server: MemoryServer | None = None,
        *,
        namespace: str = "memory",
        digest_key: bytes | None = None,
        wire: Wire | None = None,
    ) -> None:
        self.server: Final = MemoryServer() if server is None else server
        self.wire: Final = Wire() if wire is None else wire
        self._namespace = namespace
        self._digest_key = digest_key
        self._posts: dict[asyncio.AbstractEventLoop, _Post] = {}

    def __repr__(self) -> str:
        return f"<MemoryStore namespace={self._namespace!r}>"

    @property
    def namespace(self) -> str:
        """See the port."""
        return self._namespace

    @property
    def digest_key(self) -> bytes | None:
        """See the port."""
        return self._digest_key

    async def read(self, key: str, *, have: str | None = None) -> Kept | None:
        """See the port."""
        return await self._do("read", key, lambda: self.server.read(key, have))

    async def acquire(
        self,
        key: str,
        *,
        token: str,
        lease_seconds: float,
        wake: bool,
        after: str | None = None,
        reject: str | None = None,
        refresh_of: str | None = None,
        wait_if_held: bool = True,
    ) -> Acquired:
        """See the port."""
        _check_token(token)
        post = self._posts.get(asyncio.get_running_loop()) if wake else None
        channel = post.channel if post is not None and post.audience.is_connected else None

        def act() -> Acquired:
            return self.server.acquire(
                key,
                token=token,
                lease_seconds=lease_seconds,
                channel=channel,
                after=after,
                reject=reject,
                refresh_of=refresh_of,
                wait_if_held=wait_if_held,
            )

        return await self._do("acquire", key, act)

    async def renew(self, leases: Sequence[tuple[str, str]], *, lease_seconds: float) -> Sequence[bool]:
        """See the port."""

        def renew(lease: tuple[str, str]) -> bool:
            return self.server.renew(lease[0], token=lease[1], lease_seconds=lease_seconds)

        return await self._do_each("renew", [key for key, _ in leases], leases, renew)

    async def publish(
        self,
        key: str,
        *,
        token: str,
        body: bytes,
        kind: PublishKind,
        lifetimes: StoreLifetimes,
        fetch_seconds: float,
        announce: bool = False,
    ) -> Published:
        """See the port."""
        _check_token(token)

        def act() -> Published:
            return self.server.publish(
                key,
                namespace=self._namespace,
                token=token,
                body=body,
                kind=kind,
                lifetimes=lifetimes,
                fetch_seconds=fetch_seconds,
                announce=announce,
            )

        return await self._do("publish", key, act)

    async def abandon(self, key: str, *, token: str) -> bool:
        """See the port."""
        return await self._do("abandon", key, lambda: self.server.abandon(key, token=token))

    async def invalidate(self, keys: Sequence[str]) -> None:
        """See the port."""

        def invalidate(key: str) -> None:
            self.server.invalidate(key, namespace=self._namespace)

        await self._do_each("invalidate", keys, keys, invalidate)

    async def tag_versions(
        self, tags: Sequence[str], *, replace: bool = False, keep_seconds: float = TAG_KEEP_SECONDS
    ) -> Sequence[str]:
        """See the port."""

        def version(tag: str) -> str:
            return self.server.tag_version(tag, namespace=self._namespace, replace=replace, keep_seconds=keep_seconds)

        return await self._do_each("tag_versions", tags, tags, version)

    def signals(self, *, heartbeat_seconds: float = HEARTBEAT_SECONDS) -> SignalStream:
        """See the port."""
        loop = asyncio.get_running_loop()
        post = self._posts.get(loop)
        if post is None:
            for other, gone in tuple(self._posts.items()):
                if other.is_closed():
                    self._posts.pop(other, None)
                    gone.stop()
            post = self._posts[loop] = _Post(self, loop)
        return post.audience.join(heartbeat_seconds)

    async def aclose(self) -> None:
        """See the port."""
        post = self._posts.pop(asyncio.get_running_loop(), None)
        if post is not None:
            post.audience.leave_all()

    async def _do(self, operation: str, key: str, act: Callable[[], R]) -> R:
        await self.wire.ask(operation, key)
        answer = self._act(act)
        await self.wire.answer(operation, key)
        return answer

    async def _do_each(self, operation: str, keys: Sequence[str], items: Sequence[T], act: Callable[[T], R]) -> list[R]:
        """Do one step for each item; the steps of others may come between them, as on a real server."""
        answers: list[R] = []
        failed: Exception | None = None
        for key, item in zip(keys, items, strict=True):
            try:
                await self.wire.ask(operation, key)
                answers.append(self._act(partial(act, item)))
            except (StoreUnavailableError, StoreRefusedError) as error:
                failed = failed or error
        if keys:
            await self.wire.answer(operation, keys[0])
        if failed is not None:
            raise failed
        return answers

    def _act(self, act: Callable[[], R]) -> R:
        if not self.server.is_up:
            raise StoreUnavailableError("the server is down")
        return act()


class _Post:
    """What one loop of one process hears, and the timer of its heartbeat."""

    def __init__(self, store: MemoryStore, loop: asyncio.AbstractEventLoop) -> None:
        self.audience = Audience(opened=self._start, emptied=self.stop)
        self.channel: Final = self._hear  # one object for ever: the server knows it by that
        self._store = store
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._is_subscribed = False

    def stop(self) -> None:
        """Hear nothing more."""
        self._store.server.unsubscribe(self.channel)
        self._is_subscribed = False
        self._stop_timer()

    def _start(self) -> None:
        if self._is_subscribed:
            self._beat()
        else:
            self._is_subscribed = True
            self._store.server.subscribe(self.channel, self._store.namespace)

    def _hear(self, signal: Signal) -> None:
        """Take a signal from the server, in whatever thread it speaks."""
        try:
            is_here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            is_here = False
        push = partial(self._store.wire.push, signal, partial(self._tell, signal))
        if is_here:
            push()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(push)

    def _tell(self, signal: Signal) -> None:
        if not self._is_subscribed:
            return
        self.audience.tell(signal)
        if isinstance(signal, Connected):
            self._beat()
        elif isinstance(signal, Lost):
            self._stop_timer()

    def _beat(self) -> None:
        """Prove that everything was heard, and do it again after a heartbeat."""
        self._stop_timer()
        if self._store.server.is_up and self.audience.is_connected:
            self._hear(HeardUpTo(clock.now()))
            if self.audience.heartbeat_seconds < math.inf:
                self._timer = self._loop.call_later(self.audience.heartbeat_seconds, self._beat)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _check_token(token: str) -> None:
    if not token:
        raise ValueError("a token is a random text, drawn for one call, not ''")
