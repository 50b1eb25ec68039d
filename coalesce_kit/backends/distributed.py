"""``DistributedCoalescer``: single flight in this process, and over a store in every process that shares it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Final, Literal, Self, TypeVar

from ..clock import clock
from ..durations import Duration, to_seconds
from ..entry import SharedEntry
from ..errors import ConfigurationError
from ..fleet_port import Errand, FunctionToShare, SharedFunction, Telling
from ..protocols import CloseReport, Codec, FlightInfo, Key, OnAbandon
from ..stats.counters import CoalescerStats
from ..stats.observer import Observer
from ..store_port import LeaseStore
from .in_process import RequestCoalescer
from .leased_flight import LeasedFlight
from .owed import EVERYTHING
from .process import Process
from .shared_function import FleetFunction, SharingOptions, name_of_tag

R = TypeVar("R")

Consistency = Literal["announced", "strict"]
WhenDegraded = Literal["serve", "refetch"]

_OPERATIONS: Final = ("read", "acquire", "renew", "publish", "abandon", "invalidate", "tag_versions", "signals")


class DistributedCoalescer:
    """Shares one run of a function among all who ask for its key while it runs, in every process that uses the store.

    Give it to ``@coalesced``, and what a function returns in one process is the answer in all of them::

        fleet = DistributedCoalescer(RedisStore("redis://cache:6379", namespace="odds"))

        @coalesced(key="fixtures:{sport}", ttl=30, backend=fleet)
        async def fixtures(sport: str) -> list[Fixture]: ...

    This is for efficiency and no mutual exclusion: a second run may be under way beside the first if that one's process
    was stopped for longer than its lease, if its result was invalidated meanwhile, or if the store has lost its data.
    When the store cannot be reached, calls are answered in this process, and nobody's call fails for it.

    Args:
        store: where leases and results are.
        lease_seconds: how long a lease lasts without being renewed: so long the others wait for a process that died.
        coherence_seconds: how long at most a local result may be served after another process has invalidated it,
            when the announcement was lost; normally that takes a millisecond.
        consistency: ``"announced"``, or ``"strict"``: nothing is kept in this process, and every group of callers asks
            the store.
        when_degraded: whether local results are served to the end of their lives while the store is out of reach, or
            the function is called (``"refetch"``).
        shared_errors: classes of errors that waiters in other processes get as what they are, beside those that a
            function declares with ``error_ttl`` and ``always_raise``. All others arrive as ``RemoteFetchError``.
        share_error_messages: whether the messages of those travel, too.
        codec: makes bytes of results, for functions whose annotation does not say enough. Releases share results if
            their codecs are of one class, by its name, or have the same text as their attribute ``fingerprint``: change
            that when what the codec writes changes.
        max_body_bytes: a larger result is not shared.
        max_wait_seconds: the longest that one caller waits for a fetch begun by another, here or elsewhere.
        max_flight_seconds: the age from which on a fetch is not joined, and its lease not renewed, any more.
        fetch_timeout_seconds: the longest run of a fetch that brings no terms of its own.
        on_abandon: what becomes of such a fetch when its last caller leaves.
        observers: told of calls that bring no terms of their own.

    Raises:
        ConfigurationError: an option cannot work.

    *Concurrency*: any number of event loops in any number of threads. After a fork it serves both processes: the child
    opens connections of its own, and tells nothing of what its parent owes the store.
    """

    def __init__(
        self,
        store: LeaseStore,
        *,
        lease_seconds: Duration = 3.0,
        coherence_seconds: Duration = 5.0,
        consistency: Consistency = "announced",
        when_degraded: WhenDegraded = "serve",
        shared_errors: Iterable[type[Exception]] = (),
        share_error_messages: bool = False,
        codec: Codec | None = None,
        max_body_bytes: int = 1 << 20,
        max_wait_seconds: Duration | None = 5.0,
        max_flight_seconds: Duration = 60.0,
        fetch_timeout_seconds: Duration | None = None,
        on_abandon: OnAbandon = "cancel",
        observers: Iterable[Observer] = (),
    ) -> None:
        _require_store(store)
        if consistency not in ("announced", "strict"):
            raise ConfigurationError(f'consistency is "announced" or "strict", not {consistency!r}')
        if when_degraded not in ("serve", "refetch"):
            raise ConfigurationError(f'when_degraded is "serve" or "refetch", not {when_degraded!r}')
        if isinstance(max_body_bytes, bool) or not isinstance(max_body_bytes, int) or max_body_bytes <= 0:
            raise ConfigurationError(f"max_body_bytes is a number of bytes greater than 0, not {max_body_bytes!r}")
        self._local: Final = RequestCoalescer(
            max_wait_seconds=max_wait_seconds,
            max_flight_seconds=max_flight_seconds,
            fetch_timeout_seconds=fetch_timeout_seconds,
            on_abandon=on_abandon,
            observers=observers,
        )
        self.get_or_fetch: Final = self._local.get_or_fetch
        self.max_wait_seconds: Final = self._local.max_wait_seconds
        self.max_flight_seconds: Final = self._local.max_flight_seconds
        lease = to_seconds(lease_seconds, name="lease_seconds")
        if self.max_wait_seconds is not None and lease >= self.max_wait_seconds:
            raise ConfigurationError(
                f"lease_seconds={lease:g} must be less than max_wait_seconds={self.max_wait_seconds:g}: when a process"
                " dies the others wait for the end of its lease, and must still be there when one succeeds it"
            )
        self.store: Final = store
        self._options: Final = SharingOptions(
            lease_seconds=lease,
            max_flight_seconds=self.max_flight_seconds,
            max_body_bytes=max_body_bytes,
            shared_errors=_error_classes(shared_errors),
            share_error_messages=share_error_messages,
            codec=codec,
            is_strict=consistency == "strict",
            serves_when_degraded=when_degraded == "serve",
        )
        self._process: Final = Process(
            store, lease_seconds=lease, coherence_seconds=to_seconds(coherence_seconds, name="coherence_seconds")
        )

    def __repr__(self) -> str:
        state = "degraded" if self._process.is_degraded else "connected"
        return f"<{type(self).__name__} over {self.store!r}, {state}, in flight: {len(self._local.flights())}>"

    # ---- sharing ----

    def share(self, function: FunctionToShare) -> SharedFunction:
        """Share the results of a decorated function. The decorator asks this.

        Raises:
            ConfigurationError: its results cannot be shared.
        """
        max_wait = function.terms.max_wait_seconds
        if isinstance(max_wait, int | float) and self._options.lease_seconds >= max_wait:
            raise ConfigurationError(
                f"{function.name}: max_wait_seconds={max_wait:g} must be greater than the backend's"
                f" lease_seconds={self._options.lease_seconds:g}, or waiters give up before anybody can succeed a"
                " process that has died"
            )
        shared = _Shared(self._process, function, self._options)
        self._process.add(shared, usable_seconds=function.usable_seconds)
        return shared

    def invalidate_tags(self, tags: Sequence[str]) -> Telling:
        """Have everything that has one of the tags found dead, in every process that shares the store."""
        return _Tellings([self._process.tell(("tag", name_of_tag(tag))) for tag in tags])

    def invalidate_all(self) -> Telling:
        """Have everything of the store's namespace found dead, in every process."""
        return self._process.tell(EVERYTHING)

    @property
    def is_degraded(self) -> bool:
        """Whether calls are answered without the store now."""
        return self._process.is_degraded

    @property
    def invalidations_pending(self) -> int:
        """How many invalidations the store was not told yet."""
        return len(self._process.owed)

    # ---- a coalescer's own ----

    def forget(self, key: Key) -> bool:
        """Detach the fetch of ``key`` in flight in this process, if any: it keeps its callers."""
        return self._local.forget(key)

    def flights(self) -> tuple[FlightInfo, ...]:
        """Return every fetch in the air in this process. Any thread."""
        return self._local.flights()

    @property
    def pending_keys(self) -> tuple[Key, ...]:
        """The keys with a fetch in flight, on the running loop; outside a loop on all of them."""
        return self._local.pending_keys

    def statistics(self) -> CoalescerStats:
        """Return the numbers of every call that reached this coalescer, whatever function made it. Any thread."""
        return self._local.statistics()

    def _begin_anew(self) -> None:
        """Have nobody join what is in the air, and the numbers begin at zero: for tests."""
        self._local._begin_anew()  # noqa: SLF001  # its own

    async def drain(self, *, deadline_seconds: Duration = 10.0) -> CloseReport:
        """Let the running loop's fetches end, cut the rest, give back its leases, and close its connections.

        Calls are accepted all the while; a later one opens new connections.
        """
        began = clock.now()
        seconds = to_seconds(deadline_seconds, name="deadline_seconds", zero=True)
        report = await self._local.drain(deadline_seconds=seconds)
        await self._process.close_link(deadline_seconds=seconds - (clock.now() - began))
        return report

    async def aclose(self, *, deadline_seconds: Duration = 10.0) -> CloseReport:
        """Close the coalescer for the running loop: refuse new calls, drain to the deadline, cut the rest.

        The store's connections of this loop are closed, too.
        """
        began = clock.now()
        seconds = to_seconds(deadline_seconds, name="deadline_seconds", zero=True)
        report = await self._local.aclose(deadline_seconds=seconds)
        await self._process.close_link(deadline_seconds=seconds - (clock.now() - began))
        return report

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


class _Shared(FleetFunction):
    """A function whose fetches are flights with leases."""

    async def fetch(self, errand: Errand) -> SharedEntry:
        """Return the answer: the store's, or another process's, or what the function returns here."""
        return await LeasedFlight(self, errand, self.process.link()).fly()


class _Tellings:
    """Several messages as one."""

    def __init__(self, tellings: Sequence[Telling]) -> None:
        self._tellings = tuple(tellings)

    @property
    def told(self) -> bool | None:
        """Whether the store has taken all of them."""
        all_told = [telling.told for telling in self._tellings]
        return False if False in all_told else None if None in all_told else True

    async def wait(self) -> bool:
        """Wait until that is known."""
        return all([await telling.wait() for telling in self._tellings])


def _require_store(store: object) -> None:
    if isinstance(store, type):
        raise ConfigurationError(f"DistributedCoalescer takes a store, not its class: write {store.__name__}(...)")
    missing = [name for name in _OPERATIONS if not callable(getattr(store, name, None))]
    if missing:
        raise ConfigurationError(
            f"DistributedCoalescer takes a store, such as RedisStore(url, namespace=...), not {store!r}"
            f" ({type(store).__name__}), which has no {missing[0]}()"
        )


def _error_classes(errors: object) -> tuple[type[Exception], ...]:
    given = tuple(errors) if isinstance(errors, Iterable) else (errors,)
    for error in given:
        if not (isinstance(error, type) and issubclass(error, Exception)):
            raise ConfigurationError(f"shared_errors takes classes of exceptions, not {error!r}")
    return given
