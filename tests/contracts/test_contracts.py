"""What all contracts have in common: examples that can be pasted, and assertions that show their values."""

from __future__ import annotations

import ast
import asyncio
import re
import textwrap
from pathlib import Path

import pytest

import pytest_coalesce_kit
from coalesce_kit import RequestCoalescer
from coalesce_kit.testing import coalescer_contract, contract_tools
from coalesce_kit.testing.clock import run
from coalesce_kit.testing.contract_tools import Surroundings, begin

ROOMS = Path(contract_tools.__file__).parent
CONTRACTS = sorted(ROOMS.glob("*_contract.py"))

NOT_THEIRS = {"clock", "leaks"}  # used by them, and as much by others


def parsed(path):
    """Return the tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(tree):
    """Return the names of the files beside it from which a file imports."""
    return [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 1]


def examples(text):
    """Return what stands in the blocks after ``::`` of a docstring."""
    blocks = re.findall(r"::\n\n((?:(?: {4}.*)?\n)+)", text)
    return [textwrap.dedent(block) for block in blocks]


def test_a_block_ends_where_the_text_goes_on():
    """Empty lines belong to it."""
    assert examples("So::\n\n    a\n\n        b\n\nOr\n\n::\n\n    c\n\nEnd") == ["a\n\n    b\n\n", "c\n\n"]


@pytest.mark.parametrize("path", CONTRACTS, ids=lambda path: path.stem)
def test_the_examples_of_a_contract_can_be_pasted(path):
    """Each contract begins with one that is Python."""
    found = examples(ast.get_docstring(parsed(path)))
    assert found
    for example in found:
        compile(example, path.name, "exec")
    assert f"from coalesce_kit.testing.{path.stem} import" in found[0]


def test_assertions_of_all_contracts_show_their_values():
    """The plugin rewrites each file of theirs that asserts something, and no other."""
    rooms, ahead = {}, {path.stem for path in CONTRACTS}
    while ahead:
        name = ahead.pop()
        rooms[name] = parsed(ROOMS / f"{name}.py")
        ahead |= {it for it in imported(rooms[name]) if (ROOMS / f"{it}.py").exists()} - rooms.keys() - NOT_THEIRS
    asserting = [name for name, tree in rooms.items() if any(isinstance(it, ast.Assert) for it in ast.walk(tree))]
    assert list(pytest_coalesce_kit._CONTRACTS) == sorted(asserting)


def test_what_never_ends_is_given_up():
    """A task that goes on however often it is cancelled does not keep the test that failed."""

    async def judged():
        surroundings = Surroundings()
        is_over = False

        async def going_on():
            while not is_over:
                try:
                    await asyncio.sleep(3600)
                except asyncio.CancelledError:
                    pass

        (task,) = await begin(going_on())
        await surroundings.end()
        assert not task.done()
        is_over = True
        await surroundings.end()
        assert task.done()

    run(judged())


def test_a_test_that_is_closed_waits_for_nothing():
    """Whoever closes its coroutine, as a loop that ends early does, does not run on in it."""

    class Contract(coalescer_contract.CoalescerContract):
        def make_coalescer(self):
            return RequestCoalescer()

    async def judged():
        class Stop:
            def __await__(self):
                yield

        async def closed():
            async with Contract().made():
                await Stop()

        coroutine = closed()
        coroutine.send(None)
        coroutine.close()
        await asyncio.sleep(0)

    run(judged())
