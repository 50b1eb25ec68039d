"""What holds for the keys and texts of all canonical arguments."""

from __future__ import annotations

import dataclasses
import enum
import zoneinfo
from collections import OrderedDict
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import assume, given, settings, strategies as st

from tests.keys_by_hand import ByHand


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Level(enum.IntEnum):
    LOW = 1


class Perm(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass(frozen=True)
class Point:
    x: object
    y: object = dataclasses.field(default=0, compare=False)


class Struct(msgspec.Struct):
    x: object


NEW_YORK, TOKYO = map(zoneinfo.ZoneInfo, ("America/New_York", "Asia/Tokyo"))
ZONES = [None, UTC, timezone(timedelta(hours=2)), NEW_YORK, TOKYO]

# Few characters, so that what a text is written with meets what a string holds.
strings = st.text(alphabet="ab1:'\"\\-, .[(<{=T", max_size=4) | st.sampled_from(
    [
        "True",
        "None",
        "1",
        "1.0",
        "nan",
        "-inf",
        "2024-11-03",
        "Color.RED",
        "(1,)",
        "b'a'",
        "nfl",
        "",
        "a b",
        "[]",
        "1e5",
    ]
)
decimals = st.decimals(allow_nan=False, allow_infinity=False, min_value=-20, max_value=20, places=2)
datetimes = st.builds(
    lambda day, hour, minute, zone, fold: datetime(2024, 11, day, hour, minute, tzinfo=zone, fold=fold),
    st.integers(2, 3),
    st.integers(0, 3),
    st.sampled_from([0, 30]),
    st.sampled_from(ZONES),
    st.integers(0, 1),
)
atoms = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2) | st.integers(),
    st.floats(allow_nan=False) | st.sampled_from([0.0, -0.0, 1.0, 1e16]),
    strings,
    st.binary(max_size=2),
    st.sampled_from([Color.RED, Color.BLUE, Level.LOW, Perm(0), Perm.READ, Perm(3)]),
    st.uuids(),
    decimals,
    datetimes,
    st.dates(),
    st.timedeltas(),
)
hashables = st.recursive(atoms, lambda inner: st.lists(inner, max_size=2).map(tuple) | inner.map(Point), max_leaves=3)
values = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.sets(hashables, max_size=3),
        st.frozensets(hashables, max_size=3),
        st.dictionaries(hashables, inner, max_size=3),
        st.dictionaries(hashables, inner, max_size=3).map(OrderedDict),
        st.builds(Point, inner, inner),
        st.builds(Struct, inner),
    ),
    max_leaves=6,
)


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal with their types: what a key must say, said in another way."""
    if type(a) is not type(b):
        return False
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, set | frozenset):
        return len(a) == len(b) and all(any(same(one, other) for other in b) for one in a)
    if isinstance(a, OrderedDict):
        return same(list(a.items()), list(b.items()))
    if isinstance(a, dict):
        return same(frozenset(map(Item, a.items())), frozenset(map(Item, b.items())))
    if isinstance(a, Item):
        return same(a.pair, b.pair)
    if isinstance(a, Point):
        return same((a.x, a.y), (b.x, b.y))
    if isinstance(a, Struct):
        return same(a.x, b.x)
    if isinstance(a, datetime) and a.tzinfo is not None and b.tzinfo is not None:
        return a.astimezone(UTC) == b.astimezone(UTC)
    return bool(a == b)


class Item:
    """A hashable box for an item of a dict."""

    def __init__(self, pair: tuple[Any, Any]) -> None:
        self.pair = pair


def respelt(value: Any) -> Any:
    """Return what is the same value, made in another way."""
    if isinstance(value, Decimal):
        return Decimal(f"{value}0" if "." in str(value) else f"{value}.0")
    if isinstance(value, float) and value == 0:
        return -value
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(timezone(timedelta(hours=-7)))
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(list(map(respelt, reversed(list(value))))[::-1])
    if type(value) is dict:
        return dict(reversed([(respelt(key), respelt(one)) for key, one in value.items()]))
    if isinstance(value, Point):
        return Point(respelt(value.x), respelt(value.y))
    return value


@st.composite
def pairs_of_values(draw: st.DrawFn) -> tuple[Any, Any]:
    """Two values, often two spellings of one."""
    value = draw(values)
    return value, draw(st.one_of(values, st.just(value).map(respelt)))


@st.composite
def templates(draw: st.DrawFn) -> str:
    """A template of two parameters."""
    literals = st.text(alphabet="x:-1'[(<\\ .aT", max_size=2).map(lambda text: text.replace("{", "{{"))
    between = draw(literals.filter(bool))
    return f"{draw(literals)}{{a}}{between}{{b}}{draw(literals)}"


async def function(a, b):
    """An origin."""


@settings(max_examples=200, deadline=None)
@given(pairs_of_values())
def test_keys_are_equal_exactly_when_values_and_types_are(pair):
    """Deeply: a key says neither more nor less than the arguments."""
    key = ByHand(function)
    one, other = pair
    assert (key(one, 0) == key(other, 0)) is same(one, other)
    if same(one, other):
        assert hash(key(one, 0)) == hash(key(other, 0))


@settings(max_examples=300, deadline=None)
@given(templates(), pairs_of_values(), pairs_of_values())
def test_texts_are_equal_exactly_when_keys_are(template, first, second):
    """For every template: what differs in process differs in the store, and what is equal is equal."""
    key = ByHand(function, key=template)
    one, other = (first[0], second[0]), (first[1], second[1])
    assert (key.text(*one) == key.text(*other)) is (key(*one) == key(*other))


@settings(max_examples=500, deadline=None)
@given(templates(), strings, strings, strings, strings)
def test_no_two_strings_are_written_alike(template, a, b, c, d):
    """Whatever they hold of what texts are written with."""
    key = ByHand(function, key=template)
    assert (key.text(a, b) == key.text(c, d)) is ((a, b) == (c, d))


@settings(max_examples=200, deadline=None)
@given(pairs_of_values(), pairs_of_values())
def test_default_texts_are_equal_exactly_when_keys_are(first, second):
    """Also without a template."""
    key = ByHand(function)
    one, other = (first[0], second[0]), (first[1], second[1])
    assert (key.text(*one) == key.text(*other)) is (key(*one) == key(*other))


@settings(max_examples=200, deadline=None)
@given(values)
def test_a_string_never_reads_like_another_value(value):
    """The text of anything else, given as a string, has another text."""
    assume(not isinstance(value, str))
    key = ByHand(function, key="{a}:{b}")
    shown = key.text(value, "x").removesuffix(":x")
    assert key.text(shown, "x") != key.text(value, "x")


@settings(max_examples=200, deadline=None)
@given(values)
def test_a_shallow_key_equals_a_deep_one_only_if_it_is_one(value):
    """What is found under a shallow key was kept for the same argument."""
    key = ByHand(function)
    shallow, deep = key.shallow(value, 0), key(value, 0)
    plain = type(value) not in (list, tuple, set, frozenset, dict, OrderedDict, Point, Struct)
    if not plain:
        assert shallow != deep
    elif shallow == deep:
        assert key.recipe.deepen(shallow) == deep


@settings(max_examples=20, deadline=None)
@given(values, st.integers(min_value=1100, max_value=1102))
def test_oversized_arguments_keep_their_differences(value, times):
    """A digest says what it stands for."""
    key = ByHand(function)
    one, other = [value] * times, [value] * (times + 1)
    assert len(key.text(one, 0)) < 200
    assert key(one, 0) == key(list(one), 0) != key(other, 0)
    assert key.text(one, 0) != key.text(other, 0)
