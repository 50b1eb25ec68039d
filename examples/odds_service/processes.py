"""Servers as child processes: started on a free loopback port, and gone when whoever started them is done or dead.

The two halves of one agreement. The child binds a port that the system chooses and prints its address as its first
line; the parent holds the child's standard input open and reads that line. When the parent closes the pipe, or dies in
any way at all, the child reads the end of its input and stops.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvicorn
from fastapi import FastAPI

ROOT: Final = Path(__file__).parents[2]
START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 5.0
DRAIN_SECONDS: Final = 2


@dataclass(frozen=True, slots=True)
class Server:
    """A running server process.

    Attributes:
        url: its address, without a slash at the end.
        pid: the process.
    """

    url: str
    pid: int


@contextmanager
def running(
    module: str, *arguments: str, environment: Mapping[str, str] | None = None, log: Path | None = None
) -> Iterator[Server]:
    """Run ``python -m module`` as a server for as long as the block lasts.

    Args:
        module: a module whose ``main`` ends in ``serve_on_loopback``.
        arguments: for its command line.
        environment: variables beside those of this process.
        log: the file that takes what the server logs; without one it goes to this process's standard error.

    Raises:
        RuntimeError: the server ended, or said no address within 30 s.
    """
    command = [sys.executable, "-m", module, "--until-stdin-closes", *arguments]
    stderr = None if log is None else log.open("wb")
    try:
        # In a session of its own, Ctrl-C reaches the parent alone, and the parent stops its children in order.
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
        )
    finally:
        if stderr is not None:
            stderr.close()
    try:
        yield Server(url=_read_address(process, log), pid=process.pid)
    finally:
        _stop(process)


def _read_address(process: subprocess.Popen[bytes], log: Path | None) -> str:
    assert process.stdout is not None
    watchdog = threading.Timer(START_SECONDS, process.kill)  # ends the blocking read of a child that says nothing
    watchdog.start()
    try:
        address = process.stdout.readline().decode().strip()
    finally:
        watchdog.cancel()
        watchdog.join()
    if not address:
        told = "" if log is None else f":\n{log.read_text()}"
        raise RuntimeError(f"{process.args!r} did not come up{told}")
    return address


def _stop(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.close()
        process.wait(STOP_SECONDS)
    finally:
        process.kill()  # does nothing to a process that has ended
        process.wait()
        process.stdout.close()


def interrupt_on_signals() -> None:
    """Make SIGINT and SIGTERM a KeyboardInterrupt in the parent, so that both end its blocks and with them the servers.

    SIGINT is set too, as shells have it ignored by what they start in the background; SIGTERM goes the way of SIGINT,
    which ``asyncio.run`` turns into an orderly cancellation.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))


def serve_on_loopback(app: FastAPI, *, until_stdin_closes: bool) -> None:
    """Serve ``app`` on a free loopback port, printing the address as the first line, until told to stop.

    Args:
        app: the application.
        until_stdin_closes: whether the end of standard input stops the server, beside SIGINT and SIGTERM.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line per outgoing request would bury the others
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=DRAIN_SECONDS)
    server = uvicorn.Server(config)

    def stop_at_end_of_input() -> None:
        # os.read and not sys.stdin: a daemon thread inside a buffered read would hold its lock at interpreter exit.
        while os.read(0, 1024):
            pass
        server.should_exit = True

    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        if until_stdin_closes:
            threading.Thread(target=stop_at_end_of_input, daemon=True).start()
        host, port = listener.getsockname()
        # The socket listens already, so whoever reads this line may connect at once.
        print(f"http://{host}:{port}", flush=True)
        server.run(sockets=[listener])
