"""Request coalescing for asyncio: callers who ask for the same thing at the same moment share one execution.

::

    from coalesce_kit import coalesced

    @coalesced(key="fixtures:{sport}:{live}:{limit}", ttl=30)
    async def fixtures(sport: str, live: bool = True, limit: int = 5) -> list[Fixture]: ...
"""

from __future__ import annotations

import typing

from .backends.in_process import PendingRequest, RequestCoalescer, detached_context
from .cache.memory import MemoryCache
from .cache.policy import CachePolicy
from .cache.s3fifo import S3FIFOCache
from .decorators.bound import BoundFunction, bound
from .decorators.coalesced import CoalescedDecorator, coalesced
from .decorators.explain import Explanation
from .decorators.face import CoalescedFunction
from .decorators.invalidation import Invalidation, invalidate_all, invalidate_tags
from .defaults import aclose, get_request_coalescer, get_stats_registry, lifespan
from .entry import Entry, Freshness
from .errors import (
    CoalesceKitError,
    CoalescerClosedError,
    ConfigurationError,
    FetchCancelledError,
    FetchTimeoutError,
    KeyDerivationError,
    KeyTemplateError,
    RecursiveFetchError,
    RemoteFetchError,
    StoreRefusedError,
    StoreUnavailableError,
    UnshareableResultError,
    WaitTimeoutError,
)
from .protocols import CloseReport, Coalescer, Codec, Drainable, FlightInfo, FlightTerms, Ticket
from .stats.counters import CoalescerStats
from .stats.observer import (
    FetchEnded,
    FetchStarted,
    Invalidated,
    Observer,
    StateChanged,
    WaiterJoined,
    WaiterLeft,
)
from .stats.registry import RegistrySnapshot, StatsRegistry
from .stats.version import __version__

if typing.TYPE_CHECKING:
    from .backends.distributed import DistributedCoalescer
    from .store_port import LeaseStore
    from .stores.redis import RedisStore as RedisStore

__all__ = [
    "BoundFunction",
    "CachePolicy",
    "CloseReport",
    "CoalesceKitError",
    "CoalescedDecorator",
    "CoalescedFunction",
    "Coalescer",
    "CoalescerClosedError",
    "CoalescerStats",
    "Codec",
    "ConfigurationError",
    "DistributedCoalescer",
    "Drainable",
    "Entry",
    "Explanation",
    "FetchCancelledError",
    "FetchEnded",
    "FetchStarted",
    "FetchTimeoutError",
    "FlightInfo",
    "FlightTerms",
    "Freshness",
    "Invalidated",
    "Invalidation",
    "KeyDerivationError",
    "KeyTemplateError",
    "LeaseStore",
    "MemoryCache",
    "Observer",
    "PendingRequest",
    "RecursiveFetchError",
    "RegistrySnapshot",
    "RemoteFetchError",
    "RequestCoalescer",
    "S3FIFOCache",
    "StateChanged",
    "StatsRegistry",
    "StoreRefusedError",
    "StoreUnavailableError",
    "Ticket",
    "UnshareableResultError",
    "WaitTimeoutError",
    "WaiterJoined",
    "WaiterLeft",
    "__version__",
    "aclose",
    "bound",
    "coalesced",
    "detached_context",
    "get_request_coalescer",
    "get_stats_registry",
    "invalidate_all",
    "invalidate_tags",
    "lifespan",
]

if not typing.TYPE_CHECKING:  # a type checker would believe in any name

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})

    def __getattr__(name: str) -> object:
        """Return what is imported when it is first used: what shares over a store, which not everybody does."""
        if name == "DistributedCoalescer":
            from .backends.distributed import DistributedCoalescer  # noqa: PLC0415  # as said above

            return DistributedCoalescer
        if name == "LeaseStore":
            from .store_port import LeaseStore  # noqa: PLC0415  # as said above

            return LeaseStore
        if name != "RedisStore":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            from .stores.redis import RedisStore  # noqa: PLC0415  # its library may not be installed
        except ImportError as error:
            way_out = 'pip install "coalesce-kit[redis]"'
            raise ImportError(f"RedisStore needs redis and msgspec: {way_out} ({error})") from error
        return RedisStore
