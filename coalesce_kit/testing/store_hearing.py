"""The part of a store's contract that is about signals: who is woken, what is announced, what is proved heard."""

from __future__ import annotations

import asyncio
from typing import Final

from ..clock import clock
from ..store_port import (
    INLINE_BYTES,
    Connected,
    Dropped,
    Finished,
    HeardUpTo,
    Hit,
    Published,
    Signal,
    SignalStream,
    TagMoved,
    Voided,
    Wait,
    Won,
)
from .store_answers import PATIENCE_SECONDS, about, expect, next_of
from .store_stage import LONG_SECONDS, StoreStage, new_token

NOBODY: Final = "signals that wake, heard by a process that waits for nothing that has ended"


class HearingContract(StoreStage):
    """What comes out of ``signals``."""

    # ---- wake-ups ----

    async def test_who_waits_is_woken_with_the_result(self) -> None:
        """The end of a lease wakes who waits for it, and says everything about the result."""
        async with self.stores(2) as (store, other), self.listening(other) as heard:
            for kind in ("keep", "once", "error"):
                key = self.key()
                token = await self.win(store, key)
                await self.wait_for(other, key, token)
                await self.publish(store, key, token, b"\x00result\r\n", kind=kind)
                woken = await heard.first(Finished, about(key))
                assert (woken.key, woken.token, woken.kind) == (key, token, kind), (
                    "the wake-up names what was published"
                )
                assert (woken.body, woken.fetch_seconds) == (b"\x00result\r\n", 0.25), "the wake-up brings the result"
                expected = LONG_SECONDS if kind == "keep" else 0
                assert (woken.fresh_seconds, woken.usable_seconds) == (expected, expected), (
                    f"seconds for which a result published as {kind!r} is fresh and usable, as the wake-up has it"
                )

    async def test_who_waits_alone_is_woken_by_itself(self) -> None:
        """A process that waits for its own other lease hears of its end."""
        async with self.stores() as (store,), self.listening(store) as heard:
            key = self.key()
            token = await self.win(store, key)
            await self.wait_for(store, key, token)
            await self.publish(store, key, token)
            assert (await heard.first(Finished)).token == token, "who waits is woken by the lease that it waits for"

    async def test_a_large_result_is_asked_for(self) -> None:
        """A wake-up carries what is small; what is larger is collected by who waited."""
        async with self.stores(2) as (store, other), self.listening(other) as heard:
            for size, is_inline in ((0, True), (INLINE_BYTES, True), (INLINE_BYTES + 1, False)):
                key, body = self.key(), b"r" * size
                token = await self.win(store, key)
                await self.wait_for(other, key, token)
                await self.publish(store, key, token, body)
                assert (await heard.first(Finished, about(key))).body == (body if is_inline else None), (
                    f"a wake-up carries a body of up to {INLINE_BYTES} bytes (INLINE_BYTES), and None for a larger one"
                )
                answer = expect(Hit, await self.ask(other, key, after=token), "who was woken collects the result")
                assert answer.kept.body == body

    async def test_all_who_wait_are_woken(self) -> None:
        """Every process that waits is woken, and one that asked twice is too."""
        async with self.stores(4) as (store, *others):
            key = self.key()
            token = await self.win(store, key)
            heards = [self.listening(other) for other in others]
            opened = [await heard.__aenter__() for heard in heards]
            try:
                for other in (*others, others[0]):
                    await self.wait_for(other, key, token)
                await self.publish(store, key, token)
                for heard in opened:
                    assert (await heard.first(Finished)).token == token
            finally:
                for entered in heards:
                    await entered.__aexit__(None, None, None)

    async def test_an_abandoned_lease_wakes(self) -> None:
        """Who waits for a lease that is abandoned is told that it brought nothing."""
        async with self.stores(2) as (store, other), self.listening(other) as heard:
            key = self.key()
            token = await self.win(store, key)
            await self.wait_for(other, key, token)
            await store.abandon(key, token=token)
            assert await heard.first(Voided) == Voided(key, token), "the wake-up names the lease that was abandoned"

    async def test_an_invalidated_lease_wakes(self) -> None:
        """Who waits for a lease whose record is invalidated is told so, by the lease's token."""
        async with self.stores(3) as (store, other, third), self.listening(other) as heard:
            key = self.key()
            token = await self.win(store, key)
            await self.wait_for(other, key, token)
            await third.invalidate([key])
            assert await heard.first(Voided) == Voided(key, token), "the wake-up names the lease that was invalidated"

    async def test_only_who_waits_is_woken(self) -> None:
        """Who did not ask to be woken, or waits for another key, or was answered, hears nothing of it."""
        async with self.stores(2) as (store, other), self.listening(other) as heard:
            key, elsewhere, taken, last = (self.key(name) for name in "abcd")
            token = await self.win(store, key)
            await self.ask(other, key, wake=False)
            await self.ask(other, key, wait_if_held=False)
            await self.wait_for(other, elsewhere, await self.win(store, elsewhere))
            await self.win(other, taken)
            await self.publish(store, key, token)
            await store.invalidate([last])
            signals = await heard.until(Dropped, lambda signal: signal.key == last)
            assert _wake_ups(signals) == [], NOBODY

    async def test_waiting_without_a_subscription_is_possible(self) -> None:
        """Who has opened no signals is told to wait all the same, and may ask again."""
        async with self.stores(2) as (store, other):
            key = self.key()
            token = await self.win(store, key)
            await self.wait_for(other, key, token)
            await self.publish(store, key, token)
            expect(
                Hit,
                await self.ask(other, key, after=token),
                "without signals who waits asks again, and gets the result",
            )

    async def test_a_refused_publish_wakes_nobody(self) -> None:
        """Who waits for the successor is not woken by the one who was succeeded."""
        async with self.stores(2) as (store, other), self.listening(other) as heard:
            key, last = self.key(), self.key("last")
            late = await self.win(store, key, lease_seconds=self.short_seconds)
            await self.pass_short_time()
            heir = await self.win(store, key)
            await self.wait_for(other, key, heir)
            assert await self.publish(store, key, late) is Published.REFUSED, "who was succeeded publishes nothing"
            await store.abandon(key, token=late)
            await store.invalidate([last])
            signals = await heard.until(Dropped, lambda signal: signal.key == last)
            assert _wake_ups(signals) == [], NOBODY
            await self.publish(store, key, heir)
            assert (await heard.first(Finished)).token == heir

    async def test_a_publish_sent_twice_is_not_another_lease(self) -> None:
        """Sent again it wakes nobody who waits for a later lease."""
        async with self.stores(2) as (store, other), self.listening(other) as heard:
            key, last = self.key(), self.key("last")
            version = await self.keep(store, key)
            heir = new_token()
            expect(Won, await self.ask(store, key, token=heir, refresh_of=version), "nobody else refreshes")
            expect(Wait, await self.ask(other, key, refresh_of=version), "another refreshes")
            assert await self.publish(store, key, version) is Published.KEPT, (
                "a publish sent again is answered as before"
            )
            await store.invalidate([last])
            signals = await heard.until(Dropped, lambda signal: signal.key == last)
            assert _wake_ups(signals) == [], NOBODY

    # ---- announcements ----

    async def test_an_invalidation_is_announced_to_all(self) -> None:
        """Every process hears of every key, with or without a record, and the one that did it too."""
        async with self.stores(2) as (store, other), self.listening(store) as own, self.listening(other) as heard:
            keys = [self.key(str(number)) for number in range(3)]
            await self.keep(store, keys[0])
            await self.win(store, keys[1])
            await store.invalidate(keys)
            for listener in (own, heard):
                left = set(keys)
                while left:
                    left.discard((await listener.first(Dropped)).key)

    async def test_a_replacement_is_announced_when_it_is_asked_for(self) -> None:
        """With ``announce`` a publish is heard by all, with the version; an ordinary one is not."""
        async with self.stores(2) as (store, other), self.listening(other) as heard:
            quiet, loud = self.key("quiet"), self.key("loud")
            await self.publish(store, quiet, await self.win(store, quiet))
            token = await self.win(store, loud)
            await self.publish(store, loud, token, announce=True)
            assert await heard.first(Dropped) == Dropped(loud, token), "a publish without announce=True was announced"

    async def test_a_moved_tag_is_announced_to_all(self) -> None:
        """Replacing a tag is heard by all, with its new version; creating one is not."""
        async with self.stores(2) as (store, other), self.listening(store) as own, self.listening(other) as heard:
            quiet, loud = self.key("quiet ☃"), self.key("loud ☃")
            await store.tag_versions([quiet, loud])
            (version,) = await store.tag_versions([loud], replace=True)
            for listener in (own, heard):
                moved = await listener.first(TagMoved)
                assert moved == TagMoved(loud, version), (
                    "replacing a tag is announced with its version, creating is not"
                )

    # ---- the subscription ----

    async def test_the_first_signal_says_that_it_stands(self) -> None:
        """``Connected`` comes first, and then the first proof of having heard everything."""
        async with self.stores() as (store,):
            started = clock.now()
            stream = store.signals()
            try:
                expect(Connected, await next_of(stream), "the first signal says that the subscription stands")
                second = expect(HeardUpTo, await next_of(stream), "the second says that all was heard up to a moment")
                assert started <= second.moment <= clock.now(), (
                    "the moment up to which all was heard is one of coalesce_kit.clock, between the opening and now"
                )
            finally:
                await stream.aclose()

    async def test_the_horizon_moves(self) -> None:
        """While nothing happens the proof is brought again and again."""
        async with (
            self.stores() as (store,),
            self.listening(store, heartbeat_seconds=self.short_seconds) as heard,
        ):
            moments = [(await heard.first(HeardUpTo)).moment for _ in range(4)]
            assert moments == sorted(set(moments)), "moments up to which all was heard only grow"

    async def test_nothing_announced_before_the_horizon_is_heard_after_it(self) -> None:
        """Whoever is told that everything up to a moment was heard has heard everything up to that moment."""
        async with (
            self.stores(2) as (store, other),
            self.listening(other, heartbeat_seconds=self.short_seconds / 5) as heard,
        ):
            keys = [self.key(str(number)) for number in range(30)]
            announced: dict[str, float] = {}
            for key in keys:
                await store.invalidate([key])
                announced[key] = clock.now()
                await asyncio.sleep(self.short_seconds / 10)
            signals = await heard.until(HeardUpTo, lambda signal: signal.moment > announced[keys[-1]])
            horizon = -1.0
            for signal in signals:
                if isinstance(signal, HeardUpTo):
                    horizon = signal.moment
                else:
                    assert isinstance(signal, Dropped), f"nothing but announcements was to come, not {signal}"
                    moment = announced.pop(signal.key, horizon)
                    assert moment >= horizon, "an announcement came after the horizon had passed it"
            assert announced == {}, "invalidations of which nothing was heard before HeardUpTo passed them"

    async def test_iterators_share_a_subscription(self) -> None:
        """Several iterators of one loop each yield everything; one that comes later is told that it stands."""
        async with self.stores() as (store,), self.listening(store) as first, self.listening(store) as second:
            key = self.key()
            await store.invalidate([key])
            for heard in (first, second):
                assert await heard.first(Dropped) == Dropped(key), "each iterator of a loop yields every announcement"

    async def test_a_closed_iterator_ends(self) -> None:
        """Closing an iterator ends it, also for who waits in it, and leaves the others alone."""
        async with self.stores() as (store,), self.listening(store) as other:
            stream = store.signals()
            expect(Connected, await next_of(stream), "the first signal says that the subscription stands")
            waiting = asyncio.ensure_future(_drain(stream))
            await asyncio.sleep(0)
            await stream.aclose()
            await stream.aclose()
            ended, _ = await asyncio.wait([waiting], timeout=PATIENCE_SECONDS)
            waiting.cancel()
            assert ended, "an iterator was closed, and who waits in it waits on"
            assert [signal for signal in waiting.result() if not isinstance(signal, HeardUpTo)] == []
            assert await next_of(stream) is None, "an iterator that was closed has ended"
            await store.invalidate([key := self.key()])
            assert await other.first(Dropped) == Dropped(key), "closing an iterator has closed another one"

    async def test_a_closed_store_ends_its_iterators_and_can_be_opened_again(self) -> None:
        """Closing ends what is open on this loop; whoever uses the store later opens it anew."""
        async with self.stores() as (store,):
            stream = store.signals()
            expect(Connected, await next_of(stream), "the first signal says that the subscription stands")
            await store.aclose()
            assert await next_of(stream) is None, "the iterators of a store that was closed have ended"
            await store.aclose()
            key = self.key()
            await self.keep(store, key)
            async with self.listening(store) as heard:
                await store.invalidate([key])
                assert await heard.first(Dropped) == Dropped(key)


def _wake_ups(signals: list[Signal]) -> list[Signal]:
    return [signal for signal in signals if isinstance(signal, Finished | Voided)]


async def _drain(stream: SignalStream) -> list[Signal]:
    return [signal async for signal in stream]
