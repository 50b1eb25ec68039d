"""The part of a store's contract that is about what it holds: bodies and keys of every kind, reading, tags, no room."""

from __future__ import annotations

import asyncio
from typing import Final

from ..errors import StoreRefusedError
from ..store_port import INLINE_BYTES, Finished, Hit, Kept, Outcome, Published, TagMoved, Won
from .store_answers import about, expect
from .store_stage import LONG_SECONDS, StoreStage, new_token

SIZES: Final = (0, 1, INLINE_BYTES, INLINE_BYTES + 1, 16_384, 16_385, 1_048_576)

AWKWARD: Final = ("with space", "tab\tand\nnewline", "ünïcödé ☃", "{tag}:{other}", "x" * 2000, "quote'\"\\")


class HoldingContract(StoreStage):
    """What a store holds, and what it does when it can hold no more."""

    # ---- bodies and keys ----

    async def test_bodies_of_every_size_arrive(self) -> None:
        """From nothing to a mebibyte: what was published is what is read, hit and collected."""
        async with self.stores(2) as (store, other):
            for size in SIZES:
                key, body = self.key(), bytes(range(256)) * (size // 256) + bytes(size % 256)
                version = await self.keep(store, key, body)
                kept = expect(Kept, await other.read(key), f"a body of {size} bytes was published")
                assert kept.body == body, f"a body of {size} bytes is read as it was"
                for after in (None, version):
                    answer = expect(
                        Hit, await self.ask(other, key, after=after), f"a body of {size} bytes was published"
                    )
                    assert answer.kept.body == body, f"a body of {size} bytes is hit as it was"
                token = new_token()
                expect(Won, await self.ask(store, key, token=token, reject=version), "what there is was rejected")
                assert await self.publish(store, key, token, body, kind="once") is Published.DELIVERED
                outcome = await self.ask(other, key, after=token)
                assert outcome == Outcome("once", body), f"a body of {size} bytes is collected as it was"

    async def test_a_large_stale_result_comes_with_the_lease(self) -> None:
        """What is stale is shown whatever its size."""
        async with self.stores() as (store,):
            for size in SIZES:
                key = self.key()
                await self.keep(store, key, b"s" * size, fresh_seconds=0)
                answer = expect(Won, await self.ask(store, key), "the result is not fresh")
                stale = expect(Kept, answer.stale, f"a stale result of {size} bytes comes with Won, as stale=")
                assert stale.body == b"s" * size, f"a stale result of {size} bytes is shown as it was"

    async def test_bytes_are_bytes(self) -> None:
        """No byte, and no sequence that means something to a protocol, is changed on the way."""
        async with self.stores(2) as (store, other):
            for body in (bytes(range(256)), b"\r\n$5\r\n", b"\x00", b"nil", "☃".encode(), b"\xff\xfe"):
                key = self.key()
                await self.keep(store, key, body)
                kept = expect(Kept, await other.read(key), "what one store has published another reads")
                assert kept.body == body, "a body is bytes, and is not changed on the way"

    async def test_any_text_is_a_key(self) -> None:
        """Keys with spaces, newlines, braces, quotes and other alphabets are keys, each its own."""
        async with self.stores(2) as (store, other):
            keys = [self.key(name) for name in AWKWARD]
            versions = [await self.keep(store, key, key.encode()) for key in keys]
            for key, version in zip(keys, versions, strict=True):
                kept = expect(Kept, await other.read(key), f"the key is {key!r:.60}")
                assert (kept.version, kept.body) == (version, key.encode()), f"another key's, for the key {key!r:.60}"

    # ---- read ----

    async def test_reading_takes_part_in_nothing(self) -> None:
        """Reading what is not there leaves it free for the first who asks, and a lease is nothing to read."""
        async with self.stores() as (store,):
            key = self.key()
            assert await store.read(key) is None, "there is nothing to read"
            await self.win(store, key)
            assert await store.read(key) is None, "a lease is nothing to read"

    async def test_what_the_reader_has_is_not_sent(self) -> None:
        """Reading a version that the reader has brings everything but the body."""
        async with self.stores(2) as (store, other):
            key = self.key()
            version = await self.keep(store, key, b"result")
            for have, body in ((None, b"result"), ("another", b"result"), (version, None)):
                kept = expect(Kept, await other.read(key, have=have), f"a result is there, with have={have!r} too")
                assert (kept.version, kept.body, kept.fetch_seconds) == (version, body, 0.25), (
                    f"version, body and fetch_seconds with have={have!r}: the body is left out if have= is the version"
                )
                assert 0 < kept.fresh_seconds <= LONG_SECONDS
                assert 0 < kept.usable_seconds <= LONG_SECONDS

    async def test_a_stale_result_is_read(self) -> None:
        """Reading brings what is usable, fresh or not."""
        async with self.stores() as (store,):
            key = self.key()
            version = await self.keep(store, key, fresh_seconds=self.short_seconds)
            await self.pass_short_time()
            kept = expect(Kept, await store.read(key), "what is usable is read, although it is not fresh")
            assert (kept.version, kept.fresh_seconds) == (version, 0), "of a stale result fresh_seconds is 0"

    # ---- tags ----

    async def test_a_tag_has_one_version_everywhere(self) -> None:
        """A tag is given a version when it is first asked for, and every process is told the same."""
        async with self.stores(2) as (store, other):
            tags = [self.key("a"), self.key("b")]
            versions = list(await store.tag_versions(tags))
            assert len(set(versions)) == 2, "each of two tags has a version of its own"
            assert all(versions), "a version of a tag is not empty"
            asked = list(await other.tag_versions([tags[1], tags[0], tags[1]]))
            assert asked == [versions[1], versions[0], versions[1]], (
                "another store is told the same, in the order asked"
            )
            assert list(await store.tag_versions([])) == []

    async def test_a_replaced_tag_has_another_version(self) -> None:
        """Replacing gives a new version, which everybody is told from then on."""
        async with self.stores(2) as (store, other):
            tag = self.key("tag")
            seen = list(await store.tag_versions([tag]))
            for _ in range(3):
                (new,) = await other.tag_versions([tag], replace=True)
                assert new not in seen, "a tag that is replaced gets a version that it never had"
                assert list(await store.tag_versions([tag])) == [new], (
                    "after a tag was replaced all are told its new version"
                )
                seen.append(new)

    async def test_a_tag_is_kept_as_long_as_was_asked_for_last(self) -> None:
        """A longer time takes the place of a shorter, a shorter one takes nothing away."""
        async with self.stores() as (store,):
            tags = [self.key("longer first"), self.key("longer last"), self.key("replaced")]
            versions = [
                *await store.tag_versions(tags[:1], keep_seconds=LONG_SECONDS),
                *await store.tag_versions(tags[1:2], keep_seconds=self.short_seconds),
            ]
            await store.tag_versions(tags[:1], keep_seconds=self.short_seconds)
            await store.tag_versions(tags[1:2], keep_seconds=LONG_SECONDS)
            await store.tag_versions(tags[2:], keep_seconds=LONG_SECONDS)
            versions += await store.tag_versions(tags[2:], replace=True, keep_seconds=self.short_seconds)
            await self.pass_short_time()
            assert list(await store.tag_versions(tags)) == versions, (
                "a tag is kept for the longest keep_seconds that was asked for: longer first, longer last, replaced"
            )

    async def test_a_forgotten_tag_is_given_another_version(self) -> None:
        """What the server forgot comes back under a version that it never had."""
        async with self.stores() as (store,):
            tag = self.key("tag")
            (version,) = await store.tag_versions([tag])
            await self.lose_everything()
            assert list(await store.tag_versions([tag])) != [version], "a tag that was forgotten got the version it had"

    async def test_of_many_who_ask_for_a_new_tag_all_are_told_the_same(self) -> None:
        """Creating is one step."""
        async with self.stores(3) as stores:
            tag = self.key("tag")
            answers = await asyncio.gather(*(store.tag_versions([tag]) for store in stores * 5))
            assert len({version for (version,) in answers}) == 1, "many ask for a new tag at once, and get one version"

    # ---- a full server ----

    async def test_a_full_server_serves_what_it_has(self) -> None:
        """Without memory hits are hits, removing removes, and what would grow is refused by name."""
        async with self.stores() as (store,):
            key, tag = self.key(), self.key("tag")
            await self.keep(store, key)
            (version,) = await store.tag_versions([tag])
            await self.fill_up()
            expect(Hit, await self.ask(store, key), "a full server gives what it has")
            expect(Kept, await store.read(key), "a full server gives what it has")
            try:
                await self.ask(store, self.key())
            except StoreRefusedError:
                pass
            else:
                raise AssertionError("a full server cannot give a lease")
            await store.invalidate([key])
            assert await store.read(key) is None, "a full server removes what is invalidated"
            async with self.listening(store) as heard:
                (moved,) = await store.tag_versions([tag], replace=True)
                assert moved != version, "a full server replaces a tag all the same"
                assert await heard.first(TagMoved) == TagMoved(tag, moved), (
                    "a full server announces that a tag was replaced"
                )
            await self.make_room()
            assert list(await store.tag_versions([tag])) != [version], "the version that was replaced has come back"

    async def test_a_full_server_still_delivers(self) -> None:
        """A publish that finds no memory frees the lease and wakes who waits, with the body whatever its size."""
        async with self.stores(2) as (store, other), self.listening(other) as heard:
            for size in (10, INLINE_BYTES + 1):
                key, body = self.key(), b"b" * size
                token = await self.win(store, key)
                await self.wait_for(other, key, token)
                await self.fill_up()
                published = await self.publish(store, key, token, body)
                assert published is Published.DELIVERED, "a full server cannot keep a result, and delivers it"
                woken = await heard.first(Finished, about(key))
                assert (woken.key, woken.token, woken.body) == (key, token, body), (
                    "nobody can collect it, so it comes along"
                )
                assert await store.read(key) is None, "a full server has kept a result that it said it had not"
                assert await store.abandon(key, token=token) is False, "the publish has ended the lease"
                await self.make_room()

    # ---- cancellation ----

    async def test_a_cancelled_caller_costs_nobody_anything(self) -> None:
        """Whoever is cancelled while asking, all others are answered, each with its own answer."""
        async with self.stores() as (store,):
            keys = [self.key(str(number)) for number in range(20)]
            for key in keys:
                await self.keep(store, key, key.encode())
            for _ in range(5):
                tasks = [asyncio.ensure_future(store.read(key)) for key in keys]
                await asyncio.sleep(0)
                for task in tasks[::2]:
                    task.cancel()
                answers = await asyncio.gather(*tasks, return_exceptions=True)
                for key, answer in list(zip(keys, answers, strict=True))[1::2]:
                    kept = expect(Kept, answer, "others were cancelled while they asked, and this caller was not")
                    assert kept.body == key.encode(), "others were cancelled, and this caller got another one's answer"
