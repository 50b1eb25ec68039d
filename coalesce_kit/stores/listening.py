"""Who on one loop listens to a store's signals: any number of iterators over one subscription."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from typing import Final

from ..store_port import Connected, HeardUpTo, Lost, Signal

MAX_QUEUED: Final = 10_000
"""How many signals wait for an iterator. One that falls behind further is told that it has missed something."""


class Listener:
    """An iterator over the signals of one loop.

    Args:
        audience: whom it belongs to.
        heartbeat_seconds: how often it wants to hear ``HeardUpTo``.
    """

    def __init__(self, audience: Audience, heartbeat_seconds: float) -> None:
        self.heartbeat_seconds: Final = heartbeat_seconds
        self._audience = audience
        self._queue: deque[Signal] = deque()
        self._awaited: asyncio.Future[None] | None = None
        self._is_closed = False

    def __aiter__(self) -> Listener:
        return self

    async def __anext__(self) -> Signal:
        while not self._queue:
            if self._is_closed:
                raise StopAsyncIteration
            if self._awaited is None or self._awaited.done():
                self._awaited = asyncio.get_running_loop().create_future()
            # Shielded: of several that wait, one that is cancelled must not take the others' future with it.
            await asyncio.shield(self._awaited)
        return self._queue.popleft()

    def hear(self, signal: Signal) -> None:
        """Queue a signal. On the listener's own loop."""
        if len(self._queue) >= MAX_QUEUED:
            self._queue.clear()
            # What was in the queue is missed now, exactly as if the connection had been lost and made again.
            self._queue.append(Lost())
            if self._audience.is_connected and not isinstance(signal, Connected):
                self._queue.append(Connected())
        self._queue.append(signal)
        self._wake()

    def end(self) -> None:
        """Have it yield nothing more. On the listener's own loop."""
        self._is_closed = True
        self._queue.clear()
        self._wake()

    async def aclose(self) -> None:
        """End it, and with the last one the subscription."""
        self._audience.leave(self)

    def _wake(self) -> None:
        if self._awaited is not None and not self._awaited.done():
            self._awaited.set_result(None)


class Audience:
    """The listeners of one loop, and what they know of the subscription.

    Args:
        opened: called when the first listener has come, or one that wants to hear more often.
        emptied: called when the last has left.

    Attributes:
        is_connected: whether the subscription stands.
        heard_up_to: the last horizon that was told.
    """

    def __init__(self, *, opened: Callable[[], None], emptied: Callable[[], None]) -> None:
        self.is_connected = False
        self.heard_up_to = -math.inf
        self._opened = opened
        self._emptied = emptied
        self._listeners: list[Listener] = []

    @property
    def heartbeat_seconds(self) -> float:
        """The shortest heartbeat that a listener wants; ``math.inf`` without one."""
        return min((listener.heartbeat_seconds for listener in self._listeners), default=math.inf)

    def join(self, heartbeat_seconds: float) -> Listener:
        """Add a listener, who is told first how the subscription stands."""
        if not heartbeat_seconds > 0:
            raise ValueError(f"heartbeat_seconds must be greater than 0, not {heartbeat_seconds!r}")
        before = self.heartbeat_seconds
        listener = Listener(self, heartbeat_seconds)
        self._listeners.append(listener)
        if self.is_connected:
            listener.hear(Connected())
            if self.heard_up_to > -math.inf:
                listener.hear(HeardUpTo(self.heard_up_to))
        if len(self._listeners) == 1 or heartbeat_seconds < before:
            self._opened()
        return listener

    def leave(self, listener: Listener) -> None:
        """Take a listener out; one that has left before changes nothing."""
        listener.end()
        if listener in self._listeners:
            self._listeners.remove(listener)
            if not self._listeners:
                self._emptied()
                self.is_connected, self.heard_up_to = False, -math.inf

    def leave_all(self) -> None:
        """Take everybody out."""
        for listener in tuple(self._listeners):
            self.leave(listener)

    def tell(self, signal: Signal) -> None:
        """Hand a signal to everybody. On their own loop."""
        if isinstance(signal, Connected):
            self.is_connected = True
        elif isinstance(signal, Lost):
            self.is_connected, self.heard_up_to = False, -math.inf
        elif isinstance(signal, HeardUpTo):
            self.heard_up_to = signal.moment
        for listener in tuple(self._listeners):
            listener.hear(signal)
