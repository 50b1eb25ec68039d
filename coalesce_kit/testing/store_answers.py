"""What the tests of a store do with what comes from it: look at its kind, and wait for signals."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeVar

from ..store_port import Signal, SignalStream

S = TypeVar("S")

PATIENCE_SECONDS: Final = 10.0
"""How long a test waits for a signal before it fails."""


def about(key: str) -> Callable[[Any], bool]:
    """Return whether a signal is about a key, as a function. Signals may come more than once."""
    return lambda signal: bool(signal.key == key)


def expect(kind: type[S], came: object, why: str) -> S:
    """Return what came, an answer or a signal or a result, and fail unless it is of a kind."""
    assert isinstance(came, kind), f"{why}: a {kind.__name__} was to come, not {came!r:.300}"
    return came


async def next_of(signals: SignalStream) -> Signal | None:
    """Return the next signal, or ``None`` when the iterator has ended; fail when neither happens."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await anext(signals, None)
    except TimeoutError:
        raise AssertionError(f"signals() has neither yielded nor ended within {PATIENCE_SECONDS:g} s") from None


class Heard:
    """The signals of one iterator, as they come."""

    def __init__(self, signals: SignalStream) -> None:
        self._signals = signals

    async def until(self, kind: type[S], matches: Callable[[S], bool] = lambda _: True) -> list[Signal]:
        """Return every signal up to the first of a kind that matches, which is the last of the list."""
        heard: list[Signal] = []
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                async for signal in self._signals:
                    heard.append(signal)
                    if isinstance(signal, kind) and matches(signal):
                        return heard
        except TimeoutError:
            raise AssertionError(f"no {kind.__name__} came within {PATIENCE_SECONDS:g} s, only {heard}") from None
        raise AssertionError(f"the signals ended without a {kind.__name__}, after {heard}")

    async def first(self, kind: type[S], matches: Callable[[S], bool] = lambda _: True) -> S:
        """Return the first signal of a kind that matches."""
        last = (await self.until(kind, matches))[-1]
        return expect(kind, last, "the last signal is the one that was waited for")

    async def close(self) -> None:
        """Close the iterator."""
        await self._signals.aclose()
