"""The process that runs one side of a comparison: warms up, then runs one round for every line it is sent."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from time import process_time
from typing import Any

from . import workloads
from .children import answering
from .environment import pin
from .harness import Side
from .subjects import Subject

ROUND_SECONDS = 0.02
"""About how long a round takes: long against the clock's steps, short against a machine's moods."""


def make(job: dict[str, Any]) -> Callable[[str], float]:
    """Return what runs one round, ready to be measured.

    The event loop stands still between rounds: nothing else is to run then, no timer and no expiry.
    """
    warm_up = job.pop("warm_up")
    side = Side(**job)
    loop = _new_loop(side.loop)
    subject = Subject.load(side.subject, side.style) if side.subject else None

    async def prepare() -> workloads.Round:
        prepared: workloads.Round = getattr(workloads, side.workload)(subject, side.size)
        return prepared

    pin()  # what is imported may be imported anywhere
    run_round = loop.run_until_complete(prepare())
    operations = 1

    async def measured() -> float:
        gc.collect()
        if not side.gc:
            gc.disable()
        try:
            if subject is None:
                return await run_round(operations)
            with subject.scope():
                return await run_round(operations)
        finally:
            gc.enable()

    if warm_up:
        first = loop.run_until_complete(measured())
        operations = max(1, min(100, round(ROUND_SECONDS / 10 / max(first, 1e-9))))
        began = process_time()
        later = loop.run_until_complete(measured())  # the first call of all pays for what is made once
        if process_time() - began > 10 * ROUND_SECONDS:  # a crowd that cannot be cut: that was its warm-up
            warm_up = 0
        operations = max(1, min(200_000, round(ROUND_SECONDS / max(later, 1e-9))))
    for _ in range(warm_up):
        loop.run_until_complete(measured())
    return lambda _line: loop.run_until_complete(measured())


def _new_loop(name: str) -> asyncio.AbstractEventLoop:
    if name == "asyncio":
        return asyncio.new_event_loop()
    import uvloop  # noqa: PLC0415 - only this job needs it

    return uvloop.new_event_loop()


if __name__ == "__main__":
    answering(make)
