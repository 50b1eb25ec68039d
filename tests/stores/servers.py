"""Real servers for tests: each its own process on a free port, with nothing kept on disk, stopped by its number."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

PATIENCE_SECONDS = 15.0

BINARIES = [name for name in ("redis-server", "valkey-server") if shutil.which(name)]


def free_port() -> int:
    """Return a port that nobody listens on, low enough for a cluster's second port."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if port < 55_000:
            return port


class Server:
    """One server process.

    Attributes:
        port: where it listens, on 127.0.0.1.
        folder: its own, for its sockets and files.
    """

    def __init__(self, binary: str, *options: str, port: int | None = None, config: str | None = None) -> None:
        self.port = free_port() if port is None else port
        self.folder = Path(tempfile.mkdtemp(prefix="coalesce-kit-server-"))
        self._options = options
        self._binary = binary
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        """Its URL."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def socket_path(self) -> str:
        """Its unix socket."""
        return str(self.folder / "socket")

    def start(self) -> None:
        """Start it, and return when it answers."""
        if self._config is None:
            command = [
                self._binary,
                "--port",
                str(self.port),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
            ]
            command += ["--dir", str(self.folder), "--unixsocket", self.socket_path, "--daemonize", "no"]
        else:
            file = self.folder / "server.conf"
            file.write_text(self._config)
            command = [self._binary, str(file), "--port", str(self.port), "--dir", str(self.folder)]
        log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen([*command, *self._options], stdout=log, stderr=log)
        log.close()
        until = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < until:
            if self._process.poll() is not None:
                raise AssertionError(f"the server ended: {(self.folder / 'log').read_text()[-2000:]}")
            with contextlib.suppress(OSError):
                if b"+PONG" in self.say("PING") or b"-" in self.say("PING")[:1]:
                    return
            time.sleep(0.02)
        raise AssertionError(f"the server did not answer: {(self.folder / 'log').read_text()[-2000:]}")

    def say(self, *words: str) -> bytes:
        """Send one command over a connection of its own and return the raw start of the answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            encoded = [word.encode() for word in words]
            parts = [b"*%d\r\n" % len(encoded), *(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)]
            connection.sendall(b"".join(parts))
            return connection.recv(65536)

    def freeze(self) -> None:
        """Stop its process where it is."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let its process go on."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End its process at once, as a crash does."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGCONT)
            self._process.kill()
            self._process.wait(PATIENCE_SECONDS)
            self._process = None

    def close(self) -> None:
        """End it and remove what it left."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def running(binary: str, *options: str, **settings: object) -> Iterator[Server]:
    """Run a server for as long as the block runs."""
    server = Server(binary, *options, **settings)
    try:
        yield server
    finally:
        server.close()


@contextlib.contextmanager
def running_cluster(binary: str, count: int = 3) -> Iterator[Sequence[Server]]:
    """Run a cluster of primaries that share the slots, and return when every node says that it is whole."""
    with contextlib.ExitStack() as stack:
        options = (
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            "2000",
            "--cluster-require-full-coverage",
            "yes",
        )
        nodes = [stack.enter_context(running(binary, *options)) for _ in range(count)]
        for number, node in enumerate(nodes):
            first, last = 16384 * number // count, 16384 * (number + 1) // count - 1
            node.say("CLUSTER", "ADDSLOTSRANGE", str(first), str(last))
            node.say("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
        for node in nodes[1:]:
            node.say("CLUSTER", "MEET", "127.0.0.1", str(nodes[0].port))
        until = time.monotonic() + PATIENCE_SECONDS
        while not all(
            b"cluster_state:ok" in (info := node.say("CLUSTER", "INFO")) and b"cluster_known_nodes:%d" % count in info
            for node in nodes
        ):
            assert time.monotonic() < until, "the cluster did not come together"
            time.sleep(0.05)
        yield nodes


@contextlib.contextmanager
def running_sentinel(binary: str, primary: Server) -> Iterator[Server]:
    """Run a sentinel that watches a primary under the name ``primary``."""
    config = f"bind 127.0.0.1\nsentinel monitor primary 127.0.0.1 {primary.port} 1\n"
    with running(binary, "--sentinel", config=config) as sentinel:
        yield sentinel
