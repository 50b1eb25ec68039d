"""The part of a store's contract that is about asking: ``acquire``."""

from __future__ import annotations

import asyncio

from ..store_port import Busy, Hit, Kept, Outcome, Published, Wait, Won
from .store_answers import expect
from .store_stage import LONG_SECONDS, StoreStage, new_token


class AskingContract(StoreStage):
    """What ``acquire`` answers."""

    # ---- acquire: nobody has anything ----

    async def test_an_empty_record_is_won(self) -> None:
        """Who asks first for what nobody has gets the lease, and nothing stale."""
        async with self.stores() as (store,):
            assert await self.ask(store, self.key()) == Won(None), "nobody has anything: the lease, and nothing stale"

    async def test_an_acquire_sent_twice_wins_once(self) -> None:
        """The same token asked with again wins again: it is the same lease."""
        async with self.stores(2) as (store, other):
            key = self.key()
            token = await self.win(store, key)
            again = await self.ask(store, key, token=token)
            assert again == Won(None), (
                "the same token asks again, as after an answer that was lost, and holds the lease"
            )
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
            assert len(winners) == 1, f"of thirty who ask at once one wins, but {len(winners)} have won"
            assert [answer.token for answer in answers if isinstance(answer, Wait)] == winners * 29, (
                "all who have not won are told to wait, and for the lease of the one who has"
            )

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
            answer = expect(Wait, await self.ask(other, key), "another holds the lease")
            assert (answer.token, answer.stale) == (token, None), "Wait names the lease, and there is nothing stale"
            assert 0 < answer.seconds_left <= LONG_SECONDS, "Wait says for how long the lease lasts"

    async def test_who_does_not_want_to_wait_goes_home(self) -> None:
        """Without ``wait_if_held`` a held lease is ``Busy``, and a free one is won."""
        async with self.stores(2) as (store, other):
            key = self.key()
            expect(Won, await self.ask(store, key, wait_if_held=False), "nobody holds the lease")
            assert await self.ask(other, key, wait_if_held=False) == Busy(), "who does not want to wait is told Busy"

    async def test_a_lapsed_lease_has_one_successor(self) -> None:
        """Of those who waited for a lease that lapsed the first to ask wins, the others wait for that one."""
        async with self.stores(3) as (store, first, second):
            key = self.key()
            dead = await self.win(store, key, lease_seconds=self.short_seconds)
            await self.pass_short_time()
            heir = new_token()
            answer = await self.ask(first, key, token=heir, after=dead)
            assert answer == Won(None), "the lease has lapsed, and the first who asks after it wins"
            wait = expect(Wait, await self.ask(second, key, after=dead), "another has succeeded the lease that lapsed")
            assert wait.token == heir, "Wait names the successor, and not the lease that lapsed"

    async def test_a_lapsed_lease_that_nobody_took_is_won_again(self) -> None:
        """The same token asked with again after its lease lapsed holds it again."""
        async with self.stores(2) as (store, other):
            key = self.key()
            token = await self.win(store, key, lease_seconds=self.short_seconds)
            await self.pass_short_time()
            assert await self.ask(store, key, token=token) == Won(None), "its lease has lapsed, and nobody has taken it"
            await self.wait_for(other, key, token)

    # ---- acquire: there is a result ----

    async def test_a_fresh_result_is_a_hit(self) -> None:
        """A fresh result is the answer, with its version and what is left of its life."""
        async with self.stores(2) as (store, other):
            key = self.key()
            token = await self.keep(store, key, b"fresh")
            kept = expect(Hit, await self.ask(other, key), "there is a fresh result").kept
            got = (kept.version, kept.body, kept.fetch_seconds)
            assert got == (token, b"fresh", 0.25), "version (the token that published it), body and fetch_seconds"
            assert 0 < kept.fresh_seconds <= LONG_SECONDS
            assert 0 < kept.usable_seconds <= LONG_SECONDS

    async def test_a_fresh_result_is_a_hit_while_it_is_fetched_again(self) -> None:
        """A held lease hides no fresh result."""
        async with self.stores(2) as (store, other):
            key = self.key()
            version = await self.keep(store, key)
            expect(Won, await self.ask(store, key, refresh_of=version), "who wants another version may fetch it")
            expect(Hit, await self.ask(other, key), "there is a fresh result, although it is fetched again")

    async def test_a_stale_result_comes_with_the_lease(self) -> None:
        """Who wins where the result is stale but usable is shown it, and so is who has to wait."""
        async with self.stores(2) as (store, other):
            key = self.key()
            version = await self.keep(store, key, b"old", fresh_seconds=self.short_seconds)
            await self.pass_short_time()
            for answer in (await self.ask(store, key), await self.ask(other, key)):
                assert isinstance(answer, Won | Wait), (
                    f"the result is stale: the first wins, the next waits, not {answer}"
                )
                stale = expect(Kept, answer.stale, "a stale result comes with Won and with Wait, as stale=")
                assert (stale.version, stale.body) == (version, b"old")
                assert stale.fresh_seconds == 0
                assert 0 < stale.usable_seconds <= LONG_SECONDS

    async def test_an_expired_result_is_none(self) -> None:
        """A result that is not usable any more is not shown."""
        async with self.stores() as (store,):
            key = self.key()
            await self.keep(store, key, fresh_seconds=self.short_seconds, usable_seconds=self.short_seconds)
            await self.pass_short_time()
            assert await store.read(key) is None, "a result that is not usable any more is not read"
            assert await self.ask(store, key) == Won(None), "a result that is not usable any more is not shown as stale"

    async def test_a_rejected_result_is_as_good_as_none(self) -> None:
        """Who cannot use a version gets the lease, or waits, and is not shown that version."""
        async with self.stores(2) as (store, other):
            key = self.key()
            version = await self.keep(store, key)
            token = new_token()
            won = await self.ask(store, key, token=token, reject=version)
            assert won == Won(None), "for who rejects the record's version it is as good as empty"
            wait = await self.ask(other, key, reject=version, after=version)
            answer = expect(Wait, wait, "another has the lease, and the version that there is was rejected")
            assert (answer.token, answer.stale) == (token, None), "a rejected version is not shown as stale"

    async def test_another_version_than_the_rejected_is_a_hit(self) -> None:
        """Rejecting what somebody has replaced already finds the replacement."""
        async with self.stores(2) as (store, other):
            key = self.key()
            bad = await self.keep(store, key, b"bad")
            good = await self.keep(store, key, b"good", reject=bad)
            answer = expect(
                Hit, await self.ask(other, key, reject=bad), "what was rejected was replaced by a fresh result"
            )
            assert (answer.kept.version, answer.kept.body) == (good, b"good")

    # ---- acquire: refreshing ----

    async def test_a_refresh_of_the_present_version_is_won(self) -> None:
        """Who has the record's version and wants another gets the lease although the result is fresh."""
        async with self.stores() as (store,):
            key = self.key()
            version = await self.keep(store, key)
            answer = expect(Won, await self.ask(store, key, refresh_of=version), "it is the version to be replaced")
            stale = expect(Kept, answer.stale, "what is to be replaced comes with Won, as stale=")
            assert (stale.version, stale.body) == (version, None), (
                "who refreshes a version has its body: it is not sent"
            )

    async def test_a_refresh_of_an_older_version_is_a_hit(self) -> None:
        """Who wants to replace what another has replaced already gets that, and nobody fetches."""
        async with self.stores(2) as (store, other):
            key = self.key()
            old = await self.keep(store, key, b"old")
            new = await self.keep(store, key, b"new", reject=old)
            for wait_if_held in (True, False):
                found = await self.ask(other, key, refresh_of=old, wait_if_held=wait_if_held)
                answer = expect(Hit, found, "the version to be replaced was replaced already")
                assert (answer.kept.version, answer.kept.body) == (new, b"new")

    async def test_of_two_refreshes_one_is_won(self) -> None:
        """The loser of a refresh waits if it wants to, and goes home if not."""
        async with self.stores(2) as (store, other):
            key = self.key()
            version = await self.keep(store, key)
            token = new_token()
            expect(Won, await self.ask(store, key, token=token, refresh_of=version), "nobody else refreshes")
            answer = expect(Wait, await self.ask(other, key, refresh_of=version), "another refreshes")
            assert answer.token == token
            busy = await self.ask(other, key, refresh_of=version, wait_if_held=False)
            assert busy == Busy(), "another refreshes, and who does not want to wait is told Busy"

    # ---- acquire: who waited ----

    async def test_an_outcome_is_for_those_who_waited(self) -> None:
        """A result that is not kept, or a failure, is given to who waited for that lease, and to nobody else."""
        async with self.stores(2) as (store, other):
            for kind in ("once", "error"):
                key = self.key()
                token = await self.win(store, key)
                published = await self.publish(store, key, token, b"outcome", kind=kind)
                assert published is Published.DELIVERED, f"what is published as {kind!r} is not kept"
                for turn in ("first", "second"):
                    answer = await self.ask(other, key, after=token)
                    assert answer == Outcome(kind, b"outcome"), f"who waited for that lease, asking for the {turn} time"
                assert await store.read(key) is None, f"what was published as {kind!r} is nothing to read"
                assert await self.ask(other, key) == Won(None), (
                    "who has not waited for that lease is not given its outcome"
                )

    async def test_an_outcome_ends_with_its_grace(self) -> None:
        """After its grace an outcome is nobody's, whether the record lives on or not."""
        async with self.stores() as (store,):
            alone, beside = self.key("alone"), self.key("beside")
            version = await self.keep(store, beside)
            tokens = {alone: await self.win(store, alone), beside: await self.win(store, beside, reject=version)}
            for key, token in tokens.items():
                await self.publish(store, key, token, kind="once", grace_seconds=self.short_seconds)
            await self.pass_short_time()
            answer = await self.ask(store, alone, after=tokens[alone])
            assert answer == Won(None), "after its grace an outcome is not given to who waited for it"
            answer = await self.ask(store, beside, after=tokens[beside])
            assert expect(Hit, answer, "the outcome has ended, and there is a fresh result").kept.version == version

    async def test_an_outcome_of_another_lease_is_none(self) -> None:
        """Who waited for an earlier lease is not given the outcome of a later one."""
        async with self.stores() as (store,):
            key = self.key()
            token = await self.win(store, key)
            await self.publish(store, key, token, kind="error")
            answer = await self.ask(store, key, after=new_token())
            assert answer == Won(None), "who waited for another lease is not given the outcome of this one"

    async def test_who_waited_is_given_the_result_although_it_is_not_fresh(self) -> None:
        """A result that lives only for those who waited is collected by them, and read by nobody else."""
        async with self.stores(2) as (store, other):
            key = self.key()
            token = await self.win(store, key)
            published = await self.publish(store, key, token, b"brief", fresh_seconds=0, usable_seconds=0)
            assert published is Published.KEPT, "a result that is fresh for no time is kept for who waited for it"
            answer = expect(Hit, await self.ask(other, key, after=token), "who waited is given it, fresh or not")
            assert (answer.kept.body, answer.kept.fresh_seconds, answer.kept.usable_seconds) == (b"brief", 0, 0)
            assert await other.read(key) is None, "a result that is usable for no time is nothing to read"
            assert await self.ask(other, key) == Won(None), "who has not waited is not given what is usable for no time"

    async def test_a_result_takes_the_place_of_an_outcome(self) -> None:
        """Who waited for a failed lease is given the result that a later one brought."""
        async with self.stores() as (store,):
            key = self.key()
            failed = await self.win(store, key)
            await self.publish(store, key, failed, b"failure", kind="error")
            version = await self.keep(store, key, b"later")
            answer = expect(Hit, await self.ask(store, key, after=failed), "a later lease has brought a result")
            assert answer.kept.version == version
