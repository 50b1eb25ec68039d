"""An observer that keeps the contract, and for each test of it one that does not."""

from __future__ import annotations

import asyncio
import re
import threading

import pytest

from coalesce_kit import Observer
from coalesce_kit.testing.clock import run
from coalesce_kit.testing.observer_contract import Argument, ObserverContract
from tests.contracts.breaking import fails, names_of_tests


class Counting(Observer):
    """Counts what it is told."""

    def __init__(self):
        self.fetches = self.errors = self.waiters = 0

    def fetch_started(self, event, /):
        self.fetches += 1
        self.last = event.text

    def fetch_ended(self, event, /):
        self.errors += event.error is not None

    def waiter_joined(self, event, /):
        self.waiters = max(self.waiters, event.waiters)


class TestCounting(ObserverContract):
    """One that counts."""

    def make_observer(self):
        return Counting()


class Recording(Observer):
    def __init__(self):
        self.events = []

    def fetch_started(self, event, /):
        self.events.append(event)

    fetch_ended = waiter_left = invalidated = fetch_started


class TestRecording(ObserverContract):
    """One that keeps events, and says so."""

    keeps_events = True

    def make_observer(self):
        return Recording()


class NoObserver:
    pass


class Failing(Observer):
    def fetch_ended(self, event, /):
        if event.error is not None:
            raise RuntimeError("unexpected") from event.error


class Returning(Observer):
    def fetch_started(self, event, /):
        return "something"


class Remembering(Observer):
    """Relies on having seen the beginning."""

    def __init__(self):
        self.running = {}

    def fetch_started(self, event, /):
        self.running[event.function] = True

    def fetch_ended(self, event, /):
        del self.running[event.function]


class Printing(Observer):
    def invalidated(self, event, /):
        self.last = repr(event.key)


class OfOneThread(Observer):
    def __init__(self):
        self.thread = threading.get_ident()

    def waiter_joined(self, event, /):
        assert threading.get_ident() == self.thread


BROKEN = {
    "test_it_is_an_observer": NoObserver,
    "test_it_takes_every_event": Returning,
    "test_it_takes_what_has_no_beginning": Remembering,
    "test_it_does_not_look_into_keys": Printing,
    "test_it_holds_no_arguments": Recording,
    "test_any_thread_may_tell_it": OfOneThread,
    "test_it_changes_nothing": Failing,
}


@pytest.mark.parametrize(("test", "broken"), BROKEN.items())
def test_a_broken_observer_is_noticed(test, broken):
    """Each test of the contract fails on an observer that breaks what it is about."""

    class Broken(ObserverContract):
        def make_observer(self):
            return broken()

    fails(Broken(), test)


def test_every_test_of_the_contract_can_fail():
    """The table has a row for each."""
    assert BROKEN.keys() == names_of_tests(ObserverContract)


def complaint(observer_class, test):
    """Return the error of one test of the contract on an observer."""

    class Contract(ObserverContract):
        def make_observer(self):
            return observer_class()

    async def judged():
        await getattr(Contract(), test)()

    with pytest.raises(AssertionError) as failure:
        run(judged())
    return failure.value


def test_what_an_observer_raises_is_named_and_not_held():
    """The error holds the key, and may be printed long after the test: of it only the class and the place are told."""

    class Holding(Observer):
        def fetch_ended(self, event, /):
            raise KeyError(event.key)

    for test in ("test_it_does_not_look_into_keys", "test_it_takes_every_event", "test_any_thread_may_tell_it"):
        error = complaint(Holding, test)
        assert re.search(r"Holding\.fetch_ended raised KeyError at .*test_observers\.py:\d+", str(error))
        assert error.__cause__ is error.__context__ is None
        assert [type(argument) for argument in error.args] == [str]


def test_an_argument_that_is_printed_is_noticed_and_raises_nothing():
    """Whoever prints it later, in a log or in a report, is not the observer."""
    argument = Argument()
    assert not argument.was_printed
    assert f"{argument}" == "<an argument of the user's>"
    assert argument.was_printed
    assert "Printing.invalidated has printed event.key" in str(complaint(Printing, "test_it_does_not_look_into_keys"))


@pytest.mark.parametrize("error", [asyncio.CancelledError, GeneratorExit])
def test_what_is_no_exception_is_raised_by_the_observer_too(error):
    """A cancellation that an observer raises is told by name, and is nobody else's."""

    class Raising(Observer):
        def fetch_started(self, event, /):
            raise error

    assert f"Raising.fetch_started raised {error.__name__}" in str(complaint(Raising, "test_it_takes_every_event"))


def test_an_observer_that_hears_of_nothing_is_told_what_there_is():
    """A method whose name is misspelt is called by nobody."""

    class Misspelt(Observer):
        def fetch_end(self, event, /):
            pass

    message = str(complaint(Misspelt, "test_it_is_an_observer"))
    assert message.startswith(
        "Misspelt hears of nothing: it overrides none of fetch_started, fetch_ended, waiter_joined"
    )


def test_an_observer_of_coroutines_is_told_so():
    """Its methods would be called, and never run."""

    class Awaited(Observer):
        async def fetch_ended(self, event, /):
            pass

    assert "Awaited.fetch_ended is a coroutine function" in str(complaint(Awaited, "test_it_is_an_observer"))


def test_who_holds_events_is_told_of_what_it_holds():
    """And of the option, with which the test is skipped."""
    message = str(complaint(Recording, "test_it_holds_no_arguments"))
    assert "Recording still holds event.key and event.error of one" in message
    assert "keeps_events = True" in message


async def test_a_contract_says_what_it_needs():
    """Without its one method the contract says which that is."""
    with pytest.raises(NotImplementedError, match="def make_observer"):
        await ObserverContract().test_it_is_an_observer()
