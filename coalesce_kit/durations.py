"""Durations: seconds or a ``timedelta`` in, checked float seconds out."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TypeAlias

from .errors import ConfigurationError

Duration: TypeAlias = float | timedelta
"""Seconds as a number, or a ``timedelta``."""


def to_seconds(duration: Duration, *, name: str, zero: bool = False, infinite: bool = False) -> float:
    """Return ``duration`` as float seconds.

    Args:
        duration: seconds, or a ``timedelta``.
        name: the parameter's name, for the message.
        zero: whether 0 is allowed.
        infinite: whether ``math.inf`` is allowed.

    Raises:
        ConfigurationError: it is no duration, negative, NaN, or a value not allowed here.
    """
    if isinstance(duration, timedelta):
        seconds = duration.total_seconds()
    elif isinstance(duration, int | float) and not isinstance(duration, bool):
        seconds = float(duration)
    else:
        raise ConfigurationError(
            f"{name} must be a number of seconds or a timedelta, not {duration!r} ({type(duration).__name__})"
        )
    too_small = seconds < 0 or (seconds == 0 and not zero)
    if math.isnan(seconds) or too_small or (math.isinf(seconds) and not infinite):
        expected = ("at least 0" if zero else "greater than 0") + (", math.inf included" if infinite else " and finite")
        raise ConfigurationError(f"{name} must be {expected}, not {duration!r}")
    return seconds


def to_seconds_or_none(duration: Duration | None, *, name: str) -> float | None:
    """Return ``duration`` as float seconds greater than 0, or ``None`` for no limit.

    Raises:
        ConfigurationError: it is no duration, or not greater than 0 and finite.
    """
    return None if duration is None else to_seconds(duration, name=name)
