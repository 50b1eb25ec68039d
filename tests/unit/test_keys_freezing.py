"""How arguments with parts, records and foreign objects become part of a key, and which are refused."""

from __future__ import annotations

import collections
import contextvars
import dataclasses
import decimal
import enum
import gc
import threading
import types
import typing
import weakref
import zoneinfo
from collections import Counter, OrderedDict, defaultdict, deque
from datetime import UTC, datetime, timedelta, timezone, tzinfo

import attrs
import msgspec
import pydantic
import pydantic.v1
import pytest

from coalesce_kit import freezing
from coalesce_kit.errors import KeyDerivationError
from coalesce_kit.freezing import ATOMS, DIGEST, MAX_CLASSES, MAX_DEPTH, Freezer, Shape
from coalesce_kit.key_text import MAX_WEIGHT
from tests.keys_by_hand import ByHand, key_maker


class Plain:
    """Compared by identity."""


class Named(typing.NamedTuple):
    x: int


@dataclasses.dataclass
class Point:
    x: int
    y: object = dataclasses.field(default=0, compare=False)


@dataclasses.dataclass(frozen=True)
class Frozen:
    x: object
    hidden: int = dataclasses.field(default=0, compare=False, hash=False, repr=False)


@dataclasses.dataclass(eq=False)
class ByIdentity:
    x: int


@dataclasses.dataclass(slots=True)
class Late:
    x: int = dataclasses.field(init=False)


class Undeclared(Point):
    """A subclass of a dataclass that is none itself, and adds to it."""

    __slots__ = ("__private", "z")

    def __init__(self, x, more, z=0):
        super().__init__(x)
        self.more = more
        self.z = z
        self.__private = 0


class OneSlot(Frozen):
    __slots__ = "extra"  # noqa: PLC0205  # allowed, hence met


@attrs.define
class Attrs:
    x: object
    y: int = attrs.field(default=0, eq=False)


@attrs.define(slots=False)
class OpenAttrs:
    x: int


class UndeclaredAttrs(OpenAttrs):
    pass


class Struct(msgspec.Struct):
    x: object
    y: int = 0


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    x: object
    _private: int = 0


class Model1(pydantic.v1.BaseModel):
    x: int


class Filters(dict):
    tenant = ""


class Slotted(list):
    __slots__ = ("__dict__", "tenant")


class Odd(list):
    def __iter__(self):
        return iter(())


@dataclasses.dataclass
class Page(list):
    number: int


class Color(enum.Enum):
    RED = 1


class Status(enum.IntEnum):
    OK = 1


class NoHash:
    __hash__ = None


class BadHash:
    def __hash__(self):
        raise ValueError("no")


class ById:
    def __init__(self, number):
        self.number = number

    def __eq__(self, other):
        return isinstance(other, ById) and other.number == self.number

    def __hash__(self):
        return hash(self.number)


@pytest.fixture
def key():
    """The keys of a function of one argument."""
    return key_maker()


# --- containers


@pytest.mark.parametrize(
    "make",
    [
        lambda one: [one],
        lambda one: (one,),
        lambda one: {one},
        lambda one: frozenset({one}),
        lambda one: {one: 0},
        lambda one: {"k": one},
        lambda one: deque([one]),
        lambda one: OrderedDict(k=one),
        lambda one: defaultdict(list, k=one),
        lambda one: Counter({one: 1}),
        lambda one: Named(one),
        lambda one: Filters(k=one),
        lambda one: [[(one,)]],
        lambda one: {"k": [{"k": one}]},
        lambda one: {(one,)},
        lambda one: {(one,): (one,)},
        lambda one: Point(one),
        lambda one: Point(0, one),
        lambda one: Frozen((one,)),
        lambda one: Frozen(0, one),
        lambda one: ByIdentity(one),
        lambda one: Attrs(one),
        lambda one: Attrs(0, one),
        lambda one: Attrs([one]),
        lambda one: Struct(one),
        lambda one: Struct({"k": one}),
        lambda one: Model(x=one),
        lambda one: Model(x=0, extra=one),
        lambda one: [Point(one)],
    ],
    ids=[
        "list",
        "tuple",
        "set",
        "frozenset",
        "dict_key",
        "dict_value",
        "deque",
        "OrderedDict",
        "defaultdict",
        "Counter",
        "NamedTuple",
        "dict_subclass",
        "nested",
        "in_dicts",
        "tuple_in_set",
        "tuple_in_dict",
        "dataclass",
        "compare_false",
        "frozen",
        "hash_false",
        "eq_false",
        "attrs",
        "attrs_eq_false",
        "list_in_attrs",
        "Struct",
        "dict_in_Struct",
        "pydantic",
        "pydantic_extra",
        "dataclass_in_list",
    ],
)
def test_values_with_parts_are_typed_all_the_way_down(key, make):
    """Equal ones make one key; 1, 1.0 and True inside make three."""
    assert key(make(1)) == key(make(1))
    assert len({key(make(1)), key(make(1.0)), key(make(True))}) == 3


def test_containers_of_different_classes_differ(key):
    """A list is no tuple, a dict no OrderedDict."""
    values = [[1], (1,), {1}, frozenset({1}), deque([1]), Slotted([1]), Named(1), b"\x01", bytearray(b"\x01")]
    values += [{1: 1}, OrderedDict({1: 1}), defaultdict(int, {1: 1}), Counter({1: 1}), Filters({1: 1})]
    values += [[], (), {}, set(), frozenset(), None, 0, "", b""]
    assert len({key(value) for value in values}) == len(values)


def test_order_matters_where_equality_says_so(key):
    """Dicts and sets have no order, lists and OrderedDicts have one."""
    assert key({"a": 1, "b": 2}) == key({"b": 2, "a": 1})
    assert key({3, 11, 7}) == key({11, 7, 3})
    assert key([1, 2]) != key([2, 1])
    assert key(OrderedDict(a=1, b=2)) != key(OrderedDict(b=2, a=1))


def test_a_deep_key_never_equals_a_shallow_one(key):
    """Nothing can be kept under the shallow key of a call with a container in it."""
    for value in ((1,), frozenset({1}), Frozen(1), Named(1), ()):
        assert key(value) != key.shallow(value)
        assert key.recipe.deepen(key.shallow(value)) == key(value)


def test_a_key_does_not_follow_later_changes(key):
    """A container is read when the key is made."""
    value = [1, {"k": [2]}]
    before = key(value)
    value[1]["k"].append(3)
    assert before == key([1, {"k": [2]}]) != key(value)


def test_what_a_subclass_holds_beside_its_items_counts(key):
    """Attributes and slots of a container's subclass are part of it."""
    plain, other = Filters(a=1), Filters(a=1)
    assert key(plain) == key(other)
    other.tenant = "b"
    assert key(plain) != key(other)
    slotted = Slotted([1])
    assert key(slotted) == key(Slotted([1]))
    slotted.tenant = "b"
    assert key(slotted) != key(Slotted([1]))


def test_a_record_that_is_a_container_is_both(key):
    """Fields and items count."""
    one, other = Page(1), Page(1)
    other.append(1)
    assert key(one) != key(other)
    assert key(one) != key(Page(2))


def test_a_subclass_is_read_past_its_own_iter(key):
    """What it holds decides, not what it shows."""
    assert key(Odd([1])) != key(Odd([2]))


def test_a_container_that_contains_itself_is_refused(key):
    """It has no form."""
    value: list = []
    value += [value, value]
    with pytest.raises(
        KeyDerivationError, match="'value' contains a list that is nested deeper than 64 levels, perhaps in"
    ):
        key(value)


def nested(levels):
    """An empty list in so many others."""
    value: list = []
    for _ in range(levels):
        value = [value]
    return value


def test_the_deepest_nesting_that_has_a_key(key):
    """One level more has none."""
    assert key(nested(MAX_DEPTH)) == key(nested(MAX_DEPTH)) != key(nested(MAX_DEPTH - 1))
    with pytest.raises(KeyDerivationError, match=f"nested deeper than {MAX_DEPTH} levels"):
        key(nested(MAX_DEPTH + 1))


# --- records


def test_uncompared_and_hidden_fields_count(key):
    """compare=False, repr=False, eq=False: all fields are keyed, hashable class or not."""
    assert key(Point(1, 2)) != key(Point(1, 3))
    assert key(Frozen(1, 2)) != key(Frozen(1, 3))
    assert key(Attrs(1, 2)) != key(Attrs(1, 3))
    assert key(ByIdentity(1)) == key(ByIdentity(1)) != key(ByIdentity(2))


def test_records_of_different_classes_differ(key):
    """The class is part of the key."""
    assert len({key(value) for value in (Point(1), Frozen(1), ByIdentity(1), Attrs(1), Struct(1), Model(x=1))}) == 6


def test_a_field_without_a_value(key):
    """Its absence is a value of its own."""
    late = Late()
    assert key(late) == key(Late())
    late.x = 1
    assert key(late) != key(Late())
    assert key.text(Late()).endswith("Late(x=<absent>))")


def test_what_a_subclass_adds_undeclared_counts(key):
    """A subclass that is no dataclass itself may hold what the answer depends on."""
    assert key(Undeclared(1, "a")) == key(Undeclared(1, "a"))
    assert len({key(Undeclared(1, "a")), key(Undeclared(1, "b")), key(Undeclared(1, "a", z=1))}) == 3
    slot = OneSlot(1)
    object.__setattr__(slot, "extra", 5)
    assert key(slot) != key(OneSlot(1))
    one, other = UndeclaredAttrs(1), UndeclaredAttrs(1)
    other.more = 1
    assert key(one) != key(other)


def test_pydantic_models_by_their_fields(key):
    """Fields and extra fields count, private attributes do not; version 1 is known too."""
    one, other = Model(x=1), Model(x=1)
    other._private = 5
    assert key(one) == key(other)
    assert key(Model(x=1, a=1)) != key(Model(x=1, a=2))
    assert key(Model1(x=1)) == key(Model1(x=1)) != key(Model1(x=2))
    assert key(Model.model_construct()) != key(Model(x=None))


def test_a_field_that_cannot_be_read_is_refused(key):
    """The error names class and parameter, its cause says the rest."""

    @dataclasses.dataclass
    class Broken:
        x: int

        def __getattribute__(self, name):
            if name == "x":
                raise RuntimeError("detached")
            return super().__getattribute__(name)

    with pytest.raises(KeyDerivationError, match="'value' is a Broken, which has a field that cannot") as caught:
        key(Broken(1))
    assert isinstance(caught.value.__cause__, RuntimeError)


# --- plain and foreign values


def test_members_of_enums_are_themselves(key):
    """An IntEnum's member is not its number."""
    assert key(Color.RED) == key(Color.RED)
    assert len({key(Color.RED), key(1), key(Status.OK), key(True)}) == 4


def test_beyond_that_the_arguments_own_equality_decides(key):
    """Foreign values with == and hash are compared by them."""
    assert key(ById(1)) == key(ById(1)) != key(ById(2))
    assert key([ById(1)]) == key([ById(1)]) != key([ById(2)])
    assert key(decimal.Decimal("1.0")) == key(decimal.Decimal("1.00"))
    assert key(0.0) == key(-0.0)
    assert key(2 + 0j) != key(2.0)


def test_one_instant_in_two_zones_is_one_key(key):
    """An aware datetime is an instant."""
    noon = datetime(2024, 6, 1, 12, tzinfo=UTC)
    assert (
        key(noon)
        == key(noon.astimezone(timezone(timedelta(hours=5))))
        == key(noon.astimezone(zoneinfo.ZoneInfo("Asia/Tokyo")))
    )
    assert key(noon) != key(noon.replace(tzinfo=None))
    assert key(noon)[1:] == (datetime, noon)


def test_an_hour_that_the_clock_shows_twice_is_two_instants(key):
    """== of datetimes within one zone ignores fold; a key does not."""
    first = datetime(2024, 11, 3, 1, 30, tzinfo=zoneinfo.ZoneInfo("America/New_York"))
    second = first.replace(fold=1)
    assert first == second
    assert key(first) != key(second)
    assert key(second) == key(datetime(2024, 11, 3, 6, 30, tzinfo=UTC))
    assert key(first.replace(tzinfo=None)) == key(second.replace(tzinfo=None))


def test_instants_beyond_the_years_of_utc(key):
    """The first and last hours of some zones are instants too."""
    early = datetime(1, 1, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    same = datetime(1, 1, 1, 2, tzinfo=timezone(timedelta(hours=3)))
    assert key(early) == key(same) != key(early.replace(hour=0))
    assert key.text(early) == key.text(same) == "f(value=datetime(-3600000000us))"


@pytest.mark.parametrize("zone", [None, UTC])
def test_a_datetime_that_needs_no_turning_is_its_own_form(key, zone):
    """Nothing is computed for one without a zone or in UTC."""
    noon = datetime(2024, 6, 1, 12, tzinfo=zone)
    assert key(noon)[2] is noon


class NoOffset(tzinfo):
    def utcoffset(self, when):
        return None


class FailingZone(tzinfo):
    def utcoffset(self, when):
        raise ValueError("no")


def test_time_zones_without_an_offset(key):
    """None makes a datetime naive; one that fails makes no key."""
    noon = datetime(2024, 6, 1, 12)  # noqa: DTZ001  # naive on purpose
    assert key(noon.replace(tzinfo=NoOffset())) == key(noon.replace(tzinfo=NoOffset(), fold=1)) == key(noon)
    with pytest.raises(KeyDerivationError, match="has a time zone that fails"):
        key(noon.replace(tzinfo=FailingZone()))


@pytest.mark.parametrize(
    "value",
    [
        None,
        ...,
        NotImplemented,
        int,
        Plain,
        enum.Enum,
        len,
        test_members_of_enums_are_themselves,
        [].append,
        Plain().__init__,
        collections,
        zoneinfo.ZoneInfo("Europe/Paris"),
        UTC,
        typing.TypeVar("T"),
        list[int],
        int | str,
        range(3),
        complex(1, 2),
        object.__init__,
    ],
    ids=[
        "None",
        "Ellipsis",
        "NotImplemented",
        "int",
        "class",
        "Enum",
        "builtin",
        "function",
        "method_of_list",
        "method",
        "module",
        "ZoneInfo",
        "UTC",
        "TypeVar",
        "generic",
        "union",
        "range",
        "complex",
        "slot",
    ],
)
def test_what_there_is_only_one_of_may_be_compared_by_identity(key, value):
    """None, ..., classes, functions, modules and the like are fine."""
    assert key(value) == key(value)
    assert key([value]) == key([value])
    assert key.recipe.text(key(value))


@pytest.mark.parametrize(
    "value",
    [object(), Plain(), ValueError("x"), iter([]), (number for number in ()), threading.Lock()],
    ids=lambda value: type(value).__name__,
)
def test_an_argument_compared_by_identity_is_refused(key, value):
    """The message names parameter and class, and the ways out; it shows no value."""
    name = type(value).__name__
    with pytest.raises(KeyDerivationError) as caught:
        key(value)
    message = str(caught.value)
    assert message.startswith("f: 'value' is a")
    assert f" {name}, which is compared by identity" in message
    assert "ignore=('value',)" in message
    assert "{value.id}" in message
    with pytest.raises(KeyDerivationError, match=f"'value' contains an? {name} that is compared by identity"):
        key([(value,)])


def test_a_class_of_ones_own_can_be_given_equality(key):
    """A third way out is offered where the class is not Python's own."""
    with pytest.raises(KeyDerivationError, match="or give Plain an __eq__ and a __hash__ of its own"):
        key(Plain())


def test_a_class_of_pythons_own_cannot_be_given_equality(key):
    """The message ends with the ways out that there are."""
    with pytest.raises(KeyDerivationError, match=r"or name in the key what identifies it, as in \{value\.id\}$"):
        key(object())


@pytest.mark.parametrize("name", ["Apple", "Egg", "X", "uncle", "xylophone", "Zoo"])
def test_a_class_is_named_with_its_article(key, name):
    """An Apple, a Zoo."""
    article = "an" if name[0] in "AEu" else "a"
    with pytest.raises(KeyDerivationError, match=f"'value' is {article} {name}, which is compared"):
        key(type(name, (), {})())


def test_variadic_arguments_are_refused_in_their_own_words():
    """There is no {kwargs.id}."""

    async def function(**kwargs): ...

    with pytest.raises(KeyDerivationError, match="'kwargs' contains a Plain that is compared by identity") as caught:
        ByHand(function, name="f")(session=Plain())
    assert ".id" not in str(caught.value)


def test_a_context_variables_value_is_refused_in_its_own_words():
    """What identifies it belongs into vary=."""

    async def function(): ...

    session = contextvars.ContextVar("session", default=Plain())  # noqa: B039  # as users do
    with pytest.raises(KeyDerivationError, match=r"variable 'session' is a Plain, which .* into vary= what"):
        ByHand(function, vary=(session,))()


def test_the_parameters_own_default_is_allowed():
    """There is one of it, even where it could not be hashed."""
    sentinel, odd = Plain(), [Plain()]

    async def function(x=sentinel, y=odd): ...

    key = ByHand(function, name="f")
    assert key() == key(sentinel) == key(y=odd) != key(1)
    assert key.shallow()[:3] == key()[:3]
    assert hash(key())
    assert key.text() == f"f(x=<Plain {id(sentinel):#x}>, y=<default>)"
    with pytest.raises(KeyDerivationError):
        key(Plain())
    with pytest.raises(KeyDerivationError):
        key(y=[Plain()])


def test_a_default_that_cannot_be_hashed_is_allowed():
    """It is in the key by its presence."""
    default = NoHash()

    async def function(x=default): ...

    key = ByHand(function, name="f")
    assert hash(key()) == hash(key(default))
    assert key.text() == "f(x=<default>)"
    with pytest.raises(KeyDerivationError, match="'x' is a NoHash, which cannot be hashed"):
        key(NoHash())


def test_what_cannot_be_hashed_is_refused(key):
    """A missing or failing __hash__, a view, a signalling NaN."""
    for value in (
        NoHash(),
        BadHash(),
        {}.keys(),
        decimal.Decimal("sNaN"),
        types.SimpleNamespace(),
        memoryview(bytearray()),
    ):
        with pytest.raises(KeyDerivationError, match="cannot be hashed"):
            key(value)
        with pytest.raises(KeyDerivationError, match=r"contains an? .* that cannot be hashed"):
            key([value])
    with pytest.raises(KeyDerivationError) as caught:
        key(BadHash())
    assert isinstance(caught.value.__cause__, ValueError)


def test_nothing_is_an_atom_whose_hash_can_fail():
    """ATOMS are never looked at again."""
    assert {str, int, float, bool, type(None), bytes} <= ATOMS
    assert not {list, tuple, dict, set, frozenset, datetime, decimal.Decimal, object} & ATOMS


# --- size and memory


@pytest.mark.parametrize(
    "make",
    [
        lambda one: [one] * 5000,
        lambda one: ["x" * 5000, one],
        lambda one: dict.fromkeys(range(2000), one),
        lambda one: {("x" * 3000, one)},
        lambda one: OrderedDict((number, one) for number in range(2000)),
        lambda one: Point([one] * 5000),
        lambda one: bytearray([1, one]) * 3000,
        lambda one: [[one] * 50] * 50,
        lambda one: [""] * 2000 + [one],
    ],
    ids=["list", "characters", "dict", "set", "OrderedDict", "record", "bytearray", "nested", "empty strings"],
)
def test_an_oversized_argument_is_kept_as_a_digest(key, make):
    """128 bits stand for it, in the key and in its text."""
    big = key(make(1))
    assert big == key(make(1)) != key(make(2))
    assert len(key.text(make(1))) < 200
    assert key.recipe.text(key(make(1))) != key.recipe.text(key(make(2)))
    slot, (_, digest) = big[1:]
    assert repr(slot) == "<DIGEST>"
    assert len(digest) == 16


WEIGHING = {
    "numbers": lambda weight: [0] * (weight - 1),
    "empty strings": lambda weight: [""] * (weight - 1),
    "characters": lambda weight: ["x" * (weight - 1)],
    "bytes": lambda weight: (b"x" * (weight - 1),),
    "datetimes": lambda weight: [datetime(2024, 6, 1)] * (weight - 1),  # noqa: DTZ001  # naive on purpose
    "empty containers": lambda weight: [[]] * (weight - 1),
    "a set": lambda weight: {"x" * (weight - 1)},
    "a dict's key": lambda weight: {"x" * (weight - 2): 0},
    "a dict's value": lambda weight: {0: "x" * (weight - 2)},
    "an OrderedDict's key": lambda weight: OrderedDict({"x" * (weight - 3): 0}),
    "an OrderedDict's value": lambda weight: OrderedDict({0: "x" * (weight - 3)}),
    "a field": lambda weight: Point(0, "x" * (weight - 2)),
    "a bytearray": bytearray,
}


@pytest.mark.parametrize("make", WEIGHING.values(), ids=WEIGHING)
def test_an_argument_is_oversized_from_a_certain_weight_on(key, make):
    """Every part and every character is one, a container itself one, an empty string as much as a character."""
    assert key(make(MAX_WEIGHT))[1] is not DIGEST
    assert key(make(MAX_WEIGHT + 1))[1] is DIGEST


def test_what_is_not_canonical_is_kept_whole(key):
    """A digest of an address would outlive its object."""
    big = [ById(1)] * 5000
    assert key(big) == key([ById(1)] * 5000) != key([ById(1)] * 5001)

    class Local(enum.Enum):
        A = 1

    assert repr(key([Local.A] * 5000)[1]) == "<SEQUENCE>"


def test_a_key_holds_no_record(key):
    """Records are taken apart, not kept."""
    point = Point(1)
    alive = weakref.ref(point)
    made = key(point)
    del point
    gc.collect()
    assert alive() is None
    assert made == key(Point(1))


def test_classes_made_at_run_time_do_not_pile_up():
    """A freezer forgets when it knows too many classes."""
    freezer, known = Freezer(), []
    for _ in range(2 * MAX_CLASSES):
        freezer.freeze(dataclasses.make_dataclass("Made", ["x"])(1))
        known.append(len(freezer._ways))
    assert max(known) == MAX_CLASSES


def test_shapes_say_their_names():
    """A deep key can be read in a debugger."""
    shapes = {name: one for name, one in vars(freezing).items() if isinstance(one, Shape)}
    assert {name: repr(one) for name, one in shapes.items()} == {name: f"<{name}>" for name in shapes}
    assert repr(Freezer().freeze([1])) == "(<SEQUENCE>, (<class 'list'>, (<class 'int'>,), (1,)))"
