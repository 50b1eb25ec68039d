"""This process's part of a fleet: one store, what was heard from it, what it has still to be told, and who shares.

What announcements say acts on the whole process, whichever loop has heard it. The store's absence is a state of the
whole process, too: *degraded*. Calls are answered without it, and it is told in one line each way.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import secrets
import weakref
from collections.abc import Awaitable, Mapping, Sequence
from typing import Final, Protocol, TypeVar

from ..clock import clock
from ..errors import StoreUnavailableError
from ..fleet_port import LocalResults
from ..stats.observer import Observers, StateChanged
from ..store_port import TAG_KEEP_SECONDS, LeaseStore, Won
from .leases import STORE_ERRORS
from .link import Link
from .owed import Batch, Item, Name, Owed
from .trust import Horizon, TagVersions

logger = logging.getLogger(__name__)

T = TypeVar("T")

_BYTES_OF_A_TOKEN: Final = 16


class WithoutStoreError(Exception):
    """The store could not be asked or told; its cause says why. It never reaches a caller."""


class Sharing(Protocol):
    """A function that shares its results, as far as announcements act on it."""

    @property
    def local(self) -> LocalResults | None:
        """What it has in this process, if it still lives."""
        ...

    @property
    def observers(self) -> Observers | None:
        """Who is told what happens to it."""
        ...

    def has_record(self, record: str) -> bool:
        """Whether a record is this function's."""
        ...

    def has_tag(self, tag: str) -> bool:
        """Whether a tag is all of this function."""
        ...


class Process:
    """This process's part of a fleet.

    Args:
        store: the store.
        lease_seconds: how long a lease lasts.
        coherence_seconds: for so long local results are good after a moment up to which everything was heard.

    Attributes:
        store: the store.
        horizon: how far announcements were heard.
        tags: the versions of tags that are known.
        owed: what the store was not told yet.
        is_degraded: the store is out of reach.

    *Concurrency*: any thread, any number of loops.
    """

    def __init__(self, store: LeaseStore, *, lease_seconds: float, coherence_seconds: float) -> None:
        self.store: Final = store
        self.horizon: Final = Horizon(coherence_seconds)
        self.tags: Final = TagVersions()
        self.owed: Final = Owed()
        self.is_degraded = False
        self._lease_seconds = lease_seconds
        self._heartbeat_seconds = coherence_seconds / 3
        self._links: dict[asyncio.AbstractEventLoop, Link] = {}
        self._functions: weakref.WeakSet[Sharing] = weakref.WeakSet()
        self._keep_tags_seconds = TAG_KEEP_SECONDS
        self._pid = os.getpid()
        self._unshared_told: set[str] = set()
        self._refusals_told: set[str] = set()

    # ---- who takes part ----

    def add(self, function: Sharing, *, usable_seconds: float) -> None:
        """Have announcements act on a function, as long as it lives."""
        self._functions.add(function)
        self.keep_tags(usable_seconds)

    def functions(self) -> list[Sharing]:
        """Return those that live."""
        return list(self._functions)

    def link(self) -> Link:
        """Return the running loop's link to the store, made if need be."""
        loop = asyncio.get_running_loop()
        link = self._links.get(loop)
        if link is None or self._pid != os.getpid():
            link = self._open(loop)
        return link

    def find_link(self) -> Link | None:
        """Return the running loop's link, if it has one."""
        return self._links.get(asyncio.get_running_loop())

    async def close_link(self, *, deadline_seconds: float) -> None:
        """End the running loop's link; a later question opens another."""
        loop = asyncio.get_running_loop()
        link = self._links.get(loop)
        if link is not None:
            await link.aclose(deadline_seconds=deadline_seconds)
            if self._links.get(loop) is link:
                del self._links[loop]
            self.horizon.leave(link)
            await self.store.aclose()

    def _open(self, loop: asyncio.AbstractEventLoop) -> Link:
        if self._pid != os.getpid():
            # After a fork: the loops, and what is owed, are the parent's.
            self._pid = os.getpid()
            self._links.clear()
            self.owed.clear()
            self.is_degraded = False
        for other in [other for other in self._links if other.is_closed()]:
            self.horizon.leave(self._links.pop(other, None))
        link = self._links[loop] = Link(
            self.store, self, heartbeat_seconds=self._heartbeat_seconds, lease_seconds=self._lease_seconds
        )
        return link

    # ---- asking the store ----

    def new_token(self) -> str:
        """Draw a token."""
        return secrets.token_hex(_BYTES_OF_A_TOKEN)

    def jitter_seconds(self) -> float:
        """Draw by how much a waiter is late, so that not all come at once."""
        return random.uniform(0.005, 0.05)  # no secret

    async def ask(self, question: Awaitable[T]) -> T:
        """Await an answer of the store, and note whether there is one.

        Raises:
            WithoutStoreError: there is none.
        """
        try:
            answer = await question
        except STORE_ERRORS as error:
            self.note_failure(error)
            raise WithoutStoreError from error
        self._note_success()
        return answer

    async def settle(self, names: frozenset[Name]) -> None:
        """Wait until nothing is owed to the store that has to be told before ``names`` are read.

        Raises:
            WithoutStoreError: it could not be told.
        """
        while self.owed.blocks(names):
            self.send_owed()
            batch = self.owed.on_its_way(names)
            if batch is not None and not await batch.done.wait():
                raise WithoutStoreError

    async def versions_of(self, names: Sequence[str], *, anew: bool = False) -> Mapping[str, str]:
        """Return the versions of tags: those that are known, or the store's.

        Args:
            names: the tags, as the store calls them.
            anew: ask the store, whatever is known.

        Raises:
            WithoutStoreError: the store does not answer.
        """
        now, generation = clock.now(), self.horizon.generation
        if not anew and now < self.horizon.until:
            known = self.tags.look_up(names, generation=generation, now=now)
            if known is not None:
                return known
        asked = self.tags.now()
        seconds = self._keep_tags_seconds
        answer = await self.ask(self.store.tag_versions(names, keep_seconds=seconds))
        versions = dict(zip(names, answer, strict=True))
        # Asked for again when half of its time is over: an entry must not outlive its tags.
        self.tags.learn(versions, asked=asked, generation=generation, ask_again_at=now + seconds / 2)
        return versions

    def keep_tags(self, usable_seconds: float) -> None:
        """Have tags live longer than a result of so long a life."""
        wanted = min(2 * usable_seconds + TAG_KEEP_SECONDS, 2e9)
        if usable_seconds > self._keep_tags_seconds / 2 and wanted > self._keep_tags_seconds:
            self._keep_tags_seconds = wanted
            self.tags.forget_all()

    async def take_lease(self, record: str, token: str, *, lease_seconds: float) -> bool:
        """Take a lease if nobody has it; nobody waits."""
        answer = await self.store.acquire(
            record, token=token, lease_seconds=lease_seconds, wake=False, wait_if_held=False
        )
        return isinstance(answer, Won)

    # ---- telling the store ----

    def tell(self, item: Item) -> Item:
        """Have the store told, by the running loop, another one of ours, or the next that comes. Any thread."""
        kind, name = item.name
        if kind == "tag":
            self.tags.forget((name,))
        self.owed.add(item)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            for loop, link in list(self._links.items()):
                if not loop.is_closed():
                    loop.call_soon_threadsafe(self._send_owed_on, link)
                    break
        else:
            self.link()
            self.send_owed()
        return item

    def send_owed(self) -> None:
        """Begin to send what nobody is sending."""
        self._send_owed_on(self.link())

    def _send_owed_on(self, link: Link) -> None:
        batch = self.owed.take(link.loop)
        if batch is not None:
            link.spawn(self._send(batch))

    async def _send(self, batch: Batch) -> None:
        left = dict(batch.items)
        try:
            for kind in ("record", "tag"):
                names = [name for name in left if name[0] == kind]
                if names and await self._send_names(kind, [name for _, name in names]):
                    for name in names:
                        put = batch.items[name][-1].put
                        if put is not None:
                            await self._put(put())
                        del left[name]
        finally:
            self.owed.end(batch, list(left))
        if not left:
            self._note_success()
        if self.owed.is_waiting and not left:
            self.send_owed()

    async def _send_names(self, kind: str, names: list[str]) -> bool:
        try:
            if kind == "record":
                await self.store.invalidate(names)
            else:
                await self.store.tag_versions(names, replace=True, keep_seconds=self._keep_tags_seconds)
        except STORE_ERRORS as error:
            self.note_failure(error)
            return False
        return True

    async def _put(self, putting: Awaitable[None]) -> None:
        try:
            await putting
        except (*STORE_ERRORS, WithoutStoreError) as error:
            logger.debug("value_not_put_in_place", exc_info=error)  # the record was removed: it is fetched when asked

    # ---- being degraded ----

    @property
    def breaker_state(self) -> int:
        """Return the store's: 0 closed, 1 half open, 2 open."""
        state: int = getattr(self.store, "breaker_state", 2 if self.is_degraded else 0)
        return int(state)

    def note_failure(self, error: Exception) -> None:
        """Note that the store did not do what it was asked."""
        if not isinstance(error, StoreUnavailableError):
            self._tell_refusal(error)
        elif not self.is_degraded:
            self.is_degraded = True
            logger.warning(
                "store_unavailable: calls are answered without %r, and results are not shared: %s",
                self.store,
                error,
                extra={"store": repr(self.store), "reason": str(error)},
            )
            self._tell_state("connected", "degraded", str(error))

    def _note_success(self) -> None:
        if self.is_degraded and not self.owed.is_overdue:
            self.is_degraded = False
            logger.info(
                "store_available: results are shared over %r again", self.store, extra={"store": repr(self.store)}
            )
            self._tell_state("degraded", "connected", "the store answers again")

    def _tell_state(self, before: str, after: str, reason: str) -> None:
        watching = [function.observers for function in self.functions()]
        everyone = Observers.of(member for one in watching if one is not None for member in one.members)
        if everyone is not None:
            everyone.state_changed(StateChanged(subject=repr(self.store), before=before, after=after, reason=reason))

    def _tell_refusal(self, error: Exception) -> None:
        """Say once what the store refuses."""
        reason = str(error)
        if reason not in self._refusals_told and len(self._refusals_told) < 100:
            self._refusals_told.add(reason)
            logger.error("store_refused: %r: %s", self.store, reason, extra={"store": repr(self.store)})

    def tell_unshared(self, name: str, reason: str) -> None:
        """Say once for every function why a result of it is not shared."""
        if name not in self._unshared_told:
            self._unshared_told.add(name)
            logger.error(
                "result_not_shared: a result of %s is only for the callers of this process: %s",
                name,
                reason,
                extra={"function": name},
            )

    # ---- hearing ----

    def heard_up_to(self, link: Link, moment: float) -> None:
        """Everything announced before ``moment`` was handed out."""
        self.horizon.heard(link, moment)

    def begin_generation(self, link: Link, *, connected: bool) -> None:
        """The subscription begins, or is gone: before now, announcements may have been missed."""
        self.horizon.begin_generation(link)
        for function in self.functions():
            if (local := function.local) is not None:
                local.distrust()
        for other in list(self._links.values()):
            if other is link:
                other.void_what_has_asked()
            elif not other.loop.is_closed():
                other.loop.call_soon_threadsafe(other.void_what_has_asked)
        if connected:
            # Tell the store what it was not told while it was away; that done, or nothing being owed, it is back.
            self._send_owed_on(link)
            self._note_success()

    def hear_dropped(self, record: str) -> None:
        """A record was invalidated or replaced."""
        for function in self.functions():
            if function.has_record(record) and (local := function.local) is not None:
                local.drop(record)

    def hear_tag_moved(self, tag: str) -> None:
        """A tag has another version."""
        self.tags.forget((tag,))
        for function in self.functions():
            local = function.local
            if local is None:
                continue
            if function.has_tag(tag):
                local.drop_all()
            elif tag.startswith("tag:"):
                local.drop_tags((tag.removeprefix("tag:"),))
