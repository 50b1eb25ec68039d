"""What every test gets: a loop of the right kind, fresh defaults, and the check that nothing was left behind.

Loops:
    * an async test runs on asyncio's own loop;
    * ``@pytest.mark.on_every_loop`` runs it once per kind: ``asyncio``, ``eager`` (3.12+) and ``uvloop``;
    * asking for the fixture ``virtual_time`` (or ``usefixtures``) runs it in virtual time, where ``await
      asyncio.sleep(60)`` takes no time; both together run it on ``virtual`` and ``virtual-eager``;
    * a sync test that makes loops of its own asks for ``loop_factory`` and runs once per kind.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import signal
import sys
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

import hypothesis
import pytest
import pytest_asyncio
import uvloop

from coalesce_kit.backends.in_process import RequestCoalescer
from coalesce_kit.defaults import reset_for_tests
from coalesce_kit.testing.clock import VirtualClock, VirtualLoop, virtual_loop
from coalesce_kit.testing.leaks import assert_nothing_left, settle, unretrieved, what_is_left
from tests.simulated import World, simulated_world

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def make_eager(factory: LoopFactory) -> LoopFactory:
    """Return a factory of the same loops, with the eager task factory."""

    def eager_loop() -> asyncio.AbstractEventLoop:
        loop = factory()
        loop.set_task_factory(asyncio.eager_task_factory)
        return loop

    return eager_loop


REAL: dict[str, LoopFactory] = {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.new_event_loop}
VIRTUAL: dict[str, LoopFactory] = {"virtual": virtual_loop}
if sys.version_info >= (3, 12):
    REAL["eager"] = make_eager(asyncio.SelectorEventLoop)
    VIRTUAL["virtual-eager"] = make_eager(virtual_loop)

hypothesis.settings.register_profile("tests", deadline=None, print_blob=True)
hypothesis.settings.load_profile("tests")


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, LoopFactory]:
    """Choose the loops of one test."""
    kinds = VIRTUAL if "virtual_time" in getattr(item, "fixturenames", ()) else REAL
    if item.get_closest_marker("on_every_loop"):
        return kinds
    first = next(iter(kinds))
    return {first: kinds[first]}


def pytest_collection_finish() -> None:
    """Take what was imported out of the collector's sight, so that collecting after every test is cheap."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def out_of_sight() -> None:
    """Before every module: what those before it have imported is out of the collector's sight, too.

    Not after a module, when pytest still holds the last test's log records and all that hangs on them: it would be
    frozen, and live for ever.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def interrupts_are_heard() -> None:
    """What a shell runs in the background ignores Ctrl-C, and so would every program that the tests start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(params=sorted(REAL))
def loop_factory(request: pytest.FixtureRequest) -> LoopFactory:
    """A factory of loops, one kind after the other, for a test that runs its own."""
    return REAL[request.param]


@pytest.fixture
def loop_kind(request: pytest.FixtureRequest) -> str:
    """The kind of loop that this test runs on: ``asyncio``, ``eager``, ``uvloop``, ``virtual``, ``virtual-eager``."""
    factory = request.getfixturevalue("_asyncio_loop_factory")
    return next(kind for kind, known in {**REAL, **VIRTUAL}.items() if known is factory)


@pytest_asyncio.fixture
async def virtual_time() -> VirtualClock:
    """The clock of the loop that this test runs on; asking for it is what makes the loop a virtual one."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop), "virtual_time is for async tests; others call coalesce_kit.testing.clock.run"
    return loop.clock


@pytest_asyncio.fixture
async def world(virtual_time: VirtualClock) -> AsyncIterator[World]:  # it is what makes time virtual
    """Simulated processes over one server in memory, in virtual time; closed at the end."""
    async with simulated_world() as made:
        yield made


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """After every test: no flight and no unretrieved exception is left, and the defaults are new."""
    with unretrieved() as reports:
        yield
        gc.collect()
        left = what_is_left(*living_coalescers())
        reset_for_tests()
    assert not left, "\n".join(["left behind:", *left])
    assert not reports, "\n".join(["asyncio had to report:", *reports])


@pytest_asyncio.fixture
async def nothing_left_in_the_loop(nothing_left: None) -> AsyncIterator[None]:
    """After an async test, while its loop still lives: no task and no timer is left either."""
    yield
    coalescers = living_coalescers()
    await settle(*coalescers)
    assert_nothing_left(*coalescers)


@pytest.fixture(autouse=True)
def loop_is_checked(request: pytest.FixtureRequest, nothing_left: None) -> None:
    """Have the loop of an async test checked; a sync test gets no loop for it."""
    if pytest_asyncio.is_async_test(request.node):
        request.getfixturevalue("nothing_left_in_the_loop")


_made: Final[weakref.WeakSet[RequestCoalescer]] = weakref.WeakSet()
_construct = RequestCoalescer.__init__


@functools.wraps(_construct)
def _construct_noted(self: RequestCoalescer, *args: Any, **kwargs: Any) -> None:
    _construct(self, *args, **kwargs)
    _made.add(self)


RequestCoalescer.__init__ = _construct_noted  # type: ignore[method-assign]  # to know them all without asking the heap


def living_coalescers() -> list[RequestCoalescer]:
    """Every coalescer that anybody still holds, also one that a test made for itself."""
    return list(_made)
