"""Scenarios in which a value is put in place by hand, or refreshed, while others ask."""

from __future__ import annotations

from collections.abc import Callable

from coalesce_kit.testing.explorer import Scenario
from coalesce_kit.testing.world import World
from tests.exploration.fleet.scenarios import ANSWERS, RACING
from tests.exploration.fleet.stage import Faults, Fetch, FleetStage, Invalidation, Process, listen


def primed(*, callers: tuple[int, ...] = (1, 1), times: int = 1, races: bool = False) -> Scenario:
    """A process puts a value in place: who has heard of it, and who reads the store later, gets no older one."""

    def scenario(world: World) -> None:
        questions = RACING if races else frozenset()
        stage = FleetStage(world, len(callers), faults=Faults(free_answers=ANSWERS, free_questions=questions))
        listen(stage, stage.processes)
        first = stage.processes[0]
        for process, count in zip(stage.processes, callers, strict=True):
            stage.callers(process, *"abc"[:count])
        done = stage.expects(times)
        for number in range(times):
            world.event(f"p1 primes {['once', 'twice'][number]}", lambda: _prime(stage, first, done))
        stage.last_look = lambda: check_agreement(stage)

    return scenario


def _prime(stage: FleetStage, process: Process, done: Callable[[], None]) -> None:
    history = stage.history
    history.invalidations.append(Invalidation(process.name, history.moment()))
    value = Fetch(len(history.fetches) + 1, process.name, history.moment(), is_primed=True)
    history.fetches.append(value)
    process.function.prime(value.number, "nba")
    done()


def refreshed(*, callers: tuple[int, ...] = (0, 1), by_both: bool = False) -> Scenario:
    """A process, or two, ask for a newer value than there is; it takes the old one's place everywhere."""

    def scenario(world: World) -> None:
        stage = FleetStage(world, len(callers), faults=Faults(free_answers=ANSWERS))
        stage.fetch_beforehand(stage.processes[0])
        listen(stage, stage.processes)
        for process, count in zip(stage.processes, callers, strict=True):
            stage.callers(process, *"abc"[:count])
        for process in stage.processes[: 1 + by_both]:
            stage.callers(process, "refreshes")
        stage.last_look = lambda: check_agreement(stage)

    return scenario


def check_agreement(stage: FleetStage) -> None:
    """All calls have ended, and everything was heard: no process holds another value than the store."""
    kept = [record.body for record in stage.server._records.values() if record.body is not None]
    numbers = {stage.server._number_of(body) for body in kept} - {None}
    for process in stage.processes:
        entry = process.function.peek("nba")
        if entry is not None and entry.generation == process.process.horizon.generation:
            assert {entry.value} == numbers, f"{process.name} holds fetch {entry.value}, the store {numbers}"
