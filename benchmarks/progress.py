"""Saying how far a question is, and about how long the rest will take."""

from __future__ import annotations

import time
from collections.abc import Callable


class Progress:
    """The way through one question.

    Args:
        total: of how many steps, or of how much in any unit that is about proportional to time.
        now: the clock.
    """

    def __init__(self, total: float, *, now: Callable[[], float] = time.monotonic) -> None:
        self._total = total
        self._now = now
        self._began = now()
        self._done = 0.0

    def did(self, what: str, amount: float = 1.0) -> None:
        """Print that a step is done, how much of the whole is, and how long the rest will take at this pace."""
        self._done = min(self._total, self._done + amount)
        share = self._done / self._total
        left = (self._now() - self._began) * (1 / share - 1) if share else 0.0
        print(f"  {share:4.0%}  {lasting(left):>6} left  {what}", flush=True)


def lasting(seconds: float) -> str:
    """Return a time to wait in words: ``40 s``, ``12 min``."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
