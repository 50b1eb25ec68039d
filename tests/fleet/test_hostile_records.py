"""What a caller sees when somebody else wrote into the store: an answer of the function, always."""

from __future__ import annotations

import asyncio
import os
import pickle
import secrets

import pytest

from coalesce_kit.backends.codec import codec_for
from coalesce_kit.backends.envelope import seal
from coalesce_kit.backends.record_key import record_key, record_prefix
from coalesce_kit.entry import Lifetimes
from tests.fleet.conftest import NAMESPACE, put
from tests.results import NOON, Fixture

TEXT = "fixtures:nfl"
CODEC = codec_for(list[Fixture], name="f")
RECORD = record_key(record_prefix(NAMESPACE, "app.function", CODEC.fingerprint), TEXT)
GOOD = CODEC.encode([Fixture("forged", "b", NOON)])
TAGS = [(name, "0") for name in ("*", "function:app.function")]


class Bomb:
    def __reduce__(self):
        return os._exit, (3,)


def sealed(body, **options):
    return seal("value", body, **{"text": TEXT, "lifetimes": Lifetimes(60.0), **options})


HOSTILE = {
    "nothing": b"",
    "noise": secrets.token_bytes(300),
    "a pickle": pickle.dumps(Bomb()),
    "a pickle in an envelope": sealed(pickle.dumps(Bomb())),
    "another type": sealed(CODEC.encode([])[:0] + b"\x93\x01\x02\x03"),
    "another key": sealed(GOOD, text="fixtures:nba"),
    "a later layout": sealed(GOOD)[:4] + b"\x63" + sealed(GOOD)[5:],
    "one bit": sealed(GOOD)[:-1] + bytes([sealed(GOOD)[-1] ^ 1]),
    "cut": sealed(GOOD)[:-3],
    "no tags": sealed(GOOD),
    "forged tags": sealed(GOOD, tags=TAGS),
    "nested without end": sealed(b"\x91" * 50_000),
    "a failure that is none": seal("error", b"{", text=TEXT),
    "a size that is not there": sealed(b"\xdd\xff\xff\xff\xff"),
}


def function(ran):
    async def fixtures(sport: str) -> list[Fixture]:
        ran.append(sport)
        return [Fixture("ours", sport)]

    return fixtures


@pytest.mark.parametrize("case", HOSTILE)
async def test_bytes_that_are_not_ours_are_a_miss(workers, case):
    """Of every kind: the caller gets what the function returns, and the record is replaced."""
    ran: list[str] = []
    reader = workers(function(ran), key="fixtures:{sport}", ttl=60)
    await put(workers.coalescers[0].store, RECORD, HOSTILE[case])
    assert await reader("nfl") == [Fixture("ours", "nfl")]
    assert ran == ["nfl"]
    unreadable = reader.stats().unreadable_records
    assert unreadable == (case not in ("no tags", "forged tags"))
    other = workers(function(ran), key="fixtures:{sport}", ttl=60)
    assert await other("nfl") == [Fixture("ours", "nfl")]
    assert ran == ["nfl"]
    assert other.stats().unreadable_records == unreadable  # one row of numbers for both: it is one function


async def test_a_crowd_that_meets_bytes_that_are_not_ours_makes_one_call(workers):
    """Whoever rejects them first fetches for all."""
    ran: list[str] = []
    readers = [workers(function(ran), key="fixtures:{sport}", ttl=60) for _ in range(3)]
    await put(workers.coalescers[0].store, RECORD, HOSTILE["noise"])
    results = await asyncio.gather(*(reader("nfl") for reader in readers for _ in range(5)))
    assert results == [[Fixture("ours", "nfl")]] * 15
    assert ran == ["nfl"]


async def test_a_result_that_does_not_survive_is_its_callers_own(workers):
    """It is delivered, counted and not kept in the store; every worker makes its own."""
    ran: list[int] = []

    async def loose(x: int) -> dict:
        ran.append(x)
        return {"a": (1, 2)}

    first, second = workers(loose, ttl=60), workers(loose, ttl=60)
    assert await first(1) == await second(1) == {"a": (1, 2)}
    assert await first(1) == {"a": (1, 2)}
    assert ran == [1, 1]
    assert first.stats().unshared_results == 2  # one row of numbers for both: it is one function
