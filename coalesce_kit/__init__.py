"""Request coalescing for asyncio: callers who ask for the same thing at the same moment share one execution.

::

    from coalesce_kit import coalesced

    @coalesced
    async def fixtures(sport: str, live: bool = True, limit: int = 5) -> list[Fixture]: ...
"""

from __future__ import annotations

from .backends.in_process import PendingRequest, RequestCoalescer, detached_context
from .decorators.bound import BoundFunction, bound
from .decorators.coalesced import CoalescedDecorator, coalesced
from .decorators.explain import Explanation
from .decorators.face import CoalescedFunction
from .decorators.invalidation import Invalidation, invalidate_all
from .defaults import aclose, get_request_coalescer, get_stats_registry, lifespan
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
    "CloseReport",
    "CoalesceKitError",
    "CoalescedDecorator",
    "CoalescedFunction",
    "Coalescer",
    "CoalescerClosedError",
    "CoalescerStats",
    "ConfigurationError",
    "Drainable",
    "Explanation",
    "FetchCancelledError",
    "FetchEnded",
    "FetchStarted",
    "FetchTimeoutError",
    "FlightInfo",
    "FlightTerms",
    "Invalidated",
    "Invalidation",
    "KeyDerivationError",
    "KeyTemplateError",
    "Observer",
    "PendingRequest",
    "RecursiveFetchError",
    "RegistrySnapshot",
    "RequestCoalescer",
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
    "lifespan",
]
