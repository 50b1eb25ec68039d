"""Why results were not kept: a little memory for whoever asks ``explain``."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

MOST_REASONS: Final = 256
"""How many keys are remembered; the oldest goes first."""


class NotKept:
    """Why the last result of a key was not kept. Remembers hashes, so that no argument is kept alive."""

    __slots__ = ("_reasons",)

    def __init__(self) -> None:
        self._reasons: OrderedDict[int, str] = OrderedDict()

    def note(self, key: Hashable, reason: str) -> None:
        """Remember why what was fetched for ``key`` was not kept."""
        self._reasons[hash(key)] = reason
        if len(self._reasons) > MOST_REASONS:
            self._reasons.popitem(last=False)

    def clear(self, key: Hashable) -> None:
        """Forget it: something was kept."""
        if self._reasons:
            self._reasons.pop(hash(key), None)

    def reason(self, key: Hashable) -> str | None:
        """Return why, or ``None``."""
        return self._reasons.get(hash(key))
