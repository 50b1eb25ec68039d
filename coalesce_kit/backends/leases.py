"""The leases that one loop holds, and the one timer that renews them.

Only leases older than a beat are renewed, so short fetches are never; all that are due travel together. A lease whose
fetch is over its limits, or was given up, is abandoned: a hung fetch must not keep a key from the fleet.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from ..clock import clock
from ..errors import StoreRefusedError, StoreUnavailableError
from ..stats.counters import Counters
from ..store_port import LeaseStore

BEATS_PER_LEASE: Final = 3
"""A lease is renewed so often before it lapses: two beats may fail."""

MOST_TOGETHER: Final = 256
"""How many leases are renewed by one question."""

_JUST_ABOUT: Final = 0.999
"""A beat may come a little before a lease is a beat old: timers and clocks are rounded."""

STORE_ERRORS: Final = (StoreUnavailableError, StoreRefusedError)


class Lease:
    """One lease that is held.

    Attributes:
        record: whose.
        token: its token.
        renewed: when it was last asked for, or renewed.
        until: it is not renewed after this moment.
        is_unwanted: asked at every beat: nobody wants what the fetch will bring.
        counters: of the function.
    """

    __slots__ = ("counters", "is_unwanted", "record", "renewed", "token", "until")

    def __init__(
        self,
        record: str,
        token: str,
        *,
        since: float,
        until: float,
        is_unwanted: Callable[[], bool],
        counters: Counters,
    ) -> None:
        self.record = record
        self.token = token
        self.renewed = since
        self.until = until
        self.is_unwanted = is_unwanted
        self.counters = counters


class Leases:
    """The leases that one loop holds.

    Args:
        store: where.
        lease_seconds: how long one lasts.
        loop: the loop.
        spawn: runs a coroutine in the background.
        abandon: ends a lease, in the background.
    """

    def __init__(
        self,
        store: LeaseStore,
        *,
        lease_seconds: float,
        loop: asyncio.AbstractEventLoop,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        abandon: Callable[[str, str], object],
    ) -> None:
        self._store = store
        self._lease_seconds = lease_seconds
        self._loop = loop
        self._spawn = spawn
        self._abandon = abandon
        self._held: dict[str, Lease] = {}
        self._timer: asyncio.TimerHandle | None = None

    def hold(self, lease: Lease) -> None:
        """Renew a lease from now on, until ``let_go``."""
        self._held[lease.token] = lease
        if self._timer is None:
            self._wait_for_the_next_beat()

    def let_go(self, token: str) -> bool:
        """Renew a lease no more; return whether it was held until now."""
        was_held = self._held.pop(token, None) is not None
        if not self._held:
            self.stop()
        return was_held

    def stop(self) -> None:
        """Renew nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait_for_the_next_beat(self) -> None:
        beat = self._lease_seconds / BEATS_PER_LEASE
        self._timer = self._loop.call_later(beat, self._beat, context=contextvars.Context())

    def _beat(self) -> None:
        self._timer = None
        now = clock.now()
        beat = self._lease_seconds / BEATS_PER_LEASE
        for lease in [lease for lease in self._held.values() if now >= lease.until or lease.is_unwanted()]:
            del self._held[lease.token]
            self._abandon(lease.record, lease.token)
        due = [lease for lease in self._held.values() if now - lease.renewed >= beat * _JUST_ABOUT]
        for first in range(0, len(due), MOST_TOGETHER):
            self._spawn(self._renew(due[first : first + MOST_TOGETHER]))
        if self._held:
            self._wait_for_the_next_beat()

    async def _renew(self, due: Sequence[Lease]) -> None:
        asked = clock.now()
        try:
            answers = await self._store.renew(
                [(lease.record, lease.token) for lease in due], lease_seconds=self._lease_seconds
            )
        except STORE_ERRORS:
            return  # at the next beat again
        for lease, is_still_ours in zip(due, answers, strict=True):
            if is_still_ours:
                lease.renewed = asked
                lease.counters.lease_renewals += 1
            elif self.let_go(lease.token):
                lease.counters.leases_lapsed += 1
