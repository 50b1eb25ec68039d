"""What goes wrong with a real server, and what the Redis store makes of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import time

import pytest

from coalesce_kit.errors import StoreRefusedError, StoreUnavailableError
from coalesce_kit.store_port import Connected, Dropped, Hit, Lost, Published, TagMoved, Wait, Won
from coalesce_kit.stores.redis import RedisStore
from coalesce_kit.testing.store_stage import StoreStage
from tests.stores.servers import free_port

pytestmark = pytest.mark.heavy("redis")

KEY = "cc1:trouble:key"
stage = StoreStage()


@contextlib.asynccontextmanager
async def opened(url, **options):
    """A store with time enough for a busy machine, unless the test says otherwise."""
    store = RedisStore(url, **{"namespace": "trouble", "operation_timeout_seconds": 5.0, **options})
    try:
        yield store
    finally:
        await store.aclose()


async def until_it_answers(store):
    """Ask until the breaker lets an operation through and the server answers it."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await store.read(KEY)
            except StoreUnavailableError:
                await asyncio.sleep(0.05)


def calls(server, command):
    """How often the server did a command, by its own count."""
    for line in server.say("INFO", "commandstats").decode().splitlines():
        if line.lower().startswith(f"cmdstat_{command}:"):
            return int(line.partition("calls=")[2].partition(",")[0])
    return 0


def connections(server, *, library="redis-py"):
    """How many connections the server has from clients of a library."""
    return server.say("CLIENT", "LIST").decode().count(f"lib-name={library}")


# ---- what a call costs ----


async def test_each_operation_is_one_script(own_server):
    """Leading is two scripts, waiting one, a hit one; nothing else is sent."""
    async with opened(own_server.url) as store:
        await store.read(KEY)  # the first use also asks for permissions and sends the scripts' text
        token = await stage.win(store, KEY)
        await stage.publish(store, KEY, token)
        await stage.ask(store, KEY)
        own_server.say("CONFIG", "RESETSTAT")
        version = await stage.keep(store, "cc1:trouble:other")
        assert isinstance(await stage.ask(store, "cc1:trouble:other"), Hit)
        assert await store.read("cc1:trouble:other", have=version) is not None
        assert (calls(own_server, "evalsha"), calls(own_server, "eval")) == (4, 0)


async def test_a_large_body_is_brought_by_a_plain_command(own_server):
    """A hit of more than 16 KiB is one script and one HMGET of its own."""
    async with opened(own_server.url) as store:
        await stage.keep(store, KEY, b"b" * 16_385)
        await stage.ask(store, KEY)
        before = calls(own_server, "hmget"), calls(own_server, "hget")
        answer = await stage.ask(store, KEY)
        assert len(answer.kept.body) == 16_385
        # One HMGET inside the script, one outside; the body never went through the script.
        assert (calls(own_server, "hmget") - before[0], calls(own_server, "hget") - before[1]) == (2, 0)


async def test_a_thousand_operations_share_two_connections(own_server):
    """What is asked in one turn of the loop travels together, over at most two connections."""
    async with opened(own_server.url) as store:
        await stage.keep(store, KEY)
        answers = await asyncio.gather(*(store.read(KEY) for _ in range(1000)))
        assert all(kept.body == b"body" for kept in answers)
        assert connections(own_server) <= 2
        async with stage.listening(store):
            assert connections(own_server) <= 3


async def test_every_key_ends_by_itself(own_server):
    """Whatever is left on the server has an end: records in every state, tags, and what the opening tried."""
    async with opened(own_server.url) as store:
        for number, kind in enumerate(("keep", "once", "error")):
            await stage.publish(store, f"{KEY}{number}", await stage.win(store, f"{KEY}{number}"), kind=kind)
        await stage.win(store, f"{KEY}leased")
        abandoned = await stage.win(store, f"{KEY}abandoned")
        await store.abandon(f"{KEY}abandoned", token=abandoned)
        await store.renew([(f"{KEY}leased", "nobody")], lease_seconds=1)
        await store.tag_versions(["a", "b"])
        await store.tag_versions(["b"], replace=True)
        keys = own_server.say("KEYS", "*").decode().split("\r\n")[2::2]
        assert len(keys) == 6
        for key in keys:
            assert int(own_server.say("PTTL", key)[1:].strip()) > 0, f"{key} would stay for ever"


async def test_a_record_lives_as_long_as_it_is_of_use(own_server):
    """A result lives as long as it is usable or can be collected, a lease a minute longer than it lasts."""

    def left(key):
        return int(own_server.say("PTTL", key)[1:].strip()) / 1000

    async with opened(own_server.url) as store:
        token = await stage.win(store, KEY, lease_seconds=10)
        assert 65 < left(KEY) <= 70
        await store.renew([(KEY, token)], lease_seconds=100)
        assert 155 < left(KEY) <= 160
        await stage.publish(store, KEY, token, fresh_seconds=1, usable_seconds=1000, grace_seconds=1)
        assert 995 < left(KEY) <= 1000
        heir = await stage.win(store, KEY, reject=token)
        assert 995 < left(KEY) <= 1000
        await stage.publish(store, KEY, heir, fresh_seconds=1, usable_seconds=1, grace_seconds=20)
        assert 15 < left(KEY) <= 20
        third = await stage.win(store, KEY, reject=heir)
        await store.abandon(KEY, token=third)
        assert 10 < left(KEY) <= 20
        fourth = await stage.win(store, KEY, reject=heir)
        await stage.publish(store, KEY, fourth, kind="once", grace_seconds=40)
        assert 35 < left(KEY) <= 40


async def test_who_waited_for_a_predecessor_is_not_carried_over(own_server):
    """A successor's record knows nobody who waited for the lease before, and a waiter once."""
    async with opened(own_server.url) as store, stage.listening(store):
        late = await stage.win(store, KEY, lease_seconds=0.05)
        own_server.say("HSET", KEY, "w", "a-channel\n")
        await asyncio.sleep(0.1)
        heir = await stage.win(store, KEY)
        assert heir != late
        assert own_server.say("HEXISTS", KEY, "w") == b":0\r\n"
        await stage.wait_for(store, KEY, heir)
        await stage.wait_for(store, KEY, heir)
        assert own_server.say("HGET", KEY, "w").count(b"cc1:trouble:wake:") == 1


async def test_who_has_no_subscription_is_not_registered(own_server):
    """Nobody is woken who could not hear it."""
    async with opened(own_server.url) as store:
        token = await stage.win(store, KEY)
        await stage.wait_for(store, KEY, token)
        assert own_server.say("HEXISTS", KEY, "w") == b":0\r\n"


# ---- scripts and answers ----


async def test_flushed_scripts_are_sent_again(own_server):
    """A server that forgot its scripts is sent their text, and nobody notices."""
    async with opened(own_server.url) as store:
        version = await stage.keep(store, KEY)
        for _ in range(5):
            own_server.say("SCRIPT", "FLUSH")
            answers = await asyncio.gather(*(store.read(KEY, have=version) for _ in range(50)))
            assert {kept.version for kept in answers} == {version}
        assert store.stats().noscript >= 5


async def test_a_key_of_another_type_is_refused(own_server):
    """What is no record is refused by name and left alone, and the breaker stays closed."""
    async with opened(own_server.url) as store:
        own_server.say("SET", KEY, "somebody else's")
        token = "t"
        for attempt in (
            lambda: store.read(KEY),
            lambda: stage.ask(store, KEY),
            lambda: store.renew([(KEY, token)], lease_seconds=1),
            lambda: stage.publish(store, KEY, token),
            lambda: store.abandon(KEY, token=token),
            lambda: store.invalidate([KEY]),
        ):
            with pytest.raises(StoreRefusedError, match="WRONGTYPE"):
                await attempt()
        assert own_server.say("GET", KEY) == b"$15\r\nsomebody else's\r\n"
        assert store.stats().breaker_state == "closed"


async def test_an_error_of_one_key_is_not_an_error_of_the_others(own_server):
    """Of several keys all are done, and the one that failed is told."""
    async with opened(own_server.url) as store:
        await stage.keep(store, KEY)
        own_server.say("SET", "cc1:trouble:foreign", "x")
        with pytest.raises(StoreRefusedError):
            await store.invalidate(["cc1:trouble:foreign", KEY])
        assert await store.read(KEY) is None


async def test_a_missing_permission_is_named_once(own_server, caplog):
    """Who may not write is refused, the log says once what is missing, and the breaker stays closed."""
    own_server.say("ACL", "SETUSER", "reader", "on", ">pw", "~*", "&*", "+@all", "-hset", "-set")
    url = f"redis://reader:pw@127.0.0.1:{own_server.port}/0"
    with caplog.at_level(logging.ERROR, logger="coalesce_kit"):
        async with opened(url) as store:
            for _ in range(3):
                with pytest.raises(StoreRefusedError):
                    await stage.ask(store, KEY)
            assert await store.read(KEY) is None
            assert store.stats().breaker_state == "closed"
    (record,) = caplog.records
    assert record.message == "store_permission_missing"
    assert [text.partition(" ")[0] for text in record.refused] == ["HSET", "SET"]


LEAST = [
    *("evalsha", "eval", "subscribe", "ping", "publish", "time"),
    *("hmget", "hget", "hset", "hdel", "hstrlen", "pexpireat", "del"),
    *("get", "set", "pttl", "pexpire"),
]


async def test_the_least_permissions_are_enough(own_server, caplog):
    """A user who may do these things under the namespace's names, and nothing else, misses nothing."""
    rights = ["on", ">pw", "~cc1:odds:*", "&cc1:odds:*", "-@all", *(f"+{command}" for command in LEAST)]
    own_server.say("ACL", "SETUSER", "least", *rights)
    url = f"redis://least:pw@127.0.0.1:{own_server.port}/0"
    key = "cc1:odds:fixtures::nfl"
    with caplog.at_level(logging.ERROR, logger="coalesce_kit"):
        async with opened(url, namespace="odds") as store, stage.listening(store) as heard:
            version = await stage.keep(store, key, b"b" * 20_000)
            assert len((await store.read(key)).body) == 20_000
            token = await stage.win(store, key, reject=version)
            await store.renew([(key, token)], lease_seconds=3)
            assert isinstance(await stage.ask(store, key, reject=version), Wait)
            await store.abandon(key, token=token)
            await store.tag_versions(["tag"])
            await store.tag_versions(["tag"], keep_seconds=10**6)
            await store.tag_versions(["tag"], replace=True)
            await heard.until(TagMoved)
            await store.invalidate([key])
            await heard.until(Dropped)
    assert caplog.records == []


async def test_without_a_channel_what_is_written_stays(own_server, caplog):
    """Who may not publish on channels still keeps results and invalidates; the log says what is missing."""
    own_server.say("ACL", "SETUSER", "mute", "on", ">pw", "~*", "+@all", "resetchannels")
    with caplog.at_level(logging.ERROR, logger="coalesce_kit"):
        async with (
            opened(f"redis://mute:pw@127.0.0.1:{own_server.port}/0") as store,
            opened(own_server.url) as other,
            stage.listening(other),
        ):
            version = await stage.win(store, KEY)
            await stage.wait_for(other, KEY, version)
            assert await stage.publish(store, KEY, version, announce=True) is Published.KEPT
            assert (await store.read(KEY)).version == version
            await store.invalidate([KEY])
            assert await store.read(KEY) is None
            assert len(await store.tag_versions(["tag"], replace=True)) == 1
    (record,) = caplog.records
    assert record.message == "store_permission_missing"
    assert record.refused[0].startswith("PUBLISH cc1")


async def test_who_may_run_no_script_is_told(own_server, caplog):
    """Without scripts nothing works, and the log says once what is missing."""
    own_server.say("ACL", "SETUSER", "plain", "on", ">pw", "~*", "&*", "+@all", "-@scripting")
    with caplog.at_level(logging.ERROR, logger="coalesce_kit"):
        async with opened(f"redis://plain:pw@127.0.0.1:{own_server.port}/0") as store:
            for _ in range(3):
                with pytest.raises(StoreRefusedError, match="no permissions"):
                    await store.read(KEY)
    (record,) = caplog.records
    assert "evalsha" in record.refused[0]


async def test_a_wrong_password_is_refused(own_server):
    """Not being let in is no outage."""
    own_server.say("ACL", "SETUSER", "guest", "on", ">pw", "~*", "&*", "+@all")
    async with opened(f"redis://guest:wrong@127.0.0.1:{own_server.port}/0") as store:
        for _ in range(4):
            with pytest.raises(StoreRefusedError):
                await store.read(KEY)
        assert store.stats().breaker_state == "closed"


# ---- connections that break ----


async def test_a_killed_connection_is_made_again(own_server):
    """Whoever asks after the server closed every connection is answered, and so is who was asking."""
    async with opened(own_server.url) as store:
        version = await stage.keep(store, KEY)
        for _ in range(5):
            asking = [asyncio.ensure_future(store.read(KEY)) for _ in range(20)]
            await asyncio.sleep(0)
            own_server.say("CLIENT", "KILL", "TYPE", "normal")
            assert {kept.version for kept in await asyncio.gather(*asking)} == {version}
            assert (await store.read(KEY)).version == version
        assert store.stats().breaker_state == "closed"


async def test_a_lost_subscription_is_told_and_made_again(own_server):
    """Listeners hear that it was lost and that it stands again, and everything announced after that."""
    async with opened(own_server.url) as store, stage.listening(store) as heard:
        own_server.say("CLIENT", "KILL", "TYPE", "pubsub")
        await heard.until(Lost)
        await heard.until(Connected)
        await store.invalidate([KEY])
        assert await heard.first(Dropped) == Dropped(KEY)


async def test_a_silent_subscription_is_lost(own_server):
    """A server that is stopped where it is closes nothing: the missing answer to a ping tells."""
    async with (
        opened(own_server.url, operation_timeout_seconds=0.2) as store,
        stage.listening(store, heartbeat_seconds=0.1) as heard,
    ):
        own_server.freeze()
        await heard.until(Lost)
        own_server.thaw()
        await heard.until(Connected)


async def test_an_answer_that_is_swallowed_is_asked_for_again(own_server):
    """When the answer to a publish is cut off, it is sent once more and answers as if sent once."""
    async with Swallowing(own_server.port) as proxy, opened(f"redis://127.0.0.1:{proxy.port}/0") as store:
        await store.read(KEY)
        token = await stage.win(store, KEY)
        proxy.swallow_next = True
        assert await stage.publish(store, KEY, token) is Published.KEPT
        assert proxy.swallowed == 1
        proxy.swallow_next = True
        other = f"{KEY}2"
        assert isinstance(await stage.ask(store, other, token="mine"), Won)
        assert isinstance(await stage.ask(store, other), Wait)
        assert proxy.swallowed == 2
        assert store.stats().breaker_state == "closed"


async def test_a_body_that_is_replaced_while_it_is_brought_is_asked_for_again(own_server):
    """Between a script that names a large body and the command that brings it, another process may replace it."""
    async with opened(own_server.url) as store, opened(own_server.url) as other:
        pipeline, command, left = store._link().pipeline, store._link().pipeline.command, []

        async def replaced_meanwhile(*words, started=None):
            if left:
                left.pop()
                await other.invalidate([KEY])
                await stage.keep(other, KEY, b"n" * 20_000)
            return await command(*words, started=started)

        pipeline.command = replaced_meanwhile
        for attempt in (store.read, lambda key: stage.ask(store, key)):
            for times, is_found in ((1, True), (2, True), (3, False)):
                await other.invalidate([KEY])
                await stage.keep(other, KEY, b"o" * 20_000)
                left[:] = range(times)
                if is_found:
                    answer = await attempt(KEY)
                    assert getattr(answer, "kept", answer).body == b"n" * 20_000
                else:
                    with pytest.raises(StoreUnavailableError, match="changed again and again"):
                        await attempt(KEY)


async def test_an_outcome_that_is_gone_when_it_is_brought_is_no_outcome(own_server):
    """A large outcome that is removed between script and command is as if it had never been."""
    async with opened(own_server.url) as store, opened(own_server.url) as other:
        token = await stage.win(other, KEY)
        await stage.publish(other, KEY, token, b"o" * 20_000, kind="once")
        pipeline, command = store._link().pipeline, store._link().pipeline.command

        async def removed_meanwhile(*words, started=None):
            await other.invalidate([KEY])
            return await command(*words, started=started)

        pipeline.command = removed_meanwhile
        assert await stage.ask(store, KEY, after=token) == Won(None)


async def test_a_large_stale_body_that_was_replaced_is_not_shown(own_server):
    """Who wins, or has to wait, is shown the stale result only if it is still that one."""
    async with opened(own_server.url) as store, opened(own_server.url) as other:
        await stage.keep(other, KEY, b"s" * 20_000, fresh_seconds=0)
        command = store._link().pipeline.command

        async def removed_meanwhile(*words, started=None):
            own_server.say("HSET", KEY, "r", "another")
            return await command(*words, started=started)

        store._link().pipeline.command = removed_meanwhile
        assert await stage.ask(store, KEY) == Won(None)


# ---- a server that is not there ----


async def test_a_refused_connection_opens_the_breaker_at_once():
    """Where nobody listens the first question fails by name, and the next do not even try."""
    async with opened(f"redis://127.0.0.1:{free_port()}/0") as store:
        with pytest.raises(StoreUnavailableError):
            await store.read(KEY)
        assert store.stats().breaker_state == "open"
        before = store.stats().pipeline_operations
        for _ in range(20):
            with pytest.raises(StoreUnavailableError, match="asked again in"):
                await store.read(KEY)
        assert store.stats().pipeline_operations == before


async def test_a_restarted_server_is_found_again(own_server):
    """After a restart the store works by itself; what began before it cannot publish; listeners were told."""
    async with opened(own_server.url) as store, stage.listening(store) as heard:
        token = await stage.win(store, KEY)
        own_server.kill()
        with pytest.raises(StoreUnavailableError):
            await store.read(KEY)
        await heard.until(Lost)
        own_server.start()
        await heard.until(Connected)
        assert await until_it_answers(store) is None
        assert await stage.publish(store, KEY, token) is Published.REFUSED
        assert store.stats().breaker_state == "closed"


async def test_a_stopped_server_costs_three_time_outs(own_server):
    """Three questions in a row wait for their deadline, the next do not; when it goes on, so does the store."""
    async with opened(own_server.url, operation_timeout_seconds=0.2) as store:
        await stage.keep(store, KEY)
        own_server.freeze()
        for _ in range(3):
            with pytest.raises(StoreUnavailableError, match="did not answer within"):
                await store.read(KEY)
        assert store.stats().breaker_state == "open"
        with pytest.raises(StoreUnavailableError, match="asked again in"):
            await store.read(KEY)
        own_server.thaw()
        assert (await until_it_answers(store)).body == b"body"
        assert store.stats().breaker_state == "closed"


async def test_a_blocked_loop_is_no_outage(own_server):
    """While this process does not look, answers lie in the socket: nobody fails and the breaker stays closed."""
    async with opened(own_server.url, operation_timeout_seconds=0.2) as store:
        await stage.keep(store, KEY)
        for _ in range(5):
            asking = [asyncio.ensure_future(store.read(KEY)) for _ in range(20)]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            time.sleep(0.5)
            assert {kept.body for kept in await asyncio.gather(*asking)} == {b"body"}
        assert store.stats().breaker_state == "closed"


async def test_a_busy_server_is_unavailable(own_server):
    """A server that runs somebody's endless script says so, and that is an outage, not a refusal."""
    own_server.say("CONFIG", "SET", "busy-reply-threshold", "10")
    async with opened(own_server.url) as store:
        await store.read(KEY)
        _, writer = await asyncio.open_connection("127.0.0.1", own_server.port)
        writer.write(b"*3\r\n$4\r\nEVAL\r\n$17\r\nwhile true do end\r\n$1\r\n0\r\n")
        await writer.drain()
        try:
            await asyncio.sleep(0.1)
            with pytest.raises(StoreUnavailableError, match="BUSY|asked again"):
                await store.read(KEY)
        finally:
            own_server.say("SCRIPT", "KILL")
            writer.close()
            await writer.wait_closed()
        assert await until_it_answers(store) is None


async def test_a_demoted_server_is_unavailable_until_it_is_primary_again(own_server):
    """A replica refuses what writes; the store looks for the primary once more and then says so."""
    async with opened(own_server.url) as store:
        await stage.keep(store, KEY)
        own_server.say("REPLICAOF", "127.0.0.1", str(free_port()))
        with pytest.raises(StoreUnavailableError):
            await stage.ask(store, f"{KEY}2")
        own_server.say("REPLICAOF", "NO", "ONE")
        await until_it_answers(store)
        assert isinstance(await stage.ask(store, f"{KEY}2"), Won)


# ---- loops, namespaces ----


def test_loops_come_and_go(own_server):
    """One store serves one loop after the other, also when a loop was closed without closing the store on it."""
    store = RedisStore(own_server.url, namespace="trouble", operation_timeout_seconds=5.0)

    async def use():
        try:
            if await store.read(KEY) is None:
                await stage.keep(store, KEY)
            async with stage.listening(store) as heard:
                await store.tag_versions(["tag"], replace=True)
                await heard.until(TagMoved)
        finally:
            await store.aclose()

    for _ in range(3):
        asyncio.run(use())


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_shares_nothing(own_server):
    """A child that was forked while its parent had connections opens its own, and the parent's still work."""
    store = RedisStore(own_server.url, namespace="trouble", operation_timeout_seconds=5.0)

    async def use():
        await store.invalidate([KEY])
        version = await stage.keep(store, KEY)
        for _ in range(50):
            assert (await store.read(KEY)).version == version

    async def use_and_close():
        await use()
        await store.aclose()

    with asyncio.Runner() as runner:
        runner.run(use())
        child = multiprocessing.get_context("fork").Process(target=lambda: asyncio.run(use_and_close()))
        child.start()
        child.join(30)
        assert child.exitcode == 0
        runner.run(use_and_close())


async def test_namespaces_are_apart(own_server):
    """Two namespaces on one server share no tag and hear nothing of each other."""
    async with (
        opened(own_server.url) as store,
        opened(own_server.url, namespace="other") as other,
        stage.listening(store) as heard,
    ):
        (here,), (there,) = await store.tag_versions(["tag"]), await other.tag_versions(["tag"])
        assert here != there
        await other.tag_versions(["tag"], replace=True)
        await other.invalidate(["cc1:other:key"])
        await store.invalidate([KEY])
        signals = await heard.until(Dropped)
        assert [signal for signal in signals if isinstance(signal, Dropped | TagMoved)] == [Dropped(KEY)]


class Swallowing:
    """A proxy that, when it is told to, swallows the next answer and closes the connection."""

    def __init__(self, port):
        self._target = port
        self.swallow_next = False
        self.swallowed = 0

    async def __aenter__(self):
        self._tasks = set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error):
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        there, to_server = await asyncio.open_connection("127.0.0.1", self._target)
        onward = asyncio.ensure_future(self._carry(reader, to_server, is_answer=False))
        try:
            await self._carry(there, writer, is_answer=True)
        except asyncio.CancelledError:
            pass  # asyncio's streams report a cancelled handler as an error
        finally:
            onward.cancel()
            for one in (writer, to_server):
                one.close()
            self._tasks.discard(asyncio.current_task())

    async def _carry(self, reader, writer, *, is_answer):
        while data := await reader.read(65536):
            if is_answer and self.swallow_next:
                self.swallow_next = False
                self.swallowed += 1
                return
            writer.write(data)
            await writer.drain()
