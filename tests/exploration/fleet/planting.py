"""Bugs planted by hand in the protocol: one small change each, which the exploration must catch."""

from __future__ import annotations

from coalesce_kit.backends.leased_flight import LeasedFlight
from coalesce_kit.backends.owed import Owed
from coalesce_kit.backends.process import Process
from coalesce_kit.backends.trust import Horizon
from coalesce_kit.cache.memory import MemoryCache
from coalesce_kit.cache.shared_through import SharedReadThrough, _PermissionToJoin
from coalesce_kit.cache.tags import TagTable
from coalesce_kit.stores.memory_server import MemoryServer
from tests.exploration.planting import Bug

FLEET_BUGS: tuple[Bug, ...] = (
    Bug(
        "a token per process",
        Process,
        "new_token",
        (("secrets.token_hex(_BYTES_OF_A_TOKEN)", "str(id(self))"),),
        "a lease lapses, one invalidation",
    ),
    Bug(
        "an invalidation keeps the token",
        MemoryServer,
        "invalidate",
        (
            ("in record.end_lease()", "in list(record.waiting)"),
            ("del self._records[key]", "record.version, record.usable_until = '', -math.inf"),
        ),
        "one invalidation",
    ),
    Bug(
        "no ticket",
        MemoryCache,
        "keep",
        (("self._is_changing or of_key.void or ticket.moved", "False"), ("if of_key.void or ticket.moved", "if False")),
        "an answer crosses an invalidation",
    ),
    Bug(
        "reads past its own invalidation",
        LeasedFlight,
        "_settle",
        (("await self._process.settle(self._function.owed_names(self.record, self._errand.tags))", "pass"),),
        "one invalidation, questions race",
    ),
    Bug(
        "any token wakes",
        LeasedFlight,
        "receive",
        (("and signal.token == self._waits_for", ""),),
        "who waits invalidates",
    ),
    Bug("no mailbox", LeasedFlight, "receive", (("self._mail = signal", "pass"),), "quiet, 2 processes"),
    Bug(
        "registers after the answer",
        MemoryServer,
        "acquire",
        (
            (
                "record.waiting[channel] = None",
                "__import__('asyncio').get_running_loop().call_soon(record.waiting.__setitem__, channel, None)",
            ),
        ),
        "quiet, 2 processes",
    ),
    Bug("no timer", LeasedFlight, "_ring", (("self._woken.set_result(None)", "pass"),), "the holder dies"),
    Bug(
        "fails open",
        MemoryServer,
        "publish",
        (
            (
                "if record is None:\n            return Published.REFUSED",
                "if record is None:\n            record = self._records[key] = Record(token=token)",
            ),
        ),
        "one invalidation",
    ),
    Bug(
        "acquire is not idempotent",
        MemoryServer,
        "acquire",
        (('record.token not in ("", token)', 'record.token != ""'),),
        "an answer is lost",
    ),
    Bug(
        "a reconnect keeps what is local",
        Horizon,
        "begin_generation",
        (("self.generation += 1", "pass"),),
        "a break of the subscription",
    ),
    Bug(
        "an announcement does not detach",
        TagTable,
        "invalidate",
        (("ticket.moved = True", "pass"),),
        "one invalidation",
    ),
    Bug(
        "a failure is for all",
        MemoryServer,
        "acquire",
        (("if after and record.outcome_of == after and", "if record.outcome_of and"),),
        "a fetch fails",
    ),
    Bug(
        "joining in strict mode",
        LeasedFlight,
        "_begin_to_ask",
        (("if self._function.options.is_strict", "if False"),),
        "strict, one invalidation",
    ),
    Bug(
        "the tags of a hit are not looked at",
        LeasedFlight,
        "_tags_hold",
        (("return False", "pass"), ("names = tuple(noted)", "return True")),
        "a tag is invalidated",
    ),
    Bug(
        "what was confirmed has lost a tag meanwhile",
        LeasedFlight,
        "_confirm_what_is_at_hand",
        (("and await self._tags_hold(at_hand.tag_versions)", ""),),
        "a break of the subscription, a tag",
    ),
    Bug(
        "a version that has moved is learned",
        LeasedFlight,
        "_tags_hold",
        (("await self._process.versions_of(names, anew=True) == noted", "True"),),
        "a tag is invalidated",
    ),
    Bug(
        "a fetch in the air is joined past the horizon",
        _PermissionToJoin,
        "is_good",
        (("return now < self._until or", "return True or"),),
        "deaf with a fetch in the air, one invalidation",
    ),
    Bug(
        "a local result is served past the horizon",
        SharedReadThrough,
        "_is_trusted",
        ((" and clock.now() < trust.until", ""),),
        "deaf, one invalidation",
    ),
    Bug(
        "a late publish is taken",
        MemoryServer,
        "publish",
        (("return Published.DELIVERED if record.outcome_of == token else Published.REFUSED", "pass"),),
        "the holder freezes and goes on",
    ),
    Bug(
        "a refresh is not announced",
        LeasedFlight,
        "_publish",
        (('announce=kind == "keep" and self._errand.purpose is Purpose.RENEW', "announce=False"),),
        "a refresh",
    ),
    Bug(
        "what could not be told is forgotten",
        Owed,
        "end",
        (("if not told:", "if False:"),),
        "cut off and back, one invalidation",
    ),
)
