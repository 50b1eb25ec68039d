"""G14: the decorated function is still the function."""

from __future__ import annotations

import abc
import asyncio
import copy
import functools
import inspect
import pickle
import sys
import typing
from typing import Annotated, Protocol, runtime_checkable
from unittest import mock

import fastapi
import httpx
import pydantic
import pytest

import coalesce_kit
from coalesce_kit import coalesced
from tests.fakes import Origin, start, turns

LIMIT = object()


async def _plain(sport: str, /, live: bool = True, *more: int, limit: object = LIMIT, **rest: str) -> list[object]:
    """Documentation."""
    return [sport, live, more, limit, rest]


fixtures = coalesced(ignore=("limit",))(_plain)


@coalesced
async def pickled(sport: str) -> str:
    """Documentation."""
    return sport


class Service:
    """A service whose instances are copied, pickled and mocked."""

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant

    @coalesced
    async def odds(self, league: str) -> str:
        return f"{self.tenant}:{league}"

    @coalesced
    @classmethod
    async def inside(cls, league: str) -> str:
        return f"{cls.__name__}:{league}"

    @classmethod
    @coalesced
    async def outside(cls, league: str) -> str:
        return f"{cls.__name__}:{league}"

    @coalesced
    @staticmethod
    async def static_inside(league: str) -> str:
        return league

    @staticmethod
    @coalesced
    async def static_outside(league: str) -> str:
        return league


class Overriding(Service):
    @coalesced
    async def odds(self, league: str) -> str:
        return "overriding " + await super().odds(league)


class PlainOverriding(Service):
    async def odds(self, league: str) -> str:
        return "plain " + await super().odds(league)


def test_g14_it_is_a_coroutine_function():
    """Both inspect and asyncio take it for a coroutine function, and its bound method too."""
    assert inspect.isfunction(fixtures)
    assert inspect.iscoroutinefunction(fixtures)
    assert inspect.iscoroutinefunction(Service("a").odds)
    if sys.version_info < (3, 14):
        assert asyncio.iscoroutinefunction(fixtures)


async def test_g14_a_task_can_be_made_of_its_call():
    """What a call returns is a coroutine."""
    coroutine = fixtures("nfl")
    assert inspect.iscoroutine(coroutine)
    assert coroutine.__qualname__ == "_plain"
    assert await asyncio.create_task(coroutine) == ["nfl", True, (), LIMIT, {}]


def test_g14_its_signature_and_hints_are_the_functions():
    """Signature, type hints, parameter names and defaults are those of the wrapped function, defaults by identity."""
    assert inspect.signature(fixtures) == inspect.signature(_plain)
    assert typing.get_type_hints(fixtures) == typing.get_type_hints(_plain)
    own = inspect.signature(fixtures, follow_wrapped=False)
    assert str(own.replace(return_annotation=inspect.Signature.empty)).startswith("(sport")
    assert list(own.parameters) == list(inspect.signature(_plain).parameters)
    assert fixtures.__kwdefaults__["limit"] is LIMIT
    assert fixtures.__defaults__ == (True,)


@pytest.mark.parametrize(
    "attribute", ["__name__", "__qualname__", "__module__", "__doc__", "__globals__", "__annotations__"]
)
def test_g14_its_metadata_is_the_functions(attribute: str):
    """Name, module, documentation, globals and annotations are those of the wrapped function."""
    assert getattr(fixtures, attribute) == getattr(_plain, attribute)
    if attribute == "__globals__":
        assert fixtures.__globals__ is _plain.__globals__


def test_g14_the_function_itself_is_reachable_and_untouched():
    """``__wrapped__`` is the function, which nothing was written to."""
    assert fixtures.__wrapped__ is _plain
    assert vars(_plain) == {}
    assert inspect.getsource(fixtures) == inspect.getsource(_plain)


@pytest.mark.parametrize(
    ("arguments", "keywords", "answer"),
    [
        (("nfl",), {}, ["nfl", True, (), LIMIT, {}]),
        (("nfl", False), {}, ["nfl", False, (), LIMIT, {}]),
        (("nfl",), {"live": False}, ["nfl", False, (), LIMIT, {}]),
        (("nfl", False, 1, 2), {"limit": 3}, ["nfl", False, (1, 2), 3, {}]),
        (("nfl",), {"sport": "a keyword of that name"}, ["nfl", True, (), LIMIT, {"sport": "a keyword of that name"}]),
    ],
)
async def test_g14_it_is_called_as_the_function_is(arguments, keywords, answer):
    """Every kind of parameter reaches the function as it was given."""
    assert await fixtures(*arguments, **keywords) == answer == await _plain(*arguments, **keywords)


@pytest.mark.parametrize(("arguments", "keywords"), [((), {}), ((), {"sport": "nfl"}), (("nfl", True), {"live": 1})])
def test_g14_wrong_arguments_raise_what_the_function_raises(arguments, keywords):
    """The interpreter's own messages about arguments are those of the wrapped function."""
    with pytest.raises(TypeError) as theirs:
        _plain(*arguments, **keywords)
    with pytest.raises(TypeError) as ours:
        fixtures(*arguments, **keywords)
    assert str(ours.value) == str(theirs.value)


def test_g14_it_pickles_by_name():
    """The function, a function of a class and a bound method survive pickling."""
    assert pickle.loads(pickle.dumps(pickled)) is pickled
    assert pickle.loads(pickle.dumps(Service.odds)) is Service.odds
    assert copy.deepcopy(pickled) is pickled


async def test_g14_a_partial_of_it_works():
    """``functools.partial`` of the decorated function is one of the function."""
    nfl = functools.partial(fixtures, "nfl", live=False)
    assert inspect.iscoroutinefunction(nfl)
    assert (await nfl())[:2] == ["nfl", False]


async def test_g14_a_bound_method_pickles_with_its_instance():
    """A pickled bound method answers for the copy of its instance."""
    method = pickle.loads(pickle.dumps(Service("a").odds))
    assert await method("nba") == "a:nba"


@pytest.mark.parametrize(
    "copied",
    [
        copy.copy,
        copy.deepcopy,
        lambda service: pickle.loads(pickle.dumps(service)),
    ],
)
async def test_g14_copies_of_used_instances_answer_for_themselves(copied):
    """A copy of an instance that was used answers with its own state, never the original's."""
    service = Service("a")
    assert await service.odds("nba") == "a:nba"
    assert vars(service) == {"tenant": "a"}
    other = copied(service)
    other.tenant = "b"
    assert await asyncio.gather(other.odds("nba"), service.odds("nba")) == ["b:nba", "a:nba"]


async def test_g14_a_copied_dictionary_brings_nothing_along():
    """An object that takes over a used instance's ``__dict__`` answers for itself."""
    used, fresh = Service("a"), Service("b")
    await used.odds("nba")
    fresh.__dict__.update(used.__dict__, tenant="c")
    assert await fresh.odds("nba") == "c:nba"


async def test_g14_a_copy_of_a_used_pydantic_model_answers_for_itself():
    """Frozen models may have decorated methods, and their copies are other instances."""

    class Model(pydantic.BaseModel, frozen=True):
        tenant: str

        @coalesced
        async def odds(self, league: str) -> str:
            return f"{self.tenant}:{league}"

    model = Model(tenant="a")
    assert await model.odds("nba") == "a:nba"
    assert await model.model_copy(update={"tenant": "b"}).odds("nba") == "b:nba"


@pytest.mark.parametrize("name", ["inside", "outside"])
async def test_g14_class_methods_in_both_orders(name: str):
    """A class method is told its class, and subclasses do not share."""
    assert await getattr(Service, name)("nba") == "Service:nba"
    assert await getattr(Service("a"), name)("nba") == "Service:nba"
    assert await getattr(Overriding, name)("nba") == "Overriding:nba"
    assert getattr(Service, name).__func__.stats().led_requests == 3


@pytest.mark.parametrize("name", ["static_inside", "static_outside"])
async def test_g14_static_methods_in_both_orders(name: str):
    """A static method is one function, however it is reached."""
    assert getattr(Service, name) is getattr(Service("a"), name)
    assert await asyncio.gather(getattr(Service, name)("nba"), getattr(Overriding("a"), name)("nba")) == ["nba", "nba"]
    assert getattr(Service, name).stats().fetches == 1


async def test_g14_overriding_and_super():
    """An override runs, decorated or not, and reaches the inherited method by ``super()``."""
    assert await Overriding("a").odds("nba") == "overriding a:nba"
    assert await PlainOverriding("a").odds("nba") == "plain a:nba"
    again = Overriding("a")
    assert [await again.odds("nba"), await again.odds("nba")] == ["overriding a:nba"] * 2


async def test_g14_temporary_instances():
    """A flight holds the instance while it runs."""
    assert await Service("a").odds("nba") == "a:nba"
    assert await asyncio.create_task(Service("b").odds("nba")) == "b:nba"


async def test_g14_slots_and_unhashable_instances():
    """An instance needs neither a ``__dict__`` nor weak references nor a hash."""

    class Slotted:
        __slots__ = ("tenant",)
        __hash__ = None

        def __init__(self, tenant: str) -> None:
            self.tenant = tenant

        @coalesced
        async def odds(self, league: str) -> str:
            return f"{self.tenant}:{league}"

    service = Slotted("a")
    assert await asyncio.gather(*(service.odds("nba") for _ in range(3))) == ["a:nba"] * 3
    assert Slotted.odds.stats().fetches == 1


@pytest.mark.parametrize("abstract_outside", [True, False])
async def test_g14_an_abstract_method_stays_abstract(abstract_outside: bool):
    """Abstractness is kept in both orders, and an implementation may be decorated."""

    async def odds(self, league: str) -> str:
        raise NotImplementedError

    order = [coalesced, abc.abstractmethod] if abstract_outside else [abc.abstractmethod, coalesced]
    for decorator in order:
        odds = decorator(odds)

    Abstract = abc.ABCMeta("Abstract", (), {"odds": odds})
    with pytest.raises(TypeError, match="abstract"):
        Abstract()

    class Concrete(Abstract):
        @coalesced
        async def odds(self, league: str) -> str:
            return league

    assert await Concrete().odds("nba") == "nba"


def test_g14_it_implements_a_runtime_protocol():
    """A class with a decorated method is an instance of a protocol that asks for it."""

    @runtime_checkable
    class Asks(Protocol):
        async def odds(self, league: str) -> str: ...

    assert isinstance(Service("a"), Asks)


async def test_g14_autospec_of_it():
    """A mock made after the function refuses what the function refuses and can be awaited."""
    double = mock.create_autospec(pickled, return_value="mocked")
    assert await double("nfl") == "mocked"
    with pytest.raises(TypeError):
        await double()
    service = mock.create_autospec(Service, instance=True)
    service.odds.return_value = "mocked"
    assert await service.odds("nba") == "mocked"
    with pytest.raises(TypeError):
        await service.odds()


async def test_g14_patching_used_instances_and_their_class():
    """``mock.patch.object`` on the class and on the instance takes effect, and ends."""
    service = Service("a")
    await service.odds("nba")
    for target in (Service, service):
        with mock.patch.object(target, "odds", autospec=True) as double:
            double.return_value = "mocked"
            assert await service.odds("nba") == "mocked"
        assert await service.odds("nba") == "a:nba"


async def test_g14_a_mock_of_an_async_function_can_be_decorated():
    """What ``mock.AsyncMock`` imitates is an async function."""
    double = mock.AsyncMock(return_value=7)
    assert await coalesced(double)() == 7
    double.assert_awaited_once_with()


class Query(pydantic.BaseModel):
    """The body of a request: FastAPI tells it from a query parameter by its annotation."""

    league: str


@coalesced
async def locale(accept_language: Annotated[str, fastapi.Header()] = "en") -> str:
    """A dependency of the endpoint below."""
    return accept_language


async def test_g14_fastapi_endpoints_and_dependencies():
    """FastAPI reads parameters, body models and dependencies off decorated functions, also with string annotations."""
    app = fastapi.FastAPI()

    @app.post("/odds/{sport}")
    @coalesced
    async def odds(
        sport: str, query: Query, language: Annotated[str, fastapi.Depends(locale)], limit: int = 5
    ) -> dict[str, object]:
        return {"sport": sport, "league": query.league, "language": language, "limit": limit}

    service = Service("a")
    app.get("/bound/{league}")(service.odds)

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.post("/odds/nfl?limit=3", json={"league": "afc"}, headers={"accept-language": "de"})
        assert answer.json() == {"sport": "nfl", "league": "afc", "language": "de", "limit": 3}
        assert (await client.get("/bound/nba")).json() == "a:nba"


async def test_g14_it_can_be_decorated_again():
    """A decorator on top that keeps the attributes keeps them working."""

    @coalesced
    async def answer(x: int) -> int:
        return x

    @functools.wraps(answer)
    async def logged(x: int) -> int:
        return await answer(x)

    assert await logged(1) == 1
    assert logged.stats().led_requests == 1
    twice = coalesced(logged)
    assert await twice(2) == 2
    assert (twice.stats().led_requests, answer.stats().led_requests) == (1, 2)


# ---- what else may be wrapped ----


async def test_g14_a_partial_can_be_decorated():
    """A partial of an async function is one, with the parameters that are left."""

    async def odds(sport: str, league: str, *, limit: int = 5) -> list[object]:
        return [sport, league, limit]

    nfl = coalesced(functools.partial(odds, "nfl", limit=7))
    assert inspect.signature(nfl) == inspect.signature(functools.partial(odds, "nfl", limit=7))
    assert (nfl.__name__, nfl.__doc__) == ("odds", None)
    assert await nfl("afc") == ["nfl", "afc", 7]
    assert nfl.cache_key(league="afc").endswith("odds(league='afc', limit=7)")


async def test_g14_an_object_with_an_async_call_can_be_decorated():
    """An object is known by its class and keeps its attributes to itself."""

    class Asking:
        """Asks."""

        def __init__(self) -> None:
            self.invalidate = "its own"

        async def __call__(self, league: str = "nba") -> str:
            return league

    asking = Asking()
    call = coalesced(asking)
    assert (call.__name__, call.__doc__, call.__wrapped__) == ("Asking", "Asks.", asking)
    assert call.invalidate() is not None
    assert asking.invalidate == "its own"
    assert await call("nfl") == "nfl"
    assert inspect.signature(call) == inspect.signature(asking)


async def test_g14_a_bound_method_can_be_decorated():
    """A method of one instance is a function of the arguments that are left."""
    origin = Origin()
    call = coalesced(origin.__call__)
    (task,) = start(call("nba"))
    await turns()
    origin.answer("answer")
    assert await task == "answer"
    assert origin.calls == [("nba",)]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="functions can be marked from 3.12 on")
async def test_g14_a_marked_function_can_be_decorated():
    """A plain function that is marked as a coroutine function is one."""

    @coalesced
    @inspect.markcoroutinefunction
    def odds(league: str):
        return pickled.__wrapped__(league)

    assert await odds("nba") == "nba"


async def test_g14_a_function_without_an_identifier_for_a_name_can_be_decorated():
    """A name that is none in Python appears as it is, and the generated code has another."""

    async def odds() -> int:
        return 7

    odds.__name__ = "class"
    odds.__qualname__ = "somewhere.class"
    decorated = coalesced(odds)
    assert decorated.__name__ == "class"
    assert decorated.__code__.co_name == "coalesced_call"
    assert await decorated() == 7


async def test_g14_wrappers_that_take_keywords_only_are_called_with_keywords():
    """What a decorator's wrapper shows and what it takes may differ; it is called in a way that it takes."""

    async def odds(league: str, limit: int = 5) -> list[object]:
        return [league, limit]

    @functools.wraps(odds)
    async def keywords_only(**kwargs):
        return await odds(**kwargs)

    @functools.wraps(odds)
    async def whatever(*args, **kwargs):
        return await odds(*args, **kwargs)

    for wrapper in (keywords_only, whatever):
        call = coalesced(wrapper)
        assert call.cache_key("nba") == call.cache_key(league="nba", limit=5)
        assert await call("nba") == ["nba", 5]


async def test_g14_detached_context_is_a_context():
    """A task can be started with it."""
    assert await asyncio.create_task(pickled("nfl"), context=coalesce_kit.detached_context()) == "nfl"
