"""Processes that answer questions: one line in, one JSON value out, killed when they do not answer in time.

Every subject runs in a process of its own, so that none pays for another's imports, threads or garbage, and one that
hangs or dies is a line in a table.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self, TypeAlias

ROOT = Path(__file__).resolve().parents[1]

SEARCHED = str(ROOT)
"""Where a child finds what it runs."""

HANGS = "hangs"

_ENDING_SECONDS = 5.0

Answer: TypeAlias = Callable[[str], Awaitable[object]]


class SubjectError(Exception):
    """The subject cannot do this: it raised, died or hung. ``str()`` of it stands in the table."""


class Child:
    """One such process, for as long as the block is.

    Args:
        module: what it runs, ``python -m``.
        job: handed to it on the command line, as JSON.
        patience_seconds: how long one answer may take before the subject counts as hanging.

    Raises:
        SubjectError: entering: it did not get as far as being ready.
    """

    def __init__(self, module: str, job: object, *, patience_seconds: float = 60.0) -> None:
        self._command = (sys.executable, "-m", module, json.dumps(job))
        self._patience = patience_seconds
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": SEARCHED},
            limit=2**24,
        )
        try:
            await self._read()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._end()

    async def ask(self, line: str) -> Any:
        """Return the answer to one line.

        Raises:
            SubjectError: there is none.
        """
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        return await self._read()

    async def _read(self) -> Any:
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), self._patience)
        except TimeoutError:
            raise SubjectError(HANGS) from None
        if not line:
            raise SubjectError(f"died: {await self._last_words()}")
        answer = json.loads(line)
        if isinstance(answer, dict) and "cannot" in answer:
            raise SubjectError(answer["cannot"])
        return answer

    async def _last_words(self) -> str:
        assert self._process is not None
        assert self._process.stderr is not None
        try:
            said = await asyncio.wait_for(self._process.stderr.read(), _ENDING_SECONDS)
        except TimeoutError:
            return "without a word"
        lines = said.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {await self._process.wait()}"

    async def _end(self) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
        # stderr is read to its end, so that a full pipe does not keep the process from being reaped; but not for ever,
        # as what it started itself may hold the other end
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.communicate(), _ENDING_SECONDS)


def answering(make: Callable[[Any], Callable[[str], object]]) -> None:
    """Be such a process: make what answers from the job on the command line, and answer until stdin ends.

    Whatever a subject prints goes to stderr; the pipe is kept to ourselves.
    """
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(value: object) -> None:
        pipe.write(json.dumps(value) + "\n")
        pipe.flush()

    try:
        answer = make(json.loads(sys.argv[1]))
        say("ready")
        for line in sys.stdin:
            say(answer(line.rstrip("\n")))
    except Exception as error:
        say({"cannot": describe(error)})
    os._exit(0)  # a subject's threads may not end by themselves


def describe(error: BaseException) -> str:
    """Return what stands in a table for an error."""
    if isinstance(error, SubjectError):
        return str(error)
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:120] if text else type(error).__name__
