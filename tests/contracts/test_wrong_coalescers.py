"""The coalescers that a newcomer writes first are wrong: the contract says how, in a bounded time, and goes on."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import re
import threading
import time
from pathlib import Path

import pytest

from coalesce_kit import RequestCoalescer
from coalesce_kit.testing import coalescer_ending
from coalesce_kit.testing.clock import DeadlockError, run
from coalesce_kit.testing.coalescer_contract import CoalescerContract
from coalesce_kit.testing.leaks import unretrieved
from tests.contracts.breaking import HOW_TESTS_FAIL, names_of_tests

pytest_plugins = ["pytester"]


class Naive:
    """A dict of tasks, each of which leaves it at its end."""

    def __init__(self):
        self.tasks = {}

    async def get_or_fetch(self, key, fetch, /, *, reserve=None, terms=None):
        if key not in self.tasks:
            task = self.tasks[key] = asyncio.ensure_future(fetch())
            task.add_done_callback(lambda _: self.tasks.pop(key, None))
        return await asyncio.shield(self.tasks[key])

    def forget(self, key, /):
        return self.tasks.pop(key, None) is not None

    def flights(self):
        return []

    async def aclose(self, *, deadline_seconds=10.0):
        for task in self.tasks.values():
            task.cancel()


class Plain:
    """Everybody fetches."""

    async def get_or_fetch(self, key, fetch, /, *, reserve=None, terms=None):
        return await fetch()

    def forget(self, key, /):
        return False

    def flights(self):
        return []

    async def aclose(self, *, deadline_seconds=10.0):
        pass


class Swallowing(RequestCoalescer):
    """Whoever is cancelled gets ``None``."""

    async def get_or_fetch(self, cache_key, fetch_fn, *, reserve=None, terms=None):
        try:
            return await super().get_or_fetch(cache_key, fetch_fn, reserve=reserve, terms=terms)
        except asyncio.CancelledError:
            return None


class Ledger(RequestCoalescer):
    """Notes every result."""

    def __init__(self):
        super().__init__()
        self.results = []

    async def get_or_fetch(self, cache_key, fetch_fn, *, reserve=None, terms=None):
        self.results.append(await super().get_or_fetch(cache_key, fetch_fn, reserve=reserve, terms=terms))
        return self.results[-1]


class OneAtATime(RequestCoalescer):
    """A fetch waits for the end of every other."""

    def __init__(self):
        super().__init__()
        self.semaphore = asyncio.Semaphore(1)

    async def get_or_fetch(self, cache_key, fetch_fn, *, reserve=None, terms=None):
        async def alone():
            async with self.semaphore:
                return await fetch_fn()

        return await super().get_or_fetch(cache_key, alone, reserve=reserve, terms=terms)


class ClosingNothing(RequestCoalescer):
    """Its ``aclose`` does nothing."""

    async def aclose(self, *, deadline_seconds=10.0):
        pass


class HangingAtTheEnd(RequestCoalescer):
    """Its ``aclose`` does not end."""

    async def aclose(self, *, deadline_seconds=10.0):
        await asyncio.get_running_loop().create_future()


class Hanging(RequestCoalescer):
    """Its callers wait for what does not come."""

    async def get_or_fetch(self, cache_key, fetch_fn, *, reserve=None, terms=None):
        await asyncio.get_running_loop().create_future()


class Stubborn(RequestCoalescer):
    """Its callers are not cancelled at the first time, nor the second."""

    async def get_or_fetch(self, cache_key, fetch_fn, *, reserve=None, terms=None):
        never = asyncio.get_running_loop().create_future()
        for _ in range(3):
            try:
                await asyncio.wait([never])
            except asyncio.CancelledError:
                pass


def contract_of(make):
    """Return the contract of what ``make()`` returns."""

    class Contract(CoalescerContract):
        def make_coalescer(self):
            return make()

    return Contract()


def complaint(make, test):
    """Return what one test of the contract says, and fail if it passes, or leaves what would hold a loop up."""

    async def judged():
        with pytest.raises(HOW_TESTS_FAIL) as failure:
            await getattr(contract_of(make), test)()
        assert len(asyncio.all_tasks()) == 1, f"left running: {asyncio.all_tasks()}"
        assert not isinstance(failure.value, DeadlockError)
        return str(failure.value)

    return run(judged())


@pytest.mark.parametrize("kind", [Naive, Plain, Hanging, Stubborn])
@pytest.mark.parametrize("test", sorted(names_of_tests(CoalescerContract)))
def test_whatever_fails_leaves_nothing_that_runs(kind, test, monkeypatch):
    """A test of the contract that passes or fails has ended its fetches and its callers, so that the loop can end."""

    async def judged():
        with contextlib.suppress(*HOW_TESTS_FAIL):
            await getattr(contract_of(kind), test)()
        assert len(asyncio.all_tasks()) == 1, f"left running: {asyncio.all_tasks()}"

    monkeypatch.setattr(coalescer_ending, "PATIENCE_SECONDS", 0.3)  # real ones, in a thread
    started, threads = time.monotonic(), threading.active_count()
    with unretrieved():
        run(judged())
        gc.collect()
    assert time.monotonic() - started < 60
    assert threading.active_count() == threads


def test_who_is_wrong_is_told_so_in_a_real_loop(pytester, monkeypatch):
    """All tests of the contract on both coalescers end, with a little patience within a few seconds."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile("""
        import pytest

        from coalesce_kit.testing import coalescer_ending, coalescer_stage
        from coalesce_kit.testing.coalescer_contract import CoalescerContract
        from tests.contracts.test_wrong_coalescers import Naive, Plain

        coalescer_stage.PATIENCE_SECONDS = coalescer_ending.PATIENCE_SECONDS = 0.3

        @pytest.mark.asyncio
        class TestNaive(CoalescerContract):
            def make_coalescer(self):
                return Naive()

        @pytest.mark.asyncio
        class TestPlain(CoalescerContract):
            def make_coalescer(self):
                return Plain()

        @pytest.mark.asyncio
        async def test_what_comes_later():
            pass
    """)
    plugins = ("-p", "pytest_coalesce_kit", "-p", "pytest_asyncio.plugin", "-p", "no:cacheprovider")
    result = pytester.runpytest_subprocess(*plugins, timeout=120)
    outcomes = result.parseoutcomes()
    assert outcomes["failed"] >= 30
    assert outcomes["passed"] + outcomes["failed"] == 2 * len(names_of_tests(CoalescerContract)) + 1
    result.stdout.fnmatch_lines(["*after 0.3 s somebody still waits for what will not come; there are:*"])


SAID = {
    ("test_nobody_is_hurt_by_the_first_who_leaves", Swallowing): "whoever is cancelled gets a CancelledError .* None",
    ("test_nobody_is_hurt_by_another_who_leaves", Swallowing): "whoever is cancelled gets a CancelledError .* None",
    ("test_nothing_is_remembered", Ledger): "still holds what it returned or raised: .* text of the key and numbers",
    ("test_keys_are_apart", OneAtATime): "no fetch is there to be ended: 0 began, .* no semaphore",
    ("test_closing_lets_fetches_end", ClosingNothing): "a new call gets CoalescerClosedError, .* 'too late'",
    ("test_closing_cuts_what_does_not_end", ClosingNothing): r"aclose\(\) returns a CloseReport .*, not None",
    ("test_nothing_is_kept", HangingAtTheEnd): "after 5 s somebody still waits",
    ("test_flights_are_seen", Naive): r"one fetch is in the air, but flights\(\) shows \[\]",
    ("test_a_crowd_shares_one_fetch", Plain): "all who ask for a key meanwhile share one fetch, but 100 were begun",
    ("test_a_crowd_shares_one_fetch", Stubborn): "share one fetch, but 0 were begun",
}


@pytest.mark.parametrize(("test", "kind"), SAID, ids=str)
def test_a_failure_says_what_was_expected(test, kind):
    """In a sentence, for whoever has not read the contract."""
    assert re.search(SAID[test, kind], complaint(kind, test), flags=re.DOTALL)


def test_one_for_all_tests_is_noticed():
    """A coalescer was closed at the end of the test that it was returned for, and is not returned for another."""
    one = RequestCoalescer()

    class Contract(CoalescerContract):
        def make_coalescer(self):
            return one

    async def judged():
        await Contract().test_nothing_is_kept()
        await Contract().test_nothing_is_kept()

    with pytest.raises(AssertionError, match="it was closed before, and make_coalescer has to"):
        run(judged())


def test_one_that_cannot_be_weakly_referenced_is_a_coalescer_too():
    """Whether it is a new one is then not known."""

    class Slotted:
        __slots__ = ("inner",)

        def __init__(self):
            self.inner = RequestCoalescer()

        def __getattr__(self, name):
            return getattr(self.inner, name)

    run(contract_of(Slotted).test_nothing_is_kept())
