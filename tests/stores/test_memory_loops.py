"""One memory store over loops in several threads, and loops that come and go."""

from __future__ import annotations

import asyncio
import math
import threading

from coalesce_kit.store_port import Connected, Dropped
from coalesce_kit.stores.memory import MemoryStore

KEY = "cc1:memory:key"


async def listen(store, ready, heard):
    """Hear one announcement, and leave without closing anything."""
    stream = store.signals(heartbeat_seconds=math.inf)
    assert await anext(stream) == Connected()
    ready.set()
    async for signal in stream:
        if isinstance(signal, Dropped):
            heard.append(signal)
            return


def test_loops_of_other_threads_hear():
    """A loop of another thread is told what is done on this one; a loop that is closed is told nothing."""
    store, heard = MemoryStore(), []
    for _ in range(2):
        ready = threading.Event()
        thread = threading.Thread(target=lambda ready=ready: asyncio.run(listen(store, ready, heard)))
        thread.start()
        assert ready.wait(10)
        asyncio.run(store.invalidate([KEY]))
        thread.join(10)
        assert not thread.is_alive()
    asyncio.run(store.invalidate([KEY]))
    assert heard == [Dropped(KEY)] * 2


def test_closed_loops_are_forgotten():
    """A loop that is gone leaves nothing in the store once another one listens."""
    store = MemoryStore()

    async def leave():
        store.signals(heartbeat_seconds=math.inf)

    async def stay():
        store.signals()
        try:
            return len(store._posts)
        finally:
            await store.aclose()

    asyncio.run(leave())
    asyncio.run(leave())
    assert asyncio.run(stay()) == 1


def test_a_signal_from_outside_of_any_loop_is_heard():
    """What is done to the server by a thread without a loop is told on the listener's own loop."""
    store = MemoryStore()

    async def hear():
        stream = store.signals(heartbeat_seconds=math.inf)
        await anext(stream)
        await anext(stream)
        thread = threading.Thread(target=store.server.cut_off)
        thread.start()
        signals = [await anext(stream), await anext(stream)]
        thread.join()
        await store.aclose()
        return [type(signal).__name__ for signal in signals]

    assert asyncio.run(hear()) == ["Lost", "Connected"]
