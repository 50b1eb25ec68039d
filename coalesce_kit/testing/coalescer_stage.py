"""What the tests of a coalescer stand on: how one is made, which a subclass says, and that nothing of it is left."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Final

from ..protocols import Coalescer
from .contract_tools import Contract, Surroundings, begin, check_what_came, names_of, retrieve, to_be_said, unsaid
from .leaks import settle

SHORT_SECONDS: Final = 0.02
"""How long something lasts in the tests that are about limits."""

PATIENCE_SECONDS: Final = 5.0
"""How long a test may take before it fails: a busy machine is no hanging."""

_SHOWN: Final = 8


class CoalescerStage(Contract):
    """How a coalescer is made, and what every test looks at when it has ended."""

    _returned: ClassVar[weakref.WeakValueDictionary[int, Coalescer]]

    def __init_subclass__(cls, **options: Any) -> None:
        """Note for each class of tests which coalescers it was given, all of which were closed."""
        super().__init_subclass__(**options)
        cls._returned = weakref.WeakValueDictionary()

    @to_be_said("how one is made: def make_coalescer(self)")
    def make_coalescer(self) -> Coalescer:
        """Return a new coalescer. Called in a running loop. The contract closes it, some tests twice.

        Raises:
            NotImplementedError: a subclass has not said it.
        """
        raise unsaid(self.make_coalescer)

    @asynccontextmanager
    async def made(self) -> AsyncIterator[Coalescer]:
        """Make a coalescer, close it after the block, and fail if the block hangs or anything of what was done is left.

        A fetch has to be over when its callers are. A task or a timer may stay until the coalescer is closed.

        Raises:
            AssertionError: the block or the closing hangs, something is left, or the coalescer was returned before.
            TypeError: ``make_coalescer`` returned something else.

        *Cancellation*: a block that is cancelled, or fails, leaves neither a caller nor a fetch behind.
        """
        surroundings = Surroundings()
        coalescer = self._new()
        try:
            async with _patience(surroundings):
                yield coalescer
            await settle(coalescer)
            flights = coalescer.flights()
            assert not flights, f"all callers have gone, but flights() shows what is still in flight: {flights}"
            async with _patience(surroundings):
                await coalescer.aclose(deadline_seconds=0)
            await settle(coalescer)
            left = await surroundings.left()
            assert not left, f"tasks and timers have to end with aclose(), but were left behind: {left}"
        except GeneratorExit:  # whoever closes a coroutine does not wait
            raise
        except BaseException:
            await _end(coalescer, surroundings)
            raise

    def _new(self) -> Coalescer:
        coalescer = self.make_coalescer()
        check_what_came(self, "make_coalescer", coalescer, expected="a new coalescer", needed=names_of(Coalescer))
        assert self._returned.get(id(coalescer)) is not coalescer, (
            f"{type(self).__name__}.make_coalescer() returned one that it had returned before: it was closed before, "
            "and make_coalescer has to return a new one each time"
        )
        with contextlib.suppress(TypeError):  # it cannot be weakly referenced
            self._returned[id(coalescer)] = coalescer
        return coalescer


@asynccontextmanager
async def _patience(surroundings: Surroundings) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS) as limit:
            yield
    except TimeoutError:
        if limit.expired():
            waiting = surroundings.described()
            shown = "\n  ".join(
                [*waiting[:_SHOWN], *([f"and {len(waiting) - _SHOWN} more"] if waiting[_SHOWN:] else [])]
            )
            raise AssertionError(
                f"after {PATIENCE_SECONDS:g} s somebody still waits for what will not come; there are:\n  {shown}"
            ) from None
        raise


async def _end(coalescer: Coalescer, surroundings: Surroundings) -> None:
    """End what a failed test has begun. The coalescer may be wrong in any way, and this is not where that is said."""
    tasks = surroundings.tasks()
    with contextlib.suppress(Exception):
        tasks += await begin(coalescer.aclose(deadline_seconds=0))
    await surroundings.end()
    retrieve(tasks)
