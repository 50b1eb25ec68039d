"""What is compared: adapters with the same few names, and what is found out about them."""

from __future__ import annotations

import ast
import asyncio
from pathlib import Path

import pytest

from benchmarks import behaviours, overhead, rivals, simulation, stampede, subjects, trace
from benchmarks.children import Child
from benchmarks.probes import QUESTIONS, TRAITS
from benchmarks.subjects import OURS, Subject

FOLDER = Path(rivals.__file__).parent


@pytest.mark.parametrize("name", rivals.NAMES)
def test_an_adapter_says_whose_documentation_it_follows(name: str) -> None:
    """Every adapter opens with the section that its settings follow, and offers something."""
    tree = ast.parse((FOLDER / f"{name}.py").read_text())
    opening = ast.get_docstring(tree) or ""
    card = subjects.card(name)
    assert name == "hand_written" or "README" in opening or "documentation" in opening
    assert next(iter(card.styles)) == "documented"
    offered = {statement.name for statement in tree.body if isinstance(statement, ast.FunctionDef)}
    assert offered & {"cached", "coalesced"}


def test_rivals_that_are_not_installed_are_named() -> None:
    """A rival that is not there is left out and listed; what needs no package is always there."""
    there, missing = subjects.rivals(["hand_written", "moka_py", "theine"])
    assert "hand-written shield" in [card.label for card in there]
    assert {card.label for card in there} | set(missing) == {"hand-written shield", "moka-py", "theine"}


def test_every_row_of_the_budget_is_there_once() -> None:
    """No two rows of ours measure the same thing."""
    rows = list(overhead.our_rows())
    assert len({(row.row, row.subject, row.left, row.right) for row in rows}) == len(rows)
    assert {row.group for row in rows} | {"import"} == set(overhead.GROUPS)


def test_rows_without_rivals_need_none() -> None:
    """Every side of our own rows is ours, watched or not, a yardstick, or nobody's."""
    sides = [side for row in overhead.our_rows() for side in (row.left, row.right)]
    assert {side.subject for side in sides} == {OURS, overhead.WATCHING, "yardsticks", ""}


def test_every_way_to_watch_can_be_asked() -> None:
    """What the card of the watched subject lists is what it has, and what is looked at is what there is."""
    watched = subjects.Subject.load(overhead.WATCHING, "").module
    assert subjects.card(overhead.WATCHING).styles.keys() == watched.OBSERVERS.keys()
    assert [bool(look()()) for look in watched.LOOKS.values()] == [True] * 3


@pytest.mark.parametrize(("ratio", "budget", "said"), [(1.4, 1.4, "pass"), (1.41, 1.4, "short"), (9.0, None, None)])
def test_a_row_passes_at_its_budget(ratio: float, budget: float | None, said: str | None) -> None:
    """The budget itself is kept; a row without one has no verdict."""
    assert overhead.verdict(ratio, budget) == said


async def test_our_traits_are_found_by_trying() -> None:
    """The column that every speed row has is measured, ours too."""
    seen = await behaviours.tried(OURS, "@coalesced", ["types", "spellings", "herd"])
    assert [one["well"] for one in seen.values()] == [True, True, True]
    assert set(TRAITS.values()) <= set(QUESTIONS)


async def test_what_is_not_offered_is_a_dash() -> None:
    """A subject without a cache has no answer to a question about one."""
    seen = await behaviours.tried("yardsticks", "dict", ["invalidated"])
    assert seen == {"invalidated": None}
    assert behaviours.cells([{"seen": seen}], "invalidated") == ["-"]


async def test_a_crowd_with_a_coalescer_makes_one_call(virtual_time: object) -> None:
    """In a calm stampede everybody is answered and nobody is hurt."""
    scene = stampede.Scene(Subject.load(OURS, "@coalesced"))
    await stampede.calm(scene, 20)
    assert (scene.report.origin_calls, scene.report.answered, scene.report.hurt) == (1, 20, 0)


async def test_the_innocent_who_fail_are_hurt(virtual_time: object) -> None:
    """Callers of an origin that fails share its error and are not hurt; those of a broken subject are."""
    scene = stampede.Scene(Subject.load("hand_written", "documented"))
    await stampede.origin_fails(scene, 10)
    assert (scene.report.origin_calls, scene.report.errors, scene.report.hurt) == (1, {"UpstreamDownError": 10}, 0)
    broken = stampede.Scene(Subject.load("hand_written", "documented"))
    await stampede.origin_hangs(broken, 10)
    assert (broken.report.errors, broken.report.hurt) == ({"no answer": 10}, 10)
    for left_behind in asyncio.all_tasks() - {asyncio.current_task()}:  # it never stops the fetch
        left_behind.cancel()


async def test_simulated_time_takes_no_time() -> None:
    """Ten seconds of callers: with a ttl fewer origin calls than callers, and no answer older than the ttl."""
    async with Child("benchmarks.simulation", {"name": "hand_written", "seconds": 10}) as child:
        assert await child.ask("policies") == ["coalescing only", "ttl"]
        found = await child.ask("ttl")
    assert found["calls"] == len(simulation.workload(10))
    assert found["origin calls"] < found["calls"]
    assert (found["stale %"], found["errors"]) == (0, 0)


def test_the_workload_is_the_same_every_time() -> None:
    """One seeded workload for every subject."""
    assert simulation.workload(3) == simulation.workload(3)
    assert trace.made(20_000) == trace.made(20_000)
