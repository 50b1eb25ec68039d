"""The part of a store's contract that is about what it holds: bodies and keys of every kind, tags, a full server."""

from __future__ import annotations

import asyncio
from typing import Final

from ..errors import StoreRefusedError
from ..store_port import INLINE_BYTES, Finished, Hit, Kept, Outcome, Published, TagMoved, Won
from .store_stage import LONG_SECONDS, StoreStage, about, new_token

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
                kept = await other.read(key)
                assert kept is not None
                assert kept.body == body, f"a body of {size} bytes is read as it was"
                for after in (None, version):
                    answer = await self.ask(other, key, after=after)
                    assert isinstance(answer, Hit)
                    assert answer.kept.body == body, f"a body of {size} bytes is hit as it was"
                token = new_token()
                assert isinstance(await self.ask(store, key, token=token, reject=version), Won)
                assert await self.publish(store, key, token, body, kind="once") is Published.DELIVERED
                assert await self.ask(other, key, after=token) == Outcome("once", body)

    async def test_a_large_stale_result_comes_with_the_lease(self) -> None:
        """What is stale is shown whatever its size."""
        async with self.stores() as (store,):
            for size in SIZES:
                key = self.key()
                await self.keep(store, key, b"s" * size, fresh_seconds=0)
                answer = await self.ask(store, key)
                assert isinstance(answer, Won)
                assert answer.stale is not None
                assert answer.stale.body == b"s" * size

    async def test_bytes_are_bytes(self) -> None:
        """No byte, and no sequence that means something to a protocol, is changed on the way."""
        async with self.stores(2) as (store, other):
            for body in (bytes(range(256)), b"\r\n$5\r\n", b"\x00", b"nil", "☃".encode(), b"\xff\xfe"):
                key = self.key()
                await self.keep(store, key, body)
                kept = await other.read(key)
                assert isinstance(kept, Kept)
                assert kept.body == body

    async def test_any_text_is_a_key(self) -> None:
        """Keys with spaces, newlines, braces, quotes and other alphabets are keys, each its own."""
        async with self.stores(2) as (store, other):
            keys = [self.key(name) for name in AWKWARD]
            versions = [await self.keep(store, key, key.encode()) for key in keys]
            for key, version in zip(keys, versions, strict=True):
                kept = await other.read(key)
                assert kept is not None
                assert (kept.version, kept.body) == (version, key.encode())

    # ---- tags ----

    async def test_a_tag_has_one_version_everywhere(self) -> None:
        """A tag is given a version when it is first asked for, and every process is told the same."""
        async with self.stores(2) as (store, other):
            tags = [self.key("a"), self.key("b")]
            versions = list(await store.tag_versions(tags))
            assert len(set(versions)) == 2
            assert all(versions)
            assert list(await other.tag_versions([tags[1], tags[0], tags[1]])) == [
                versions[1],
                versions[0],
                versions[1],
            ]
            assert list(await store.tag_versions([])) == []

    async def test_a_replaced_tag_has_another_version(self) -> None:
        """Replacing gives a new version, which everybody is told from then on."""
        async with self.stores(2) as (store, other):
            tag = self.key("tag")
            seen = list(await store.tag_versions([tag]))
            for _ in range(3):
                (new,) = await other.tag_versions([tag], replace=True)
                assert new not in seen
                assert list(await store.tag_versions([tag])) == [new]
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
            assert list(await store.tag_versions(tags)) == versions

    async def test_a_forgotten_tag_is_given_another_version(self) -> None:
        """What the server forgot comes back under a version that it never had."""
        async with self.stores() as (store,):
            tag = self.key("tag")
            (version,) = await store.tag_versions([tag])
            await self.lose_everything()
            assert list(await store.tag_versions([tag])) != [version]

    async def test_of_many_who_ask_for_a_new_tag_all_are_told_the_same(self) -> None:
        """Creating is one step."""
        async with self.stores(3) as stores:
            tag = self.key("tag")
            answers = await asyncio.gather(*(store.tag_versions([tag]) for store in stores * 5))
            assert len({version for (version,) in answers}) == 1

    # ---- a full server ----

    async def test_a_full_server_serves_what_it_has(self) -> None:
        """Without memory hits are hits, removing removes, and what would grow is refused by name."""
        async with self.stores() as (store,):
            key, tag = self.key(), self.key("tag")
            await self.keep(store, key)
            (version,) = await store.tag_versions([tag])
            await self.fill_up()
            assert isinstance(await self.ask(store, key), Hit)
            assert await store.read(key) is not None
            try:
                await self.ask(store, self.key())
            except StoreRefusedError:
                pass
            else:
                raise AssertionError("a full server cannot give a lease")
            await store.invalidate([key])
            assert await store.read(key) is None
            async with self.listening(store) as heard:
                (moved,) = await store.tag_versions([tag], replace=True)
                assert moved != version
                assert await heard.first(TagMoved) == TagMoved(tag, moved)
            await self.make_room()
            assert list(await store.tag_versions([tag])) != [version]

    async def test_a_full_server_still_delivers(self) -> None:
        """A publish that finds no memory frees the lease and wakes who waits, with the body whatever its size."""
        async with self.stores(2) as (store, other), self.listening(other) as heard:
            for size in (10, INLINE_BYTES + 1):
                key, body = self.key(), b"b" * size
                token = await self.win(store, key)
                await self.wait_for(other, key, token)
                await self.fill_up()
                assert await self.publish(store, key, token, body) is Published.DELIVERED
                woken = await heard.first(Finished, about(key))
                assert (woken.key, woken.token, woken.body) == (key, token, body)
                assert await store.read(key) is None
                assert await store.abandon(key, token=token) is False
                await self.make_room()
