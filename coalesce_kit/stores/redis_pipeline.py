"""The way of operations to the server and back: those of one turn of the loop together, each with its own deadline."""

from __future__ import annotations

import asyncio
import contextvars
import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias

from redis.asyncio.cluster import RedisCluster

from ..clock import clock
from ..errors import StoreRefusedError, StoreUnavailableError
from .breaker import Breaker
from .redis_connections import CONNECT_TIMEOUT_SECONDS, Client
from .redis_failures import Failure, judge
from .redis_scripts import Script

Word: TypeAlias = str | bytes | int

PIPELINES: Final = 2
"""How many pipelines are on their way at once: while one is answered the next is written."""

PIPELINE_OPERATIONS: Final = 256
"""How many operations one pipeline carries."""

_CLOSED: Final = "the store was closed on this loop"


class Operation:
    """One command on its way, and who waits for its answer.

    Attributes:
        words: the command.
        script: sent as text if the server does not know its digest.
        started: when the caller asked.
        deadline: when the caller gives up; moved once, by as much as the loop was late to look.
        was_excused: whether it was moved.
        was_repeated: whether it was sent a second time because its answer was cut off.
    """

    __slots__ = ("answer", "deadline", "script", "started", "was_excused", "was_repeated", "words")

    def __init__(
        self,
        words: tuple[Word, ...],
        script: Script | None,
        started: float,
        deadline: float,
        answer: asyncio.Future[Any],
    ) -> None:
        self.words = words
        self.script = script
        self.started = started
        self.deadline = deadline
        self.answer = answer
        self.was_excused = False
        self.was_repeated = False


class Pipeline:
    """Carries operations for one loop. No caller owns a connection, and none that leaves costs one.

    Args:
        client: opens the connections; belongs to the pipeline's owner.
        breaker: asked before each operation, told of each answer.
        timeout_seconds: how long an operation may take from the call. If the loop itself was late to look, the
            operation gets the lateness on top, once: a blocked loop is not an outage.

    Attributes:
        operations: how many were asked for.
        noscript: how often the server did not know a script.
        errors: how many ended without an answer.

    *Concurrency*: one loop.
    """

    def __init__(self, client: Client, breaker: Breaker, *, timeout_seconds: float) -> None:
        self.operations = 0
        self.noscript = 0
        self.errors = 0
        self._client = client
        self._breaker = breaker
        self._timeout_seconds = timeout_seconds
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Operation] = deque()
        self._outstanding: deque[Operation] = deque()  # answered ones leave when they are looked at
        # What each carries, and when it is given up if nobody waits for it any more.
        self._batches: dict[asyncio.Task[None], tuple[float, list[Operation]]] = {}
        self._is_flush_due = False
        self._was_reached = False
        self._watch: asyncio.TimerHandle | None = None
        self._looks_at = math.inf
        self._is_closed = False

    async def run(self, script: Script, key: str, *words: Word, started: float | None = None) -> Any:
        """Run a script on one key and return its answer.

        Args:
            script: which.
            key: its key.
            words: its arguments.
            started: when the operation began of which this is a further step: it has no deadline of its own.

        Raises:
            StoreUnavailableError, StoreRefusedError: there is no answer.
        """
        return await self._send(("EVALSHA", script.digest, 1, key, *words), script, started)

    async def run_each(self, script: Script, calls: Iterable[tuple[Word, ...]]) -> list[Any]:
        """Run a script on several keys, and return its answers when there are all.

        They are in the queue before this is first suspended: they travel with whatever else is asked in this turn.

        Args:
            script: which.
            calls: the key, then the arguments, of each.

        Raises:
            StoreUnavailableError, StoreRefusedError: the first answer that is missing.
        """
        asked = [self._ask(("EVALSHA", script.digest, 1, *words), script) for words in calls]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return answers

    def _ask(self, words: tuple[Word, ...], script: Script) -> asyncio.Future[Any]:
        try:
            return self._send(words, script, None)
        except StoreUnavailableError as error:  # the others are asked all the same
            refused = self._loop.create_future()
            refused.set_exception(error)
            return refused

    async def command(self, *words: Word, started: float | None = None) -> Any:
        """Run a plain command that reads, and return its answer. See ``run``."""
        return await self._send(words, None, started)

    def _send(self, words: tuple[Word, ...], script: Script | None, started: float | None) -> asyncio.Future[Any]:
        if self._is_closed:
            raise StoreUnavailableError(_CLOSED)
        now = clock.now()
        started = now if started is None else started
        self._breaker.admit()
        self.operations += 1
        answer: asyncio.Future[Any] = self._loop.create_future()
        operation = Operation(words, script, started, max(started + self._timeout_seconds, now), answer)
        self._queue.append(operation)
        self._outstanding.append(operation)
        if not self._is_flush_due:
            self._is_flush_due = True
            self._loop.call_soon(self._flush)
        if operation.deadline < self._looks_at:  # what it waits for now may be a connection, which has longer
            self._look_at(operation.deadline)
        return answer

    async def close(self) -> None:
        """End what is on its way, without an answer, and send nothing more."""
        self._is_closed = True
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        batches = tuple(self._batches)
        for task in batches:
            task.cancel()
        for operation in self._outstanding:
            self._fail(operation, StoreUnavailableError(_CLOSED))
        self._outstanding.clear()
        self._queue.clear()
        await asyncio.gather(*batches, return_exceptions=True)

    # ---- out ----

    def _flush(self) -> None:
        self._is_flush_due = False
        while self._queue and len(self._batches) < PIPELINES:
            batch: list[Operation] = []
            while self._queue and len(batch) < PIPELINE_OPERATIONS:
                operation = self._queue.popleft()
                if not operation.answer.done():
                    batch.append(operation)
            if batch:
                # Not in the context of the caller who happened to come first: it is everybody's.
                task = self._loop.create_task(self._carry(batch), context=contextvars.Context())
                patience = self._timeout_seconds + (0.0 if self._was_reached else CONNECT_TIMEOUT_SECONDS)
                self._batches[task] = clock.now() + patience, batch
                task.add_done_callback(self._batch_ended)

    async def _carry(self, batch: list[Operation]) -> None:
        try:
            answers = await self._exchange(batch)
        except Exception as error:  # whatever the client could not do, nobody may wait for ever
            answers = [error] * len(batch)
        failures = {failure for answer in answers if (failure := _failure(answer)) is not None}
        if failures & {Failure.CUT, Failure.DEMOTED}:
            self._was_reached = False
            await self._drop_connections()
        else:
            self._was_reached = True
        awaited = [pair for pair in zip(batch, answers, strict=True) if not pair[0].answer.done()]
        again = [operation for operation, answer in awaited if self._take(operation, answer)]
        self._queue.extendleft(reversed(again))
        self._tell_breaker(answers, failures, any_failed=len(again) < len(awaited))

    async def _exchange(self, batch: list[Operation]) -> Sequence[Any]:
        """Send a batch and return an answer or an exception for each of it."""
        if len(batch) == 1:
            # A pipeline of one costs more than the command.
            return [await self._client.execute_command(*batch[0].words)]
        pipeline = self._client.pipeline() if isinstance(self._client, RedisCluster) else self._client.pipeline(False)
        for operation in batch:
            pipeline.execute_command(*operation.words)
        answers: Sequence[Any] = await pipeline.execute(raise_on_error=False)
        return answers

    async def _drop_connections(self) -> None:
        """Have the next batch connect anew: what one connection lost, the idle ones have probably lost too."""
        if not isinstance(self._client, RedisCluster):
            try:
                await self._client.connection_pool.disconnect(inuse_connections=False)
            except (OSError, RuntimeError):
                pass  # it was gone already

    def _batch_ended(self, task: asyncio.Task[None]) -> None:
        self._batches.pop(task, None)
        if not task.cancelled():
            task.result()
        if self._queue and not self._loop.is_closed():
            self._flush()

    # ---- back ----

    def _take(self, operation: Operation, answer: Any) -> bool:
        """Hand an answer to who waits for it; return whether the operation is to be sent again instead."""
        failure = _failure(answer)
        if failure is None:
            operation.answer.set_result(answer)
            return False
        if failure is Failure.UNKNOWN_SCRIPT and operation.script is not None and operation.words[0] == "EVALSHA":
            self.noscript += 1
            operation.words = ("EVAL", operation.script.text, *operation.words[2:])
            return True
        if failure in (Failure.CUT, Failure.DEMOTED) and not operation.was_repeated:
            operation.was_repeated = True
            return True
        if failure is Failure.REFUSED:
            error: Exception = StoreRefusedError(f"the store refused: {answer}")
        else:
            error = StoreUnavailableError(f"the store cannot answer: {str(answer) or type(answer).__name__}")
        error.__cause__ = answer
        self._fail(operation, error)
        return False

    def _fail(self, operation: Operation, error: Exception) -> None:
        if not operation.answer.done():
            self.errors += 1
            operation.answer.set_exception(error)

    def _tell_breaker(self, answers: Sequence[Any], failures: set[Failure], *, any_failed: bool) -> None:
        if any(_failure(answer) in (None, Failure.REFUSED, Failure.UNKNOWN_SCRIPT) for answer in answers):
            self._breaker.answered()
        elif any_failed and Failure.CUT in failures:
            self._breaker.refused()
        elif any_failed:
            self._breaker.timed_out()

    # ---- deadlines ----

    def _look_at(self, moment: float) -> None:
        if self._watch is not None:
            self._watch.cancel()
        self._looks_at = moment
        self._watch = self._loop.call_later(max(moment - clock.now(), 0.0), self._look, moment)

    def _look(self, due: float) -> None:
        """Give up what is over its deadline, unless it is this very look that is late."""
        self._watch, self._looks_at = None, math.inf
        now = clock.now()
        late = max(now - due, 0.0)
        any_failed = False
        for operation in tuple(self._outstanding):
            if operation.answer.done() or operation.deadline > now:
                continue
            if late > 0 and not operation.was_excused:
                operation.was_excused = True
                operation.deadline = now + min(late, self._timeout_seconds)
                continue
            any_failed = True
            seconds = now - operation.started
            self._fail(operation, StoreUnavailableError(f"the store did not answer within {seconds:.2f} s"))
        self._outstanding = deque(one for one in self._outstanding if not one.answer.done())
        for task, (until, batch) in self._batches.items():
            if until <= now and all(operation.answer.done() for operation in batch):
                task.cancel()  # and with it its connection: what comes on it is nobody's answer any more
                self._was_reached = False
        if any_failed:
            self._breaker.timed_out()
        moments = [operation.deadline for operation in self._outstanding]
        moments += [until for until, _ in self._batches.values() if until > now]
        if moments:
            self._look_at(min(moments))


def _failure(answer: Any) -> Failure | None:
    return judge(answer) if isinstance(answer, BaseException) else None
