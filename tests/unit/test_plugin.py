"""The pytest plugin, as a stranger's tests use it: in a pytest of its own, with nothing of this project around it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import pytest_coalesce_kit

ROOT = Path(__file__).parents[2]

pytest_plugins = ["pytester"]


@pytest.fixture
def outside(pytester, monkeypatch):
    """Run tests in a pytest of its own, which finds the plugin as if it were installed."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    plugins = ("-p", "pytest_coalesce_kit", "-p", "pytest_asyncio.plugin", "-p", "no:cacheprovider")

    def run(tests, *arguments):
        pytester.makepyfile(tests)
        return pytester.runpytest_subprocess(*plugins, *arguments)

    return run


def test_the_plugin_is_found_by_its_entry_point():
    """Whoever installs the package has the plugin."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["pytest11"] == {"coalesce_kit": pytest_coalesce_kit.__name__}


def test_loading_the_plugin_imports_nothing_of_the_package():
    """Every pytest on the machine loads it, and hardly any wants it."""
    asked = "import pytest_coalesce_kit, sys; print([name for name in sys.modules if name.startswith('coalesce_kit')])"
    done = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, text=True, capture_output=True, check=True)
    assert done.stdout == "[]\n"


def test_a_run_that_asks_for_no_fixture_imports_nothing_of_the_package(outside):
    """Not when the plugin is loaded, not when tests are collected, not when they run."""
    result = outside("""
        import sys

        def test_nothing_is_there():
            assert not [name for name in sys.modules if name.partition(".")[0] == "coalesce_kit"]
    """)
    result.assert_outcomes(passed=1)


def test_fixtures_have_a_prefix_and_are_not_autouse():
    """A stranger's tests are touched by none of them unless they ask."""
    fixtures = {
        name: found._fixture_function_marker
        for name, found in vars(pytest_coalesce_kit).items()
        if hasattr(found, "_fixture_function_marker")
    }
    assert {"coalesce_isolated", "coalesce_clock", "coalesce_off", "coalesce_unchanged"} <= fixtures.keys()
    assert all(name.startswith("coalesce_") and not marker.autouse for name, marker in fixtures.items())


FUNCTION = """
    import asyncio
    import pytest
    import coalesce_kit
    from coalesce_kit import coalesced, get_request_coalescer

    calls = []

    @coalesced(ttl=60, tags=("odds",))
    async def odds(league):
        calls.append(league)
        return [league]

    def ask(league="nba"):
        return asyncio.run(odds(league))

    @pytest.fixture(autouse=True)
    def new_calls():
        calls.clear()
"""


def test_isolated_tests_do_not_see_each_other(outside):
    """Results, tags, numbers and the default coalescer of one test are gone in the next; without it they stay."""
    result = outside(
        FUNCTION
        + """
    @pytest.mark.parametrize("turn", [1, 2])
    def test_isolated(coalesce_isolated, turn):
        assert odds.stats().total_requests == 0
        assert get_request_coalescer().statistics().total_requests == 0
        ask(), ask()
        assert calls == ["nba"]
        coalesce_kit.invalidate_tags("odds")

    def test_it_is_clean_afterwards():
        assert odds.stats().total_requests == 0
        ask()
        assert calls == ["nba"]

    def test_and_stays_as_it_is_without():
        ask()
        assert calls == []
        assert odds.stats().total_requests == 2
    """
    )
    result.assert_outcomes(passed=4)


def test_the_clock_moves_functions_decorated_at_import(outside):
    """Results grow old when the test says so, and time is real again afterwards."""
    result = outside(
        FUNCTION
        + """
    import time
    from coalesce_kit.clock import clock

    def test_time_stands_still(coalesce_isolated, coalesce_clock):
        ask()
        coalesce_clock.advance(59.9)
        ask()
        assert calls == ["nba"]
        coalesce_clock.advance(0.1)
        ask()
        assert calls == ["nba", "nba"]
        assert coalesce_clock.now() == 60.0
        with pytest.raises(ValueError):
            coalesce_clock.advance(-1)

    @pytest.mark.asyncio
    async def test_on_a_real_loop(coalesce_isolated, coalesce_clock):
        await odds("nfl")
        await asyncio.sleep(0)
        coalesce_clock.advance(60)
        await odds("nfl")
        assert calls == ["nfl", "nfl"]

    def test_on_a_virtual_loop(coalesce_isolated, coalesce_clock):
        from coalesce_kit.testing.clock import run

        async def story():
            await odds("nfl")
            await asyncio.sleep(30)
            coalesce_clock.advance(30)
            await odds("nfl")

        run(story())
        assert calls == ["nfl", "nfl"]

    def test_time_is_real_again():
        assert clock.now is time.monotonic
    """
    )
    result.assert_outcomes(passed=4)


def test_switched_off_functions_are_as_if_not_decorated(outside):
    """Nothing is shared, kept or counted; afterwards it is again. A function that was off stays off."""
    result = outside(
        FUNCTION
        + """
    @coalesced(ttl=60, enabled=False)
    async def never(league):
        calls.append(league)

    def test_off(coalesce_isolated, coalesce_off):
        ask(), ask()
        assert calls == ["nba", "nba"]
        assert odds.stats().total_requests == 0
        assert odds.peek("nba") is None

    def test_on_again(coalesce_isolated):
        ask(), ask()
        assert calls == ["nba"]
        asyncio.run(never("nba")), asyncio.run(never("nba"))
        assert calls == ["nba"] * 3
    """
    )
    result.assert_outcomes(passed=2)


def test_guards_are_fixtures_too(outside):
    """A test that changes a shared result, or fetches a key beside itself, fails."""
    result = outside(
        FUNCTION
        + """
    def test_changing(coalesce_isolated, coalesce_unchanged):
        ask().append("mine")

    def test_not_changing(coalesce_isolated, coalesce_unchanged, coalesce_single_flight):
        assert ask() == ["nba"]

    def test_two_flights(coalesce_isolated, coalesce_single_flight):
        asyncio.run(both())

    async def both():
        runs.clear()
        first = asyncio.create_task(together())
        while not runs:
            await asyncio.sleep(0)
        together.invalidate()
        await asyncio.gather(first, together())

    runs = []

    @coalesced
    async def together():
        runs.append(asyncio.Event())
        if len(runs) == 2:
            for run in runs:
                run.set()
        await runs[-1].wait()

    @pytest.mark.asyncio
    async def test_an_async_one(coalesce_isolated, coalesce_single_flight):
        await both()
    """
    )
    result.assert_outcomes(passed=1, failed=3)
    told = ["*nba*is now*nba*mine*", "*not a single flight*", "*2 fetches at once of*together*"]
    result.stdout.fnmatch_lines_random(told)
    result.stdout.no_fnmatch_line("*pluggy/*")


def test_a_guard_takes_part_in_how_a_test_ends(outside):
    """It is expected to fail as any test is; a test that fails by itself says both; a skipped one is skipped."""
    result = outside(
        FUNCTION
        + """
    @pytest.mark.xfail(raises=AssertionError, strict=True)
    def test_expected(coalesce_isolated, coalesce_unchanged):
        ask().append("mine")

    def test_failing(coalesce_isolated, coalesce_unchanged, coalesce_single_flight):
        ask().append("mine")
        raise LookupError("of its own")

    def test_skipped(coalesce_isolated, coalesce_unchanged):
        ask().append("mine")
        pytest.skip("for another reason")

    @pytest.fixture
    def failing():
        ask().append("mine")
        raise LookupError

    def test_never_begun(coalesce_isolated, coalesce_unchanged, failing):
        pass

    def test_it_is_over_when_the_test_is(coalesce_isolated, coalesce_single_flight, coalesce_unchanged, request):
        answer = ask()
        request.addfinalizer(lambda: answer.append("mine"))

    def test_nothing_is_watched_any_more():
        ask().append("mine")
    """,
        "-p",
        "no:randomly",
    )
    result.assert_outcomes(passed=2, failed=1, skipped=1, errors=2, xfailed=1)
    result.stdout.fnmatch_lines(["*LookupError: of its own*", "*is now*nba*mine*"])


def test_a_test_with_two_broken_guards_names_both(outside):
    """The second is no reason to be silent of the first."""
    result = outside(
        FUNCTION
        + """
    runs = []

    @coalesced(ttl=60)
    async def together():
        runs.append(asyncio.Event())
        if len(runs) == 2:
            for run in runs:
                run.set()
        await runs[-1].wait()
        return []

    @pytest.mark.asyncio
    async def test_both(coalesce_isolated, coalesce_single_flight, coalesce_unchanged):
        first = asyncio.create_task(together())
        while not runs:
            await asyncio.sleep(0)
        together.invalidate()
        for result in await asyncio.gather(first, together()):
            result.append("mine")
    """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines_random(["*is now*mine*", "*2 fetches at once of*together*"])


def test_contracts_run_in_strict_mode_and_say_what_is_wrong(outside):
    """A subclass, one method and a mark are all it takes; a failing assertion shows its values."""
    result = outside(
        """
    import pytest
    from coalesce_kit import RequestCoalescer
    from coalesce_kit.testing.coalescer_contract import CoalescerContract

    class Losing(RequestCoalescer):
        def forget(self, cache_key):
            return None

    class TestMine(CoalescerContract):
        pytestmark = pytest.mark.asyncio

        def make_coalescer(self):
            return Losing()
    """,
        "-o",
        "asyncio_mode=strict",
        "-k",
        "forgotten or counted",
    )
    result.assert_outcomes(passed=1, failed=1, deselected=28)
    result.stdout.fnmatch_lines(["E*assert None is False*"])


def test_what_a_store_stands_on_is_tested_first(outside):
    """Before what fails for want of it: pytest runs the tests of a class's bases before the others."""
    result = outside(
        """
    from coalesce_kit.testing.store_contract import LeaseStoreContract

    class TestMine(LeaseStoreContract):
        async def open_store(self):
            raise NotImplementedError
    """,
        "--collect-only",
        "-q",
    )
    tests = [line for line in result.outlines if "::" in line]
    assert tests[0].endswith("::test_stores_see_one_server")
    assert len(tests) > 40


def test_what_freezegun_and_time_machine_do(outside):
    """Neither moves the package's time, which it reads by a name of its own; freezegun stops the loop's."""
    result = outside(
        FUNCTION
        + """
    import datetime
    import time
    import freezegun
    import time_machine

    def test_freezegun(coalesce_isolated):
        with freezegun.freeze_time("2031-01-01", real_asyncio=True) as frozen:
            ask()
            frozen.tick(3600)
            ask()
            assert calls == ["nba"]

    def test_freezegun_stops_the_loop(coalesce_isolated):
        with freezegun.freeze_time("2031-01-01"):
            loop = asyncio.new_event_loop()
            assert loop.time() == loop.time() == time.monotonic()
            loop.close()

    def test_freezegun_does_not_stop_a_virtual_loop():
        from coalesce_kit.testing.clock import run

        async def story():
            await asyncio.sleep(60)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(5):
                    await asyncio.sleep(10)
            return asyncio.get_running_loop().time()

        with freezegun.freeze_time("2031-01-01"):
            assert run(story()) == 65.0

    def test_time_machine(coalesce_isolated):
        with time_machine.travel(datetime.datetime(2031, 1, 1), tick=False) as traveller:
            ask()
            traveller.shift(3600)
            ask()
            assert calls == ["nba"]

    @pytest.mark.parametrize("tool", [
        lambda: freezegun.freeze_time("2031-01-01", real_asyncio=True),
        lambda: time_machine.travel(datetime.datetime(2031, 1, 1)),
    ])
    def test_together_with_the_clock(coalesce_isolated, coalesce_clock, tool):
        with tool():
            ask()
            coalesce_clock.advance(60)
            ask()
            assert calls == ["nba", "nba"]
            assert datetime.date.today().year in (2030, 2031)
    """
    )
    result.assert_outcomes(passed=6)


def test_a_test_may_have_a_real_loop_where_the_others_have_virtual_ones(outside, pytester):
    """As the documentation has it; and what is primed after the clock has begun is there."""
    pytester.makeconftest("""
        import asyncio
        from coalesce_kit.testing.clock import virtual_loop

        def pytest_configure(config):
            config.addinivalue_line("markers", "real_loop: runs in real time")

        def pytest_asyncio_loop_factories(config, item):
            if item.get_closest_marker("real_loop"):
                return {"real": asyncio.new_event_loop}
            return {"virtual": virtual_loop}
    """)
    result = outside(
        FUNCTION
        + """
    from coalesce_kit.testing.clock import VirtualLoop

    async def test_virtual():
        assert isinstance(asyncio.get_running_loop(), VirtualLoop)

    @pytest.mark.real_loop
    async def test_real():
        assert await asyncio.to_thread(lambda: 7) == 7

    @pytest.fixture
    async def primed():
        odds.prime(["primed"], "nba")

    async def test_the_clock_first(coalesce_isolated, coalesce_clock, primed):
        assert await odds("nba") == ["primed"]

    async def test_the_clock_last(coalesce_isolated, primed, coalesce_clock):
        assert await odds("nba") == ["nba"]
    """,
        "-o",
        "asyncio_mode=auto",
        "--strict-markers",
    )
    result.assert_outcomes(passed=4)


def test_a_test_may_choose_between_two_loops(outside, pytester):
    """One that does not choose runs on both."""
    pytester.makeconftest("""
        import asyncio
        from coalesce_kit.testing.clock import virtual_loop

        def pytest_asyncio_loop_factories(config, item):
            return {"virtual": virtual_loop, "real": asyncio.new_event_loop}
    """)
    result = outside(
        """
    import asyncio
    import pytest

    @pytest.mark.asyncio(loop_factories=["real"])
    async def test_real():
        assert await asyncio.to_thread(lambda: 7) == 7

    @pytest.mark.asyncio
    async def test_both():
        await asyncio.sleep(0)
    """
    )
    result.assert_outcomes(passed=3)


def test_the_plugin_has_a_name(pytester):
    """It can be left out, and asked for where nothing is loaded by itself."""
    pytester.makepyfile("def test_it(coalesce_isolated): pass")
    quietly = ("-p", "no:cacheprovider", "-p", "no:randomly")
    pytester.runpytest_subprocess(*quietly).assert_outcomes(passed=1)
    left_out = pytester.runpytest_subprocess(*quietly, "-p", "no:coalesce_kit")
    left_out.assert_outcomes(errors=1)
    left_out.stdout.fnmatch_lines(["*fixture 'coalesce_isolated' not found"])
