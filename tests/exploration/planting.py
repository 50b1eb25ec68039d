"""Bugs planted by hand: one small change to the source of one function, undone afterwards."""

from __future__ import annotations

import functools
import inspect
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType
from typing import Any

from coalesce_kit.backends import flight, in_process
from coalesce_kit.backends.flight import PendingRequest
from coalesce_kit.backends.in_process import RequestCoalescer
from coalesce_kit.cache.memory import MemoryCache
from coalesce_kit.cache.policy import CachePolicy
from coalesce_kit.cache.read_through import ReadThrough
from coalesce_kit.cache.refreshing import Refreshes
from coalesce_kit.cache.shelf import Shelf
from coalesce_kit.cache.tags import TagTable
from coalesce_kit.tickets import Tickets


@dataclass(frozen=True, slots=True)
class Bug:
    """A bug that may be planted.

    Attributes:
        name: what is wrong then.
        owner: the class, or module, whose function is changed.
        function: its name.
        changes: pieces of its source and what takes their place; each occurs exactly once.
        scenario: the scenario that catches it.
    """

    name: str
    owner: Any
    function: str
    changes: tuple[tuple[str, str], ...]
    scenario: str

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Have the bug in the package while the block runs."""
        original = getattr(self.owner, self.function)
        source = _source_of(original)
        for old, new in self.changes:
            found = source.count(old)
            assert found == 1, f"{self.name}: {old!r} is {found} times in {original.__qualname__}"
            source = source.replace(old, new)
        module = sys.modules[original.__module__]
        there: dict[str, Any] = {}
        # The future flag is the module's: annotations are not looked up.
        code = compile("from __future__ import annotations\n" + source, f"<planted: {self.name}>", "exec")
        exec(code, vars(module), there)
        setattr(self.owner, self.function, there[self.function])
        try:
            yield
        finally:
            setattr(self.owner, self.function, original)


@functools.cache
def _source_of(function: Any) -> str:
    """Return the source that ``function`` was made of: once, and not what is in its file by now."""
    source = textwrap.dedent(inspect.getsource(function))
    compiled = compile("from __future__ import annotations\n" + source, "<source>", "exec")
    codes = (code for code in compiled.co_consts if isinstance(code, CodeType))
    is_the_same = any(_names_in(code) == _names_in(function.__code__) for code in codes)
    assert is_the_same, f"{function.__qualname__} is not what is in its file any more: it was changed after the import"
    return source


def _names_in(code: CodeType) -> tuple[object, ...]:
    return code.co_name, code.co_names, code.co_varnames


_LOOP = "__import__('asyncio').get_running_loop()"

BUGS = (
    Bug(
        "retire before publish",
        ReadThrough,
        "keep_value",
        (
            ("self._note(key, ", f"{_LOOP}.call_soon({_LOOP}.call_soon, lambda: self._note(key, "),
            ("instance))", "instance)))"),
        ),
        "kept",
    ),
    Bug(
        "no look into the cache after the slot was won",
        PendingRequest,
        "_run",
        (("None if self._look is None else self._look(self.key)", "None"),),
        "prime races a load",
    ),
    Bug(
        "removal by key instead of identity",
        PendingRequest,
        "_decide",
        (("if not self._detached:\n        self._leave_slot()", "self.table.pending.pop(self.key, None)"),),
        "prime without a cache",
    ),
    Bug(
        "joining a dying flight",
        PendingRequest,
        "give_up",
        (("self.detach()", "self._detached = True"),),
        "leader and 1 waiter, 1 cancel, 1 invalidation",
    ),
    Bug(
        "the ticket is not checked at publish",
        MemoryCache,
        "keep",
        (("self._is_changing or of_key.void or ticket.moved", "False"), ("if of_key.void or ticket.moved", "if False")),
        "invalidated while loading",
    ),
    Bug(
        "the ticket is not checked at publish of a failure",
        ReadThrough,
        "keep_error",
        (("ticket is None or not ticket.is_good() or", "ticket.of_key.__setattr__('void', False) or"),),
        "remembered failure",
    ),
    Bug(
        "the ticket is not checked at join",
        PendingRequest,
        "may_be_joined",
        (("and (ticket is None or ticket.is_good())", ""),),
        "leader and 2 waiters, 1 invalidation",
    ),
    Bug(
        "the count is not decremented on cancel",
        PendingRequest,
        "leave",
        (("self.callers.pop(future, None)", "self.callers.get(future)"),),
        "leader and 1 waiter, 1 cancel, 1 invalidation",
    ),
    Bug(
        "one ticket slot per key",
        Tickets,
        "reserve",
        (("ticket.older = youngest", "ticket.older = None"),),
        "over age, kept",
    ),
    Bug(
        "the flight is cancelled with its leader",
        PendingRequest,
        "leave",
        (("if not self.callers and not self._held", "if not self.callers or self.leader is None"),),
        "leader and 2 waiters, 1 cancel",
    ),
    Bug(
        "a cancellation inside a fetch cancels its callers",
        flight,
        "as_told",
        (("asyncio.CancelledError | GeneratorExit", "GeneratorExit"),),
        "cancelled from inside, 2 waiters, 1 cancel",
    ),
    Bug(
        "nobody cancels a fetch that nobody waits for",
        PendingRequest,
        "leave",
        (("if not self.callers and not self._held", "if False"),),
        "leader and 2 waiters, 1 cancel",
    ),
    Bug(
        "an older fetch is published over a younger one",
        MemoryCache,
        "keep",
        (("replaced.ticket > ticket.number", "False"),),
        "over age, kept",
    ),
    Bug(
        "an over-age flight is joined",
        PendingRequest,
        "may_be_joined",
        (("now <= self.joinable_until\n        and ", ""),),
        "over age",
    ),
    Bug(
        "invalidating voids tickets and drops nothing",
        Shelf,
        "invalidate",
        (("return voided + self.cache.drop(key)", "return voided"),),
        "invalidated while loading",
    ),
    Bug(
        "invalidating drops and voids no ticket",
        Shelf,
        "invalidate",
        (("voided = self._tickets.void(key)", "voided = 0"),),
        "refresh and invalidate race a load",
    ),
    Bug(
        "a tag's invalidation leaves the fetches in the air",
        TagTable,
        "invalidate",
        (("ticket.moved = True", "pass"),),
        "a tag of two keys",
    ),
    Bug(
        "a tag's invalidation leaves the entries",
        TagTable,
        "have_moved",
        (("> since", "> since + 10**9"),),
        "a tag of two keys",
    ),
    Bug(
        "prime leaves the fetches in the air",
        ReadThrough,
        "prime",
        (("self._shelf.invalidate(key)", "pass"),),
        "prime races a load",
    ),
    Bug(
        "the edge of a wait is never added",
        in_process,
        "wait_inside",
        (("waiting.waits_for[awaited] = waiting.waits_for.get(awaited, 0) + 1", "pass"),),
        "recursion in a cycle, 1 cancel",
    ),
    Bug(
        "a cancellation follows a recursion for ever",
        PendingRequest,
        "_may_be_in_vain",
        (("return outer is not None", "return False"),),
        "recursion in a cycle, 1 cancel",
    ),
    Bug(
        "several refreshes of one key at once",
        Refreshes,
        "start",
        (("self._is_running(key, old)", "False"),),
        "stale, 2 readers, 1 invalidation",
    ),
    Bug(
        "a waiter is not timed out with the first one",
        PendingRequest,
        "_let_go",
        (("self._wait_timer = self._call_later(left, self._let_go, max_wait)", "pass"),),
        "waiting times out",
    ),
    Bug(
        "a zombie's result is kept",
        ReadThrough,
        "keep_value",
        (("ticket is not None and not", "ticket is not None or"),),
        "zombies, 2 cancels",
    ),
    Bug(
        "the wait timer outlives the flight",
        PendingRequest,
        "_decide",
        (("if self._wait_timer is not None:\n        self._wait_timer.cancel()", "pass"),),
        "waiting times out",
    ),
    Bug(
        "a refused call is not counted",
        RequestCoalescer,
        "_count_rejected",
        (("counters.rejected_requests += 1", "pass"),),
        "aclose() races a call",
    ),
    Bug(
        "who waits gets nothing",
        PendingRequest,
        "_decide",
        (("future.set_result(outcome)", "future.set_result(outcome if future is next(iter(callers)) else None)"),),
        "leader and 2 waiters, 1 cancel",
    ),
    Bug(
        "one table of flights for all loops",
        RequestCoalescer,
        "get_or_fetch",
        (("self._tables.get(loop)", "next(iter(self._tables.values()), None)"),),
        "two loops, 2 callers",
    ),
    Bug(
        "the edge of a wait is never removed",
        in_process,
        "stop_waiting",
        (("if waiting.waits_for is None", "if True"),),
        "recursion in a cycle that has ended",
    ),
    Bug(
        "a refused recursion is not counted",
        RequestCoalescer,
        "_count_rejected",
        (("counters.recursions_refused += recursions", "pass"),),
        "recursion in a cycle, 1 cancel",
    ),
    Bug(
        "a fetch may take twice as long as it may",
        PendingRequest,
        "begin",
        (("self._call_later(terms.fetch_timeout_seconds,", "self._call_later(2 * terms.fetch_timeout_seconds,"),),
        "a fetch times out",
    ),
    Bug(
        "a fetch that is to finish is abandoned",
        PendingRequest,
        "leave",
        (("if not self.callers and not self._held", "if not self.callers"),),
        "on_abandon=finish, 2 cancels",
    ),
    Bug(
        "a fetch goes on for no patient reader who joins",
        PendingRequest,
        "adapt_to",
        (("self.hold()", "pass"),),
        "stale, a refresh and a reader who waits, 2 cancels",
    ),
    Bug(
        "refresh is given what is kept",
        PendingRequest,
        "adapt_to",
        (("self._look = None", "pass"),),
        "refresh and prime race a load",
    ),
    Bug(
        "a detached flight stays in its table",
        PendingRequest,
        "_land",
        (("self.table.detached.discard(self)", "pass"),),
        "prime without a cache",
    ),
    Bug(
        "an ended flight leads to its task",
        PendingRequest,
        "_land",
        (("self.task = self.key = self.ticket = ", "self.ticket = "),),
        "leader and 2 waiters, 1 cancel",
    ),
    Bug(
        "a stale value is never refreshed",
        ReadThrough,
        "answer",
        (("if verdict is Verdict.SERVE_AND_REFRESH", "if False"),),
        "stale, 2 readers, 1 invalidation",
    ),
    Bug(
        "a fallback is given although nothing has failed",
        CachePolicy,
        "judge",
        (("FALLBACK:\n        return Verdict.FETCH", "FALLBACK:\n        return Verdict.SERVE"),),
        "stale on error, 2 readers, 1 invalidation",
    ),
    Bug(
        "a stale hit counts as a fresh one",
        ReadThrough,
        "_serve",
        (("self._counters.stale_hits += 1", "self._counters.cache_hits += 1"),),
        "stale, 2 readers, 1 invalidation",
    ),
    Bug(
        "a failed fetch counts as a cancelled one",
        flight,
        "count_end",
        (("counters.fetch_errors += failed", "counters.fetch_cancelled += failed"),),
        "kept",
    ),
    Bug(
        "a wait that is timed out counts twice",
        PendingRequest,
        "_let_go",
        (("counters.wait_timeouts += expired", "counters.wait_timeouts += 2 * expired"),),
        "waiting times out",
    ),
    Bug(
        "an abandoned fetch is not counted",
        PendingRequest,
        "_abandon",
        (("counters.abandoned_fetches += 1", "pass"),),
        "leader and 1 waiter, 1 cancel, 1 invalidation",
    ),
    Bug(
        "closing cuts at once",
        in_process,
        "drain",
        (("deadline = clock.now() + seconds", "deadline = clock.now()"),),
        "aclose() races a call",
    ),
    Bug(
        "closing never cuts",
        RequestCoalescer,
        "drain",
        (("await cut(unfinished,", "await cut([],"),),
        "aclose() races a call",
    ),
    Bug(
        "closing refuses nobody",
        RequestCoalescer,
        "aclose",
        (("table.closed = True", "pass"),),
        "aclose() races a call",
    ),
)
