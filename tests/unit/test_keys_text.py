"""How keys read: canonical texts, quoting, digests, and that looking at a key never fails."""

from __future__ import annotations

import contextvars
import dataclasses
import enum
import itertools
import re
import string
import uuid
from collections import OrderedDict, defaultdict, deque
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from unittest import mock

import pydantic
import pytest

from coalesce_kit.protocols import MAX_TEXT
from tests.keys_by_hand import ByHand, key_maker


class Color(enum.Enum):
    RED = 1


class Perm(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass
class Point:
    x: object
    y: int = 0


class Items(list):
    pass


class Outer:
    """Holds others."""

    @dataclasses.dataclass
    class Inner:
        """A record."""

        x: int

    class Color(enum.Enum):
        """An enum."""

        RED = 1


class Sport(enum.Enum):
    """Has a member for every value: those that it does not declare have one name."""

    NFL = "nfl"
    OTHER = "other"

    @classmethod
    def _missing_(cls, value):
        member = object.__new__(cls)
        member._name_, member._value_ = "OTHER", value
        return member


Barred = enum.Flag("Barred", {"A|B": 1, "C": 2, "A": 4, "B": 8, "B|C": 16})
Perm3 = enum.Flag("Perm3", {"READ": 1, "WRITE": 2}, boundary=enum.KEEP)
Bracketed = enum.Enum("Bracketed", {"A": 1, "B": 2, f"A>, <{__name__}.Bracketed.B": 3})


class Open(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")


class Service:
    async def odds(self, league): ...


async def fixtures(sport, live=True, limit=5):
    """An origin."""


async def one(value):
    """An origin of one argument."""


HERE = __name__


def test_the_default_key_reads_like_a_call():
    """module.qualname(sport='nfl', live=True, limit=5)."""
    assert ByHand(fixtures).text("nfl") == f"{HERE}.fixtures(sport='nfl', live=True, limit=5)"


def test_a_sequence_of_names_reads_like_a_call():
    """Parts are called as they were written."""
    key = ByHand(one, key=("value.x",), name="f")
    assert key.text(Point(3)) == "f(value.x=3)"


def test_a_template_is_filled():
    """Plain strings go bare, what could be read as another type in quotes."""
    key = ByHand(fixtures, key="fixtures:{sport}:{live}:{limit}")
    assert key.text("nfl") == "fixtures:nfl:True:5"
    assert key.text("nfl", "True", "5") == "fixtures:nfl:'True':'5'"


def test_a_key_function_reads_like_a_call():
    """Its answer is called key."""
    assert ByHand(fixtures, key=lambda sport, live, limit: (sport, limit), name="f").text("nfl") == "f(key=('nfl', 5))"


def test_an_instance_shows_class_and_address():
    """<Service 0x7f...>, before a template that does not name it."""
    service = Service()
    shown = f"<Service {id(service):#x}>"
    assert ByHand(Service.odds, name="f").text(service, "nba") == f"f(self={shown}, league='nba')"
    assert ByHand(Service.odds, key="odds:{league}").text(service, "nba") == f"{shown}:odds:nba"
    assert ByHand(Service.odds, key="odds:{self}:{league}").text(service, "nba") == f"odds:{shown}:nba"


def test_context_variables_stand_at_the_end():
    """A template gets them in brackets, a call like arguments."""
    locale = contextvars.ContextVar("locale", default="en")
    tenant = contextvars.ContextVar("tenant", default=7)
    assert ByHand(one, vary=(locale,), name="f").text(1) == "f(value=1, locale='en')"
    key = ByHand(one, key="x:{value}", vary=(tenant, locale))
    assert key.text("nfl") == "x:nfl[tenant=7, locale='en']"
    assert key.text("a[b") == "x:'a[b'[tenant=7, locale='en']"
    assert key.text([1]) == "x:([1])[tenant=7, locale='en']"


TEXTS = [
    ("nfl", "nfl"),
    ("49ers", "49ers"),
    ("new york", "new york"),
    ("user@example.org", "user@example.org"),
    ("naïve", "naïve"),
    ("5", "'5'"),
    ("-5", "'-5'"),
    ("1.5", "'1.5'"),
    ("1e5", "'1e5'"),
    ("nan", "'nan'"),
    ("inf", "'inf'"),
    ("-inf", "'-inf'"),
    ("True", "'True'"),
    ("False", "'False'"),
    ("None", "'None'"),
    ("2024-06-01", "'2024-06-01'"),
    ("", "''"),
    (" nfl", "' nfl'"),
    ("a:b", "'a:b'"),
    ("it's", '"it\'s"'),
    ("a\nb", "'a\\nb'"),
    ("\ud800", "'\\ud800'"),
    ("(5)", "'(5)'"),
    ("[1]", "'[1]'"),
    ("{x}", "'{x}'"),
    ("<x>", "'<x>'"),
    ("a\\b", "'a\\\\b'"),
    (5, "5"),
    (-5, "-5"),
    (True, "True"),
    (None, "None"),
    (1.0, "1.0"),
    (-0.0, "0.0"),
    (float("inf"), "inf"),
    (float("-inf"), "-inf"),
    (float("nan"), "nan"),
    (b"x", "b'x'"),
    (bytearray(b"x"), "bytearray(b'x')"),
    (Color.RED, f"<{HERE}.Color.RED>"),
    (Perm.READ | Perm.WRITE, f"<{HERE}.Perm.READ|WRITE>"),
    (Perm(0), f"<{HERE}.Perm 0>"),
    (Perm3(5), f"<{HERE}.Perm3 5>"),
    (Sport("darts"), f"<{HERE}.Sport 'darts'>"),
    (Barred(3), f"<{HERE}.Barred 3>"),
    (Barred(1), f"<{HERE}.Barred.'A|B'>"),
    (uuid.UUID(int=5), "UUID('00000000-0000-0000-0000-000000000005')"),
    (date(2024, 6, 1), "2024-06-01"),
    (datetime(2024, 6, 1), "(2024-06-01T00:00:00)"),  # noqa: DTZ001  # naive on purpose
    (datetime(2024, 6, 1, 2, tzinfo=timezone(timedelta(hours=2))), "(2024-06-01T00:00:00Z)"),
    (datetime(2024, 6, 1, tzinfo=UTC), "(2024-06-01T00:00:00Z)"),
    (timedelta(days=1, seconds=5), "timedelta(days=1, seconds=5)"),
    (Decimal("1.50"), "Decimal('1.5')"),
    (Decimal("-0.05"), "Decimal('-5E-2')"),
    (Decimal("0.5"), "Decimal('5E-1')"),
    (Decimal("12.5"), "Decimal('12.5')"),
    (Decimal("-12.5"), "Decimal('-12.5')"),
    (Decimal("1E3"), "Decimal('1000')"),
    (Decimal("-1E3"), "Decimal('-1000')"),
    (Decimal("1E5"), "Decimal('100000')"),
    (Decimal("1E6"), "Decimal('1E6')"),
    (Decimal("1E+9"), "Decimal('1E9')"),
    (Decimal("-0.00"), "Decimal('0')"),
    (Decimal("Infinity"), "Decimal('Infinity')"),
    (Decimal("NaN"), "Decimal('NaN')"),
    ([1, "a", [None]], "[1, 'a', [None]]"),
    ((), "()"),
    ((1,), "(1,)"),
    ((1, 2), "(1, 2)"),
    ({3, 1, 2}, "{1, 2, 3}"),
    (set(), "set()"),
    (frozenset(), "frozenset()"),
    (frozenset({1}), "frozenset({1})"),
    ({}, "{}"),
    ({"b": 1, "a": [2]}, "({'a': [2], 'b': 1})"),
    (OrderedDict(b=1), "(collections.OrderedDict({'b': 1}))"),
    (defaultdict(list, b=1), "(collections.defaultdict({'b': 1}))"),
    (deque([1]), "collections.deque([1])"),
    (Items([1]), f"{HERE}.Items(*[1])"),
    (Point(1), f"{HERE}.Point(x=1, y=0)"),
    (Open(**{"a b": 1, "c": 2}), f"{HERE}.Open('a b'=1, c=2)"),
    (Outer.Inner(1), f"{HERE}.Outer.Inner(x=1)"),
    (Outer.Color.RED, f"<{HERE}.Outer.Color.RED>"),
    ((1 << 2000) - 1, str((1 << 2000) - 1)),
    (1 << 2000, f"int({1 << 2000:#x})"),
]


@pytest.mark.parametrize(("value", "text"), TEXTS, ids=map(str, range(len(TEXTS))))
def test_canonical_parts(value, text):
    """Each value has one text, its own."""
    assert ByHand(one, key="k:{value}:").text(value) == f"k:{text}:"


def test_decimals_have_one_text_exactly_when_they_are_one_number():
    """However many zeros are written, and on which side of the point."""
    texts: dict[Decimal, set[str]] = {}
    for sign, number, exponent in itertools.product((0, 1), (0, 1, 5, 10, 12, 100, 102), range(-9, 10)):
        value = Decimal((sign, tuple(map(int, str(number))), exponent))
        texts.setdefault(value, set()).add(key_maker(key="{value}").text(value))
    assert {len(written) for written in texts.values()} == {1}
    assert len(set.union(*texts.values())) == len(texts)


@pytest.mark.parametrize(
    "values",
    [
        [Sport("curling"), Sport("darts"), Sport("nfl"), Sport("other"), Sport(1), Sport("1")],
        [Barred(number) for number in range(32)],
        [Perm3(number) for number in range(16)],
        [[Bracketed(1), Bracketed(2)], [Bracketed(3)]],
    ],
    ids=["made when asked for", "flags with bars in their names", "flags that keep what they do not know", "brackets"],
)
def test_no_two_members_of_an_enum_are_written_alike(values):
    """Whatever their names are, and if they have the same one."""
    key = key_maker()
    assert len({key(value) for value in values}) == len({key.text(value) for value in values}) == len(values)


def test_a_member_made_for_a_value_without_a_text_shows_its_address():
    """A digest of it would outlive it, so that it is kept whole in an oversized argument."""
    key, member = key_maker(), Sport((1, 2))
    assert key.text(member) == f"f(value=<Sport {id(member):#x}>)"
    assert key.text([member] * 2000).startswith(f"f(value=[<Sport {id(member):#x}>, ")


def test_what_contains_a_separator_is_set_apart():
    """A string is quoted, another value stands in parentheses."""

    async def two(a, b): ...

    key = ByHand(two, key="{a}-{b}")
    assert key.text("a-b", "c") == "'a-b'-c"
    assert key.text("a", "b-c") == "a-'b-c'"
    assert key.text(-5, date(2024, 6, 1)) == "(-5)-(2024-06-01)"
    assert ByHand(two, key="{a}x{b}").text("fox", "bar") == "'fox'xbar"


@pytest.mark.parametrize("template", ["{a}xy{b}", "{a}x{b}", "{a}:x{b}", "{a}xx{b}"])
def test_where_a_part_ends_is_seen_whatever_follows_it(template):
    """Moving the literal into one of the parts makes another text."""

    async def two(a, b): ...

    key, between = ByHand(two, key=template), template[3:-3]
    assert key.text("a", f"b{between}c") != key.text(f"a{between}b", "c")


@pytest.mark.parametrize("options", [{}, {"vary": (contextvars.ContextVar("tenant", default=7),)}])
def test_every_letter_and_digit_can_stand_bare(options):
    """Where no letter separates anything, none is put in quotes."""
    letters = string.ascii_letters + string.digits
    assert key_maker(key="k:{value}", **options).text(letters).removesuffix("[tenant=7]") == f"k:{letters}"


def test_punctuation_anywhere_separates_letters_only_next_to_a_part():
    """There is an f in fixtures and in nfl, and nobody takes one for the other."""
    assert ByHand(one, key="user:{value}:profile").text("bob") == "user:bob:profile"
    assert ByHand(one, key="fixtures/{value}").text("nfl") == "fixtures/nfl"
    assert ByHand(one, key="fixtures/{value}").text("a/b") == "fixtures/'a/b'"


def test_a_hidden_part_shows_as_a_digest():
    """!h: equal values have equal digests, and the value is nowhere."""

    async def function(token, page): ...

    key = ByHand(function, key="p:{token!h}:{page}")
    text = key.text("s3cret", 1)
    assert re.fullmatch(r"p:#[0-9a-f]{32}:1", text)
    assert text == key.text("s3cret", 1) != key.text("other", 1)
    assert key.text("5", 1) != key.text(5, 1)
    assert re.fullmatch(
        r"f\(token=#[0-9a-f]{32}\)", ByHand(function, key=("token!h",), ignore=("page",), name="f").text([1], 1)
    )


def test_a_name_with_half_a_character_can_be_digested():
    """Any string can be the name of a class."""
    half = dataclasses.make_dataclass("Half", ["x"])
    half.__qualname__ = "Half\ud800"
    key = key_maker(key="{value!h}")
    assert re.fullmatch("#[0-9a-f]{32}", key.text(half(1)))
    assert key.text(half(1)) == key.text(half(1)) != key.text(half(2))


def test_an_oversized_argument_shows_its_class():
    """<list 0123...>."""
    assert re.fullmatch(r"f\(value=<list [0-9a-f]{32}>\)", key_maker().text([1] * 5000))
    assert re.fullmatch(rf"f\(value=<{HERE}.Point [0-9a-f]{{32}}>\)", key_maker().text(Point([1] * 5000)))


def test_other_types_show_class_and_address():
    """Nobody knows how they would like to be written."""
    other = complex(1, 2)
    assert key_maker().text(other) == f"f(value=<complex {id(other):#x}>)"
    assert key_maker().text([other]) == f"f(value=[<complex {id(other):#x}>])"
    assert key_maker().text(Service) == f"f(value=<type {id(Service):#x}>)"


def test_a_value_that_pretends_to_be_of_another_class_shows_its_own():
    """What says that it is an int has no text of an int."""
    liar = mock.Mock(spec=int)
    assert key_maker().text(liar) == f"f(value=<Mock {id(liar):#x}>)"


def test_a_class_that_cannot_be_found_by_its_name_shows_its_address():
    """Two classes of one name have two texts."""

    def make():
        @dataclasses.dataclass
        class Local:
            x: int

        return Local(1)

    assert re.search(r"make\.<locals>\.Local@0x[0-9a-f]+\(x=1\)", key_maker().text(make()))
    first, second = make(), make()
    key = key_maker()
    assert key.text(first) != key.text(second)


class Hostile:
    __hash__ = None

    def __repr__(self):
        raise RuntimeError("no")

    def __eq__(self, other):
        raise RuntimeError("no")


class HostileClass(type):
    @property
    def __name__(cls):
        raise RuntimeError("no")


class NamelessClass(type):
    @property
    def __name__(cls):
        raise AttributeError("no")


class HostileHash:
    def __hash__(self):
        raise RuntimeError("no")


def test_looking_at_a_key_never_fails():
    """Also that of a call which will be refused, and whatever its values do."""
    key = key_maker()
    for value in (Hostile(), [Hostile()], HostileHash(), object(), [object()]):
        text = key.recipe.text(key.shallow(value))
        assert text == f"f(value=<{type(value).__name__} {id(value):#x}>)"
    assert key.recipe.text(key.shallow(HostileClass("X", (), {})())) == "f(<unprintable>)"
    nameless = NamelessClass("X", (), {})()
    assert key.recipe.text(key.shallow(nameless)) == f"f(value=<object {id(nameless):#x}>)"
    loop: list = []
    loop.append(loop)
    assert key.recipe.text(key.shallow(loop)).startswith("f(value=<list ")


def test_what_is_no_key_of_the_function_shows_as_it_is():
    """A coalescer may be shared with keys of others."""
    recipe = key_maker().recipe
    assert recipe.text("x") == "x"
    assert recipe.text((recipe,)) == "(<KeyRecipe of f>,)"
    assert recipe.text((key_maker().recipe, int, 1)) == "(<KeyRecipe of f>, <class 'int'>, 1)"


def test_a_message_shows_at_most_200_characters():
    """The text itself is whole."""
    key = key_maker()
    made = key("x" * 500)
    assert len(key.recipe.text(made)) > 500
    assert len(key.recipe.describe(made)) == 200
    assert key.recipe.describe(made).endswith("…")
    assert key.recipe.describe(key(1)) == "f(value=1)"


def test_a_text_of_200_characters_is_shown_whole():
    """Only what is longer is cut."""
    key = key_maker()
    room = MAX_TEXT - len(key.text(""))
    fits, one_more = key("x" * room), key("x" * (room + 1))
    assert key.recipe.describe(fits) == key.recipe.text(fits)
    assert key.recipe.describe(one_more) == key.recipe.text(one_more)[: MAX_TEXT - 1] + "…"
