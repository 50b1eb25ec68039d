"""Stores that are wrong in one way each; the contract has to notice."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from coalesce_kit.store_port import Hit, Published, Wait, Won
from coalesce_kit.stores.memory import MemoryServer, MemoryStore


class FailsOpen(MemoryServer):
    """Takes a publish whose record is gone: an eviction, or an invalidation, lets an old fetch win."""

    def publish(self, key, *, token, **rest):
        if self._find(key) is None:
            self.acquire(key, token=token, lease_seconds=1, channel=None)
        return super().publish(key, token=token, **rest)


class InvalidationKeepsTheToken(MemoryServer):
    """Drops the result and leaves the lease."""

    def invalidate(self, key, *, namespace):
        record = self._find(key)
        token = record.token if record else ""
        super().invalidate(key, namespace=namespace)
        if token:
            self.acquire(key, token=token, lease_seconds=30, channel=None)


class RepeatWaitsForItself(MemoryServer):
    """Does not know that an acquire with the holder's token is a repeat."""

    def acquire(self, key, *, token, **rest):
        record = self._find(key)
        if record and record.token == token and record.lease_until > self._now():
            return Wait(token, 1.0)
        return super().acquire(key, token=token, **rest)


class RepeatedPublishIsRefused(MemoryServer):
    """Forgets that it has kept a publish."""

    def publish(self, key, *, token, **rest):
        record = self._find(key)
        if record and record.token != token:
            return Published.REFUSED
        return super().publish(key, token=token, **rest)


class FailureForAll(MemoryServer):
    """Gives an outcome to whoever asks next."""

    def acquire(self, key, *, after=None, **rest):
        record = self._find(key)
        return super().acquire(key, after=record.outcome_of if record else after, **rest)


class RegistersNobody(MemoryServer):
    """Wakes nobody."""

    def acquire(self, key, *, channel, **rest):
        return super().acquire(key, channel=None, **rest)


class AnnouncesNothing(MemoryServer):
    """Removes without a word."""

    def _announce(self, namespace, signal):
        pass


class LateOnesTakeOver(MemoryServer):
    """Takes a publish of any token while somebody holds the lease."""

    def publish(self, key, *, token, **rest):
        record = self._find(key)
        if record and record.token and record.version != token:
            token = record.token
        return super().publish(key, token=token, **rest)


class HitsWhatWasRejected(MemoryServer):
    """Gives the version that the caller cannot use."""

    def acquire(self, key, *, reject=None, **rest):
        return super().acquire(key, **rest)


class EveryRefreshIsWon(MemoryServer):
    """Has everybody fetch who wants a refresh, also who is late with it."""

    def acquire(self, key, *, token, refresh_of=None, **rest):
        answer = super().acquire(key, token=token, refresh_of=refresh_of, **rest)
        return Won(answer.kept) if refresh_of and isinstance(answer, Hit) else answer


class StaleIsForgotten(MemoryServer):
    """Does not show what is stale."""

    def acquire(self, key, **rest):
        answer = super().acquire(key, **rest)
        return replace(answer, stale=None) if isinstance(answer, Won | Wait) else answer


class TagsStay(MemoryServer):
    """Announces a new version of a tag and keeps the old one."""

    def tag_version(self, tag, *, namespace, replace, keep_seconds):
        known = self._tags.get((namespace, tag))
        version = super().tag_version(tag, namespace=namespace, replace=replace, keep_seconds=keep_seconds)
        if known and replace:
            self._tags[namespace, tag] = known
        return version


class FullAndSilent(MemoryServer):
    """Forgets who waits when there is no memory."""

    def publish(self, key, **rest):
        record = self._find(key)
        if self.is_full and record:
            record.waiting.clear()
        return super().publish(key, **rest)


class NeverFull(MemoryServer):
    """Gives leases that it cannot remember."""

    def _must_grow(self):
        pass


class LateHorizon(MemoryServer):
    """Announces with a delay, and so after the horizon that was told."""

    def _announce(self, namespace, signal):
        for channel, name in self._channels.items():
            if name == namespace:
                asyncio.get_running_loop().call_later(0.02, channel, signal)


class Trusting(MemoryStore):
    """Takes an empty token."""

    async def acquire(self, key, *, token, **rest):
        return await super().acquire(key, token=token or "everybody's", **rest)


class Textual(MemoryStore):
    """Believes that bytes are text."""

    async def publish(self, key, *, body, **rest):
        return await super().publish(key, body=body.decode("utf-8", "replace").encode(), **rest)


SERVERS = {
    FailsOpen: "test_an_evicted_record_refuses",
    InvalidationKeepsTheToken: "test_an_invalidation_refuses_what_began_before_it",
    RepeatWaitsForItself: "test_an_acquire_sent_twice_wins_once",
    RepeatedPublishIsRefused: "test_a_publish_sent_twice_is_kept_once",
    FailureForAll: "test_an_outcome_is_for_those_who_waited",
    RegistersNobody: "test_who_waits_is_woken_with_the_result",
    AnnouncesNothing: "test_an_invalidation_is_announced_to_all",
    LateOnesTakeOver: "test_who_was_succeeded_is_refused",
    HitsWhatWasRejected: "test_a_rejected_result_is_as_good_as_none",
    EveryRefreshIsWon: "test_a_refresh_of_an_older_version_is_a_hit",
    StaleIsForgotten: "test_a_stale_result_comes_with_the_lease",
    TagsStay: "test_a_replaced_tag_has_another_version",
    NeverFull: "test_a_full_server_serves_what_it_has",
    LateHorizon: "test_nothing_announced_before_the_horizon_is_heard_after_it",
    FullAndSilent: "test_a_full_server_still_delivers",
}
STORES = {Trusting: "test_a_token_is_needed", Textual: "test_bytes_are_bytes"}
