"""The part of a store's contract that is about publishing and removing: fencing."""

from __future__ import annotations

from typing import Final

from ..store_port import Hit, Outcome, Published, PublishKind, Won
from .store_stage import LONG_SECONDS, StoreStage, new_token

KINDS: Final[tuple[PublishKind, ...]] = ("keep", "once", "error")


class PublishingContract(StoreStage):
    """What ``publish``, ``abandon`` and ``invalidate`` do."""

    # ---- publish ----

    async def test_what_is_kept_is_read_by_all(self) -> None:
        """A published result is read by every process, under the token as its version."""
        async with self.stores(2) as (store, other):
            key = self.key()
            token = await self.win(store, key)
            assert await self.publish(store, key, token, b"result") is Published.KEPT
            kept = await other.read(key)
            assert kept is not None
            assert (kept.version, kept.body) == (token, b"result")

    async def test_a_publish_sent_twice_is_kept_once(self) -> None:
        """Sent again it answers the same, changes nothing, and takes nothing from who came after."""
        async with self.stores(2) as (store, other):
            key = self.key()
            token = await self.keep(store, key, b"first")
            assert await self.publish(store, key, token, b"again") is Published.KEPT
            heir = new_token()
            assert isinstance(await self.ask(other, key, token=heir, refresh_of=token), Won)
            assert await self.publish(store, key, token, b"again") is Published.KEPT
            kept = await other.read(key)
            assert kept is not None
            assert kept.body == b"first"
            assert await self.publish(other, key, heir, b"second") is Published.KEPT

    async def test_an_outcome_sent_twice_is_delivered_once(self) -> None:
        """The same for what is not kept."""
        async with self.stores() as (store,):
            for kind in ("once", "error"):
                key = self.key()
                token = await self.win(store, key)
                assert await self.publish(store, key, token, b"first", kind=kind) is Published.DELIVERED
                assert await self.publish(store, key, token, b"again", kind=kind) is Published.DELIVERED
                assert await self.ask(store, key, after=token) == Outcome(kind, b"first")

    async def test_publishing_ends_the_lease(self) -> None:
        """After a publish of any kind the lease is free."""
        async with self.stores(2) as (store, other):
            for kind in KINDS:
                key = self.key()
                token = await self.win(store, key)
                await self.publish(store, key, token, kind=kind, fresh_seconds=0)
                assert isinstance(await self.ask(other, key), Won)

    async def test_an_outcome_leaves_the_result_alone(self) -> None:
        """A failed refresh takes nothing away: the old result is still there."""
        async with self.stores() as (store,):
            for kind in ("once", "error"):
                key = self.key()
                version = await self.keep(store, key, b"old")
                token = new_token()
                assert isinstance(await self.ask(store, key, token=token, refresh_of=version), Won)
                assert await self.publish(store, key, token, b"new", kind=kind) is Published.DELIVERED
                kept = await store.read(key)
                assert kept is not None
                assert (kept.version, kept.body) == (version, b"old")

    async def test_a_result_replaces_the_one_before(self) -> None:
        """The latest published result is the record's."""
        async with self.stores() as (store,):
            key = self.key()
            first = await self.keep(store, key, b"first")
            second = await self.keep(store, key, b"second", reject=first)
            kept = await store.read(key)
            assert kept is not None
            assert (kept.version, kept.body) == (second, b"second")

    # ---- fencing: what takes the token away ----

    async def test_who_never_held_the_lease_is_refused(self) -> None:
        """A publish without a record, or with a token that it does not carry, changes nothing."""
        async with self.stores(2) as (store, other):
            key = self.key()
            for kind in KINDS:
                assert await self.publish(store, key, new_token(), kind=kind) is Published.REFUSED
            token = await self.win(store, key)
            for kind in KINDS:
                assert await self.publish(other, key, new_token(), b"foreign", kind=kind) is Published.REFUSED
            assert await store.read(key) is None
            assert await self.publish(store, key, token, b"own") is Published.KEPT

    async def test_who_was_succeeded_is_refused(self) -> None:
        """A publish after a successor won changes nothing, and takes nothing from the successor."""
        async with self.stores(2) as (store, other):
            key = self.key()
            late = await self.win(store, key, lease_seconds=self.short_seconds)
            await self.pass_short_time()
            heir = await self.win(other, key)
            for kind in KINDS:
                assert await self.publish(store, key, late, b"late", kind=kind) is Published.REFUSED
            await self.wait_for(store, key, heir)
            assert await self.publish(other, key, heir, b"heir") is Published.KEPT
            assert await self.publish(store, key, late, b"late") is Published.REFUSED
            kept = await store.read(key)
            assert kept is not None
            assert kept.body == b"heir"

    async def test_who_lapsed_and_was_not_succeeded_may_publish(self) -> None:
        """Being late is no harm while nobody else began."""
        async with self.stores() as (store,):
            key = self.key()
            token = await self.win(store, key, lease_seconds=self.short_seconds)
            await self.pass_short_time()
            assert await self.publish(store, key, token) is Published.KEPT

    async def test_an_invalidation_refuses_what_began_before_it(self) -> None:
        """A fetch that began before an invalidation cannot publish after it, not even into an empty record."""
        async with self.stores(2) as (store, other):
            for kind in KINDS:
                key = self.key()
                token = await self.win(store, key)
                await other.invalidate([key])
                assert await self.publish(store, key, token, kind=kind) is Published.REFUSED
                assert await store.read(key) is None
                await self.win(other, key)
                assert await self.publish(store, key, token, kind=kind) is Published.REFUSED

    async def test_an_evicted_record_refuses(self) -> None:
        """A record that the server forgot refuses the publish of its lease."""
        async with self.stores() as (store,):
            for kind in KINDS:
                key = self.key()
                token = await self.win(store, key)
                await self.lose(key)
                assert await self.publish(store, key, token, kind=kind) is Published.REFUSED
                assert list(await store.renew([(key, token)], lease_seconds=LONG_SECONDS)) == [False]
                assert await store.abandon(key, token=token) is False

    async def test_an_emptied_server_refuses(self) -> None:
        """A server that forgot everything refuses every publish that began before."""
        async with self.stores() as (store,):
            key, other = self.key("a"), self.key("b")
            token = await self.win(store, key)
            version = await self.keep(store, other)
            await self.lose_everything()
            assert await self.publish(store, key, token) is Published.REFUSED
            assert await self.publish(store, other, version) is Published.REFUSED
            assert await self.ask(store, key) == Won(None)

    # ---- abandon ----

    async def test_an_abandoned_lease_is_free(self) -> None:
        """Who abandons frees the lease at once, keeps the old result, and cannot publish any more."""
        async with self.stores(2) as (store, other):
            key = self.key()
            version = await self.keep(store, key, b"old")
            token = new_token()
            assert isinstance(await self.ask(store, key, token=token, refresh_of=version), Won)
            assert await store.abandon(key, token=token) is True
            assert await store.abandon(key, token=token) is False
            assert await self.publish(store, key, token) is Published.REFUSED
            assert isinstance(await self.ask(other, key), Hit)
            assert isinstance(await self.ask(other, key, refresh_of=version), Won)

    async def test_only_the_holder_abandons(self) -> None:
        """Abandoning what another holds changes nothing."""
        async with self.stores(2) as (store, other):
            key = self.key()
            assert await other.abandon(key, token=new_token()) is False
            token = await self.win(store, key)
            assert await other.abandon(key, token=new_token()) is False
            await self.wait_for(other, key, token)

    # ---- invalidate ----

    async def test_what_was_invalidated_is_gone(self) -> None:
        """Several keys at once, with and without a record: nothing of them is left."""
        async with self.stores(2) as (store, other):
            keys = [self.key(str(number)) for number in range(5)]
            versions = [await self.keep(store, key) for key in keys[:3]]
            failed = await self.win(store, keys[3])
            await self.publish(store, keys[3], failed, kind="error")
            await other.invalidate(keys)
            for key in keys:
                assert await store.read(key) is None
            assert await self.ask(store, keys[0], after=versions[0]) == Won(None)
            assert await self.ask(store, keys[3], after=failed) == Won(None)
            await store.invalidate(keys)
            await store.invalidate([])
