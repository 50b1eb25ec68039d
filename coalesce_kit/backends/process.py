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
from .owed import Item, Name, Owed, Put
from .sending import WithoutStoreError, send_owed
from .trust import Horizon, TagVersions

logger = logging.getLogger(__name__)

T = TypeVar("T")

_BYTES_OF_A_TOKEN: Final = 16


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
        keep_tags_seconds: how long the store is to keep a tag.
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
        self._inherited: list[dict[asyncio.AbstractEventLoop, Link]] = []
        self._functions: weakref.WeakSet[Sharing] = weakref.WeakSet()
        self.keep_tags_seconds = TAG_KEEP_SECONDS
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
        self._notice_a_fork()
        link = self._links.get(loop)
        if link is None:
            for other in [other for other in self._links if other.is_closed()]:
                self.horizon.leave(self._links.pop(other, None))
            link = self._links[loop] = Link(
                self.store, self, heartbeat_seconds=self._heartbeat_seconds, lease_seconds=self._lease_seconds
            )
        return link

    async def close_link(self, *, deadline_seconds: float) -> None:
        """End the running loop's link; a later question opens another."""
        loop = asyncio.get_running_loop()
        self._notice_a_fork()
        link = self._links.get(loop)
        if link is not None:
            await link.aclose(deadline_seconds=deadline_seconds)
            self.owed.leave(loop)
            if self._links.get(loop) is link:
                del self._links[loop]
            self.horizon.leave(link)
            await self.store.aclose()

    def _notice_a_fork(self) -> None:
        """After a fork, begin anew: the links, what was heard on them, and what is owed, are the parent's."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            # Kept, and never looked at: to let go of them would take the parent's sockets out of its selector.
            self._inherited.append(self._links)
            for link in self._links.values():
                self.horizon.leave(link)
            self._links = {}
            self.owed.clear()
            self.is_degraded = False

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
        self.note_success()
        return answer

    async def settle(self, names: frozenset[Name]) -> None:
        """Wait until nothing is owed to the store that has to be told before ``names`` are read.

        Raises:
            WithoutStoreError: it could not be told.
        """
        while (item := self.owed.first_of(names)) is not None:
            self.send_owed()
            if not await item.wait():
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
        seconds = self.keep_tags_seconds
        answer = await self.ask(self.store.tag_versions(names, keep_seconds=seconds))
        versions = dict(zip(names, answer, strict=True))
        # Asked for again when half of its time is over: an entry must not outlive its tags.
        self.tags.learn(versions, asked=asked, generation=generation, ask_again_at=now + seconds / 2)
        return versions

    def ask_along(self, link: Link, names: tuple[str, ...]) -> asyncio.Task[Mapping[str, str] | None]:
        """Ask the store for the versions of tags along with what is asked next, once for all who do in this turn."""
        telling = link.tellings.get(names)
        if telling is None:
            telling = link.tellings[names] = link.spawn(self._ask_along(link, names))
        return telling

    async def told_along(self, telling: asyncio.Task[Mapping[str, str] | None]) -> Mapping[str, str]:
        """Return what the store has told.

        Raises:
            WithoutStoreError: it did not answer.
        """
        versions = await asyncio.shield(telling)
        if versions is None:
            raise WithoutStoreError
        return versions

    async def _ask_along(self, link: Link, names: tuple[str, ...]) -> Mapping[str, str] | None:
        del link.tellings[names]  # who comes from now on comes after the question
        try:
            return await self.versions_of(names, anew=True)
        except WithoutStoreError:
            return None

    def keep_tags(self, usable_seconds: float) -> None:
        """Have tags live longer than a result of so long a life."""
        wanted = min(2 * usable_seconds + TAG_KEEP_SECONDS, 2e9)
        if usable_seconds > self.keep_tags_seconds / 2 and wanted > self.keep_tags_seconds:
            self.keep_tags_seconds = wanted
            self.tags.forget_all()

    async def take_lease(self, record: str, token: str, *, lease_seconds: float) -> bool:
        """Take a lease if nobody has it; nobody waits."""
        answer = await self.store.acquire(
            record, token=token, lease_seconds=lease_seconds, wake=False, wait_if_held=False
        )
        return isinstance(answer, Won)

    # ---- telling the store ----

    def tell(self, name: Name, put: Put | None = None) -> Item:
        """Have the store told, by the running loop, another one of ours, or the next that comes. Any thread.

        All that is told of in one turn of a loop goes together.

        Args:
            name: what was invalidated.
            put: puts a value in place once the record was removed.
        """
        self._notice_a_fork()
        kind, what = name
        if kind == "tag":
            self.tags.forget((what,))
        item = self.owed.add(name, put)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            any(link.call(lambda link: send_owed(self, link)) for link in list(self._links.values()))
        else:
            self.send_owed()
        return item

    def send_owed(self) -> None:
        """Have the running loop send what nobody is sending."""
        send_owed(self, self.link())

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
                "store_unavailable: calls are answered without %s, and results are not shared: %s",
                repr(self.store),  # texts, so that a handler with a queue keeps nothing alive
                str(error),
                extra={"store": repr(self.store), "reason": str(error)},
            )
            self._tell_state("connected", "degraded", str(error))

    def note_success(self) -> None:
        """Note that it did: it is back, once it was told everything that it was not told while it was away."""
        if self.is_degraded and not self.owed.is_overdue:
            self.is_degraded = False
            logger.info(
                "store_available: results are shared over %s again",
                repr(self.store),
                extra={"store": repr(self.store)},
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
            logger.error("store_refused: %s: %s", repr(self.store), reason, extra={"store": repr(self.store)})

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
        if self.owed.is_overdue:
            send_owed(self, link)  # the store answers, and there may be nobody who asks it anything

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
            send_owed(self, link)
            self.note_success()

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
