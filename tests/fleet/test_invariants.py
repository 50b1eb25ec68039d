"""The checker of the chaos' logs: it finds what is wrong in a log, and nothing in a good one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fleet.invariants import Rules, complaints, row

RULES = Rules(lease_seconds=1.0, coherence_seconds=1.0, longest_call_seconds=5.0)


def entry(at: float, who: str, what: str, **facts: Any) -> dict[str, Any]:
    return {"at": at, "who": who, "what": what, "key": "k1", **facts}


def won(at, who, token):
    return entry(at, who, "acquire", sent=at - 0.01, answer="Won", token=token, number=None)


def published(at, who, token, answer="KEPT"):
    return entry(at, who, "publish", sent=at - 0.01, answer=answer, token=token, kind="keep", number=1)


def renewed(at, who, token, answer=True):
    return entry(at, who, "renew", sent=at - 0.01, tokens=[token], answer=[answer])


def removed(at, who):
    return entry(at, who, "removed", sent=at - 0.01, keys=["k1"], answer="done")


def invalidated(at, who, number, *, told=True, done=0.01):
    facts = {"number": number, "called": at}
    return [entry(at, who, "invalidate", **facts), entry(at + done, who, "invalidated", told=told, **facts)]


def called(at, who, number, *, began=None, failure=None, degraded=False):
    return entry(
        at, who, "call", began=at - 0.01 if began is None else began, number=number, failure=failure, degraded=degraded
    )


def connected(who):
    return entry(0.0, who, "connected")


GOOD = {
    "one after the other": [
        won(1, "a", "t1"),
        published(1.3, "a", "t1"),
        won(1.4, "b", "t2"),
        published(1.6, "b", "t2"),
    ],
    "a lapse, and a late publish refused": [
        won(1, "a", "t1"),
        won(2.1, "b", "t2"),
        published(2.5, "a", "t1", "REFUSED"),
    ],
    "a renewal, then a lapse": [won(1, "a", "t1"), renewed(1.8, "a", "t1"), won(2.9, "b", "t2")],
    "a renewal that came too late": [won(1, "a", "t1"), renewed(2.05, "a", "t1", False), won(2.1, "b", "t2")],
    "a voiding": [won(1, "a", "t1"), removed(1.1, "c"), won(1.2, "b", "t2"), published(1.3, "a", "t1", "REFUSED")],
    "a loss of data": [
        won(1, "a", "t1"),
        entry(1.1, "conductor", "losing data", loss=0),
        entry(1.2, "conductor", "lost data", loss=0),
        won(1.3, "b", "t2"),
    ],
    "a publish that was repeated": [
        won(1, "a", "t1"),
        published(1.2, "a", "t1", "StoreUnavailableError"),
        won(1.3, "b", "t2"),
        published(1.4, "a", "t1"),
    ],
    "a removal by a process that was killed before it heard of it": [
        won(1, "a", "t1"),
        entry(1.1, "c", "asked", ask=1, operation="removed", keys=["k1"]),
        won(1.2, "b", "t2"),
    ],
    "a removal that was given up, and done later": [
        won(1, "a", "t1"),
        entry(1.05, "c", "removed", sent=0.5, ask=1, keys=["k1"], answer="StoreUnavailableError"),
        won(1.2, "b", "t2"),
    ],
    "a publish by a process that was killed before it heard of it": [
        won(1, "a", "t1"),
        entry(1.1, "a", "asked", ask=1, operation="publish", token="t1", kind="keep", number=1),
        won(1.2, "b", "t2"),
    ],
    "an old value before the announcement came": [connected("b"), *invalidated(1, "a", 5), called(1.5, "b", 4)],
    "an old value after the announcement of an older one, that was late": [
        connected("b"),
        *invalidated(0.9, "c", 4),
        *invalidated(1, "a", 5, done=0.2),
        entry(1.01, "b", "told", number=4),
        called(1.13, "b", 4, began=1.1),
    ],
    "an old value of a process that is cut off": [
        connected("b"),
        entry(0.5, "b", "lost"),
        *invalidated(1, "a", 5),
        called(9, "b", 4),
    ],
    "an old value while degraded": [connected("b"), *invalidated(1, "a", 5), called(9, "b", 4, degraded=True)],
    "an old value that was asked for before": [*invalidated(1, "a", 5), called(1.5, "a", 4, began=0.9)],
    "an invalidation that nobody was told of": [connected("b"), *invalidated(1, "a", 5, told=False), called(9, "b", 4)],
    "a wait that was too long": [called(6, "a", None, began=1, failure="WaitTimeoutError: waited 5 s")],
    "a caller in a frozen process": [
        entry(1, "a", "signal", signal="SIGSTOP", step="x"),
        entry(8, "conductor", "thawed", worker="a"),
        called(9, "a", 1, began=1),
    ],
}


@pytest.mark.parametrize("case", GOOD)
def test_a_good_log_is_good(case):
    """Every way in which a lease may end, and every old value that may be served."""
    assert complaints(GOOD[case], RULES) == []


BAD = {
    "two leases, and a removal of before": (
        [
            entry(0.9, "c", "asked", ask=1, operation="removed", keys=["k1"]),
            entry(0.95, "c", "removed", sent=0.9, ask=1, keys=["k1"], answer="done"),
            won(1, "a", "t1"),
            won(1.5, "b", "t2"),
        ],
        "b won beside a",
    ),
    "two leases": ([won(1, "a", "t1"), won(1.5, "b", "t2")], "b won beside a"),
    "two leases asked for at once": (
        [won(1, "a", "t1"), entry(1.005, "b", "acquire", sent=0.99, answer="Won", token="t2", number=None)],
        "b won beside a",
    ),
    "a successor in spite of a renewal": (
        [won(1, "a", "t1"), renewed(1.8, "a", "t1"), won(2.1, "b", "t2")],
        "b won beside a",
    ),
    "a late publish": ([won(1, "a", "t1"), won(2.1, "b", "t2"), published(2.5, "a", "t1")], "a published although b"),
    "a publish past an invalidation": (
        [won(1, "a", "t1"), removed(1.1, "c"), won(1.2, "b", "t2"), published(1.3, "a", "t1")],
        "a published although b",
    ),
    "an old value after one's own invalidation": ([*invalidated(1, "a", 5), called(1.2, "a", 4)], "a served 4"),
    "an old value after the announcement": (
        [connected("b"), *invalidated(1, "a", 5), entry(1.1, "b", "told", number=5), called(1.2, "b", 4)],
        "b served 4",
    ),
    "an old value after the announcement of a newer one": (
        [connected("b"), *invalidated(1, "a", 5), entry(1.1, "b", "told", number=6), called(1.2, "b", 4)],
        "b served 4",
    ),
    "an old value after too long": ([connected("b"), *invalidated(1, "a", 5), called(2.1, "b", 4)], "b served 4"),
    "an old value from the store": (
        [*invalidated(1, "a", 5), entry(1.5, "b", "acquire", sent=1.4, answer="Hit", token="t", number=4)],
        "b read 4 from the store",
    ),
    "a caller who waited too long": ([called(9, "a", 1, began=1)], "took 8.0 s"),
    "a caller who saw the store's failure": (
        [called(1, "a", None, failure="StoreUnavailableError: x")],
        "a caller in a got",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_log_is_found_out(case):
    """With one complaint that names who."""
    log, complaint = BAD[case]
    found = complaints(log, RULES)
    assert len(found) == 1
    assert complaint in found[0]


def test_a_strict_process_knows_when_the_store_knows():
    """No announcement has to reach it."""
    log = [connected("b"), *invalidated(1, "a", 5), called(1.2, "b", 4)]
    assert complaints(log, RULES) == []
    strict = Rules(lease_seconds=1.0, coherence_seconds=1.0, longest_call_seconds=5.0, is_strict=True)
    assert len(complaints(log, strict)) == 1


def test_a_row_counts():
    """What callers saw, fetches, publishes."""
    log = [
        entry(1, "a", "fetch", number=1, fetch=1),
        published(1.2, "a", "t1"),
        published(1.3, "b", "t2", "REFUSED"),
        called(1.5, "a", 1, began=1),
        called(1.5, "b", None, failure="WaitTimeoutError"),
    ]
    assert row(log, "k1") == {"answered": 1, "failed": 1, "slowest": 0.5, "fetches": 1, "refused": 1, "kept": 1}
