"""Wrong use is told at decoration, with what to write instead; ``using`` and ``enabled``."""

from __future__ import annotations

import functools
import inspect
from contextvars import ContextVar
from datetime import timedelta

import pytest

import coalesce_kit
from coalesce_kit import (
    CachePolicy,
    ConfigurationError,
    KeyTemplateError,
    MemoryCache,
    Observer,
    RequestCoalescer,
    coalesced,
    get_request_coalescer,
    get_stats_registry,
)
from coalesce_kit.protocols import INHERIT
from tests.fakes import Origin, outcomes, start, turns

tenant: ContextVar[str] = ContextVar("tenant")


async def odds(league: str, limit: int = 5) -> str:
    """Return something."""
    return f"{league}:{limit}"


def synchronous(league: str) -> str:
    return league


async def async_generator(league: str):
    yield league


def generator(league: str):
    yield league


@functools.wraps(odds)
def plain_around_async(*args, **kwargs):
    """Return a coroutine."""
    return odds(*args, **kwargs)


class NotAsync:
    def __call__(self) -> int:
        return 1


class AsyncGeneratorCallable:
    async def __call__(self):
        yield 1


class NoSignature:
    __signature__ = "none"

    async def __call__(self) -> int:
        return 1


@functools.wraps(odds)
async def takes_nothing():
    """Answer."""
    return await odds("nba")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (synchronous, "synchronous is a synchronous function, .* write 'async def synchronous'.*asyncio.to_thread"),
        (functools.partial(synchronous, "nba"), "synchronous is a synchronous function"),
        (NotAsync(), "NotAsync is a synchronous function"),
        (len, "len is a synchronous function"),
        (async_generator, "async_generator is an async generator, .* returns a list"),
        (functools.partial(async_generator, "nba"), "is an async generator"),
        (AsyncGeneratorCallable(), "is an async generator"),
        (generator, "generator is a generator: make it an 'async def'"),
        (plain_around_async, "odds is a plain 'def' around an async function: put @coalesced underneath"),
        (NotAsync, "not the class NotAsync: decorate its async methods"),
        ("odds:{league}", r"the string 'odds:\{league\}': write @coalesced\(key='odds:\{league\}'\)"),
        (property(odds), "given a property"),
        (30, r"not 30 \(int\); options are given by name"),
        (None, r"not None \(NoneType\)"),
        (NoSignature(), "does not tell its parameters"),
        (takes_nothing, r"shows the parameters \(league: 'str'.* and takes \(\)"),
        (staticmethod(synchronous), "is a synchronous function, and"),
        (classmethod(synchronous), "@coalesced takes an async one"),
    ],
)
@pytest.mark.parametrize("decorator", [coalesced, coalesced(), coalesced.using(enabled=False)])
def test_what_cannot_be_wrapped_is_refused(decorator, function, message):
    """What is no async function is refused with what to write instead, also when nothing is enabled."""
    with pytest.raises(ConfigurationError, match=message):
        decorator(function)


def test_a_called_function_is_refused_without_a_warning():
    """A coroutine is no function; it is closed, so that only one thing is told."""
    coroutine = odds("nba")
    with pytest.raises(ConfigurationError, match="without calling it"):
        coalesced(coroutine)
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED
    with pytest.raises(ConfigurationError, match="without calling it"):
        coalesced(Awaitable())


class Awaitable:
    def __await__(self):
        return iter(())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_wait_seconds": 0}, "max_wait_seconds must be greater than 0"),
        ({"max_wait_seconds": "5"}, "max_wait_seconds must be a number of seconds or a timedelta, not '5'"),
        ({"fetch_timeout_seconds": float("nan")}, "fetch_timeout_seconds must be"),
        ({"fetch_timeout_seconds": True}, "fetch_timeout_seconds must be"),
        ({"on_abandon": "stop"}, 'on_abandon is "cancel" or "finish", not \'stop\''),
        ({"enabled": "no"}, r"enabled is True or False, not 'no' \(str\)"),
        ({"backend": RequestCoalescer}, r"not its class: write backend=RequestCoalescer\(\)"),
        ({"backend": {}}, r"backend takes a coalescer, such as RequestCoalescer\(\), not \{\} \(dict\)"),
        ({"vary": tenant}, r"write vary=\(tenant,\)"),
        ({"vary": ("tenant",)}, "vary takes ContextVar objects, not 'tenant'"),
        ({"vary": "tenant"}, "vary takes a tuple, not 'tenant'"),
        ({"observers": Observer()}, r"write observers=\(Observer\(...\),\)"),
        ({"observers": (print,)}, "observers: an observer must be an instance"),
        ({"observers": 7}, "observers takes a tuple, not 7"),
    ],
)
@pytest.mark.parametrize("decorator", [coalesced, coalesced.using])
def test_an_option_that_cannot_work_is_refused(decorator, options, message):
    """An option is checked where it is given, also as a default by ``using``."""
    with pytest.raises(ConfigurationError, match=message):
        decorator(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": ""}, "name is a text that is not empty, not ''"),
        ({"name": 7}, "name is a text that is not empty, not 7"),
        ({"ignore": ("session",)}, "session"),
        ({"key": ("league",)}, "limit"),
    ],
)
def test_an_option_that_does_not_fit_the_function_is_refused(options, message):
    """What can only be judged with the function is told when it is there, also when nothing is enabled."""
    for enabled in (True, False):
        with pytest.raises(ConfigurationError, match=message):
            coalesced(**options, enabled=enabled)(odds)


def test_a_template_with_an_unknown_name_is_refused():
    """A key template may name only what the function has."""
    with pytest.raises(KeyTemplateError, match="sport"):
        coalesced(key="odds:{sport}:{league}:{limit}")(odds)


def test_g20_every_parameter_is_accounted_for():
    """A parameter that is neither in the key nor ignored is refused at decoration, naming it and the reason."""

    async def mine(session: object, league: str) -> str:
        return league

    with pytest.raises(ConfigurationError, match=r"'session' is neither in the key nor in ignore="):
        coalesced(key="mine:{league}")(mine)
    assert coalesced(key="mine:{league}", ignore=("session",))(mine).cache_key(object(), "nba") == "mine:nba"


def test_ttl_and_policy_are_one_option():
    """``ttl`` is short for a policy, so that both at once would contradict each other."""
    for accepting in (coalesced, coalesced.using):
        with pytest.raises(ConfigurationError, match="give one of them, not both"):
            accepting(ttl=3, policy=CachePolicy(ttl=3))


def test_ttl_and_policy_replace_each_other():
    """What is given where the decorator is used replaces the default, whichever of the two it is."""
    kept = coalesced.using(policy=CachePolicy(ttl=60))

    async def odds(league: str) -> str:
        return league

    assert kept(ttl=5)(odds).__coalesced__.policy == CachePolicy(ttl=5)
    assert kept(ttl=None)(odds).__coalesced__.policy is None


def test_a_cache_without_a_lifetime_is_refused():
    """Where results are kept says nothing while none is."""

    async def odds(league: str) -> str:
        return league

    with pytest.raises(ConfigurationError, match="without ttl= or policy= none is"):
        coalesced(cache=MemoryCache())(odds)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"policy": 30}, "policy takes a CachePolicy, not 30"),
        ({"ttl": -1}, "ttl must be at least 0"),
        ({"ttl": float("nan")}, "ttl must be at least 0"),
        ({"ttl": 3, "cache": MemoryCache}, r"write cache=MemoryCache\(\.\.\.\)"),
        ({"ttl": 3, "cache": {}}, r"write cache=MemoryCache\(cache=\.\.\.\) around it"),
        ({"copy": "deepcopy"}, "copy takes a plain function of the result"),
        ({"tags": "odds"}, "tags takes a tuple, not 'odds'"),
        ({"tags": ("league:{legue}",)}, "legue"),
    ],
)
def test_options_of_a_cache_are_checked_at_decoration(options: dict[str, object], message: str):
    """Wrong use is told when the module is imported, not when the first crowd comes."""

    async def odds(league: str) -> str:
        return league

    with pytest.raises(ConfigurationError, match=message):
        coalesced(**options)(odds)


@pytest.mark.parametrize("option", ["key", "ignore", "name"])
def test_using_takes_no_options_of_one_function(option: str):
    """What belongs to one function is no default for many."""
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{option}'"):
        coalesced.using(**{option: None})


def test_options_are_keyword_only():
    """The one positional argument is the function."""
    with pytest.raises(TypeError, match="positional"):
        coalesced(odds, "odds:{league}")


def test_with_and_without_parentheses():
    """The decorator works in every way it can be written."""
    for decorated in (coalesced(odds), coalesced()(odds), coalesced.using()(odds), coalesced.using()()(odds)):
        assert decorated.__wrapped__ is odds


def test_everything_in_seconds_may_be_a_timedelta():
    """Durations are numbers of seconds or timedeltas."""
    decorated = coalesced(max_wait_seconds=timedelta(seconds=2), fetch_timeout_seconds=3)(odds)
    terms = decorated.__coalesced__._terms
    assert (terms.max_wait_seconds, terms.fetch_timeout_seconds) == (2.0, 3.0)


def test_using_gives_defaults_that_a_given_option_replaces():
    """An option given at the function takes the place of the default, observers as well; ``None`` is given, too."""
    first, second = Observer(), Hears()
    backend = RequestCoalescer()
    house = coalesced.using(
        backend=backend, max_wait_seconds=2, fetch_timeout_seconds=3, on_abandon="finish", observers=(Hears(), first)
    )
    kept = house(odds).__coalesced__
    assert kept.coalescer() is backend
    assert (kept._terms.max_wait_seconds, kept._terms.fetch_timeout_seconds) == (2.0, 3.0)
    assert kept._terms.on_abandon == "finish"
    assert len(kept.observers.members) == 2

    replaced = house(
        backend=None, max_wait_seconds=None, fetch_timeout_seconds=None, on_abandon="cancel", observers=(second,)
    )(odds).__coalesced__
    assert replaced.coalescer() is None
    assert (replaced._terms.max_wait_seconds, replaced._terms.fetch_timeout_seconds) == (None, None)
    assert replaced._terms.on_abandon == "cancel"
    assert replaced.observers.members == (second,)


class Hears(Observer):
    def invalidated(self, event, /) -> None:
        pass


def test_using_builds_on_using():
    """A decorator made by ``using`` has a ``using`` of its own, and the first is left as it was."""
    house = coalesced.using(max_wait_seconds=2)
    room = house.using(fetch_timeout_seconds=3)
    terms = room(odds).__coalesced__._terms
    assert (terms.max_wait_seconds, terms.fetch_timeout_seconds) == (2.0, 3.0)
    assert house(odds).__coalesced__._terms.fetch_timeout_seconds is None
    assert coalesced(odds).__coalesced__._terms.max_wait_seconds is INHERIT
    assert repr(coalesced) == "coalesced"
    assert "max_wait_seconds=2.0" in repr(house)


async def test_vary_joins_the_key():
    """A context variable that is named in ``vary`` keeps callers of different values apart."""
    varied = coalesced.using(vary=(tenant,))(odds)
    tenant.set("a")
    assert "tenant" in varied.cache_key("nba")
    mine = varied.cache_key("nba")
    tenant.set("b")
    assert varied.cache_key("nba") != mine
    assert await varied("nba") == "nba:5"


# ---- enabled=False ----


async def test_off_runs_the_original_and_counts_nothing():
    """A function that is not enabled runs for every caller and moves no number."""
    origin = Origin()

    @coalesced(enabled=False)
    async def off(league: str) -> object:
        return await origin(league)

    tasks = start(*(off("nba") for _ in range(3)))
    await turns()
    assert origin.working == 3
    for number in range(3):
        origin.answer(number)
    assert sorted(await outcomes(tasks)) == [0, 1, 2]
    assert (off.stats().total_requests, off.stats().fetches, off.stats().bypassed_requests) == (0, 0, 0)
    assert get_request_coalescer().pending_keys == ()


async def test_off_has_all_attributes_and_they_work_on_nothing():
    """Every attribute is there, answers, and moves nothing."""
    off = coalesced(enabled=False)(odds)
    assert off.invalidate("nba").voided == 0
    assert (await off.invalidate_key(league="nba", limit=5)).told is None
    assert off.invalidate_all().voided == 0
    coalesce_kit.invalidate_all()
    assert off.cache_key("nba").endswith("odds(league='nba', limit=5)")
    assert await off.origin("nba") == "nba:5"
    assert off.explain("nba").state == "off"
    assert off.__wrapped__ is odds
    assert vars(odds) == {}
    stats = off.stats()
    assert (stats.invalidations, stats.bypassed_requests) == (0, 0)
    with pytest.raises(TypeError):
        off.invalidate("nba", 5, 6)


async def test_off_takes_arguments_that_make_no_key():
    """Without coalescing there is nothing that a key could go wrong for."""
    off = coalesced(enabled=False)(odds)
    assert await off(object()) is not None
    assert off.invalidate(object()).voided == 0
    assert off.explain(object()).state == "off"


def test_off_has_a_row_in_the_registry():
    """A function that is switched off is listed under its name."""
    off = coalesced(enabled=False, name="switched off")(odds)
    assert get_stats_registry().snapshot().functions["switched off"] == off.stats()


async def test_a_function_can_be_switched_while_it_lives():
    """The test kit turns a function off and on again by exchanging its body."""
    decorated = coalesced(odds)
    await decorated("nba")
    decorated.__coalesced__.switch(enabled=False)
    assert await decorated("nba") == "nba:5"
    assert decorated.explain("nba").state == "off"
    decorated.__coalesced__.switch(enabled=True)
    await decorated("nba")
    assert decorated.stats().led_requests == 2
