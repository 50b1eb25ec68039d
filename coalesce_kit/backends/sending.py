"""Sends what is owed to the store: one sender for a loop at a time, so that a burst travels together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from typing import Protocol

from ..errors import StoreUnavailableError
from ..store_port import LeaseStore
from .leases import MOST_TOGETHER, STORE_ERRORS
from .link import Link
from .owed import Item, Owed, Put

logger = logging.getLogger(__name__)


class WithoutStoreError(Exception):
    """The store could not be asked or told; its cause says why. It never reaches a caller."""


class Indebted(Protocol):
    """Whoever owes it, as far as this file looks at it."""

    @property
    def owed(self) -> Owed:
        """What is owed."""
        ...

    @property
    def store(self) -> LeaseStore:
        """To whom."""
        ...

    @property
    def keep_tags_seconds(self) -> float:
        """How long the store is to keep a tag."""
        ...

    def note_failure(self, error: Exception) -> None:
        """Note that the store did not do what it was asked."""
        ...

    def note_success(self) -> None:
        """Note that it did."""
        ...


def send_owed(debtor: Indebted, link: Link) -> None:
    """Have a loop send what nobody is sending. On that loop."""
    debtor.owed.is_wanted = True
    link.spawn_alone(lambda: _send_all(debtor, link))


async def _send_all(debtor: Indebted, link: Link) -> None:
    """Send all there is, taken in this task's first step; what comes meanwhile goes next."""
    owed = debtor.owed
    while owed.is_wanted or not owed.is_overdue:
        items = owed.take(link.loop)
        if not items:
            return
        await _send(debtor, link, list(items.values()))
        debtor.note_success()


async def _send(debtor: Indebted, link: Link, items: Sequence[Item]) -> None:
    """Tell the store, in portions; once it is out of reach the rest is not tried."""
    left = dict.fromkeys(items)
    try:
        for portion in _portions(items):
            try:
                await _tell(debtor, portion)
            except STORE_ERRORS as error:
                debtor.note_failure(error)
                if isinstance(error, StoreUnavailableError):
                    return
                continue
            told = [item for item in portion if item.put is None]
            putting = [(item, item.put) for item in portion if item.put is not None]
            for item in portion:
                del left[item]
            debtor.owed.end(link.loop, told, told=True)
            if putting:
                link.spawn(_put_in_place(debtor, link, putting))
    finally:
        debtor.owed.end(link.loop, left, told=False)


def _portions(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for kind in ("record", "tag"):
        of_kind = [item for item in items if item.name[0] == kind]
        for first in range(0, len(of_kind), MOST_TOGETHER):
            yield of_kind[first : first + MOST_TOGETHER]


async def _tell(debtor: Indebted, portion: Sequence[Item]) -> None:
    names = [what for _, what in (item.name for item in portion)]
    if portion[0].name[0] == "record":
        await debtor.store.invalidate(names)
    else:
        await debtor.store.tag_versions(names, replace=True, keep_seconds=debtor.keep_tags_seconds)


async def _put_in_place(debtor: Indebted, link: Link, putting: Sequence[tuple[Item, Put]]) -> None:
    """Put values in place of records that were removed. They stay on their way until that is done."""
    try:
        await asyncio.gather(*[_put(debtor, link, item, put) for item, put in putting])
    finally:
        debtor.owed.end(link.loop, [item for item, _ in putting], told=True)
    if debtor.owed.is_waiting:  # the same was told of again, and had to wait
        send_owed(debtor, link)


async def _put(debtor: Indebted, link: Link, item: Item, put: Put) -> None:
    try:
        await put(lambda: item.was_overtaken)
    except (*STORE_ERRORS, WithoutStoreError) as error:
        logger.debug("value_not_put_in_place: %s", str(error))  # the record was removed: it is fetched when asked
    debtor.owed.end(link.loop, [item], told=True)
