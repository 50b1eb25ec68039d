"""The parts of this process's share in a fleet, each by itself: what is owed, what is known, leases, the link."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
from collections.abc import AsyncIterator

import pytest

from coalesce_kit.backends.leases import Lease, Leases
from coalesce_kit.backends.link import Link
from coalesce_kit.backends.owed import EVERYTHING, Item, Owed
from coalesce_kit.backends.process import Process
from coalesce_kit.backends.trust import Horizon, TagVersions
from coalesce_kit.errors import StoreRefusedError, StoreUnavailableError
from coalesce_kit.stats.counters import Counters
from coalesce_kit.store_port import Connected, Signal
from coalesce_kit.stores.memory import MemoryStore
from tests.fakes import turns

A, B, C, TAG = ("record", "a"), ("record", "b"), ("record", "c"), ("tag", "t")


class Loop:
    """Stands for another loop."""

    def __init__(self):
        self.closed = False
        self.called = []

    def is_closed(self):
        return self.closed

    def call_soon_threadsafe(self, function, *arguments):
        if self.closed:
            raise RuntimeError("closed")
        self.called.append((function, *arguments))


# ---- what is owed ----


def test_what_is_owed_is_taken_once():
    """What is on its way is not taken again, and counts until it has ended."""
    owed, loop = Owed(), Loop()
    item = owed.add(A)
    assert owed.take(loop) == {A: item}
    assert owed.take(loop) == {}
    assert (len(owed), owed.is_waiting) == (1, False)
    owed.end(loop, [item], told=True)
    assert (len(owed), item.told) == (0, True)


def test_the_same_waits_while_it_is_on_its_way():
    """A second message about a name is sent after the first, which learns that it was overtaken."""
    owed, loop, other = Owed(), Loop(), Loop()
    first = owed.add(A, lambda _: None)
    owed.take(loop)
    second = owed.add(A)
    assert first.was_overtaken
    assert owed.take(other) == {}
    assert owed.first_of([A]) is second
    owed.end(loop, [first], told=True)
    assert owed.take(other) == {A: second}


def test_what_could_not_be_told_is_overdue_and_without_its_value():
    """It comes before everything that is read, as an item of its own, and puts nothing in place any more."""
    owed, loop = Owed(), Loop()
    item = owed.add(A, lambda _: None)
    owed.take(loop)
    owed.end(loop, [item], told=False)
    again = owed.first_of([B])
    assert (item.told, again.told, again.name, again.put, owed.is_overdue) == (False, None, A, None, True)
    owed.end(loop, owed.take(loop).values(), told=True)
    assert (again.told, owed.is_overdue, owed.first_of([A, B])) == (True, False, None)


def test_what_was_told_of_meanwhile_takes_the_place_of_what_failed():
    """The later item of a name is overdue, too, and keeps its value."""
    owed, loop = Owed(), Loop()
    item = owed.add(A)
    owed.take(loop)
    later = owed.add(A, lambda _: None)
    owed.end(loop, [item], told=False)
    assert owed.first_of([]) is later
    assert later.put is not None


def test_a_closed_loop_sends_nothing_any_more():
    """What it was sending waits again, and who waited for it is told that it failed."""
    owed, loop, other = Owed(), Loop(), Loop()
    item = owed.add(A)
    owed.take(loop)
    loop.closed = True
    taken = owed.take(other)
    assert (item.told, list(taken), owed.is_overdue) == (False, [A], True)
    owed.end(loop, [item], told=True)  # too late
    assert owed.is_overdue


def test_too_many_are_one(monkeypatch):
    """Beyond the bound what waits is one item, overdue if one of them was; what comes then is in it."""
    monkeypatch.setattr("coalesce_kit.backends.owed.MOST_OWED", 2)
    owed, loop = Owed(), Loop()
    owed.add(A)
    owed.end(loop, owed.take(loop).values(), told=False)
    items = [owed.add(B), owed.add(C)]
    everything = owed.first_of([EVERYTHING])
    assert (len(owed), everything.name, owed.first_of([])) == (1, EVERYTHING, everything)
    assert owed.add(TAG) is everything
    owed.add(C, lambda _: None)
    owed.add(B, lambda _: None)
    assert len(owed) == 1
    owed.end(loop, owed.take(loop).values(), told=True)
    assert [item.told for item in items] == [True, True]


def test_what_is_on_its_way_counts_as_owed(monkeypatch):
    """The bound is of what waits and of what is on its way together."""
    monkeypatch.setattr("coalesce_kit.backends.owed.MOST_OWED", 2)
    owed, loop = Owed(), Loop()
    owed.add(A)
    owed.add(B)
    owed.take(loop)
    assert owed.add(C).name == EVERYTHING
    assert len(owed) == 3


async def test_who_waits_for_an_item_waits_for_what_took_its_place():
    """However often it was replaced, whoever asks before or afterwards is told."""
    first, second = Item(A), Item(EVERYTHING)
    before = asyncio.ensure_future(first.wait())
    await turns()
    first.follow(second)
    after = asyncio.ensure_future(first.wait())
    await turns()
    second.resolve(told=True)
    second.resolve(told=False)
    assert await asyncio.gather(before, after, first.wait()) == [True, True, True]
    assert first.told is True


async def test_who_has_left_is_not_told():
    """A waiter whose loop is closed, or who was cancelled, is passed over."""
    item, loop = Item(A), Loop()
    item.tell(loop, asyncio.get_running_loop().create_future())
    loop.closed = True
    task = asyncio.ensure_future(item.wait())
    await turns()
    item.resolve(told=True)
    task.cancel()
    await turns()
    assert task.cancelled()
    assert loop.called == []


# ---- what is known ----


def test_a_version_asked_for_before_its_tag_moved_is_not_learned():
    """The answer may be older than the announcement."""
    tags = TagVersions()
    asked = tags.now()
    tags.forget(["t"])
    tags.learn({"t": "1", "u": "1"}, asked=asked, generation=0, ask_again_at=math.inf)
    assert tags.look_up(["t"], generation=0, now=0) is None
    assert tags.look_up(["u"], generation=0, now=0) == {"u": "1"}
    assert tags.have_moved(["u", "t"], since=asked)
    assert not tags.have_moved(["t"], since=tags.now())


def test_versions_are_bounded(monkeypatch):
    """The oldest are asked for again; what was forgotten long ago counts as forgotten."""
    monkeypatch.setattr("coalesce_kit.backends.trust.MOST_VERSIONS", 2)
    tags = TagVersions()
    asked = tags.now()
    tags.learn(dict.fromkeys("abc", "1"), asked=asked, generation=0, ask_again_at=math.inf)
    assert [tags.look_up([tag], generation=0, now=0) is None for tag in "abc"] == [True, False, False]
    for tag in "xyz":
        tags.forget([tag])
    tags.learn({"x": "1"}, asked=asked, generation=0, ask_again_at=math.inf)
    assert tags.look_up(["x"], generation=0, now=0) is None


def test_all_versions_are_forgotten_together():
    """And what was asked for before that is not learned."""
    tags = TagVersions()
    asked = tags.now()
    tags.learn({"t": "1"}, asked=asked, generation=0, ask_again_at=math.inf)
    tags.forget_all()
    tags.learn({"t": "1"}, asked=asked, generation=0, ask_again_at=math.inf)
    assert tags.look_up(["t"], generation=0, now=0) is None


def test_any_listener_will_do():
    """Local results are good as long as one subscription has heard everything."""
    horizon = Horizon(5.0)
    horizon.heard("one", 10.0)
    horizon.heard("two", 12.0)
    assert horizon.until == 17.0
    horizon.leave("two")
    assert horizon.until == 15.0
    horizon.begin_generation("one")
    assert (horizon.until, horizon.generation) == (-math.inf, 1)


# ---- leases ----


class Renewing:
    """A store that answers renewals as it is told."""

    def __init__(self):
        self.answers = []
        self.asked = []

    async def renew(self, leases, *, lease_seconds):
        self.asked.append(list(leases))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
async def leases(virtual_time):
    store, abandoned, tasks = Renewing(), [], set()

    def spawn(work):
        task = asyncio.ensure_future(work)
        tasks.add(task)
        return task

    made = Leases(
        store,
        lease_seconds=3.0,
        loop=asyncio.get_running_loop(),
        spawn=spawn,
        abandon=lambda record, token: abandoned.append((record, token)),
    )
    made.abandoned, made.store, made.counters = abandoned, store, Counters()
    yield made
    made.stop()
    await asyncio.gather(*tasks)


def lease(leases, token, *, until=math.inf, is_unwanted=lambda: False):
    now = asyncio.get_running_loop().time()
    return Lease("r", token, since=now, until=now + until, is_unwanted=is_unwanted, counters=leases.counters)


async def test_a_lease_over_its_limit_or_unwanted_is_abandoned(leases):
    """It is not renewed, and nobody has to wait until it lapses; the timer ends with the last one."""
    leases.hold(lease(leases, "old", until=0.5))
    leases.hold(lease(leases, "unwanted", is_unwanted=lambda: True))
    await asyncio.sleep(5)
    assert leases.abandoned == [("r", "old"), ("r", "unwanted")]
    assert leases.store.asked == []


async def test_a_lease_that_was_lost_is_not_renewed_again(leases):
    """It is counted once, unless its fetch has ended meanwhile."""
    leases.store.answers = [StoreUnavailableError("away"), [True, False]]
    leases.hold(lease(leases, "kept"))
    leases.hold(lease(leases, "lost"))
    await asyncio.sleep(2.5)
    assert (leases.counters.lease_renewals, leases.counters.leases_lapsed) == (1, 1)
    assert leases.let_go("kept")
    assert not leases.let_go("lost")


async def test_a_lease_that_ended_while_it_was_renewed_is_no_loss(leases):
    """The answer comes too late to mean anything."""
    asked = asyncio.Event()

    async def renew(due, *, lease_seconds):
        leases.let_go("done")
        asked.set()
        return [False]

    leases.store.renew = renew
    leases.hold(lease(leases, "done"))
    await asked.wait()
    await turns()
    assert leases.counters.leases_lapsed == 0


# ---- the link ----


class Hearing:
    def __init__(self):
        self.heard = []

    def heard_up_to(self, link, moment):
        self.heard.append(moment)

    def begin_generation(self, link, *, connected):
        self.heard.append(connected)

    def hear_dropped(self, record):
        raise LookupError("a bug")

    def hear_tag_moved(self, tag):
        self.heard.append(tag)


class Stream:
    """Yields what it was given, then ends or raises."""

    def __init__(self, *signals: Signal | Exception):
        self._signals = list(signals)

    def __aiter__(self) -> AsyncIterator[Signal]:
        return self

    async def __anext__(self) -> Signal:
        if not self._signals:
            raise StopAsyncIteration
        signal = self._signals.pop(0)
        if isinstance(signal, Exception):
            raise signal
        return signal

    async def aclose(self) -> None: ...


class Streaming(MemoryStore):
    def __init__(self, *streams):
        super().__init__()
        self.streams = list(streams)

    def signals(self, *, heartbeat_seconds=1.0):
        return self.streams.pop(0) if self.streams else super().signals(heartbeat_seconds=heartbeat_seconds)


async def test_a_stream_that_breaks_down_is_opened_again(virtual_time, caplog):
    """Whatever it raised: until then nothing is known to be heard, and one line says why."""
    hearing = Hearing()
    store = Streaming(Stream(Connected(), LookupError("odd")), Stream(), Stream(StoreRefusedError("no")))
    link = Link(store, hearing, heartbeat_seconds=math.inf, lease_seconds=3.0)
    await turns()
    assert hearing.heard == [True, False]
    assert not link.is_connected
    await asyncio.sleep(3.5)
    assert link.is_connected
    assert [record.getMessage() for record in caplog.records] == [
        "signals_broke_down: LookupError: odd",
        "signals_broke_down: StoreRefusedError: no",
    ]
    await link.aclose(deadline_seconds=0)
    await store.aclose()


async def test_work_that_does_not_end_is_cut(virtual_time):
    """At the deadline what is left in the background is cancelled; closing again is nothing."""
    link = Link(MemoryStore(), Hearing(), heartbeat_seconds=math.inf, lease_seconds=3.0)
    hanging = link.spawn(asyncio.sleep(1000))
    began = link.loop.time()
    await link.aclose(deadline_seconds=2)
    assert link.loop.time() - began == pytest.approx(2)
    await turns()
    assert hanging.cancelled()
    await link.aclose(deadline_seconds=0)


async def test_one_piece_of_work_at_a_time(virtual_time):
    """While it runs no other is begun."""
    link = Link(MemoryStore(), Hearing(), heartbeat_seconds=math.inf, lease_seconds=3.0)
    begun = []

    async def work():
        begun.append(1)
        await asyncio.sleep(1)

    link.spawn_alone(work)
    link.spawn_alone(work)
    await asyncio.sleep(2)
    link.spawn_alone(work)
    await asyncio.sleep(2)
    assert len(begun) == 2
    await link.aclose(deadline_seconds=0)


async def test_a_closed_loop_is_called_in_vain(virtual_time, monkeypatch):
    """Nothing can be called on it, and what it holds lapses."""
    link = Link(MemoryStore(), Hearing(), heartbeat_seconds=math.inf, lease_seconds=3.0)
    other = Loop()
    monkeypatch.setattr(link, "loop", other)
    assert link.call(print)
    assert link.call(print)
    assert len(other.called) == 1
    other.closed = True
    link._answer_call(lambda _: None)
    assert not link.call(print)
    link.abandon("r", "t")
    assert link._tasks == set()
    monkeypatch.undo()
    await link.aclose(deadline_seconds=0)


# ---- the process ----


class Function:
    """Stands for a function that shares its results."""

    def __init__(self, local=None):
        self.local = local
        self.observers = None
        self.did = []

    def has_record(self, record):
        return record.startswith("mine")

    def has_tag(self, tag):
        return tag == "function:mine"


class Local:
    def __init__(self):
        self.did = []

    def drop(self, record):
        self.did.append(record)

    def drop_tags(self, tags):
        self.did.append(tags)

    def drop_all(self):
        self.did.append("all")

    def distrust(self):
        self.did.append("distrust")


@pytest.fixture
async def process(virtual_time):
    made = Process(MemoryStore(), lease_seconds=3.0, coherence_seconds=5.0)
    yield made
    await made.close_link(deadline_seconds=0)


async def test_announcements_act_on_what_lives(process):
    """A function of which nothing is left in this process is passed over, and so is what is not its own."""
    living, gone = Function(Local()), Function()
    process.add(living, usable_seconds=1)
    process.add(gone, usable_seconds=1)
    process.hear_dropped("mine:1")
    process.hear_dropped("other:1")
    for tag in ("function:mine", "function:other", "tag:sport"):
        process.hear_tag_moved(tag)
    process.begin_generation(process.link(), connected=False)
    assert living.local.did == ["mine:1", "all", ("sport",), "distrust"]


async def test_a_break_is_told_to_every_loop(process):
    """What has asked on another loop is voided there; a loop that was closed is passed over."""
    link = process.link()
    others = [Loop(), Loop()]
    others[1].closed = True
    for other in others:
        stand_in = Link(MemoryStore(), Hearing(), heartbeat_seconds=math.inf, lease_seconds=3.0)
        await stand_in.aclose(deadline_seconds=0)
        stand_in.loop = other
        process._links[other] = stand_in
    process.begin_generation(link, connected=False)
    assert [len(other.called) for other in others] == [1, 0]
    for other in others:
        del process._links[other]


async def test_tags_live_longer_than_results(process):
    """A result of a long life has its tags kept for longer, and their versions asked for again."""
    process.tags.learn({"t": "1"}, asked=process.tags.now(), generation=0, ask_again_at=math.inf)
    before = process.keep_tags_seconds
    process.keep_tags(1e6)
    process.keep_tags(1e6)
    assert process.keep_tags_seconds == 2e6 + before
    assert process.tags.look_up(["t"], generation=0, now=0) is None


async def test_a_reason_is_told_once(process, caplog):
    """For every function why its results are not shared, and every refusal of the store, as texts only."""
    for _ in range(2):
        process.tell_unshared("odds", "too large")
        process.note_failure(StoreRefusedError("NOPERM"))
        process.note_failure(StoreUnavailableError("gone"))
    assert [record.getMessage() for record in caplog.records] == [
        "result_not_shared: a result of odds is only for the callers of this process: too large",
        "store_refused: <MemoryStore namespace='memory'>: NOPERM",
        (
            "store_unavailable: calls are answered without <MemoryStore namespace='memory'>, and results are not"
            " shared: gone"
        ),
    ]
    assert {type(argument) for record in caplog.records for argument in record.args} == {str}
    assert {record.exc_info for record in caplog.records} == {None}


async def test_a_refused_invalidation_stops_no_other(process, caplog):
    """What the store refuses is overdue; what comes after it is told all the same."""
    caplog.set_level(logging.CRITICAL)
    told = []

    async def refuse(keys):
        raise StoreRefusedError("WRONGTYPE")

    async def tell(tags, **_):
        told.extend(tags)
        return ["v"] * len(tags)

    invalidate = process.store.invalidate
    process.store.invalidate, process.store.tag_versions = refuse, tell
    items = [process.tell(A), process.tell(TAG)]
    assert [await item.wait() for item in items] == [False, True]
    assert told == ["t"]
    assert process.owed.is_overdue
    process.store.invalidate = invalidate
    await process.settle(frozenset([B]))
    assert not process.owed.is_overdue


async def test_a_value_that_cannot_be_put_in_place_is_told_of(process):
    """The record was removed, and that is what the telling is about."""

    async def fail(_):
        raise StoreUnavailableError("gone")

    assert await process.tell(A, fail).wait() is True


async def test_the_same_told_of_while_its_value_is_put_is_sent_afterwards(process):
    """The store hears of an invalidation after the value that it is about."""
    order, go = [], asyncio.Event()

    async def put(was_overtaken):
        await go.wait()
        order.append(("put", was_overtaken()))

    async def invalidate(keys):
        order.extend(keys)

    process.store.invalidate = invalidate
    process.tell(A, put)
    await turns(10)
    last = process.tell(A)
    await turns(10)
    go.set()
    assert await last.wait()
    assert order == ["a", ("put", True), "a"]


async def test_after_a_fork_a_process_begins_anew(process, monkeypatch):
    """Links and debts are the parent's, and nothing of them is closed; it tells its own over a link of its own."""
    parents = process.link()
    process.owed.add(A)
    process.is_degraded = True
    monkeypatch.setattr("os.getpid", lambda: -1)
    item = process.tell(B)
    assert process.link() is not parents
    assert (len(process.owed), process.is_degraded) == (1, False)
    assert await item.wait()
    gc.collect()
    assert not parents._listening.done()
    assert parents in process._inherited[0].values()
    await process.close_link(deadline_seconds=0)
    await parents.aclose(deadline_seconds=0)


async def test_what_is_told_before_the_end_is_told(process):
    """A close waits for what was begun before it, and for what that begins, to the deadline."""
    order = []

    async def put(_):
        await asyncio.sleep(1)
        order.append("put")

    process.tell(A, put)
    await process.close_link(deadline_seconds=5)
    assert order == ["put"]


async def test_closing_twice_at_once_is_closing_once(process):
    """The second finds the link closed and gone."""
    process.link()
    await asyncio.gather(process.close_link(deadline_seconds=0), process.close_link(deadline_seconds=0))
    assert process._links == {}
