"""What cannot be shared is refused when the function is decorated, with the way out."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest

import coalesce_kit
from coalesce_kit import ConfigurationError, DistributedCoalescer, KeyDerivationError, RequestCoalescer, coalesced
from coalesce_kit.decorators.workings import WORKINGS
from coalesce_kit.stores.memory import MemoryServer, MemoryStore
from tests.fakes import Origin, start, turns


@pytest.fixture
def fleet():
    return DistributedCoalescer(MemoryStore())


def test_a_function_that_does_not_say_what_it_returns_is_refused(fleet):
    """Another process must read the result back, into a type."""
    with pytest.raises(ConfigurationError, match="annotate it"):

        @coalesced(backend=fleet, ttl=30, name="odds")
        async def odds(league: str): ...


class Pickling:
    def encode(self, value: Any, /) -> bytes:
        return pickle.dumps(value)

    def decode(self, body: bytes, /) -> Any:
        return pickle.loads(body)


class Second(Pickling):
    fingerprint = "pickle, second version"


def records(codec: Any, returns: Any) -> str:
    """What the store calls a key of a function with this codec and return type."""

    async def odds(league: str): ...

    odds.__annotations__["return"] = returns
    shared = coalesced(backend=DistributedCoalescer(MemoryStore(), codec=codec), ttl=30, name="odds")(odds)
    sharing = getattr(shared, WORKINGS)._sharing
    return sharing.record_of("nba")


def test_releases_with_different_codecs_do_not_share_records():
    """Neither reads nor overwrites what the other wrote: another codec, another version of it, another type."""
    asked = [(None, str), (Pickling(), str), (Second(), str), (Pickling(), list[str]), (Pickling(), "Unknown")]
    assert len({records(codec, returns) for codec, returns in asked}) == len(asked)
    assert records(Pickling(), str) == records(Pickling(), str)


def test_a_codec_takes_the_annotations_place():
    """With a codec any function can be shared."""

    @coalesced(backend=DistributedCoalescer(MemoryStore(), codec=Pickling()), ttl=30, name="odds")
    async def odds(league: str): ...


def test_a_function_inside_a_function_needs_a_name(fleet):
    """Its default name may be another function's in another process."""
    with pytest.raises(ConfigurationError, match="needs a name of its own"):

        @coalesced(backend=fleet, ttl=30)
        async def odds(league: str) -> str: ...


def test_a_function_of_main_needs_a_name(fleet):
    """Every script's module is called so."""

    async def odds(league: str) -> str: ...

    odds.__module__, odds.__qualname__ = "__main__", "odds"
    with pytest.raises(ConfigurationError, match="needs a name of its own"):
        coalesced(backend=fleet, ttl=30)(odds)


def test_an_instance_in_the_key_is_refused(fleet):
    """An address means nothing to another process."""
    with pytest.raises(ConfigurationError, match=r"self\.tenant"):

        class Service:
            @coalesced(backend=fleet, ttl=30, name="odds")
            async def odds(self, league: str) -> str: ...


async def test_an_instance_that_is_named_or_ignored_is_fine():
    """A method may be shared by what identifies its instance, or whatever the instance."""
    origin, server = Origin(), MemoryServer()
    fleets = [DistributedCoalescer(MemoryStore(server)) for _ in range(2)]

    class Service:
        tenant = "a"

        async def odds(self, league: str) -> str:
            return await origin(league)

    services = []
    for fleet in fleets:
        method = coalesced(backend=fleet, ttl=30, name="odds", key="{self.tenant}:{league}")(Service.odds)
        services.append(type("Service", (), {"tenant": "a", "odds": method})())
    tasks = start(*(service.odds("nba") for service in services))
    await turns(60)
    origin.answer("1")
    assert [await task for task in tasks] == ["1", "1"]
    assert len(origin.calls) == 1
    for fleet in fleets:
        await fleet.aclose()


def test_a_hidden_part_needs_the_stores_key(fleet):
    """``!h`` is a keyed digest in the store, the same in every process."""
    with pytest.raises(ConfigurationError, match="digest_key"):

        @coalesced(backend=fleet, ttl=30, name="odds", key="{token!h}")
        async def odds(token: str) -> str: ...


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"lease_seconds": 5}, "must be less than max_wait_seconds"),
        ({"lease_seconds": 0}, "lease_seconds"),
        ({"coherence_seconds": 0}, "coherence_seconds"),
        ({"consistency": "eventual"}, "consistency"),
        ({"when_degraded": "panic"}, "when_degraded"),
        ({"max_body_bytes": 0}, "max_body_bytes"),
        ({"shared_errors": (BaseException,)}, "shared_errors"),
    ],
)
def test_an_option_that_cannot_work_is_refused(options, says):
    """The message names the option."""
    with pytest.raises(ConfigurationError, match=says):
        DistributedCoalescer(MemoryStore(), **options)


@pytest.mark.parametrize("store", [MemoryStore, "redis://localhost", RequestCoalescer()])
def test_what_is_no_store_is_refused(store):
    """A class, an address or something else is told what to write."""
    with pytest.raises(ConfigurationError, match="takes a store"):
        DistributedCoalescer(store)


def test_a_functions_own_limit_must_outlast_a_lease(fleet):
    """Who gives up before a lease lapses never sees a successor."""
    with pytest.raises(ConfigurationError, match="max_wait_seconds=2"):

        @coalesced(backend=fleet, name="odds", max_wait_seconds=2)
        async def odds(league: str) -> str: ...


async def test_a_key_without_a_text_is_refused_before_anything_runs(fleet):
    """An argument that no other process could name is a KeyDerivationError, and the call is counted as rejected."""

    class League:
        def __init__(self, name: str) -> None:
            self.name = name

        def __eq__(self, other: object) -> bool:
            return isinstance(other, League) and self.name == other.name

        def __hash__(self) -> int:
            return hash(self.name)

    @coalesced(backend=fleet, ttl=30, name="odds")
    async def odds(league: Any) -> str:
        raise AssertionError

    with pytest.raises(KeyDerivationError, match="league"):
        await odds(League("nba"))
    with pytest.raises(KeyDerivationError, match="league"):
        odds.invalidate(League("nba"))
    assert odds.stats().rejected_requests == 1


async def test_used_alone_it_is_a_coalescer_of_this_process(fleet):
    """Without a decorated function there is no type to read results back into: calls share within the process."""
    origin = Origin()
    tasks = start(*(fleet.get_or_fetch("nba", lambda: origin("nba")) for _ in range(3)))
    await turns()
    assert fleet.pending_keys == ("nba",)
    assert len(fleet.flights()) == 1
    origin.answer("1")
    assert [await task for task in tasks] == ["1"] * 3
    assert fleet.statistics().total_requests == 3
    assert fleet.forget("nba") is False
    assert "connected" in repr(fleet)
    async with fleet:
        pass


async def test_a_function_that_is_switched_off_shares_nothing(fleet):
    """``enabled=False`` leaves the function as it was, and the store unasked."""

    @coalesced(backend=fleet, ttl=30, name="odds", enabled=False)
    async def odds(league: str) -> str:
        return league

    assert await odds("nba") == "nba"
    assert (await odds.invalidate("nba")).told is None
    assert fleet.store.server.calls == {}


def test_loops_come_and_go():
    """Successive loops, each with connections of its own, share what was kept; what a dead loop held is succeeded."""
    server, calls = MemoryServer(), []
    fleet = DistributedCoalescer(MemoryStore(server))

    @coalesced(backend=fleet, ttl=300, name="odds")
    async def odds(league: str) -> str:
        calls.append(league)
        await asyncio.sleep(0)
        return league

    async def leave_in_flight() -> None:
        asyncio.ensure_future(odds("left"))  # what is left behind is the test
        await turns(3)

    assert [asyncio.run(odds("nba")) for _ in range(3)] == ["nba"] * 3
    assert calls == ["nba"]
    asyncio.run(leave_in_flight())

    async def close() -> None:
        await coalesce_kit.aclose()

    asyncio.run(close())
