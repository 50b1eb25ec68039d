"""The demonstration: what its table says, and that nothing is left of it."""

from __future__ import annotations

import os

import pytest

from examples.odds_service.demo import CLIENTS, Demonstration, as_text, run_demonstration


@pytest.fixture(scope="module")
def shown() -> Demonstration:
    """What the demonstration showed, run once."""
    return run_demonstration()


def test_with_coalesce_kit_one_call_answers_everybody(shown):
    """100 requests, 1 call, no 429, 99 equal answers, and only the client that hung up without one"""
    row = shown.coalesced
    assert (row.requests, row.upstream_calls, row.refused) == (100, 1, 0)
    assert (row.answers, row.errors, row.hung_up) == (99, 0, 1)
    assert len(row.bodies) == 1


def test_without_coalescing_the_upstream_refuses(shown):
    """100 requests are 100 calls, most of them refused"""
    row = shown.uncoalesced
    assert (row.requests, row.upstream_calls, row.hung_up) == (100, 100, 1)
    assert row.refused > 50
    assert row.errors == row.refused


def test_over_shared_tasks_the_innocent_are_cancelled(shown):
    """The first client's hang-up fails clients who had done nothing but ask the same"""
    row = shown.naive
    assert (row.requests, row.hung_up, row.refused) == (100, 1, 0)
    assert row.errors >= 1
    assert row.answers + row.errors == 99


def test_every_row_adds_up(shown):
    """Each client was answered, got an error or hung up"""
    for row in (shown.uncoalesced, shown.naive, shown.coalesced):
        assert row.answers + row.errors + row.hung_up == row.requests == CLIENTS


def test_the_text_has_every_row_and_the_registry(shown):
    """What is printed fits a terminal of 100 columns, has a number line and a sentence per row, and the registry"""
    text = as_text(shown)
    for row in (shown.uncoalesced, shown.naive, shown.coalesced):
        assert text.count(row.name) == 2
    assert text.endswith(shown.registry)
    assert max(map(len, text.splitlines())) <= 100


def test_nothing_is_left_running(shown):
    """Both processes have ended"""
    for server in (shown.pair.service, shown.pair.upstream):
        with pytest.raises(ProcessLookupError):
            os.kill(server.pid, 0)
