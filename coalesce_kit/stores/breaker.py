"""When to stop asking a server that does not answer, and when to try again."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

from ..clock import clock
from ..errors import StoreUnavailableError

BreakerState: TypeAlias = Literal["closed", "open", "half-open"]

TIME_OUTS: Final = 3
FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 30.0
PROBE_SECONDS: Final = 2.0
"""How long a probe is waited for: its caller may have left before it was sent."""
JITTER: Final = 0.2


class Breaker:
    """Refuses operations at once while a server is known not to answer, so that nobody waits for it in vain.

    It opens at the first connection that cannot be made, and at the third time-out in a row. After a pause, 0.5 s
    doubling to 30 s, each a little longer or shorter so that a fleet does not knock in step, it is half-open: the next
    operation is the probe, and whatever the server answers to it closes the breaker.

    Args:
        jitter: returns a number in [0, 1) for each pause.

    *Concurrency*: one loop.
    """

    def __init__(self, *, jitter: Callable[[], float] = random.random) -> None:
        self._jitter = jitter
        self._time_outs = 0
        self._pauses = 0
        self._is_closed = True
        self._probe_at = 0.0
        self._is_probing = False

    @property
    def state(self) -> BreakerState:
        """What the next operation would meet."""
        if self._is_closed:
            return "closed"
        return "half-open" if clock.now() >= self._probe_at else "open"

    def admit(self) -> None:
        """Let an operation pass, as the probe if it is time for one.

        Raises:
            StoreUnavailableError: it is open, or another operation is the probe.
        """
        if self._is_closed:
            return
        left = self._probe_at - clock.now()
        if left > 0:
            raise StoreUnavailableError(f"the store did not answer; it is asked again in {left:.1f} s")
        self._is_probing = True
        self._probe_at = clock.now() + PROBE_SECONDS

    def answered(self) -> None:
        """Note that the server answered, whatever it said."""
        self._time_outs = self._pauses = 0
        self._is_closed = True
        self._is_probing = False

    def timed_out(self) -> None:
        """Note that the server did not answer in time."""
        self._time_outs += 1
        if self._time_outs >= TIME_OUTS or not self._is_closed:
            self._open()

    def refused(self) -> None:
        """Note that no connection could be made, or that it was cut off more than once."""
        self._open()

    def try_now(self) -> None:
        """Note that the server answers elsewhere: the next operation is the probe, without a pause."""
        self._probe_at = clock.now()

    def _open(self) -> None:
        if not self._is_closed and not self._is_probing:
            return  # an operation that began before it opened tells nothing new
        pause = min(FIRST_PAUSE_SECONDS * 2**self._pauses, LONGEST_PAUSE_SECONDS)
        self._pauses += 1
        self._is_closed = self._is_probing = False
        self._probe_at = clock.now() + pause * (1 - JITTER + 2 * JITTER * self._jitter())
