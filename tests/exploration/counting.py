"""G19: the numbers, counted once more from the history."""

from __future__ import annotations

from coalesce_kit.errors import WaitTimeoutError
from coalesce_kit.stats.counters import Counters
from tests.exploration.endings import refused
from tests.exploration.history import History

_THE_SUM = ("cache_hits", "stale_hits", "coalesced_requests", "led_requests", "rejected_requests")
_TWICE = (
    "led_requests",
    "coalesced_requests",
    "fetches",
    "fetch_errors",
    "fetch_cancelled",
    "fetch_timeouts",
    "wait_timeouts",
    "abandoned_fetches",
    "recursions_refused",
)


def g19_numbers_add_up(history: History, function: Counters, coalescer: Counters) -> None:
    """Every call is in one column of the sum, every fetch in one of its own, and each is the right one."""
    calls = [call for call in history.calls if not call.is_refresh]
    columns = [getattr(function, name) for name in _THE_SUM]
    assert sum(columns) == len(calls), f"G19: {len(calls)} calls: {dict(zip(_THE_SUM, columns, strict=True))}"
    refreshes = len(history.calls) - len(calls)
    assert function.refreshes >= refreshes, f"G19: {function.refreshes} refreshes were counted of {refreshes}"
    waits, waiters = sum(function.wait_latency.buckets), function.coalesced_requests
    assert waiters <= waits <= waiters + function.refreshes, f"G19: {waits} ends were counted of {waiters} waits"
    expected = {**_of_fetches(history, function), **_of_answers(history, function)}
    expected["recursions_refused"] = len(refused(history))
    timed_out = sum(isinstance(call.error, WaitTimeoutError) for call in history.calls)
    cancelled = sum(call.was_cancelled for call in history.calls)  # in the very moment in which they were timed out
    assert timed_out <= function.wait_timeouts <= timed_out + cancelled, (
        f"G19: {function.wait_timeouts} wait_timeouts were counted of {timed_out}"
    )
    counted = {name: getattr(function, name) for name in expected}
    assert counted == expected, f"G19: counted {counted}, and there were {expected}"
    for name in _TWICE:
        mine, total = getattr(function, name), getattr(coalescer, name)
        assert mine == total, f"G19: {name} is {mine} at the function and {total} at the coalescer"


def _of_fetches(history: History, function: Counters) -> dict[str, int]:
    """What became of the fetches, as their callers were told."""
    fetches = [fetch for fetch in history.fetches if not fetch.was_primed]
    ended = sum(function.fetch_latency.buckets)
    assert ended == len(fetches), f"G19: {ended} ends were counted of {len(fetches)} fetches"
    given_up = sum(fetch.flight.given_up for fetch in fetches)
    by_themselves = [fetch for fetch in fetches if not fetch.flight.given_up]
    cut = sum(fetch.end == "cancelled" for fetch in by_themselves)
    assert function.fetch_cancelled + function.fetch_timeouts == given_up + cut, (
        f"G19: {function.fetch_cancelled} and {function.fetch_timeouts} cuts were counted of {given_up} and {cut}"
    )
    if history.closing is None:
        # A flight may be given up before its origin is called: of that there is no fetch in the history.
        never_began = function.led_requests + function.refreshes - len(fetches)
        left = function.abandoned_fetches - (given_up - function.fetch_timeouts)
        assert 0 <= left <= never_began, f"G19: {function.abandoned_fetches} were counted of {given_up} given up"
    return {"fetches": len(fetches), "fetch_errors": sum(fetch.end == "raised" for fetch in by_themselves)}


def _of_answers(history: History, function: Counters) -> dict[str, int]:
    """What was given of what was kept: while it was fresh at once, later in the three ways there are."""
    fresh = stale = 0
    for call in history.calls:
        if call.answer is None or call.is_refresh:
            continue
        kept = history.fetch(call.answer)
        if kept.ended > call.began:
            continue
        seconds = history.fresh_seconds if call.error is None else history.error_seconds
        is_fresh = call.began_at < kept.ended_at + seconds
        fresh += is_fresh
        stale += not is_fresh
    ways = ("stale_hits", "stale_on_error", "stale_after_wait")
    given = sum(getattr(function, way) for way in ways)
    assert given == stale, f"G19: {given} stale values were counted, and {stale} given"
    return {"cache_hits": fresh}
