"""The fleet's scenarios: what several processes ask of one server, and all that may happen to them."""

from __future__ import annotations

from typing import Any

from coalesce_kit import CachePolicy
from coalesce_kit.testing.explorer import Scenario
from coalesce_kit.testing.world import World
from tests.exploration.fleet.stage import LEASE_SECONDS, Faults, FleetStage, listen

ANSWERS = frozenset({"acquire"})
"""Only these answers take their time."""

RACING = frozenset({"acquire", "invalidate", "publish"})
"""Questions that may overtake each other."""

STRICT: dict[str, Any] = {"consistency": "strict"}


def quiet(processes: int = 2, callers: int = 1, *, answers: frozenset[str] = ANSWERS) -> Scenario:
    """Callers in several processes, and nothing that goes wrong: one fetch, and nobody waits for a timer."""

    def scenario(world: World) -> None:
        stage = FleetStage(world, processes, faults=Faults(free_answers=answers))
        for process in stage.processes:
            stage.callers(process, *"abc"[:callers])
        world.at_rest(stage.check_one_fetch)

    return scenario


def failing(*, later: int = 1) -> Scenario:
    """A fetch that may fail: it is given to those who waited, and nobody else."""

    def scenario(world: World) -> None:
        stage = FleetStage(world, 2, faults=Faults(free_answers=ANSWERS), fails=True)
        first, second = stage.processes
        stage.callers(first, "a")
        stage.callers(second, *"abc"[: later + 1])

    return scenario


def invalidated(
    *,
    callers: tuple[int, ...] = (1, 2),
    by: str = "key",
    times: int = 1,
    questions: frozenset[str] = frozenset(),
    backend: dict[str, Any] | None = None,
    policy: CachePolicy | None = None,
    lost_signals: int = 0,
) -> Scenario:
    """Callers in two processes, and invalidations by the first."""  # fmt: skip

    def scenario(world: World) -> None:
        options: dict[str, Any] = {} if policy is None else {"policy": policy}
        if by == "tag":
            options["tags"] = ("sport",)
        faults = Faults(free_answers=ANSWERS, free_questions=questions, lost_signals=lost_signals)
        stage = FleetStage(world, len(callers), faults=faults, backend=backend, **options)
        listen(stage, stage.processes)
        for process, count in zip(stage.processes, callers, strict=True):
            stage.callers(process, *"abc"[:count])
        for number in range(times):
            stage.invalidates(stage.processes[0], f"invalidates {['once', 'twice', 'thrice'][number]}", by=by)

    return scenario


def crossing() -> Scenario:
    """The store has the answer; while it is on its way to a process, another one invalidates it."""

    def scenario(world: World) -> None:
        stage = FleetStage(world, 2, faults=Faults(free_answers=ANSWERS))
        first, second = stage.processes
        stage.fetch_beforehand(first)
        listen(stage, stage.processes)
        stage.callers(second, "a", "b")
        stage.invalidates(first)

    return scenario


def who_waits_invalidates() -> Scenario:
    """A process waits for another's fetch and invalidates what that brings; its next caller waits for the next one."""

    def scenario(world: World) -> None:
        stage = FleetStage(world, 2, faults=Faults())
        listen(stage, stage.processes)
        waiting, fetching = stage.processes
        (first,) = stage.callers(fetching, "a")
        (waits,) = stage.callers(waiting, "a", after=first)
        (again,) = stage.callers(fetching, "b", after=waits)
        stage.callers(waiting, "b", after=again)
        stage.invalidates(waiting)

    return scenario


def killed(processes: int = 2, *, callers: int = 1, evicted: bool = False) -> Scenario:
    """A process dies at any moment; when its lease has lapsed one of the others succeeds it."""

    def scenario(world: World) -> None:
        stage = FleetStage(world, processes, faults=Faults(free_answers=ANSWERS))
        for process in stage.processes:
            stage.callers(process, *"abc"[:callers])
        stage.dies(stage.processes[0])
        if evicted:
            stage.loses_the_record()

        def somebody_waits() -> bool:
            # A record that was evicted wakes nobody, whether its holder lives or not.
            is_lost = stage.processes[0].wire.is_dead or (evicted and not stage.is_fetching())
            return is_lost and stage.is_waiting() and not stage.is_asking()

        stage.time_passes(LEASE_SECONDS + 0.1, times=processes + evicted, when=somebody_waits)
        world.at_rest(lambda: stage.check_at_most(2 + evicted))

    return scenario


def lapsed(*, invalidations: int = 0) -> Scenario:
    """A process cannot renew its lease, somebody succeeds it, and its late publish is refused."""

    def scenario(world: World) -> None:
        faults = Faults(free_answers=ANSWERS, free_questions=frozenset({"renew"}))
        stage = FleetStage(world, 2, faults=faults)
        listen(stage, stage.processes)
        for process in stage.processes:
            stage.callers(process, "a", "b")
        if invalidations:
            stage.invalidates(stage.processes[0])
        stage.time_passes(LEASE_SECONDS + 0.1, times=2)

    return scenario


def message_lost() -> Scenario:
    """A wake-up is lost: who waits asks again when the lease would have lapsed."""

    def scenario(world: World) -> None:
        stage = FleetStage(world, 2, faults=Faults(free_answers=ANSWERS, lost_signals=1))
        for process in stage.processes:
            stage.callers(process, "a")
        stage.time_passes(LEASE_SECONDS + 0.1, when=lambda: stage.signals_to_lose == 0 and not stage.is_asking())
        world.at_rest(stage.check_one_fetch)

    return scenario


def answer_lost(*, fails: bool = False) -> Scenario:
    """An answer is lost, and the question asked once more: nobody waits for himself."""

    def scenario(world: World) -> None:
        faults = Faults(free_answers=frozenset({"acquire", "publish"}), lost_answers=1)
        stage = FleetStage(world, 2, faults=faults, fails=fails)
        for process in stage.processes:
            stage.callers(process, "a")
        if not fails:
            world.at_rest(stage.check_one_fetch)

    return scenario


def evicted() -> Scenario:
    """The server loses the record while it is fetched: the publish is refused."""

    def scenario(world: World) -> None:
        stage = FleetStage(world, 2, faults=Faults(free_answers=ANSWERS))
        listen(stage, stage.processes)
        for process in stage.processes:
            stage.callers(process, "a", "b")
        stage.loses_the_record()
        stage.invalidates(stage.processes[0])
        stage.time_passes(LEASE_SECONDS + 0.1, times=2)

    return scenario


def reconnected(*, by: str = "key") -> Scenario:
    """A subscription breaks, and what was announced meanwhile is not heard."""

    def scenario(world: World) -> None:
        options: dict[str, Any] = {"tags": ("sport",)} if by == "tag" else {}
        stage = FleetStage(world, 2, faults=Faults(free_answers=frozenset()), **options)
        listen(stage, stage.processes)
        first, second = stage.processes
        stage.callers(first, "a")
        stage.callers(second, "a", "b", "c")
        stage.invalidates(first, by=by)

        def after() -> bool:
            return all(one.done is not None for one in stage.history.invalidations) and bool(
                stage.history.invalidations
            )

        stage.reconnects(second)
        world._events[f"{second.name} reconnects"].is_possible = after

    return scenario


STALE = CachePolicy(ttl=10, stale_while_revalidate=1000)


def stale(*, by: str = "key") -> Scenario:
    """A stale value in two processes, their readers, their refreshes, and an invalidation."""

    def scenario(world: World) -> None:
        options: dict[str, Any] = {"tags": ("sport",)} if by == "tag" else {}
        stage = FleetStage(world, 2, faults=Faults(free_answers=ANSWERS), policy=STALE, **options)
        listen(stage, stage.processes)
        for process in stage.processes:
            stage.callers(process, "a", "b")
        stage.invalidates(stage.processes[0], by=by)
        stage.time_passes(20, when=lambda: len(stage.history.calls) > 0)

    return scenario
