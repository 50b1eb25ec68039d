"""Remembered failures, and fetches that were told to stop and end all the same."""

import asyncio

import pytest

import coalesce_kit
from coalesce_kit import (
    CachePolicy,
    FetchTimeoutError,
    coalesced,
)
from tests.fakes import Origin, after, keeping, outcomes, start, turns

virtual = pytest.mark.usefixtures("virtual_time")
on_every_loop = pytest.mark.on_every_loop

SWR = CachePolicy(ttl=10, stale_while_revalidate=20)
FALLBACK = CachePolicy(ttl=10, stale_if_error=100)


class Down(Exception):
    """The upstream is down."""


class NotFound(Exception):
    """The upstream says that there is no such thing."""


class Forbidden(Exception):
    """The upstream says no."""


# ---- remembered errors ----


@virtual
@on_every_loop
async def test_a_failure_is_remembered_for_its_time() -> None:
    """Later callers get a twin at once: same class, args and attributes, nothing of the first caller's."""
    origin = Origin()
    odds = keeping(origin, policy=CachePolicy(error_ttl={NotFound: 10}))
    error = NotFound("no such league")
    error.code = 404  # type: ignore[attr-defined]
    error.__cause__ = KeyError("inner")
    (caller,) = start(odds())
    await turns()
    origin.fail(error)
    assert await outcomes([caller]) == [error]
    met: list[NotFound] = []
    for _ in range(2):
        with pytest.raises(NotFound) as caught:
            await odds()
        met.append(caught.value)
        frames = [frame.name for frame in caught.traceback]
        assert "__call__" not in frames, "no frame of the fetch"

    assert len({id(one) for one in (error, *met)}) == 3
    assert [(one.args, one.code, one.__cause__, one.__context__) for one in met] == [  # type: ignore[attr-defined]
        (("no such league",), 404, None, None)
    ] * 2
    numbers = odds.stats()
    assert (numbers.cache_hits, numbers.remembered_errors_served, numbers.fetches) == (2, 2, 1)
    await asyncio.sleep(10)
    assert await after(origin, "there", odds()) == "there"


@virtual
@on_every_loop
async def test_a_remembered_group_of_failures_remembers_no_frames() -> None:
    """Nor do its members keep any: neither a traceback nor a cause."""

    @coalesced(policy=CachePolicy(error_ttl={ExceptionGroup: 10}))
    async def odds() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(failing())

    async def failing() -> None:
        raise NotFound from KeyError()

    with pytest.raises(ExceptionGroup):
        await odds()
    remembered = odds.peek().error

    assert isinstance(remembered, ExceptionGroup)
    (member,) = remembered.exceptions
    assert (member.__traceback__, member.__cause__, member.__context__) == (None, None, None)


@virtual
@on_every_loop
async def test_the_nearest_class_decides_how_long() -> None:
    """A subclass may be remembered for longer than its parent, and what is not named not at all."""
    origin = Origin()
    odds = keeping(origin, policy=CachePolicy(error_ttl={LookupError: 1, KeyError: 10}))
    for number, (error, seconds) in enumerate([(KeyError(), 9), (IndexError(), 0.5), (Down(), None)]):
        (caller,) = start(odds(number))
        await turns()
        origin.fail(error)
        await outcomes([caller])
        if seconds is None:
            assert odds.peek(number) is None
        else:
            await asyncio.sleep(seconds)
            assert odds.explain(number).state == "remembered error"


@virtual
@on_every_loop
@pytest.mark.parametrize("how", ["invalidate", "everything", "tag", "prime", "refresh"])
async def test_a_remembered_failure_is_cleared(how: str) -> None:
    """By every invalidation, by a value made elsewhere, and by a refresh that succeeds."""
    origin = Origin()
    odds = keeping(origin, policy=CachePolicy(ttl=60, error_ttl={NotFound: 60}), tags=("odds",))
    (caller,) = start(odds())
    await turns()
    origin.fail(NotFound())
    await outcomes([caller])
    if how == "invalidate":
        assert odds.invalidate().voided == 1
    elif how == "everything":
        coalesce_kit.invalidate_all()
    elif how == "tag":
        coalesce_kit.invalidate_tags("odds")
    elif how == "prime":
        odds.prime("there")
    else:
        assert await after(origin, "there", odds.refresh()) == "there"

    if how in ("prime", "refresh"):
        assert await odds() == "there"
    else:
        assert await after(origin, "there", odds()) == "there"


@virtual
@on_every_loop
async def test_a_usable_old_value_is_not_replaced_by_a_remembered_failure() -> None:
    """What can be given instead is given instead."""
    origin = Origin()
    odds = keeping(origin, policy=CachePolicy(ttl=10, stale_if_error=100, error_ttl={NotFound: 50}))
    await after(origin, "old", odds())
    await asyncio.sleep(11)
    (caller,) = start(odds())
    await turns()
    origin.fail(NotFound())

    assert await outcomes([caller]) == ["old"]
    assert odds.peek().value == "old"


@virtual
@on_every_loop
async def test_what_is_always_raised_may_be_remembered() -> None:
    """Where the old value is only a fallback, a failure that it may not hide takes its place."""
    origin = Origin()
    policy = CachePolicy(ttl=10, stale_if_error=100, error_ttl={NotFound: 50}, always_raise=NotFound)
    odds = keeping(origin, policy=policy)
    await after(origin, "old", odds())
    await asyncio.sleep(11)
    (caller,) = start(odds())
    await turns()
    origin.fail(NotFound())
    await outcomes([caller])

    with pytest.raises(NotFound):
        await odds()
    assert len(origin.calls) == 2


@virtual
@on_every_loop
async def test_a_refresh_that_fails_leaves_even_a_fallback_in_place() -> None:
    """Its failure is raised to who asked for it, remembered by nobody, and the old value stays."""
    origin = Origin()
    policy = CachePolicy(ttl=10, stale_if_error=100, error_ttl={NotFound: 50}, always_raise=NotFound)
    odds = keeping(origin, policy=policy)
    await after(origin, "old", odds())
    await asyncio.sleep(11)
    (refreshing,) = start(odds.refresh())
    await turns()
    origin.fail(NotFound())
    assert [type(end) for end in await outcomes([refreshing])] == [NotFound]

    assert odds.peek().value == "old"


# ---- zombies ----


@virtual
@on_every_loop
@pytest.mark.parametrize("how", ["timed out", "abandoned"])
@pytest.mark.parametrize("ends", ["returns", "raises"])
async def test_a_zombie_never_keeps_what_it_brings(how: str, ends: str) -> None:
    """What a fetch that was told to stop brings all the same is dropped: a value, or a failure to remember."""
    release = asyncio.Event()
    calls = 0

    @coalesced(
        policy=CachePolicy(ttl=1000, error_ttl={NotFound: 1000}),
        fetch_timeout_seconds=2 if how == "timed out" else None,
    )
    async def odds() -> str:
        nonlocal calls
        calls += 1
        while calls == 1 and not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                pass
        if calls == 1 and ends == "raises":
            raise NotFound
        return f"value {calls}"

    (caller,) = start(odds())
    await asyncio.sleep(1)
    if how == "abandoned":
        caller.cancel()
    (end,) = await outcomes([caller])
    assert isinstance(end, FetchTimeoutError if how == "timed out" else asyncio.CancelledError)
    assert odds.stats().zombies == 1
    release.set()
    await turns()

    assert odds.stats().zombies == 0
    assert odds.peek() is None
    assert await odds() == "value 2"
