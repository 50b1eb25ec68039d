"""After a fork: the child begins anew; the parent's connections, and what it owes, stay the parent's."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from coalesce_kit.stores.redis import RedisStore
from tests.stores.servers import BINARIES, running

FORKS = """
import asyncio, gc, json, logging, os, sys, warnings

logging.getLogger("coalesce_kit").setLevel(logging.ERROR)

warnings.simplefilter("ignore", DeprecationWarning)  # a fork of a process with threads
from coalesce_kit import DistributedCoalescer, coalesced
{imports}

{store}
fleet = DistributedCoalescer(store)
calls = []

@coalesced(key="{{league}}", ttl=60, backend=fleet, name="odds")
async def odds(league: str) -> str:
    calls.append(league)
    return f"{{league}} {{len(calls)}}"

def fork(of_child):
    '''Run something in a child and return what it prints.'''
    reading, writing = os.pipe()
    if not (number := os.fork()):
        try:
            told = of_child()
            gc.collect()
            os.write(writing, json.dumps(told).encode())
        finally:
            os._exit(0)
    os.close(writing)
    told = os.read(reading, 65536)
    os.waitpid(number, 0)
    os.close(reading)
    return json.loads(told)

{body}
"""

IN_MEMORY = FORKS.format(
    imports="from coalesce_kit import StoreUnavailableError\nfrom coalesce_kit.stores.memory import MemoryStore, Wire",
    store="""
class Noting(Wire):
    is_cut = False
    asked = []

    async def ask(self, operation, key):
        await super().ask(operation, key)
        self.asked.append((operation, key.rpartition(":")[2]))
        if self.is_cut:
            raise StoreUnavailableError("cut")

wire = Noting()
store = MemoryStore(wire=wire)
""",
    body="""
def in_child():
    wire.asked.clear()
    wire.is_cut = False
    pending = fleet.invalidations_pending
    without_loop = odds.invalidate("later")
    async def use():
        told = await odds.invalidate("mine")
        await odds("nba")
        pending = fleet.invalidations_pending
        await fleet.aclose()
        return told.told, pending
    told = asyncio.run(use())
    return [without_loop.told, *told, sorted({key for operation, key in wire.asked if operation == "invalidate"})]

async def main():
    await odds("nba")
    wire.is_cut = True
    await odds.invalidate("owed")
    told = fork(in_child)
    pending = fleet.invalidations_pending
    wire.is_cut = False
    await odds("nfl")
    left = fleet.invalidations_pending
    await fleet.aclose()
    return [told, pending, left]

print(json.dumps(asyncio.run(main())))
""",
)


def test_a_child_tells_nothing_of_what_its_parent_owes():
    """It tells what was invalidated in itself, and the parent tells its own."""
    ended = subprocess.run([sys.executable, "-c", IN_MEMORY], capture_output=True, text=True, timeout=60, check=False)
    assert ended.stderr == ""
    assert ended.stdout.strip() == '[[true, true, 0, ["later", "mine"]], 1, 0]'


OVER_REDIS = FORKS.format(
    imports="from coalesce_kit.stores.redis import RedisStore",
    store='store = RedisStore(sys.argv[1], namespace="fork")',
    body="""
def in_child():
    async def use():
        value = await odds("nba")
        told = await odds.invalidate("nba")
        value_after = await odds("nba")
        await fleet.aclose()
        return [value, told.told, value_after, store.stats().store_errors]
    return asyncio.run(use())

async def main():
    before = await odds("nba")
    told = fork(in_child)
    for _ in range(200):  # until the announcement of the child is heard
        await asyncio.sleep(0.01)
        if odds.peek("nba") is None:
            break
    after = await odds("nba")
    told_too = await odds.invalidate("nba")
    errors = store.stats().store_errors
    await fleet.aclose()
    return [before, told, after, told_too.told, errors]

print(json.dumps(asyncio.run(main())))
""",
)


@pytest.mark.heavy("redis")
@pytest.mark.parametrize("binary", BINARIES[:1] or [None])
def test_a_child_does_not_use_its_parents_connections(binary):
    """Both ask over connections of their own: the child is answered, and the parent hears and is answered after it."""
    if binary is None:
        pytest.skip("no server is installed: python -m tools.binaries --install")
    with running(binary) as server:
        ended = subprocess.run(
            [sys.executable, "-c", OVER_REDIS, server.url], capture_output=True, text=True, timeout=60, check=False
        )
    assert ended.stderr == ""
    assert ended.stdout.strip() == '["nba 1", ["nba 1", true, "nba 2", 0], "nba 2", true, 0]'


async def test_a_store_begins_anew_after_a_fork(monkeypatch):
    """It opens connections of its own, counts from nothing, and keeps its parent's as they are."""
    store = RedisStore("redis://127.0.0.1:1", namespace="fork")
    parents = store._link()
    parents.pipeline.operations = 5
    monkeypatch.setattr("os.getpid", lambda: -1)
    mine = store._link()
    assert mine is not parents
    assert store.stats().pipeline_operations == 0
    gc.collect()
    assert parents in store._inherited[0].values()
    await store.aclose()
    await parents.close()
