"""The guarantees about what ends a fetch or a wait, as statements about a history: see ``invariants``."""

from __future__ import annotations

from coalesce_kit.errors import FetchCancelledError, FetchTimeoutError, RecursiveFetchError
from coalesce_kit.protocols import CUT_GRACE_SECONDS
from tests.exploration.history import NEVER, Call, Fetch, History

_SAME_MOMENT = 1e-6


def g03_what_is_held_goes_on(history: History) -> None:
    """A fetch that is to finish, or that a patient reader has asked for, is cut by its age and by nothing else."""
    for fetch in history.fetches:
        leader = fetch.leader
        if fetch.end != "cancelled" or leader is None or fetch.was_cut_inside or history.fetch_timeout is not None:
            continue
        is_old = fetch.ended_at >= leader.began_at + history.max_flight_seconds - _SAME_MOMENT
        asked = [call for call in history.calls if _waited_patiently(history, call, fetch)]
        assert is_old or not (history.finishes or asked), f"G3: fetch {fetch.number} was to go on, and was cut"


def _waited_patiently(history: History, call: Call, fetch: Fetch) -> bool:
    """Whether a call that found a stale value has waited for a fetch a while, or was to."""
    if history.rules is None or not history.rules.waits_while_stale or call.is_refresh or call.key != fetch.key:
        return False
    found_something = any(
        kept.key == call.key
        and kept.ended < call.began
        and kept.end == "returned"
        and not history.invalidated(call.key, kept.began, call.began)
        for kept in history.fetches
    )
    leader_came = fetch.began if fetch.leader is None else min(fetch.leader.began, fetch.began)
    is_about = leader_came <= call.began < fetch.ended and fetch.began < call.ended
    # Without anybody who still waited it was given up by then, and a newer one was led.
    is_wanted = any(other.key == call.key and other.began < call.began < other.ended for other in history.calls)
    return found_something and is_about and is_wanted and not history.invalidated(call.key, leader_came, call.began)


def g12_refused_only_in_a_cycle(history: History) -> None:
    """Who is told that a fetch would wait for itself stands in one that does."""
    for call in refused(history):
        assert call.inside is not None, f"G12: {call.name} stands in no fetch, and was refused"
        assert _leads_to(history, call.key, call.inside, call.began), (
            f"G12: {call.name} asked for {call.key}, of which no fetch waited for fetch {call.inside.number}"
        )


def refused(history: History) -> list[Call]:
    """The calls that were refused themselves, and not given the failure of a fetch in which one was."""
    return [
        call
        for call in history.calls
        if isinstance(call.error, RecursiveFetchError)
        and not any(
            isinstance(fetch.error, RecursiveFetchError) and call.began < fetch.ended < call.ended
            for fetch in history.fetches
            if fetch.key == call.key
        )
    ]


def _leads_to(history: History, key: str, goal: Fetch, at: int) -> bool:
    """Whether a fetch of ``key`` waits at a moment, over any number of others, for ``goal``."""
    unseen, seen = [key], set[str]()
    while unseen:
        looked_at = unseen.pop()
        seen.add(looked_at)
        for fetch in history.fetches:
            if fetch.key != looked_at or not fetch.began < at < fetch.ended:
                continue
            if fetch is goal:
                return True
            waits = (call.key for call in history.calls if call.inside is fetch and call.began < at < call.ended)
            unseen += [other for other in waits if other not in seen]
    return False


def g15_a_fetch_is_bounded(history: History) -> None:
    """Nobody who leads waits longer than a fetch may take, and who is told that it took too long is told just then."""
    limit = history.fetch_timeout
    if limit is None:
        return
    ends = {fetch.key: [] for fetch in history.fetches}
    for fetch in history.fetches:
        ends[fetch.key].append(fetch.began_at + limit)
        leader = fetch.leader
        if leader is not None and leader.ended > fetch.began:
            assert leader.ended_at <= fetch.began_at + limit + _SAME_MOMENT, (
                f"G15: {leader.name} waited {leader.ended_at - fetch.began_at:g} s for fetch {fetch.number}"
            )
    for call in history.calls:
        if isinstance(call.error, FetchTimeoutError):
            off = min(abs(call.ended_at - end) for end in ends[call.key])
            assert off <= _SAME_MOMENT, f"G15: {call.name} was told {off:g} s too early or too late"


def closing_is_bounded(history: History) -> None:
    """Closing cuts nothing before its deadline, and everything that was there before soon after it."""
    closing = history.closing
    if closing is None:
        return
    deadline = closing.began_at + closing.seconds
    assert closing.ended_at <= deadline + CUT_GRACE_SECONDS + _SAME_MOMENT, f"closing ended at {closing.ended_at:g} s"
    for call in history.calls:
        if isinstance(call.error, FetchCancelledError):
            assert call.ended_at >= deadline - _SAME_MOMENT, f"{call.name} was cut before the deadline"
    for fetch in history.fetches:
        was_there = fetch.leader is not None and fetch.began < closing.began
        assert not was_there or fetch.ended < closing.ended, f"fetch {fetch.number} went on after closing had ended"


def what_is_stale_is_refreshed(history: History) -> None:
    """Who is given a stale value at once starts a refresh, unless one runs, or one has just failed."""
    rules = history.rules
    if rules is None or not rules.stale_while_revalidate or rules.waits_while_stale or history.closed != NEVER:
        return
    for call in history.calls:
        if call.answer is None or call.is_refresh or call.error is not None:
            continue
        kept = history.fetch(call.answer)
        is_stale = kept.ended < call.began and call.began_at >= kept.ended_at + rules.ttl
        if not is_stale or history.closing is not None:
            continue
        assert any(
            fetch.key == call.key
            and fetch.number > kept.number
            and (fetch.ended > call.began or fetch.end != "returned")
            for fetch in history.fetches
        ), f"{call.name} was given fetch {kept.number}, which was stale, and nobody fetched it anew"


OF_A_HISTORY = (
    g03_what_is_held_goes_on,
    g12_refused_only_in_a_cycle,
    g15_a_fetch_is_bounded,
    closing_is_bounded,
    what_is_stale_is_refreshed,
)
"""Those that hold in every scenario."""
