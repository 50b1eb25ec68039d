"""What one function keeps: nothing, or results in a cache. The attributes that depend on it ask here."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from dataclasses import replace
from types import MethodType
from typing import Any, NamedTuple, Protocol, TypeAlias

from ..backends.flight import current_flight
from ..backends.in_process import detached_context
from ..cache.memory import MemoryCache
from ..cache.policy import CachePolicy
from ..cache.read_through import ReadThrough
from ..cache.shelf import Shelf
from ..clock import clock
from ..entry import Entry
from ..fleet_port import Telling
from ..keys import CompiledTags
from ..protocols import FlightTerms, Key
from ..tickets import Tickets
from .asking import Asking
from .call import BroughtCall, BroughtMethodCall, CachedWiring
from .explain import Found

Helpers: TypeAlias = tuple[Callable[..., Any], ...]


class Keeping(Protocol):
    """What a function's attributes ask about what it keeps."""

    def wire(self, helpers: Helpers) -> None:
        """Learn the two functions of the compiled call that run for a caller who leads. Called once."""
        ...

    def void(self, key: Key) -> int:
        """Detach the fetches of one key and drop its result; return how many that were."""
        ...

    def void_tags(self, tags: Iterable[str]) -> int:
        """Detach the fetches that have one of the tags, and have results that have one found dead."""
        ...

    def void_all(self) -> int:
        """Detach every fetch and drop every result; return how many that were."""
        ...

    async def refresh(self, key: Key, arguments: list[Any]) -> Any:
        """Fetch anew, or join a fetch in flight."""
        ...

    def prime(self, key: Key, arguments: list[Any], value: object) -> Telling | None:
        """Keep a value made elsewhere; return the telling of others, where there are others."""
        ...

    def peek(self, key: Key) -> Entry | None:
        """Return what is kept, without touching it."""
        ...

    def look(self, key: Key) -> Found | None:
        """Return what ``explain`` says of what is kept, without touching it."""
        ...

    def why_not_kept(self, key: Key) -> str | None:
        """Return why the last result of a key was not kept, if it was not."""
        ...

    def forget_warnings(self) -> None:
        """Give every warning again that is given once: for tests."""
        ...

    async def drain(self, *, deadline_seconds: float) -> None:
        """Wait for what runs in the background on the running loop."""
        ...

    @property
    def held(self) -> int:
        """How many results are held."""
        ...

    @property
    def refreshing(self) -> int:
        """How many refreshes run in the background."""
        ...


class KeepingNothing:
    """Coalesces only: there is nothing beside the tickets of the fetches in flight."""

    __slots__ = ("_ask", "_helpers", "_terms", "_tickets")

    def __init__(self, tickets: Tickets, terms: FlightTerms, *, asking: Asking) -> None:
        self._tickets = tickets
        self._terms = replace(terms, refresh=True)
        self._ask = asking.ask
        self._helpers: Helpers = ()

    def wire(self, helpers: Helpers) -> None:
        """Learn the two functions of the compiled call that run for a caller who leads. Called once."""
        self._helpers = helpers

    def void(self, key: Key) -> int:
        """Detach the fetches of one key."""
        return self._tickets.void(key)

    def void_tags(self, tags: Iterable[str]) -> int:  # noqa: ARG002  # a function with tags has a cache, if an empty one
        """Do nothing: no fetch has a tag."""
        return 0

    def void_all(self) -> int:
        """Detach every fetch."""
        return self._tickets.void_all()

    async def refresh(self, key: Key, arguments: list[Any]) -> Any:
        """Join a fetch in flight, or lead one, outside the sum of requests."""
        counters = self._terms.counters
        counters.refreshes += 1
        load = [None, key, *arguments]
        fetch, reserve = (MethodType(helper, load) for helper in self._helpers)
        try:
            return await self._ask(key, fetch, reserve=reserve, terms=self._terms)
        except Exception:
            counters.refresh_errors += 1
            raise

    def prime(self, key: Key, arguments: list[Any], value: object) -> None:  # noqa: ARG002  # there is nowhere to keep it
        """Keep nothing, but let nobody join a fetch that began before."""
        self._terms.counters.primes += 1
        self._tickets.void(key)

    def peek(self, key: Key) -> None:  # whatever the key
        """Return nothing."""

    def look(self, key: Key) -> None:  # whatever the key
        """Return nothing."""

    def why_not_kept(self, key: Key) -> None:  # whatever the key
        """Return nothing: keeping was not asked for."""

    def forget_warnings(self) -> None:
        """Do nothing: there is none."""

    async def drain(self, *, deadline_seconds: float) -> None:
        """Do nothing."""

    @property
    def held(self) -> int:
        """None."""
        return 0

    @property
    def refreshing(self) -> int:
        """None: ``refresh`` runs in its caller."""
        return 0


class Caching(NamedTuple):
    """How a function's results are kept, as its decorator was told.

    Attributes:
        policy: how long they are used.
        cache: where; ``None`` for a ``MemoryCache`` of the function's own.
        tags: their tags.
    """

    policy: CachePolicy
    cache: MemoryCache | None
    tags: CompiledTags | None


class KeepingResults:
    """Keeps results on a shelf of a cache, and answers from there."""

    __slots__ = ("__weakref__", "_bring", "_helpers", "_policy", "_shelf", "_through", "wiring")

    def __init__(
        self, caching: Caching, tickets: Tickets, terms: FlightTerms, *, asking: Asking, of_method: bool
    ) -> None:
        cache = MemoryCache() if caching.cache is None else caching.cache
        shelf = Shelf(cache, tickets=tickets, counters=terms.counters)
        through = ReadThrough(
            shelf,
            caching.policy,
            terms,
            ask=asking.ask,
            context=detached_context,
            given_up=_was_given_up,
            longest_refresh=asking.max_flight_seconds,
        )
        wiring = CachedWiring(
            answer=through.answer,
            find=None if cache.entries is None else cache.entries.get,
            tagged=shelf.tags,
            tags=caching.tags,
            refreshes_ahead=caching.policy.refresh_ahead is not None,
        )
        self._stand_on(shelf, through, caching, wiring, of_method=of_method)

    def _stand_on(
        self, shelf: Shelf, through: ReadThrough, caching: Caching, wiring: CachedWiring, *, of_method: bool = False
    ) -> None:
        """Take over what it consists of. Called once."""
        self._shelf = shelf
        self._through = through
        self._policy = caching.policy
        self._bring = BroughtMethodCall if of_method else BroughtCall
        self._helpers: Helpers = ()
        self.wiring = wiring
        if caching.cache is not None:  # it outlives the function, whose results nobody can ask for any more
            weakref.finalize(self, shelf.invalidate_all).atexit = False

    def wire(self, helpers: Helpers) -> None:
        """Learn the two functions of the compiled call that run for a caller who leads. Called once."""
        self._helpers = helpers

    def void(self, key: Key) -> int:
        """Detach the fetches of one key and drop its result."""
        return self._shelf.invalidate(key)

    def void_tags(self, tags: Iterable[str]) -> int:
        """Detach the fetches that have one of the tags, and have results that have one found dead."""
        return self._shelf.invalidate_tags(tags)

    def void_all(self) -> int:
        """Detach every fetch and drop every result."""
        return self._shelf.invalidate_all()

    async def refresh(self, key: Key, arguments: list[Any]) -> Any:
        """Join a fetch in flight, or lead one, outside the sum of requests."""
        return await self._through.refresh(key, self._call(arguments))

    def prime(self, key: Key, arguments: list[Any], value: object) -> Telling | None:
        """Keep a value made elsewhere."""
        return self._through.prime(key, self._call(arguments), value)

    def peek(self, key: Key) -> Entry | None:
        """Return what is kept, fresh or stale, without touching it."""
        return self._through.peek(key)

    def look(self, key: Key) -> Found | None:
        """Return what ``explain`` says of what is kept, without touching it."""
        entry = self._shelf.peek(key)
        if entry is None:
            return None
        now = clock.now()
        return Found(
            freshness=entry.freshness(now),
            verdict=self._policy.judge(entry, now),
            age_seconds=entry.age_seconds(now),
            fresh_seconds_left=(entry.fresh_until if entry.error is None else entry.usable_until) - now,
            usable_seconds_left=entry.usable_until - now,
            error=None if entry.error is None else type(entry.error).__name__,
        )

    def why_not_kept(self, key: Key) -> str | None:
        """Return why the last result of a key was not kept, if it was not."""
        return self._through.not_kept.reason(key)

    def forget_warnings(self) -> None:
        """Give every warning again that is given once: for tests."""
        self._through.forget_warnings()

    async def drain(self, *, deadline_seconds: float) -> None:
        """Wait for the refreshes of the running loop."""
        await self._through.refreshes.drain(deadline_seconds=deadline_seconds)

    @property
    def held(self) -> int:
        """How many results are held."""
        return len(self._shelf)

    @property
    def refreshing(self) -> int:
        """How many refreshes run in the background."""
        return len(self._through.refreshes)

    def _call(self, arguments: list[Any]) -> BroughtCall:
        run, tags = self._helpers
        return self._bring(run, tags, arguments)


def _was_given_up() -> bool:
    """Whether the fetch that this is asked in was told to stop."""
    flight = current_flight.get()
    return flight is not None and flight.given_up
