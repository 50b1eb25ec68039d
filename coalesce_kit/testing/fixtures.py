"""What the fixtures of the pytest plugin do, for those who use something else than pytest.

::

    with isolated(): ...        # every cache, flight, tag and number is new, before and after
    with virtual_clock() as time: ...  # the package's time stands still until time.advance(5)
    with switched_off(): ...    # decorated functions run as if they were not
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..clock import clock
from ..defaults import decorated_functions, reset_for_tests
from .clock import VirtualClock


class PackageTime:
    """The package's virtual time: its own, or that of the ``VirtualLoop`` which runs at the moment."""

    def now(self) -> float:
        """Return the time in seconds."""
        return clock.now()

    def advance(self, seconds: float) -> None:
        """Move the time forward. Results grow older at once; timers of a ``VirtualLoop`` fire when it runs next.

        Raises:
            TypeError: ``seconds`` is no number.
            ValueError: ``seconds`` is negative, infinite or NaN: time never goes back, and has no end.
        """
        time = getattr(clock.now, "__self__", None)
        assert isinstance(time, VirtualClock), "something else has exchanged the package's clock"
        time.advance(seconds)


@contextmanager
def isolated() -> Iterator[None]:
    """Make every cache, flight, tag and number of the package new, before the block and after it.

    Fetches that are still in the air are detached: nobody joins them, and what they bring is not kept. How they end is
    counted in the new numbers, as nobody knows any more that they have begun before. Coalescers given as ``backend`` to
    functions that live are made new with them; one that no decorated function uses is not known here, and what a store
    holds is left alone.
    """
    reset_for_tests()
    try:
        yield
    finally:
        reset_for_tests()


@contextmanager
def virtual_clock(start: float = 0.0) -> Iterator[PackageTime]:
    """Have every decorated function, whenever it was decorated, read a time that stands still until it is moved.

    What was kept in real time is dropped when the block begins, and what was kept in it when it ends.
    """
    with VirtualClock(start):
        yield PackageTime()


@contextmanager
def switched_off() -> Iterator[None]:
    """Have every decorated function that lives run its original, with nothing shared, kept or counted.

    One that is decorated within the block is not switched off.
    """
    functions = [function for function in decorated_functions() if function.enabled]
    for function in functions:
        function.switch(enabled=False)
    try:
        yield
    finally:
        for function in functions:
            function.switch(enabled=True)
