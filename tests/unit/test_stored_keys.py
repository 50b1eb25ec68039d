"""The text and the key under which a result stands in a shared store."""

from __future__ import annotations

import contextvars
import dataclasses
import enum
import hashlib
from collections import OrderedDict
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pydantic
import pytest

from coalesce_kit.backends.record_key import record_key, record_prefix
from coalesce_kit.errors import ConfigurationError, KeyDerivationError
from coalesce_kit.keys import compile_key
from tests.keys_by_hand import ByHand, key_maker
from tests.results import Level, Model, Perm, Sport, Struct


def stored(key, *args, digest_key=None):
    """The stored text of a call: that of the shallow and that of the deep key are one."""
    shallow = key.shallow(*args)
    text = key.recipe.stored_text(shallow, digest_key=digest_key)
    assert key.recipe.stored_text(key(*args), digest_key=digest_key) == text
    return text


@dataclasses.dataclass
class Query:
    name: str
    page: int = 1


class Outer:
    """Holds others."""

    class Color(enum.Enum):
        """An enum."""

        RED = 1

    @dataclasses.dataclass
    class Inner:
        """A record."""

        x: int


class Open(enum.Enum):
    """Has a member for every value: those that it does not declare have one name."""

    OTHER = "other"

    @classmethod
    def _missing_(cls, value):
        member = object.__new__(cls)
        member._name_, member._value_ = "OTHER", value
        return member


AWARE = datetime(2024, 1, 1, tzinfo=UTC)
NAIVE = AWARE.replace(tzinfo=None)
EARLY = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=2)))
VALUE = key_maker(key="x:{value}")

TEXTS = [
    ("nfl", "x:nfl"),
    ("a:b", "x:'a:b'"),
    (5, "x:5"),
    (True, "x:True"),
    (None, "x:None"),
    (-0.0, "x:0.0"),
    (b"\xff", "x:b'\\xff'"),
    (Decimal("1.00"), "x:Decimal('1')"),
    (UUID(int=1), "x:UUID('00000000-0000-0000-0000-000000000001')"),
    (datetime(2024, 7, 1, 12, tzinfo=timezone(timedelta(hours=2))), "x:(2024-07-01T10:00:00Z)"),
    (date(2024, 7, 1), "x:2024-07-01"),
    (timedelta(seconds=1), "x:timedelta(seconds=1)"),
    (Sport.NFL, "x:<tests.results.Sport.NFL>"),
    (Level.LOW, "x:<tests.results.Level.LOW>"),
    (Perm.READ, "x:<tests.results.Perm.READ>"),
    ([1, "a"], "x:[1, 'a']"),
    ({"b": 1, "a": (2,)}, "x:({'a': (2,), 'b': 1})"),
    ({2, 1}, "x:{1, 2}"),
    (OrderedDict(a=1), "x:(collections.OrderedDict({'a': 1}))"),
    (Query("nfl"), "x:tests.unit.test_stored_keys.Query(name='nfl', page=1)"),
    (Struct("a"), "x:tests.results.Struct(home_team='a', tags=set())"),
    (Open.OTHER, "x:<tests.unit.test_stored_keys.Open.OTHER>"),
    (Open("darts"), "x:<tests.unit.test_stored_keys.Open 'darts'>"),
    (Outer.Color.RED, "x:<tests.unit.test_stored_keys.Outer.Color.RED>"),
    (Outer.Inner(1), "x:tests.unit.test_stored_keys.Outer.Inner(x=1)"),
]


@pytest.mark.parametrize(("value", "text"), TEXTS, ids=[text for _, text in TEXTS])
def test_canonical_arguments_have_a_text(value, text):
    """The one that people see, without the name where there is no template."""
    assert stored(VALUE, value) == text


def test_without_a_template_the_name_is_left_out():
    """It stands before it, in the record's key."""
    assert stored(key_maker(), 1) == "(value=1)"


def test_models_have_a_text():
    """By their fields."""
    model = Model(id=UUID(int=1), at=AWARE)
    assert stored(VALUE, model).startswith("x:(tests.results.Model(id=UUID(")


class Tenant:
    """Comparable and hashable, and without a text."""

    def __eq__(self, other):
        return isinstance(other, Tenant)

    def __hash__(self):
        return 1


class Name(str):
    __slots__ = ()


def local_class():
    class Local(enum.Enum):
        X = 1

    return Local.X


def local_record():
    @dataclasses.dataclass
    class Local:
        x: int

    return Local(1)


REFUSED = [
    (Tenant(), r"'value' is a Tenant, which has no text .*in \{value\.id\}.*str, int, float"),
    ([Tenant()], r"'value' contains a Tenant that has no text"),
    ({"a": {1: (Tenant(),)}}, "contains a Tenant"),
    (Query(Tenant()), "contains a Tenant"),
    (Name("a"), "is a Name"),
    (complex(1), "is a complex"),
    (print, "builtin_function_or_method"),
    (int, "is a type"),
    (range(3), "is a range"),
    (float("nan"), "is a float, which is NaN"),
    ([float("nan")], "contains a float that is NaN"),
    (Decimal("nan"), "is a Decimal, which is NaN"),
    (local_class(), "cannot be found as .*Local"),
    (Open((1, 2)), "is an Open, which has no text"),
    ([Open((1, 2))], "contains an Open that has no text"),
    (local_record(), "is a Local, which cannot be found as .*Local"),
    ([local_class()], "contains a Local that cannot be found"),
    ([local_record()], "contains a Local that cannot be found"),
    ([NAIVE, AWARE], "contains a datetime that has a time zone while another of the same key has none"),
    ([AWARE, NAIVE], "contains a datetime that has no time zone while another of the same key has one"),
    ({AWARE: NAIVE}, "datetime that has"),
    ([EARLY, NAIVE], "contains a datetime that has no time zone"),
    ([NAIVE, EARLY], "contains a datetime that has a time zone"),
    *(
        (make(Tenant()), "'value' contains a Tenant that has no text")
        for make in (
            lambda one: (one,),
            lambda one: {one},
            lambda one: {one: 1},
            lambda one: {1: one},
            lambda one: OrderedDict({one: 1}),
            lambda one: OrderedDict({1: one}),
        )
    ),
]


@pytest.mark.parametrize(("value", "fault"), REFUSED, ids=range(len(REFUSED)))
def test_anything_else_is_refused(value, fault):
    """Naming the parameter, the type and the way out; in process it has a key all the same."""
    assert VALUE.text(value)
    with pytest.raises(KeyDerivationError, match=fault) as caught:
        stored(VALUE, value)
    assert str(caught.value).startswith("f: 'value' ")


def test_naive_and_aware_arguments_are_refused_together():
    """In one key: somebody forgot a zone."""

    async def between(a, b): ...

    key = ByHand(between)
    assert stored(key, NAIVE, NAIVE)
    assert stored(key, AWARE, AWARE)
    for one, other in ((NAIVE, AWARE), (AWARE, NAIVE)):
        with pytest.raises(KeyDerivationError, match="'b' is a datetime, which has"):
            stored(key, one, other)


def test_a_default_of_its_own_kind_is_canonical():
    """Every process has it in the same place; another object of its class is refused."""
    nothing = object()

    async def function(value=nothing): ...

    key = ByHand(function, name="f")
    assert stored(key) == "(value=<default>)"
    with pytest.raises(KeyDerivationError):
        key.recipe.stored_text((key.recipe, object, object()))


def test_an_instance_is_refused():
    """By its address nobody knows it."""

    class Service:
        async def odds(self, league): ...

    with pytest.raises(KeyDerivationError, match=r"'self' is in the key by its address.*\{self\.tenant\}.*ignore="):
        stored(ByHand(Service.odds, key="{league}"), Service(), "nba")


def test_an_address_in_a_repr_is_refused():
    """Another process has something else there: its caller would be given this one's answer."""

    class Plain:
        pass

    for conversion in "rs":
        key = key_maker(key=f"x:{{value!{conversion}}}")
        assert stored(key, 5) == "x:'5'"
        with pytest.raises(KeyDerivationError, match="an address in memory"):
            stored(key, Plain())
    assert stored(VALUE, "meet at 0x7f3cae4111d0") == "x:meet at 0x7f3cae4111d0"


HIDDEN = key_maker(key="user:{value!h}")


def test_a_hidden_part_is_a_digest_under_the_stores_key():
    """The same in every process, another for another key, function or part."""
    one = stored(HIDDEN, "secret", digest_key=b"k")
    assert one == stored(HIDDEN, "secret", digest_key=b"k")
    assert "secret" not in one
    assert one.startswith("user:#")
    assert len(one) == len("user:#") + 32
    others = {
        stored(HIDDEN, "secret", digest_key=b"l"),
        stored(HIDDEN, "secreT", digest_key=b"k"),
        stored(key_maker(key="user:{value!h}", name="g"), "secret", digest_key=b"k"),
        stored(HIDDEN, "secret", digest_key=b"k" * 65),
        stored(HIDDEN, "secret", digest_key=b"k" * 66),
        one,
    }
    assert len(others) == 6


@pytest.mark.parametrize("length", [1, 64, 65, 200])
def test_the_digest_of_a_hidden_part_can_be_made_elsewhere(length):
    """BLAKE2b under the store's key, which is itself digested where it has more than the 64 bytes that it may have."""
    secret = b"k" * length
    made = hashlib.blake2b(
        b"f\0value\0'secret'", digest_size=16, key=secret if length <= 64 else hashlib.blake2b(secret).digest()
    )
    assert stored(HIDDEN, "secret", digest_key=secret) == f"user:#{made.hexdigest()}"


def test_a_hidden_part_of_a_function_named_with_half_a_character():
    """Any string can be the name of a function."""
    one, other = (key_maker(key="user:{value!h}", name=name) for name in ("f\ud800", "f\udfff"))
    assert stored(one, "secret", digest_key=b"k") != stored(other, "secret", digest_key=b"k")


def test_a_hidden_part_needs_the_stores_key():
    """A digest without one is found by trying."""
    with pytest.raises(ConfigurationError, match="digest_key="):
        stored(HIDDEN, "secret")


def test_a_hidden_part_must_be_canonical():
    """A digest of an address would be another's tomorrow."""
    with pytest.raises(KeyDerivationError, match="Tenant"):
        stored(HIDDEN, Tenant(), digest_key=b"k")


def test_context_variables_join_the_text():
    """They must be canonical, too."""
    tenant = contextvars.ContextVar("tenant", default=1)
    key = key_maker(key="x:{value}", vary=(tenant,))
    assert stored(key, 1) == "x:1[tenant=1]"
    tenant.set(Tenant())
    with pytest.raises(KeyDerivationError, match="context variable 'tenant'"):
        stored(key, 1)


def test_an_oversized_argument_is_its_digest():
    """Of the same text in every process."""
    assert stored(VALUE, list(range(2000))) == "x:<list 35fab45abbfe3f3658c210758ce53c77>"
    with pytest.raises(KeyDerivationError, match="Tenant"):
        stored(VALUE, [Tenant()] * 2000)


def test_which_argument_is_oversized_is_the_same_for_all_who_share_a_store():
    """More than 1024 parts and characters; another limit would be another key."""
    assert stored(VALUE, ("x" * 1023,)) == f"x:('{'x' * 1023}',)"
    assert stored(VALUE, ("x" * 1024,)).startswith("x:<tuple ")


def test_a_record_key_has_five_parts():
    """Whatever they hold; nothing in them steers the slots of a cluster."""
    prefix = record_prefix("odds:eu", "app.f{x}", "0123456789abcdef")
    key = record_key(prefix, "x:{'a': 1}")
    assert key == "cc1:odds%3Aeu:app.f%7Bx%7D:0123456789abcdef:x%3A%7B'a'%3A 1%7D"
    assert key.count(":") == 4
    assert not set("{}") & set(key)
    assert record_key(prefix, "a%3A") != record_key(prefix, "a:")
    assert record_prefix("a", "b:c", "d") != record_prefix("a:b", "c", "d")


def test_a_key_function_is_canonical_by_what_it_returns():
    """Its answer is an argument like any other."""

    async def function(query): ...

    key = ByHand(function, key=lambda query: (query.name, query.page), name="f")
    assert stored(key, Query("nfl")) == "(key=('nfl', 1))"
    with pytest.raises(KeyDerivationError, match="what the key function returned contains a Tenant"):
        stored(key, Query(Tenant()))


def test_a_recipe_says_whether_it_holds_an_instance():
    """With a shared store that is refused at decoration."""

    class Service:
        tenant = 1

        async def odds(self, league): ...

    signature = ByHand(Service.odds).signature
    assert compile_key(Service.odds, signature).instance
    assert not compile_key(Service.odds, signature, ignore=("self",)).instance
    assert not compile_key(Service.odds, signature, key="{self.tenant}:{league}").instance


class Extra(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")


def test_undeclared_fields_of_a_model_count():
    """As in process."""
    assert stored(VALUE, Extra(a=1)) != stored(VALUE, Extra(a=2))


def test_a_default_that_has_no_text_is_written_by_its_presence():
    """There is one such object in each process, and it means the same."""

    class Odd:
        __hash__ = None

    default = Odd()

    async def function(value=default): ...

    key = ByHand(function, name="f", key="x:{value}")
    assert stored(key) == stored(key)
    with pytest.raises(KeyDerivationError):
        stored(key, Odd())
