"""What one loop hears from the server: wake-ups and announcements, and the proof that none was missed."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import logging
import math
import random
import secrets
from collections.abc import Callable
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, RedisError

from ..clock import clock
from ..store_port import Connected, HeardUpTo, Lost
from .listening import Audience
from .redis_connections import CONNECT_TIMEOUT_SECONDS, Client, Endpoint, close_client
from .redis_messages import read_message

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS: Final = 0.05
LONGEST_PAUSE_SECONDS: Final = 5.0


class _LostError(Exception):
    """The subscription is not what it was."""


class RedisSignals:
    """One loop's subscription: a connection for each place where messages are published.

    Args:
        endpoint: makes the connections.
        client: knows the primaries of a cluster.
        namespace: whose announcements are heard.
        operation_timeout_seconds: the shortest time that is waited for the answer to a ping.
        connected: called when the subscription stands.

    Attributes:
        audience: who listens.
        wake_channel: where this loop is woken; drawn here, so that no two processes share it.
        announce_channel: where the namespace's announcements are published.

    *Concurrency*: one loop.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        client: Client,
        *,
        namespace: str,
        operation_timeout_seconds: float,
        connected: Callable[[], None],
    ) -> None:
        self.wake_channel: Final = f"cc1:{namespace}:wake:{secrets.token_hex(8)}"
        self.announce_channel: Final = announce_channel(namespace)
        self.audience: Final = Audience(opened=self._open, emptied=self._stop)
        self._endpoint = endpoint
        self._client = client
        self._patience_seconds = operation_timeout_seconds
        self._connected = connected
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._hurry = asyncio.Event()
        self._ears: list[_Ear] = []
        self._was_refused = False

    async def close(self) -> None:
        """End the subscription and everything that listens to it."""
        self.audience.leave_all()
        self._stop()
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _open(self) -> None:
        if self._task is None:
            self._task = self._loop.create_task(self._stay_subscribed(), context=contextvars.Context())
        self._hurry.set()

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._ending.add(self._task)
            self._task.add_done_callback(self._ending.discard)
            self._task = None

    async def _stay_subscribed(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            ears: list[_Ear] = []
            try:
                ears = await self._subscribe()
                pause = FIRST_PAUSE_SECONDS
                self.audience.tell(Connected())
                self._connected()
                await self._listen(ears)
            except NoPermissionError as error:
                if not self._was_refused:
                    logger.error("store_permission_missing", extra={"refused": [f"SUBSCRIBE: {error}"]})
                self._was_refused = True
                pause = LONGEST_PAUSE_SECONDS
            except Exception as error:  # whatever broke it, without it nobody is woken: it is made again
                level = logging.INFO if self.audience.is_connected else logging.DEBUG  # said once, not at every attempt
                logger.log(level, "store_subscription_lost", extra={"error": f"{type(error).__name__}: {error}"})
            finally:
                for ear in ears:
                    await ear.close()
            if self.audience.is_connected:
                self.audience.tell(Lost())
            await asyncio.sleep(pause * (0.5 + random.random()))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _subscribe(self) -> list[_Ear]:
        """Subscribe everywhere, and return when all of it is confirmed."""
        ears: list[_Ear] = []
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS + self._patience_seconds):
                ears += [_Ear(client, self._hear, self._prove) for client in await self._endpoint.make_listeners()]
                for ear in ears:
                    await ear.open(self.wake_channel, self.announce_channel)
        except BaseException:
            for ear in ears:
                await ear.close()
            raise
        self._ears = ears
        return ears

    async def _listen(self, ears: list[_Ear]) -> None:
        """Read and ping until something is wrong, which is raised."""
        tasks = [asyncio.ensure_future(ear.listen()) for ear in ears]
        tasks.append(asyncio.ensure_future(self._ping(ears)))
        try:
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            ended.pop().result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _ping(self, ears: list[_Ear]) -> None:
        """Ask again and again whether everything was heard."""
        primaries = self._endpoint.primaries(self._client)
        while True:
            self._hurry.clear()
            for ear in ears:
                await ear.ping()
            await self._pause(self.audience.heartbeat_seconds)
            if any(ear.has_waited_seconds > self._patience_seconds for ear in ears):
                # Perhaps it was this loop that did not listen: it gets one more look before that counts.
                await asyncio.sleep(self._patience_seconds)
                if any(ear.has_waited_seconds > 2 * self._patience_seconds for ear in ears):
                    raise _LostError("a ping was not answered")
            # A client that has not looked yet, or is looking, knows none.
            known = self._endpoint.primaries(self._client)
            if known and primaries and known != primaries:
                raise _LostError("the cluster has other primaries")
            primaries = known or primaries

    async def _pause(self, seconds: float) -> None:
        """Wait for the next heartbeat, or for somebody who wants it more often."""
        try:
            async with asyncio.timeout(None if seconds == math.inf else seconds):
                await self._hurry.wait()
        except TimeoutError:
            pass

    def _hear(self, message: bytes) -> None:
        signal = read_message(message)
        if signal is not None:
            self.audience.tell(signal)

    def _prove(self) -> None:
        """Tell up to when everything was heard, everywhere."""
        moment = min(ear.heard_up_to for ear in self._ears)
        if moment > self.audience.heard_up_to:
            self.audience.tell(HeardUpTo(moment))


class _Ear:
    """One subscribed connection.

    What a server sends on one connection comes in order. So the answer to a ping proves that everything published
    there before the ping was sent has come.
    """

    def __init__(self, client: Redis, hear: Callable[[bytes], None], prove: Callable[[], None]) -> None:
        self.heard_up_to = -math.inf
        self._client = client
        self._pubsub = client.pubsub(ignore_subscribe_messages=False)
        self._hear = hear
        self._prove = prove
        self._pings: dict[bytes, float] = {}
        self._numbers = itertools.count()

    @property
    def has_waited_seconds(self) -> float:
        """For how long the oldest ping without an answer has been on its way."""
        return clock.now() - min(self._pings.values()) if self._pings else 0.0

    async def open(self, *channels: str) -> None:
        """Subscribe, and return when all of it is confirmed."""
        await self._pubsub.subscribe(*channels)
        confirmed = 0
        while confirmed < len(channels):
            confirmed += await self._next() == "subscribe"

    async def listen(self) -> None:
        """Read for ever."""
        while True:
            if await self._next(self._hear) == "subscribe":
                # Some versions connect and subscribe again without a word: only this betrays it.
                raise _LostError("the connection was made anew")

    async def ping(self) -> None:
        """Ask whether everything was heard."""
        number = b"%d" % next(self._numbers)
        self._pings[number] = clock.now()
        await self._pubsub.ping(message=number)

    async def close(self) -> None:
        """Close the connection."""
        try:
            await self._pubsub.aclose()  # type: ignore[no-untyped-call]  # redis-py's own
            await close_client(self._client)
        except (RedisError, OSError, RuntimeError):
            pass  # it was gone already

    async def _next(self, hear: Callable[[bytes], None] = lambda _: None) -> str:
        message: dict[str, Any] | None = await self._pubsub.get_message(ignore_subscribe_messages=False, timeout=None)
        if message is None:
            return ""
        if message["type"] == "message":
            hear(message["data"])
        elif message["type"] == "pong":
            moment = self._pings.pop(message["data"], None)
            if moment is not None:
                self.heard_up_to = max(self.heard_up_to, moment)
                self._prove()
        return str(message["type"])


def announce_channel(namespace: str) -> str:
    """Return the channel of a namespace's announcements."""
    return f"cc1:{namespace}:all"
