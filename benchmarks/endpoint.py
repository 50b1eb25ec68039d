"""The server of ``service``: one FastAPI endpoint over one function, decorated by one subject.

Run as a program it prints its port and serves on loopback until it is killed.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import time
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.responses import JSONResponse

from .environment import pin
from .subjects import Subject

BARE = "bare"


def application(name: str, style: str) -> FastAPI:
    """Return the application: ``/odds/{league}`` asks the function, ``/cpu`` tells the process's CPU seconds."""

    async def odds(league: str) -> dict[str, Any]:
        return {"league": league, "odds": [1.95, 1.87, 2.1], "live": True}

    app = FastAPI()
    subject = None if name == BARE else Subject.load(name, style)
    if subject is None:
        ask: Any = odds
    else:
        ask = subject.cached(odds) if subject.offers("cached") else subject.shared(odds)

    @app.get("/odds/{league}")
    async def endpoint(league: str) -> JSONResponse:
        if subject is None:
            return JSONResponse(await ask(league))
        with subject.scope():
            return JSONResponse(await ask(league))

    @app.get("/cpu")
    async def cpu() -> float:
        return time.process_time()

    return app


def main() -> None:
    """Serve what the job on the command line asks for."""
    job = json.loads(sys.argv[1])
    pin(job["core"])
    # The protocol is named because asyncio switches Nagle's algorithm off only where it sees it, as uvicorn's own does.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(1_024)
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    logging.disable(logging.CRITICAL)
    server = uvicorn.Server(
        uvicorn.Config(application(job["name"], job["style"]), loop=job["loop"], log_level="critical", access_log=False)
    )
    pipe.write(f"{listener.getsockname()[1]}\n")
    pipe.flush()
    server.run(sockets=[listener])


if __name__ == "__main__":
    main()
