"""What one function keeps when its backend shares results with other processes."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any, Final, cast

from ..backends.flight import current_flight
from ..backends.in_process import detached_context
from ..cache.memory import MemoryCache
from ..cache.policy import CachePolicy
from ..cache.shared_through import SharedReadThrough, SharedShelf
from ..fleet_port import FunctionToShare, SharedFunction, SharingCoalescer, Telling
from ..keys import KeyRecipe
from ..protocols import FlightTerms, Key
from ..stats.counters import Gauges
from ..tickets import Tickets
from .asking import Asking
from .call import CachedWiring
from .keeping import Caching, KeepingResults
from .wrapping import AsyncCallable, label


class KeepingShared(KeepingResults):
    """Keeps results on a shelf of a cache, shares them over a store, and hears what other processes announce.

    It is the ``LocalResults`` on which announcements act.

    Args:
        caching: how results are kept.
        tickets: the live tickets of the function's keys.
        terms: of its fetches.
        asking: asks its coalescer.
        backend: the coalescer, which shares.
        function: the wrapped function.
        recipe: how its keys are made.
        is_name_given: its author named it.

    Raises:
        ConfigurationError: its results cannot be shared.
    """

    __slots__ = ("_has_tags", "_shared")

    def __init__(
        self,
        caching: Caching,
        tickets: Tickets,
        terms: FlightTerms,
        *,
        asking: Asking,
        backend: SharingCoalescer,
        function: AsyncCallable,
        recipe: KeyRecipe,
        is_name_given: bool,
    ) -> None:
        policy = caching.policy
        cache = MemoryCache() if caching.cache is None else caching.cache
        self._has_tags = caching.tags is not None
        shelf = SharedShelf(cache, tickets=tickets, counters=terms.counters)
        through = SharedReadThrough(
            shelf,
            policy,
            terms,
            ask=asking.ask,
            context=detached_context,
            own_flight=current_flight.get,
            longest_refresh=asking.max_flight_seconds,
        )
        self._shared: Final = self._share(backend, function, recipe, policy, terms, is_name_given=is_name_given)
        shelf.trust = self._shared.trust
        through.shared = self._shared
        in_line = cache.entries is not None and self._shared.keeps_local
        self._stand_on(
            shelf,
            through,
            caching,
            CachedWiring(
                answer=through.answer,
                find=cache.entries.get if in_line and cache.entries is not None else None,
                tagged=shelf.tags,
                tags=caching.tags,
                refreshes_ahead=policy.refresh_ahead is not None,
                trust=self._shared.trust,
            ),
        )

    def _share(
        self,
        backend: SharingCoalescer,
        function: AsyncCallable,
        recipe: KeyRecipe,
        policy: CachePolicy,
        terms: FlightTerms,
        *,
        is_name_given: bool,
    ) -> SharedFunction:
        fresh = 0.0 if callable(policy.ttl) else cast("float", policy.ttl)
        windows = max(cast("float", policy.stale_while_revalidate), cast("float", policy.stale_if_error))
        return backend.share(
            FunctionToShare(
                name=terms.name,
                origin_name=label(function),
                is_name_given=is_name_given,
                function=function,
                instance_in_key=recipe.instance,
                hides=any(part.conversion == "h" for part in recipe.parts),
                terms=terms,
                errors=(*policy.error_ttl, *cast("tuple[type[Exception], ...]", policy.always_raise)),
                usable_seconds=fresh + windows,
                local=self,
                write_key=functools.partial(_write_key, recipe),
            )
        )

    # ---- what the function's attributes do ----

    def record_of(self, key: Key) -> str:
        """Return what the store calls a key."""
        return self._shared.record_of(key)

    def tell_void(self, record: str) -> Telling:
        """Have a record removed everywhere."""
        return self._shared.invalidate(record)

    def tell_void_all(self) -> Telling:
        """Have everything of the function found dead everywhere."""
        return self._shared.invalidate_all()

    def with_gauges(self, gauges: Gauges) -> Gauges:
        """Add what is known of the store."""
        pending, breaker, is_lost = self._shared.distance()
        untrusted = gauges.cached_entries if is_lost else 0
        return gauges + Gauges(invalidations_pending=pending, breaker_state=breaker, untrusted_entries=untrusted)

    # ---- what announcements do ----

    def drop(self, record: str) -> None:
        """Drop the result of a record, and detach its fetches."""
        self._shelf.invalidate_tags((record,))

    def drop_tags(self, tags: Sequence[str]) -> None:
        """Do so for what has one of the tags."""
        if self._has_tags:
            self._shelf.invalidate_tags(tags)

    def drop_all(self) -> None:
        """Do so for everything."""
        self._shelf.invalidate_all()

    def distrust(self) -> None:
        """Have every result looked at again at its next use."""
        self._shelf.tags.distrust()

    def void_tags(self, tags: Iterable[str]) -> int:
        """Detach the fetches that have one of the tags, and have results that have one found dead."""
        return self._shelf.invalidate_tags(tags)


def _write_key(recipe: KeyRecipe, key: Any, digest_key: bytes | None) -> str:
    return recipe.stored_text(key, digest_key=digest_key)
