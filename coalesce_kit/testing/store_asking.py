"""The part of a store's contract that is about asking: ``acquire``, ``renew``, ``read``."""

from __future__ import annotations

import asyncio

from ..store_port import Busy, Hit, Outcome, Published, Wait, Won
from .store_stage import LONG_SECONDS, StoreStage, new_token


class AskingContract(StoreStage):
    """What ``acquire``, ``renew`` and ``read`` answer."""

    # ---- acquire: nobody has anything ----

    async def test_an_empty_record_is_won(self) -> None:
        """Who asks first for what nobody has gets the lease, and nothing stale."""
        async with self.stores() as (store,):
            assert await self.ask(store, self.key()) == Won(None)

    async def test_an_acquire_sent_twice_wins_once(self) -> None:
        """The same token asked with again wins again: it is the same lease."""
        async with self.stores(2) as (store, other):
            key = self.key()
            token = await self.win(store, key)
            assert await self.ask(store, key, token=token) == Won(None)
            await self.wait_for(other, key, token)

    async def test_of_many_one_wins(self) -> None:
        """Of all who ask at once one wins, and all others are told to wait for it."""
        async with self.stores(3) as stores:
            key = self.key()
            tokens = [new_token() for _ in range(30)]
            answers = await asyncio.gather(
                *(self.ask(stores[number % 3], key, token=token) for number, token in enumerate(tokens))
            )
            winners = [token for token, answer in zip(tokens, answers, strict=True) if isinstance(answer, Won)]
            assert len(winners) == 1
            assert [answer.token for answer in answers if isinstance(answer, Wait)] == winners * 29

    async def test_a_token_is_needed(self) -> None:
        """An empty token is refused: it would be everybody's."""
        async with self.stores() as (store,):
            try:
                await self.ask(store, self.key(), token="")
            except ValueError:
                return
            raise AssertionError("an empty token was accepted")

    # ---- acquire: somebody has the lease ----

    async def test_a_held_lease_is_waited_for(self) -> None:
        """Who asks for what another fetches is told whose lease it is and how long it lasts."""
        async with self.stores(2) as (store, other):
            key = self.key()
            token = await self.win(store, key)
            answer = await self.ask(other, key)
            assert isinstance(answer, Wait)
            assert (answer.token, answer.stale) == (token, None)
            assert 0 < answer.seconds_left <= LONG_SECONDS

    async def test_who_does_not_want_to_wait_goes_home(self) -> None:
        """Without ``wait_if_held`` a held lease is ``Busy``, and a free one is won."""
        async with self.stores(2) as (store, other):
            key = self.key()
            assert isinstance(await self.ask(store, key, wait_if_held=False), Won)
            assert await self.ask(other, key, wait_if_held=False) == Busy()

    async def test_a_lapsed_lease_has_one_successor(self) -> None:
        """Of those who waited for a lease that lapsed the first to ask wins, the others wait for that one."""
        async with self.stores(3) as (store, first, second):
            key = self.key()
            dead = await self.win(store, key, lease_seconds=self.short_seconds)
            await self.pass_short_time()
            heir = new_token()
            assert await self.ask(first, key, token=heir, after=dead) == Won(None)
            answer = await self.ask(second, key, after=dead)
            assert isinstance(answer, Wait)
            assert answer.token == heir

    async def test_a_lapsed_lease_that_nobody_took_is_won_again(self) -> None:
        """The same token asked with again after its lease lapsed holds it again."""
        async with self.stores(2) as (store, other):
            key = self.key()
            token = await self.win(store, key, lease_seconds=self.short_seconds)
            await self.pass_short_time()
            assert await self.ask(store, key, token=token) == Won(None)
            await self.wait_for(other, key, token)

    # ---- acquire: there is a result ----

    async def test_a_fresh_result_is_a_hit(self) -> None:
        """A fresh result is the answer, with its version and what is left of its life."""
        async with self.stores(2) as (store, other):
            key = self.key()
            token = await self.keep(store, key, b"fresh")
            answer = await self.ask(other, key)
            assert isinstance(answer, Hit)
            kept = answer.kept
            assert (kept.version, kept.body, kept.fetch_seconds) == (token, b"fresh", 0.25)
            assert 0 < kept.fresh_seconds <= LONG_SECONDS
            assert 0 < kept.usable_seconds <= LONG_SECONDS

    async def test_a_fresh_result_is_a_hit_while_it_is_fetched_again(self) -> None:
        """A held lease hides no fresh result."""
        async with self.stores(2) as (store, other):
            key = self.key()
            version = await self.keep(store, key)
            assert isinstance(await self.ask(store, key, refresh_of=version), Won)
            assert isinstance(await self.ask(other, key), Hit)

    async def test_a_stale_result_comes_with_the_lease(self) -> None:
        """Who wins where the result is stale but usable is shown it, and so is who has to wait."""
        async with self.stores(2) as (store, other):
            key = self.key()
            version = await self.keep(store, key, b"old", fresh_seconds=self.short_seconds)
            await self.pass_short_time()
            for answer in (await self.ask(store, key), await self.ask(other, key)):
                assert isinstance(answer, Won | Wait)
                assert answer.stale is not None
                assert (answer.stale.version, answer.stale.body) == (version, b"old")
                assert answer.stale.fresh_seconds == 0
                assert 0 < answer.stale.usable_seconds <= LONG_SECONDS

    async def test_an_expired_result_is_none(self) -> None:
        """A result that is not usable any more is not shown."""
        async with self.stores() as (store,):
            key = self.key()
            await self.keep(store, key, fresh_seconds=self.short_seconds, usable_seconds=self.short_seconds)
            await self.pass_short_time()
            assert await store.read(key) is None
            assert await self.ask(store, key) == Won(None)

    async def test_a_rejected_result_is_as_good_as_none(self) -> None:
        """Who cannot use a version gets the lease, or waits, and is not shown that version."""
        async with self.stores(2) as (store, other):
            key = self.key()
            version = await self.keep(store, key)
            token = new_token()
            assert await self.ask(store, key, token=token, reject=version) == Won(None)
            answer = await self.ask(other, key, reject=version, after=version)
            assert isinstance(answer, Wait)
            assert (answer.token, answer.stale) == (token, None)

    async def test_another_version_than_the_rejected_is_a_hit(self) -> None:
        """Rejecting what somebody has replaced already finds the replacement."""
        async with self.stores(2) as (store, other):
            key = self.key()
            bad = await self.keep(store, key, b"bad")
            good = await self.keep(store, key, b"good", reject=bad)
            answer = await self.ask(other, key, reject=bad)
            assert isinstance(answer, Hit)
            assert (answer.kept.version, answer.kept.body) == (good, b"good")

    # ---- acquire: refreshing ----

    async def test_a_refresh_of_the_present_version_is_won(self) -> None:
        """Who has the record's version and wants another gets the lease although the result is fresh."""
        async with self.stores() as (store,):
            key = self.key()
            version = await self.keep(store, key)
            answer = await self.ask(store, key, refresh_of=version)
            assert isinstance(answer, Won)
            assert answer.stale is not None
            assert (answer.stale.version, answer.stale.body) == (version, None)

    async def test_a_refresh_of_an_older_version_is_a_hit(self) -> None:
        """Who wants to replace what another has replaced already gets that, and nobody fetches."""
        async with self.stores(2) as (store, other):
            key = self.key()
            old = await self.keep(store, key, b"old")
            new = await self.keep(store, key, b"new", reject=old)
            for wait_if_held in (True, False):
                answer = await self.ask(other, key, refresh_of=old, wait_if_held=wait_if_held)
                assert isinstance(answer, Hit)
                assert (answer.kept.version, answer.kept.body) == (new, b"new")

    async def test_of_two_refreshes_one_is_won(self) -> None:
        """The loser of a refresh waits if it wants to, and goes home if not."""
        async with self.stores(2) as (store, other):
            key = self.key()
            version = await self.keep(store, key)
            token = new_token()
            assert isinstance(await self.ask(store, key, token=token, refresh_of=version), Won)
            answer = await self.ask(other, key, refresh_of=version)
            assert isinstance(answer, Wait)
            assert answer.token == token
            assert await self.ask(other, key, refresh_of=version, wait_if_held=False) == Busy()

    # ---- acquire: who waited ----

    async def test_an_outcome_is_for_those_who_waited(self) -> None:
        """A result that is not kept, or a failure, is given to who waited for that lease, and to nobody else."""
        async with self.stores(2) as (store, other):
            for kind in ("once", "error"):
                key = self.key()
                token = await self.win(store, key)
                assert await self.publish(store, key, token, b"outcome", kind=kind) is Published.DELIVERED
                assert await self.ask(other, key, after=token) == Outcome(kind, b"outcome")
                assert await self.ask(other, key, after=token) == Outcome(kind, b"outcome")
                assert await store.read(key) is None
                assert await self.ask(other, key) == Won(None)

    async def test_an_outcome_ends_with_its_grace(self) -> None:
        """After its grace an outcome is nobody's, whether the record lives on or not."""
        async with self.stores() as (store,):
            alone, beside = self.key("alone"), self.key("beside")
            version = await self.keep(store, beside)
            tokens = {alone: await self.win(store, alone), beside: await self.win(store, beside, reject=version)}
            for key, token in tokens.items():
                await self.publish(store, key, token, kind="once", grace_seconds=self.short_seconds)
            await self.pass_short_time()
            assert await self.ask(store, alone, after=tokens[alone]) == Won(None)
            answer = await self.ask(store, beside, after=tokens[beside])
            assert isinstance(answer, Hit)
            assert answer.kept.version == version

    async def test_an_outcome_of_another_lease_is_none(self) -> None:
        """Who waited for an earlier lease is not given the outcome of a later one."""
        async with self.stores() as (store,):
            key = self.key()
            token = await self.win(store, key)
            await self.publish(store, key, token, kind="error")
            assert await self.ask(store, key, after=new_token()) == Won(None)

    async def test_who_waited_is_given_the_result_although_it_is_not_fresh(self) -> None:
        """A result that lives only for those who waited is collected by them, and read by nobody else."""
        async with self.stores(2) as (store, other):
            key = self.key()
            token = await self.win(store, key)
            published = await self.publish(store, key, token, b"brief", fresh_seconds=0, usable_seconds=0)
            assert published is Published.KEPT
            answer = await self.ask(other, key, after=token)
            assert isinstance(answer, Hit)
            assert (answer.kept.body, answer.kept.fresh_seconds, answer.kept.usable_seconds) == (b"brief", 0, 0)
            assert await other.read(key) is None
            assert await self.ask(other, key) == Won(None)

    async def test_a_result_takes_the_place_of_an_outcome(self) -> None:
        """Who waited for a failed lease is given the result that a later one brought."""
        async with self.stores() as (store,):
            key = self.key()
            failed = await self.win(store, key)
            await self.publish(store, key, failed, b"failure", kind="error")
            version = await self.keep(store, key, b"later")
            answer = await self.ask(store, key, after=failed)
            assert isinstance(answer, Hit)
            assert answer.kept.version == version

    # ---- renew ----

    async def test_a_lease_is_renewed(self) -> None:
        """A renewed lease lasts on, for the time that was given."""
        async with self.stores(2) as (store, other):
            key = self.key()
            token = await self.win(store, key, lease_seconds=self.short_seconds)
            assert list(await store.renew([(key, token)], lease_seconds=LONG_SECONDS)) == [True]
            await self.pass_short_time()
            await self.wait_for(other, key, token)

    async def test_a_lapsed_lease_is_revived(self) -> None:
        """A lease that lapsed is renewed if nobody took it."""
        async with self.stores(2) as (store, other):
            key = self.key()
            token = await self.win(store, key, lease_seconds=self.short_seconds)
            await self.pass_short_time()
            assert list(await store.renew([(key, token)], lease_seconds=LONG_SECONDS)) == [True]
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
            assert list(answers) == [True, False, False, True, False, False]
            assert list(await store.renew([], lease_seconds=LONG_SECONDS)) == []

    # ---- read ----

    async def test_reading_takes_part_in_nothing(self) -> None:
        """Reading what is not there leaves it free for the first who asks, and a lease is nothing to read."""
        async with self.stores() as (store,):
            key = self.key()
            assert await store.read(key) is None
            await self.win(store, key)
            assert await store.read(key) is None

    async def test_what_the_reader_has_is_not_sent(self) -> None:
        """Reading a version that the reader has brings everything but the body."""
        async with self.stores(2) as (store, other):
            key = self.key()
            version = await self.keep(store, key, b"result")
            for have, body in ((None, b"result"), ("another", b"result"), (version, None)):
                kept = await other.read(key, have=have)
                assert kept is not None
                assert (kept.version, kept.body, kept.fetch_seconds) == (version, body, 0.25)
                assert 0 < kept.fresh_seconds <= LONG_SECONDS
                assert 0 < kept.usable_seconds <= LONG_SECONDS

    async def test_a_stale_result_is_read(self) -> None:
        """Reading brings what is usable, fresh or not."""
        async with self.stores() as (store,):
            key = self.key()
            version = await self.keep(store, key, fresh_seconds=self.short_seconds)
            await self.pass_short_time()
            kept = await store.read(key)
            assert kept is not None
            assert (kept.version, kept.fresh_seconds) == (version, 0)
