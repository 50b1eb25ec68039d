"""The one place where the package reads the time, so that a test can exchange it for every reader at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import CellType
from typing import Final


class Clock:
    """Float seconds that never go back: ``clock.now()``.

    Attributes:
        now: returns the time. ``exchange`` it, never assign to it.
        cell: holds the same function, for the compiled calls: it is their closure's cell, one for all of them, and
            spares every hit the look-up of an attribute.
    """

    __slots__ = ("cell", "now")

    def __init__(self) -> None:
        self.now: Callable[[], float] = time.monotonic
        self.cell: Final = CellType(self.now)

    def exchange(self, now: Callable[[], float]) -> None:
        """Have everything in the package read the time from ``now``."""
        self.now = self.cell.cell_contents = now


clock: Final = Clock()
