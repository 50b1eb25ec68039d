"""The part of a store's contract that is about what a lease allows and what ends it: fencing."""

from __future__ import annotations

from typing import Final

from ..store_port import Hit, Kept, Outcome, Published, PublishKind, Won
from .store_answers import expect
from .store_stage import LONG_SECONDS, StoreStage, new_token

KINDS: Final[tuple[PublishKind, ...]] = ("keep", "once", "error")


class PublishingContract(StoreStage):
    """What ``publish``, ``renew``, ``abandon`` and ``invalidate`` do."""

    # ---- publish ----

    async def test_what_is_kept_is_read_by_all(self) -> None:
        """A published result is read by every process, under the token as its version."""
        async with self.stores(2) as (store, other):
            key = self.key()
            token = await self.win(store, key)
            assert await self.publish(store, key, token, b"result") is Published.KEPT, "who holds the lease publishes"
            kept = expect(Kept, await other.read(key), "what one store has published another reads")
            assert (kept.version, kept.body) == (token, b"result"), (
                "the version of a result is the token that published it"
            )

    async def test_a_publish_sent_twice_is_kept_once(self) -> None:
        """Sent again it answers the same, changes nothing, and takes nothing from who came after."""
        async with self.stores(2) as (store, other):
            key = self.key()
            token = await self.keep(store, key, b"first")
            assert await self.publish(store, key, token, b"again") is Published.KEPT, "sent again it answers the same"
            heir = new_token()
            expect(Won, await self.ask(other, key, token=heir, refresh_of=token), "nobody else refreshes")
            again = await self.publish(store, key, token, b"again")
            assert again is Published.KEPT, "sent again it answers the same, although another fetches by now"
            kept = expect(Kept, await other.read(key), "a publish that was sent again has taken the result away")
            assert kept.body == b"first", "a publish that was sent again has changed the result"
            published = await self.publish(other, key, heir, b"second")
            assert published is Published.KEPT, "a publish that was sent again has taken the lease of who came after"

    async def test_an_outcome_sent_twice_is_delivered_once(self) -> None:
        """The same for what is not kept."""
        async with self.stores() as (store,):
            for kind in ("once", "error"):
                key = self.key()
                token = await self.win(store, key)
                for body in (b"first", b"again"):
                    published = await self.publish(store, key, token, body, kind=kind)
                    assert published is Published.DELIVERED, (
                        f"published as {kind!r}, and sent again: it answers the same"
                    )
                answer = await self.ask(store, key, after=token)
                assert answer == Outcome(kind, b"first"), "a publish that was sent again has changed the outcome"

    async def test_publishing_ends_the_lease(self) -> None:
        """After a publish of any kind the lease is free."""
        async with self.stores(2) as (store, other):
            for kind in KINDS:
                key = self.key()
                token = await self.win(store, key)
                await self.publish(store, key, token, kind=kind, fresh_seconds=0)
                expect(Won, await self.ask(other, key), f"a publish as {kind!r} ends the lease")

    async def test_an_outcome_leaves_the_result_alone(self) -> None:
        """A failed refresh takes nothing away: the old result is still there."""
        async with self.stores() as (store,):
            for kind in ("once", "error"):
                key = self.key()
                version = await self.keep(store, key, b"old")
                token = new_token()
                expect(Won, await self.ask(store, key, token=token, refresh_of=version), "nobody else refreshes")
                published = await self.publish(store, key, token, b"new", kind=kind)
                assert published is Published.DELIVERED, f"what is published as {kind!r} is not kept"
                kept = expect(Kept, await store.read(key), f"a publish as {kind!r} takes no result away")
                assert (kept.version, kept.body) == (version, b"old"), f"a publish as {kind!r} changes no result"

    async def test_a_result_replaces_the_one_before(self) -> None:
        """The latest published result is the record's."""
        async with self.stores() as (store,):
            key = self.key()
            first = await self.keep(store, key, b"first")
            second = await self.keep(store, key, b"second", reject=first)
            kept = expect(Kept, await store.read(key), "two results were published")
            assert (kept.version, kept.body) == (second, b"second"), "the later of two results is the record's"

    # ---- fencing: what takes the token away ----

    async def test_who_never_held_the_lease_is_refused(self) -> None:
        """A publish without a record, or with a token that it does not carry, changes nothing."""
        async with self.stores(2) as (store, other):
            key = self.key()
            for kind in KINDS:
                published = await self.publish(store, key, new_token(), kind=kind)
                assert published is Published.REFUSED, f"as {kind!r}, where there is no record: absence refuses"
            token = await self.win(store, key)
            for kind in KINDS:
                published = await self.publish(other, key, new_token(), b"foreign", kind=kind)
                assert published is Published.REFUSED, f"as {kind!r}, with a token that is not the lease's"
            assert await store.read(key) is None, "a publish that was refused has left a result"
            assert await self.publish(store, key, token, b"own") is Published.KEPT, (
                "others were refused, and the holder not"
            )

    async def test_who_was_succeeded_is_refused(self) -> None:
        """A publish after a successor won changes nothing, and takes nothing from the successor."""
        async with self.stores(2) as (store, other):
            key = self.key()
            late = await self.win(store, key, lease_seconds=self.short_seconds)
            await self.pass_short_time()
            heir = await self.win(other, key)
            for kind in KINDS:
                published = await self.publish(store, key, late, b"late", kind=kind)
                assert published is Published.REFUSED, f"as {kind!r}, by who was late, while its successor fetches"
            await self.wait_for(store, key, heir)
            published = await self.publish(other, key, heir, b"heir")
            assert published is Published.KEPT, "by the successor, after the one who was late was refused"
            published = await self.publish(store, key, late, b"late")
            assert published is Published.REFUSED, "by who was late, after its successor"
            kept = expect(Kept, await store.read(key), "the successor's result was kept")
            assert kept.body == b"heir", "a publish that was refused has changed the result"

    async def test_who_lapsed_and_was_not_succeeded_may_publish(self) -> None:
        """Being late is no harm while nobody else began."""
        async with self.stores() as (store,):
            key = self.key()
            token = await self.win(store, key, lease_seconds=self.short_seconds)
            await self.pass_short_time()
            assert await self.publish(store, key, token) is Published.KEPT, (
                "its lease has lapsed, and nobody has taken it"
            )

    async def test_an_invalidation_refuses_what_began_before_it(self) -> None:
        """A fetch that began before an invalidation cannot publish after it, not even into an empty record."""
        async with self.stores(2) as (store, other):
            for kind in KINDS:
                key = self.key()
                token = await self.win(store, key)
                await other.invalidate([key])
                published = await self.publish(store, key, token, kind=kind)
                assert published is Published.REFUSED, f"as {kind!r}, by a lease of before an invalidation"
                assert await store.read(key) is None, "a publish that was refused has left a result"
                await self.win(other, key)
                published = await self.publish(store, key, token, kind=kind)
                assert published is Published.REFUSED, (
                    f"as {kind!r}, by a lease of before an invalidation, beside a new one"
                )

    async def test_an_evicted_record_refuses(self) -> None:
        """A record that the server forgot refuses the publish of its lease."""
        async with self.stores() as (store,):
            for kind in KINDS:
                key = self.key()
                token = await self.win(store, key)
                await self.lose(key)
                published = await self.publish(store, key, token, kind=kind)
                assert published is Published.REFUSED, f"as {kind!r}, where the record was evicted: absence refuses"
                renewed = list(await store.renew([(key, token)], lease_seconds=LONG_SECONDS))
                assert renewed == [False], "a lease whose record was evicted is not renewed"
                assert await store.abandon(key, token=token) is False, "a lease whose record was evicted is not there"

    async def test_an_emptied_server_refuses(self) -> None:
        """A server that forgot everything refuses every publish that began before."""
        async with self.stores() as (store,):
            key, other = self.key("a"), self.key("b")
            token = await self.win(store, key)
            version = await self.keep(store, other)
            await self.lose_everything()
            assert await self.publish(store, key, token) is Published.REFUSED, (
                "by a lease of before the server was emptied"
            )
            again = await self.publish(store, other, version)
            assert again is Published.REFUSED, "sent again, of a result that the server has forgotten since"
            assert await self.ask(store, key) == Won(None), "the server was emptied, so nobody has anything"

    # ---- renew ----

    async def test_a_lease_is_renewed(self) -> None:
        """A renewed lease lasts on, for the time that was given."""
        async with self.stores(2) as (store, other):
            key = self.key()
            token = await self.win(store, key, lease_seconds=self.short_seconds)
            renewed = list(await store.renew([(key, token)], lease_seconds=LONG_SECONDS))
            assert renewed == [True], "who holds a lease renews it"
            await self.pass_short_time()
            await self.wait_for(other, key, token)

    async def test_a_lapsed_lease_is_revived(self) -> None:
        """A lease that lapsed is renewed if nobody took it."""
        async with self.stores(2) as (store, other):
            key = self.key()
            token = await self.win(store, key, lease_seconds=self.short_seconds)
            await self.pass_short_time()
            renewed = list(await store.renew([(key, token)], lease_seconds=LONG_SECONDS))
            assert renewed == [True], "a lease that has lapsed is renewed, if nobody took it"
            await self.wait_for(other, key, token)

    async def test_only_the_holder_renews(self) -> None:
        """Each lease is answered for itself: held, never held, succeeded, published, invalidated."""
        async with self.stores(2) as (store, other):
            held, never, succeeded, published, invalidated = (self.key(name) for name in "abcde")
            token = await self.win(store, held)
            late = await self.win(store, succeeded, lease_seconds=self.short_seconds)
            await self.pass_short_time()
            heir = await self.win(other, succeeded)
            version = await self.keep(store, published)
            gone = await self.win(store, invalidated)
            await other.invalidate([invalidated])
            leases = [(held, token), (never, token), (succeeded, late), (succeeded, heir)]
            leases += [(published, version), (invalidated, gone)]
            answers = await store.renew(leases, lease_seconds=LONG_SECONDS)
            assert list(answers) == [True, False, False, True, False, False], (
                "renewed, in this order: held, never held, succeeded, its successor, published, invalidated"
            )
            assert list(await store.renew([], lease_seconds=LONG_SECONDS)) == []

    # ---- abandon ----

    async def test_an_abandoned_lease_is_free(self) -> None:
        """Who abandons frees the lease at once, keeps the old result, and cannot publish any more."""
        async with self.stores(2) as (store, other):
            key = self.key()
            version = await self.keep(store, key, b"old")
            token = new_token()
            expect(Won, await self.ask(store, key, token=token, refresh_of=version), "nobody else refreshes")
            assert await store.abandon(key, token=token) is True, "abandon() says whether it has ended the lease"
            assert await store.abandon(key, token=token) is False, "abandon() says whether it has ended the lease"
            assert await self.publish(store, key, token) is Published.REFUSED, "by a lease that was abandoned"
            expect(Hit, await self.ask(other, key), "abandoning a refresh leaves the result")
            expect(Won, await self.ask(other, key, refresh_of=version), "a lease that was abandoned is free")

    async def test_only_the_holder_abandons(self) -> None:
        """Abandoning what another holds changes nothing."""
        async with self.stores(2) as (store, other):
            key = self.key()
            assert await other.abandon(key, token=new_token()) is False, "there is nothing to abandon"
            token = await self.win(store, key)
            assert await other.abandon(key, token=new_token()) is False, "another holds the lease"
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
                assert await store.read(key) is None, "a result was invalidated, and is still read"
            answer = await self.ask(store, keys[0], after=versions[0])
            assert answer == Won(None), "a result was invalidated, and is given to who waited for it"
            answer = await self.ask(store, keys[3], after=failed)
            assert answer == Won(None), "an outcome was invalidated, and is given to who waited for it"
            await store.invalidate(keys)
            await store.invalidate([])
