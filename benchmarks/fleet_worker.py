"""One worker process of ``distributed``: it calls a shared function as it is told, and says how long that took.

A line in is an order, ``WHAT AT KEY ...``; a line out its answer. The loop runs on between orders, as a server's does.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

from .children import describe
from .fleets import FLEETS

ORIGIN_SECONDS = 0.2
TTL_SECONDS = 600.0
DIES_AFTER_SECONDS = 0.1


class Worker:
    """The process.

    Args:
        job: the subject's name, the server's URL, and the file in which all write each call of the origin.
    """

    def __init__(self, job: dict[str, Any]) -> None:
        self._log = os.open(job["log"], os.O_APPEND | os.O_WRONLY | os.O_CREAT)
        self._dies = False
        self._answer = FLEETS[job["name"]].decorate(self._origin, job["url"], TTL_SECONDS)
        self._waits: list[float] = []
        self._errors: dict[str, int] = {}

    async def _origin(self, key: str) -> dict[str, Any]:
        os.write(self._log, f"{key} {time.monotonic()} {os.getpid()}\n".encode())
        if self._dies:
            await asyncio.sleep(DIES_AFTER_SECONDS)
            os.write(self._log, f"died {time.monotonic()} {os.getpid()}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.sleep(ORIGIN_SECONDS)
        return {"key": key, "fixtures": [{"home": f"home {number}", "away": "b", "odds": 1.5} for number in range(5)]}

    async def _call(self, key: str) -> None:
        began = time.perf_counter()
        try:
            await self._answer(key)
        except Exception as error:
            name = type(error).__name__
            self._errors[name] = self._errors.get(name, 0) + 1
        self._waits.append(time.perf_counter() - began)

    async def do(self, order: str) -> dict[str, Any]:
        """Do what an order says and return what came of it."""
        what, at, *rest = order.split()
        self._waits, self._errors = [], {}
        await asyncio.sleep(max(float(at) - time.monotonic(), 0.0))
        cpu, began = time.process_time(), time.monotonic()
        if what == "crowd":  # keys, callers of each
            keys, callers = rest[0].split(","), int(rest[1])
            await asyncio.gather(*(self._call(key) for key in keys for _ in range(callers)))
        elif what == "die":
            self._dies = True
            await self._call(rest[0])
        elif what == "hits":  # keys, callers, seconds
            keys, callers, until = rest[0].split(","), int(rest[1]), time.monotonic() + float(rest[2])

            async def again(number: int) -> None:
                while time.monotonic() < until:
                    number += 1
                    await self._call(keys[number % len(keys)])
                    await asyncio.sleep(0)  # a hit that never suspends must not have the loop to itself

            await asyncio.gather(*map(again, range(callers)))
        seconds = time.monotonic() - began
        return {"waits": self._waits, "errors": self._errors, "seconds": seconds, "cpu": time.process_time() - cpu}


async def main(say: Callable[[object], None]) -> None:
    """Answer orders until there are no more."""
    worker = Worker(json.loads(sys.argv[1]))
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    say("ready")
    while line := await reader.readline():
        say(await worker.do(line.decode()))


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a subject prints goes to stderr

    def say_to_parent(value: object) -> None:
        pipe.write(json.dumps(value) + "\n")
        pipe.flush()

    try:
        asyncio.run(main(say_to_parent))
    except Exception as error:
        say_to_parent({"cannot": describe(error)})
    os._exit(0)  # a subject's threads may not end by themselves
