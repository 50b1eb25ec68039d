"""Request coalescing for asyncio: callers who ask for the same thing at the same moment share one execution.

::

    from coalesce_kit import coalesced

    @coalesced(key="fixtures:{sport}:{live}:{limit}", ttl=30)
    async def fixtures(sport: str, live: bool = True, limit: int = 5) -> list[Fixture]: ...
"""

from __future__ import annotations

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
    UnshareableResultError,
    WaitTimeoutError,
)
from .protocols import CloseReport, Coalescer, Drainable, FlightInfo, FlightTerms, Ticket
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

__version__ = "0.1.0"

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
    "ConfigurationError",
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
    "MemoryCache",
    "Observer",
    "PendingRequest",
    "RecursiveFetchError",
    "RegistrySnapshot",
    "RequestCoalescer",
    "S3FIFOCache",
    "StateChanged",
    "StatsRegistry",
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
