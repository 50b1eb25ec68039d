"""An observer that keeps the contract, and for each test of it one that does not."""

from __future__ import annotations

import threading

import pytest

from coalesce_kit import Observer
from coalesce_kit.testing.observer_contract import ObserverContract
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


class TestObserver(ObserverContract):
    """The one that does nothing."""

    def make_observer(self):
        return Observer()


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
        try:
            self.last = repr(event.key)
        except RuntimeError as error:
            raise AssertionError from error


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


async def test_a_contract_says_what_it_needs():
    """Without its one method the contract says which that is."""
    with pytest.raises(NotImplementedError, match="def make_observer"):
        await ObserverContract().test_it_is_an_observer()
