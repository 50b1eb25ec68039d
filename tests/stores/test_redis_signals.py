"""The subscription, over connections that do as they are told, in virtual time."""

from __future__ import annotations

import asyncio
import logging
import math

import pytest
from redis import exceptions

from coalesce_kit.store_port import Connected, Dropped, HeardUpTo, Lost
from coalesce_kit.stores.redis_signals import RedisSignals

pytestmark = pytest.mark.usefixtures("virtual_time")


class Place:
    """One place to subscribe at: what the test puts into `come` comes."""

    def __init__(self, *, refuses=None):
        self.come = asyncio.Queue()
        self.refuses = refuses
        self.answers_pings = True
        self.closed = 0
        self.connection_pool = self

    def pubsub(self, *, ignore_subscribe_messages):
        assert ignore_subscribe_messages is False
        return self

    async def subscribe(self, *channels):
        if self.refuses:
            raise self.refuses
        for channel in channels:
            self.come.put_nowait({"type": "subscribe", "channel": channel, "data": 1})

    async def get_message(self, *, ignore_subscribe_messages, timeout):
        message = await self.come.get()
        if isinstance(message, Exception):
            raise message
        return message

    async def ping(self, *, message):
        if self.answers_pings:
            self.come.put_nowait({"type": "pong", "data": message})

    async def aclose(self):
        self.closed += 1
        if self.closed == 2:
            raise OSError("it was gone already")

    async def disconnect(self):
        pass

    def say(self, data):
        self.come.put_nowait({"type": "message", "channel": b"x", "data": data})


class Endpoint:
    """Yields the places, and knows primaries."""

    def __init__(self, *places):
        self.places = list(places)
        self.known = frozenset()
        self.opened = 0

    def primaries(self, client):
        return self.known

    async def make_listeners(self):
        self.opened += 1
        return self.places


def open_signals(endpoint):
    signals = RedisSignals(
        endpoint, None, namespace="odds", operation_timeout_seconds=0.5, connected=lambda: connected.append(1)
    )
    connected = []
    signals.told = connected
    return signals


async def take(stream, count):
    return [await anext(stream) for _ in range(count)]


async def test_it_stands_when_every_place_has_confirmed_both_channels():
    """Nothing is told before; then the horizon is the oldest of the places'."""
    first, second = Place(), Place()
    second.answers_pings = False
    signals = open_signals(Endpoint(first, second))
    stream = signals.audience.join(math.inf)
    assert await anext(stream) == Connected()
    await asyncio.sleep(3)
    assert signals.audience.heard_up_to == -math.inf
    second.come.put_nowait({"type": "pong", "data": b"somebody else's"})
    second.come.put_nowait({"type": "pong", "data": b"0"})
    assert await anext(stream) == HeardUpTo(0.0)
    assert signals.told == [1]
    await signals.close()
    assert first.closed == second.closed == 1


async def test_messages_of_nobody_are_passed_over():
    """What is no message of ours, and what the library takes for itself, is nothing."""
    place = Place()
    signals = open_signals(Endpoint(place))
    stream = signals.audience.join(math.inf)
    await take(stream, 2)
    place.say(b"hello")
    place.come.put_nowait(None)
    place.come.put_nowait({"type": "unsubscribe", "data": 0})
    place.say(b"7:dropped3:key")
    assert await anext(stream) == Dropped("key")
    await signals.close()


async def test_a_confirmation_that_comes_again_is_a_loss():
    """A connection that was made anew without a word is noticed by the subscription that is confirmed again."""
    place = Place()
    signals = open_signals(Endpoint(place))
    stream = signals.audience.join(math.inf)
    await take(stream, 2)
    place.come.put_nowait({"type": "subscribe", "data": 1})
    assert [type(signal) for signal in await take(stream, 3)] == [Lost, Connected, HeardUpTo]
    await signals.close()


async def test_a_ping_without_an_answer_is_a_loss():
    """A place that says nothing is given up after a second look, and not before."""
    place = Place()
    endpoint = Endpoint(place)
    signals = open_signals(endpoint)
    stream = signals.audience.join(1.0)
    await take(stream, 2)
    place.answers_pings = False
    assert await anext(stream) == Lost()
    now = asyncio.get_running_loop().time()
    assert 2.0 < now < 3.1
    place.answers_pings = True
    assert await anext(stream) == Connected()
    await signals.close()


async def test_a_blocked_loop_loses_nothing(virtual_time):
    """Answers that lay in the socket while this process did not look are found at the second look."""
    place = Place()
    signals = open_signals(Endpoint(place))
    stream = signals.audience.join(1.0)
    await take(stream, 2)
    place.answers_pings = False
    await asyncio.sleep(1.0)
    place.answers_pings = True
    virtual_time.advance(10)
    asyncio.get_running_loop().call_later(0.1, place.come.put_nowait, {"type": "pong", "data": b"1"})
    assert [type(signal) for signal in await take(stream, 2)] == [HeardUpTo, HeardUpTo]
    await signals.close()


async def test_other_primaries_are_a_loss():
    """A cluster that has another primary is subscribed at anew; one that was not looked at yet is no other."""
    endpoint = Endpoint(Place())
    signals = open_signals(endpoint)
    stream = signals.audience.join(1.0)
    await take(stream, 2)
    for endpoint.known in (frozenset({("a", 1)}), frozenset(), frozenset({("a", 1)})):
        assert isinstance(await anext(stream), HeardUpTo)
        await asyncio.sleep(0.5)
    endpoint.known = frozenset({("b", 2)})
    while not isinstance(await anext(stream), Lost):
        pass
    assert await anext(stream) == Connected()
    await signals.close()


@pytest.mark.parametrize(
    "error",
    [exceptions.ConnectionError("refused"), exceptions.RedisClusterException("no node answers"), ZeroDivisionError()],
    ids=lambda error: type(error).__name__,
)
async def test_what_cannot_be_opened_is_tried_again(error):
    """A place that refuses, in whatever words, is tried again, later and later; the others are closed meanwhile."""
    bad, good = Place(refuses=error), Place()
    endpoint = Endpoint(good, bad)
    signals = open_signals(endpoint)
    stream = signals.audience.join(math.inf)
    await asyncio.sleep(20)
    tries = endpoint.opened
    assert 5 < tries < 20
    assert good.closed == bad.closed == tries
    bad.refuses = None
    assert await anext(stream) == Connected()
    await signals.close()


async def test_a_loss_is_said_once(caplog):
    """However often it is tried to open it again."""
    place = Place()
    signals = open_signals(Endpoint(place))
    stream = signals.audience.join(math.inf)
    await take(stream, 2)
    with caplog.at_level(logging.INFO, logger="coalesce_kit"):
        place.refuses = exceptions.ConnectionError("refused")
        place.come.put_nowait(exceptions.ConnectionError("closed"))
        await asyncio.sleep(60)
    (record,) = caplog.records
    assert (record.message, record.error) == ("store_subscription_lost", "ConnectionError: closed")
    await signals.close()


async def test_a_missing_permission_is_said_once(caplog):
    """Who may not subscribe is told so once, however often it is tried."""
    endpoint = Endpoint(Place(refuses=exceptions.NoPermissionError("no channels")))
    signals = open_signals(endpoint)
    signals.audience.join(math.inf)
    with caplog.at_level(logging.ERROR, logger="coalesce_kit"):
        await asyncio.sleep(60)
    assert endpoint.opened > 3
    (record,) = caplog.records
    assert (record.message, record.refused) == ("store_permission_missing", ["SUBSCRIBE: no channels"])
    await signals.close()


async def test_who_wants_to_hear_more_often_is_proved_to_at_once():
    """A second listener with a shorter heartbeat does not wait for the first one's."""
    signals = open_signals(Endpoint(Place()))
    await take(signals.audience.join(1000.0), 2)
    await asyncio.sleep(5)
    stream = signals.audience.join(1.0)
    assert await take(stream, 3) == [Connected(), HeardUpTo(0.0), HeardUpTo(5.0)]
    await signals.close()


async def test_the_last_to_leave_ends_it_and_the_next_opens_it():
    """Without listeners there is no connection; with one there is."""
    place = Place()
    endpoint = Endpoint(place)
    signals = open_signals(endpoint)
    stream = signals.audience.join(math.inf)
    await take(stream, 2)
    await stream.aclose()
    await asyncio.sleep(1)
    assert (place.closed, signals.audience.is_connected) == (1, False)
    assert isinstance(await anext(signals.audience.join(math.inf)), Connected)
    assert endpoint.opened == 2
    await signals.close()
