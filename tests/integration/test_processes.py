"""``make serve``: both processes come up together and go together, however their parent ends."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from examples.odds_service.processes import ROOT, running

PATIENCE_SECONDS = 20.0


@contextmanager
def serving() -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Run ``make serve``'s command; yield the process and the addresses that it printed."""
    command = [sys.executable, "-m", "examples.odds_service.serve"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(7)]
            yield process, [address for line in lines for address in re.findall(r"http://\S+", line)]
        finally:
            process.kill()


def wait_until_refused(address: str) -> None:
    """Ask an address until nobody is there any more."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            httpx.get(address, timeout=PATIENCE_SECONDS)
        except httpx.TransportError:
            return
    raise AssertionError(f"{address} still answers")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_both(number):
    """Every printed address answers; after Ctrl-C or SIGTERM the command ends well and none does"""
    with serving() as (process, addresses):
        assert len(addresses) == 6
        assert [httpx.get(address, timeout=PATIENCE_SECONDS).status_code for address in addresses] == [200] * 6
        process.send_signal(number)
        assert process.wait(PATIENCE_SECONDS) == 0
        for address in addresses:
            with pytest.raises(httpx.TransportError):
                httpx.get(address)


def test_the_address_of_the_dashboard_is_printed():
    """One of the addresses is called the dashboard, and a browser is given a page there"""
    with serving() as (_, addresses):
        page = httpx.get(addresses[2], headers={"Accept": "text/html"}, timeout=PATIENCE_SECONDS)
        assert addresses[2].endswith("/health/coalescer")
        assert page.headers["content-type"] == "text/html; charset=utf-8"


def test_a_killed_parent_takes_both_with_it():
    """The servers stop by themselves when their parent is killed and can tell them nothing"""
    with serving() as (process, addresses):
        process.kill()
        process.wait(PATIENCE_SECONDS)
        wait_until_refused(addresses[0])
        wait_until_refused(addresses[-1])


def test_a_server_that_does_not_come_up_is_told_with_its_log(tmp_path):
    """A server that ends before it said its address is an error that shows what it logged"""
    with pytest.raises(RuntimeError, match="No module named"), running("examples.nothing", log=tmp_path / "log"):
        pass


def test_an_error_in_the_block_stops_the_server():
    """Whatever ends the block, the server is gone after it"""
    with pytest.raises(ZeroDivisionError), running("examples.odds_service.upstream") as server:
        assert httpx.get(f"{server.url}/control/counters").status_code == 200
        raise ZeroDivisionError
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{server.url}/control/counters")
