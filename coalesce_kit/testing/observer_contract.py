"""What every observer does not do: raise, hold on to arguments, get into the way. Subclass it and say how one is made.

::

    from coalesce_kit.testing.observer_contract import ObserverContract

    class TestMyObserver(ObserverContract):
        @to_be_said("how one is made: def make_observer(self)")
    def make_observer(self) -> Observer:
            return MyObserver()

The package removes an observer that raises, so that it harms nobody: one that keeps this contract is never removed. The
tests are coroutines: pytest runs them with pytest-asyncio (in its strict mode with ``pytestmark =
pytest.mark.asyncio``) or anyio.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import threading
import weakref
from typing import Any, Final

from ..defaults import get_request_coalescer
from ..protocols import FlightTerms
from ..stats.counters import Counters
from ..stats.observer import (
    EVENTS,
    FetchEnded,
    FetchStarted,
    Invalidated,
    Observer,
    Observers,
    StateChanged,
    WaiterJoined,
    WaiterLeft,
)
from .contract_tools import Contract, HeldFetch, begin, ends, to_be_said, turns, unsaid

_FUNCTION: Final = "weather.forecast"


class Argument:
    """An argument of a call, as it stands in a key: nobody can print it, compare it or hash it by value."""

    def __repr__(self) -> str:
        raise RuntimeError("an argument of the user's was printed")


class Failure(LookupError):  # noqa: N818  # it is what a fetch fails with
    """A failure of a fetch, of a class that can be weakly referenced."""


def _describe(key: object) -> str:  # noqa: ARG001  # whatever the key
    return "weather.forecast:berlin"


def every_event(key: object, error: BaseException | None = None) -> list[tuple[str, Any]]:
    """Return one event of every kind, and those that have variants in each, with the name of the method it is for."""
    about: Any = {"function": _FUNCTION, "key": key, "describe": _describe}
    return [
        ("fetch_started", FetchStarted(**about)),
        ("fetch_started", FetchStarted(**about, refresh=True)),
        ("waiter_joined", WaiterJoined(**about, waiters=1, flight_age_seconds=0.1)),
        ("waiter_left", WaiterLeft(**about, waited_seconds=0.2, error=error)),
        ("waiter_left", WaiterLeft(**about, waited_seconds=0.2)),
        ("fetch_ended", FetchEnded(**about, elapsed_seconds=0.3, waiters=1)),
        ("fetch_ended", FetchEnded(**about, elapsed_seconds=0.0, error=error)),
        ("invalidated", Invalidated(**about, voided=1)),
        ("invalidated", Invalidated(function=_FUNCTION, voided=0, scope="function")),
        ("invalidated", Invalidated(function=None, voided=2, scope="tags", tags=("rain", "snow"))),
        ("invalidated", Invalidated(function=None, voided=0, scope="everything")),
        ("state_changed", StateChanged(subject="store", before="healthy", after="degraded", reason="no answer")),
    ]


class ObserverContract(Contract):
    """What whoever gives an observer to a function may rely on, as tests. See the module for how it is used.

    Attributes:
        keeps_events: the observer holds events on purpose, and their keys with them.
    """

    keeps_events: bool = False

    @to_be_said("how one is made: def make_observer(self)")
    def make_observer(self) -> Observer:
        """Return a new observer. Called in a running loop, once in a test."""
        raise unsaid(self.make_observer)

    async def test_it_is_an_observer(self) -> None:
        """It is a subclass of ``Observer``, and its methods are called, not awaited."""
        observer = self.make_observer()
        assert isinstance(observer, Observer), f"{observer!r} is no coalesce_kit.Observer"
        for name in EVENTS:
            assert not inspect.iscoroutinefunction(getattr(observer, name)), f"{name} is a coroutine function"

    async def test_it_takes_every_event(self) -> None:
        """No event makes it raise, with an error or without, whatever class the error is of."""
        observer = self.make_observer()
        for error in (None, LookupError("nothing there"), asyncio.CancelledError(), TimeoutError()):
            for name, event in every_event(("key", 1), error):
                assert getattr(observer, name)(event) is None, f"{name} returned something"

    async def test_it_takes_what_has_no_beginning(self) -> None:
        """It may be told of an end whose beginning it has not seen: it was made in the middle of things."""
        observer = self.make_observer()
        for name, event in reversed(every_event(("key", 1))):
            getattr(observer, name)(event)

    async def test_it_does_not_look_into_keys(self) -> None:
        """A key holds a user's arguments: it is not printed, and rendered only by ``event.text``."""
        observer = self.make_observer()
        for name, event in every_event((_FUNCTION, Argument())):
            getattr(observer, name)(event)

    async def test_it_holds_no_arguments(self) -> None:
        """When an event is over, nothing of the key and of the error is left in the observer."""
        if self.keeps_events:
            return
        observer, argument, error = self.make_observer(), Argument(), Failure("nothing there")
        held: list[weakref.ref[Any]] = [weakref.ref(argument), weakref.ref(error)]
        for name, event in every_event((_FUNCTION, argument), error):
            getattr(observer, name)(event)
        del argument, error, event
        await turns()
        gc.collect()
        assert [reference() for reference in held] == [None, None]

    async def test_any_thread_may_tell_it(self) -> None:
        """Events come from every thread that runs a loop, and invalidations from any."""
        observer = self.make_observer()
        errors: list[BaseException] = []

        def tell() -> None:
            try:
                for _ in range(20):
                    for name, event in every_event(("key", 1)):
                        getattr(observer, name)(event)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=tell) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors, f"{errors}"

    async def test_it_changes_nothing(self) -> None:
        """With it, callers get what they get without it, in the same order, and it is not removed."""
        without = await self._watched(None)
        observer = self.make_observer()
        assert await self._watched(observer) == without
        assert observer.removed is False, "it has raised"

    async def _watched(self, observer: Observer | None) -> list[str]:
        """Return what happens to a crowd: an answer, a failure, and a fetch that nobody waits for."""
        coalescer = get_request_coalescer()
        story: list[str] = []
        observers = None if observer is None else Observers.of([observer])
        terms = FlightTerms(name=_FUNCTION, counters=Counters(), observers=observers)

        async def call(name: str, fetch: HeldFetch) -> None:
            try:
                story.append(f"{name} got {await coalescer.get_or_fetch(('weather', id(fetch)), fetch, terms=terms)}")
            except BaseException as error:
                story.append(f"{name} got {type(error).__name__}")
                raise

        for outcome in ("sun", LookupError(), None):
            fetch = HeldFetch()
            crowd = await begin(*(call(name, fetch) for name in "abc"))
            if isinstance(outcome, Exception):
                fetch.fail(outcome)
            elif outcome is None:
                for caller in crowd:
                    caller.cancel()
            else:
                fetch.answer(outcome)
            await ends(crowd)
            await turns()
            story.append(f"runs {fetch.runs}, cancelled {fetch.cancelled}")
        return story
