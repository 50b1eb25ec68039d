"""Who waits for whom among running flights, so that a wait which would never end is refused at once.

Whoever waits *inside* a running flight X for a flight F adds the edge X → F before F's task exists, and removes it when
it stops waiting. A wait that would close a cycle raises. The edge comes before the task because an eager task runs its
first step while it is being created: A → B → A would otherwise be asked before anybody could know of A → B.

Edges stay within one event loop; cycles over loops or processes are ended by ``max_wait_seconds``.
"""

from __future__ import annotations

from typing import Final, Protocol

from ..errors import RecursiveFetchError

_STEPS_SHOWN: Final = 5
"""How many steps of a long chain stand in a message, at either end."""


class Waiting(Protocol):
    """A flight, as far as this file looks at it."""

    waits_for: dict[Waiting, int] | None
    """The flights waited for inside this one, and by how many; ``None`` when none was. Used on its own loop only."""

    decided: bool
    """Its callers have their answer: whatever edge still leads to it, nobody waits for it."""

    def describe(self) -> str:
        """Return the key as people read it."""
        ...


def wait_inside(waiting: Waiting, awaited: Waiting) -> None:
    """Add the edge ``waiting`` → ``awaited``; undo it with ``stop_waiting``.

    Raises:
        RecursiveFetchError: ``awaited`` waits, over any number of flights, for ``waiting``. No edge is left.
    """
    chain = _path(awaited, waiting)
    if chain is not None:
        raise RecursiveFetchError(
            f"this fetch would wait for itself: {_render([waiting, *chain])}. If the call stands in a task that the"
            " fetch does not await, start that task with create_task(..., context=coalesce_kit.detached_context())"
        )
    if waiting.waits_for is None:
        waiting.waits_for = {}
    waiting.waits_for[awaited] = waiting.waits_for.get(awaited, 0) + 1


def stop_waiting(waiting: Waiting, awaited: Waiting) -> None:
    """Remove one edge ``waiting`` → ``awaited``, if ``waiting`` has not ended and dropped them all."""
    if waiting.waits_for is None:
        return
    left = waiting.waits_for.pop(awaited, 0) - 1
    if left > 0:
        waiting.waits_for[awaited] = left


def _path(start: Waiting, goal: Waiting) -> list[Waiting] | None:
    """Return the flights from ``start`` to ``goal`` along edges, both included, or None."""
    came_from: dict[Waiting, Waiting | None] = {start: None}
    unseen = [start]
    while unseen:
        flight = unseen.pop()
        if flight is goal:
            return _walk_back(flight, came_from)
        for awaited in flight.waits_for or ():
            if awaited not in came_from and not awaited.decided:
                came_from[awaited] = flight
                unseen.append(awaited)
    return None


def _walk_back(flight: Waiting, came_from: dict[Waiting, Waiting | None]) -> list[Waiting]:
    path = []
    step: Waiting | None = flight
    while step is not None:
        path.append(step)
        step = came_from[step]
    return path[::-1]


def _render(chain: list[Waiting]) -> str:
    left_out = len(chain) - 2 * _STEPS_SHOWN
    if left_out <= 1:
        return " → ".join(flight.describe() for flight in chain)
    return f"{_render(chain[:_STEPS_SHOWN])} → … {left_out} more … → {_render(chain[-_STEPS_SHOWN:])}"
