"""Scenarios in which a process is away for a while, and comes back: frozen, cut off, or deaf."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from coalesce_kit.store_port import Connected, Lost
from coalesce_kit.testing.explorer import Scenario
from coalesce_kit.testing.world import World
from tests.exploration.fleet.scenarios import ANSWERS
from tests.exploration.fleet.stage import LEASE_SECONDS, Faults, FleetStage, Process, listen

COHERENCE_SECONDS = 2.0


def frozen(*, callers: tuple[int, ...] = (1, 1), invalidations: int = 0) -> Scenario:
    """A process stops at any moment, for longer than its lease, and goes on where it was."""

    def scenario(world: World) -> None:
        stage = FleetStage(world, len(callers), faults=Faults(free_answers=ANSWERS))
        listen(stage, stage.processes)
        first = stage.processes[0]
        for process, count in zip(stage.processes, callers, strict=True):
            stage.callers(process, *"abc"[:count])
        if invalidations:
            stage.invalidates(stage.processes[1])
        wire, passed = first.wire, [False]

        def stop() -> None:
            wire.is_frozen = True

        def pass_time() -> None:
            passed[0] = True
            world.pass_time(LEASE_SECONDS + 0.1)

        ready = world.loop.ready
        world.event("p1 freezes", stop, when=lambda: any(one.is_running for one in first.callers))
        world.event("its lease lapses", pass_time, when=lambda: wire.is_frozen and not ready())
        world.event("p1 goes on", wire.thaw, when=lambda: wire.is_frozen and passed[0])
        if not invalidations:
            world.at_rest(lambda: stage.check_at_most(2))

    return scenario


def cut_off(*, callers: tuple[int, ...] = (1, 1), by: str = "key", other_invalidates: bool = False) -> Scenario:
    """A process has no way to the server for a while, and invalidates; what it could not tell is told afterwards."""

    def scenario(world: World) -> None:
        options: dict[str, Any] = {"tags": ("sport",)} if by == "tag" else {}
        stage = FleetStage(world, len(callers), faults=Faults(free_answers=ANSWERS), **options)
        first, second = stage.processes
        stage.fetch_beforehand(first)
        listen(stage, stage.processes)
        for process, count in zip(stage.processes, callers, strict=True):
            stage.callers(process, *"abc"[:count])
        stage.invalidates(first, by=by)
        if other_invalidates:
            stage.invalidates(second, by=by)
        is_back = [False]

        def mend() -> None:
            is_back[0] = True
            first.wire.is_cut = False
            stage.tells(first, Connected())

        world.event("p1 is cut off", lambda: _cut(stage, first))
        world.event("p1 is back", mend, when=lambda: first.wire.is_cut)
        _leases_lapse(stage)
        (later,) = stage.callers(first, "later")  # so that the process has something to do then
        world._events[f"{later.name} starts"].is_possible = lambda: is_back[0]

        def check() -> None:
            assert all(one.done is not None for one in stage.history.invalidations), "an invalidation was never told"
            assert len(first.process.owed) == 0, "something is still owed"
            assert not first.fleet.is_degraded, "the process is still degraded"

        world.at_rest(check)

    return scenario


def _leases_lapse(stage: FleetStage) -> None:
    """Have time pass for those who wait for what nobody will tell them: the rest of a lease."""

    def only_time_helps() -> bool:
        return stage.is_waiting() and not stage.is_asking() and not stage.is_fetching()

    stage.time_passes(LEASE_SECONDS + 0.1, times=4, when=only_time_helps)


def _cut(stage: FleetStage, process: Process) -> None:
    stage.loses_signals(process)
    stage.tells(process, Lost())
    process.wire.is_cut = True


def deaf(*, callers: tuple[int, ...] = (1, 2), in_the_air: bool = False) -> Scenario:
    """A process hears nothing any more, and does not know: what it has is good for coherence_seconds."""

    def scenario(world: World) -> None:
        backend = {"coherence_seconds": COHERENCE_SECONDS}
        stage = FleetStage(world, len(callers), faults=Faults(free_answers=ANSWERS), backend=backend)
        first, second = stage.processes
        if not in_the_air:
            stage.fetch_beforehand(second)
        listen(stage, stage.processes)
        for process, count in zip(stage.processes, callers, strict=True):
            stage.callers(process, *"abc"[:count])
        stage.invalidates(first)
        second.wire.is_deaf = True
        invalidated: Callable[[], bool] = lambda: any(one.done is not None for one in stage.history.invalidations)
        stage.time_passes(COHERENCE_SECONDS + 0.1, when=invalidated)
        _leases_lapse(stage)

    return scenario
