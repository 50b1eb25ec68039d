"""An ASGI middleware that cancels a handler whose client has gone."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger: Final = logging.getLogger(__name__)


class CancelOnDisconnect:
    """Cancels the handler of a request when ``http.disconnect`` arrives before the response is complete.

    ASGI servers tell an application that its client has gone, and leave it at that: uvicorn lets the handler finish
    work that nobody waits for. What the handler awaits gets an ordinary ``asyncio.CancelledError``.

    The messages are read one ahead of the application, so an upload is still slowed down to the pace of its reader,
    and a hang-up is noticed once the body before it has been read.

    Cancellation: if the middleware itself is cancelled, so is the handler, which runs in the same task.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        handler = asyncio.current_task()
        assert handler is not None
        messages: asyncio.Queue[Message] = asyncio.Queue(maxsize=1)
        response_complete = False
        client_gone = False

        async def watch() -> None:
            nonlocal client_gone
            while True:
                message = await receive()
                if message["type"] == "http.disconnect" and not response_complete:
                    client_gone = True
                    handler.cancel("the client has gone")
                await messages.put(message)
                if message["type"] == "http.disconnect":
                    return

        async def send_and_note(message: Message) -> None:
            nonlocal response_complete
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                response_complete = True
            await send(message)

        watcher = asyncio.create_task(watch())
        try:
            await self._app(scope, messages.get, send_and_note)
        except asyncio.CancelledError:
            if not client_gone or handler.cancelling() > 1:
                raise  # somebody else's cancellation: of this task, or of something that the handler awaited
            logger.info("client hung up: handler of %s %s ended in CancelledError", scope["method"], scope["path"])
        finally:
            watcher.cancel()
            if client_gone:
                handler.uncancel()
