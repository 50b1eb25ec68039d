"""One function as the fleet sees it: what the store calls its keys and tags, and how its results become bytes."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ..clock import clock
from ..entry import MISSING, Lifetimes, SharedEntry
from ..errors import ConfigurationError
from ..fleet_port import FunctionToShare, LocalResults, Telling
from ..protocols import Codec, Key
from ..stats.counters import process_instance
from ..store_port import Kept, StoreLifetimes
from .codec import CodecError, codec_of
from .envelope import Envelope, Foreign, UnsealableError, open_envelope, seal
from .owed import EVERYTHING, Name, Put
from .process import Process
from .record_key import record_key, record_prefix, record_text
from .remote_errors import decode_error, encode_error

LONGEST_SECONDS: Final = 1e9
"""What a store is told instead of for ever: thirty years."""

LATE_SECONDS: Final = 1.0
"""How long after its lease would have lapsed somebody who was not woken may still ask what became of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharingOptions:
    """How functions share their results, as their coalescer was told.

    Attributes:
        lease_seconds: how long a lease lasts without being renewed.
        max_flight_seconds: how long one is renewed at most.
        max_body_bytes: the largest result that is shared.
        shared_errors: classes of errors that are rebuilt in other processes, beside those that a function declares.
        share_error_messages: whether the messages of all others travel.
        codec: makes bytes of results; ``None`` for what the annotations say.
        is_strict: nothing is kept in this process, and no call joins a question that has been sent.
        serves_when_degraded: local results are served while the store is out of reach.
    """

    lease_seconds: float
    max_flight_seconds: float
    max_body_bytes: int
    shared_errors: tuple[type[Exception], ...]
    share_error_messages: bool
    codec: Codec | None
    is_strict: bool
    serves_when_degraded: bool


class FleetFunction:
    """A function as the fleet sees it: a ``SharedFunction``, but for ``fetch``, which ``distributed`` adds.

    Args:
        process: this process's part of the fleet.
        facts: about the function.
        options: how results are shared.

    Raises:
        ConfigurationError: its results cannot be shared.

    Attributes:
        process: this process's part of the fleet.
        facts: about the function.
        options: how results are shared.
        counters: where its numbers are counted.
        trust: how far announcements were heard.
    """

    def __init__(self, process: Process, facts: FunctionToShare, options: SharingOptions) -> None:
        _require_a_name(facts)
        _require_no_instance(facts)
        store = process.store
        if facts.hides and store.digest_key is None:
            raise ConfigurationError(
                f"{facts.name}: a part of the key written with !h stands in a shared store as a keyed digest only, and"
                " the store has no key for it; give it one: digest_key=..., the same in every process"
            )
        self.process: Final = process
        self.facts: Final = facts
        self.options: Final = options
        self.counters: Final = facts.terms.counters
        self.trust: Final = process.horizon
        self.observers: Final = facts.terms.observers
        self._codec = codec_of(facts.function, name=facts.name, codec=options.codec)
        self._prefix = record_prefix(store.namespace, facts.name, self._codec.fingerprint)
        self._own_tag = f"function:{facts.name}"
        self._declared = (*facts.errors, *options.shared_errors)
        self._local: weakref.ref[LocalResults] = weakref.ref(facts.local)

    # ---- what the read-through asks ----

    @property
    def keeps_local(self) -> bool:
        """Whether results are kept in this process at all."""
        return not self.options.is_strict

    @property
    def serves_untrusted(self) -> bool:
        """Whether results that cannot be trusted are served, because the store is out of reach."""
        return self.process.is_degraded and self.options.serves_when_degraded

    def record_of(self, key: Key) -> str:
        """Return what the store calls a key."""
        return record_key(self._prefix, self._text_of(key))

    def give_back(self, record: str, lease: str) -> None:
        """End a lease that nobody has a use for."""
        self.process.link().abandon(record, lease)

    def invalidate(self, record: str) -> Telling:
        """Have a record removed everywhere."""
        return self.process.tell(("record", record))

    def invalidate_all(self) -> Telling:
        """Have every record of the function found dead everywhere."""
        return self.process.tell(("tag", self._own_tag))

    def prime(self, key: Key, entry: SharedEntry, lifetimes: Lifetimes | None, tags: Sequence[str]) -> Telling:
        """Have a record removed everywhere and a value put in its place, if it is to be kept."""
        text = self._text_of(key)
        record = record_key(self._prefix, text)
        put: Put | None = None
        if lifetimes is not None:
            kept = lifetimes

            began, names = self.process.tags.now(), self.names_of(tags)

            async def put_in_place(was_overtaken: Callable[[], bool]) -> None:
                token = self.process.new_token()
                won = await self.process.take_lease(record, token, lease_seconds=self.options.lease_seconds)
                if won:
                    versions = await self.process.versions_of(names)
                    # What was invalidated after the value was given, and before the versions were told, is not in them.
                    is_invalid = was_overtaken() or self.process.tags.have_moved(names, since=began)
                    body = None if is_invalid else self.body_of(entry, text, versions, kept)
                    if body is None:
                        await self.process.store.abandon(record, token=token)
                    else:
                        await self.process.store.publish(
                            record,
                            token=token,
                            body=body,
                            kind="keep",
                            lifetimes=self.store_lifetimes(kept, spent=clock.now() - entry.ended_at),
                            fetch_seconds=0.0,
                            announce=True,
                        )

            put = put_in_place
        return self.process.tell(("record", record), put)

    def distance(self) -> tuple[int, int, bool]:
        """Return how many invalidations wait, the breaker's state, and whether trust is lost."""
        process = self.process
        return len(process.owed), process.breaker_state, clock.now() >= process.horizon.until

    # ---- what announcements act on ----

    @property
    def local(self) -> LocalResults | None:
        """What it has in this process, if it still lives."""
        return self._local()

    def has_record(self, record: str) -> bool:
        """Whether a record is this function's."""
        return record.startswith(self._prefix)

    def has_tag(self, tag: str) -> bool:
        """Whether a tag is all of this function."""
        return tag in (self._own_tag, EVERYTHING[1])

    # ---- what a flight asks ----

    def names_of(self, tags: Iterable[str]) -> tuple[str, ...]:
        """Return what the store calls the tags of a call, those that everything of the function has included."""
        return (EVERYTHING[1], self._own_tag, *(name_of_tag(tag) for tag in tags))

    def owed_names(self, record: str, tags: Iterable[str]) -> frozenset[Name]:
        """Return the names of everything that has to be told before a record is read."""
        names: set[Name] = {("tag", name) for name in self.names_of(tags)}
        names.add(("record", record))
        return frozenset(names)

    def body_of(
        self, entry: SharedEntry, text: str, versions: Mapping[str, str], lifetimes: Lifetimes | None
    ) -> bytes | None:
        """Return the bytes of a result, or ``None`` if there are none, or too many; that is counted."""
        try:
            error = entry.error
            content = self._codec.encode(entry.value) if error is None else self._error_bytes(error)
            body = seal(
                "value" if entry.error is None else "error",
                content,
                text=text,
                lifetimes=Lifetimes(0.0) if lifetimes is None else lifetimes,
                tags=versions.items(),
            )
        except (CodecError, UnsealableError) as reason:
            self.process.tell_unshared(self.facts.name, str(reason))
            body = None
        if body is not None and len(body) > self.options.max_body_bytes:
            self.process.tell_unshared(
                self.facts.name, f"{len(body)} bytes are more than max_body_bytes={self.options.max_body_bytes}"
            )
            body = None
        if body is None:
            self.counters.unshared_results += 1
        return body

    def body_of_error(self, error: BaseException, text: str) -> bytes | None:
        """Return the bytes of a failure that is delivered to those who wait, or ``None`` if they are too many."""
        body = seal("error", self._error_bytes(error), text=text)
        return body if len(body) <= self.options.max_body_bytes else None

    def open(self, body: bytes, text: str) -> tuple[object, BaseException | None, Envelope] | None:
        """Return the value or the failure in some bytes, or ``None`` if they are of no use; that is counted."""
        envelope = open_envelope(body, text=text)
        if not isinstance(envelope, Foreign):
            try:
                if envelope.kind == "error":
                    return MISSING, decode_error(envelope.body, declared=self._declared), envelope
                return self._codec.decode(envelope.body), None, envelope
            except (CodecError, ValueError):
                pass
        self.counters.unreadable_records += 1
        return None

    def text_of(self, record: str) -> str:
        """Return the full text of a record's key."""
        return record_text(self._prefix, record)

    def store_lifetimes(self, lifetimes: Lifetimes | None, *, spent: float = 0.0) -> StoreLifetimes:
        """Return the lifetimes of a result as the store is told."""
        grace = self.options.lease_seconds + LATE_SECONDS
        if lifetimes is None:
            return StoreLifetimes(0.0, 0.0, grace)
        fresh = min(max(lifetimes.fresh_seconds - spent, 0.0), LONGEST_SECONDS)
        usable = min(max(lifetimes.usable_seconds - spent, 0.0), LONGEST_SECONDS)
        return StoreLifetimes(fresh, max(usable, fresh), grace)

    def _text_of(self, key: Key) -> str:
        return self.facts.write_key(key, self.process.store.digest_key)

    def _error_bytes(self, error: BaseException) -> bytes:
        return encode_error(
            error,
            declared=self._declared,
            share_messages=self.options.share_error_messages,
            origin=f"process {process_instance()} (pid {os.getpid()})",
        )


def name_of_tag(tag: str) -> str:
    """Return what the store calls a user's tag."""
    return f"tag:{tag}"


def remaining(kept: Kept, sealed: Lifetimes) -> Lifetimes:
    """Return what is left of a result's lifetimes, counted from the moment the store was asked.

    The store tells how much is left, and by a clock of its own; what the stretches are for stands in the envelope.
    """
    after_fresh = max(sealed.stale_seconds, sealed.fallback_seconds)
    fresh = kept.fresh_seconds if kept.fresh_seconds > 0 else min(kept.usable_seconds - after_fresh, 0.0)
    spent = max(min(sealed.fresh_seconds, LONGEST_SECONDS) - fresh, 0.0)
    return Lifetimes(
        fresh_seconds=fresh,
        stale_seconds=sealed.stale_seconds,
        fallback_seconds=sealed.fallback_seconds,
        refresh_after_seconds=max(sealed.refresh_after_seconds - spent, 0.0),
    )


def _require_a_name(facts: FunctionToShare) -> None:
    origin = facts.origin_name
    if facts.is_name_given:
        return
    if origin.startswith("__main__.") or "<locals>" in origin or "#" in facts.name:
        why = (
            "another process may have a different function of this name"
            if origin.startswith("__main__.")
            else "a function inside a function may be made many times"
        )
        raise ConfigurationError(
            f"{facts.name}: a function that shares its results over a store needs a name of its own, name=..., the same"
            f" in every process: {why}"
        )


def _require_no_instance(facts: FunctionToShare) -> None:
    if facts.instance_in_key:
        raise ConfigurationError(
            f"{facts.name}: its instance is in the key by its address, which means nothing to another process; name in"
            ' the key what identifies it, as in key="{self.tenant}:...", or write ignore=("self",) if the answer does'
            " not depend on it"
        )
