"""Where a task waits, as people are told it."""

from __future__ import annotations

import asyncio
import gc
import os
from pathlib import Path
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType
from typing import Any, Final

_NOT_THE_USERS: Final = (
    f"{Path(asyncio.__file__).parents[1]}{os.sep}",
    f"{Path(__file__).parents[1]}{os.sep}",
    "<frozen ",
    "<coalesced ",
)
"""How the names of files begin that are Python's own or this package's."""

_INSTALLED: Final = {"site-packages", "dist-packages"}

_SUSPENDED: Final = (
    (CoroutineType, "cr_frame", "cr_await"),
    (GeneratorType, "gi_frame", "gi_yieldfrom"),
    (AsyncGeneratorType, "ag_frame", "ag_await"),
)
_SUSPENDED_KINDS: Final = tuple(kind for kind, _, _ in _SUSPENDED)


def describe_task(task: asyncio.Task[Any]) -> str:
    """Render a task for a message: its name, its coroutine, and the line on which it waits.

    That is the user's innermost line, with its function if that is not the task's own; the innermost of all where none
    is the user's.
    """
    coroutine: Any = task.get_coro()
    name = getattr(coroutine, "__qualname__", repr(coroutine))
    frames = _frames_of(coroutine)
    if not frames:
        return f"{task.get_name()} ({name})"
    frame = next((frame for frame in reversed(frames) if _is_the_users(frame.f_code.co_filename)), frames[-1])
    function = frame.f_code.co_qualname
    where = f"{frame.f_code.co_filename}:{frame.f_lineno}"
    return f"{task.get_name()} ({name}) at {where}{'' if function == name else f', in {function}'}"


def _frames_of(awaited: Any) -> list[FrameType]:
    """Return the frames of what is suspended, from the outermost to the innermost."""
    frames: list[FrameType | None] = []
    seen: set[int] = set()
    while awaited is not None and id(awaited) not in seen:  # what waits for itself is looked at once
        seen.add(id(awaited))
        for kind, frame, inside in _SUSPENDED:
            if isinstance(awaited, kind):
                frames.append(getattr(awaited, frame))
                awaited = getattr(awaited, inside)
                break
        else:  # what iterates over a coroutine, or asks an asynchronous generator, has no attribute that leads there
            awaited = next((one for one in gc.get_referents(awaited) if isinstance(one, _SUSPENDED_KINDS)), None)
    return [frame for frame in frames if frame is not None]


def _is_the_users(filename: str) -> bool:
    """Whether code is neither Python's, nor this package's, nor installed."""
    return not filename.startswith(_NOT_THE_USERS) and _INSTALLED.isdisjoint(Path(filename).parts)
