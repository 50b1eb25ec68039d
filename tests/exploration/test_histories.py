"""Does the reference model bite? With nothing but the model to judge histories, planted bugs are still caught."""

from __future__ import annotations

import pytest

from tests.exploration import invariants
from tests.exploration.planted import catch
from tests.exploration.planting import BUGS
from tests.exploration.stage import Stage
from tests.model import Model, Rules, WrongError

BY_NAME = {bug.name: bug for bug in BUGS}
CAUGHT = [
    "retire before publish",
    "no look into the cache after the slot was won",
    "the ticket is not checked at publish",
    "the ticket is not checked at publish of a failure",
    "the ticket is not checked at join",
    "one ticket slot per key",
    "invalidating drops and voids no ticket",
    "a tag's invalidation leaves the fetches in the air",
    "a tag's invalidation leaves the entries",
    "prime leaves the fetches in the air",
    "a zombie's result is kept",
]


@pytest.fixture
def only_the_model(monkeypatch):
    """Have a stage ask the model, and nothing and nobody else."""

    def check(stage):
        invariants.as_the_model_says(stage.history)

    monkeypatch.setattr(Stage, "check", check)


@pytest.mark.parametrize("name", CAUGHT)
@pytest.mark.usefixtures("only_the_model")
def test_a_planted_bug_is_caught_by_the_model_alone(name):
    """Told the history of some schedule, the model says what cannot be."""
    caught = catch(BY_NAME[name])
    assert caught is not None
    assert "asked for" in caught.seen or "begins although" in caught.seen


NONE = frozenset()


def kept_at_zero(**rules):
    """A model that has kept what fetch 1 brought at 0 s."""
    model = Model(Rules(**rules))
    model.fetch_begins(1, "nba", 0, tags=frozenset({"odds"}), for_a_call=True)
    model.fetch_ends(1, 0, failed=False)
    return model


def test_something_fresh_is_the_answer():
    """Who asks while something fresh is kept gets that and nothing else."""
    model = kept_at_zero(ttl=10)
    model.fetch_begins(2, "nba", 5, tags=NONE, for_a_call=False)
    model.call_begins("a", "nba", 5)
    model.fetch_ends(2, 6, failed=False)
    with pytest.raises(WrongError, match="instead of what was kept"):
        model.call_ends("a", 6, number=2, failed=False)


def test_nothing_is_fetched_that_is_fresh():
    """A fetch for a call does not begin while something fresh is kept; at the end of the ttl it may."""
    model = kept_at_zero(ttl=10)
    with pytest.raises(WrongError, match="although a fresh answer is kept"):
        model.fetch_begins(2, "nba", 9.9, tags=NONE, for_a_call=True)
    model.fetch_begins(2, "nba", 10, tags=NONE, for_a_call=True)


@pytest.mark.parametrize("said", [{"key": "nba"}, {"tag": "odds"}, {}])
def test_what_was_invalidated_is_given_to_nobody(said):
    """By its key, by its tag or with everything: who asks afterwards is not given it."""
    model = kept_at_zero(ttl=10)
    model.invalidate(**said)
    model.call_begins("a", "nba", 1)
    with pytest.raises(WrongError, match="invalidated, or over, before he asked"):
        model.call_ends("a", 1, number=1, failed=False)


def test_an_old_value_is_given_instead_of_a_failure():
    """Who could have had the old value does not get the failure."""
    model = kept_at_zero(ttl=10, stale_if_error=10)
    model.call_begins("a", "nba", 12)
    model.fetch_begins(2, "nba", 12, tags=NONE, for_a_call=True)
    model.fetch_ends(2, 13, failed=True)
    with pytest.raises(WrongError, match="although the old value could be given"):
        model.call_ends("a", 13, number=2, failed=True)


def test_a_fallback_is_given_after_a_failure_only():
    """Who finds a value that is only a fallback is given it if a fetch fails while he waits, and not before."""
    model = kept_at_zero(ttl=10, stale_if_error=10)
    model.call_begins("a", "nba", 12)
    model.call_begins("b", "nba", 12)
    with pytest.raises(WrongError, match="although no fetch has failed since"):
        model.call_ends("a", 12, number=1, failed=False)
    model.fetch_begins(2, "nba", 12, tags=NONE, for_a_call=True)
    model.fetch_ends(2, 13, failed=True)
    model.call_ends("b", 13, number=1, failed=False)


def test_what_was_dropped_is_given_to_nobody():
    """What a fetch brings that was told to stop is nobody's answer."""
    model = Model(Rules())
    model.call_begins("a", "nba", 0)
    model.fetch_begins(1, "nba", 0, tags=NONE, for_a_call=True)
    model.fetch_ends(1, 1, failed=False, dropped=True)
    with pytest.raises(WrongError, match="was to be dropped"):
        model.call_ends("a", 1, number=1, failed=False)
