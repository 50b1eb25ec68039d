"""What the tests of a coalescer stand on: how one is made, which a subclass says, and that nothing of it is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from ..protocols import Coalescer
from .contract_tools import Contract, Surroundings, to_be_said, unsaid
from .leaks import settle

SHORT_SECONDS: Final = 0.02
"""How long something lasts in the tests that are about limits."""

PATIENCE_SECONDS: Final = 5.0
"""How long a test may take before it fails."""


class CoalescerStage(Contract):
    """How a coalescer is made, and what every test looks at when it has ended."""

    @to_be_said("how one is made: def make_coalescer(self)")
    def make_coalescer(self) -> Coalescer:
        """Return a new coalescer. Called in a running loop. The contract closes it, some tests twice."""
        raise unsaid(self.make_coalescer)

    @asynccontextmanager
    async def made(self) -> AsyncIterator[Coalescer]:
        """Make a coalescer, close it after the block, and fail if the block hangs or anything of what was done is left.

        A fetch has to be over when its callers are. A task or a timer may stay until the coalescer is closed.
        """
        surroundings = Surroundings()
        coalescer = self.make_coalescer()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS) as limit:
                yield coalescer
        except TimeoutError:
            if limit.expired():
                raise AssertionError(
                    f"after {PATIENCE_SECONDS:g} s somebody still waits for what will not come"
                ) from None
            raise
        await settle(coalescer)
        assert not coalescer.flights(), f"still in flight: {coalescer.flights()}"
        await coalescer.aclose(deadline_seconds=0)
        await settle(coalescer)
        left = await surroundings.left()
        assert not left, f"left behind: {left}"
