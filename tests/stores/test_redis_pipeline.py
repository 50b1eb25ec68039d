"""The way to the server and back, over a client that does as it is told, in virtual time."""

from __future__ import annotations

import asyncio

import pytest
from redis import exceptions

from coalesce_kit.errors import StoreRefusedError, StoreUnavailableError
from coalesce_kit.stores.breaker import Breaker
from coalesce_kit.stores.redis_pipeline import Pipeline
from coalesce_kit.stores.redis_scripts import Script

pytestmark = pytest.mark.usefixtures("virtual_time")

SCRIPT = Script("return 1", "digest")


class Client:
    """Answers with the words' last, after `seconds`; `failures` come first, one for each exchange."""

    def __init__(self):
        self.seconds = 0.01
        self.failures = []
        self.batches = []
        self.at_once = self.most_at_once = 0
        self.dropped = 0
        self.connection_pool = self

    async def disconnect(self, *, inuse_connections):
        assert inuse_connections is False  # another pipeline may be on its way over them
        self.dropped += 1

    async def execute_command(self, *words):
        return (await self.exchange([words]))[0]

    def pipeline(self, transaction):
        assert transaction is False
        return Batch(self)

    async def exchange(self, batch):
        self.batches.append(batch)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.at_once -= 1
        answers = [words[-1] for words in batch]
        failure = self.failures.pop(0) if self.failures else None
        if isinstance(failure, exceptions.ResponseError) and len(batch) > 1:
            return [failure, *answers[1:]]
        if failure is not None:
            raise failure
        return answers


class Batch:
    def __init__(self, client):
        self._client = client
        self._batch = []

    def execute_command(self, *words):
        self._batch.append(words)

    async def execute(self, *, raise_on_error):
        assert raise_on_error is False
        return await self._client.exchange(self._batch)


@pytest.fixture
def client():
    return Client()


@pytest.fixture
def breaker():
    return Breaker()


@pytest.fixture
async def pipeline(client, breaker):
    made = Pipeline(client, breaker, timeout_seconds=0.5)
    yield made
    await made.close()


def run(pipeline, *words):
    """Run the script on a key, in a task."""
    return asyncio.ensure_future(pipeline.run(SCRIPT, "key", *words))


async def test_a_lone_operation_is_sent_plainly(pipeline, client):
    """One operation is one command, by its digest."""
    assert await run(pipeline, "answer") == "answer"
    assert client.batches == [[("EVALSHA", "digest", 1, "key", "answer")]]


async def test_operations_of_one_turn_travel_together(pipeline, client):
    """What is asked in one turn is one exchange, each with its own answer."""
    assert await asyncio.gather(*(run(pipeline, number) for number in range(50))) == list(range(50))
    assert len(client.batches) == 1


async def test_two_pipelines_are_on_their_way_at_most(pipeline, client):
    """What comes while two are on their way forms the next, of 256 operations at most."""
    asked = [run(pipeline, number) for number in range(600)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    asked += [run(pipeline, number) for number in range(600, 700)]
    assert await asyncio.gather(*asked) == list(range(700))
    assert client.most_at_once == 2
    assert [len(batch) for batch in client.batches] == [256, 256, 188]


async def test_a_cancelled_caller_costs_no_connection(pipeline, client):
    """Who leaves while the answer is on its way leaves the exchange alone; who leaves before is not sent."""
    asked = [run(pipeline, number) for number in range(4)]
    await asyncio.sleep(0)
    asked[0].cancel()
    await asyncio.sleep(0.005)
    asked[1].cancel()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(answer) for answer in answers[:2]] == [asyncio.CancelledError] * 2
    assert answers[2:] == [2, 3]
    assert [len(batch) for batch in client.batches] == [3]
    assert client.dropped == 0


async def test_if_all_have_left_nothing_is_sent(pipeline, client):
    """A queue of callers who have left is no exchange."""
    task = run(pipeline, 1)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(1)
    assert client.batches == []


async def test_an_unknown_script_is_sent_as_text(pipeline, client):
    """What answers NOSCRIPT, and only that, is sent again with the text."""
    client.failures = [exceptions.NoScriptError("No matching script")]
    assert await asyncio.gather(*(run(pipeline, number) for number in range(3))) == [0, 1, 2]
    assert client.batches[1:] == [[("EVAL", "return 1", 1, "key", 0)]]
    assert pipeline.noscript == 1


async def test_a_text_that_is_unknown_is_refused(pipeline, client):
    """A server that does not even know the text is not asked for ever."""
    client.failures = [exceptions.NoScriptError("x"), exceptions.NoScriptError("x")]
    with pytest.raises(StoreUnavailableError):
        await run(pipeline, 1)


async def test_a_cut_answer_is_asked_for_once_more(pipeline, client, breaker):
    """A connection that is lost is replaced, and every operation on it is sent a second time."""
    client.failures = [exceptions.ConnectionError("cut")]
    assert await asyncio.gather(*(run(pipeline, number) for number in range(3))) == [0, 1, 2]
    assert (len(client.batches), client.dropped, breaker.state) == (2, 1, "closed")


async def test_it_is_not_asked_for_a_third_time(pipeline, client, breaker):
    """Cut twice is an outage."""
    client.failures = [exceptions.ConnectionError("cut")] * 2
    with pytest.raises(StoreUnavailableError, match="cut"):
        await run(pipeline, 1)
    assert (len(client.batches), breaker.state, pipeline.errors) == (2, "open", 1)


async def test_a_demoted_server_is_looked_for_once_more(pipeline, client):
    """READONLY drops the connections and asks again, once."""
    client.failures = [exceptions.ReadOnlyError("x")]
    assert await run(pipeline, 1) == 1
    client.failures = [exceptions.ReadOnlyError("x")] * 2
    with pytest.raises(StoreUnavailableError):
        await run(pipeline, 1)
    assert client.dropped == 3


async def test_connections_that_cannot_be_dropped_are_gone(pipeline, client):
    """Dropping what is gone is no error."""

    async def disconnect(*, inuse_connections):
        raise OSError

    client.disconnect = disconnect
    client.failures = [exceptions.ConnectionError("cut")]
    assert await run(pipeline, 1) == 1


@pytest.mark.parametrize("error", [exceptions.ResponseError("OOM x"), exceptions.ResponseError("NOPERM x")])
async def test_a_refusal_is_no_outage(pipeline, client, breaker, error):
    """What the server will not do is said at once, however often, and never opens the breaker."""
    for _ in range(4):
        client.failures = [error]
        with pytest.raises(StoreRefusedError):
            await run(pipeline, 1)
    assert (len(client.batches), breaker.state) == (4, "closed")


async def test_a_server_in_no_state_to_answer_opens_at_the_third(pipeline, client, breaker):
    """LOADING and its like count as time-outs do."""
    client.failures = [exceptions.BusyLoadingError("LOADING")] * 3
    for _ in range(3):
        with pytest.raises(StoreUnavailableError):
            await run(pipeline, 1)
    assert breaker.state == "open"


async def test_an_error_that_nobody_knows_reaches_the_caller(pipeline, client):
    """Whatever the client does, nobody waits for ever."""
    client.failures = [ZeroDivisionError("a bug")]
    with pytest.raises(StoreRefusedError, match="a bug"):
        await run(pipeline, 1)


async def test_an_operation_ends_at_its_deadline(pipeline, client, breaker, virtual_time):
    """Without an answer every caller is told after half a second, counted from its own call."""
    client.seconds = 60
    ends = []

    async def ask(after):
        await asyncio.sleep(after)
        with pytest.raises(StoreUnavailableError, match="did not answer within"):
            await pipeline.run(SCRIPT, "key", 1)
        ends.append(round(virtual_time.now() - after, 3))

    await asyncio.gather(ask(0), ask(0.1), ask(0.3))
    assert ends == [0.5, 0.5, 0.5]
    assert breaker.state == "open"


async def test_no_operation_waits_for_a_connection_that_is_given_up_later(pipeline, client, virtual_time):
    """The one timer rings for whatever is due first: here an operation that was asked for after the other had ended."""
    client.seconds = 100
    with pytest.raises(StoreUnavailableError):
        await run(pipeline, "first")  # its connection has a second more
    asked = virtual_time.now()
    with pytest.raises(StoreUnavailableError, match=r"within 0\.50 s"):
        await run(pipeline, "second")
    assert virtual_time.now() - asked == pytest.approx(0.5)


async def test_many_late_answers_at_once_are_one_time_out(pipeline, client, breaker):
    """Fifty callers of one exchange are one time-out, not fifty."""
    client.seconds = 60
    answers = await asyncio.gather(*(run(pipeline, number) for number in range(50)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {StoreUnavailableError}
    assert breaker.state == "closed"


async def test_a_connection_that_does_not_answer_is_given_up(pipeline, client):
    """It is dropped with what was on it, so that others find a new one."""
    assert await run(pipeline, 1) == 1
    client.seconds = 60
    with pytest.raises(StoreUnavailableError):
        await run(pipeline, 1)
    client.seconds = 0.01
    await asyncio.sleep(0.1)
    assert client.at_once == 0
    assert await run(pipeline, 2) == 2


async def test_connecting_may_take_longer_than_an_operation(pipeline, client):
    """The first exchange is not given up while it may still be connecting, though its callers are told."""
    client.seconds = 1.2
    with pytest.raises(StoreUnavailableError):
        await run(pipeline, 1)
    await asyncio.sleep(0.6)
    assert client.at_once == 1
    await asyncio.sleep(0.3)
    assert client.at_once == 0


async def test_a_blocked_loop_is_no_outage(pipeline, client, breaker, virtual_time):
    """When it is this process that was late to look, answers that come within the lateness count."""
    await run(pipeline, 0)
    asked = [run(pipeline, number) for number in range(3)]
    await asyncio.sleep(0.005)
    client.seconds = 0.01
    virtual_time.advance(0.6)  # the loop is blocked while the answers lie in the socket
    assert await asyncio.gather(*asked) == [0, 1, 2]
    assert breaker.state == "closed"


async def test_a_blocked_loop_gives_up_no_connection(pipeline, client, virtual_time):
    """What was sent in the very moment of the call is still waited for when the look is late."""
    asked = [run(pipeline, number) for number in range(3)]
    client.seconds = 0.7
    pipeline._was_reached = True
    while not client.batches:
        await asyncio.sleep(0)
    virtual_time.advance(0.65)
    assert await asyncio.gather(*asked) == [0, 1, 2]


async def test_the_grace_is_given_once(pipeline, client, virtual_time):
    """However late the look, the operation gets at most its time-out once more."""
    client.seconds = 60
    task = run(pipeline, 1)
    await asyncio.sleep(0.005)
    virtual_time.advance(10)
    now = virtual_time.now()
    with pytest.raises(StoreUnavailableError):
        await task
    assert virtual_time.now() - now == pytest.approx(0.5)


async def test_a_further_step_has_no_deadline_of_its_own(pipeline, client, virtual_time):
    """The second command of an operation ends when the first's time is over."""
    started = virtual_time.now()
    await asyncio.sleep(0.4)
    client.seconds = 60
    with pytest.raises(StoreUnavailableError):
        await pipeline.command("HMGET", "key", "b", started=started)
    assert virtual_time.now() - started == pytest.approx(0.5)


async def test_closing_ends_what_is_on_its_way(client, breaker):
    """Who waits when the pipeline is closed is told so."""
    pipeline = Pipeline(client, breaker, timeout_seconds=0.5)
    client.seconds = 60
    asked = [run(pipeline, number) for number in range(300)]
    await asyncio.sleep(0.1)
    await pipeline.close()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert {str(answer) for answer in answers} == {"the store was closed on this loop"}
    with pytest.raises(StoreUnavailableError, match="was closed on this loop"):
        await run(pipeline, 1)
    await pipeline.close()
