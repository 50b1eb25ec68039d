"""What can be done to the memory server, and what its stores make of it."""

from __future__ import annotations

import asyncio
import math

import pytest

from coalesce_kit.errors import StoreRefusedError, StoreUnavailableError
from coalesce_kit.store_port import Connected, Dropped, Finished, HeardUpTo, Lost, Published, Wait
from coalesce_kit.stores.memory import MemoryServer, MemoryStore, Wire
from coalesce_kit.testing.store_stage import StoreStage

pytestmark = pytest.mark.usefixtures("virtual_time")

KEY = "cc1:memory:key"
stage = StoreStage()


@pytest.fixture
def server():
    return MemoryServer()


@pytest.fixture
def store(server):
    return MemoryStore(server)


async def test_a_server_that_is_down_refuses(server, store):
    """Every operation is unavailable while the server is down, and it comes back with what it had."""
    version = await stage.keep(store, KEY)
    server.go_down()
    assert not server.is_up
    for attempt in (store.read(KEY), stage.ask(store, KEY), store.renew([(KEY, "t")], lease_seconds=1)):
        with pytest.raises(StoreUnavailableError):
            await attempt
    server.come_back()
    assert (await store.read(KEY)).version == version


async def test_a_server_that_comes_back_empty_refuses_what_began_before(server, store):
    """A restart without persistence fences."""
    token = await stage.win(store, KEY)
    server.go_down()
    server.come_back(empty=True)
    assert await stage.publish(store, KEY, token) is Published.REFUSED


async def test_listeners_are_told_that_the_server_went_and_came(server, store):
    """Going down is `Lost`; coming back is `Connected` and a new horizon; a cut is both."""
    async with stage.listening(store) as heard:
        await heard.until(HeardUpTo)
        server.go_down()
        await heard.until(Lost)
        await asyncio.sleep(60)
        server.come_back()
        assert await heard.until(HeardUpTo) == [Connected(), HeardUpTo(60.0)]
        server.cut_off()
        assert await heard.until(HeardUpTo) == [Lost(), Connected(), HeardUpTo(60.0)]


async def test_a_listener_of_a_server_that_is_down_is_connected_when_it_is_up(server, store):
    """Opening signals while the server is down yields nothing until it is up."""
    server.go_down()
    stream = store.signals()
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(60)
    assert not waiting.done()
    server.come_back()
    assert await waiting == Connected()
    await store.aclose()


async def test_who_waited_for_a_predecessor_is_not_carried_over(store):
    """Who waited for a lease that lapsed hears nothing of its successor's."""
    async with stage.listening(store) as heard:
        late = await stage.win(store, KEY, lease_seconds=1)
        await stage.wait_for(store, KEY, late)
        await asyncio.sleep(2)
        await stage.publish(store, KEY, await stage.win(store, KEY))
        await store.invalidate([KEY])
        assert not any(isinstance(signal, Finished) for signal in await heard.until(Dropped))


async def test_without_a_heartbeat_there_is_one_proof_and_no_timer(store, virtual_time):
    """An infinite heartbeat proves once per connection and arms nothing."""
    stream = store.signals(heartbeat_seconds=math.inf)
    assert [await anext(stream), await anext(stream)] == [Connected(), HeardUpTo(0.0)]
    assert not getattr(asyncio.get_running_loop(), "_scheduled", [])
    await store.aclose()


async def test_the_shortest_heartbeat_holds(store, virtual_time):
    """A listener who wants to hear more often is proved to more often, and all others with it."""
    slow = store.signals(heartbeat_seconds=10.0)
    await anext(slow)
    await anext(slow)
    await asyncio.sleep(1)
    quick = store.signals(heartbeat_seconds=0.5)
    assert [await anext(quick) for _ in range(3)] == [Connected(), HeardUpTo(0.0), HeardUpTo(1.0)]
    await asyncio.sleep(1)
    assert [(await anext(slow)).moment for _ in range(3)] == [1.0, 1.5, 2.0]
    await store.aclose()


async def test_a_quicker_listener_of_a_server_that_is_down_proves_nothing(server, store):
    """Who joins while the server is down is proved to when it is up."""
    server.go_down()
    store.signals()
    quick = store.signals(heartbeat_seconds=0.5)
    await asyncio.sleep(60)
    server.come_back()
    assert [await anext(quick) for _ in range(3)] == [Connected(), HeardUpTo(60.0), HeardUpTo(60.5)]
    await store.aclose()


async def test_a_heartbeat_is_longer_than_nothing(store):
    """No listener can be proved to all the time."""
    with pytest.raises(ValueError, match="heartbeat_seconds must be greater than 0"):
        store.signals(heartbeat_seconds=0)


async def test_a_wire_that_loses_the_question_changes_nothing(server):
    """What is lost on the way there did not happen, what is lost on the way back did."""

    class Losing(Wire):
        lose = ""

        async def ask(self, operation, key):
            if self.lose == "question":
                raise StoreUnavailableError("lost")
            await super().ask(operation, key)

        async def answer(self, operation, key):
            if self.lose == "answer":
                raise StoreUnavailableError("lost")
            await super().answer(operation, key)

    wire = Losing()
    store = MemoryStore(server, wire=wire)
    token = await stage.win(store, KEY)
    for lose, kept in (("question", None), ("answer", b"body")):
        wire.lose = lose
        with pytest.raises(StoreUnavailableError):
            await stage.publish(store, KEY, token)
        wire.lose = ""
        found = await store.read(KEY)
        assert (found and found.body) == kept
    assert await stage.publish(store, KEY, token) is Published.KEPT


async def test_a_wire_may_keep_a_signal(server):
    """A signal that the wire does not deliver is not heard; one that it delivers later is heard later."""

    class Slow(Wire):
        def __init__(self):
            self.kept = []

        def push(self, signal, deliver):
            if isinstance(signal, Finished):
                self.kept.append(deliver)
            else:
                deliver()

    wire = Slow()
    store, other = MemoryStore(server), MemoryStore(server, wire=wire)
    async with stage.listening(other) as heard:
        token = await stage.win(store, KEY)
        await stage.wait_for(other, KEY, token)
        await stage.publish(store, KEY, token)
        await store.invalidate([KEY])
        assert not any(isinstance(signal, Finished) for signal in await heard.until(Dropped))
        wire.kept[0]()
        assert (await heard.first(Finished)).token == token
    wire.kept[0]()  # to a process that listens no more


async def test_of_several_keys_all_are_tried(server):
    """A failure at one key is raised when all were tried."""

    class Picky(Wire):
        async def ask(self, operation, key):
            if operation == "invalidate" and key == "bad":
                raise StoreUnavailableError("lost")

    store = MemoryStore(server, wire=Picky())
    await stage.keep(store, KEY)
    with pytest.raises(StoreUnavailableError):
        await store.invalidate(["bad", KEY])
    assert await store.read(KEY) is None


async def test_a_full_server_refuses_what_grows(server, store):
    """Without memory no lease is renewed and no tag is created; who must wait is told so and is not registered."""
    token = await stage.win(store, KEY)
    async with stage.listening(store) as heard:
        server.is_full = True
        for attempt in (store.renew([(KEY, token)], lease_seconds=1), store.tag_versions(["new"])):
            with pytest.raises(StoreRefusedError):
                await attempt
        assert isinstance(await stage.ask(store, KEY), Wait)
        await stage.publish(store, KEY, token)
        await store.invalidate([KEY])
        assert not any(isinstance(signal, Finished) for signal in await heard.until(Dropped))


async def test_what_is_over_is_swept(server, store):
    """Records that are of no use to anybody are dropped, also if nobody asks for them again."""
    for number in range(200):
        await stage.keep(store, f"{KEY}{number}", fresh_seconds=1, usable_seconds=1)
        await asyncio.sleep(1)
    assert len(server) <= 61
    assert len(server._records) <= 2 * 61 + 64


async def test_evicting_and_forgetting_tell_whether_there_was_one(server, store):
    """Both answer whether they found it."""
    await stage.keep(store, KEY)
    await store.tag_versions(["tag"])
    assert [server.evict(KEY), server.evict(KEY)] == [True, False]
    assert [server.forget_tag("memory", "tag"), server.forget_tag("memory", "tag")] == [True, False]


async def test_namespaces_are_apart(server):
    """Tags and announcements of one namespace are nothing to another."""
    store, other = MemoryStore(server, namespace="a"), MemoryStore(server, namespace="b", digest_key=b"secret")
    assert (store.namespace, other.namespace, other.digest_key) == ("a", "b", b"secret")
    assert "'a'" in repr(store)
    assert await store.tag_versions(["tag"]) != await other.tag_versions(["tag"])
    async with stage.listening(store) as heard:
        await other.invalidate(["b-key"])
        await store.invalidate(["a-key"])
        assert [signal for signal in await heard.until(Dropped) if isinstance(signal, Dropped)] == [Dropped("a-key")]


async def test_a_server_counts_what_it_did(server, store):
    """Tests see how often each operation was done."""
    await stage.keep(store, KEY)
    await store.read(KEY)
    assert server.calls == {"acquire": 1, "publish": 1, "read": 1}


async def test_a_server_has_its_own_clock():
    """A server's clock is nobody else's."""
    now = [100.0]
    store = MemoryStore(MemoryServer(now=lambda: now[0]))
    await stage.keep(store, KEY, fresh_seconds=5)
    await asyncio.sleep(60)
    assert (await store.read(KEY)).fresh_seconds == 5
    now[0] = 104.0
    assert (await store.read(KEY)).fresh_seconds == 1


async def test_one_that_falls_behind_is_told_that_it_missed_something(store, monkeypatch):
    """A queue does not grow for ever: what was in it is missed, as if the connection had been lost."""
    monkeypatch.setattr("coalesce_kit.stores.listening.MAX_QUEUED", 5)
    stream = store.signals()
    for number in range(5):
        await store.invalidate([f"{KEY}{number}"])
    got = [await anext(stream) for _ in range(4)]
    assert got == [Lost(), Connected(), Dropped(f"{KEY}3"), Dropped(f"{KEY}4")]
    await store.aclose()


async def test_one_that_falls_behind_while_nothing_stands_is_told_that_too(server, store, monkeypatch):
    """Signals that pile up around a loss end in what is so now."""
    stream = store.signals()
    monkeypatch.setattr("coalesce_kit.stores.listening.MAX_QUEUED", 3)
    server.go_down()
    server.go_down()
    assert await take(stream, 2) == [Lost(), Lost()]
    monkeypatch.setattr("coalesce_kit.stores.listening.MAX_QUEUED", 0)
    server.come_back()
    assert (await take(stream, 3))[-3:] == [Lost(), Connected(), HeardUpTo(0.0)]
    await store.aclose()


async def take(stream, count):
    return [await anext(stream) for _ in range(count)]


async def test_who_waits_beside_one_that_is_cancelled_hears(store):
    """Two that wait in one iterator: cancelling one leaves the other waiting."""
    stream = store.signals()
    await anext(stream)
    await anext(stream)
    first, second = asyncio.ensure_future(anext(stream)), asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    await store.invalidate([KEY])
    assert await second == Dropped(KEY)
    await store.aclose()


async def test_leaving_twice_is_leaving_once(store):
    """Closing an iterator after its store changes nothing."""
    stream = store.signals()
    await store.aclose()
    await stream.aclose()
    assert await anext(stream, None) is None
