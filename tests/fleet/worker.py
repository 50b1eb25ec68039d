"""One worker process of the chaos: it does what it reads on its standard input, and writes down what happens.

It is started as ``python -m tests.fleet.worker '{"name": ...}'``. Each line that it reads is a command, each line that
it prints the answer to one. Between the coalescer and the store stands ``Witness``, which writes every question and
answer into the common log, and which stops or ends the process at a given step of the protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

from redis.asyncio.cluster import RedisCluster

from coalesce_kit import coalesced
from coalesce_kit.backends.codec import codec_for
from coalesce_kit.backends.distributed import DistributedCoalescer
from coalesce_kit.backends.envelope import Foreign, open_envelope
from coalesce_kit.defaults import get_stats_registry
from coalesce_kit.errors import StoreRefusedError, StoreUnavailableError
from coalesce_kit.stats.health import judge
from coalesce_kit.store_port import Dropped, Finished, Hit, Kept, Outcome, Signal, SignalStream, Wait, Won
from coalesce_kit.stores.redis import RedisStore
from tests.fleet.journal import Journal, Truth

R = TypeVar("R")

Answer = dict[str, Any]
CODEC = codec_for(Answer, name="chaos.answer")

STEPS = (
    "acquire to be sent",
    "lease won",
    "function running",
    "lease renewed",
    "publish to be sent",
    "publish answered",
)
"""Where a worker can be stopped while it leads."""


class Step:
    """At which step the process gets which signal from itself; once."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._armed: tuple[str, signal.Signals] | None = None

    def arm(self, step: str, number: int) -> None:
        assert step in STEPS
        self._armed = step, signal.Signals(number)

    def reached(self, step: str) -> None:
        if self._armed is not None and self._armed[0] == step:
            number = self._armed[1]
            self._armed = None
            self._journal.note("signal", step=step, signal=number.name)
            os.kill(os.getpid(), number)


def key_of(record: str) -> str:
    """The function's argument in a record's key."""
    return record.rpartition("%3A")[2]


def mark_of(record: str, number: int) -> str:
    """A record that nobody writes, in the same slot of a cluster. It is removed after ``record`` was, and so announced:
    who hears of it has heard that ``record`` was removed after its number had become this one.
    """
    return f"{{{record}}}{number}"


def number_in(body: bytes | None, record: str) -> int | None:
    """The number in a result's bytes."""
    envelope = None if body is None else open_envelope(body, text=f"chaos:{key_of(record)}")
    if envelope is None or isinstance(envelope, Foreign) or envelope.kind != "value":
        return None
    number: int = CODEC.decode(envelope.body)["number"]
    return number


class Witness:
    """A store that writes down what it is asked, before it is sent, and what it answers.

    Who is killed in between leaves the question in the log: the server may have done what it asks for.
    """

    def __init__(self, store: RedisStore, journal: Journal, truth: Truth, step: Step) -> None:
        self._store = store
        self._journal = journal
        self._truth = truth
        self._step = step
        self._numbers = itertools.count()
        self._marking: set[asyncio.Task[None]] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def _seen(self, what: str, facts: dict[str, Any], asking: Awaitable[R]) -> R:
        facts["ask"] = next(self._numbers)
        facts["sent"] = self._journal.note("asked", operation=what, **facts)
        try:
            return await asking
        except BaseException as error:
            self._journal.note(what, answer=type(error).__name__, **facts)
            raise

    async def read(self, key: str, *, have: str | None = None) -> Kept | None:
        facts: dict[str, Any] = {"key": key_of(key)}
        kept = await self._seen("read", facts, self._store.read(key, have=have))
        number = None if kept is None else number_in(kept.body, key)
        self._journal.note("read", answer=type(kept).__name__, number=number, **facts)
        return kept

    async def acquire(self, key: str, *, token: str, **options: Any) -> Any:
        self._step.reached("acquire to be sent")
        facts: dict[str, Any] = {"key": key_of(key), "token": token}
        answer = await self._seen("acquire", facts, self._store.acquire(key, token=token, **options))
        body = answer.kept.body if isinstance(answer, Hit) else answer.body if isinstance(answer, Outcome) else None
        if isinstance(answer, Won | Wait) and answer.stale is not None:
            body = answer.stale.body
        self._journal.note("acquire", answer=type(answer).__name__, number=number_in(body, key), **facts)
        if isinstance(answer, Won):
            self._step.reached("lease won")
        return answer

    async def renew(self, leases: Sequence[tuple[str, str]], *, lease_seconds: float) -> Sequence[bool]:
        facts: dict[str, Any] = {"tokens": [token for _, token in leases]}
        answers = await self._seen("renew", facts, self._store.renew(leases, lease_seconds=lease_seconds))
        self._journal.note("renew", answer=list(answers), **facts)
        self._step.reached("lease renewed")
        return answers

    async def publish(self, key: str, *, token: str, body: bytes, **options: Any) -> Any:
        self._step.reached("publish to be sent")
        facts = {"key": key_of(key), "token": token, "kind": options["kind"], "number": number_in(body, key)}
        answer = await self._seen("publish", facts, self._store.publish(key, token=token, body=body, **options))
        self._journal.note("publish", answer=answer.name, **facts)
        self._step.reached("publish answered")
        return answer

    async def abandon(self, key: str, *, token: str) -> bool:
        facts: dict[str, Any] = {"key": key_of(key), "token": token}
        answer = await self._seen("abandon", facts, self._store.abandon(key, token=token))
        self._journal.note("abandon", answer=answer, **facts)
        return answer

    async def invalidate(self, keys: Sequence[str]) -> None:
        facts: dict[str, Any] = {"keys": [key_of(key) for key in keys]}
        marks = [mark_of(key, self._truth.read(key_of(key))) for key in keys]
        await self._seen("removed", facts, self._store.invalidate(keys))
        self._journal.note("removed", answer="done", **facts)
        marking = asyncio.create_task(self._mark(marks))  # nobody waits for it
        self._marking.add(marking)
        marking.add_done_callback(self._marking.discard)

    async def _mark(self, marks: Sequence[str]) -> None:
        with contextlib.suppress(StoreUnavailableError, StoreRefusedError):
            await self._store.invalidate(marks)

    def signals(self, **options: Any) -> SignalStream:
        return _Witnessed(self._store.signals(**options), self._journal)


class _Witnessed:
    """A stream of signals, written down before they are handed out."""

    def __init__(self, stream: SignalStream, journal: Journal) -> None:
        self._stream = stream
        self._journal = journal

    def __aiter__(self) -> _Witnessed:
        return self

    async def __anext__(self) -> Signal:
        told = await self._stream.__anext__()
        if isinstance(told, Dropped):
            record, is_mark, number = told.key.removeprefix("{").partition("}")
            if is_mark:
                self._journal.note("told", key=key_of(record), number=int(number))
        elif type(told).__name__ in ("Connected", "Lost"):
            self._journal.note(type(told).__name__.lower())
        elif isinstance(told, Finished):
            self._journal.note("finished", key=key_of(told.key), number=number_in(told.body, told.key))
        return told

    async def aclose(self) -> None:
        await self._stream.aclose()


class Worker:
    """The process.

    Args:
        options: ``name, url, is_cluster, log, truth, lease, max_wait, coherence, consistency, fetch, ttl``.
    """

    def __init__(self, **options: Any) -> None:
        self.journal = Journal(options["log"], options["name"])
        self.truth = truth = Truth(options["truth"])
        self.step = Step(self.journal)
        self.fetch_seconds: float = options["fetch"]
        self.text = ""
        self.fetches = 0
        where = RedisCluster.from_url(options["url"]) if options["is_cluster"] else options["url"]
        store = Witness(RedisStore(where, namespace="chaos"), self.journal, truth, self.step)
        self.fleet = DistributedCoalescer(
            store,
            lease_seconds=options["lease"],
            coherence_seconds=options["coherence"],
            consistency=options["consistency"],
            max_wait_seconds=options["max_wait"],
        )
        self.answer = coalesced(key="chaos:{key}", ttl=options["ttl"], backend=self.fleet, name="chaos.answer")(
            self.origin
        )

    async def origin(self, key: str) -> Answer:
        self.fetches += 1
        this, number = self.fetches, self.truth.read(key)
        self.journal.note("fetch", key=key, number=number, fetch=this)
        try:
            self.step.reached("function running")
            await asyncio.sleep(self.fetch_seconds)
        finally:
            self.journal.note("fetched", key=key, number=number, fetch=this)
        return {"number": number, "by": self.journal.who, "text": self.text}

    async def call(self, key: str) -> Answer:
        began, degraded = time.monotonic(), self.fleet.is_degraded
        try:
            number, failure = (await self.answer(key))["number"], None
        except Exception as error:
            number, failure = None, f"{type(error).__name__}: {error}"
        degraded |= self.fleet.is_degraded
        ended = self.journal.note("call", key=key, began=began, number=number, failure=failure, degraded=degraded)
        return {"number": number, "failure": failure, "seconds": ended - began}

    async def do(self, command: dict[str, Any]) -> dict[str, Any]:
        """Do what a command says and return the answer."""
        what = command["do"]
        if what == "call":
            async with asyncio.TaskGroup() as group:
                calls = [group.create_task(self.call(command["key"])) for _ in range(command["callers"])]
            said = [call.result() for call in calls]
            failed = sum(one["failure"] is not None for one in said)
            numbers = sorted({one["number"] for one in said if one["failure"] is None})
            slowest = max(one["seconds"] for one in said)
            return {"answered": len(said) - failed, "failed": failed, "numbers": numbers, "slowest": slowest}
        if what == "change":
            await self.change(command["key"])
        elif what == "arm":
            self.step.arm(command["step"], command["signal"])
        elif what == "set":
            self.fetch_seconds, self.text = command["fetch"], "x" * command["bytes"]
        elif what == "block":
            time.sleep(command["seconds"])  # what a careless handler does
        elif what == "numbers":
            return self.numbers()
        return {}

    def numbers(self) -> Answer:
        """How the process does, by its own account."""
        stats, health = self.answer.stats(), judge(get_stats_registry().snapshot())
        return {
            "degraded": self.fleet.is_degraded,
            "pending": self.fleet.invalidations_pending,
            "breaker": stats.breaker_state,
            "store_errors": stats.store_errors,
            "health": health.status,
            "reasons": [reason.code for reason in health.reasons],
        }

    async def change(self, key: str) -> None:
        """Change the truth and invalidate what was made of the old one."""
        number = self.truth.raise_(key)
        called = time.monotonic()
        invalidation = self.answer.invalidate(key)
        self.journal.note("invalidate", key=key, number=number, called=called)
        await invalidation
        self.journal.note("invalidated", key=key, number=number, called=called, told=invalidation.told)

    async def run(self) -> None:
        """Read commands until there are no more; answer each when it is done."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        print("{}", flush=True)
        async with asyncio.TaskGroup() as group:
            while line := await reader.readline():
                group.create_task(self.serve(json.loads(line)))
        await self.fleet.aclose(deadline_seconds=1)

    async def serve(self, command: dict[str, Any]) -> None:
        print(json.dumps({"id": command["id"], **await self.do(command)}), flush=True)


if __name__ == "__main__":
    logging.getLogger("coalesce_kit").addHandler(logging.NullHandler())  # what happens is in the journal
    asyncio.run(Worker(**json.loads(sys.argv[1])).run())
