"""The demonstration: what its table says, and that nothing is left of it."""

from __future__ import annotations

import os

import pytest

from examples.odds_service.demo import Demonstration, as_text, run_demonstration
from examples.odds_service.outage import BETWEEN_REQUESTS_SECONDS, USABLE_SECONDS


@pytest.fixture(scope="module")
def shown() -> Demonstration:
    """What the demonstration showed, run once."""
    return run_demonstration()


def test_with_coalesce_kit_one_call_answers_everybody(shown):
    """100 requests, 1 call, no 429, 99 equal answers, and only the client that hung up without one"""
    row = shown.herds.coalesced
    assert (row.requests, row.upstream_calls, row.refused) == (100, 1, 0)
    assert (row.answers, row.errors, row.hung_up) == (99, 0, 1)
    assert len(row.bodies) == 1


def test_without_coalescing_the_upstream_refuses(shown):
    """100 requests are 100 calls, most of them refused"""
    row = shown.herds.uncoalesced
    assert (row.requests, row.upstream_calls, row.hung_up) == (100, 100, 1)
    assert row.refused > 50
    assert row.errors == row.refused


def test_over_shared_tasks_the_innocent_are_cancelled(shown):
    """The first client's hang-up fails clients who had done nothing but ask the same"""
    row = shown.herds.naive
    assert (row.requests, row.hung_up, row.refused) == (100, 1, 0)
    assert row.errors >= 1
    assert row.answers + row.errors == 99


def test_the_cache_answers_who_comes_later(shown):
    """100 requests after the herd are no call, and get what the herd got"""
    row = shown.herds.kept
    assert (row.requests, row.answers, row.upstream_calls) == (100, 100, 0)
    assert row.bodies == shown.herds.coalesced.bodies


def test_an_outage_of_three_ttls_is_no_error(shown):
    """While the upstream is down all callers get one old answer, and the upstream is tried a few times"""
    outage = shown.outage
    assert (outage.row.requests, outage.row.answers, outage.row.errors) == (30, 30, 0)
    assert 1 <= outage.row.upstream_calls <= 3
    assert len(outage.row.bodies) == 1
    assert outage.oldest_seconds < USABLE_SECONDS


def test_past_the_stale_window_callers_get_the_error(shown):
    """The first error comes when the old answer is of no use any more, and none when the upstream is back"""
    # The client counts from when it has the answer, the service from when the upstream had given it.
    assert shown.outage.error_after_seconds > USABLE_SECONDS - BETWEEN_REQUESTS_SECONDS
    assert (shown.outage.error_status, shown.outage.status_afterwards) == (502, 200)


def test_every_row_adds_up(shown):
    """Each client was answered, got an error or hung up"""
    assert [row.requests for row in shown.rows] == [100, 100, 100, 100, 30]
    for row in shown.rows:
        assert row.answers + row.errors + row.hung_up == row.requests


def test_the_text_has_every_row_and_the_registry(shown):
    """What is printed fits a terminal of 100 columns, has a number line and a sentence per row, and the registry"""
    lines = as_text(shown).splitlines()
    for row in shown.rows:
        assert sum(line.startswith(row.name) for line in lines) == 2
    assert "\n".join(lines).endswith(shown.herds.registry)
    assert max(map(len, lines)) <= 100


def test_nothing_is_left_running(shown):
    """All processes have ended"""
    for pair in shown.pairs:
        for server in (pair.service, pair.upstream):
            with pytest.raises(ProcessLookupError):
                os.kill(server.pid, 0)
