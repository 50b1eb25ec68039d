"""The scenarios by name, and which of them are small enough for every schedule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from coalesce_kit.testing.explorer import Scenario
from tests.exploration.fleet.absences import cut_off, deaf, frozen
from tests.exploration.fleet.replacing import primed, refreshed
from tests.exploration.fleet.scenarios import (
    RACING,
    STRICT,
    answer_lost,
    crossing,
    evicted,
    failing,
    invalidated,
    killed,
    lapsed,
    message_lost,
    quiet,
    reconnected,
    stale,
    who_waits_invalidates,
)


@dataclass(frozen=True, slots=True)
class Case:
    """A scenario.

    Attributes:
        build: makes it.
        small: it is small enough to be exhausted in the tests.
    """

    build: Callable[[], Scenario]
    small: bool = False


CASES: dict[str, Case] = {
    "quiet, 2 processes": Case(quiet, small=True),
    "quiet, 2 processes of 2 callers": Case(lambda: quiet(callers=2)),
    "quiet, 3 processes": Case(lambda: quiet(3)),
    "a fetch fails": Case(failing),
    "one invalidation": Case(invalidated),
    "one invalidation, questions race": Case(lambda: invalidated(questions=RACING)),
    "an answer crosses an invalidation": Case(crossing),
    "who waits invalidates": Case(who_waits_invalidates),
    "two invalidations": Case(lambda: invalidated(times=2)),
    "a tag is invalidated": Case(lambda: invalidated(by="tag")),
    "a tag is invalidated, questions race": Case(
        lambda: invalidated(by="tag", questions=frozenset({"tag_versions", "publish"}))
    ),
    "strict, one invalidation": Case(lambda: invalidated(backend=STRICT)),
    "strict, two invalidations, questions race": Case(lambda: invalidated(backend=STRICT, times=2, questions=RACING)),
    "strict, a tag is invalidated": Case(lambda: invalidated(backend=STRICT, by="tag")),
    "the holder dies": Case(killed),
    "the holder dies, 3 processes": Case(lambda: killed(3)),
    "the holder dies, and the record is evicted": Case(lambda: killed(evicted=True)),
    "a lease lapses": Case(lapsed),
    "a lease lapses, one invalidation": Case(lambda: lapsed(invalidations=1)),
    "a wake-up is lost": Case(message_lost, small=True),
    "an answer is lost": Case(answer_lost),
    "an answer is lost, and the fetch fails": Case(lambda: answer_lost(fails=True)),
    "the record is evicted, one invalidation": Case(evicted),
    "a break of the subscription": Case(reconnected),
    "a break of the subscription, a tag": Case(lambda: reconnected(by="tag")),
    "stale values, one invalidation": Case(stale),
    "stale values, a tag is invalidated": Case(lambda: stale(by="tag")),
    "a value is put in place": Case(primed),
    "a value is put in place, twice": Case(lambda: primed(times=2)),
    "a value is put in place, questions race": Case(lambda: primed(races=True)),
    "a refresh": Case(refreshed),
    "two refreshes": Case(lambda: refreshed(callers=(0, 0), by_both=True)),
    "the holder freezes and goes on": Case(frozen),
    "the holder freezes and goes on, one invalidation": Case(lambda: frozen(callers=(2, 1), invalidations=1)),
    "cut off and back, one invalidation": Case(cut_off),
    "cut off and back, both invalidate": Case(lambda: cut_off(other_invalidates=True)),
    "cut off and back, a tag is invalidated": Case(lambda: cut_off(by="tag")),
    "deaf, one invalidation": Case(deaf),
    "deaf with a fetch in the air, one invalidation": Case(lambda: deaf(in_the_air=True)),
}
"""Everything that is sampled, event by event."""

CALM: dict[str, Case] = {
    "quiet, 2 processes of 2 callers": Case(lambda: quiet(callers=2), small=True),
    "quiet, 3 processes": Case(lambda: quiet(3)),
    "a fetch fails": Case(failing, small=True),
    "one invalidation, 2 callers beside it": Case(lambda: invalidated(callers=(0, 2)), small=True),
    "one invalidation, 2 processes": Case(lambda: invalidated(callers=(1, 1))),
    "two invalidations": Case(lambda: invalidated(callers=(0, 1), times=2)),
    "an answer crosses an invalidation": Case(crossing, small=True),
    "who waits invalidates": Case(who_waits_invalidates),
    "a tag is invalidated": Case(lambda: invalidated(callers=(1, 1), by="tag")),
    "strict, one invalidation, 2 callers beside it": Case(lambda: invalidated(callers=(0, 2), backend=STRICT)),
    "strict, a tag is invalidated": Case(lambda: invalidated(callers=(1, 1), backend=STRICT, by="tag")),
    "the holder dies": Case(killed, small=True),
    "the holder dies, 3 processes": Case(lambda: killed(3)),
    "the holder dies, and the record is evicted": Case(lambda: killed(evicted=True), small=True),
    "the holder freezes and goes on": Case(frozen, small=True),
    "a wake-up is lost": Case(message_lost, small=True),
    "an answer is lost": Case(answer_lost, small=True),
    "an answer is lost, and the fetch fails": Case(lambda: answer_lost(fails=True)),
    "a value is put in place": Case(lambda: primed(callers=(0, 1)), small=True),
    "a refresh": Case(refreshed, small=True),
    "two refreshes": Case(lambda: refreshed(callers=(0, 0), by_both=True), small=True),
    "cut off and back, one invalidation": Case(lambda: cut_off(callers=(0, 1))),
    "deaf, one invalidation": Case(lambda: deaf(callers=(0, 2)), small=True),
    "deaf with a fetch in the air, one invalidation": Case(lambda: deaf(callers=(0, 2), in_the_air=True)),
}
"""What is exhausted, with events that wait for calm."""
