"""Which limit wins where two of them meet: one test for each row of docs/limits.md."""

import asyncio

import pytest

from coalesce_kit.backends.in_process import RequestCoalescer
from coalesce_kit.errors import FetchCancelledError, FetchTimeoutError, WaitTimeoutError
from coalesce_kit.protocols import CloseReport
from tests.fakes import Origin, outcomes, start, turns

pytestmark = pytest.mark.usefixtures("virtual_time")


def now() -> float:
    return asyncio.get_running_loop().time()


async def timed(awaitable: object) -> tuple[float, object]:
    """Return when it ended, and with what."""
    (end,) = await asyncio.gather(awaitable, return_exceptions=True)  # type: ignore[call-overload]
    return now(), end


async def test_01_waiters_time_out_before_the_fetch_does() -> None:
    """Each waiter goes at its own time, the leader at the fetch's."""
    coalescer, origin = RequestCoalescer(max_wait_seconds=5, fetch_timeout_seconds=20), Origin()
    leader, early = start(*(timed(coalescer.get_or_fetch("key", origin)) for _ in range(2)))
    await asyncio.sleep(2)
    (late,) = start(timed(coalescer.get_or_fetch("key", origin)))

    ends = await outcomes([early, late, leader])

    assert [round(at, 6) for at, _ in ends] == [5, 7, 20]
    assert [type(end) for _, end in ends] == [WaitTimeoutError, WaitTimeoutError, FetchTimeoutError]


async def test_02_the_fetch_times_out_before_its_waiters() -> None:
    """Everybody gets the fetch's timeout at once."""
    coalescer, origin = RequestCoalescer(max_wait_seconds=20, fetch_timeout_seconds=5), Origin()

    ends = await outcomes(start(*(timed(coalescer.get_or_fetch("key", origin)) for _ in range(3))))

    assert [(round(at, 6), type(end)) for at, end in ends] == [(5, FetchTimeoutError)] * 3
    assert coalescer.statistics().wait_timeouts == 0


async def test_03_an_over_age_flight_keeps_its_waiters_to_their_own_limit() -> None:
    """Being over age changes nothing for those who wait already."""
    coalescer, origin = RequestCoalescer(max_wait_seconds=30, max_flight_seconds=10), Origin()
    leader, waiter = start(*(timed(coalescer.get_or_fetch("key", origin)) for _ in range(2)))
    await asyncio.sleep(11)
    (newcomer,) = start(timed(coalescer.get_or_fetch("key", origin)))
    await turns()
    assert len(origin.calls) == 2
    await asyncio.sleep(15)
    origin.answer("old")
    origin.answer("new")

    assert [end for _, end in await outcomes([leader, waiter, newcomer])] == ["old", "old", "new"]


async def test_04_the_last_caller_that_times_out_takes_the_fetch_along() -> None:
    """The error of the last waiter says that the fetch was cancelled with it."""
    coalescer, origin = RequestCoalescer(max_wait_seconds=5), Origin()
    leader, waiter = start(*(coalescer.get_or_fetch("key", origin) for _ in range(2)))
    await turns()
    leader.cancel()

    with pytest.raises(WaitTimeoutError, match="cancelled with you, its last caller"):
        await waiter
    await outcomes([leader])
    await turns()

    assert origin.working == 0


async def test_05_finish_goes_on_when_waiters_time_out() -> None:
    """With ``finish`` a timed-out last caller leaves the fetch running."""
    coalescer, origin = RequestCoalescer(max_wait_seconds=5, on_abandon="finish"), Origin()
    leader, waiter = start(*(coalescer.get_or_fetch("key", origin) for _ in range(2)))
    await turns()
    leader.cancel()

    with pytest.raises(WaitTimeoutError, match="which goes on"):
        await waiter
    assert origin.working == 1
    origin.answer()
    await turns()
    await outcomes([leader])


async def test_06_the_shorter_of_wait_and_own_timeout() -> None:
    """A caller's own timeout that comes first is no wait timeout."""
    coalescer, origin = RequestCoalescer(max_wait_seconds=5), Origin()

    async def with_own(seconds: float) -> object:
        async with asyncio.timeout(seconds):
            return await coalescer.get_or_fetch("key", origin)

    leader, short, long = start(coalescer.get_or_fetch("key", origin), timed(with_own(3)), timed(with_own(8)))
    ends = await outcomes([short, long])
    origin.answer()

    assert [(round(at, 6), type(end)) for at, end in ends] == [(3, TimeoutError), (5, WaitTimeoutError)]
    assert coalescer.statistics().wait_timeouts == 1
    assert await leader == "answer"


@pytest.mark.parametrize(("deadline", "error"), [(2, FetchCancelledError), (8, WaitTimeoutError)])
async def test_07_the_earlier_of_wait_and_deadline(deadline: float, error: type[Exception]) -> None:
    """A waiter times out, or is cut with the fetch, whichever comes first."""
    coalescer, origin = RequestCoalescer(max_wait_seconds=5), Origin()
    leader, waiter = start(*(timed(coalescer.get_or_fetch("key", origin)) for _ in range(2)))
    await turns()

    assert await coalescer.aclose(deadline_seconds=deadline) == CloseReport(0, ("key",))
    ends = await outcomes([waiter, leader])

    assert [type(end) for _, end in ends] == [error, FetchCancelledError]
    assert round(ends[0][0], 6) == min(deadline, 5)


async def test_08_a_fetch_that_timed_out_is_never_over_age() -> None:
    """A fetch timeout below the age limit leaves one fetch at a time."""
    coalescer, origin = RequestCoalescer(fetch_timeout_seconds=5, max_flight_seconds=10), Origin()
    await outcomes(start(coalescer.get_or_fetch("key", origin)))
    await asyncio.sleep(6)

    assert coalescer.flights() == ()


async def test_09_an_over_age_fetch_still_ends_at_its_timeout() -> None:
    """A second fetch runs beside the first, which ends at its own time."""
    coalescer, origin = RequestCoalescer(fetch_timeout_seconds=20, max_flight_seconds=10), Origin()
    (first,) = start(timed(coalescer.get_or_fetch("key", origin)))
    await asyncio.sleep(11)
    (second,) = start(timed(coalescer.get_or_fetch("key", origin)))
    await turns()
    assert origin.working == 2

    ends = await outcomes([first, second])

    assert [(round(at, 6), type(end)) for at, end in ends] == [(20, FetchTimeoutError), (31, FetchTimeoutError)]


async def test_10_the_fetch_timeout_ends_a_fetch_that_finishes_alone() -> None:
    """``finish`` does not outlast the fetch timeout, even beyond the age limit."""
    coalescer, origin = (
        RequestCoalescer(on_abandon="finish", fetch_timeout_seconds=20, max_flight_seconds=10),
        Origin(),
    )
    (task,) = start(coalescer.get_or_fetch("key", origin))
    await turns()
    task.cancel()
    await outcomes([task])
    await asyncio.sleep(19.9)
    assert origin.working == 1
    await asyncio.sleep(0.2)

    assert origin.working == 0


async def test_11_a_leaving_caller_does_not_move_the_fetch_timeout() -> None:
    """The fetch's time counts from its start, whoever led it."""
    coalescer, origin = RequestCoalescer(max_wait_seconds=None, fetch_timeout_seconds=10), Origin()
    leader, waiter = start(*(timed(coalescer.get_or_fetch("key", origin)) for _ in range(2)))
    await asyncio.sleep(6)
    leader.cancel()

    (end,) = await outcomes([waiter])

    assert (round(end[0], 6), type(end[1])) == (10, FetchTimeoutError)
    await outcomes([leader])


@pytest.mark.parametrize(("deadline", "report"), [(2, CloseReport(0, ("key",))), (8, CloseReport(1))])
async def test_12_the_earlier_of_fetch_timeout_and_deadline(deadline: float, report: CloseReport) -> None:
    """A fetch that times out while it is drained has finished; one that is cut has not."""
    coalescer, origin = RequestCoalescer(fetch_timeout_seconds=5), Origin()
    tasks = start(coalescer.get_or_fetch("key", origin))
    await turns()

    assert await coalescer.aclose(deadline_seconds=deadline) == report
    assert type((await outcomes(tasks))[0]) is (FetchCancelledError if deadline == 2 else FetchTimeoutError)


async def test_13_callers_keep_an_over_age_flight_that_would_finish_alone() -> None:
    """At the age limit a ``finish`` flight ends only if nobody waits; then with its last caller."""
    coalescer, origin = RequestCoalescer(on_abandon="finish", max_flight_seconds=10), Origin()
    (task,) = start(coalescer.get_or_fetch("key", origin))
    await asyncio.sleep(11)
    assert origin.working == 1
    task.cancel()
    await outcomes([task])
    await turns()

    assert origin.working == 0


async def test_14_the_last_caller_of_an_over_age_flight_cancels_it() -> None:
    """An over-age flight is left like any other."""
    coalescer, origin = RequestCoalescer(max_flight_seconds=10), Origin()
    (old,) = start(coalescer.get_or_fetch("key", origin))
    await asyncio.sleep(11)
    (new,) = start(coalescer.get_or_fetch("key", origin))
    await turns()
    old.cancel()
    await outcomes([old])
    await turns()

    assert origin.working == 1
    origin.answer()
    assert await new == "answer"


async def test_15_an_over_age_flight_is_drained_and_cut() -> None:
    """Closing waits for detached flights, too, and cancels them at the deadline."""
    coalescer, origin = RequestCoalescer(max_flight_seconds=10), Origin()
    (old,) = start(coalescer.get_or_fetch("key", origin))
    await asyncio.sleep(11)
    (new,) = start(coalescer.get_or_fetch("key", origin))
    await turns()

    assert await coalescer.aclose(deadline_seconds=1) == CloseReport(0, ("key", "key"))
    assert [type(end) for end in await outcomes([old, new])] == [FetchCancelledError] * 2


async def test_16_finish_goes_on_after_its_callers_own_timeout() -> None:
    """A caller's own timeout ends that caller and no fetch that is to finish."""
    coalescer, origin = RequestCoalescer(on_abandon="finish"), Origin()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await coalescer.get_or_fetch("key", origin)

    assert origin.working == 1
    origin.answer()
    await turns()


@pytest.mark.parametrize("ends_at", [1, None])
async def test_17_a_fetch_that_finishes_alone_is_drained_then_cut(ends_at: float | None) -> None:
    """Closing waits for it to the deadline."""
    coalescer, origin = RequestCoalescer(on_abandon="finish"), Origin()
    (task,) = start(coalescer.get_or_fetch("key", origin))
    await turns()
    task.cancel()
    await outcomes([task])
    if ends_at is not None:
        asyncio.get_running_loop().call_later(ends_at, origin.answer)

    report = await coalescer.aclose(deadline_seconds=3)

    assert report == (CloseReport(1) if ends_at is not None else CloseReport(0, ("key",)))


async def test_18_a_caller_may_leave_while_its_fetch_is_drained() -> None:
    """The fetch that its last caller takes along has ended by itself."""
    coalescer, origin = RequestCoalescer(), Origin()

    async def impatient() -> None:
        async with asyncio.timeout(1):
            await coalescer.get_or_fetch("key", origin)

    tasks = start(impatient())
    await turns()

    assert await coalescer.aclose(deadline_seconds=3) == CloseReport(1)
    assert type((await outcomes(tasks))[0]) is TimeoutError
