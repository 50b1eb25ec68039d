"""A coalescer as it is made: its options, what holds without them, and what it holds."""

import gc
import weakref
from functools import partial

import pytest

from coalesce_kit import ConfigurationError, RequestCoalescer
from tests.fakes import Origin, outcomes, start, turns


def test_what_holds_without_a_wish() -> None:
    """Five seconds for who waits, a minute for what is joined."""
    coalescer = RequestCoalescer()
    assert (coalescer.max_wait_seconds, coalescer.max_flight_seconds) == (5.0, 60.0)


@pytest.mark.parametrize(
    ("option", "value"),
    [("on_abandon", "stop"), ("max_wait_seconds", 0), ("max_flight_seconds", None), ("fetch_timeout_seconds", -1)],
)
def test_options_that_cannot_work(option: str, value: object) -> None:
    """A coalescer is made complete or not at all; the message names the option."""
    with pytest.raises(ConfigurationError, match=option):
        RequestCoalescer(**{option: value})


class Rows:
    """Something large."""


@pytest.mark.on_every_loop
async def test_what_a_waiter_brought_along_is_let_go() -> None:
    """It will not be called: a crowd that waits does not hold a fetch, and all that it closes over, for each."""
    coalescer, origin, rows = RequestCoalescer(), Origin(), Rows()
    tasks = start(coalescer.get_or_fetch("key", origin), coalescer.get_or_fetch("key", partial(origin, rows)))
    await turns()
    reference = weakref.ref(rows)
    del rows
    gc.collect()
    assert reference() is None
    origin.answer("answer")

    assert await outcomes(tasks) == ["answer", "answer"]
