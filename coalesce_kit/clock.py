"""The one cell through which the package reads the time, so that a test can exchange it for every reader at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final


class Clock:
    """Float seconds that never go back: ``clock.now()``.

    ``now`` is an attribute and no method: exchanging it is one assignment, reading it one load.
    """

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now: Callable[[], float] = time.monotonic


clock: Final = Clock()
