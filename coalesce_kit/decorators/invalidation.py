"""What ``invalidate`` returns: its effect here is complete, its effect elsewhere can be awaited."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Self

from .. import defaults
from ..errors import StoreUnavailableError
from ..fleet_port import SharingCoalescer, Telling
from ..stats.observer import Invalidated, Observers


class Invalidation:
    """One invalidation, as far as it has come.

    Everything in this process has happened when the object exists, so nothing is lost if it is never awaited.

    Attributes:
        voided: how many results were dropped and fetches in flight detached. Who waits for such a fetch keeps its
            result, later callers lead anew. Results that have a tag are found dead later, and not counted here.
    """

    __slots__ = ("_tellings", "voided")

    def __init__(self, voided: int, tellings: Sequence[Telling] = ()) -> None:
        self.voided = voided
        self._tellings = tuple(tellings)

    @property
    def told(self) -> bool | None:
        """Whether a shared store, and with it every other process, was told; ``None`` without one, or not yet known."""
        if not self._tellings:
            return None
        all_told = [telling.told for telling in self._tellings]
        return False if False in all_told else None if None in all_told else True

    def __repr__(self) -> str:
        return f"<Invalidation voided={self.voided} told={self.told}>"

    def __await__(self) -> Generator[None, None, Self]:
        """Wait until the store was told, or could not be. Without one this does not suspend.

        *Cancellation*: stops the waiting; the store is told all the same.
        """
        for telling in self._tellings:
            yield from telling.wait().__await__()
        return self

    def raise_if_untold(self) -> Self:
        """Return itself if everybody who should know was told; to be asked after it was awaited.

        Raises:
            StoreUnavailableError: a store could not be told. It will be, before this process reads from it again.
        """
        if self.told is False:
            raise StoreUnavailableError(
                "the store could not be told of an invalidation: it has taken effect in this process, and the others"
                " hear of it when the store is back, unless this process ends before"
            )
        return self


def invalidate_all() -> Invalidation:
    """Invalidate everything of every decorated function. Any thread, with or without a loop."""
    voided = sum(function.void_all() for function in defaults.decorated_functions())
    _tell_everyone(Invalidated(function=None, voided=voided, scope="everything"))
    return Invalidation(voided, [coalescer.invalidate_all() for coalescer in _sharing_coalescers()])


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
    return Invalidation(
        voided, [coalescer.invalidate_tags(tags) for coalescer in _sharing_coalescers()] if tags else ()
    )


def _sharing_coalescers() -> list[SharingCoalescer]:
    """Return those that share the results of a decorated function with other processes."""
    return [coalescer for coalescer in defaults.known_coalescers() if isinstance(coalescer, SharingCoalescer)]


def _tell_everyone(event: Invalidated) -> None:
    """Tell every observer of any function, each once."""
    watching = [function.observers for function in defaults.decorated_functions()]
    everyone = Observers.of(member for observers in watching if observers is not None for member in observers.members)
    if everyone is not None:
        everyone.invalidated(event)
