"""What ``invalidate`` returns: its effect here is complete, its effect elsewhere can be awaited."""

from __future__ import annotations

from collections.abc import Generator
from typing import Self

from .. import defaults
from ..stats.observer import Invalidated, Observers


class Invalidation:
    """One invalidation, as far as it has come.

    Everything in this process has happened when the object exists, so nothing is lost if it is never awaited.

    Attributes:
        voided: how many results were dropped and fetches in flight detached. Who waits for such a fetch keeps its
            result, later callers lead anew. Results that have a tag are found dead later, and not counted here.
        told: whether a shared store, and with it every other process, was told; ``None`` where there is no store.
    """

    __slots__ = ("told", "voided")

    def __init__(self, voided: int) -> None:
        self.voided = voided
        self.told: bool | None = None

    def __repr__(self) -> str:
        return f"<Invalidation voided={self.voided} told={self.told}>"

    def __await__(self) -> Generator[None, None, Self]:
        """Wait until the store was told. Without one this does not suspend."""
        yield from ()
        return self

    def raise_if_untold(self) -> Self:
        """Return itself; with a store that could not be told it would raise. There is nobody else to tell yet."""
        return self


def invalidate_all() -> Invalidation:
    """Invalidate everything of every decorated function. Any thread, with or without a loop."""
    voided = sum(function.void_all() for function in defaults.decorated_functions())
    _tell_everyone(Invalidated(function=None, voided=voided, scope="everything"))
    return Invalidation(voided)


def invalidate_tags(*tags: str) -> Invalidation:
    """Invalidate what has one of ``tags``, of every decorated function. Any thread, with or without a loop.

    O(1) for each tag and function: results that have it are found dead when they are asked for, fetches in flight that
    have it are detached now.

    Raises:
        TypeError: a tag is no string.
    """
    for tag in tags:
        if not isinstance(tag, str):
            raise TypeError(f'tags are strings, each an argument, as in invalidate_tags("odds", "nba"), not {tag!r}')
    voided = sum(function.void_tags(tags) for function in defaults.decorated_functions())
    _tell_everyone(Invalidated(function=None, voided=voided, scope="tags", tags=tags))
    return Invalidation(voided)


def _tell_everyone(event: Invalidated) -> None:
    """Tell every observer of any function, each once."""
    watching = [function.observers for function in defaults.decorated_functions()]
    everyone = Observers.of(member for observers in watching if observers is not None for member in observers.members)
    if everyone is not None:
        everyone.invalidated(event)
