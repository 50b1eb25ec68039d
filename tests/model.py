"""A sequential reference model of what the documentation promises of calls, invalidations and time.

It is told what happens, one thing after the other, and raises ``WrongError`` when it is told what cannot be. It knows
values by the numbers of the fetches that brought them; fetches that begin later have greater numbers, and a value that
was primed has one, too. Written from docs/concepts/freshness.md, docs/how-to/ and docs/guarantees.md; it shares nothing
with the package.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum


class WrongError(AssertionError):
    """Something has happened that the documentation excludes."""


class State(Enum):
    """What is kept under a key at one moment."""

    FRESH = "it is the answer"
    STALE = "it is the answer while a newer one is fetched"
    FALLBACK = "it is the answer if the fetch fails"
    GONE = "there is no answer"


@dataclass(frozen=True)
class Rules:
    """How long results are used, in seconds: the documented windows of a policy."""

    ttl: float = 0.0
    stale_while_revalidate: float = 0.0
    stale_if_error: float = 0.0
    error_ttl: float = 0.0
    waits_while_stale: bool = False


@dataclass(frozen=True)
class Kept:
    """What one fetch brought: a value, or a failure that is remembered. Its life began when the fetch ended."""

    number: int
    failed: bool
    at: float
    tags: frozenset[str]


@dataclass
class Fetch:
    """A fetch in flight. It is good until something that it may have read is invalidated."""

    key: str
    tags: frozenset[str]
    good: bool = True


@dataclass(frozen=True)
class Asked:
    """A call that has begun, and what it may end with: an old value, or what any of these fetches or a later brings."""

    key: str
    state: State
    kept: Kept | None
    good: frozenset[int]
    latest: int
    failures: int


@dataclass
class Model:
    """The promises, as a state that every event moves.

    Attributes:
        rules: the windows.
        kept: what is kept under each key, in whatever state.
        flying: the fetches in flight, by number.
        ended: of every fetch that has ended and whose outcome counts, whether it failed.
        failures: how many fetches of each key have failed, or were told to stop.
    """

    rules: Rules
    kept: dict[str, Kept] = field(default_factory=dict)
    flying: dict[int, Fetch] = field(default_factory=dict)
    ended: dict[int, bool] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)
    _asked: dict[object, Asked] = field(default_factory=dict)
    _latest: int = 0

    def look(self, key: str, at: float) -> tuple[State, Kept | None]:
        """What is kept under ``key``: each stretch includes its first moment and excludes its last."""
        kept = self.kept.get(key)
        if kept is None:
            return State.GONE, None
        age, rules = at - kept.at, self.rules
        if kept.failed:
            return (State.FRESH, kept) if age < rules.error_ttl else (State.GONE, None)
        if age < rules.ttl:
            return State.FRESH, kept
        if age < rules.ttl + rules.stale_while_revalidate:
            return State.STALE, kept
        if age < rules.ttl + rules.stale_if_error:
            return State.FALLBACK, kept
        return State.GONE, None

    # ---- fetches ----

    def fetch_begins(self, number: int, key: str, at: float, *, tags: frozenset[str], for_a_call: bool) -> None:
        """The origin is called. For a call that is only where nothing fresh is kept."""
        if for_a_call and self.look(key, at)[0] is State.FRESH:
            raise WrongError(f"fetch {number} of {key} begins although a fresh answer is kept: {self.kept[key]}")
        self.flying[number] = Fetch(key, tags)
        self._latest = number

    def fetch_ends(self, number: int, at: float, *, failed: bool, dropped: bool = False) -> None:
        """It has an outcome, or none that counts. It is kept if it is good and nothing younger is kept."""
        fetch = self.flying.pop(number)
        self.failures[fetch.key] += failed or dropped
        if dropped:
            return
        self.ended[number] = failed
        kept = self.kept.get(fetch.key)
        if not fetch.good or (kept is not None and kept.number > number):
            return
        if failed and (not self.rules.error_ttl or (self.look(fetch.key, at)[1] is not None and not kept.failed)):
            return  # it is not remembered where there is an old value to be given
        self.kept[fetch.key] = Kept(number, failed, at, fetch.tags)

    # ---- what is said from outside ----

    def invalidate(self, *, key: str | None = None, tag: str | None = None) -> None:
        """A key, a tag, or without either everything is invalidated: nothing of it that is older is given any more."""
        hit = lambda its_key, tags: (key is None or key == its_key) and (tag is None or tag in tags)
        self.kept = {name: kept for name, kept in self.kept.items() if not hit(name, kept.tags)}
        for fetch in self.flying.values():
            fetch.good = fetch.good and not hit(fetch.key, fetch.tags)

    def prime(self, number: int, key: str, at: float, *, tags: frozenset[str]) -> None:
        """A value is brought from elsewhere: like an invalidation, and a fetch that begins and ends at once."""
        self.invalidate(key=key)
        self.fetch_begins(number, key, at, tags=tags, for_a_call=False)
        self.fetch_ends(number, at, failed=False)

    # ---- calls ----

    def call_begins(self, who: object, key: str, at: float, *, is_refresh: bool = False) -> Asked:
        """Somebody asks. Whoever refreshes is never given what is kept."""
        state, kept = (State.GONE, None) if is_refresh else self.look(key, at)
        good = frozenset(number for number, fetch in self.flying.items() if fetch.key == key and fetch.good)
        self._asked[who] = asked = Asked(key, state, kept, good, self._latest, self.failures[key])
        return asked

    def call_leaves(self, who: object) -> None:
        """He waits no longer: he was cancelled."""
        del self._asked[who]

    def call_ends(self, who: object, at: float, *, number: int, failed: bool) -> None:
        """He gets what fetch ``number`` brought."""
        asked = self._asked.pop(who)
        kept, told = asked.kept, f"{who} asked for {asked.key} ({asked.state.name}) and got fetch {number}"
        at_once = asked.state is State.FRESH or (asked.state is State.STALE and not self.rules.waits_while_stale)
        if at_once and (number, failed) != (kept.number, kept.failed):
            raise WrongError(f"{told} instead of what was kept: {kept}")
        if kept is not None and number == kept.number:
            if asked.state is State.FALLBACK and self.failures[asked.key] == asked.failures:
                raise WrongError(f"{told}, the old value, although no fetch has failed since")
            return
        if number not in asked.good and number <= asked.latest:
            raise WrongError(f"{told}, which was invalidated, or over, before he asked")
        if self.ended.get(number) is not failed:
            raise WrongError(f"{told}, whose outcome was another, or was to be dropped, or is still to come")
        if failed and kept is not None and self.look(asked.key, at) in {(State.STALE, kept), (State.FALLBACK, kept)}:
            raise WrongError(f"{told}, a failure, although the old value could be given: {kept}")
