"""What every observer does not do: raise, hold on to arguments, get into the way. Subclass it and say how one is made.

::

    from coalesce_kit import Observer
    from coalesce_kit.testing.observer_contract import ObserverContract

    class TestMyObserver(ObserverContract):
        def make_observer(self) -> Observer:
            return MyObserver()

An observer that has to hold events, a recorder for tests for instance, says so, and is not asked to let go of them::

    class TestMyRecorder(ObserverContract):
        keeps_events = True

        def make_observer(self) -> Observer:
            return MyRecorder()

The package removes an observer that raises, so that it harms nobody: one that keeps this contract is never removed. The
tests are coroutines: pytest runs them with pytest-asyncio (in its strict mode with ``pytestmark =
pytest.mark.asyncio``) or anyio.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import threading
import traceback
import weakref
from typing import Any, Final
from unittest import SkipTest

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
from .contract_tools import Contract, HeldFetch, begin, check_what_came, ends, to_be_said, turns, unsaid

_FUNCTION: Final = "weather.forecast"


class Argument:
    """An argument of a call, as it stands in a key, equal only to itself.

    It raises nothing: what an observer does with it may come to light long after the test, in a log or a report.

    Attributes:
        was_printed: somebody has.
    """

    was_printed: bool = False

    def __repr__(self) -> str:
        self.was_printed = True
        return "<an argument of the user's>"


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


def tell(observer: Observer, name: str, event: Any) -> None:
    """Call a method of an observer as the package does.

    Raises:
        AssertionError: it raised, or returned something. The error that it raised is not held: it may hold arguments.
    """
    fault = ""
    try:
        returned = getattr(observer, name)(event)
    except (Exception, asyncio.CancelledError, GeneratorExit) as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        fault = (
            f"raised {type(error).__name__} at {place.filename}:{place.lineno}: who raises is removed by the package"
        )
    else:
        if returned is not None:
            fault = f"returned a {type(returned).__name__}: it is called, and nobody looks at what it returns"
    if fault:
        raise AssertionError(f"{type(observer).__name__}.{name} {fault}")


class ObserverContract(Contract):
    """What whoever gives an observer to a function may rely on, as tests. See the module for how it is used.

    Attributes:
        keeps_events: the observer holds events on purpose, and their keys and errors with them, as one that records
            for tests does: ``test_it_holds_no_arguments`` is then skipped. In a service it would keep alive whatever
            callers have asked for.
    """

    keeps_events: bool = False

    @to_be_said("how one is made: def make_observer(self)")
    def make_observer(self) -> Observer:
        """Return a new observer. Called in a running loop, once in a test.

        Raises:
            NotImplementedError: a subclass has not said it.
        """
        raise unsaid(self.make_observer)

    def _new(self) -> Observer:
        observer = self.make_observer()
        check_what_came(self, "make_observer", observer, expected="a new observer", needed=EVENTS)
        return observer

    async def test_it_is_an_observer(self) -> None:
        """It is a subclass of ``Observer`` that hears of something, and its methods are called, not awaited."""
        observer = self.make_observer()
        check_what_came(self, "make_observer", observer, expected="a new observer")
        kind = type(observer).__name__
        assert isinstance(observer, Observer), f"{kind} has to be a subclass of coalesce_kit.Observer, and is not"
        methods = {name: getattr(observer, name) for name in EVENTS}
        for name, method in methods.items():
            assert not inspect.iscoroutinefunction(method), (
                f"{kind}.{name} is a coroutine function, but observers are called, not awaited: make it a plain def"
            )
        heard = [name for name, it in methods.items() if getattr(it, "__func__", it) is not getattr(Observer, name)]
        assert heard, f"{kind} hears of nothing: it overrides none of {', '.join(EVENTS)}, which may be misspelt"

    async def test_it_takes_every_event(self) -> None:
        """No event makes it raise, with an error or without, whatever class the error is of."""
        observer = self._new()
        for error in (None, LookupError("nothing there"), asyncio.CancelledError(), TimeoutError()):
            for name, event in every_event(("key", 1), error):
                tell(observer, name, event)

    async def test_it_takes_what_has_no_beginning(self) -> None:
        """It may be told of an end whose beginning it has not seen: it was made in the middle of things."""
        observer = self._new()
        for name, event in reversed(every_event(("key", 1))):
            tell(observer, name, event)

    async def test_it_does_not_look_into_keys(self) -> None:
        """A key holds a user's arguments: it is not printed, and rendered only by ``event.text``."""
        observer = self._new()
        argument = Argument()
        for name, event in every_event((_FUNCTION, argument)):
            tell(observer, name, event)
            assert not argument.was_printed, (
                f"{type(observer).__name__}.{name} has printed event.key, which holds arguments of the user's: "
                "event.text is the key as people may read it"
            )

    async def test_it_holds_no_arguments(self) -> None:
        """When an event is over, nothing of the key and of the error is left in the observer."""
        if self.keeps_events:
            raise SkipTest("this observer holds events on purpose: keeps_events = True")
        observer, argument, error = self._new(), Argument(), Failure("nothing there")
        references: dict[str, weakref.ref[Any]] = {
            "event.key": weakref.ref(argument),
            "event.error": weakref.ref(error),
        }
        for name, event in every_event((_FUNCTION, argument), error):
            tell(observer, name, event)
        del argument, error, event
        await turns()
        gc.collect()
        held = [name for name, reference in references.items() if reference() is not None]
        assert not held, (
            f"when all events are over, {type(observer).__name__} still holds {' and '.join(held)} of one: keep "
            "event.text and the error's class, or say keeps_events = True if it holds events on purpose"
        )

    async def test_any_thread_may_tell_it(self) -> None:
        """Events come from every thread that runs a loop, and invalidations from any."""
        observer = self._new()
        errors: list[BaseException] = []

        def tell_all() -> None:
            try:
                for _ in range(20):
                    for name, event in every_event(("key", 1)):
                        tell(observer, name, event)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=tell_all) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors, f"four threads told it at once: {errors[0]}"

    async def test_it_changes_nothing(self) -> None:
        """With it, callers get what they get without it, in the same order, and it is not removed."""
        without = await self._watched(None)
        observer = self._new()
        assert await self._watched(observer) == without, "callers get something else, or in another order, without it"
        assert observer.removed is False, (
            "it has raised, and was removed: the log record observer_removed has the error"
        )

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
