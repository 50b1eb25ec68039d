"""Read-through: look up, judge, join or lead, seal, keep. What one function does with its part of a cache.

A hit that is fresh never comes here: the compiled call answers it in line. What comes here in the order of a call::

    look up and judge           one step, no await
    serve                       fresh (a key that the compiled call could not look up), stale, or a remembered error
    or ask the coalescer        join the fetch in flight while its ticket is good, or lead: then, in the flight's task,
      look again                somebody may have published between the look and the slot
      reserve a ticket          in the flight's first step
      run the function
      seal                      the user's ttl, predicate, tags and sizes run here, before anything is published
      keep                      if the ticket is good; the flight gives its slot back after that, in the same step
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextvars import Context
from dataclasses import replace
from typing import Any, Final, Protocol, TypeVar, cast

from ..clock import clock
from ..entry import MISSING, Entry, Freshness, Lifetimes
from ..errors import UnshareableResultError, WaitTimeoutError
from ..fleet_port import Telling
from ..protocols import FlightTerms, Key, Reserve, Ticket
from ..sharing import bare_twin, refuse_unshareable
from .memory import KEPT, Kept
from .policy import NEVER_MASKED, CachePolicy, Verdict
from .refreshing import Refreshes
from .remembering import NotKept
from .shelf import Shelf
from .tags import CacheTicket

R = TypeVar("R")

logger = logging.getLogger(__name__)

_NO_LIFE: Final = Lifetimes(0.0)

NOT_WANTED: Final = "cache_if or ttl said so"


class Call(Protocol):
    """One call of the function, as far as it is looked at here. It is asked by a caller who leads, and by nobody else.

    Attributes:
        instance: the instance whose address is in the key; ``None`` where there is none.
    """

    @property
    def instance(self) -> object:
        """Return the instance."""
        ...

    def run(self) -> Awaitable[object]:
        """Call the function."""
        ...

    def tags(self) -> tuple[str, ...]:
        """Render the call's tags. Runs the user's code."""
        ...


class Ask(Protocol):
    """The coalescer's ``get_or_fetch``."""

    def __call__(
        self, key: Key, fetch: Callable[[], Awaitable[R]], /, *, reserve: Reserve | None, terms: FlightTerms | None
    ) -> Awaitable[R]:
        """Return what ``fetch()`` returns, sharing one run of it."""
        ...


class ReadThrough:
    """The path of one function's calls through its cache.

    Args:
        shelf: the function's part of the cache.
        policy: how long results are used.
        terms: the terms of the function's fetches.
        ask: the coalescer's ``get_or_fetch``.
        context: makes a context outside any flight, for what runs in the background.
        given_up: asked inside a fetch: it was told to stop, so what it brings all the same is dropped and never kept.
            Its task does not know: a ``TaskGroup`` inside it leaves ``cancelling()`` at 1 on Python before 3.13.
        longest_refresh: tells how many seconds a refresh in the background may take.

    Attributes:
        refreshes: those that run in the background.
        not_kept: why the last result of a key was not kept.
    """

    __slots__ = (
        "_ask",
        "_background_terms",
        "_counters",
        "_given_up",
        "_held_terms",
        "_longest_refresh",
        "_policy",
        "_policy_error_told",
        "_refresh_terms",
        "_shelf",
        "_terms",
        "not_kept",
        "refreshes",
    )

    def __init__(
        self,
        shelf: Shelf,
        policy: CachePolicy,
        terms: FlightTerms,
        *,
        ask: Ask,
        context: Callable[[], Context],
        given_up: Callable[[], bool],
        longest_refresh: Callable[[], float],
    ) -> None:
        self.refreshes: Final = Refreshes(context, longest_refresh)
        self.not_kept = NotKept()
        self._shelf = shelf
        self._policy = policy
        self._ask = ask
        self._given_up = given_up
        self._longest_refresh = longest_refresh
        self._counters = terms.counters
        self._terms = replace(terms, look=self._find_fresh)
        self._held_terms = replace(self._terms, on_abandon="finish")
        self._refresh_terms = replace(terms, refresh=True, anew=True)
        self._background_terms = replace(terms, refresh=True, patient=True)
        self._policy_error_told = False

    # ---- calls ----

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
        if entry is None:
            return await self._fetch(key, call, None, self._terms)
        now = clock.now()
        if now < entry.fresh_until and now < entry.refresh_at:
            # A hit in line but for its key, whose shallow form holds a container: of those, every hit comes this way.
            self._counters.cache_hits += 1
            return entry.value
        verdict = self._policy.judge(entry, now)
        if verdict is Verdict.FETCH:
            return await self._fetch(key, call, entry, self._terms)
        if verdict is Verdict.WAIT_THEN_SERVE:
            return await self._fetch_for_a_while(key, call, entry)
        if verdict is Verdict.SERVE_AND_REFRESH:
            self.refreshes.start(key, entry, lambda: self._refresh_for_nobody(key, call, entry))
        return self._serve(entry)

    async def refresh(self, key: Key, call: Call) -> Any:
        """Return a new value: join a fetch in flight whose ticket is good, or lead one. Outside the sum of requests.

        Raises:
            Exception: the fetch's, or the wait's; the old value stays.
        """
        terms = self._refresh_terms
        return await self._refresh(key, self._fetching(key, call, terms), terms, self._shelf.peek(key))

    async def _refresh(self, key: Key, fetching: Fetching, terms: FlightTerms, old: Entry | None) -> Any:
        """Have the fetch made that is to replace ``old``: if it fails, that one has failed, and nothing newer."""
        self._counters.refreshes += 1
        try:
            entry = await self._ask(key, fetching.fetch, reserve=fetching.reserve, terms=terms)
        except Exception as error:
            self._counters.refresh_errors += 1
            if not isinstance(error, WaitTimeoutError):
                self.put_off(old, error)
            raise
        return value_of(entry)

    async def _refresh_for_nobody(self, key: Key, call: Call, old: Entry) -> None:
        terms = self._background_terms
        await self._within_limit(self._refresh(key, self._fetching(key, call, terms), terms, old), old)

    async def _within_limit(self, refreshing: Awaitable[object], old: Entry | None) -> None:
        """Refresh in the background, but not for ever: a fetch that hangs would keep its key from being refreshed."""
        limit = asyncio.timeout(self._longest_refresh())
        try:
            async with limit:
                await refreshing
        except TimeoutError as error:
            if limit.expired():
                self._counters.refresh_errors += 1
                self.put_off(old, error)

    def prime(self, key: Key, call: Call, value: object) -> Telling | None:
        """Keep a value made elsewhere as if it had been fetched now; void what is in the air.

        Returns:
            Nothing: there is nobody to be told.

        Raises:
            UnshareableResultError: the value can be used only once.
            Exception: whatever ``ttl``, ``cache_if``, a tag or a size raises; then nothing has changed.
        """
        refuse_unshareable(value, name=self._terms.name)
        self._counters.primes += 1
        now = clock.now()
        tags = call.tags()
        lifetimes = self._policy.lifetimes(value, random=random.random())  # jitter, no secret
        size = 1 if lifetimes is None else self._shelf.cache.size_of(value)
        self._shelf.invalidate(key)
        if lifetimes is None:
            self.not_kept.note(key, NOT_WANTED)
        else:
            ticket = self._shelf.reserve(key, tags)
            try:
                entry = Entry(value, at=now, lifetimes=lifetimes, tags=tags, size=size)
                self._note(key, self._shelf.keep(ticket, entry, now=now, instance=call.instance))
            finally:
                self._shelf.release(ticket)
        return None

    def peek(self, key: Key) -> Entry | None:
        """Return the entry, if there is one with any use left, without counting or touching it."""
        entry = self._shelf.peek(key)
        return None if entry is None or entry.freshness(clock.now()) is Freshness.EXPIRED else entry

    def forget_warnings(self) -> None:
        """Give every warning again that is given once, and forget why results were not kept: for tests."""
        self._policy_error_told = False
        self.not_kept = NotKept()

    # ---- asking ----

    def _fetching(self, key: Key, call: Call, terms: FlightTerms) -> Fetching:
        return Fetching(self, key, call, terms)

    async def _fetch(self, key: Key, call: Call, entry: Entry | None, terms: FlightTerms) -> Any:
        fetching = self._fetching(key, call, terms)
        try:
            found = await self._ask(key, fetching.fetch, reserve=fetching.reserve, terms=terms)
        except Exception as error:
            if not isinstance(error, WaitTimeoutError):
                self.put_off(entry, error)
            if entry is None or not self._policy.masks(error, entry, clock.now()):
                raise
            self._counters.stale_on_error += 1
            return entry.value
        return value_of(found)

    async def _fetch_for_a_while(self, key: Key, call: Call, entry: Entry) -> Any:
        """Wait for a new value as long as policy says, then give the old one; the fetch goes on and is kept.

        The fetch counts as its own caller, so that it needs nobody who waits. The old value is given before its window
        is over, or not at all.
        """
        patience = min(cast("float", self._policy.stale_wait_seconds), entry.stale_until - clock.now())
        limit = asyncio.timeout(patience)
        try:
            async with limit:
                return await self._fetch(key, call, entry, self._held_terms)
        except TimeoutError:
            if not limit.expired():
                raise
        found = self._find_fresh(key)  # it may have come in the very step in which the wait ended
        if found is None:
            self._counters.stale_after_wait += 1
        return value_of(found or entry)

    def _serve(self, entry: Entry) -> Any:
        """Return what is at hand, counted as a hit."""
        if entry.freshness(clock.now()) is Freshness.FRESH:
            self._counters.cache_hits += 1
            if entry.error is not None:
                self._counters.remembered_errors_served += 1
        else:
            self._counters.stale_hits += 1
        return value_of(entry)

    def _find_fresh(self, key: Key) -> Entry | None:
        """Look again after the slot was won: a value may have been published, or primed, since the caller looked."""
        entry = self._shelf.peek(key)
        return entry if entry is not None and entry.freshness(clock.now()) is Freshness.FRESH else None

    def put_off(self, entry: Entry | None, error: BaseException) -> None:
        """After a failure, let no other fetch be tried for a while as long as the old value can be given.

        A failure that is always raised is not hidden in this way either: the old value is given without a try for only
        as long as it would be given in any case. What puts nothing off is not counted: all who are told would count it.
        """
        now = clock.now()
        if entry is None or now < entry.retry_at or isinstance(error, NEVER_MASKED):
            return
        until = now + self._policy.retry_seconds(entry.failures + 1, random=random.random())  # jitter
        if isinstance(error, cast("tuple[type[Exception], ...]", self._policy.always_raise)):
            until = min(until, entry.stale_until)
        if until > now:
            entry.put_off(until)

    # ---- keeping, in the flight's own task ----

    def keep_value(self, ticket: CacheTicket | None, key: Key, call: Call, value: object, began: float) -> Entry:
        """Seal what the function returned, and keep it if it may be kept. Raises only for what cannot be shared."""
        try:
            refuse_unshareable(value, name=self._terms.name)
        except UnshareableResultError:
            self.not_kept.note(key, "it can be used only once")
            raise
        now = clock.now()
        lifetimes, size = self._judge_value(value)
        tags = () if ticket is None else ticket.tags
        entry = Entry(value, at=now, lifetimes=lifetimes or _NO_LIFE, fetch_seconds=now - began, tags=tags, size=size)
        if lifetimes is None:
            self.not_kept.note(key, NOT_WANTED)
        elif ticket is not None and not self._given_up():
            self._note(key, self._shelf.keep(ticket, entry, now=now, instance=call.instance))
        return entry

    def keep_error(self, ticket: CacheTicket | None, key: Key, call: Call, error: Exception, *, refresh: bool) -> None:
        """Remember a failure if policy says so, unless an old value can be given instead; put off the next try."""
        if ticket is None or not ticket.is_good() or self._given_up():
            return
        now = clock.now()
        kept = self._shelf.peek(key)
        self.put_off_older(ticket, key, error)
        lifetimes = self._policy.error_lifetimes(error)
        remembered = None if lifetimes is None else bare_twin(error)
        if lifetimes is None or remembered is None or not self._may_be_replaced(kept, error, now, refresh=refresh):
            return
        size = self._shelf.cache.size_of_error
        entry = Entry(MISSING, at=now, lifetimes=lifetimes, error=remembered, tags=ticket.tags, size=size)
        self._note(key, self._shelf.keep(ticket, entry, now=now, instance=call.instance))

    def put_off_older(self, ticket: CacheTicket | None, key: Key, error: BaseException) -> None:
        """After the failure of a fetch, put off the next try to replace what it was to replace, and nothing newer."""
        kept = self._shelf.peek(key)
        if ticket is not None and kept is not None and kept.ticket <= ticket.number:
            self.put_off(kept, error)

    def _may_be_replaced(self, kept: Entry | None, error: Exception, now: float, *, refresh: bool) -> bool:
        """Whether nobody would miss what is kept if a remembered failure took its place."""
        if kept is None or kept.error is not None:
            return True
        freshness = kept.freshness(now)
        if freshness is Freshness.FALLBACK:
            return not (refresh or self._policy.masks(error, kept, now))
        return freshness is Freshness.EXPIRED

    def reserve(self, key: Key, call: Call) -> CacheTicket:
        """Take the ticket of a fetch that begins now. If its tags cannot be told, nobody may join it or keep it."""
        try:
            tags = call.tags()
        except Exception as error:
            self._policy_error(error)
            ticket = self._shelf.reserve(key)
            ticket.moved = True
            return ticket
        return self._shelf.reserve(key, tags)

    def release(self, ticket: CacheTicket) -> None:
        """Give back the ticket of a fetch that has ended."""
        self._shelf.release(ticket)

    def _judge_value(self, value: object) -> tuple[Lifetimes | None, float]:
        """Ask policy and sizes, which are the user's code: if one raises, the value is delivered and not kept."""
        try:
            lifetimes = self._policy.lifetimes(value, random=random.random())  # jitter, no secret
            return lifetimes, 1 if lifetimes is None else self._shelf.cache.size_of(value)
        except Exception as error:
            self._policy_error(error)
            return None, 1

    def _policy_error(self, error: Exception) -> None:
        self._counters.policy_errors += 1
        if not self._policy_error_told:
            self._policy_error_told = True
            logger.error(
                "policy_error: a ttl, cache_if, tag or size of %s raised: results are delivered and not kept",
                self._terms.name,
                exc_info=error,
                extra={"function": self._terms.name},
            )

    def _note(self, key: Key, kept: Kept) -> None:
        if kept is KEPT:
            self.not_kept.clear(key)
        elif kept is Kept.REFUSED:
            self._counters.stale_publishes_refused += 1
        else:
            self._counters.oversized_results += 1
            self.not_kept.note(key, "it is larger than the cache")


class Fetching:
    """What one caller brings along in case it leads."""

    __slots__ = ("_call", "_key", "_terms", "_through", "_ticket")

    def __init__(self, through: ReadThrough, key: Key, call: Call, terms: FlightTerms) -> None:
        self._through = through
        self._key = key
        self._call = call
        self._terms = terms
        self._ticket: CacheTicket | None = None

    def reserve(self) -> Ticket:
        """Take the ticket, in the flight's first step."""
        self._ticket = self._through.reserve(self._key, self._call)
        return self._ticket

    async def fetch(self) -> Entry:
        """Call the function; seal and keep what it brings."""
        began = clock.now()
        through, key, call, ticket = self._through, self._key, self._call, self._ticket
        try:
            try:
                value = await call.run()
            except Exception as error:
                through.keep_error(ticket, key, call, error, refresh=self._terms.refresh)
                raise
            except asyncio.CancelledError as cut:
                if self._terms.on_abandon == "finish":  # by a limit, then, and maybe nobody is left to note it
                    through.put_off_older(ticket, key, cut)
                raise
            return through.keep_value(ticket, key, call, value, began)
        finally:
            if ticket is not None:
                through.release(ticket)


def value_of(entry: Entry) -> Any:
    """Return the entry's value, or raise a twin of the failure that it remembers."""
    if entry.error is None:
        return entry.value
    raise bare_twin(entry.error) or entry.error
