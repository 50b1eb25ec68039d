"""Observers: who is told what, and that whatever they do stays with them."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from unittest.mock import Mock

import pytest

from coalesce_kit.stats.observer import (
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

LOGGER = "coalesce_kit.stats.observer"
ONE_OF_EACH = {
    "fetch_started": FetchStarted(function="f", key=1),
    "fetch_ended": FetchEnded(function="f", key=1, elapsed_seconds=0.1),
    "waiter_joined": WaiterJoined(function="f", key=1, waiters=1, flight_age_seconds=0.1),
    "waiter_left": WaiterLeft(function="f", key=1, waited_seconds=0.1),
    "invalidated": Invalidated(function="f", key=1, voided=0),
    "state_changed": StateChanged(subject="store", before="healthy", after="degraded"),
}


class Recorder(Observer):
    """Notes everything it is told."""

    def __init__(self, notes: list[object] | None = None) -> None:
        self.notes = [] if notes is None else notes

    def fetch_started(self, event):
        self.notes.append(event)

    fetch_ended = waiter_joined = waiter_left = invalidated = state_changed = fetch_started


class Failing(Recorder):
    """Notes the start of a fetch, then raises."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def fetch_started(self, event):
        self.notes.append(event)
        raise self.error


def test_there_is_an_event_for_each_method():
    """The table of events is the list of the observer's public methods."""
    methods = [name for name, member in vars(Observer).items() if callable(member) and not name.startswith("_")]
    assert tuple(methods) == EVENTS == tuple(ONE_OF_EACH)


@pytest.mark.parametrize("name", EVENTS)
def test_an_observer_that_overrides_nothing_hears_nothing(name: str):
    """Each method of ``Observer`` itself takes its event and does nothing."""
    assert getattr(Observer(), name)(ONE_OF_EACH[name]) is None


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_reaches_the_method_of_its_name(name: str):
    """The dispatcher hands each event on as it is."""
    recorder = Recorder()
    getattr(Observers([recorder]), name)(ONE_OF_EACH[name])
    assert recorder.notes == [ONE_OF_EACH[name]]


@pytest.mark.parametrize("event", ONE_OF_EACH.values(), ids=ONE_OF_EACH)
def test_events_are_frozen(event):
    """An observer cannot change what the next one is told."""
    first = dataclasses.fields(event)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(event, first, "other")


def test_an_event_says_no_more_than_it_was_told():
    """What whoever tells leaves out is the least: nobody waits, no error, no refresh, no reason, no number; one key."""
    started, ended, joined, left, invalidated, changed = ONE_OF_EACH.values()
    assert {event.flight for event in (started, ended, joined, left)} == {joined.waiter, left.waiter} == {0}
    assert (started.refresh, ended.waiters, ended.error, left.error, changed.reason) == (False, 0, None, None, "")
    assert (invalidated.scope, invalidated.tags) == ("key", ())
    assert (started.text, invalidated.text, Invalidated(function="f", voided=0).key) == ("1", "1", None)
    assert Observer().removed is False


def test_how_a_key_is_rendered_does_not_tell_events_apart():
    """Two events about the same are equal, whoever renders the key."""
    for name in ("fetch_started", "invalidated"):
        event = ONE_OF_EACH[name]
        assert dataclasses.replace(event, describe=str) == event


def test_observers_are_told_in_the_order_given():
    """The first observer given hears of it first, and each hears of it once."""
    notes: list[str] = []

    class Named(Observer):
        def __init__(self, name):
            self.name = name

        def fetch_started(self, event):
            notes.append(self.name)

    first, second = Named("first"), Named("second")
    Observers([first, second, first]).fetch_started(ONE_OF_EACH["fetch_started"])
    assert notes == ["first", "second"]


def test_nobody_listening_is_no_dispatcher():
    """Without observers, or with one that overrides nothing, there is nobody to tell."""
    assert Observers.of([]) is None
    assert Observers.of([Observer()]) is None
    assert Observers.of([Recorder()]) is not None


def test_one_kind_of_event_is_enough_to_listen():
    """An observer that overrides one method is told."""

    class One(Observer):
        def invalidated(self, event): ...

    assert Observers.of([One()]) is not None


def test_a_method_put_on_the_instance_is_heard():
    """An observer may be given its method after it was made."""
    observer, notes = Observer(), []
    observer.fetch_ended = notes.append
    Observers([observer]).fetch_ended(ONE_OF_EACH["fetch_ended"])
    assert notes == [ONE_OF_EACH["fetch_ended"]]


def test_a_mock_of_an_observer_observes():
    """``Mock(spec=Observer)`` is called like an observer."""
    mock = Mock(spec=Observer)
    Observers([mock]).waiter_left(ONE_OF_EACH["waiter_left"])
    mock.waiter_left.assert_called_once_with(ONE_OF_EACH["waiter_left"])


def test_g16_an_observer_that_raises_is_logged_once_and_removed(caplog: pytest.LogCaptureFixture):
    """Whoever raises is not called again, for any event; one record says who and where."""
    failing = Failing(ValueError("broken"))
    observers = Observers([failing])
    with caplog.at_level(logging.DEBUG, logger=LOGGER):
        observers.fetch_started(ONE_OF_EACH["fetch_started"])
        observers.fetch_started(ONE_OF_EACH["fetch_started"])
        observers.fetch_ended(ONE_OF_EACH["fetch_ended"])
    assert failing.notes == [ONE_OF_EACH["fetch_started"]]
    assert failing.removed
    [record] = caplog.records
    assert (record.name, record.levelname, record.message) == (LOGGER, "ERROR", "observer_removed")
    assert (record.observer, record.observed_event, record.observed_function) == ("Failing", "fetch_started", "f")
    assert record.exc_info[1] is failing.error


def test_g16_one_that_raises_is_removed_wherever_it_observes(caplog: pytest.LogCaptureFixture):
    """One observer given to many functions is logged once, not once per function."""
    failing = Failing(ValueError("broken"))
    for observers in [Observers([failing]) for _ in range(3)]:
        observers.fetch_started(ONE_OF_EACH["fetch_started"])
    assert len(failing.notes) == len(caplog.records) == 1


def test_g16_the_others_are_told_all_the_same():
    """An observer that raises keeps the event from nobody who comes after it."""
    recorder = Recorder()
    Observers([Failing(ValueError("broken")), recorder]).fetch_started(ONE_OF_EACH["fetch_started"])
    assert recorder.notes == [ONE_OF_EACH["fetch_started"]]


def test_g16_a_frozen_observer_is_removed_too():
    """Removal works on an observer that is a frozen dataclass."""
    notes = []

    @dataclasses.dataclass(frozen=True)
    class Frozen(Observer):
        def state_changed(self, event):
            notes.append(event)
            raise LookupError

    observers = Observers([Frozen()])
    for _ in range(2):
        observers.state_changed(ONE_OF_EACH["state_changed"])
    assert notes == [ONE_OF_EACH["state_changed"]]


@pytest.mark.parametrize("error", [asyncio.CancelledError(), GeneratorExit()])
def test_g16_an_observer_that_raises_a_cancellation_is_removed_too(error: BaseException):
    """A ``CancelledError`` that an observer raises is no cancellation of anybody."""
    failing = Failing(error)
    Observers([failing]).fetch_started(ONE_OF_EACH["fetch_started"])
    assert failing.removed


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit()])
def test_what_ends_the_program_passes(error: BaseException):
    """The dispatcher swallows errors, not the end of the program."""
    failing = Failing(error)
    with pytest.raises(type(error)):
        Observers([failing]).fetch_started(ONE_OF_EACH["fetch_started"])
    assert not failing.removed


@pytest.mark.parametrize("wrong", [Recorder, object(), None, lambda event: None])
def test_what_is_no_observer_is_refused(wrong):
    """A class, a function or anything else that is no ``Observer`` is a ``TypeError`` at once."""
    with pytest.raises(TypeError, match=r"an instance of a subclass of coalesce_kit\.Observer"):
        Observers.of([wrong])


def test_an_async_observer_is_refused():
    """Observers are called and not awaited, so a coroutine function is a ``TypeError`` at once."""

    class Waiting(Observer):
        async def fetch_ended(self, event): ...

    with pytest.raises(TypeError, match=r"Waiting\.fetch_ended is a coroutine function"):
        Observers.of([Waiting()])


@pytest.mark.parametrize("name", [name for name in EVENTS if name != "state_changed"])
def test_a_key_is_rendered_only_when_somebody_looks(name: str):
    """``text`` asks ``describe``; the event's ``repr`` shows neither key nor text."""
    asked = []

    def describe(key):
        asked.append(key)
        return "fixtures:nfl"

    event = dataclasses.replace(ONE_OF_EACH[name], key="secret", describe=describe)
    assert "secret" not in repr(event)
    assert "describe" not in repr(event)
    assert asked == []
    assert event.text == "fixtures:nfl"
    assert asked == ["secret"]


def test_an_invalidation_of_more_than_a_key_has_no_text():
    """Tags, a function and everything have no key to show."""
    assert Invalidated(function=None, voided=3, scope="tags", tags=("odds",)).text == ""
