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
from ..protocols import FlightTerms, Key, Reserve
from ..sharing import bare_twin, refuse_unshareable
from .memory import Kept
from .policy import NEVER_MASKED, CachePolicy, Verdict
from .refreshing import Refreshes
from .remembering import NotKept
from .shelf import Shelf
from .tags import CacheTicket

R = TypeVar("R")

logger = logging.getLogger(__name__)

_NO_LIFE: Final = Lifetimes(0.0)


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

    Attributes:
        refreshes: those that run in the background.
        not_kept: why the last result of a key was not kept.
    """

    __slots__ = (
        "_ask",
        "_counters",
        "_policy",
        "_policy_error_told",
        "_refresh_terms",
        "_shelf",
        "_terms",
        "not_kept",
        "refreshes",
    )

    def __init__(
        self, shelf: Shelf, policy: CachePolicy, terms: FlightTerms, *, ask: Ask, context: Callable[[], Context]
    ) -> None:
        self.refreshes: Final = Refreshes(context)
        self.not_kept: Final = NotKept()
        self._shelf = shelf
        self._policy = policy
        self._ask = ask
        self._counters = terms.counters
        self._terms = replace(terms, look=self._find_fresh)
        self._refresh_terms = replace(terms, refresh=True)
        self._policy_error_told = False

    # ---- calls ----

    async def answer(self, key: Key, call: Call) -> Any:
        """Return the answer to a call that the compiled hit could not answer.

        Raises:
            Exception: the fetch's, or the wait's, unless policy has a stale value given instead; a remembered failure.
        """
        entry = self._shelf.find(key)
        verdict = self._policy.judge(entry, clock.now())
        if entry is None or verdict is Verdict.FETCH:
            return await self._fetch(key, call, entry)
        under_way = True
        if verdict is not Verdict.SERVE:
            under_way = self.refreshes.start(key, lambda: self.refresh(key, call))
        if verdict is Verdict.WAIT_THEN_SERVE and under_way:
            return await self._fetch_for_a_while(key, call, entry)
        return self._serve(entry)

    async def refresh(self, key: Key, call: Call) -> Any:
        """Return a new value: join a fetch in flight whose ticket is good, or lead one. Outside the sum of requests.

        Raises:
            Exception: the fetch's, or the wait's; the old value stays.
        """
        self._counters.refreshes += 1
        fetching = _Fetching(self, key, call)
        try:
            entry = await self._ask(key, fetching.fetch, reserve=fetching.reserve, terms=self._refresh_terms)
        except Exception as error:
            self._counters.refresh_errors += 1
            self._put_off(self._shelf.peek(key), error)
            raise
        return _value_of(entry)

    def prime(self, key: Key, call: Call, value: object) -> None:
        """Keep a value made elsewhere as if it had been fetched now; void what is in the air.

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
        if lifetimes is not None:
            ticket = self._shelf.reserve(key, tags)
            try:
                entry = Entry(value, at=now, lifetimes=lifetimes, tags=tags, size=size)
                self._note(key, self._shelf.keep(ticket, entry, now=now, instance=call.instance))
            finally:
                self._shelf.release(ticket)

    def peek(self, key: Key) -> Entry | None:
        """Return the entry, if there is one with any use left, without counting or touching it."""
        entry = self._shelf.peek(key)
        return None if entry is None or entry.freshness(clock.now()) is Freshness.EXPIRED else entry

    # ---- asking ----

    async def _fetch(self, key: Key, call: Call, entry: Entry | None) -> Any:
        fetching = _Fetching(self, key, call)
        try:
            found = await self._ask(key, fetching.fetch, reserve=fetching.reserve, terms=self._terms)
        except Exception as error:
            self._put_off(entry, error)
            if entry is None or not self._policy.masks(error, entry, clock.now()):
                raise
            self._counters.stale_on_error += 1
            return entry.value
        return _value_of(found)

    async def _fetch_for_a_while(self, key: Key, call: Call, entry: Entry) -> Any:
        """Wait for a new value as long as policy says, then give the old one; the refresh goes on in the background."""
        limit = asyncio.timeout(cast("float", self._policy.stale_wait_seconds))
        try:
            async with limit:
                return await self._fetch(key, call, entry)
        except TimeoutError:
            if not limit.expired():
                raise
            return entry.value

    def _serve(self, entry: Entry) -> Any:
        """Return what is at hand, counted as a hit."""
        if entry.freshness(clock.now()) is Freshness.FRESH:
            self._counters.cache_hits += 1
            if entry.error is not None:
                self._counters.remembered_errors_served += 1
        else:
            self._counters.stale_hits += 1
        return _value_of(entry)

    def _find_fresh(self, key: Key) -> Entry | None:
        """Look again after the slot was won: a value may have been published, or primed, since the caller looked."""
        entry = self._shelf.find(key)
        return entry if entry is not None and entry.freshness(clock.now()) is Freshness.FRESH else None

    def _put_off(self, entry: Entry | None, error: Exception) -> None:
        """After a failure, let no other fetch be tried for a while as long as the old value can be given."""
        now = clock.now()
        if entry is not None and now >= entry.retry_at and not isinstance(error, (WaitTimeoutError, *NEVER_MASKED)):
            seconds = self._policy.retry_seconds(entry.failures + 1, random=random.random())  # jitter
            entry.put_off(now + seconds)

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
            self.not_kept.note(key, "cache_if or ttl said so")
        elif ticket is not None and not _given_up():
            self._note(key, self._shelf.keep(ticket, entry, now=now, instance=call.instance))
        return entry

    def keep_error(self, ticket: CacheTicket | None, key: Key, call: Call, error: Exception) -> None:
        """Remember a failure if policy says so, unless an old value can be given instead."""
        lifetimes = self._policy.error_lifetimes(error)
        now = clock.now()
        if lifetimes is None or ticket is None or _given_up():
            return
        kept = self._shelf.peek(ticket.of_key.key)
        remembered = bare_twin(error)
        if remembered is None or self._policy.masks(error, kept, now):
            return
        size = self._shelf.cache.size_of_error
        entry = Entry(MISSING, at=now, lifetimes=lifetimes, error=remembered, tags=ticket.tags, size=size)
        self._note(key, self._shelf.keep(ticket, entry, now=now, instance=call.instance))

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
        if kept is Kept.KEPT:
            self.not_kept.clear(key)
        elif kept is Kept.REFUSED:
            self._counters.stale_publishes_refused += 1
        else:
            self._counters.oversized_results += 1
            self.not_kept.note(key, "it is larger than the cache")


class _Fetching:
    """What one caller brings along in case it leads."""

    __slots__ = ("_call", "_key", "_through", "_ticket")

    def __init__(self, through: ReadThrough, key: Key, call: Call) -> None:
        self._through = through
        self._key = key
        self._call = call
        self._ticket: CacheTicket | None = None

    def reserve(self) -> CacheTicket:
        self._ticket = self._through.reserve(self._key, self._call)
        return self._ticket

    async def fetch(self) -> Entry:
        began = clock.now()
        try:
            try:
                value = await self._call.run()
            except Exception as error:
                self._through.keep_error(self._ticket, self._key, self._call, error)
                raise
            return self._through.keep_value(self._ticket, self._key, self._call, value, began)
        finally:
            if self._ticket is not None:
                self._through.release(self._ticket)


def _given_up() -> bool:
    """Whether the flight's task was told to stop: what it brings all the same is dropped, and never kept."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _value_of(entry: Entry) -> Any:
    """Return the entry's value, or raise a twin of the failure that it remembers."""
    if entry.error is None:
        return entry.value
    raise bare_twin(entry.error) or entry.error
