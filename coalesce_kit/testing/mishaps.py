"""What may go wrong: how likely it is, what is drawn, and what has happened."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final, Literal, TypeAlias, TypeVar

T = TypeVar("T")

Mishap: TypeAlias = Literal["throw", "delay", "drop", "duplicate"]


class ChaosError(ConnectionError):
    """What goes wrong in a ``Chaos`` that was told of no other error."""


class Chaos:
    """How likely it is that something goes wrong, and what has.

    Args:
        throw: how often something is done, and whoever asked for it is told that it failed: the answer got lost. A
            stream breaks off. What is put into a mapping is there; who looks something up is told so before he looks.
        drop: how often it is not done, and whoever asked is told so: the question got lost. What runs already, a task
            or a future, goes on, and its answer is lost. Of a stream, an item is left out; a mapping has forgotten
            what is looked up, and nobody hears that what was put is not there.
        duplicate: how often it is done twice: the question was sent again. Of a stream, an item comes twice.
        delay: how often it takes longer. A mapping, which cannot wait, is spared.
        longest_delay_seconds: by how much at most.
        error: makes the error, of a text.
        seed: of everything that is drawn.

    Raises:
        ValueError: a probability is not between 0 and 1.

    Attributes:
        happened: how often what has happened to which operation, as ``("drop", "publish")``.
    """

    def __init__(
        self,
        *,
        throw: float = 0.0,
        drop: float = 0.0,
        duplicate: float = 0.0,
        delay: float = 0.0,
        longest_delay_seconds: float = 0.05,
        error: Callable[[str], Exception] = ChaosError,
        seed: int = 0,
    ) -> None:
        self._likely: Final[dict[Mishap, float]] = {
            "throw": throw,
            "drop": drop,
            "duplicate": duplicate,
            "delay": delay,
        }
        for mishap, probability in self._likely.items():
            if not 0 <= probability <= 1:
                raise ValueError(f"{mishap} is a probability, from 0 to 1, not {probability!r}")
        self.happened: Final[Counter[tuple[str, str]]] = Counter()
        self._longest_delay_seconds = longest_delay_seconds
        self._error = error
        self._drawing = random.Random(seed)

    def __repr__(self) -> str:
        told = ", ".join(f"{operation} {what} {count}" for (what, operation), count in sorted(self.happened.items()))
        return f"<Chaos {told or 'nothing went wrong'}>"

    def happens(self, mishap: Mishap, operation: str) -> bool:
        """Draw whether something goes wrong with an operation, and note it if it does."""
        does = self._drawing.random() < self._likely[mishap]
        if does:
            self.happened[mishap, operation] += 1
        return does

    def error(self, operation: str, what: str) -> Exception:
        """Return the error of an operation."""
        return self._error(f"chaos: {operation} {what}")

    async def wait(self) -> None:
        """Be late.

        Cancellation:
            Ends the waiting.
        """
        await asyncio.sleep(self._drawing.random() * self._longest_delay_seconds)

    async def act(self, operation: str, ask: Callable[[], Awaitable[T]]) -> T:
        """Do what is asked, or not, or twice, now or later, and return its result, or raise.

        Raises:
            Exception: the question or its answer got lost: what ``error`` makes. Or whatever ``ask`` raises.

        Cancellation:
            Reaches what was asked; what was not asked yet is not asked any more.
        """
        if self.happens("delay", operation):
            await self.wait()
        if self.happens("drop", operation):
            raise self.error(operation, "got lost")
        if self.happens("duplicate", operation):
            await ask()
        result = await ask()
        if self.happens("throw", operation):
            raise self.error(operation, "was done, and its answer got lost")
        return result
