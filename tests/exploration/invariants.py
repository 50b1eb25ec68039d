"""The guarantees as statements about a history. Each raises ``AssertionError`` if it does not hold."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial

from coalesce_kit.errors import CoalescerClosedError, FetchCancelledError, RecursiveFetchError, WaitTimeoutError
from tests.exploration.history import NEVER, Answer, History, OriginError
from tests.model import Model

_SAME_MOMENT = 1e-6


def answers_are_answers(history: History) -> None:
    """Who gets something gets what a fetch of his key has returned."""
    for call in history.calls:
        if call.ended != NEVER and call.error is None:
            assert isinstance(call.result, Answer), f"{call.name} got {call.result!r}, which no fetch returned"
            assert call.result.key == call.key, f"{call.name} asked for {call.key} and got {call.result}"


def g01_one_flight(history: History) -> None:
    """Nobody leads a fetch while another of the key is in the air that could be joined."""
    for second in history.fetches:
        leader = second.leader
        if leader is None or second.in_background:
            continue
        for first in history.fetches[: second.number - 1]:
            if first.key != second.key or first.leader is None or not first.began < leader.began < first.ended:
                continue
            if first.leader.loop is not leader.loop:
                continue
            if second.began > first.ended or history.invalidated(first.key, first.began, second.began):
                continue
            if second.began_at - first.leader.began_at > history.max_flight_seconds:
                continue
            for waiting in history.calls:
                was_there = waiting.loop is leader.loop and waiting.began < leader.began < second.began < waiting.ended
                assert not was_there or waiting.answer != first.number, (
                    f"G1: {leader.name} led fetch {second.number} while {waiting.name} waited for fetch {first.number}"
                )


def g02_nobody_is_hurt(history: History) -> None:
    """Who was cancelled ends cancelled, and nobody else; nobody gets an error that is not the origin's."""
    for call in history.calls:
        if call.was_cancelled:
            assert isinstance(call.error, asyncio.CancelledError), (
                f"G2: {call.name} was cancelled and ended with {call.error!r}, answer {call.answer}"
            )
        elif call.error is not None and not isinstance(call.error, history.allowed):
            assert not isinstance(call.error, asyncio.CancelledError | FetchCancelledError), (
                f"G2: {call.name} got somebody else's cancellation: {call.error!r}"
            )
            assert isinstance(call.error, OriginError), f"G2: {call.name} got {call.error!r}"


def g03_no_orphan_work(history: History) -> None:
    """A fetch that runs to its end has somebody who waits for it then, or is a refresh."""
    for fetch in history.fetches:
        if history.may_be_unwanted or not fetch.for_a_call or fetch.end == "cancelled" or fetch.was_stopped:
            continue
        assert any(
            call.key == fetch.key
            and call.began < fetch.ended < call.ended
            and (call.answer in {None, fetch.number} or fetch.end == "raised")
            for call in history.calls
        ), f"G3: fetch {fetch.number} went on to its end and nobody waited for it"


def g04_a_cut_inside_is_an_error(history: History) -> None:
    """Who waits for a fetch that is cancelled from inside gets an error that says so, and nobody else gets that one.

    That nobody is cancelled by it is what G2 says.
    """
    cut = [fetch for fetch in history.fetches if fetch.was_cut_inside]
    for fetch in cut:
        leader = fetch.leader
        assert leader is None or leader.was_cancelled or isinstance(leader.error, FetchCancelledError), (
            f"G4: fetch {fetch.number} was cancelled from inside, and {leader.name}, who led it, got {leader.error!r}"
        )
    for call in history.calls:
        if isinstance(call.error, FetchCancelledError):
            assert any(call.began < fetch.ended < call.ended for fetch in cut), (
                f"G4: {call.name} got {call.error!r}, and no fetch was cancelled from inside while it waited"
            )


def g05_failures_are_shared_once(history: History) -> None:
    """A failure is what those get who waited for it; the leader gets the original, and nobody else does."""
    for call in history.calls:
        if isinstance(call.error, OriginError):
            fetch = history.fetch(call.error.args[0])
            waited = call.began < fetch.ended < call.ended
            assert waited or call.began_at < fetch.ended_at + history.error_seconds, (
                f"G5: {call.name} got the failure of fetch {fetch.number}, for which it did not wait"
            )
            if waited and fetch.for_a_call:
                is_leader = call is fetch.leader
                assert (call.error is fetch.error) == is_leader, f"G5: {call.name} got the wrong one of the twins"


def g06_exactly_one_load(history: History) -> None:
    """Nothing is fetched that was fetched before and is fresh."""
    for second in history.fetches:
        if not second.for_a_call or second.is_wanted_anew:
            continue
        for first in history.fetches[: second.number - 1]:
            assert not (
                first.key == second.key
                and first.end == "returned"
                and not first.was_stopped
                and first.ended < second.began
                and second.began_at < first.ended_at + history.fresh_seconds
                and not history.invalidated(first.key, first.began, second.began)
            ), f"G6: fetch {second.number} began although what fetch {first.number} had brought was fresh"


def g07_invalidation_wins(history: History) -> None:
    """No call that begins after an invalidation gets what was fetched from before it."""
    for call in history.calls:
        if call.answer is not None:
            fetch = history.fetch(call.answer)
            assert not history.invalidated(call.key, fetch.began, call.began), (
                f"G7: {call.name} began after an invalidation and got fetch {fetch.number}, which began before it"
            )


def reads_never_go_back(history: History) -> None:
    """Who calls after somebody has got a value gets that one or one that was fetched later."""
    for later in history.calls:
        for earlier in history.calls:
            if later.error is None and earlier.error is None and later.answer and earlier.answer:
                assert not (
                    earlier.ended < later.began and earlier.key == later.key and later.answer < earlier.answer
                ), f"{later.name} got fetch {later.answer} after {earlier.name} had got fetch {earlier.answer}"


def lifetimes_are_kept(history: History) -> None:
    """Nobody gets a value that had expired before the call began."""
    for call in history.calls:
        if call.answer is not None and call.error is None:
            fetch = history.fetch(call.answer)
            expired = fetch.ended_at + history.usable_seconds
            assert fetch.ended > call.began or call.began_at < expired, (
                f"{call.name} got fetch {fetch.number}, which had expired at {expired:g} s"
            )


def g15_waiting_is_bounded(history: History) -> None:
    """Who waits for somebody else's fetch waits no longer than the limit, and no shorter if it is timed out."""
    limit = history.max_wait_seconds
    leaders = {fetch.leader for fetch in history.fetches}
    for call in history.calls:
        waited = call.ended_at - call.began_at
        if isinstance(call.error, WaitTimeoutError):
            assert call not in leaders, f"G15: {call.name} leads, and was timed out"
            assert limit is not None, f"G15: {call.name} may wait for ever, and was timed out"
            assert waited >= limit - _SAME_MOMENT, f"G15: {call.name} was timed out after {waited:g} s"
        if limit is not None and call not in leaders:
            assert waited <= limit + _SAME_MOMENT, f"G15: {call.name} waited {waited:g} s for somebody else's fetch"


def g15_over_age_is_not_joined(history: History) -> None:
    """Who waits for a fetch came while it was young enough."""
    for call in history.calls:
        leader = None if call.answer is None else history.fetch(call.answer).leader
        if leader is not None and not history.fresh_seconds:  # where results are kept, this may have been one of them
            age = call.began_at - leader.began_at
            assert age <= history.max_flight_seconds, f"G15: {call.name} joined fetch {call.answer}, {age:g} s old"


def g15_zombies_are_dropped(history: History) -> None:
    """Nobody gets what a fetch returns that was told to stop."""
    for call in history.calls:
        if call.answer is not None:
            assert not history.fetch(call.answer).was_stopped, f"G15: {call.name} got what a zombie brought"


def everybody_is_refused(history: History) -> None:
    """Where every fetch would wait for itself, everybody who was not cancelled is told so."""
    for call in history.calls:
        assert call.was_cancelled or isinstance(call.error, RecursiveFetchError), f"G12: {call.name} got {call.error!r}"


def closed_is_closed(history: History) -> None:
    """No call is answered that begins after closing has begun."""
    for call in history.calls:
        refused = call.was_cancelled or isinstance(call.error, CoalescerClosedError)
        assert refused or call.began < history.closed, f"{call.name} began after closing and was not refused"


def as_the_model_says(history: History) -> None:
    """Told what happened in its order, the reference model finds nothing that cannot be."""
    if history.rules is None:
        return
    model = Model(history.rules)
    for _, tell in sorted(_events(history, model), key=lambda event: event[0]):
        tell()


def _events(history: History, model: Model) -> Iterator[tuple[int, Callable[[], object]]]:
    """What happened, as the moment of each event and the way to tell it."""
    for fetch in history.fetches:
        number, key, is_for_a_call = fetch.number, fetch.key, fetch.for_a_call and not fetch.is_wanted_anew
        tags = frozenset(tag.format(key=key) for tag in history.tags)
        begin = partial(model.fetch_begins, number, key, fetch.began_at, tags=tags, for_a_call=is_for_a_call)
        dropped = fetch.end == "cancelled" or fetch.was_stopped
        end = partial(model.fetch_ends, number, fetch.ended_at, failed=fetch.end == "raised", dropped=dropped)
        yield fetch.began, begin
        yield fetch.ended, end
    for one in history.invalidations:
        for tag in one.tags:
            yield one.at, partial(model.invalidate, tag=tag)
        for key in () if one.tags else one.keys:
            yield one.at, partial(model.invalidate, key=key)
    for call in history.calls:
        yield call.began, partial(model.call_begins, call.name, call.key, call.began_at, is_refresh=call.is_refresh)
        if call.answer is not None:
            failed = call.error is not None
            yield call.ended, partial(model.call_ends, call.name, call.ended_at, number=call.answer, failed=failed)


OF_A_HISTORY = (
    answers_are_answers,
    g01_one_flight,
    g02_nobody_is_hurt,
    g03_no_orphan_work,
    g05_failures_are_shared_once,
    g06_exactly_one_load,
    g07_invalidation_wins,
    g15_waiting_is_bounded,
    g15_over_age_is_not_joined,
    g15_zombies_are_dropped,
    closed_is_closed,
    lifetimes_are_kept,
    reads_never_go_back,
    as_the_model_says,
)
"""Those that hold in every scenario."""
