"""Read-through for results that are shared with other processes: what is different from keeping them for oneself.

A local result is served only while everything that was announced is known to have been heard. Otherwise, and where
there is none, the call goes to the fleet, with an errand: the store has the answer, another process is fetching it, or
the function is called here.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextvars import Context
from dataclasses import replace
from typing import Any, Final, Protocol, cast

from ..clock import clock
from ..entry import MISSING, Entry, Freshness, Lifetimes, SharedEntry
from ..errors import UnshareableResultError
from ..fleet_port import Purpose, SharedFunction, Telling, Trust
from ..protocols import FlightTerms, Key, Ticket
from ..sharing import bare_twin, refuse_unshareable
from .policy import CachePolicy, Verdict
from .read_through import NOT_WANTED, Ask, Call, Fetching, ReadThrough, value_of
from .shelf import Shelf
from .tags import CacheTicket

_NO_LIFE: Final = Lifetimes(0.0)


class OwnFlight(Protocol):
    """The flight in which a fetch runs, as far as the fetch looks at it."""

    @property
    def given_up(self) -> bool:
        """Whether it was told to stop."""
        ...

    def begin(self) -> None:
        """Count and time the fetch from here."""
        ...

    def hold(self) -> None:
        """Have it end although nobody waits for it any more."""
        ...


class SharedShelf(Shelf):
    """A function's part of a cache, whose entries also die by what other processes announce.

    Every entry has its record's name as a tag. One that was asked for before the last break of the subscription is
    found, and never in line: its epoch stays an old one until it is confirmed.
    """

    __slots__ = ("trust",)

    trust: Trust

    def find(self, key: Key) -> Entry | None:
        """Return what is kept under ``key`` and was not invalidated, fresh or not, to be trusted or not."""
        entry = self.cache.find(key)
        if entry is None or entry.is_dead:
            return None
        if entry.epoch != self.tags.epoch:
            epoch = self.tags.epoch
            if self.tags.have_moved(entry.tags, entry.ticket):
                entry.mark_dead()
                return None
            if isinstance(entry, SharedEntry) and entry.generation == self.trust.generation:
                entry.epoch = epoch
        return entry


class SharedReadThrough(ReadThrough):
    """The path of one function's calls through its part of a cache, to the fleet.

    Args:
        shelf: the function's part of the cache.
        policy: how long results are used.
        terms: the terms of the function's fetches.
        ask: the coalescer's ``get_or_fetch``.
        context: makes a context outside any flight.
        own_flight: returns the flight in which it is called.
        longest_refresh: tells how many seconds a refresh in the background may take.

    Attributes:
        shared: the function as the fleet sees it; set right after both were made.
    """

    __slots__ = ("_own_flight", "_patient", "_shared_shelf", "shared")

    shared: SharedFunction

    def __init__(
        self,
        shelf: SharedShelf,
        policy: CachePolicy,
        terms: FlightTerms,
        *,
        ask: Ask,
        context: Callable[[], Context],
        own_flight: Callable[[], OwnFlight | None],
        longest_refresh: Callable[[], float],
    ) -> None:
        self._own_flight: Final = own_flight
        self._shared_shelf: Final = shelf
        self._patient: Final[dict[Key, list[_Patience]]] = {}
        super().__init__(
            shelf,
            policy,
            replace(terms, waits_first=True),
            ask=ask,
            context=context,
            given_up=self._is_given_up,
            longest_refresh=longest_refresh,
        )

    async def answer(self, key: Key, call: Call) -> Any:
        """Return the answer to a call that the compiled hit could not answer.

        Raises:
            Exception: the fetch's, or the wait's, unless policy has a stale value given instead; a remembered failure.
        """
        try:
            entry = self._shelf.find(key)
        except Exception:  # an argument's own __hash__ or __eq__: no call of this key can be answered
            self._counters.rejected_requests += 1
            raise
        if entry is not None and not self._is_trusted(entry):
            if not self.shared.serves_untrusted:
                return await self._fetch(key, call, entry, self._terms)
            if self._policy.judge(entry, clock.now()) is not Verdict.FETCH:
                self._counters.incoherent_hits += 1
        verdict = self._policy.judge(entry, clock.now())
        if entry is None or verdict is Verdict.FETCH:
            return await self._fetch(key, call, entry, self._terms)
        if verdict is Verdict.WAIT_THEN_SERVE:
            return await self._fetch_for_a_while(key, call, entry)
        if verdict is Verdict.SERVE_AND_REFRESH:
            self.refreshes.start(key, entry, lambda: self._refresh_for_nobody(key, call, entry))
        return self._serve(entry)

    async def refresh(self, key: Key, call: Call) -> Any:
        """Return a new value: join a flight that runs the function, here or elsewhere, or lead one.

        Raises:
            Exception: the fetch's, or the wait's; the old value stays.
        """
        terms = self._refresh_terms
        return await self._refresh(key, self._errand(key, call, terms, Purpose.RENEW), terms, self._shelf.peek(key))

    def prime(self, key: Key, call: Call, value: object) -> Telling:
        """Keep a value made elsewhere as if it had been fetched now, here and in the store.

        Raises:
            UnshareableResultError: the value can be used only once.
            Exception: whatever ``ttl``, ``cache_if``, a tag or a size raises; then nothing has changed.
        """
        refuse_unshareable(value, name=self._terms.name)
        record = self.shared.record_of(key)
        self._counters.primes += 1
        now = clock.now()
        tags = call.tags()
        lifetimes = self._policy.lifetimes(value, random=random.random())  # jitter, no secret
        size = 1 if lifetimes is None else self._shelf.cache.size_of(value)
        self._shelf.invalidate(key)
        entry = SharedEntry(value, at=now, lifetimes=lifetimes or _NO_LIFE, tags=(record, *tags), size=size)
        entry.generation = self.shared.trust.generation
        if lifetimes is None:
            self.not_kept.note(key, NOT_WANTED)
        elif self.shared.keeps_local:
            ticket = self._shelf.reserve(key, entry.tags)
            try:
                self._note(key, self._shelf.keep(ticket, entry, now=now))
            finally:
                self._shelf.release(ticket)
        return self.shared.prime(key, entry, lifetimes, tags)

    # ---- asking ----

    def _fetching(self, key: Key, call: Call, terms: FlightTerms) -> SharedFetching:
        return self._errand(key, call, terms, Purpose.ASK)

    def _errand(
        self, key: Key, call: Call, terms: FlightTerms, purpose: Purpose, lease: str | None = None
    ) -> SharedFetching:
        try:
            record = self.shared.record_of(key)
        except Exception:
            if not terms.refresh:
                self._counters.rejected_requests += 1
            raise
        return SharedFetching(self, key, call, terms, record=record, purpose=purpose, lease=lease)

    async def _fetch(self, key: Key, call: Call, entry: Entry | None, terms: FlightTerms) -> Any:
        if terms is not self._terms or not self._policy.stale_wait_seconds:
            return await self._fetch_or_mask(key, call, entry, terms)
        patience = _Patience()
        self._patient.setdefault(key, []).append(patience)
        try:
            async with patience.limit:
                return await self._fetch_or_mask(key, call, entry, terms)
        except TimeoutError:
            if not patience.limit.expired():
                raise
        finally:
            self._patient[key].remove(patience)
            if not self._patient[key]:
                del self._patient[key]
        found = self._find_fresh(key)  # it may have come in the very step in which the wait ended
        if found is not None:
            return value_of(found)
        self._counters.stale_after_wait += 1
        return patience.value

    async def _fetch_or_mask(self, key: Key, call: Call, entry: Entry | None, terms: FlightTerms) -> Any:
        try:
            return await super()._fetch(key, call, entry, terms)
        except Exception as error:
            found = self._shelf.peek(key)  # a stale value that the store had
            if found is None or found is entry or not self._policy.masks(error, found, clock.now()):
                raise
            self._counters.stale_on_error += 1
            return found.value

    async def _refresh_for_nobody(self, key: Key, call: Call, old: Entry, lease: str | None = None) -> None:
        found = self._shelf.peek(key)
        is_fresh = found is not None and found.freshness(clock.now()) is Freshness.FRESH
        purpose = Purpose.REPLACE_EARLY if is_fresh else Purpose.REPLACE
        terms = self._background_terms
        errand = self._errand(key, call, terms, purpose, lease)
        try:
            await self._within_limit(self._refresh(key, errand, terms, old), old)
        finally:
            if errand.lease is not None:  # it has joined a fetch that somebody else began
                self.shared.give_back(errand.record, errand.lease)

    def _find_fresh(self, key: Key) -> Entry | None:
        entry = super()._find_fresh(key)
        return entry if entry is not None and self._is_trusted(entry) else None

    def _is_trusted(self, entry: Entry) -> bool:
        """Whether nothing can have been announced that would have made it invalid."""
        trust = self.shared.trust
        return isinstance(entry, SharedEntry) and entry.generation == trust.generation and clock.now() < trust.until

    def _is_given_up(self) -> bool:
        flight = self._own_flight()
        return flight is not None and flight.given_up

    # ---- what an errand asks, in the flight's own task ----

    def own_flight(self) -> OwnFlight:
        """Return the flight in which this is called."""
        flight = self._own_flight()
        assert flight is not None, "an errand runs in a flight"
        return flight

    def at_hand(self, key: Key) -> Entry | None:
        """Return what is kept, to be trusted or not."""
        return self._shelf.peek(key)

    def board(self, key: Key, call: Call, record: str) -> CacheTicket:
        """Take the ticket of a fetch. If its tags cannot be told, nobody may join it, keep it or share it."""
        try:
            tags = call.tags()
        except Exception as error:
            self._policy_error(error)
            ticket = self._shelf.reserve(key)
            ticket.moved = True
            return ticket
        return self._shelf.reserve(key, (record, *tags))

    def seal(self, ticket: CacheTicket, key: Key, value: object, began: float) -> tuple[SharedEntry, Lifetimes | None]:
        """Seal what the function returned. Raises only for what cannot be shared."""
        try:
            refuse_unshareable(value, name=self._terms.name)
        except UnshareableResultError:
            self.not_kept.note(key, "it can be used only once")
            raise
        now = clock.now()
        lifetimes, size = self._judge_value(value)
        if lifetimes is None and self._policy.keeps_results:
            self.not_kept.note(key, NOT_WANTED)
        sealed = lifetimes or _NO_LIFE
        entry = SharedEntry(value, at=now, lifetimes=sealed, fetch_seconds=now - began, tags=ticket.tags, size=size)
        return entry, lifetimes

    def seal_error(
        self, ticket: CacheTicket, key: Key, error: Exception, *, refresh: bool
    ) -> tuple[SharedEntry, Lifetimes] | None:
        """Seal a failure, if policy says so, unless an old value can be given instead; put off the next try."""
        if not ticket.is_good() or self._is_given_up():
            return None
        now = clock.now()
        kept = self._shelf.peek(key)
        self.put_off_older(ticket, key, error)
        lifetimes = self._policy.error_lifetimes(error)
        remembered = None if lifetimes is None else bare_twin(error)
        if lifetimes is None or remembered is None or not self._may_be_replaced(kept, error, now, refresh=refresh):
            return None
        size = self._shelf.cache.size_of_error
        return SharedEntry(
            MISSING, at=now, lifetimes=lifetimes, error=remembered, tags=ticket.tags, size=size
        ), lifetimes

    def adopt(
        self,
        ticket: CacheTicket,
        value: object,
        *,
        at: float,
        lifetimes: Lifetimes,
        error: BaseException | None,
        fetch_seconds: float,
    ) -> SharedEntry:
        """Make an entry of what another process fetched."""
        size: float
        if error is not None:
            size = self._shelf.cache.size_of_error
        else:
            try:
                size = self._shelf.cache.size_of(value)
            except Exception as raised:
                self._policy_error(raised)
                size, lifetimes = 1, _NO_LIFE
        return SharedEntry(
            value, at=at, lifetimes=lifetimes, error=error, fetch_seconds=fetch_seconds, tags=ticket.tags, size=size
        )

    def keep(self, ticket: CacheTicket, key: Key, entry: SharedEntry) -> None:
        """Keep an entry, if it is of any use, its ticket is good, and results are kept here at all."""
        now = clock.now()
        if self.shared.keeps_local and now < entry.usable_until and not self._is_given_up():
            self._note(key, self._shelf.keep(ticket, entry, now=now))

    def gives_at_once(self, entry: SharedEntry) -> bool:
        """Whether callers are given a stale entry without waiting for a newer one."""
        return self._policy.judge(entry, clock.now()) is Verdict.SERVE_AND_REFRESH

    def give_after_wait(self, key: Key, entry: SharedEntry) -> None:
        """Have the callers of this loop given a stale entry when they have waited long enough; the fetch goes on."""
        now = clock.now()
        if self._policy.judge(entry, now) is Verdict.WAIT_THEN_SERVE:
            self.own_flight().hold()
            seconds = min(cast("float", self._policy.stale_wait_seconds), entry.stale_until - now)
            for patience in self._patient.get(key, ()):
                patience.end_after(seconds, entry)

    def replace_later(self, key: Key, call: Call, old: SharedEntry, lease: str | None) -> bool:
        """Have an entry replaced in the background; return whether the lease will be used for it."""
        return self.refreshes.start(key, old, lambda: self._refresh_for_nobody(key, call, old, lease))


class _Patience:
    """How long one caller waits for a new value: for as long as it takes, until an old one is found."""

    __slots__ = ("_loop", "limit", "value")

    def __init__(self) -> None:
        self.limit: Final = asyncio.timeout(None)
        self.value: object = MISSING
        self._loop: Final = asyncio.get_running_loop()

    def end_after(self, seconds: float, stale: SharedEntry) -> None:
        """Give the old value after so many seconds from now; on this caller's loop only."""
        if self.value is MISSING and self._loop is asyncio.get_running_loop():
            self.value = stale.value
            self.limit.reschedule(self._loop.time() + seconds)


class _PermissionToJoin:
    """What a flight asks before it lets a caller join: the ticket is good, and nothing can have voided it unheard.

    While announcements are not known to be heard a flight is joined no longer than a local result is served.
    """

    __slots__ = ("_shared", "_ticket", "_until")

    def __init__(self, ticket: CacheTicket, shared: SharedFunction) -> None:
        self._ticket = ticket
        self._shared = shared
        self._until = clock.now() + shared.trust.coherence_seconds

    def is_good(self) -> bool:
        """Whether nothing that it may have read was invalidated since, here or elsewhere."""
        if not self._ticket.is_good():
            return False
        now = clock.now()
        return now < self._until or now < self._shared.trust.until or self._shared.serves_untrusted


class SharedFetching(Fetching):
    """What one caller brings along in case it leads: an errand to the fleet."""

    __slots__ = ("_shared_through", "at_hand", "lease", "purpose", "record")

    _shared_through: SharedReadThrough

    def __init__(
        self,
        through: SharedReadThrough,
        key: Key,
        call: Call,
        terms: FlightTerms,
        *,
        record: str,
        purpose: Purpose,
        lease: str | None = None,
    ) -> None:
        super().__init__(through, key, call, terms)
        self._shared_through = through
        self.record = record
        self.purpose = purpose
        self.at_hand: SharedEntry | None = None
        self.lease = lease

    @property
    def tags(self) -> tuple[str, ...]:
        """The call's tags, rendered; the first of the ticket's is the record."""
        return self._the_ticket.tags[1:]

    @property
    def _the_ticket(self) -> CacheTicket:
        assert self._ticket is not None, "a flight takes its ticket before it runs its fetch"
        return self._ticket

    def reserve(self) -> Ticket:
        """Take the ticket, in the flight's first step, and see what is at hand."""
        self._ticket = self._shared_through.board(self._key, self._call, self.record)
        found = self._shared_through.at_hand(self._key)
        self.at_hand = found if isinstance(found, SharedEntry) else None
        return _PermissionToJoin(self._ticket, self._shared_through.shared)

    async def fetch(self) -> Entry:
        """Ask the fleet."""
        if not self._the_ticket.tags:  # they could not be told: what this fetch brings is for its own callers
            self.begin()
            return await super().fetch()
        try:
            return await self._shared_through.shared.fetch(self)
        finally:
            self._shared_through.release(self._the_ticket)

    # ---- what the fleet asks ----

    def let_nobody_join(self) -> None:
        """Void the ticket."""
        self._the_ticket.moved = True

    def was_given_up(self) -> Callable[[], bool]:
        """Return what tells whether the fetch was told to stop."""
        flight = self._shared_through.own_flight()
        return lambda: flight.given_up

    def begin(self) -> None:
        """Count and time the run of the function."""
        self._shared_through.own_flight().begin()

    async def run(self) -> object:
        """Call the function."""
        try:
            return await self._call.run()
        except asyncio.CancelledError as cut:
            if self._terms.on_abandon == "finish":  # by a limit, then, and maybe nobody is left to note it
                self._through.put_off_older(self._ticket, self._key, cut)
            raise

    def seal(self, value: object, began: float) -> tuple[SharedEntry, Lifetimes | None]:
        """Seal what the function returned."""
        return self._shared_through.seal(self._the_ticket, self._key, value, began)

    def seal_error(self, error: Exception) -> tuple[SharedEntry, Lifetimes] | None:
        """Seal a failure, if it is to be remembered."""
        return self._shared_through.seal_error(self._the_ticket, self._key, error, refresh=self._terms.refresh)

    def adopt(
        self,
        value: object,
        *,
        at: float,
        lifetimes: Lifetimes,
        error: BaseException | None = None,
        fetch_seconds: float = 0.0,
    ) -> SharedEntry:
        """Make an entry of what another process fetched."""
        return self._shared_through.adopt(
            self._the_ticket, value, at=at, lifetimes=lifetimes, error=error, fetch_seconds=fetch_seconds
        )

    def keep(self, entry: SharedEntry) -> None:
        """Keep an entry in this process."""
        self._shared_through.keep(self._the_ticket, self._key, entry)

    def gives_at_once(self, entry: SharedEntry) -> bool:
        """Whether callers are given a stale entry without waiting for a newer one."""
        return self._shared_through.gives_at_once(entry)

    def give_after_wait(self, entry: SharedEntry) -> None:
        """Have callers given a stale entry once they have waited as long as policy says, if it says so."""
        self._shared_through.give_after_wait(self._key, entry)

    def replace_later(self, entry: SharedEntry, lease: str | None) -> bool:
        """Have a stale entry replaced in the background."""
        return self._shared_through.replace_later(self._key, self._call, entry, lease)
