"""What stands in the place of a struck object has what the object has, and whatever can wait is struck."""

from __future__ import annotations

import asyncio
import functools
import gc
from contextlib import asynccontextmanager
from unittest.mock import AsyncMock

import pytest

from coalesce_kit import RequestCoalescer, coalesced
from coalesce_kit.testing.chaos import Chaos, ChaosError, chaotic

pytestmark = pytest.mark.usefixtures("virtual_time")


async def test_what_only_the_instance_has_is_there():
    """Attributes are often set when an object is made, and its class knows nothing of them."""
    struck = chaotic(RequestCoalescer(max_wait_seconds=2), Chaos())
    assert struck.max_wait_seconds == 2
    with pytest.raises(AttributeError, match="'ChaoticRequestCoalescer' object has no attribute '_tables'"):
        struck._tables  # noqa: B018  # it is what is asked
    with pytest.raises(AttributeError, match="no attribute 'most'"):
        struck.most  # noqa: B018  # the same


class LostError(Exception):
    pass


class Client:
    """Methods of every form that hand out something to await."""

    LostError = LostError

    def __init__(self):
        self.asked = []
        self.read = self.get  # as a client does that has another inside
        self.partly = functools.partial(self.fetch, "part")

    async def fetch(self, *what):
        self.asked.append(what)
        return "answer"

    def get(self, *what):
        return self.fetch(*what)

    def task(self, *what):
        return asyncio.ensure_future(self.fetch(*what))

    @classmethod
    async def of_class(cls):
        return "answer"

    @staticmethod
    async def of_nobody():
        return "answer"

    part = functools.partialmethod(fetch, "part")

    def later(self):
        return Later(self)

    def failing(self):
        raise KeyError("at once")

    def session(self):
        return Session()


class Later:
    """An awaitable that does what it does when it is awaited."""

    def __init__(self, client):
        self.client = client

    def __await__(self):
        return self.client.fetch().__await__()


class Session:
    """As redis' pipelines: to be awaited, but mostly for something else."""

    def __await__(self):
        return iter(())

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass


@pytest.mark.parametrize("method", ["get", "read", "fetch", "partly", "part", "later"])
@pytest.mark.parametrize(
    ("options", "runs"), [({"throw": 1.0}, 1), ({"drop": 1.0}, 0), ({"duplicate": 1.0}, 2), ({"delay": 1.0}, 1)]
)
async def test_whatever_hands_out_a_coroutine_is_struck(method, options, runs):
    """Its own, another's, a part of it, or one that only the instance has; a lost question is never asked."""
    client, chaos = Client(), Chaos(**options)
    ended = await asyncio.gather(getattr(chaotic(client, chaos), method)(), return_exceptions=True)
    gc.collect()
    assert type(ended[0]) is (ChaosError if "throw" in options or "drop" in options else str)
    assert len(client.asked) == runs
    assert chaos.happened == {(next(iter(options)), method): 1}


async def test_methods_without_an_instance_are_struck():
    """Those of the class, and those of nobody."""
    client = chaotic(Client(), Chaos(drop=1.0))
    for ask in (client.of_class, client.of_nobody):
        with pytest.raises(ChaosError, match=f"{ask.__name__} got lost"):
            await ask()


async def test_what_runs_already_goes_on():
    """A task cannot be taken back when its question gets lost; its answer is, and its failure is nobody's."""

    class Failing(Client):
        async def fetch(self, *what):
            await super().fetch(*what)
            raise KeyError(what)

    for kind in (Client, Failing):
        client = kind()
        with pytest.raises(ChaosError):
            await chaotic(client, Chaos(drop=1.0)).task("odds")
        await asyncio.sleep(0)
        assert client.asked == [("odds",)]
        gc.collect()


async def test_a_question_that_is_cancelled_before_it_is_asked_leaves_nothing():
    """No coroutine is left that nobody awaited."""
    client = Client()
    asking = asyncio.ensure_future(chaotic(client, Chaos()).get())
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    del asking
    gc.collect()
    assert client.asked == []


async def test_what_is_not_only_to_be_awaited_is_left_alone():
    """A context manager is handed out as it is, a class stays one, and what fails at once does so."""
    client = chaotic(Client(), Chaos(drop=1.0))
    async with client.session() as session:
        assert isinstance(session, Session)
    assert client.LostError is LostError
    with pytest.raises(KeyError, match="at once"):
        client.failing()


async def test_a_part_of_an_async_function_is_an_async_function():
    """It keeps its name and its parameters, and can be decorated."""

    async def fetch(factor, number):
        return factor * number

    part = functools.partial(functools.partial(fetch), 3)
    with pytest.raises(ChaosError, match="chaos: fetch got lost"):
        await chaotic(part, Chaos(drop=1.0))(4)
    struck = chaotic(part, Chaos())
    assert struck.__name__ == "fetch"
    assert await coalesced(key=lambda number: number)(struck)(4) == 12


async def test_an_object_with_an_async_call_is_an_async_function():
    """It can be called and decorated, and its methods are there, too."""

    class Upstream:
        asked = 0

        async def __call__(self, league: str) -> str:
            self.asked += 1
            return league

        async def warm(self):
            return "warm"

    upstream, chaos = Upstream(), Chaos(duplicate=1.0)
    struck = chaotic(upstream, chaos)
    assert await struck("nba") == "nba"
    assert await coalesced(struck)("nfl") == "nfl"
    assert await struck.warm() == "warm"
    assert upstream.asked == 4
    assert chaos.happened == {("duplicate", "Upstream"): 2, ("duplicate", "warm"): 1}
    with pytest.raises(ChaosError, match="chaos: Upstream got lost"):
        await chaotic(functools.partial(upstream, "nba"), Chaos(drop=1.0))()


async def test_what_is_called_and_hands_out_a_coroutine_is_struck():
    """As an object whose call is a plain one."""

    class Upstream:
        def __call__(self):
            return asyncio.sleep(0, "answer")

    assert await chaotic(Upstream(), Chaos(duplicate=1.0))() == "answer"
    with pytest.raises(ChaosError, match="Upstream got lost"):
        await chaotic(Upstream(), Chaos(drop=1.0))()


async def test_an_error_that_nobody_will_see_is_not_complained_of():
    """Of a future whose question got lost, whether it has failed, fails or is cancelled."""
    futures = [asyncio.get_running_loop().create_future() for _ in range(3)]
    futures[2].set_exception(KeyError("odds"))

    class Pending:
        def read(self, number):
            return futures[number]

    for number in range(3):
        with pytest.raises(ChaosError):
            await chaotic(Pending(), Chaos(drop=1.0)).read(number)
    gc.collect()
    futures[0].set_exception(KeyError("odds"))
    futures[1].cancel()
    await asyncio.sleep(0)
    futures.clear()
    gc.collect()


async def test_mocks_are_struck():
    """An async one is a function, and one with async methods an object."""
    mock = AsyncMock(return_value="answer")
    assert await chaotic(mock, Chaos())() == "answer"
    with pytest.raises(ChaosError):
        await chaotic(mock, Chaos(drop=1.0))()
    with pytest.raises(ChaosError, match="read got lost"):
        await chaotic(mock, Chaos(drop=1.0)).read("key")
    assert mock.await_count == 1
    assert mock.read.await_count == 0


@asynccontextmanager
async def connection():
    yield


@pytest.mark.parametrize(
    ("target", "what"),
    [
        (7, "not 7"),
        (None, "not None"),
        ("text", "not 'text'"),
        ([1], r"not \[1\]"),
        (asyncio, "not <module 'asyncio'"),
        (Client, "not the class Client: make one"),
        (object(), "not <object object"),
        (len, "chaos strikes async functions, and len is none: write an 'async def'"),
        (functools.partial(print, "x"), "chaos strikes async functions, and print is none"),
        (connection, "chaos strikes async functions, and connection is none"),
    ],
)
async def test_what_chaos_cannot_strike_is_refused(target, what):
    """By name, with what is expected: nothing is handed back to which nothing can happen."""
    with pytest.raises(TypeError, match=what):
        chaotic(target, Chaos())
