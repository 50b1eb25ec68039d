"""One fetch that may turn out to be another process's: the states of the protocol, once, over any store.

::

    ask ──► hit, or what became of the lease waited for        answer
     ▲ └──► won                                                run the function, publish, answer
     │ └──► wait for the token of somebody's lease
     └───── it ended without a result · its time is over · signals may have been lost

Whoever holds a lease has a token, and a publish is accepted only with the token that the record carries. A waiter waits
for exactly one token; what it is told of another one is ignored. A signal that overtakes the answer to the question
stays in the mailbox until that comes. Whatever fails, the callers get their answer: without the store the function is
called here, and nothing is shared.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Mapping, Sequence
from typing import Final

from ..clock import clock
from ..entry import Freshness, Lifetimes, SharedEntry
from ..fleet_port import Errand, Purpose
from ..store_port import (
    Acquired,
    Busy,
    Finished,
    Hit,
    Kept,
    Outcome,
    Published,
    PublishKind,
    Voided,
    Wait,
    Won,
)
from .leases import Lease
from .link import Link
from .sending import WithoutStoreError
from .shared_function import FleetFunction, remaining

MOST_VOIDINGS: Final = 2
"""After so many leases that ended without a result a flight waits for no other one."""


class LeasedFlight:
    """One fetch of one record. Used once, on one loop.

    Args:
        function: whose record it is.
        errand: what is fetched, and for whom.
        link: the loop's link to the store.

    Attributes:
        record: what the store calls what is fetched.
    """

    __slots__ = (
        "_asked_at",
        "_counters",
        "_doubtful",
        "_errand",
        "_function",
        "_generation",
        "_has_asked",
        "_is_asking",
        "_link",
        "_mail",
        "_missed",
        "_process",
        "_text",
        "_told",
        "_voidings",
        "_waits_for",
        "_woken",
        "record",
    )

    def __init__(self, function: FleetFunction, errand: Errand, link: Link) -> None:
        self.record: str = errand.record
        self._function = function
        self._process = function.process
        self._counters = function.counters
        self._errand = errand
        self._link = link
        self._text = function.text_of(errand.record)
        self._asked_at = clock.now()
        self._generation = function.trust.generation
        self._has_asked = False  # a question was sent: what is announced from now on is younger than the answer
        self._is_asking = False
        self._missed = False
        self._mail: Finished | Voided | None = None
        self._waits_for = ""
        self._woken: asyncio.Future[Finished | Voided | None] | None = None
        self._voidings = 0
        self._doubtful: SharedEntry | None = None
        self._told: Mapping[str, str] = {}  # in strict mode: the versions of the tags as the store has just told them

    async def fly(self) -> SharedEntry:
        """Return the answer.

        Raises:
            Exception: the function's, here or in another process.
        """
        self._link.join(self)
        try:
            try:
                return await self._ask_the_fleet()
            except WithoutStoreError:
                pass  # outside of this block, or what the function raises would have it as its context
            return await self._do_without()
        finally:
            self._link.leave(self)

    # ---- signals ----

    def receive(self, signal: Finished | Voided) -> None:
        """Take what has become of somebody's lease: it may be the one that is waited for, or will turn out to be."""
        if self._is_asking:
            self._mail = signal
        elif self._woken is not None and not self._woken.done() and signal.token == self._waits_for:
            self._counters.wakeups += 1
            self._woken.set_result(signal)
        else:
            self._counters.wakeups_ignored += 1

    def may_have_missed(self) -> None:
        """Ask again: signals may have been lost."""
        self._missed = True
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    def let_nobody_join(self) -> None:
        """Have callers who come from now on ask anew, if it was asked before: an invalidation may have been missed."""
        if self._has_asked:
            self._errand.let_nobody_join()

    # ---- asking ----

    async def _ask_the_fleet(self) -> SharedEntry:  # noqa: PLR0912  # a branch for every answer: it reads as a table
        await self._link.wait_for_the_first_connection()
        confirmed = await self._confirm_what_is_at_hand()
        if confirmed is not None:
            return confirmed
        errand = self._errand
        after: str | None = None
        reject: str | None = None
        replaces = self._version_to_replace()
        looks_for_the_version = errand.purpose is Purpose.RENEW and replaces is None
        may_wait = errand.purpose is not Purpose.REPLACE_EARLY
        while self._voidings < MOST_VOIDINGS:
            await self._settle()
            token, errand.lease = errand.lease or self._process.new_token(), None
            reply = await self._acquire(token, after=after, reject=reject, replaces=replaces, may_wait=may_wait)
            if isinstance(reply, Hit):
                if errand.purpose is Purpose.RENEW and looks_for_the_version:
                    looks_for_the_version, replaces = False, reply.kept.version
                    continue
                if errand.purpose is Purpose.RENEW and after is None and reply.kept.version != replaces:
                    # Fetched by somebody since we looked; whether before we were called nobody knows.
                    replaces = reply.kept.version
                    continue
                entry = await self._open(reply.kept)
                if entry is None:
                    after, reject = None, reply.kept.version
                    continue
                self._counters.store_hits += 1
                errand.keep(entry)
                return entry
            if isinstance(reply, Outcome):
                outcome = self._deliver(reply.body)
                if outcome is not None:
                    return outcome
                after = None
                self._voidings += 1
            elif isinstance(reply, Won):
                return await self._use_the_lease(token, reply.stale)
            elif isinstance(reply, Busy):
                at_hand = errand.at_hand
                if at_hand is not None and at_hand.freshness(clock.now()) is Freshness.FRESH:
                    # Somebody else sees to it. Readers need not ask again before that may have failed.
                    at_hand.refresh_at = clock.now() + max(at_hand.fetch_seconds, self._function.options.lease_seconds)
                    return at_hand
                may_wait = True
            else:
                stale = await self._stale(reply.stale)
                if stale is not None:
                    errand.replace_later(stale, None)
                    return stale
                ended = await self._wait(reply)
                after = reply.token
                if isinstance(ended, Finished) and ended.body is not None:
                    found = await self._take(ended, ended.body)
                    if found is not None:
                        return found
                    after, reject = None, ended.token
                elif isinstance(ended, Voided):
                    self._voidings += 1
        return await self._fetch_alone()

    async def _settle(self) -> None:
        """Wait until the store was told of the invalidations that this process has made before."""
        await self._process.settle(self._function.owed_names(self.record, self._errand.tags))

    async def _acquire(
        self, token: str, *, after: str | None, reject: str | None, replaces: str | None, may_wait: bool
    ) -> Acquired:
        """Ask for the answer, or the lease. From here to the next suspension everything settled stays settled."""
        self._begin_to_ask()
        is_strict, names = self._function.options.is_strict, self._function.names_of(self._errand.tags)
        telling = self._process.ask_along(self._link, names) if is_strict else None
        try:
            reply = await self._process.ask(
                self._process.store.acquire(
                    self.record,
                    token=token,
                    lease_seconds=self._function.options.lease_seconds,
                    wake=self._link.is_connected,
                    after=after,
                    reject=reject,
                    refresh_of=replaces,
                    wait_if_held=may_wait,
                )
            )
            if telling is not None:
                self._told = await self._process.told_along(telling)
        except BaseException:
            self._link.abandon(self.record, token)  # it may be ours without our knowing
            raise
        finally:
            self._is_asking = False
        if self._doubtful is not None:
            # The store does not know it any more; or it does, and what it knows takes its place.
            self._doubtful.mark_dead()
            self._doubtful = None
        return reply

    def _begin_to_ask(self) -> None:
        self._mail = None
        self._missed = False
        self._is_asking = self._has_asked = True
        self._asked_at = clock.now()
        self._generation = self._function.trust.generation
        if self._function.options.is_strict:
            self._errand.let_nobody_join()

    def _version_to_replace(self) -> str | None:
        at_hand = self._errand.at_hand
        if self._errand.purpose is Purpose.ASK or at_hand is None:
            return None
        return at_hand.version

    async def _confirm_what_is_at_hand(self) -> SharedEntry | None:
        """Ask whether a local result, of which that is not known, is still the store's: an answer without a body."""
        at_hand = self._errand.at_hand
        if at_hand is None or self._errand.purpose is not Purpose.ASK:
            return None
        if at_hand.version is None or at_hand.freshness(clock.now()) is not Freshness.FRESH:
            self._doubtful = at_hand
            return None
        await self._settle()
        self._begin_to_ask()
        try:
            kept = await self._process.ask(self._process.store.read(self.record, have=at_hand.version))
        finally:
            self._is_asking = False
        if kept is not None and kept.version == at_hand.version and await self._tags_hold(at_hand.tag_versions):
            at_hand.generation = self._generation
            self._counters.store_hits += 1
            return at_hand
        at_hand.mark_dead()
        if kept is not None and kept.fresh_seconds > 0:
            entry = await self._open(kept)
            if entry is not None:
                self._counters.store_hits += 1
                self._errand.keep(entry)
            return entry
        return None

    # ---- somebody else's fetch ----

    async def _wait(self, reply: Wait) -> Finished | Voided | None:
        """Wait for the end of a lease: what is told of it, or ``None`` if that is not known and to be asked."""
        self._counters.store_waits += 1
        mail, self._mail = self._mail, None
        if mail is not None:
            if mail.token == reply.token:
                self._counters.wakeups_early += 1
                return mail
            self._counters.wakeups_ignored += 1
        left = self._asked_at + reply.seconds_left + self._process.jitter_seconds() - clock.now()
        if self._missed or left <= 0:
            return None
        self._waits_for = reply.token
        self._woken = self._link.loop.create_future()
        timer = self._link.loop.call_later(left, self._ring, context=contextvars.Context())
        try:
            return await self._woken
        finally:
            timer.cancel()
            self._woken = None
            self._waits_for = ""

    def _ring(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._counters.wait_timers += 1
            self._woken.set_result(None)

    async def _take(self, told: Finished, body: bytes) -> SharedEntry | None:
        """Return what a signal has brought, or ``None`` if it is of no use."""
        if told.kind != "keep":
            return self._deliver(body)
        entry = await self._open(Kept(told.token, body, told.fresh_seconds, told.usable_seconds, told.fetch_seconds))
        if entry is not None:
            self._errand.keep(entry)
        return entry

    def _deliver(self, body: bytes) -> SharedEntry | None:
        """Return a result that is only for those who waited, or raise the failure; ``None`` if it cannot be read."""
        opened = self._function.open(body, self._text)
        if opened is None:
            return None
        value, error, _ = opened
        if error is not None:
            raise error
        return self._errand.adopt(value, at=self._asked_at, lifetimes=Lifetimes(0.0))

    async def _open(self, kept: Kept) -> SharedEntry | None:
        """Return what the store has as an entry, or ``None`` if it is of no use to this process."""
        opened = None if kept.body is None else self._function.open(kept.body, self._text)
        if opened is None:
            return None
        value, error, envelope = opened
        if not await self._tags_hold(dict(envelope.tags)):
            return None
        entry = self._errand.adopt(
            value,
            at=self._asked_at,
            lifetimes=remaining(kept, envelope.lifetimes),
            error=error,
            fetch_seconds=kept.fetch_seconds,
        )
        self._mark(entry, kept.version, dict(envelope.tags))
        return entry

    async def _stale(self, kept: Kept | None) -> SharedEntry | None:
        """Keep what the store has and is stale; return it if callers are given it at once."""
        errand = self._errand
        if kept is None or kept.body is None or errand.purpose is not Purpose.ASK:
            return None
        entry = await self._open(kept)
        if entry is None or entry.error is not None:
            return None
        errand.keep(entry)
        if not errand.gives_at_once(entry):
            errand.give_after_wait(entry)
            return None
        self._counters.store_hits += 1
        return entry

    async def _tags_hold(self, noted: Mapping[str, str]) -> bool:
        """Whether none of the tags that a result has was invalidated since its fetch began."""
        if not noted.keys() >= set(self._function.names_of(self._errand.tags)):
            return False  # whoever fetched it did not know of one, so nobody would find it dead by that
        names = tuple(noted)
        if await self._versions_of(names) == noted:
            return True
        # What is known here may be behind; a result is not killed before the store has said so.
        return await self._process.versions_of(names, anew=True) == noted

    async def _versions_of(self, names: Sequence[str]) -> Mapping[str, str]:
        told = self._told
        if told.keys() >= set(names):
            return {name: told[name] for name in names}
        return await self._process.versions_of(names, anew=self._function.options.is_strict)

    def _mark(self, entry: SharedEntry, version: str | None, tag_versions: Mapping[str, str]) -> None:
        entry.version = version
        entry.generation = self._generation
        entry.tag_versions = tag_versions

    # ---- a fetch of one's own ----

    async def _use_the_lease(self, token: str, stale: Kept | None) -> SharedEntry:
        """Run the function for the fleet, now or, if there is something stale to be given, in the background."""
        errand = self._errand
        self._counters.leases_won += 1
        self._counters.refreshes_elected += errand.purpose in (Purpose.REPLACE, Purpose.REPLACE_EARLY)
        fetch_timeout = self._function.facts.terms.fetch_timeout_seconds
        limit = self._function.options.max_flight_seconds if fetch_timeout is None else fetch_timeout
        lease = Lease(
            self.record,
            token,
            since=self._asked_at,
            until=clock.now() + limit,
            is_unwanted=errand.was_given_up(),
            counters=self._counters,
        )
        self._link.leases.hold(lease)
        is_ours = True  # to be ended, by a publish or otherwise
        try:
            given = await self._stale(stale)
            if given is not None:
                is_ours = not errand.replace_later(given, token)
                return given
            versions = await self._versions_of(self._function.names_of(errand.tags))
            began, failed = clock.now(), None
            errand.begin()
            try:
                entry, lifetimes = errand.seal(await errand.run(), began)
            except Exception as error:
                failed = error
                sealed = errand.seal_error(error)
                if sealed is None:
                    body = self._function.body_of_error(error, self._text)
                    if body is not None and not lease.is_unwanted():
                        is_ours = False
                        await self._publish(token, body, "error", None, clock.now() - began)
                    raise
                entry, lifetimes = sealed
            if not lease.is_unwanted():
                body = self._function.body_of(entry, self._text, versions, lifetimes)
                is_kept_here = True
                if body is not None:
                    is_ours = False
                    is_kept_here = await self._share(token, body, entry, lifetimes, versions)
                if is_kept_here:
                    errand.keep(entry)
            if failed is not None:
                raise failed
            return entry
        finally:
            self._link.leases.let_go(token)
            if is_ours:
                self._link.abandon(self.record, token)

    async def _share(
        self,
        token: str,
        body: bytes,
        entry: SharedEntry,
        lifetimes: Lifetimes | None,
        versions: Mapping[str, str],
    ) -> bool:
        """Publish a result; return whether it may be kept in this process."""
        self._mark(entry, None, versions)
        kind: PublishKind = "once" if lifetimes is None else "keep"
        published = await self._publish(token, body, kind, lifetimes, entry.fetch_seconds)
        if published is Published.KEPT:
            entry.version = token
        return published is not Published.REFUSED

    async def _publish(
        self, token: str, body: bytes, kind: PublishKind, lifetimes: Lifetimes | None, fetch_seconds: float
    ) -> Published | None:
        """Publish, and return what became of it; ``None`` if nobody knows."""
        if lifetimes is not None:
            self._process.keep_tags(lifetimes.usable_seconds)
        try:
            published = await self._process.ask(
                self._process.store.publish(
                    self.record,
                    token=token,
                    body=body,
                    kind=kind,
                    lifetimes=self._function.store_lifetimes(lifetimes),
                    fetch_seconds=fetch_seconds,
                    announce=kind == "keep" and self._errand.purpose is Purpose.RENEW,
                )
            )
        except WithoutStoreError:
            self._counters.store_errors += 1
            return None
        except asyncio.CancelledError:
            self._link.abandon(self.record, token)  # if it was not published: nobody is to wait for it
            raise
        if published is Published.REFUSED:
            self._counters.fenced_publishes += 1
        return published

    # ---- without the store ----

    async def _do_without(self) -> SharedEntry:
        """Answer the callers although the store cannot be asked."""
        self._counters.store_errors += 1
        at_hand = self._errand.at_hand
        if (
            at_hand is not None
            and self._errand.purpose is Purpose.ASK
            and self._function.serves_untrusted
            and at_hand.freshness(clock.now()) is Freshness.FRESH
        ):
            self._counters.incoherent_hits += 1
            return at_hand
        return await self._fetch_alone()

    async def _fetch_alone(self) -> SharedEntry:
        """Run the function for this process's callers only."""
        errand = self._errand
        self._generation, began = self._function.trust.generation, clock.now()
        errand.begin()
        try:
            entry, _ = errand.seal(await errand.run(), began)
        except Exception as error:
            sealed = errand.seal_error(error)
            if sealed is not None:
                self._mark(sealed[0], None, {})
                errand.keep(sealed[0])
            raise
        self._mark(entry, None, {})
        errand.keep(entry)
        return entry
