"""The pytest plugin of coalesce_kit: fixtures with a prefix, none of them autouse.

It stands beside the package and not in it, because pytest imports every plugin that is installed before it does
anything else: inside the package, that would import all of coalesce_kit into every test run on the machine, and before
coverage is measured. What a fixture needs is imported when somebody asks for it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from coalesce_kit.testing.fixtures import PackageTime

_CONTRACTS: Final = (
    "cache_contract",
    "coalescer_ending",
    "coalescer_sharing",
    "coalescer_stage",
    "coalescer_terms",
    "observer_contract",
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
def coalesce_unchanged() -> Iterator[None]:
    """The test fails if it changes a result that callers share."""
    from coalesce_kit.testing.guards import assert_results_unchanged  # noqa: PLC0415  # the same

    with assert_results_unchanged():
        yield


@pytest.fixture
def coalesce_single_flight() -> Iterator[None]:
    """The test fails if two fetches of one key run at the same moment."""
    from coalesce_kit.testing.guards import assert_single_flight  # noqa: PLC0415  # the same

    with assert_single_flight():
        yield
