"""The store over Redis or Valkey: one script an operation, over ``redis.asyncio``."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..clock import clock
from ..durations import Duration, to_seconds
from ..errors import ConfigurationError, StoreUnavailableError
from ..store_port import (
    HEARTBEAT_SECONDS,
    INLINE_BYTES,
    TAG_KEEP_SECONDS,
    Acquired,
    Busy,
    Hit,
    Kept,
    Outcome,
    Published,
    PublishKind,
    SignalStream,
    StoreLifetimes,
    Wait,
    Won,
)
from .breaker import BreakerState
from .redis_connections import find_endpoint
from .redis_link import RedisLink
from .redis_pipeline import Pipeline, Word
from .redis_scripts import Scripts
from .redis_signals import announce_channel

__all__ = ["RedisStore", "RedisStoreStats"]

LARGEST_ANSWER_BYTES: Final = 16_384
"""The largest body that a script answers with: a plain HMGET brings a larger one for a thirtieth of the work."""

_TRIES: Final = 3
_CHANGED: Final = "the record changed again and again while its body was being brought"


@dataclass(frozen=True, slots=True)
class RedisStoreStats:
    """What a ``RedisStore`` counted in its process, over all loops.

    Attributes:
        pipeline_operations: how many commands were sent to the server.
        noscript: how often it did not know a script and was sent the text.
        store_errors: how many operations ended without an answer, or refused.
        breaker_state: the worst of its loops: ``"open"``, ``"half-open"`` or ``"closed"``.
    """

    pipeline_operations: int
    noscript: int
    store_errors: int
    breaker_state: BreakerState


class RedisStore:
    """Leases, results and announcements on a Redis or Valkey server, over ``redis.asyncio``.

    It opens connections of its own, per event loop and at first use: at most two for operations, and one for signals
    (on a cluster one per primary). A client that is given is never used, only looked at. Example::

        store = RedisStore("redis://localhost:6379/0", namespace="odds")

    Args:
        client_or_url: a URL (``redis://``, ``rediss://``, ``unix://``), or a client of ``redis.asyncio`` that says
            where and how to connect: ``Redis``, ``RedisCluster``, or what ``Sentinel(...).master_for(...)`` returns.
        namespace: what tells the services on one server apart; part of every key and channel.
        digest_key: the secret with which parts of keys are hidden (``!h`` in a template).
        operation_timeout_seconds: how long an operation may take. If the loop was blocked meanwhile, it gets as much
            on top, at most once.

    Raises:
        ConfigurationError: the URL, the client, the namespace or the duration cannot work.
    """

    def __init__(
        self,
        client_or_url: object,
        *,
        namespace: str,
        digest_key: bytes | None = None,
        operation_timeout_seconds: Duration = 0.5,
    ) -> None:
        if not namespace or any(character in "{}:\n" for character in namespace):
            raise ConfigurationError(
                f"a namespace is a word without ':', '{{' and '}}', such as 'odds', not {namespace!r}"
            )
        self._namespace: Final = namespace
        self._digest_key: Final = digest_key
        self._timeout_seconds: Final = to_seconds(operation_timeout_seconds, name="operation_timeout_seconds")
        self._endpoint: Final = find_endpoint(client_or_url)
        self._scripts: Final = Scripts()
        self._announce: Final = announce_channel(namespace)
        self._links: dict[asyncio.AbstractEventLoop, RedisLink] = {}
        self._past = Counter[str]()  # what was counted on loops that are closed
        self._pid = os.getpid()
        self._inherited: Final[list[dict[asyncio.AbstractEventLoop, RedisLink]]] = []

    def __repr__(self) -> str:
        return f"<RedisStore namespace={self._namespace!r}>"

    @property
    def namespace(self) -> str:
        """See the port."""
        return self._namespace

    @property
    def digest_key(self) -> bytes | None:
        """See the port."""
        return self._digest_key

    def stats(self) -> RedisStoreStats:
        """Return what was counted so far. Any thread."""
        links = list(self._links.values())
        counted = sum((link.counted() for link in links), Counter(self._past))
        states = [link.breaker.state for link in links]
        return RedisStoreStats(
            counted["operations"],
            counted["noscript"],
            counted["errors"],
            "open" if "open" in states else "half-open" if "half-open" in states else "closed",
        )

    # ---- the port ----

    async def read(self, key: str, *, have: str | None = None) -> Kept | None:
        """See the port."""
        pipeline, started = self._link().pipeline, clock.now()
        for _ in range(_TRIES):
            answer = await pipeline.run(self._scripts.read, key, have or "", LARGEST_ANSWER_BYTES, started=started)
            if answer[0] == b"missing":
                return None
            kept = await self._kept(pipeline, key, answer[1:], started)
            if kept is not None:
                return kept
        raise StoreUnavailableError(_CHANGED)

    async def acquire(
        self,
        key: str,
        *,
        token: str,
        lease_seconds: float,
        wake: bool,
        after: str | None = None,
        reject: str | None = None,
        refresh_of: str | None = None,
        wait_if_held: bool = True,
    ) -> Acquired:
        """See the port."""
        _check_token(token)
        link, started = self._link(), clock.now()
        channel = link.signals.wake_channel if wake and link.signals.audience.is_connected else ""
        words: list[Word] = [token, channel, _ms(lease_seconds), LARGEST_ANSWER_BYTES]
        words += [after or "", reject or "", refresh_of or "", "" if wait_if_held else "1"]
        while words[-1] == "":
            words.pop()  # a word that is not sent need not be written and read: most questions have none of these
        for _ in range(_TRIES):
            answer = await link.pipeline.run(self._scripts.acquire, key, *words, started=started)
            acquired = await self._acquired(link.pipeline, key, after, answer, started)
            if acquired is not None:
                return acquired
        raise StoreUnavailableError(_CHANGED)

    async def renew(self, leases: Sequence[tuple[str, str]], *, lease_seconds: float) -> Sequence[bool]:
        """See the port."""
        lease = _ms(lease_seconds)
        calls = [(key, token, lease) for key, token in leases]
        answers = await self._link().pipeline.run_each(self._scripts.renew, calls)
        return [answer == 1 for answer in answers]

    async def publish(
        self,
        key: str,
        *,
        token: str,
        body: bytes,
        kind: PublishKind,
        lifetimes: StoreLifetimes,
        fetch_seconds: float,
        announce: bool = False,
    ) -> Published:
        """See the port."""
        _check_token(token)
        answer = await self._link().pipeline.run(
            self._scripts.publish,
            key,
            token,
            body,
            _ms(lifetimes.fresh_seconds),
            _ms(lifetimes.usable_seconds),
            _ms(lifetimes.grace_seconds),
            repr(float(fetch_seconds)),
            kind,
            self._announce if announce else "",
            INLINE_BYTES,
        )
        return Published(answer.decode())

    async def abandon(self, key: str, *, token: str) -> bool:
        """See the port."""
        return bool(await self._link().pipeline.run(self._scripts.abandon, key, token))

    async def invalidate(self, keys: Sequence[str]) -> None:
        """See the port."""
        await self._link().pipeline.run_each(self._scripts.invalidate, [(key, self._announce) for key in keys])

    async def tag_versions(
        self, tags: Sequence[str], *, replace: bool = False, keep_seconds: float = TAG_KEEP_SECONDS
    ) -> Sequence[str]:
        """See the port."""
        replaced, keep = int(replace), _ms(keep_seconds)
        calls = [(self._tag_key(tag), secrets.token_hex(8), replaced, keep, self._announce, tag) for tag in tags]
        answers = await self._link().pipeline.run_each(self._scripts.tag_version, calls)
        return [answer.decode() for answer in answers]

    def signals(self, *, heartbeat_seconds: float = HEARTBEAT_SECONDS) -> SignalStream:
        """See the port."""
        return self._link().signals.audience.join(heartbeat_seconds)

    async def aclose(self) -> None:
        """See the port."""
        link = self._links.pop(asyncio.get_running_loop(), None)
        if link is not None:
            self._past.update(link.counted())
            await link.close()

    # ---- inside ----

    def _link(self) -> RedisLink:
        loop = asyncio.get_running_loop()
        if self._pid != os.getpid():
            # After a fork the connections are the parent's. They are kept, and never looked at: to let go of them would
            # take its sockets out of its selector.
            self._pid = os.getpid()
            self._inherited.append(self._links)
            self._links, self._past = {}, Counter()
        link = self._links.get(loop)
        if link is None:
            for other, gone in tuple(self._links.items()):
                if other.is_closed():
                    self._links.pop(other, None)
                    self._past.update(gone.counted())
            link = self._links[loop] = RedisLink(self._endpoint, self._scripts, self._namespace, self._timeout_seconds)
        return link

    def _tag_key(self, tag: str) -> str:
        # No record's name is empty, so no record has such a key; braces would choose a cluster's slot.
        return f"cc1:{self._namespace}::tag:{tag.replace('%', '%25').replace('{', '%7B').replace('}', '%7D')}"

    async def _acquired(
        self, pipeline: Pipeline, key: str, after: str | None, answer: list[Any], started: float
    ) -> Acquired | None:
        """Read the script's answer; ``None`` if it has to be asked again, because a body was replaced meanwhile."""
        match answer:
            case [b"won"]:
                return Won(None)
            case [b"won", *fields]:
                return Won(await self._kept(pipeline, key, fields, started))
            case [b"wait", token, left]:
                return Wait(token.decode(), left / 1000, None)
            case [b"wait", token, left, *fields]:
                return Wait(token.decode(), left / 1000, await self._kept(pipeline, key, fields, started))
            case [b"busy"]:
                return Busy()
            case [b"outcome", kind, b"large", _]:
                of, body = await pipeline.command("HMGET", key, "o", "x", started=started)
                same = of is not None and of.decode() == after
                return Outcome("error" if kind == b"error" else "once", body) if same else None
            case [b"outcome", kind, _, body]:
                return Outcome("error" if kind == b"error" else "once", body)
        kept = await self._kept(pipeline, key, answer[1:], started)
        return None if kept is None else Hit(kept)

    async def _kept(self, pipeline: Pipeline, key: str, fields: list[Any], started: float) -> Kept | None:
        """Read a result as a script answers it, and bring its body; ``None`` if it was replaced meanwhile."""
        version, fresh, usable, seconds, how, body = fields
        if how == b"large":
            now_version, body = await pipeline.command("HMGET", key, "r", "b", started=started)
            if now_version != version:
                return None
        return Kept(version.decode(), None if how == b"same" else body, fresh / 1000, usable / 1000, float(seconds))


def _ms(seconds: float) -> int:
    """Return whole milliseconds, at least one of a time that is not nothing."""
    return max(round(seconds * 1000), 1) if seconds > 0 else 0


def _check_token(token: str) -> None:
    if not token:
        raise ValueError("a token is a random text, drawn for one call, not ''")
