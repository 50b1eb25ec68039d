"""Servers for the tests of the stores: started once for a file, every one that is installed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.stores.servers import BINARIES, Server, running


@pytest.fixture(scope="module", params=BINARIES or [None])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server of each kind that is installed, for all tests of one file."""
    if request.param is None:
        pytest.skip("no server is installed: python -m tools.binaries --install")
    with running(request.param) as started:
        yield started


@pytest.fixture(params=BINARIES or [None])
def own_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server of each kind that is installed, for one test that hurts it."""
    if request.param is None:
        pytest.skip("no server is installed: python -m tools.binaries --install")
    with running(request.param) as started:
        yield started
