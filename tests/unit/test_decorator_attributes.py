"""The attributes of a decorated function: invalidate, origin, cache_key, explain, stats."""

from __future__ import annotations

import asyncio
import functools
import threading

import pytest

import coalesce_kit
from coalesce_kit import (
    Explanation,
    Invalidated,
    KeyDerivationError,
    Observer,
    RequestCoalescer,
    bound,
    coalesced,
)
from tests.fakes import Origin, outcomes, start, turns


class Watching(Observer):
    """Collects what it is told of invalidations."""

    def __init__(self) -> None:
        self.told: list[Invalidated] = []

    def invalidated(self, event: Invalidated, /) -> None:
        self.told.append(event)


class Session:
    """Compared by identity, like most sessions."""


def held(origin: Origin, **options):
    """Return a decorated function that asks ``origin``."""

    @coalesced(**options)
    async def odds(league: str, limit: int = 5) -> object:
        return await origin(league, limit)

    return odds


# ---- invalidate ----


@pytest.mark.on_every_loop
async def test_g07_a_call_after_invalidate_does_not_join_the_fetch_before_it():
    """A fetch in flight keeps its callers and takes no new ones once its key was invalidated."""
    origin = Origin()
    odds = held(origin)
    before = start(odds("nba"), odds("nba"))
    await turns()
    assert odds.invalidate("nba").voided == 1
    after = start(odds("nba"), odds("nba"))
    await turns()
    assert origin.working == 2
    origin.answer("old")
    origin.answer("new")

    assert await outcomes(before) == ["old", "old"]
    assert await outcomes(after) == ["new", "new"]


@pytest.mark.parametrize(
    "invalidate",
    [
        lambda odds: odds.invalidate("nba"),
        lambda odds: odds.invalidate(limit=5, league="nba"),
        lambda odds: odds.invalidate_key(league="nba", limit=5),
        lambda odds: odds.invalidate_all(),
        lambda odds: coalesce_kit.invalidate_all(),
    ],
    ids=["arguments", "keywords", "names", "function", "everything"],
)
async def test_g07_every_way_to_invalidate_detaches_the_fetch(invalidate):
    """By arguments, by names, the whole function or everything: later callers lead anew."""
    origin = Origin()
    odds = held(origin)
    before = start(odds("nba"))
    await turns()
    invalidation = invalidate(odds)
    assert invalidation.voided == 1
    after = start(odds("nba"))
    await turns()
    origin.answer("old")
    origin.answer("new")

    assert await outcomes(before + after) == ["old", "new"]
    assert odds.stats().invalidations == 1


async def test_g07_all_flights_of_a_key_are_detached():
    """An invalidation voids every ticket of its key, also of flights that were detached before."""
    origin = Origin()
    odds = held(origin)
    tasks = start(odds("nba"))
    await turns()
    odds.__coalesced__.coalescer().forget(tasks[0].get_coro() and next(iter(odds.__coalesced__._flights())).key)
    tasks += start(odds("nba"))
    await turns()
    assert odds.invalidate("nba").voided == 2
    origin.answer()
    origin.answer()
    await outcomes(tasks)


async def test_g07_other_keys_are_left_alone():
    """Invalidating one key leaves the fetches of others to be joined."""
    origin = Origin()
    odds = held(origin)
    tasks = start(odds("nfl"))
    await turns()
    assert odds.invalidate("nba").voided == 0
    tasks += start(odds("nfl"))
    await turns()
    assert origin.working == 1
    origin.answer()
    assert await outcomes(tasks) == ["answer", "answer"]


async def test_g07_a_thread_without_a_loop_can_invalidate():
    """``invalidate`` acts at the call, whichever thread calls."""
    origin = Origin()
    odds = held(origin)
    tasks = start(odds("nba"))
    await turns()
    voided = []
    thread = threading.Thread(target=lambda: voided.append(odds.invalidate("nba").voided))
    thread.start()
    thread.join()
    assert voided == [1]
    tasks += start(odds("nba"))
    await turns()
    assert origin.working == 2
    origin.answer()
    origin.answer()
    await outcomes(tasks)


def test_g07_invalidate_needs_no_loop():
    """Outside of any loop, ``invalidate`` acts, and has nothing to detach."""
    odds = held(Origin())
    assert odds.invalidate("nba").voided == 0
    assert odds.invalidate_all().voided == 0
    assert odds.stats().invalidations == 2


async def test_an_invalidation_can_be_awaited():
    """Awaiting gives the same object, without suspending where there is no store."""
    odds = held(Origin())
    invalidation = odds.invalidate("nba")
    assert await invalidation is invalidation
    assert invalidation.told is None
    assert invalidation.raise_if_untold() is invalidation
    assert repr(invalidation) == "<Invalidation voided=0 told=None>"


def test_invalidate_refuses_arguments_that_the_function_refuses():
    """The arguments are the function's, and so are the messages."""
    with pytest.raises(TypeError, match=r"odds\(\) missing 1 required positional argument: 'league'"):
        held(Origin()).invalidate()


def test_invalidate_refuses_arguments_that_make_no_key():
    """An invalidation that could not mean any key is an error, never a silent no-op."""
    with pytest.raises(KeyDerivationError, match="league"):
        held(Origin()).invalidate(Session())


def test_invalidate_key_refuses_missing_and_unknown_names():
    """Every name of the key must be given, and no other."""
    odds = held(Origin())
    with pytest.raises(TypeError, match="limit"):
        odds.invalidate_key(league="nba")
    with pytest.raises(TypeError, match="sport"):
        odds.invalidate_key(league="nba", limit=5, sport="nfl")


async def test_invalidate_key_serves_keys_that_leave_parameters_out():
    """A key can be invalidated without the arguments that are not in it."""
    origin = Origin()

    @coalesced(key="odds:{user.id}", ignore=("session",))
    async def odds(session: Session, user: object) -> object:
        return await origin()

    class User:
        id = 7

    tasks = start(odds(Session(), User()))
    await turns()
    assert odds.invalidate_key(**{"user.id": 7}).voided == 1
    origin.answer()
    await outcomes(tasks)


def test_an_invalidation_without_what_the_key_leaves_out_names_the_way():
    """Whoever invalidates without the session that the function takes is told of ``invalidate_key``."""

    @coalesced(key="odds:{league}", ignore=("session",))
    async def odds(session: Session, league: str) -> object: ...

    @coalesced
    async def table(league: str) -> object: ...

    with pytest.raises(TypeError) as refused:
        odds.invalidate("nba")
    assert refused.value.__notes__ == ["invalidate_key takes the names of the key alone, without session"]
    with pytest.raises(TypeError) as refused:
        table.invalidate()
    assert not hasattr(refused.value, "__notes__")


def test_observers_hear_of_invalidations():
    """A key, a function and everything: each is told with what was detached."""
    watching = Watching()
    odds = held(Origin(), observers=(watching,), name="odds")
    other = held(Origin(), observers=(watching,), name="other")
    odds.invalidate("nba")
    other.invalidate_all()
    coalesce_kit.invalidate_all()

    key, function, everything = watching.told
    assert (key.function, key.scope, key.voided, key.text) == ("odds", "key", 0, odds.cache_key("nba"))
    assert (function.function, function.scope) == ("other", "function")
    assert (everything.function, everything.scope) == (None, "everything")
    assert (odds.stats().invalidations, other.stats().invalidations) == (2, 2)


# ---- origin ----


async def test_origin_runs_the_function_beside_a_flight():
    """``origin`` shares nothing, needs no key, and is counted apart."""
    origin = Origin()
    odds = held(origin)
    tasks = start(odds("nba"), odds.origin("nba"), odds.origin(Session()))
    await turns()
    assert origin.working == 3
    for number in range(3):
        origin.answer(number)
    await outcomes(tasks)
    stats = odds.stats()
    assert (stats.bypassed_requests, stats.total_requests, stats.fetches) == (2, 1, 1)
    assert odds.origin.__name__ == "odds"
    assert odds.origin.__wrapped__ is odds.__wrapped__


async def test_the_wrapped_function_is_not_counted():
    """``__wrapped__`` is the function itself."""
    origin = Origin()
    odds = held(origin)
    (task,) = start(odds.__wrapped__("nba"))
    await turns()
    origin.answer()
    await task
    assert odds.stats().bypassed_requests == 0


# ---- cache_key ----


def test_cache_key_is_the_text_of_the_key():
    """Spellings of one call have one text; what has no canonical text shows its type."""
    odds = held(Origin(), key="odds:{league}:{limit}")
    assert odds.cache_key("nba") == odds.cache_key(limit=5, league="nba") == "odds:nba:5"
    assert odds.cache_key(Session()).startswith("odds:<")


# ---- stats ----


@pytest.mark.on_every_loop
async def test_g19_refused_calls_are_counted_as_rejected():
    """A call whose arguments make no key is refused before anything runs, and belongs to the sum."""
    odds = held(Origin())
    for wrong in (Session(), [[Session()]]):
        with pytest.raises(KeyDerivationError):
            await odds(wrong)
    stats = odds.stats()
    assert (stats.rejected_requests, stats.total_requests, stats.fetches) == (2, 2, 0)


@pytest.mark.on_every_loop
async def test_g19_a_key_that_cannot_be_made_is_a_rejected_call():
    """Whatever a key's expression raises becomes ``KeyDerivationError``, with it as the cause."""

    @coalesced(key="{user.id}")
    async def odds(user: object) -> int:
        return 7

    @coalesced(key=lambda user: 1 // 0)
    async def more_odds(user: object) -> int:
        return 7

    for function, cause in ((odds, AttributeError), (more_odds, ZeroDivisionError)):
        with pytest.raises(KeyDerivationError) as refusal:
            await function(None)
        assert isinstance(refusal.value.__cause__, cause)
        assert function.stats().rejected_requests == 1
        with pytest.raises(KeyDerivationError):
            function.invalidate(None)
        assert function.explain(None).state == "no key"


class RaisesWhenHashed:
    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        raise ZeroDivisionError("hashed")


@pytest.mark.on_every_loop
async def test_g19_an_argument_whose_hash_raises_is_a_rejected_call():
    """An argument that cannot be hashed is refused, counted, and leaves nothing."""
    odds = held(Origin())
    with pytest.raises((KeyDerivationError, ZeroDivisionError)):
        await odds(RaisesWhenHashed())
    assert odds.stats().rejected_requests == odds.stats().total_requests == 1


async def test_stats_subtract():
    """Two snapshots of one function tell what happened between them."""
    odds = coalesced(unheld)
    await odds("nba")
    before = odds.stats()
    await asyncio.gather(*(odds("nba") for _ in range(4)))
    difference = odds.stats() - before
    assert (difference.led_requests, difference.coalesced_requests, difference.fetches) == (1, 3, 1)


async def unheld(league: str) -> str:
    """Answer at once."""
    return league


async def test_stats_show_what_is_in_flight():
    """Gauges are looked at: waiters, keys in flight, the age of the oldest fetch."""
    origin = Origin()
    odds = held(origin)
    assert odds.stats().pending_keys == 0
    tasks = start(odds("nba"), odds("nba"), odds("nfl"))
    await turns()
    stats = odds.stats()
    assert (stats.pending_keys, stats.waiters, stats.zombies, stats.in_flight) == (2, 1, 0, 2)
    assert stats.oldest_flight_seconds > 0
    origin.answer()
    origin.answer()
    await outcomes(tasks)


# ---- explain ----


@pytest.mark.usefixtures("virtual_time")
async def test_explain_tells_every_state():
    """Missing, in flight, invalidated in flight, over age, no key: as data and as text, and nothing is counted."""
    origin = Origin()
    odds = held(origin, key="odds:{league}:{limit}", name="odds", backend=RequestCoalescer(max_flight_seconds=60))
    before = odds.stats()

    explanation = odds.explain("nba")
    assert (explanation.function, explanation.key) == ("odds", "odds:nba:5")
    assert (explanation.state, explanation.next_call, explanation.in_flight_seconds) == ("missing", "led", None)
    assert str(explanation) == (
        "odds: odds:nba:5\n  state: missing\n  a call now: led\n"
        "  why: nothing is kept for this key and no fetch is in flight: a call leads a new one"
    )
    assert odds.stats() == before

    tasks = start(odds("nba"), odds("nba"), odds("nba"))
    await asyncio.sleep(0.25)
    explanation = odds.explain("nba")
    assert (explanation.state, explanation.next_call) == ("in flight", "joined")
    assert (explanation.in_flight_seconds, explanation.waiters) == (0.25, 2)
    assert "  in flight since: 0.250 s\n  waiters: 2\n  a call now: joined\n" in str(explanation)
    assert odds.explain("nfl").state == "missing"

    await asyncio.sleep(61)
    explanation = odds.explain("nba")
    assert (explanation.state, explanation.next_call) == ("over age", "led")
    assert "too old" in str(explanation)

    odds.invalidate("nba")
    explanation = odds.explain("nba")
    assert (explanation.state, explanation.next_call) == ("invalidated in flight", "led")
    assert "began before an invalidation" in str(explanation)

    explanation = odds.explain(Session())
    assert (explanation.state, explanation.next_call) == ("no key", "rejected")
    assert "'league' is a Session" in explanation.why

    origin.answer()
    await outcomes(tasks)
    assert odds.explain("nba").state == "missing"


async def test_explain_is_about_a_call_of_this_function():
    """Fetches of others in the same coalescer, and of the coalescer used alone, are not explained."""
    backend, origin = RequestCoalescer(), Origin()
    odds, other = held(origin, backend=backend), held(origin, backend=backend)
    tasks = start(other("nba"), backend.get_or_fetch("nba", origin), backend.get_or_fetch((), origin))
    await turns()
    assert odds.explain("nba").state == "missing"
    for _ in range(3):
        origin.answer()
    await outcomes(tasks)


async def test_explain_chooses_the_fetch_that_can_be_joined():
    """Beside a detached fetch, the one that a call would join is explained."""
    origin = Origin()
    odds = held(origin)
    tasks = start(odds("nba"))
    await turns()
    odds.invalidate("nba")
    tasks += start(odds("nba"), odds("nba"))
    await turns()
    explanation = odds.explain("nba")
    assert (explanation.state, explanation.waiters) == ("in flight", 1)
    origin.answer()
    origin.answer()
    await outcomes(tasks)


def test_an_explanation_is_frozen():
    """What was looked at does not change."""
    explanation = held(Origin()).explain("nba")
    assert isinstance(explanation, Explanation)
    with pytest.raises(AttributeError):
        explanation.state = "off"


# ---- methods and bound ----


class Service:
    def __init__(self, origin: Origin) -> None:
        self.origin = origin

    @coalesced
    async def odds(self, league: str) -> object:
        return await self.origin(league)

    tenant = "a"

    @coalesced(key="{self.tenant}:{league}")
    async def named(self, league: str) -> object:
        return await self.origin(league)

    @coalesced
    @classmethod
    async def everywhere(cls, league: str) -> object:
        return league

    alias = odds

    async def undecorated(self) -> None:
        return None


class Sub(Service):
    @coalesced
    async def odds(self, league: str) -> object:
        return await super().odds(league)


@pytest.mark.parametrize("attribute", ["invalidate", "cache_key", "explain"])
@pytest.mark.parametrize(("arguments", "keywords"), [(("nba",), {}), ((), {"league": "nba"}), ((), {})], ids=str)
def test_an_attribute_reached_through_an_instance_is_refused(attribute, arguments, keywords):
    """``service.odds.invalidate("nba")`` cannot see the service: an error that names ``bound``, never a no-op."""
    service = Service(Origin())
    with pytest.raises(
        TypeError, match=rf"write bound\(service.odds\).{attribute}\(...\), or Service.odds.{attribute}"
    ):
        getattr(service.odds, attribute)(*arguments, **keywords)
    with pytest.raises(TypeError, match="bound"):
        getattr(Service.everywhere, attribute)(*arguments, **keywords)


def test_an_instance_of_another_class_is_refused():
    """The first argument's class must have this very function."""
    with pytest.raises(TypeError, match="Origin is no class with this method"):
        Service.odds.invalidate(Origin(), "nba")
    with pytest.raises(TypeError, match="Service is no class with this method"):
        Sub.odds.invalidate(Service(Origin()), "nba")


@pytest.mark.parametrize(
    "invalidate",
    [
        lambda service: Service.odds.invalidate(service, "nba"),
        lambda service: Service.odds.invalidate(self=service, league="nba"),
        lambda service: Service.alias.invalidate(service, "nba"),
        lambda service: Service.odds.invalidate_key(self=service, league="nba"),
        lambda service: bound(service.odds).invalidate("nba"),
        lambda service: bound(service.odds).invalidate_key(league="nba"),
        lambda service: bound(service.odds).invalidate_all(),
    ],
    ids=["class", "keywords", "alias", "names", "bound", "bound names", "bound all"],
)
async def test_a_methods_attributes_work_with_the_instance(invalidate):
    """Through the class with the instance first, or through ``bound``."""
    service = Service(Origin())
    tasks = start(service.odds("nba"))
    await turns()
    assert invalidate(service).voided == 1
    service.origin.answer()
    await outcomes(tasks)


async def test_instances_do_not_share_and_are_not_invalidated_together():
    """An instance is part of the key."""
    origin = Origin()
    one, other = Service(origin), Service(origin)
    tasks = start(one.odds("nba"), other.odds("nba"))
    await turns()
    assert origin.working == 2
    assert bound(one.odds).invalidate("nba").voided == 1
    assert bound(one.odds).explain("nba").state == "invalidated in flight"
    assert bound(other.odds).explain("nba").state == "in flight"
    origin.answer()
    origin.answer()
    await outcomes(tasks)


async def test_bound_honours_overriding():
    """``bound`` finds the method of the instance's own class, and ``super()`` is reachable."""
    sub = Sub(Origin())
    tasks = start(sub.odds("nba"))
    await turns()
    assert bound(sub.odds).invalidate("nba").voided == 1
    assert Service.odds.invalidate(sub, "nba").voided == 1
    sub.origin.answer()
    await outcomes(tasks)


async def test_bound_has_all_names():
    """The handle answers what the function answers, with the instance filled in."""
    service = Service(Origin())
    handle = bound(service.odds)
    assert handle.cache_key("nba") == Service.odds.cache_key(service, "nba")
    assert handle.stats() == Service.odds.stats()
    before = handle.stats().bypassed_requests
    (task,) = start(handle.origin("nba"))
    await turns()
    service.origin.answer("value")
    assert await task == "value"
    assert handle.stats().bypassed_requests == before + 1
    assert repr(handle) == f"<{Service.odds.stats().name} bound to Service at {id(service):#x}>"
    assert bound(Service.everywhere).cache_key("nba") == Service.everywhere.__func__.cache_key(Service, "nba")


async def test_bound_fills_in_what_the_key_takes_from_the_instance():
    """Where the key names a part of the instance, ``bound`` knows it; a name that is given wins."""
    service = Service(Origin())
    tasks = start(service.named("nba"))
    await turns()
    assert bound(service.named).invalidate_key(league="nba", **{"self.tenant": "b"}).voided == 0
    assert bound(service.named).invalidate_key(league="nba").voided == 1
    service.origin.answer()
    await outcomes(tasks)


async def test_bound_binds_whatever_the_first_parameter_is_called():
    """A method whose first parameter has another name is bound like any other."""

    class Odd(tuple[int, ...]):
        @coalesced
        async def odds(this, league: str) -> object:
            return await origin(league)

    origin = Origin()
    tasks = start(Odd((1,)).odds("nba"))
    await turns()
    assert bound(Odd((2,)).odds).invalidate_key(league="nba").voided == 0
    assert bound(Odd((1,)).odds).invalidate_key(league="nba").voided == 1
    origin.answer()
    await outcomes(tasks)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        pytest.param(
            Service.odds, r"not odds; its attributes are its own: write odds.invalidate\(...\)", id="function"
        ),
        (unheld, "bound takes a method of an instance, .* not unheld$"),
        ("odds", "not 'odds'$"),
        (Service(Origin()).undecorated, "undecorated of Service is not decorated with @coalesced"),
    ],
)
def test_bound_refuses_what_is_no_decorated_method(method, message):
    """What has no instance, or no attributes, is told apart."""
    with pytest.raises(TypeError, match=message):
        bound(method)


def test_a_chain_of_wrappers_may_be_a_circle():
    """Looking for a method through decorators ends, whatever they say that they wrap."""

    class Circle(Service):
        async def around(self) -> None:
            return None

    Circle.around.__wrapped__ = Circle.around
    with pytest.raises(TypeError, match="Circle is no class with this method"):
        Sub.odds.invalidate(Circle(Origin()), "nba")


def test_a_method_may_have_another_name_than_its_function():
    """A method is found in its class by identity, also under another name and underneath other decorators."""

    @functools.wraps(Sub.odds)
    async def around(self: object, league: str) -> object:
        return await Sub.odds(self, league)

    class Renamed(Service):
        prices = around

    assert Sub.odds.invalidate(Renamed(Origin()), "nba").voided == 0


def test_a_first_parameter_called_self_makes_a_method():
    """A method is recognised by its first parameter, also where there is no class."""

    @coalesced
    async def stray(self: object, league: str) -> str:
        return league

    with pytest.raises(TypeError, match="takes the instance first, and Service is no class with this method"):
        stray.invalidate(Service(Origin()), "nba")
