"""A coarser world, in which a scenario has few enough schedules for all of them: events wait for calm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from coalesce_kit.testing.events import Event
from coalesce_kit.testing.explorer import Scenario
from coalesce_kit.testing.world import World


def calmly(scenario: Scenario) -> Scenario:
    """Have nothing happen before everybody has gone as far as they can.

    Every order of questions, answers, signals, faults and callers is still there; what is not is one of them happening
    between two steps of a task, which the samples have.
    """

    def calm(world: World) -> None:
        event, ready = world.event, world.loop.ready

        def when_calm(
            name: str, act: Callable[[], object], *, when: Callable[[], bool] | None = None, times: int = 1
        ) -> Event:
            return event(name, act, when=lambda: not ready() and (when is None or when()), times=times)

        changed: Any = world
        changed.event = when_calm
        scenario(world)

    return calm
