"""The breaker opens, waits, and lets one probe through, all in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from coalesce_kit.errors import StoreUnavailableError
from coalesce_kit.stores.breaker import Breaker

pytestmark = pytest.mark.usefixtures("virtual_time")


def refuses(breaker):
    """Whether the next operation is turned away."""
    try:
        breaker.admit()
    except StoreUnavailableError:
        return True
    return False


@pytest.fixture
def breaker():
    """A breaker whose pauses are neither longer nor shorter."""
    return Breaker(jitter=lambda: 0.5)


async def test_the_third_time_out_in_a_row_opens(breaker):
    """Two time-outs and an answer are nothing; three in a row open."""
    for late in (True, True, False, True, True):
        assert not refuses(breaker)
        breaker.timed_out() if late else breaker.answered()
    assert breaker.state == "closed"
    breaker.timed_out()
    assert breaker.state == "open"
    assert refuses(breaker)


async def test_a_refused_connection_opens_at_once(breaker):
    """One is enough, and the message says when it is asked again."""
    breaker.refused()
    with pytest.raises(StoreUnavailableError, match=r"asked again in 0\.5 s"):
        breaker.admit()


async def test_after_the_pause_one_probe_passes(breaker):
    """Half a second later one operation passes and the others do not; its answer closes the breaker."""
    breaker.refused()
    await asyncio.sleep(0.5)
    assert breaker.state == "half-open"
    assert [refuses(breaker) for _ in range(3)] == [False, True, True]
    breaker.answered()
    assert [refuses(breaker) for _ in range(3)] == [False, False, False]


async def test_pauses_double_up_to_half_a_minute(breaker):
    """Each probe that fails doubles the pause."""
    breaker.refused()
    pauses = []
    for failed in (breaker.timed_out, breaker.refused) * 4:
        pause = 0.0
        while refuses(breaker):
            await asyncio.sleep(0.25)
            pause += 0.25
        pauses.append(pause)
        failed()
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30]
    breaker.answered()
    breaker.refused()
    await asyncio.sleep(0.5)
    assert not refuses(breaker)


async def test_pauses_differ_a_little():
    """A fleet does not knock in step: a pause is up to a fifth shorter or longer."""
    for number, pause in ((0.0, 0.4), (0.999999, 0.6)):
        breaker = Breaker(jitter=lambda number=number: number)
        breaker.refused()
        await asyncio.sleep(pause - 0.01)
        assert refuses(breaker)
        await asyncio.sleep(0.011)
        assert not refuses(breaker)


async def test_a_probe_that_never_reports_makes_room_for_another(breaker):
    """A caller who left before the probe was sent does not keep the breaker open for ever."""
    breaker.refused()
    await asyncio.sleep(0.5)
    assert [refuses(breaker), refuses(breaker)] == [False, True]
    await asyncio.sleep(2)
    assert not refuses(breaker)


async def test_what_began_before_it_opened_does_not_lengthen_the_pause(breaker):
    """Operations that were on their way when it opened tell nothing new."""
    for _ in range(5):
        breaker.refused()
    await asyncio.sleep(0.5)
    assert not refuses(breaker)


async def test_a_server_that_is_heard_of_is_tried_now(breaker):
    """A subscription that stands again is reason enough for a probe."""
    for _ in range(3):
        breaker.refused()
    breaker.try_now()
    assert not refuses(breaker)
