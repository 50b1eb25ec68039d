"""What is promised in figures holds; ``python -m tests.fleet acceptance`` measures more of it, and prints it."""

from __future__ import annotations

import pytest

from tests.fleet import outages  # noqa: F401  # lists its measurements
from tests.fleet.acceptance import MEASUREMENTS, Size

pytestmark = pytest.mark.heavy("redis")

A_FEW = Size(runs=20, runs_on_a_cluster=10, kills=3, margin_seconds=0.5)
"""Enough to see that it holds, with patience for a machine that has other things to do."""


@pytest.mark.parametrize("name", MEASUREMENTS)
async def test_figures(name):
    """Every figure of a measurement is within its bound."""
    figures = await MEASUREMENTS[name](A_FEW)
    assert [figure for figure in figures if not figure.holds] == []
    assert figures
