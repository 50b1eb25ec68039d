"""The pytest plugin of coalesce_kit: fixtures with a prefix, none of them autouse.

It stands beside the package and not in it, because pytest imports every plugin that is installed before it does
anything else: inside the package, that would import all of coalesce_kit into every test run on the machine, and before
coverage is measured. What a fixture needs is imported when somebody asks for it.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Final, NoReturn

import pytest

if TYPE_CHECKING:
    import pluggy

    from coalesce_kit.testing.fixtures import PackageTime

_CONTRACTS: Final = (
    "cache_contract",
    "coalescer_ending",
    "coalescer_sharing",
    "coalescer_stage",
    "coalescer_terms",
    "contract_tools",
    "observer_contract",
    "store_answers",
    "store_asking",
    "store_hearing",
    "store_holding",
    "store_publishing",
    "store_stage",
)

# So that an assertion that fails in a contract shows its values, as in a test of one's own.
for _module in (f"coalesce_kit.testing.{name}" for name in _CONTRACTS):
    if _module not in sys.modules:
        pytest.register_assert_rewrite(_module)


@pytest.fixture
def coalesce_isolated() -> Iterator[None]:
    """Every cache, flight, tag and number of coalesce_kit is new, before the test and after it."""
    from coalesce_kit.testing.fixtures import isolated  # noqa: PLC0415  # nothing is imported before it is asked for

    with isolated():
        yield


@pytest.fixture
def coalesce_clock() -> Iterator[PackageTime]:
    """coalesce_kit's time stands still until the test moves it: ``coalesce_clock.advance(30)``."""
    from coalesce_kit.testing.fixtures import virtual_clock  # noqa: PLC0415  # the same

    with virtual_clock() as time:
        yield time


@pytest.fixture
def coalesce_off() -> Iterator[None]:
    """Decorated functions run as if they were not decorated."""
    from coalesce_kit.testing.fixtures import switched_off  # noqa: PLC0415  # the same

    with switched_off():
        yield


@pytest.fixture
def coalesce_unchanged(request: pytest.FixtureRequest) -> Iterator[None]:
    """The test fails if it changes a result that callers share."""
    from coalesce_kit.testing.guards import assert_results_unchanged  # noqa: PLC0415  # the same

    with _guarding(request.node, assert_results_unchanged()):
        yield


@pytest.fixture
def coalesce_single_flight(request: pytest.FixtureRequest) -> Iterator[None]:
    """The test fails if two fetches of one key run at the same moment."""
    from coalesce_kit.testing.guards import assert_single_flight  # noqa: PLC0415  # the same

    with _guarding(request.node, assert_single_flight()):
        yield


_GUARDS: Final = pytest.StashKey[list[AbstractContextManager[None]]]()


@contextmanager
def _guarding(item: pytest.Item, guard: AbstractContextManager[None]) -> Iterator[None]:
    """Have a guard's block end with the test, so that it is the test that fails; here, if the test was never begun."""
    guard.__enter__()
    item.stash.setdefault(_GUARDS, []).append(guard)
    try:
        yield
    finally:
        broken = _end_guards(item)
        if broken:
            _raise("\n".join(broken))


@pytest.hookimpl(hookwrapper=True)  # not wrapper=True, which an old pluggy does not know
def pytest_runtest_call(item: pytest.Item) -> Generator[None, pluggy.Result[None], None]:
    """End the guards of a test with it: it fails if one is broken, and if it has failed by itself, it says both."""
    outcome = yield
    broken = _end_guards(item)
    if broken and outcome.excinfo is not None:
        outcome.excinfo[1].add_note("\n".join(broken))
    elif broken:
        try:
            _raise("\n".join(broken))
        except AssertionError as error:
            # what is shown of it begins in there
            outcome.force_exception(error.with_traceback(error.__traceback__ and error.__traceback__.tb_next))


def _end_guards(item: pytest.Item) -> list[str]:
    """End the blocks of a test's guards, the last one first, and return what they say."""
    guards, broken = item.stash.get(_GUARDS, []), []
    while guards:
        try:
            guards.pop().__exit__(None, None, None)
        except AssertionError as error:
            broken.append(str(error))
    return broken


def _raise(broken: str) -> NoReturn:
    raise AssertionError(broken)
