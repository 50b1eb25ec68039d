"""A proxy on loopback that does to bytes what networks do: cuts, delays and swallows them, in either direction."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Literal

Direction = Literal["to server", "to client"]
Traffic = Literal["commands", "signals", "all"]


@dataclass
class Trouble:
    """What happens to bytes from now on.

    Attributes:
        direction: the way on which it happens.
        traffic: on which connections: those for commands, those for signals, or all.
        seconds: the bytes are held back for so long; ``None``: they are swallowed.
        cut_after: so many pieces are swallowed, then the connection is cut; ``None`` for never.
    """

    direction: Direction
    traffic: Traffic = "all"
    seconds: float | None = None
    cut_after: int | None = None


class Proxy:
    """Stands between workers and a server.

    Attributes:
        trouble: what happens to bytes; ``None`` for nothing.
    """

    def __init__(self, port: int) -> None:
        self._to_port = port
        self._server: asyncio.Server | None = None
        self._lines: set[_Line] = set()
        self._accepted: set[asyncio.Task[None]] = set()
        self._is_open = True
        self.trouble: Trouble | None = None

    @property
    def url(self) -> str:
        """Where workers connect to."""
        assert self._server is not None
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def stop(self) -> None:
        assert self._server is not None
        self._is_open = False  # also for a connection that is being accepted now
        self._server.close()
        # What the loop has accepted already comes to ``_accept`` some turns later, and nothing else tells of it.
        while arriving := [task for task in asyncio.all_tasks() if "_accept_connection" in repr(task.get_coro())]:
            await asyncio.wait(arriving)
        while self._accepted:
            self.cut()
            await asyncio.wait(self._accepted, timeout=0.01)
        await self._server.wait_closed()

    def cut(self, traffic: Traffic = "all") -> None:
        """Cut every connection that stands."""
        for line in list(self._lines):
            if traffic in ("all", line.traffic):
                line.cut()

    @contextlib.contextmanager
    def making(self, trouble: Trouble) -> Iterator[None]:
        """Make trouble for as long as the block runs.

        Connections that have lost bytes are cut at its end: on none do bytes go on after a gap.
        """
        self.trouble = trouble
        try:
            yield
        finally:
            self.trouble = None
            for line in list(self._lines):
                if line.pieces:
                    line.cut()

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        """Refuse new connections for as long as the block runs."""
        self._is_open = False
        try:
            yield
        finally:
            self._is_open = True

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._accepted.add(task)
        try:
            await self._join_up(reader, writer)
        finally:
            writer.transport.abort()  # whatever has become of it, its end too
            self._accepted.discard(task)

    async def _join_up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._is_open:
            return
        try:
            upstream = await asyncio.open_connection("127.0.0.1", self._to_port)
        except OSError:
            return
        if not self._is_open:  # meanwhile
            upstream[1].transport.abort()
            return
        line = _Line(self, (reader, writer), upstream)
        self._lines.add(line)
        try:
            await line.run()
        finally:
            self._lines.discard(line)


class _Line:
    """One connection through the proxy."""

    def __init__(
        self,
        proxy: Proxy,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self.traffic: Traffic = "commands"
        self._proxy = proxy
        self._client, self._server = client, server
        self.pieces = 0

    async def run(self) -> None:
        ways = [
            asyncio.ensure_future(self._carry("to server", self._client[0], self._server[1])),
            asyncio.ensure_future(self._carry("to client", self._server[0], self._client[1])),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            self.cut()
            await asyncio.gather(*ways, return_exceptions=True)

    def cut(self) -> None:
        for _, writer in (self._client, self._server):
            writer.transport.abort()

    async def _carry(self, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if direction == "to server" and b"SUBSCRIBE" in data.upper():
                    self.traffic = "signals"
                trouble = self._proxy.trouble
                if trouble is not None and trouble.direction == direction and trouble.traffic in ("all", self.traffic):
                    if trouble.seconds is None:
                        self.pieces += 1
                        if trouble.cut_after is not None and self.pieces >= trouble.cut_after:
                            return
                        continue
                    await asyncio.sleep(trouble.seconds)
                writer.write(data)
                await writer.drain()


@contextlib.asynccontextmanager
async def proxy_to(port: int) -> AsyncIterator[Proxy]:
    """Run a proxy for as long as the block runs."""
    proxy = Proxy(port)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
