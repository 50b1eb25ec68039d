"""G5: all who waited get the failure of the one fetch, the leader the original and everybody else a twin."""

import asyncio
import gc
import traceback
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import httpx
import pydantic
import pytest

from coalesce_kit import RequestCoalescer, UnshareableResultError, coalesced
from coalesce_kit.testing.leaks import unretrieved
from tests.fakes import Door, Origin, both_doors, outcomes, start, turns

pytestmark = pytest.mark.on_every_loop


class Unavailable(Exception):
    """An error as people write them: its own signature, a rewritten message, an attribute."""

    def __init__(self, code: int, *, host: str) -> None:
        super().__init__(f"{host} answered {code}")
        self.code = code
        self.host = host


def depth(error: BaseException) -> int:
    return len(traceback.extract_tb(error.__traceback__))


async def fail_for(asked: Door, origin: Origin, error: BaseException, callers: int = 4) -> list[BaseException]:
    """Have one fetch fail for that many callers; return what each of them got."""
    tasks = start(*(asked.ask() for _ in range(callers)))
    await turns()
    origin.fail(error)
    return await outcomes(tasks)


@both_doors
async def test_g05_one_failure_for_all_who_waited(door: Callable[..., Door]) -> None:
    """One fetch fails for all its callers, nobody retries for himself, and the next call tries again."""
    origin = Origin()
    asked = door(origin)
    ends = await fail_for(asked, origin, LookupError("no fixtures"), callers=100)

    assert [repr(end) for end in ends] == ["LookupError('no fixtures')"] * 100
    assert len(origin.calls) == 1
    assert (asked.numbers().fetch_errors, asked.numbers().error_fanout) == (1, 99)

    (again,) = start(asked.ask())
    await turns()
    origin.answer("there they are")
    assert await again == "there they are"
    assert len(origin.calls) == 2


@both_doors
async def test_g05_the_leader_gets_the_original(door: Callable[..., Door]) -> None:
    """The caller who began the fetch gets the very error that it raised, everybody else one of their own."""
    origin = Origin()
    original = LookupError("no fixtures")
    ends = await fail_for(door(origin), origin, original)

    assert ends[0] is original
    assert len({id(end) for end in ends}) == 4


@both_doors
async def test_g05_a_twin_is_like_the_original(door: Callable[..., Door]) -> None:
    """A twin has the class, arguments, attributes, notes, cause, context and traceback of the original."""
    origin = Origin()
    cause, context, original = OSError("refused"), KeyError("before"), Unavailable(503, host="odds")
    original.__cause__, original.__context__ = cause, context
    original.add_note("from the origin")
    leader, *waiters = await fail_for(door(origin), origin, original)

    assert isinstance(leader, Unavailable)
    for waiter in waiters:
        assert isinstance(waiter, Unavailable)
        assert (str(waiter), waiter.args) == (str(original), original.args)
        assert (waiter.code, waiter.host) == (503, "odds")
        assert waiter.__notes__ == ["from the origin"]
        assert waiter.__notes__ is not original.__notes__
        assert waiter.__cause__ is cause
        assert waiter.__context__ is context
        assert waiter.__suppress_context__
        assert [frame.name for frame in traceback.extract_tb(waiter.__traceback__)][-1] == "__call__"


@both_doors
async def test_g05_what_one_caller_adds_the_others_do_not_see(door: Callable[..., Door]) -> None:
    """Notes, contexts and frames of one caller never show in the traceback of another."""
    origin = Origin()
    asked = door(origin)

    async def caller(number: int) -> str:
        try:
            raise ValueError(f"secret of {number}")
        except ValueError:
            try:
                await asked.ask()
            except LookupError as error:
                error.add_note(f"request of {number}")
                error.seen_by = number  # type: ignore[attr-defined]
                await turns(number)
                return "".join(traceback.format_exception(error)) + repr(vars(error))
        return ""

    tasks = start(*(caller(number) for number in range(5)))
    await turns()
    origin.fail(LookupError("no fixtures"))
    texts = await asyncio.gather(*tasks)

    for number, text in enumerate(texts):
        for other in range(5):
            assert (f"request of {other}" in text) == (other == number)
            assert (f"secret of {other}" in text) == (other == number)
            assert (f"'seen_by': {other}" in text) == (other == number)


@both_doors
async def test_g05_a_failure_keeps_its_own_context(door: Callable[..., Door]) -> None:
    """The origin's ``__context__`` reaches also callers who are handling an exception of their own."""
    release = asyncio.Event()

    async def origin(*_: object) -> None:
        await release.wait()
        try:
            raise KeyError("inner")
        except KeyError:
            raise LookupError("outer")  # noqa: B904  # its context is what this is about

    asked = door(origin)

    async def caller() -> BaseException | None:
        try:
            raise ValueError("the caller's own")
        except ValueError:
            try:
                await asked.ask()
            except LookupError as error:
                return error.__context__
        return None

    tasks = start(caller(), caller())
    await turns()
    release.set()

    assert [repr(context) for context in await asyncio.gather(*tasks)] == ["KeyError('inner')"] * 2


@both_doors
async def test_g05_what_the_leader_was_handling_stays_with_the_leader(door: Callable[..., Door]) -> None:
    """A leader who asks inside an ``except`` block does not pass that exception on to the waiters."""
    release = asyncio.Event()

    async def origin(*_: object) -> None:
        try:
            raise KeyError("inner")
        except KeyError:
            await release.wait()
            raise LookupError("outer")  # noqa: B904  # its context is what this is about

    asked = door(origin)

    async def leader() -> None:
        try:
            raise ValueError("secret of the leader")
        except ValueError:
            await asked.ask()

    tasks = start(leader(), asked.ask())
    await turns()
    release.set()
    _, waiter = await outcomes(tasks)

    assert "secret of the leader" not in "".join(traceback.format_exception(waiter))
    assert "inner" in "".join(traceback.format_exception(waiter))


@both_doors
async def test_g05_no_traceback_grows_with_the_waiters(door: Callable[..., Door]) -> None:
    """The traceback of every caller is as long with two callers as with fifty."""
    depths = []
    for callers in (2, 50):
        origin = Origin()
        ends = await fail_for(door(origin), origin, LookupError("no fixtures"), callers=callers)
        depths.append({depth(end) for end in ends})

    assert len(depths[0]) == 1
    assert depths[0] == depths[1]


class Refuses(Exception):
    """An error that cannot be built without its own ``__new__``."""

    def __new__(cls, *args: object) -> Self:
        return super().__new__(cls, *args)


@both_doors
async def test_g05_what_cannot_be_twinned_is_shared_as_it_is(door: Callable[..., Door]) -> None:
    """Such an error is one object for all, its traceback does not grow, and it is counted per caller."""
    origin = Origin()
    asked = door(origin)
    original = Refuses("odd")
    ends = await fail_for(asked, origin, original, callers=20)

    assert {id(end) for end in ends} == {id(original)}
    assert depth(original) < 20
    assert (asked.numbers().errors_shared_as_is, asked.numbers().error_fanout) == (19, 19)


@dataclass(frozen=True)
class Frozen(Exception):
    """A frozen dataclass, which refuses every assignment, those of Python itself included."""

    code: int


class NotesAreNoList(Exception):
    __notes__ = ("not", "a", "list")


class Meddles(Exception):
    """An error whose class looks after its attributes itself."""

    def __setattr__(self, name: str, value: object) -> None:
        raise TypeError("hands off")

    def with_traceback(self, tb: object) -> "Meddles":  # type: ignore[override]
        raise TypeError("hands off")

    def add_note(self, note: str) -> None:
        raise TypeError("hands off")


class Lies(Exception):
    @property
    def __cause__(self) -> BaseException:  # type: ignore[override]
        raise RuntimeError("no cause for you")


@both_doors
@pytest.mark.parametrize("error", [Frozen(7), NotesAreNoList("x"), Meddles("x"), Lies("x")], ids=repr)
@pytest.mark.parametrize("leader_leaves", [False, True])
async def test_g05_an_odd_error_reaches_everybody(
    door: Callable[..., Door], error: Exception, leader_leaves: bool
) -> None:
    """An error class that defends itself is delivered to every caller: nobody hangs."""
    origin = Origin()
    asked = door(origin)
    tasks = start(*(asked.ask() for _ in range(3)))
    await turns()
    if leader_leaves:
        tasks[0].cancel()
        await turns()
    origin.fail(type(error)(*error.args))
    ends = await outcomes(tasks)

    assert [type(end) for end in ends[leader_leaves:]] == [type(error)] * (3 - leader_leaves)


async def test_g05_the_commonest_errors_of_the_web_are_twinned() -> None:
    """``httpx.HTTPStatusError`` is twinned with its request and response; pydantic's error is shared as it is."""
    coalescer, origin = RequestCoalescer(), Origin()
    request = httpx.Request("GET", "http://odds/fixtures")
    original = httpx.HTTPStatusError("429", request=request, response=httpx.Response(429, request=request))
    tasks = start(*(coalescer.get_or_fetch("key", origin) for _ in range(2)))
    await turns()
    origin.fail(original)
    leader, waiter = await outcomes(tasks)

    assert leader is original
    assert waiter is not original
    assert (waiter.request, waiter.response) == (original.request, original.response)

    class Model(pydantic.BaseModel):
        limit: int

    async def invalid() -> None:
        await turns()
        Model.model_validate({"limit": "many"})

    first, second = await outcomes(start(*(coalescer.get_or_fetch("key", invalid) for _ in range(2))))
    assert first is second
    assert coalescer.statistics().errors_shared_as_is == 1


@both_doors
async def test_g05_never_an_exception_that_nobody_retrieved(door: Callable[..., Door]) -> None:
    """Callers who leave before, in and after the tick of the failure leave nothing for asyncio to complain about."""
    with unretrieved() as reports:
        for leavers in ([], [0], [1], [0, 1], [0, 1, 2]):
            for when in ("before", "in the tick"):
                origin = Origin()
                asked = door(origin)
                tasks = start(*(asked.ask() for _ in range(3)))
                await turns()
                if when == "in the tick":
                    origin.fail(LookupError("no fixtures"))
                for leaver in leavers:
                    tasks[leaver].cancel()
                await turns()
                if origin.working:
                    origin.fail(LookupError("no fixtures"))
                ends = await outcomes(tasks)
                assert [isinstance(end, asyncio.CancelledError) for end in ends] == [i in leavers for i in range(3)]
                del tasks, ends
                gc.collect()

    assert reports == []


async def test_g05_a_failure_after_its_leader_left_names_what_was_the_leaders() -> None:
    """Each error carries a note naming the parameters outside the key, which were the leader's."""
    origin = Origin()

    @coalesced(key="fixtures:{sport}", ignore=("session", "user"))
    async def fixtures(sport: str, session: object, user: object) -> object:
        return await origin(sport)

    tasks = start(*(fixtures("nfl", object(), object()) for _ in range(3)))
    await turns()
    tasks[0].cancel()
    await turns()
    original = LookupError("session is closed")
    origin.fail(original)
    _, *ends = await outcomes(tasks)

    for end in ends:
        (note,) = end.__notes__
        assert note.startswith("led by a caller who left 0.0")
        assert note.endswith("s earlier; 'session', 'user' were theirs: open it inside the function")
    assert not hasattr(original, "__notes__")


async def test_g05_a_failure_under_its_leader_has_no_note() -> None:
    """While the leader waits, what is theirs is alive, and the failure is as the origin made it."""
    origin = Origin()

    @coalesced(key="fixtures:{sport}", ignore=("session",))
    async def fixtures(sport: str, session: object) -> object:
        return await origin(sport)

    tasks = start(*(fixtures("nfl", object()) for _ in range(2)))
    await turns()
    origin.fail(LookupError("no fixtures"))

    assert [hasattr(end, "__notes__") for end in await outcomes(tasks)] == [False, False]


async def test_g05_an_error_that_is_raised_again_and_again_collects_no_notes() -> None:
    """An origin that raises one object every time finds it as it made it, whoever left."""
    origin, always = Origin(), LookupError("closed")

    @coalesced(key="fixtures:{sport}", ignore=("session",))
    async def fixtures(sport: str, session: object) -> object:
        return await origin(sport)

    for _ in range(3):
        tasks = start(*(fixtures("nfl", object()) for _ in range(2)))
        await turns()
        tasks[0].cancel()
        await turns()
        origin.fail(always)
        _, waiter = await outcomes(tasks)
        assert len(waiter.__notes__) == 1

    assert not hasattr(always, "__notes__")


async def coroutine() -> None: ...


async def async_generator() -> object:
    yield


class FirstOnly:
    """What aiohttp's ``session.get()`` returns: a coroutine by its methods."""

    def __await__(self) -> object:
        yield

    def send(self, value: object) -> None: ...
    def throw(self, *error: object) -> None: ...
    def close(self) -> None: ...


@both_doors
@pytest.mark.parametrize(
    ("make", "way_out"),
    [
        (coroutine, "await it inside the function"),
        (FirstOnly, "await it inside the function"),
        (async_generator, r"\[item async for item in ...\]"),
        (lambda: (item for item in "ab"), "return a list or a tuple"),
        (lambda: iter([1, 2]), "return a list or a tuple"),
        (lambda: map(str, [1, 2]), "return a list or a tuple"),
    ],
    ids=["coroutine", "like-a-coroutine", "async-generator", "generator", "iterator", "map"],
)
async def test_g05_a_result_for_one_is_refused(door: Callable[..., Door], make: object, way_out: str) -> None:
    """What can be used only once is refused for every caller, with the way out."""

    async def origin(*_: object) -> object:
        await turns()
        return make()  # type: ignore[operator]

    asked = door(origin)
    ends = await outcomes(start(*(asked.ask() for _ in range(2))))

    assert [type(end) for end in ends] == [UnshareableResultError] * 2
    with pytest.raises(UnshareableResultError, match=way_out):
        raise ends[1]
    assert asked.numbers().fetch_errors == 1


@both_doors
async def test_g05_errors_die_with_their_callers(door: Callable[..., Door]) -> None:
    """When the callers have dropped the failure nothing holds it, without the garbage collector's help."""

    class Weak(Exception):
        pass

    release = asyncio.Event()

    async def origin(*_: object) -> None:  # not Origin: a future's exception and the frame that waits are a circle
        await release.wait()
        raise Weak("soon gone")

    asked = door(origin)
    born: list[weakref.ref[BaseException]] = []

    async def caller() -> None:
        try:
            await asked.ask()
        except Weak as error:
            born.append(weakref.ref(error))

    gc.collect()
    gc.disable()
    try:
        tasks = start(*(caller() for _ in range(5)))
        await turns()
        release.set()
        await asyncio.gather(*tasks)
        del tasks
        await turns()
        assert len(born) == 5
        assert [reference() for reference in born] == [None] * 5
    finally:
        gc.enable()
