"""The log: what of fetches and states is recorded, in which words, and how seldom."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest

from coalesce_kit import FetchEnded, StateChanged, coalesced
from coalesce_kit.exporters import log
from coalesce_kit.exporters.log import LogObserver
from coalesce_kit.testing.observer_contract import ObserverContract
from tests.fakes import Origin, after, outcomes, start, turns
from tests.unit.test_health import HOSTILE


class Upset(Exception):
    pass


def ended(seconds: float = 0.1, *, function: str = "odds", key: str = "s3cret", error: BaseException | None = None):
    """A fetch that has ended."""
    return FetchEnded(function=function, key=key, elapsed_seconds=seconds, waiters=3, error=error)


def changed(after: str = "open", *, subject: str = "store", reason: str = "refused"):
    """A change of state."""
    return StateChanged(subject=subject, before="closed", after=after, reason=reason)


@pytest.fixture
def observer():
    """An observer at a time that stands still."""
    return LogObserver(slow_fetch_seconds=1, now=lambda: 0.0)


def test_a_failure_is_a_record(observer, caplog):
    """It names the function and the kind of error; the facts are attributes, and no text of the error is in it."""
    observer.fetch_ended(ended(0.25, error=Upset("password=s3cret")))
    (record,) = caplog.records
    assert (record.levelno, record.name) == (logging.WARNING, "coalesce_kit.exporters.log")
    assert record.getMessage() == f"fetch_failed: of odds after 0.250 s: {Upset.__module__}.Upset"
    assert (record.function, record.elapsed_seconds, record.waiters, record.left_out) == ("odds", 0.25, 3, 0)
    assert record.error_type.endswith("Upset")
    assert "s3cret" not in json.dumps(record.__dict__, default=str)


def test_a_slow_fetch_is_a_record(observer, caplog):
    """One that ran longer than the threshold; one that ran as long is not slow."""
    observer.fetch_ended(ended(1.0))
    observer.fetch_ended(ended(1.5))
    (record,) = caplog.records
    assert record.getMessage() == "slow_fetch: of odds: 1.500 s"
    assert (record.threshold_seconds, record.elapsed_seconds) == (1, 1.5)


def test_a_slow_failure_is_one_record(observer, caplog):
    """A fetch that failed late has failed."""
    observer.fetch_ended(ended(9.0, error=ValueError()))
    assert [record.getMessage() for record in caplog.records] == ["fetch_failed: of odds after 9.000 s: ValueError"]


async def test_a_fetch_whose_callers_left_is_none(caplog):
    """Nobody waits for it any more, so it is cancelled: that is no failure."""
    origin = Origin()

    @coalesced(observers=(LogObserver(),))
    async def odds(league):
        return await origin(league)

    callers = start(odds("nba"), odds("nba"))
    await turns()
    for caller in callers:
        caller.cancel()
    await outcomes(callers)
    await turns()
    assert caplog.records == []


async def test_a_fetch_that_timed_out_has_failed(caplog, virtual_time):
    """It is told as what its callers got, after the time it was given."""
    origin = Origin()

    @coalesced(name="odds", fetch_timeout_seconds=3, observers=(LogObserver(),))
    async def odds(league):
        return await origin(league)

    (answer,) = await outcomes(start(odds("nba")))
    await turns()
    assert type(answer).__name__ == "FetchTimeoutError"
    (record,) = caplog.records
    assert record.getMessage() == "fetch_failed: of odds after 3.000 s: coalesce_kit.errors.FetchTimeoutError"


def test_a_change_of_state_is_a_record(observer, caplog):
    """With what has changed, from what to what, and why."""
    observer.state_changed(changed())
    (record,) = caplog.records
    assert record.getMessage() == "state_changed: store from closed to open: refused"
    assert (record.subject, record.before, record.after, record.reason) == ("store", "closed", "open", "refused")


@pytest.mark.parametrize(
    ("state", "level"), [("connected", "INFO"), ("closed", "INFO"), ("degraded", "WARNING"), ("half-open", "WARNING")]
)
def test_a_change_for_the_better_is_no_warning(observer, caplog, state, level):
    """What is well again is told, and wakes nobody."""
    with caplog.at_level(logging.INFO):
        observer.state_changed(changed(state))
    assert [record.levelname for record in caplog.records] == [level]


def test_keys_are_logged_at_debug_only(observer, caplog):
    """The key has a record of its own, which only exists where DEBUG is on."""
    with caplog.at_level(logging.DEBUG):
        observer.fetch_ended(ended(2.0))
    warning, debug = caplog.records
    assert "s3cret" not in json.dumps(warning.__dict__, default=str)
    assert (debug.levelno, debug.getMessage(), debug.key) == (logging.DEBUG, "slow_fetch_key: 's3cret'", "'s3cret'")


def test_the_same_is_not_logged_again_and_again(caplog):
    """Of one kind and one function there is one record in ten seconds, and it says how many were left out."""
    time = 0.0
    observer = LogObserver(now=lambda: time)
    for number in range(1000):
        time = number / 50
        observer.fetch_ended(ended(error=Upset()))
    assert [record.left_out for record in caplog.records] == [0, 499]


def test_what_differs_is_not_left_out(observer, caplog):
    """Another function, another kind of event and another state each have a record."""
    with caplog.at_level(logging.INFO):
        observer.fetch_ended(ended(error=Upset()))
        observer.fetch_ended(ended(error=Upset(), function="fixtures"))
        observer.fetch_ended(ended(2.0))
        observer.state_changed(changed("open"))
        observer.state_changed(changed("closed"))
        observer.state_changed(changed("open", subject="another store"))
    assert len(caplog.records) == 6


def test_left_out_keys_are_not_rendered(caplog):
    """A key is asked for its text only for a record that is written."""
    rendered = []
    observer = LogObserver(now=lambda: 0.0)
    with caplog.at_level(logging.DEBUG):
        for _ in range(3):
            observer.fetch_ended(
                FetchEnded(
                    function="odds", key=1, describe=lambda key: rendered.append(key) or "one", elapsed_seconds=9
                )
            )
    assert rendered == [1]


def test_no_key_is_rendered_where_debug_is_off(observer, caplog):
    """What nobody would read is not made."""
    rendered = []
    with caplog.at_level(logging.INFO):
        observer.fetch_ended(FetchEnded(function="odds", key=1, describe=rendered.append, elapsed_seconds=9))
    assert (len(caplog.records), rendered) == (1, [])


def test_functions_without_end_do_not_fill_memory(observer, caplog, monkeypatch):
    """So many functions are told apart, and the one that was logged longest ago is forgotten first."""
    monkeypatch.setattr(log, "MOST_SUBJECTS", 3)
    for name in ("a", "b", "c", "d", "a", "d"):
        observer.fetch_ended(ended(error=Upset(), function=name))
    assert [record.function for record in caplog.records] == ["a", "b", "c", "d", "a"]
    assert len(observer._rate._kinds) == 3


def test_hostile_names_are_one_line(observer, caplog):
    """Whatever a function, a key, an error or a subject is called, a record is one printable line, and not long."""
    with caplog.at_level(logging.DEBUG):
        observer.fetch_ended(
            ended(function=HOSTILE, key=HOSTILE, error=type(HOSTILE[:100].replace("\ud800", ""), (Exception,), {})())
        )
        observer.state_changed(changed(HOSTILE, subject=HOSTILE, reason=HOSTILE))
    assert len(caplog.records) == 3
    for record in caplog.records:
        assert record.getMessage().isprintable()
        assert len(record.getMessage()) < 1000


@pytest.mark.parametrize("wrong", [{"slow_fetch_seconds": -1}, {"every_seconds": float("nan")}])
def test_seconds_that_make_no_sense(wrong):
    """A negative number of seconds is refused by its name."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        LogObserver(**wrong)


async def test_a_decorated_function_is_logged(caplog, virtual_time):
    """Given to a function, it logs its fetches; callers get their answer and their error as ever."""
    origin = Origin()

    @coalesced(name="odds", observers=(LogObserver(slow_fetch_seconds=2),))
    async def odds(league):
        return await origin(league)

    assert await after(origin, 1.9, odds("nba")) == 1.9
    (slow,) = start(odds("nba"))
    await asyncio.sleep(3)
    origin.answer(2.0)
    assert await slow == 2.0
    (failing,) = start(odds("nba"))
    await turns()
    origin.fail(Upset())
    with pytest.raises(Upset):
        await failing
    assert [record.msg % record.args for record in caplog.records] == [
        "slow_fetch: of odds: 3.000 s",
        f"fetch_failed: of odds after 0.000 s: {Upset.__module__}.Upset",
    ]


class TestAsAnObserver(ObserverContract):
    """The log raises nothing, holds on to no argument and prints none: as every observer."""

    def make_observer(self):
        return LogObserver(slow_fetch_seconds=0, every_seconds=0)
