"""G9: what is the same call is one key, what is another call never is, and instances share only if the key says so."""

import asyncio
import copy
import dataclasses
import gc
import pickle
import weakref
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any
from unittest import mock

import pytest

from coalesce_kit import RequestCoalescer, coalesced
from tests.fakes import Origin, outcomes, start, turns

pytestmark = pytest.mark.on_every_loop

tenant: ContextVar[str] = ContextVar("tenant")


async def fetches_of(function: Callable[..., Awaitable[Any]], origin: Origin, *calls: Any) -> list[int]:
    """Make calls at one moment; return for each the number of the fetch that answered it.

    Args:
        function: asks ``origin``.
        origin: is asked.
        calls: one callable each, which is given the function and returns its awaitable.
    """
    tasks = [asyncio.ensure_future(call(function)) for call in calls]
    await turns()
    for number in range(origin.working):
        origin.answer(number)
    return await asyncio.gather(*tasks)


def asking(origin: Origin, **options: Any) -> Any:
    """Return a decorated function of two parameters that asks ``origin``."""

    @coalesced(**options)
    async def fixtures(sport: Any, limit: Any = 5) -> Any:
        return await origin(sport, limit)

    return fixtures


def taking_one(origin: Origin) -> Any:
    """Return a decorated function of one parameter that asks ``origin``."""

    @coalesced
    async def fixtures(sport: Any) -> Any:
        return await origin(sport)

    return fixtures


@pytest.mark.parametrize("options", [{}, {"key": "fixtures:{sport}:{limit}"}, {"key": ("sport", "limit")}])
async def test_g09_positional_keyword_and_default_are_one_key(options: dict[str, Any]) -> None:
    """However a call is spelled, it is one fetch, and its answer is that of a direct call."""
    origin = Origin()
    fixtures = asking(origin, **options)
    spellings = [
        lambda f: f("nfl"),
        lambda f: f(sport="nfl"),
        lambda f: f("nfl", 5),
        lambda f: f("nfl", limit=5),
        lambda f: f(limit=5, sport="nfl"),
    ]

    assert await fetches_of(fixtures, origin, *spellings) == [0] * 5
    assert origin.calls == [("nfl", 5)]


@pytest.mark.parametrize("door", ["decorated", "alone"])
async def test_g09_everybody_gets_the_one_answer_of_a_direct_call(door: str) -> None:
    """All callers get one object, equal to what the function itself returns."""

    async def fixtures(sport: str) -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"sport": sport, "fixtures": [{"id": 1, "teams": ("a", "b")}, None]}

    if door == "decorated":
        ask = coalesced(fixtures)
    else:
        coalescer = RequestCoalescer()
        ask = lambda sport: coalescer.get_or_fetch(sport, lambda: fixtures(sport))
    answers = await asyncio.gather(*(ask("nfl") for _ in range(100)))

    assert len({id(answer) for answer in answers}) == 1
    assert answers[0] == await fixtures("nfl")


class Colour(str):
    """A string of another class."""


ALL_DIFFERENT: dict[str, list[Any]] = {
    "types": [1, 1.0, True, "1", b"1", None, "None", "", "True", Colour("1")],
    "types in tuples": [(1,), (1.0,), (True,), ("1",), [1], [True], ((1,),), ()],
    "types in frozensets": [frozenset({1}), frozenset({1.0}), frozenset({True}), {1}, frozenset(), frozenset({(1,)})],
    "types in dictionaries": [{"a": 1}, {"a": 1.0}, {"a": True}, {"a": "1"}, {1: "a"}, {True: "a"}, {}],
    "nesting": [["a", ["b"]], [["a"], "b"], ["a", "b"], [["a", "b"]], ["a,b"], "['a', 'b']"],
}


@pytest.mark.parametrize("values", ALL_DIFFERENT.values(), ids=ALL_DIFFERENT)
async def test_g09_different_arguments_are_different_keys(values: list[Any]) -> None:
    """Values of different types or shapes are fetched apart, equal though they may be."""
    origin = Origin()
    calls = [lambda f, value=value: f(value) for value in values]

    assert await fetches_of(taking_one(origin), origin, *calls) == list(range(len(values)))
    assert [arguments for (arguments,) in origin.calls] == values


@dataclasses.dataclass
class Page:
    number: int
    sort: str = dataclasses.field(default="asc", compare=False)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([1, {"a": [2]}], [1, {"a": [2]}]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({1, 2, 3}, {3, 2, 1}),
        (Page(1), Page(1)),
        (bytearray(b"x"), bytearray(b"x")),
    ],
    ids=["list", "dictionary", "set", "dataclass", "bytearray"],
)
async def test_g09_equal_unhashable_arguments_share(one: Any, other: Any) -> None:
    """An argument that has no hash is compared by what it holds."""
    origin = Origin()

    assert one is not other
    assert await fetches_of(taking_one(origin), origin, lambda f: f(one), lambda f: f(other)) == [0, 0]


async def test_g09_every_field_of_a_record_counts() -> None:
    """A field that a dataclass leaves out of its comparison still tells two answers apart."""
    origin = Origin()
    calls = [lambda f: f(Page(1, "asc")), lambda f: f(Page(1, "desc")), lambda f: f(Page(2, "asc"))]

    assert await fetches_of(taking_one(origin), origin, *calls) == [0, 1, 2]


@pytest.mark.parametrize("options", [{"key": "{sport}:{limit}"}, {"key": ("sport", "limit")}, {}])
async def test_g09_parts_never_run_into_each_other(options: dict[str, Any]) -> None:
    """Parts that contain the separator are other keys than parts that are separated by it."""
    origin = Origin()
    parts = [("a:b", "c"), ("a", "b:c"), ("a:b:c", ""), ("", "a:b:c"), ("a", "b"), ("'a'", "b"), ("a, 'b'", "")]
    calls = [lambda f, pair=pair: f(*pair) for pair in parts]

    assert await fetches_of(asking(origin, **options), origin, *calls) == list(range(len(parts)))


async def test_g09_the_number_of_arguments_is_part_of_the_key() -> None:
    """Of a function that takes any number, ("a", "b") never meets ("a:b",), nor a keyword a position."""
    origin = Origin()

    @coalesced
    async def fixtures(*sports: Any, **options: Any) -> Any:
        return await origin(sports, options)

    calls = [
        lambda f: f("a", "b"),
        lambda f: f("a:b"),
        lambda f: f(("a", "b")),
        lambda f: f(a="b"),
        lambda f: f("a", b="b"),
        lambda f: f({"a": "b"}),
        lambda f: f(),
    ]
    assert await fetches_of(fixtures, origin, *calls) == list(range(len(calls)))


async def test_g09_keyword_order_never_matters() -> None:
    """Keywords, those of ``**options`` too, are the same in any order."""
    origin = Origin()

    @coalesced
    async def fixtures(**options: Any) -> Any:
        return await origin(options)

    assert await fetches_of(fixtures, origin, lambda f: f(a=1, b=2), lambda f: f(b=2, a=1)) == [0, 0]


async def test_g09_two_functions_never_share() -> None:
    """Functions of one name, with one key and on one coalescer, are two."""
    origin = Origin()
    one, other = asking(origin, key="{sport}:{limit}"), asking(origin, key="{sport}:{limit}")

    assert one.__name__ == other.__name__
    assert one.cache_key("nfl") == other.cache_key("nfl")
    assert await fetches_of(one, origin, lambda f: f("nfl"), lambda _: other("nfl")) == [0, 1]


async def test_g09_a_context_variable_in_vary_tells_callers_apart() -> None:
    """Callers of one key and two tenants share nothing where ``vary`` names the tenant."""
    origin = Origin()
    fixtures = asking(origin, vary=(tenant,))

    async def of(name: str) -> Any:
        tenant.set(name)
        return await fixtures("nfl")

    assert await fetches_of(of, origin, lambda f: f("a"), lambda f: f("b"), lambda f: f("a")) == [0, 1, 0]


class Service:
    """Compares and hashes like every other, and is called and read as its class likes."""

    def __init__(self, name: Any) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 7

    def __repr__(self) -> str:
        return "Service()"

    @coalesced
    async def odds(self, league: str = "nba") -> Any:
        await asyncio.sleep(0)
        return self.name

    @coalesced(key="odds:{league}")
    async def odds_by_template(self, league: str = "nba") -> Any:
        await asyncio.sleep(0)
        return self.name

    @coalesced(key=lambda self, league="nba": league)
    async def odds_by_function(self, league: str = "nba") -> Any:
        await asyncio.sleep(0)
        return self.name


class Slotted(Service):
    __slots__ = ()


METHODS = pytest.mark.parametrize("method", ["odds", "odds_by_template", "odds_by_function"])


@METHODS
async def test_g09_instances_never_share(method: str) -> None:
    """Two instances that are equal, hash alike and look alike each answer for themselves, whatever the key."""
    services = [Service("a"), Service("b"), Slotted("c")]

    assert await asyncio.gather(*(getattr(one, method)() for one in services * 2)) == ["a", "b", "c"] * 2


@METHODS
async def test_g09_a_reused_address_meets_no_old_answer(method: str) -> None:
    """200 instances, made, asked, dropped and collected, get addresses of each other and no answers of each other."""
    addresses = set()
    for number in range(200):
        service = Service(number)
        addresses.add(id(service))
        assert await asyncio.gather(getattr(service, method)(), getattr(service, method)()) == [number, number]
        del service
        if number % 40 == 0:
            gc.collect()

    assert len(addresses) < 200


async def test_g09_a_flight_keeps_its_instance_until_it_ends() -> None:
    """While a fetch runs, nobody can get its instance's address; afterwards nothing keeps the instance."""
    origin = Origin()

    class Held:
        @coalesced(on_abandon="finish")
        async def odds(self) -> Any:
            return await origin(id(self))

    service = Held()
    reference = weakref.ref(service)
    (caller,) = start(service.odds())
    await turns()
    caller.cancel()
    await outcomes([caller])
    del service, caller
    gc.collect()
    held = reference()
    assert held is not None
    assert origin.calls == [(id(held),)]
    del held
    origin.answer()
    await turns()
    gc.collect()

    assert reference() is None


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda used: pickle.loads(pickle.dumps(used))], ids=["copy", "deep", "pickle"]
)
@METHODS
async def test_g09_copies_of_used_instances_share_nothing(copied: Callable[[Any], Any], method: str) -> None:
    """A copy or a pickle of an instance answers for itself, also when it was made while the original's fetch ran."""
    service = Service("original")
    (waiting,) = start(getattr(service, method)())
    await asyncio.sleep(0)
    during = copied(service)
    during.name = "during"
    assert await asyncio.gather(waiting, getattr(during, method)()) == ["original", "during"]
    after = copied(service)
    after.name = "after"

    assert await asyncio.gather(getattr(after, method)(), getattr(service, method)()) == ["after", "original"]


async def test_g09_a_mocked_method_of_a_used_instance_shares_nothing() -> None:
    """Patching a method on an instance or its class replaces it for that time and leaves no answer behind."""
    service = Service("original")
    for target in (Service, service):
        (waiting,) = start(service.odds())
        await asyncio.sleep(0)
        with mock.patch.object(target, "odds", autospec=True) as double:
            double.return_value = "mocked"
            assert await service.odds() == "mocked"
        assert [await waiting, await service.odds()] == ["original"] * 2


async def test_g09_instances_share_where_the_key_says_so() -> None:
    """A key that names what tells instances apart, or ``ignore=("self",)``, lets the others share."""
    origin = Origin()

    class Shared(Service):
        @coalesced(key="{self.name}:{league}")
        async def by_name(self, league: str = "nba") -> Any:
            return await origin(self.name)

        @coalesced(ignore=("self",))
        async def by_nothing(self, league: str = "nba") -> Any:
            return await origin(self.name)

    a, again, b = Shared("a"), Shared("a"), Shared("b")
    by_name = [lambda _, one=one: one.by_name() for one in (a, again, b)]
    by_nothing = [lambda _, one=one: one.by_nothing() for one in (a, again, b)]

    assert await fetches_of(Shared.by_name, origin, *by_name) == [0, 0, 1]
    assert await fetches_of(Shared.by_nothing, origin, *by_nothing) == [0, 0, 0]
