"""The middleware that cancels a handler whose client has gone, driven by hand."""

from __future__ import annotations

import asyncio
import logging

import pytest

from examples.odds_service.middleware import CancelOnDisconnect

SCOPE = {"type": "http", "method": "GET", "path": "/odds"}
REQUEST = {"type": "http.request", "body": b"", "more_body": False}
DISCONNECT = {"type": "http.disconnect"}
START = {"type": "http.response.start", "status": 200, "headers": []}
BODY = {"type": "http.response.body", "body": b"odds"}


class Wire:
    """The server's side of one request."""

    def __init__(self, *messages: dict) -> None:
        self.incoming: asyncio.Queue[dict] = asyncio.Queue()
        self.sent: list[dict] = []
        for message in messages:
            self.incoming.put_nowait(message)

    async def send(self, message: dict) -> None:
        self.sent.append(message)
        if message is BODY:
            self.incoming.put_nowait(DISCONNECT)  # what uvicorn tells whoever asks after the response

    async def run(self, app) -> None:
        await CancelOnDisconnect(app)(SCOPE, self.incoming.get, self.send)


async def test_a_gone_client_cancels_the_handler(caplog):
    """The handler of a client that hangs up ends in CancelledError, and a log line says so"""
    wire = Wire(REQUEST)
    working = asyncio.Event()
    ended = []

    async def handler(scope, receive, send):
        working.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            ended.append(error)
            raise

    with caplog.at_level(logging.INFO):
        request = asyncio.create_task(wire.run(handler))
        await working.wait()
        wire.incoming.put_nowait(DISCONNECT)
        await request
    assert len(ended) == 1
    assert caplog.messages == ["client hung up: handler of GET /odds ended in CancelledError"]
    assert request.cancelling() == 0


async def test_an_answered_client_may_go(caplog):
    """A disconnect after the response is complete cancels nothing that still runs, and says nothing"""
    wire = Wire(REQUEST)
    finished = []

    async def handler(scope, receive, send):
        await send(START)
        await send(BODY)
        for _ in range(5):
            await asyncio.sleep(0)
        finished.append(True)

    with caplog.at_level(logging.INFO):
        await wire.run(handler)
    assert finished == [True]
    assert wire.sent == [START, BODY]
    assert caplog.messages == []


async def test_the_handler_reads_the_request_in_order():
    """The body reaches the handler piece by piece, one piece being read ahead"""
    pieces = [{"type": "http.request", "body": bytes([number]), "more_body": number < 3} for number in range(4)]
    wire = Wire(*pieces)
    received = []

    async def handler(scope, receive, send):
        while True:
            message = await receive()
            received.append(message)
            if not message["more_body"]:
                break
        await send(START)
        await send(BODY)

    await wire.run(handler)
    assert received == pieces


async def test_a_foreign_cancellation_is_passed_on():
    """A CancelledError that the handler met while its client waits is none of the middleware's business"""
    wire = Wire(REQUEST)

    async def handler(scope, receive, send):
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await wire.run(handler)


async def test_the_servers_cancellation_is_passed_on():
    """A server that cancels the request gets its CancelledError back"""
    wire = Wire(REQUEST)
    working = asyncio.Event()

    async def handler(scope, receive, send):
        working.set()
        await asyncio.Event().wait()

    request = asyncio.create_task(wire.run(handler))
    await working.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request


async def test_a_handler_that_swallows_the_cancellation_leaves_no_trace():
    """A handler that ends normally after its cancellation leaves the task uncancelled"""
    wire = Wire(REQUEST, DISCONNECT)

    async def handler(scope, receive, send):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            assert await receive() == REQUEST
            assert await receive() == DISCONNECT

    request = asyncio.create_task(wire.run(handler))
    await request
    assert request.cancelling() == 0


async def test_what_is_no_request_passes():
    """A lifespan or websocket scope goes through untouched"""
    seen = []

    async def app(scope, receive, send):
        seen.append((scope, receive, send))

    await CancelOnDisconnect(app)({"type": "lifespan"}, None, None)
    assert seen == [({"type": "lifespan"}, None, None)]
