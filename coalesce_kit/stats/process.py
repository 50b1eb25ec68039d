"""Where a window that is given no registry finds that of the process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from .registry import StatsRegistry


class ProcessRegistry:
    """Finds the registry in which every decorated function of this process has a row: ``process_registry.find()``.

    The state is in ``defaults``, which windows may not know: they lean on ``stats/`` alone. So ``defaults`` leaves here
    how to ask for it, once, when the package is imported.

    Attributes:
        find: returns the registry; written once.
    """

    __slots__ = ("find",)

    find: Callable[[], StatsRegistry]


process_registry: Final = ProcessRegistry()
