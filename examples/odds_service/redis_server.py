"""A Redis server for a demonstration: on a free loopback port, with nothing on disk, gone with whoever started it."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

BINARIES: Final = ("redis-server", "valkey-server")
START_SECONDS: Final = 10.0
STOP_SECONDS: Final = 5.0
KEEPER: Final = '"$@" </dev/null >/dev/null & server=$!; cat >/dev/null; kill -9 $server'
"""Runs a server until standard input closes, which happens in whatever way the starting process ends."""


@dataclass(frozen=True, slots=True)
class RedisServer:
    """A running server.

    Attributes:
        url: its address.
        keeper: the process that ends it when its input closes.
    """

    url: str
    keeper: subprocess.Popen[bytes]

    def kill(self) -> None:
        """End it at once, as a crash does."""
        assert self.keeper.stdin is not None
        self.keeper.stdin.close()
        self.keeper.wait(STOP_SECONDS)


@contextlib.contextmanager
def running_redis() -> Iterator[RedisServer]:
    """Run a server for as long as the block lasts.

    Raises:
        SystemExit: none is installed; the message says what to do.
        RuntimeError: it did not come up within 10 s.
    """
    binary = next((found for name in BINARIES if (found := shutil.which(name))), None)
    if binary is None:
        sys.exit("no redis-server and no valkey-server is installed here: apt-get install redis-server, or REDIS=URL")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        options = ("--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder)
        # In a session of its own, Ctrl-C reaches the parent alone, and the parent stops its children in order.
        command = ["sh", "-c", KEEPER, "sh", binary, "--port", str(port), *options]
        keeper = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
        server = RedisServer(f"redis://127.0.0.1:{port}/0", keeper)
        try:
            _wait_for(port)
            yield server
        finally:
            server.kill()


def _wait_for(port: int) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            if b"PONG" in connection.recv(64):
                return
        time.sleep(0.02)
    raise RuntimeError(f"the Redis server did not come up at port {port}")
