"""What must hold of a log, whatever was done to workers and server while it was written.

* Two fetches of a key that overlap in time: between the two *won*s the log shows the lapse, the voiding or the loss of
  the earlier token, and the earlier one's publish was refused or came first.
* No value older than an invalidation is served by the process that invalidated, after the call of ``invalidate``; by
  another process after the announcement has reached it, nor later than ``coherence_seconds`` after the store was told;
  by any process in strict mode after the store was told; nor read from the store by anybody, ever.
* Every caller ends within its bounds, with a value, or with ``WaitTimeoutError``.

A process that is cut off serves its own copies meanwhile (degraded), which is no promise broken. A question that was
sent and not answered, as its process was killed, or gave it up, may still be done by the server at any later time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

Entry = dict[str, Any]


@dataclass(frozen=True)
class Rules:
    """What the workers were told.

    Attributes:
        lease_seconds: how long a lease lasts.
        coherence_seconds: how long an announcement may be on its way.
        longest_call_seconds: how long a caller may take: the longest wait, and a fetch, and a busy machine.
        is_strict: whether the workers are strict.
    """

    lease_seconds: float
    coherence_seconds: float
    longest_call_seconds: float
    is_strict: bool = False


@dataclass
class Term:
    """The life of one token: from the answer that gave a process the lease to the first question that ended it."""

    who: str
    key: str
    token: str
    asked_at: float
    won_at: float
    ended_at: float = float("inf")


def complaints(log: Sequence[Entry], rules: Rules) -> list[str]:
    """Return everything that is wrong with a log."""
    log = [*log, *_unanswered(log)]
    return [*_overlaps(log, rules), *_stale_serves(log, rules), *_stale_reads(log), *_callers(log, rules)]


def _unanswered(log: Sequence[Entry]) -> Iterator[Entry]:
    """The questions of which the log has no answer, as if one had come at the end of time."""
    answered = {(entry["who"], entry["ask"]) for entry in log if "ask" in entry and entry["what"] != "asked"}
    for entry in log:
        if entry["what"] == "asked" and (entry["who"], entry["ask"]) not in answered:
            yield {**entry, "what": entry["operation"], "sent": entry["at"], "at": float("inf"), "answer": "none"}


def terms_of(log: Sequence[Entry]) -> dict[str, Term]:
    """Every lease that was won, by its token."""
    terms: dict[str, Term] = {}
    for entry in log:
        if entry["what"] == "acquire" and entry["answer"] == "Won" and entry["token"] not in terms:
            terms[entry["token"]] = Term(entry["who"], entry["key"], entry["token"], entry["sent"], entry["at"])
    for entry in log:
        if entry["what"] in ("publish", "abandon") and entry["token"] in terms:
            term = terms[entry["token"]]
            term.ended_at = min(term.ended_at, entry["sent"])
    return terms


def _overlaps(log: Sequence[Entry], rules: Rules) -> Iterator[str]:
    by_key: dict[str, list[Term]] = defaultdict(list)
    for term in terms_of(log).values():
        by_key[term.key].append(term)
    for key, terms in by_key.items():
        for earlier, later in combinations(sorted(terms, key=lambda term: term.won_at), 2):
            # Asked at the same time, only the server knows which was first; both cannot be.
            is_ordered = earlier.won_at <= later.asked_at
            explained = _has_ended(log, earlier, later, rules) or (
                not is_ordered and _has_ended(log, later, earlier, rules)
            )
            if later.won_at <= earlier.ended_at and not explained:
                yield f"{key}: {later.who} won beside {earlier.who}, whose lease had not ended ({earlier.token[:8]})"
            if is_ordered and not _was_fenced(log, earlier, later):
                yield f"{key}: {earlier.who} published although {later.who} had succeeded it ({earlier.token[:8]})"


def _has_ended(log: Sequence[Entry], earlier: Term, later: Term, rules: Rules) -> bool:
    """Whether the log shows why a token was succeeded: it lapsed, was voided, or was lost with the server's data."""
    # It lapses so long after the server took the last word of its holder, which is not before that was sent.
    last = earlier.asked_at
    for entry in log:
        if entry["what"] == "renew" and entry["sent"] <= later.won_at and _was_renewed(entry, earlier.token):
            last = max(last, entry["sent"])
        is_removal = entry["what"] == "removed" and earlier.key in entry["keys"]
        # One that was given up may still be on its way.
        done_by = entry["at"] if is_removal and entry["answer"] == "done" else float("inf")
        if is_removal and earlier.asked_at <= done_by and entry["sent"] <= later.won_at:
            return True
    if later.won_at - last >= rules.lease_seconds:
        return True
    return any(start <= later.won_at and earlier.asked_at <= end for start, end in _losses(log))


def _was_renewed(entry: Entry, token: str) -> bool:
    answers = dict(zip(entry["tokens"], entry["answer"], strict=True)) if isinstance(entry["answer"], list) else {}
    return bool(answers.get(token))


def _losses(log: Sequence[Entry]) -> list[tuple[float, float]]:
    """The times in which the server lost what it had."""
    starts = {entry["loss"]: entry["at"] for entry in log if entry["what"] == "losing data"}
    ends = {entry["loss"]: entry["at"] for entry in log if entry["what"] == "lost data"}
    return [(start, ends.get(loss, float("inf"))) for loss, start in starts.items()]


def _was_fenced(log: Sequence[Entry], earlier: Term, later: Term) -> bool:
    """Whether the earlier one's publish was refused or came first. One that is repeated is sent when it was first."""
    return earlier.ended_at <= later.won_at or not any(
        entry["what"] == "publish" and entry["token"] == earlier.token and entry["answer"] in ("KEPT", "DELIVERED")
        for entry in log
    )


def _stale_serves(log: Sequence[Entry], rules: Rules) -> Iterator[str]:
    invalidations = [entry for entry in log if entry["what"] == "invalidate"]
    told = {(entry["who"], entry["key"], entry["number"]): entry for entry in log if entry["what"] == "invalidated"}
    for call in log:
        if call["what"] != "call" or call["number"] is None:
            continue
        for invalidation in invalidations:
            if invalidation["key"] != call["key"] or invalidation["number"] <= call["number"]:
                continue
            since = _in_force_since(log, invalidation, told, call, rules)
            if since is not None and since <= call["began"]:
                yield (
                    f"{call['key']}: {call['who']} served {call['number']} at {call['at']:.3f}, asked at"
                    f" {call['began']:.3f}, although {invalidation['who']} had invalidated it for"
                    f" {invalidation['number']} at {invalidation['called']:.3f} (in force since {since:.3f})"
                )


def _in_force_since(
    log: Sequence[Entry], invalidation: Entry, told: dict[Any, Entry], call: Entry, rules: Rules
) -> float | None:
    """From when on a process must know of an invalidation; ``None`` if it need not."""
    if invalidation["who"] == call["who"]:
        at: float = invalidation["at"]  # written down after the call of invalidate() had returned
        return at
    done = told.get((invalidation["who"], invalidation["key"], invalidation["number"]))
    if done is None or not done["told"] or call["degraded"] or _is_cut_off(log, call["who"], call["began"]):
        return None
    if rules.is_strict:
        since: float = done["at"]
        return since
    heard = [
        entry["at"]
        for entry in log
        if entry["what"] == "told"
        and (entry["who"], entry["key"]) == (call["who"], call["key"])
        and invalidation["number"] <= entry["number"]
    ]
    later: float = min([done["at"] + rules.coherence_seconds, *heard[:1]])
    return later


def _is_cut_off(log: Sequence[Entry], who: str, at: float) -> bool:
    """Whether a process knew at a time that it hears nothing."""
    state = "lost"
    for entry in log:
        if entry["who"] == who and entry["what"] in ("connected", "lost") and entry["at"] <= at:
            state = entry["what"]
    return state == "lost"


def _stale_reads(log: Sequence[Entry]) -> Iterator[str]:
    removed: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for entry in log:
        if entry["what"] == "invalidated" and entry["told"]:
            removed[entry["key"]].append((entry["at"], entry["number"]))
    for entry in log:
        if entry["what"] not in ("read", "acquire") or entry.get("number") is None:
            continue
        for at, number in removed[entry["key"]]:
            if at <= entry["sent"] and entry["number"] < number:
                yield (
                    f"{entry['key']}: {entry['who']} read {entry['number']} from the store although {number} had been"
                    " invalidated there"
                )


def _callers(log: Sequence[Entry], rules: Rules) -> Iterator[str]:
    for call in log:
        if call["what"] != "call":
            continue
        took = call["at"] - call["began"] - _frozen(log, call)
        if took > rules.longest_call_seconds:
            yield f"{call['key']}: a caller in {call['who']} took {took:.1f} s"
        if call["failure"] is not None and not call["failure"].startswith("WaitTimeoutError"):
            yield f"{call['key']}: a caller in {call['who']} got {call['failure']}"


def _frozen(log: Sequence[Entry], call: Entry) -> float:
    """How long its process stood still while a caller waited."""
    total, since = 0.0, None
    for entry in log:
        if entry["what"] == "signal" and entry["signal"] == "SIGSTOP" and entry["who"] == call["who"]:
            since = max(entry["at"], call["began"])
        elif entry["what"] == "thawed" and entry["worker"] == call["who"] and since is not None:
            total += max(min(entry["at"], call["at"]) - since, 0.0)
            since = None
    return total


def row(log: Sequence[Entry], key: str) -> dict[str, Any]:
    """What happened to one key: what callers saw, fetches, fenced publishes."""
    calls = [entry for entry in log if entry["what"] == "call" and entry["key"] == key]
    publishes = [entry for entry in log if entry["what"] == "publish" and entry["key"] == key]
    return {
        "answered": sum(call["failure"] is None for call in calls),
        "failed": sum(call["failure"] is not None for call in calls),
        "slowest": max((call["at"] - call["began"] for call in calls), default=0.0),
        "fetches": sum(entry["what"] == "fetch" and entry["key"] == key for entry in log),
        "refused": sum(entry["answer"] == "REFUSED" for entry in publishes),
        "kept": sum(entry["answer"] == "KEPT" for entry in publishes),
    }
