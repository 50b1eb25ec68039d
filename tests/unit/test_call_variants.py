"""The generated call: one row per compiled feature, and each row is called in every way that it can be."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import linecache
import traceback
import weakref
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import pytest

from coalesce_kit import (
    FetchTimeoutError,
    KeyDerivationError,
    RecursiveFetchError,
    WaitTimeoutError,
    coalesced,
)
from coalesce_kit.clock import clock
from tests.fakes import Origin, outcomes, start, turns

tenant: ContextVar[str] = ContextVar("tenant", default="a")


class User:
    def __init__(self, number: int) -> None:
        self.id = number

    def __repr__(self) -> str:
        return f"User({self.id})"


USER = User(1)
Call = Callable[[Callable[..., Any]], Any]


@dataclass
class Variant:
    """One compiled feature.

    Attributes:
        function: has the feature, and returns its own locals.
        same: calls that are one and the same, however they are spelled.
        other: calls that are other than those and than each other.
        text: the key of the first of ``same``, as text, after the name.
        options: how it is decorated.
    """

    function: Callable[..., Any]
    same: Iterable[Call]
    other: Iterable[Call] = ()
    text: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def direct(self) -> Callable[..., Any]:
        """What can be called in every one of these ways without being decorated."""
        return inspect.unwrap(self.function)


async def nothing():
    return locals()


async def one(league):
    return locals()


async def several(sport, live=True, limit=5):
    return locals()


async def positional_only(sport, league="nba", /):
    return locals()


async def keyword_only(*, league, limit=5):
    return locals()


async def any_positional(*leagues):
    return locals()


async def any_keyword(**options):
    return locals()


async def everything(a, /, b, c=3, *args, d, e=5, **kwargs):
    return locals()


async def clashing(ck_key, ck_load, ck_get_or_fetch, ck__recipe, id=1, repr=2, type=3):
    return locals()


async def called_as_itself(called_as_itself):
    return locals()


async def of_user(user, page=None):
    return locals()


async def with_session(session, league):
    return locals()


class Methods:
    async def method(self, league="nba"):
        return locals()


class Same:
    async def method(self, league="nba"):
        return {"league": league}


@functools.wraps(several)
async def keywords_only(**kwargs):
    return await several(**kwargs)


def with_tenant(name: str, call: Call) -> Call:
    def calling(function: Callable[..., Any]) -> Any:
        token = tenant.set(name)
        try:
            return asyncio.ensure_future(call(function))
        finally:
            tenant.reset(token)

    return calling


METHODS, OTHER = Methods(), Methods()
SAME = Same(), Same()

VARIANTS = {
    "no parameter": Variant(nothing, [lambda f: f()], text="nothing()"),
    "one parameter": Variant(
        one,
        [lambda f: f("nba"), lambda f: f(league="nba")],
        [lambda f: f("nfl"), lambda f: f(1), lambda f: f(1.0), lambda f: f(True), lambda f: f("1"), lambda f: f(None)],
        text="one(league='nba')",
    ),
    "defaults": Variant(
        several,
        [
            lambda f: f("nfl"),
            lambda f: f("nfl", True),
            lambda f: f("nfl", limit=5),
            lambda f: f(limit=5, live=True, sport="nfl"),
        ],
        [lambda f: f("nfl", 1), lambda f: f("nfl", limit=5.0)],
        text="several(sport='nfl', live=True, limit=5)",
    ),
    "positional only": Variant(
        positional_only,
        [lambda f: f("nfl"), lambda f: f("nfl", "nba")],
        [lambda f: f("nba", "nfl")],
        text="positional_only(sport='nfl', league='nba')",
    ),
    "keyword only": Variant(
        keyword_only,
        [lambda f: f(league="nba"), lambda f: f(limit=5, league="nba")],
        [lambda f: f(league=5, limit="nba")],
        text="keyword_only(league='nba', limit=5)",
    ),
    "any positional": Variant(
        any_positional,
        [lambda f: f("nba", "nfl"), lambda f: f(*["nba", "nfl"])],
        [lambda f: f("nfl", "nba"), lambda f: f(("nba", "nfl")), lambda f: f(), lambda f: f(1), lambda f: f(True)],
    ),
    "any keyword": Variant(
        any_keyword,
        [lambda f: f(a=1, b=2), lambda f: f(b=2, a=1)],
        [lambda f: f(a=2, b=1), lambda f: f(), lambda f: f(a=1, b=True)],
    ),
    "all kinds": Variant(
        everything,
        [lambda f: f(1, 2, d=4), lambda f: f(1, b=2, c=3, d=4), lambda f: f(1, 2, 3, e=5, d=4)],
        [lambda f: f(1, 2, 3, 4, d=4), lambda f: f(1, 2, d=4, f=6), lambda f: f(1, 2, d=4, a=6)],
    ),
    "names that clash": Variant(
        clashing,
        [lambda f: f(1, 2, 3, 4), lambda f: f(1, 2, ck_get_or_fetch=3, ck__recipe=4, id=1)],
        [lambda f: f(2, 1, 3, 4)],
    ),
    "a parameter called like the function": Variant(
        called_as_itself, [lambda f: f(1), lambda f: f(called_as_itself=1)], [lambda f: f(2)]
    ),
    "containers": Variant(
        one,
        [lambda f: f([1, {"a": {2}}]), lambda f: f(league=[1, {"a": {2}}])],
        [lambda f: f([1, {"a": {2.0}}]), lambda f: f((1, 2)), lambda f: f((True, 2)), lambda f: f([1, 2])],
    ),
    "template": Variant(
        several,
        [lambda f: f("nfl"), lambda f: f(sport="nfl", limit=5)],
        [lambda f: f("nba"), lambda f: f("nfl", "True")],
        text="fixtures:nfl:True:5",
        options={"key": "fixtures:{sport}:{live}:{limit}"},
    ),
    "template with attributes and items": Variant(
        of_user,
        [lambda f: f(User(1), {"number": 2}), lambda f: f(page={"number": 2}, user=User(1))],
        [lambda f: f(User(2), {"number": 2}), lambda f: f(User(1), {"number": 3})],
        text="user:1:2",
        options={"key": "user:{user.id}:{page[number]}"},
    ),
    "template with conversions": Variant(
        of_user,
        [lambda f: f(User(1), 2), lambda f: f(User(1), "2")],
        [lambda f: f(User(2), 2)],
        options={"key": "user:{user!r}:{page!s}"},
    ),
    "names": Variant(
        with_session,
        [lambda f: f(USER, "nba")],
        [lambda f: f(USER, "nfl")],
        options={"key": ("league",), "ignore": ("session",)},
    ),
    "ignore": Variant(
        with_session, [lambda f: f(USER, "nba")], [lambda f: f(USER, "nfl")], options={"ignore": ("session",)}
    ),
    "key function": Variant(
        several,
        [lambda f: f("nfl"), lambda f: f("NFL", limit=5)],
        [lambda f: f("nba"), lambda f: f("nfl", False)],
        options={"key": lambda sport, live, limit: (sport.lower(), live, limit)},
    ),
    "key function of everything": Variant(
        everything,
        [lambda f: f(1, 2, d=4, x=5), lambda f: f(1, b=2, x=5, d=4)],
        [lambda f: f(1, 2, 3, 4, d=4, x=5)],
        options={"key": lambda a, b, c, *args, d, e, **kwargs: (a, b, c, args, d, e, kwargs)},
    ),
    "vary": Variant(
        one,
        [lambda f: f("nba"), with_tenant("a", lambda f: f(league="nba"))],
        [with_tenant("b", lambda f: f("nba"))],
        options={"vary": (tenant,)},
    ),
    "method": Variant(
        Methods.method,
        [lambda f: f(METHODS), lambda f: f(METHODS, "nba"), lambda f: f(league="nba", self=METHODS)],
        [lambda f: f(OTHER), lambda f: f(METHODS, "nfl")],
    ),
    "method that ignores its instance": Variant(
        Same.method, [lambda f: f(SAME[0]), lambda f: f(SAME[1], "nba")], options={"ignore": ("self",)}
    ),
    "wrapper that takes keywords only": Variant(
        keywords_only, [lambda f: f("nfl"), lambda f: f(limit=5, sport="nfl")], [lambda f: f("nfl", False)]
    ),
}


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> Variant:
    """Each row of the table."""
    return VARIANTS[request.param]


def decorate(variant: Variant, origin: Origin) -> Callable[..., Any]:
    """Decorate the row's function, so that it runs when ``origin`` lets it."""

    @functools.wraps(variant.function)
    async def held(*args, **kwargs):
        await origin()
        return await variant.function(*args, **kwargs)

    signature = inspect.signature(variant.function)
    if variant.function is keywords_only:
        held = functools.wraps(variant.function)(by_keyword_only(held))
    held.__signature__ = signature
    return coalesced(**variant.options)(held)


def by_keyword_only(held: Callable[..., Any]) -> Callable[..., Any]:
    async def by_keyword(**kwargs):
        return await held(**kwargs)

    return by_keyword


@pytest.mark.on_every_loop
async def test_g09_spellings_of_one_call_share_one_fetch(variant: Variant):
    """Calls that are the same share one fetch and get what a direct call returns; others do not join them."""
    origin = Origin()
    call = decorate(variant, origin)
    same, other = list(variant.same), list(variant.other)
    tasks = [asyncio.ensure_future(one(call)) for one in (*same, *other)]
    await turns()
    assert origin.working == 1 + len(other)
    for _ in range(1 + len(other)):
        origin.answer()
    answers = await outcomes(tasks)
    assert [repr(answer) for answer in answers[: len(same)]] == [repr(await same[0](variant.direct))] * len(same)
    for answer, direct in zip(answers[len(same) :], other, strict=True):
        assert repr(answer) == repr(await direct(variant.direct))
    stats = call.stats()
    assert (stats.led_requests, stats.coalesced_requests, stats.fetches) == (
        1 + len(other),
        len(same) - 1,
        1 + len(other),
    )


async def test_g09_the_key_is_the_same_for_the_call_its_text_and_its_invalidation(variant: Variant):
    """``cache_key``, ``explain`` and ``invalidate`` mean the key that the call has."""
    if variant.function in (Methods.method, Same.method):
        pytest.skip("methods' attributes need the class: see test_decorator_attributes.py")
    origin = Origin()
    call = decorate(variant, origin)
    for one in (*variant.same, *variant.other):
        (task,) = [asyncio.ensure_future(one(call))]
        await turns()
        texts = []
        explained = lambda *args, **kwargs: finished(call.explain(*args, **kwargs))
        assert (await one(explained)).state == "in flight"
        keyed = lambda *args, **kwargs: finished(call.cache_key(*args, **kwargs))
        texts.append(await one(keyed))
        invalidated = lambda *args, **kwargs: finished(call.invalidate(*args, **kwargs))
        assert (await one(invalidated)).voided == 1
        origin.answer()
        await task
    if variant.text:
        first = next(iter(variant.same))
        assert (await first(keyed)).removeprefix(f"{__name__}.") == variant.text


async def finished(value: object) -> object:
    return value


async def test_g11_no_ticket_is_left(variant: Variant):
    """When its fetch has ended, however it ended, nothing remembers a key."""
    origin = Origin()
    call = decorate(variant, origin)
    first = next(iter(variant.same))
    for end in (origin.answer, lambda: origin.fail(ZeroDivisionError()), None):
        task = asyncio.ensure_future(first(call))
        await turns()
        assert len(call.__coalesced__._tickets) == 1
        if end is None:
            task.cancel()
        else:
            end()
        with contextlib.suppress(ZeroDivisionError, asyncio.CancelledError):
            await task
        await turns()
        assert len(call.__coalesced__._tickets) == 0


async def test_the_off_body_calls_the_function_as_it_was_called(variant: Variant):
    """With ``enabled=False`` every call runs the original with its own arguments."""
    call = coalesced(**variant.options, enabled=False)(variant.function)
    for one in (*variant.same, *variant.other):
        assert repr(await one(call)) == repr(await one(variant.direct))


def test_all_bodies_have_the_same_cells(variant: Variant):
    """Bodies can replace each other, as they name the same cells in the same order."""
    call = coalesced(**variant.options)(variant.function)
    codes = call.__coalesced__._compiled._codes
    assert len({code.co_freevars for code in codes.values()}) == 1
    assert len({code.co_code for code in codes.values()}) == len(codes)
    assert {code.co_qualname for code in codes.values()} == {variant.function.__qualname__}


# ---- what is generated ----


def source_of(call: Callable[..., Any]) -> str:
    return "".join(linecache.getlines(call.__code__.co_filename))


def test_only_what_is_asked_for_is_compiled_in():
    """A call with nothing to check checks nothing, a function does not watch, and constants stay outside."""
    assert "ck_atoms:" not in source_of(coalesced(nothing))
    assert "ck_watch(" not in source_of(coalesced(one))
    assert "ck_watch(self)" in source_of(coalesced(Methods.method))
    assert "self.__class__ in" not in source_of(coalesced(Methods.method))


def test_equal_sources_share_one_file():
    """Equal code is compiled once and has one name for tracebacks, as long as anybody has it."""

    def make():
        async def same_source(x):
            return x

        return coalesced(same_source)

    first, second = make(), make()
    filename = first.__code__.co_filename
    assert filename == second.__code__.co_filename
    assert filename.startswith("<coalesced same_source ")
    del first
    assert filename in linecache.cache
    linecache.checkcache()
    assert filename in linecache.cache
    del second
    assert filename not in linecache.cache


async def test_tracebacks_show_the_generated_line():
    """The source is where tracebacks and debuggers look for it."""

    @coalesced
    async def fails(league: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        await fails("nba")
    text = "".join(traceback.format_exception(caught.value))
    assert "return await ck_origin(league)" in text
    with pytest.raises(KeyDerivationError) as refused:
        await fails(object())
    assert "raise ck_refuse(ck_error)" in "".join(traceback.format_exception(refused.value))


async def test_a_property_in_the_key_is_read_once():
    """A part of the key that is computed is computed once per call."""
    reads = []

    class Reading:
        @property
        def id(self) -> int:
            reads.append(1)
            return 7

    decorated = coalesced(key="{user.id}", ignore=("page",))(of_user)
    await decorated(Reading())
    assert len(reads) == 1


async def test_a_fetch_holds_its_arguments_and_nothing_holds_them_after():
    """What a caller brought along is gone when the fetch has ended."""

    @coalesced(ignore=("session",))
    async def odds(session: object) -> int:
        return 7

    session = User(1)
    gone = weakref.ref(session)
    await odds(session)
    await turns()
    del session
    assert gone() is None


def test_time_is_read_through_one_cell():
    """Nothing that is generated holds a clock of its own: the test kit exchanges one for all."""
    assert "monotonic" not in source_of(coalesced(one))
    assert clock.now is not None


@pytest.mark.on_every_loop
async def test_g12_a_function_that_calls_itself_is_refused():
    """The decorated function is recognised inside its own fetch."""

    @coalesced
    async def itself(league: str) -> object:
        return await itself(league)

    with pytest.raises(RecursiveFetchError, match="itself"):
        await itself("nba")
    assert itself.stats().recursions_refused == 1


@pytest.mark.on_every_loop
async def test_options_reach_the_coalescer():
    """The terms of a function are those that it was decorated with."""
    origin = Origin()

    @coalesced(max_wait_seconds=0.01, fetch_timeout_seconds=0.05, key="odds:{league}", ignore=("session",))
    async def odds(session: object, league: str) -> object:
        return await origin()

    tasks = start(odds(1, "nba"), odds(2, "nba"))
    ends = await outcomes(tasks)
    assert [type(end) for end in ends] == [FetchTimeoutError, WaitTimeoutError]
    assert "odds:nba" in str(ends[0])
