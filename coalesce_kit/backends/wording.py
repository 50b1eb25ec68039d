"""What callers are told when a fetch brings them no value: the errors that a flight makes itself, and their words."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from ..errors import FetchCancelledError, FetchTimeoutError, WaitTimeoutError


def as_told(error: BaseException, describe: Callable[[], str]) -> BaseException:
    """Return what callers get for what a fetch raised.

    A ``CancelledError`` that a caller did not ask for makes a ``TaskGroup`` finish as if nothing had happened,
    ``KeyboardInterrupt`` raised from a waiter would stop the loop twice, ``StopIteration`` cannot leave a coroutine.
    """
    if isinstance(error, asyncio.CancelledError | GeneratorExit | KeyboardInterrupt | SystemExit):
        return FetchCancelledError(
            f"the fetch of '{describe()}' ended in {type(error).__name__}, which none of its callers asked for"
        )
    if isinstance(error, StopIteration):
        return RuntimeError(f"the fetch of '{describe()}' raised StopIteration")
    return error


def cancelled(key: str, reason: str) -> FetchCancelledError:
    """Return what callers get whose fetch was told to stop."""
    return FetchCancelledError(f"the fetch of '{key}' was cancelled: {reason}")


def fetch_timeout(key: str, limit: float) -> FetchTimeoutError:
    """Return what callers get whose fetch ran too long."""
    return FetchTimeoutError(f"the fetch of '{key}' ran longer than fetch_timeout_seconds={limit:g} and was cancelled")


def wait_timeout(key: str, *, waited: float, age: float, last: bool, elsewhere: bool = False) -> WaitTimeoutError:
    """Return what a waiter gets who waited ``waited`` seconds for a fetch begun ``age`` seconds ago.

    Args:
        key: of the fetch, as text.
        waited: for so long.
        age: of the flight.
        last: nobody else waits for it.
        elsewhere: it is another process that fetches, or the store that did not answer.
    """
    if elsewhere:
        return WaitTimeoutError(
            f"waited {waited:.1f} s for '{key}', which another process is fetching; raise max_wait_seconds above the"
            " function's normal time, or None"
        )
    fate = (
        "which was cancelled with you, its last caller"
        if last
        else "which goes on; raise max_wait_seconds above the function's normal time, or None"
    )
    return WaitTimeoutError(f"waited {waited:.1f} s for '{key}', which another caller began {age:.1f} s ago and {fate}")


def note_of_leader(names: Sequence[str], seconds: float) -> str:
    """Return the note for a failure whose leader left ``seconds`` earlier; ``names`` are not in the key."""
    theirs = ", ".join(f"'{name}'" for name in names)
    were = "was" if len(names) == 1 else "were"
    return f"led by a caller who left {seconds:.2f} s earlier; {theirs} {were} theirs: open it inside the function"
