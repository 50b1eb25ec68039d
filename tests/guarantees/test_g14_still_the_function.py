"""G14: the decorated function is still the function: seen, called, copied, pickled, mocked and inherited like it."""

import abc
import asyncio
import copy
import functools
import inspect
import pickle
import sys
import typing
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Protocol, runtime_checkable
from unittest import mock

import pytest

from coalesce_kit import ConfigurationError, coalesced
from tests.fakes import Origin, outcomes, start, turns

request_id: ContextVar[str] = ContextVar("request_id", default="none")


@coalesced
async def fixtures(sport: str, live: bool = True, *, limit: int = 5) -> list[Any]:
    """Fetch fixtures."""
    await asyncio.sleep(0)
    return [sport, live, limit]


class Service:
    """Has every kind of method, decorated from inside and from outside."""

    def __init__(self, tenant: str = "a") -> None:
        self.tenant = tenant

    @coalesced
    async def method(self, sport: str, live: bool = True, *, limit: int = 5) -> list[Any]:
        """Fetch what the tenant may see."""
        return [self.tenant, sport, live, limit]

    @classmethod
    @coalesced
    async def of_class(cls, sport: str, live: bool = True, *, limit: int = 5) -> list[Any]:
        """Fetch what the class may see."""
        return [cls.__name__, sport, live, limit]

    @coalesced
    @classmethod
    async def of_class_outside(cls, sport: str, live: bool = True, *, limit: int = 5) -> list[Any]:
        """Fetch what the class may see."""
        return [cls.__name__, sport, live, limit]

    @staticmethod
    @coalesced
    async def static(sport: str, live: bool = True, *, limit: int = 5) -> list[Any]:
        """Fetch what everybody may see."""
        return [sport, live, limit]

    @coalesced
    @staticmethod
    async def static_outside(sport: str, live: bool = True, *, limit: int = 5) -> list[Any]:
        """Fetch what everybody may see."""
        return [sport, live, limit]


class Overriding(Service):
    """Overrides a method, and reaches the inherited one."""

    @coalesced
    async def method(self, sport: str, live: bool = True, *, limit: int = 5) -> list[Any]:
        """Fetch what the tenant may see."""
        return ["overriding", *await super().method(sport, live, limit=limit)]


class PlainOverriding(Service):
    """Overrides a method without decorating it."""

    async def method(self, sport: str, live: bool = True, *, limit: int = 5) -> list[Any]:
        """Fetch what the tenant may see."""
        return ["overriding", *await super().method(sport, live, limit=limit)]


class Asks(abc.ABC):
    """Asks for a decorated method."""

    @abc.abstractmethod
    @coalesced
    async def method(self, sport: str, live: bool = True, *, limit: int = 5) -> list[Any]: ...


class Answers(Asks):
    """Has it."""

    @coalesced
    async def method(self, sport: str, live: bool = True, *, limit: int = 5) -> list[Any]:
        """Fetch what there is."""
        return [sport, live, limit]


@runtime_checkable
class HasMethod(Protocol):
    """What ``Service`` and ``Answers`` look like."""

    async def method(self, sport: str, live: bool = True, *, limit: int = 5) -> list[Any]: ...


REACHED: dict[str, Callable[..., Any]] = {
    "function": fixtures,
    "method": Service("a").method,
    "class method": Service.of_class,
    "class method, decorated outside": Service.of_class_outside,
    "class method of an instance": Service("a").of_class,
    "class method of a subclass": Overriding.of_class,
    "static method": Service.static,
    "static method, decorated outside": Service("a").static_outside,
    "overriding method": Overriding("a").method,
    "plain overriding method": PlainOverriding("a").method,
    "method of an abstract class": Answers().method,
}

every_kind = pytest.mark.parametrize("reached", REACHED.values(), ids=REACHED)


def directly(reached: Callable[..., Any]) -> Callable[..., Any]:
    """Return what was decorated, bound as ``reached`` is."""
    plain = inspect.unwrap(reached)
    return plain.__get__(reached.__self__) if inspect.ismethod(reached) else plain


@every_kind
def test_g14_it_looks_like_the_function(reached: Callable[..., Any]) -> None:
    """Inspection finds an async function with the signature, hints and names of the one that was decorated."""
    plain = directly(reached)

    assert inspect.iscoroutinefunction(reached)
    assert sys.version_info >= (3, 14) or asyncio.iscoroutinefunction(reached)
    assert inspect.isroutine(reached)
    assert inspect.signature(reached) == inspect.signature(plain)
    assert typing.get_type_hints(reached) == typing.get_type_hints(plain)
    for attribute in ("__name__", "__qualname__", "__module__", "__doc__"):
        assert getattr(reached, attribute) == getattr(plain, attribute)
    assert getattr(reached, "__func__", reached).__globals__ is globals()


CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    (("nfl",), {}),
    (("nfl", False), {}),
    ((), {"sport": "nfl", "live": False, "limit": 7}),
]


@pytest.mark.on_every_loop
@every_kind
@pytest.mark.parametrize(("arguments", "keywords"), CALLS)
async def test_g14_it_answers_like_the_function(
    reached: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> None:
    """However it is called (awaited, as a task, over a ``partial``, unpickled), the answer is that of a direct call."""
    direct = await directly(reached)(*arguments, **keywords)

    assert await reached(*arguments, **keywords) == direct
    assert await asyncio.create_task(reached(*arguments, **keywords)) == direct
    assert await functools.partial(reached, *arguments)(**keywords) == direct
    assert await pickle.loads(pickle.dumps(reached))(*arguments, **keywords) == direct
    assert await asyncio.gather(*(reached(*arguments, **keywords) for _ in range(3))) == [direct] * 3


@every_kind
@pytest.mark.parametrize(
    ("arguments", "keywords"), [((), {}), (("nfl", True, 5), {}), (("nfl",), {"sport": "nba"}), (("nfl",), {"no": 1})]
)
def test_g14_it_refuses_like_the_function(
    reached: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> None:
    """Wrong arguments are the interpreter's own ``TypeError``, at the call, word for word."""
    with pytest.raises(TypeError) as theirs:
        directly(reached)(*arguments, **keywords)
    with pytest.raises(TypeError) as ours:
        reached(*arguments, **keywords)

    assert str(ours.value) == str(theirs.value)


@every_kind
@pytest.mark.on_every_loop
async def test_g14_a_mock_of_it_is_a_mock_of_the_function(reached: Callable[..., Any]) -> None:
    """``create_autospec`` makes an async double that refuses what the function refuses."""
    double = mock.create_autospec(reached, return_value="mocked")

    assert await double("nfl") == "mocked"
    with pytest.raises(TypeError):
        await double(no=1)


@pytest.mark.on_every_loop
@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda used: pickle.loads(pickle.dumps(used))], ids=["copy", "deep", "pickle"]
)
async def test_g14_used_instances_are_copied_and_pickled_as_they_were(copied: Callable[[Any], Any]) -> None:
    """Using an instance writes nothing into it: its copy has its state and no more, and answers for itself."""
    service = Overriding("a")
    await asyncio.gather(service.method("nfl"), service.of_class("nfl"), service.static("nfl"))
    other = copied(service)

    assert vars(service) == vars(other) == {"tenant": "a"}
    other.tenant = "b"
    assert (await other.method("nfl"))[:2] == ["overriding", "b"]
    assert (await service.method("nfl"))[:2] == ["overriding", "a"]


@pytest.mark.on_every_loop
async def test_g14_patching_takes_effect_and_ends() -> None:
    """``mock.patch.object`` works on a used instance, on its class and on a base class."""
    service = Service("a")
    for target, patched in ((service, service), (Service, service), (Service, Overriding("a"))):
        before = await patched.static("nfl")
        with mock.patch.object(target, "static", autospec=True, return_value="mocked"):
            assert await patched.static("nfl") == "mocked"
        assert await patched.static("nfl") == before
    with mock.patch.object(Service, "method", autospec=True, return_value=["mocked"]):
        assert await service.method("nfl") == ["mocked"]
        assert await Overriding("a").method("nfl") == ["overriding", "mocked"]


def test_g14_abstract_stays_abstract() -> None:
    """A decorated abstract method makes its class abstract; a decorated method satisfies an ABC and a protocol."""
    with pytest.raises(TypeError, match="abstract"):
        Asks()  # type: ignore[abstract]  # that is the point
    assert isinstance(Answers(), Asks)
    assert isinstance(Answers(), HasMethod)
    assert isinstance(Service(), HasMethod)


@pytest.mark.on_every_loop
async def test_g14_the_function_runs_in_its_callers_context() -> None:
    """The function sees the context variables of the caller who leads, and sets none of anybody's."""
    seen: list[str] = []

    @coalesced
    async def odds(league: str) -> str:
        seen.append(request_id.get())
        request_id.set("set by the function")
        await asyncio.sleep(0)
        return request_id.get()

    async def call(request: str) -> tuple[str, str]:
        request_id.set(request)
        return await odds("nba"), request_id.get()

    answers = await asyncio.gather(call("first"), call("second"))

    assert seen == ["first"]
    assert answers == [("set by the function", "first"), ("set by the function", "second")]
    assert request_id.get() == "none"


@pytest.mark.on_every_loop
async def test_g14_errors_of_the_function_pass_unwrapped() -> None:
    """What the function raises is raised, the very object, to the caller who led."""
    error = LookupError("down")

    @coalesced
    async def odds() -> None:
        raise error

    with pytest.raises(LookupError) as caught:
        await odds()
    assert caught.value is error


@pytest.mark.on_every_loop
async def test_g14_what_else_can_be_awaited_is_accepted() -> None:
    """A ``partial`` of an async function and an object with an async ``__call__`` are coalesced like a function."""
    origin = Origin()

    class Client:
        async def __call__(self, sport: str) -> Any:
            return await origin(sport)

    for function in (functools.partial(origin.__call__, "nfl"), Client()):
        ask = coalesced(function)
        arguments = ("nfl",) if isinstance(function, Client) else ()
        tasks = start(ask(*arguments), ask(*arguments))
        await turns()
        assert origin.working == 1
        origin.answer()
        assert await outcomes(tasks) == ["answer", "answer"]


async def items() -> Any:
    yield 1


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda sport: sport, "synchronous function, and @coalesced takes an async one"),
        (items, "is an async generator"),
        (Service, "not the class Service"),
        (functools.partial(len, "nfl"), "synchronous function"),
    ],
    ids=["synchronous", "async generator", "class", "partial"],
)
def test_g14_what_cannot_be_awaited_is_refused_at_decoration(function: Any, says: str) -> None:
    """A function whose result could not be shared is refused when it is decorated, with what to write instead."""
    with pytest.raises(ConfigurationError, match=says):
        coalesced(function)
