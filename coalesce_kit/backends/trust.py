"""What this process may believe without asking: how far announcements were heard, and the tags' versions it knows.

A subscription that is silent may be idle or dead. Only an answer tells: a ``HeardUpTo`` says that everything announced
before a moment has been handed out, and makes what is local good for ``coherence_seconds`` from that moment. A break of
the subscription begins a new *generation*: what was asked for in an older one may have been invalidated unheard.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final

MOST_VERSIONS: Final = 10_000
"""How many tags' versions are remembered; one that is forgotten is asked for again."""


class Horizon:
    """How far the announcements of one store were heard, on whichever loop.

    Any loop's subscription will do: what it hears acts on the whole process.

    Args:
        coherence_seconds: for so long local results are good after a moment up to which everything was heard.

    Attributes:
        until: until then they are good. Read by every hit.
        generation: grows with every break of a subscription, and whenever one begins.
        coherence_seconds: as given.

    *Concurrency*: any thread.
    """

    __slots__ = ("_heard", "_lock", "coherence_seconds", "generation", "until")

    def __init__(self, coherence_seconds: float) -> None:
        self.until = -math.inf
        self.generation = 0
        self.coherence_seconds = coherence_seconds
        self._heard: dict[object, float] = {}
        self._lock = threading.RLock()

    def heard(self, listener: object, moment: float) -> None:
        """Note that everything up to ``moment`` was heard by one listener."""
        with self._lock:
            self._heard[listener] = moment
            self._reckon()

    def begin_generation(self, listener: object) -> None:
        """Note that a listener's subscription begins, or is gone: before it, it may have missed something."""
        with self._lock:
            self._heard.pop(listener, None)
            self._reckon()
            self.generation += 1

    def leave(self, listener: object) -> None:
        """Forget a listener."""
        with self._lock:
            self._heard.pop(listener, None)
            self._reckon()

    def _reckon(self) -> None:
        self.until = max(self._heard.values(), default=-math.inf) + self.coherence_seconds


class TagVersions:
    """The versions of tags as this process knows them, kept valid by announcements like local results.

    A version is forgotten when its tag is announced to have moved, and not replaced by what the announcement says: the
    announcements of two loops may come in another order. A version that was asked for before that is not learned.

    *Concurrency*: any thread.
    """

    __slots__ = ("_forgotten", "_known", "_lock", "_next", "_oldest")

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[str, int, float]] = OrderedDict()
        self._forgotten: OrderedDict[str, int] = OrderedDict()
        self._oldest = 0  # whatever was forgotten and is not listed any more was forgotten before this number
        self._next = itertools.count(1).__next__
        self._lock = threading.RLock()

    def now(self) -> int:
        """Return a number; what is forgotten from now on has a greater one."""
        return self._next()

    def look_up(self, tags: Sequence[str], *, generation: int, now: float) -> Mapping[str, str] | None:
        """Return the versions of all ``tags``, or ``None`` if one is not known in this generation."""
        found: dict[str, str] = {}
        with self._lock:
            for tag in tags:
                version, learned_in, ask_again_at = self._known.get(tag, ("", -1, -math.inf))
                if learned_in != generation or now >= ask_again_at:
                    return None
                found[tag] = version
        return found

    def learn(self, versions: Mapping[str, str], *, asked: int, generation: int, ask_again_at: float) -> None:
        """Remember versions, but for those of tags that were forgotten after the question was sent.

        Args:
            versions: the answer, by tag.
            asked: ``now()`` before the question was sent.
            generation: that of the same moment.
            ask_again_at: the store may have forgotten them by then.
        """
        with self._lock:
            for tag, version in versions.items():
                if self._forgotten.get(tag, self._oldest) < asked:
                    self._known[tag] = version, generation, ask_again_at
                    self._known.move_to_end(tag)
            while len(self._known) > MOST_VERSIONS:
                self._known.popitem(last=False)

    def have_moved(self, tags: Sequence[str], *, since: int) -> bool:
        """Whether one of ``tags`` was forgotten after ``now()`` was ``since``, as far as that is known."""
        with self._lock:
            return any(self._forgotten.get(tag, self._oldest) > since for tag in tags)

    def forget(self, tags: Sequence[str]) -> None:
        """Ask for these again: they have moved."""
        with self._lock:
            for tag in tags:
                self._known.pop(tag, None)
                self._forgotten[tag] = self._next()
                self._forgotten.move_to_end(tag)
            while len(self._forgotten) > MOST_VERSIONS:
                self._oldest = self._forgotten.popitem(last=False)[1]

    def forget_all(self) -> None:
        """Ask for all again."""
        with self._lock:
            self._known.clear()
            self._forgotten.clear()
            self._oldest = self._next()
