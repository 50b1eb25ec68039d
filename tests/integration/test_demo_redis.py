"""Four workers of the example service over Redis: what their demonstration says, and that nothing is left of it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import httpx
import pytest

from examples.odds_service.demo_redis import Shown, as_text, run_demonstration
from examples.odds_service.processes import ROOT

pytestmark = pytest.mark.heavy("redis")

PATIENCE_SECONDS = 20.0


@pytest.fixture(scope="module")
def shown() -> Shown:
    """What the demonstration showed, run once."""
    return run_demonstration()


def test_over_redis_four_workers_make_one_call(shown):
    """Alone they make four; a moment later, none"""
    assert [row.upstream_calls for row in shown.rows] == [4, 1, 0, 4]
    assert [(row.requests, row.answers, row.errors) for row in shown.rows] == [(100, 100, 0)] * 4
    assert [len(row.bodies) for row in shown.rows] == [1] * 4
    assert shown.shared.bodies == shown.again.bodies == shown.alone.bodies


def test_the_loss_of_the_server_is_logged_once(shown):
    """By each worker, and nobody gets an error"""
    assert sum("store_unavailable" in line for line in shown.log) == 1


def test_the_text_has_every_row(shown):
    """What is printed fits a terminal of 100 columns"""
    lines = as_text(shown).splitlines()
    for row in shown.rows:
        assert sum(line.startswith(row.name) for line in lines) == 1
    assert max(map(len, lines)) <= 100


def test_nothing_is_left_running(shown):
    """All processes have ended"""
    for crew in shown.crews:
        for server in (*crew.workers, crew.upstream):
            with pytest.raises(ProcessLookupError):
                os.kill(server.pid, 0)


def test_serve_with_workers_over_redis():
    """Every worker answers; one call of the upstream serves them all; Ctrl-C stops everything"""
    command = [sys.executable, "-m", "examples.odds_service.serve", "--workers", "4", "--redis", "1"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            text = ""
            while "Ctrl-C stops all." not in text:
                line = process.stdout.readline()
                assert line, text
                text += line
            workers = list(dict.fromkeys(re.findall(r"(http://[0-9.:]+)[ /]", text.partition("upstream")[0])))
            upstream = re.findall(r"upstream +(\S+)", text)[0]
            redis = int(re.findall(r"redis://127.0.0.1:(\d+)", text)[0])
            assert len(workers) == 4
            answers = [
                httpx.get(f"{worker}/optic-odds/odds/nfl", timeout=PATIENCE_SECONDS).json() for worker in workers
            ]
            assert answers[1:] == answers[:-1]
            assert httpx.get(upstream, timeout=PATIENCE_SECONDS).json()["calls"] == 1
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE_SECONDS) == 0
            with pytest.raises(httpx.TransportError):
                httpx.get(f"http://127.0.0.1:{redis}", timeout=PATIENCE_SECONDS)
        finally:
            process.kill()
