"""G8: ``None``, ``False``, ``0`` and empty are values like any other."""

import asyncio
from collections.abc import Callable

import pytest

from coalesce_kit import RequestCoalescer
from coalesce_kit.sharing import Failure
from tests.fakes import Door, Origin, both_doors, outcomes, start, turns

pytestmark = pytest.mark.on_every_loop

FALSY = [None, False, 0, 0.0, "", b"", (), [], {}, frozenset()]


class Falsy:
    def __bool__(self) -> bool:
        return False

    def __eq__(self, other: object) -> bool:
        raise TypeError("compare me not")

    __hash__ = None  # type: ignore[assignment]


def named(value: object) -> str:
    """A name without an address: the processes that share the tests must agree on it."""
    return "Falsy()" if isinstance(value, Falsy) else repr(value)


@both_doors
@pytest.mark.parametrize("value", [*FALSY, Falsy(), NotImplemented, ..., ValueError("returned"), Failure], ids=named)
async def test_g08_any_value_is_shared(door: Callable[..., Door], value: object) -> None:
    """Leader and waiters get the very object that the one fetch returned, whatever its truth value."""
    origin = Origin()
    asked = door(origin)
    tasks = start(*(asked.ask() for _ in range(3)))
    await turns()
    origin.answer(value)

    assert all(end is value for end in await outcomes(tasks))
    assert len(origin.calls) == 1


@both_doors
@pytest.mark.parametrize("value", FALSY, ids=repr)
async def test_g08_a_value_that_comes_at_once(door: Callable[..., Door], value: object) -> None:
    """A fetch that does not suspend may return nothing in particular, too."""

    async def origin(*_: object) -> object:
        return value

    asked = door(origin)
    ends = await asyncio.gather(asked.ask(), asked.ask())

    assert all(end is value for end in ends)
    assert asked.coalescer.pending_keys == ()


@pytest.mark.parametrize("key", [None, False, 0, "", (), frozenset()], ids=repr)
async def test_g08_any_key_is_a_key(key: object) -> None:
    """A falsy key has a flight like any other."""
    coalescer, origin = RequestCoalescer(), Origin()
    tasks = start(*(coalescer.get_or_fetch(key, origin) for _ in range(2)))
    await turns()
    assert coalescer.pending_keys == (key,)
    assert coalescer.forget(key)
    assert coalescer.pending_keys == ()
    origin.answer()

    assert await outcomes(tasks) == ["answer"] * 2
    assert len(origin.calls) == 1
