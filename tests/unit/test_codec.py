"""Results to bytes and back: what comes back equal, what is refused, and when."""

from __future__ import annotations

import dataclasses
import math
import pickle
import sys
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import pydantic
import pytest

from coalesce_kit.backends.codec import CodecError, codec_for, codec_of
from coalesce_kit.entry import MISSING
from coalesce_kit.errors import ConfigurationError
from tests.results import FULL, MODEL, NOON, ROUND_TRIPS, Aliased, Cat, Fixture, Holder, Model, Nest, Page, Row, Sport


def of(annotation, **options):
    return codec_for(annotation, name="app.f", **options)


@pytest.mark.parametrize("case", ROUND_TRIPS)
def test_a_result_comes_back_as_it_was(case):
    """Equal, of the same class, and written by another codec of the same type."""
    annotation, value = ROUND_TRIPS[case]
    body = of(annotation).encode(value)
    back = of(annotation).decode(body)
    assert type(back) is type(value)
    assert back == value or (isinstance(value, float) and math.isnan(value) and math.isnan(back))


def test_an_offset_is_kept():
    """The same instant elsewhere on the globe is another answer to whoever prints it."""
    for annotation, value in ((datetime, FULL.at), (Model, FULL), (Holder, Holder(FULL))):
        back = of(annotation).decode(of(annotation).encode(value))
        assert repr(back).replace("TzInfo(7200)", "x").count("timezone.utc") == 0
        found = back if annotation is datetime else back.at if annotation is Model else back.model.at
        assert found.isoformat() == "2024-07-01T12:00:00+02:00"


def test_a_model_remembers_which_fields_were_given():
    """So that exclude_unset means the same in every process."""
    back = of(list[Model]).decode(of(list[Model]).encode([MODEL, FULL]))
    assert [one.model_fields_set for one in back] == [{"id", "at"}, {"id", "at", "seen"}]


class Stamped(pydantic.BaseModel):
    id: UUID = pydantic.Field(default_factory=lambda: UUID(int=next(_numbers)))
    tags: list[str] = []


_numbers = iter(range(1, 10_000))


def test_a_default_that_is_made_anew_is_kept():
    """A field that was not given is written all the same when its default would come out another."""
    made = Stamped()
    assert of(Stamped).decode(of(Stamped).encode(made)) == made


def test_a_default_that_was_changed_in_place_is_kept():
    """It counts as not given and is not the default."""
    made = Stamped(id=UUID(int=1))
    made.tags.append("x")
    assert of(Stamped).decode(of(Stamped).encode(made)).tags == ["x"]


def test_a_long_list_of_models_loses_no_default():
    """What was not looked at is written in full."""
    made = [Stamped() for _ in range(1000)]
    made[501].tags.append("x")
    assert of(list[Stamped]).decode(of(list[Stamped]).encode(made)) == made


@dataclasses.dataclass
class Special(Fixture):
    extra: int = 0


class Loud(str):
    __slots__ = ()


class Hashed(pydantic.BaseModel):
    secret: str

    @pydantic.field_validator("secret")
    @classmethod
    def scramble(cls, value: str) -> str:
        return value[::-1]


class Hiding(pydantic.BaseModel):
    shown: int
    hidden: int = pydantic.Field(default=0, exclude=True)


class WithPrivate(pydantic.BaseModel):
    x: int
    _memo: int = pydantic.PrivateAttr(default=0)


def with_private() -> WithPrivate:
    made = WithPrivate(x=1)
    made._memo = 5
    return made


class Secretive(pydantic.BaseModel):
    token: pydantic.SecretStr


UNLIKE = {
    "a tuple where nothing says so": (dict, {"a": (1, 2)}, r"in result\[…\], a tuple came back as a list"),
    "a set in a list of anything": (list, [1, {2}], r"in result\[1\], a set came back as a list"),
    "a date in a dict of anything": (dict[str, Any], {"at": NOON}, "a datetime came back as a str"),
    "another key": (dict, {UUID(int=1): 1}, r"in result \(a key\), a UUID came back as a str"),
    "a dict for a dataclass": (Fixture, {"home": "a", "away": "b"}, "^the result, a dict came back as a Fixture"),
    "a subclass": (list[Fixture], [Special("a", "b", extra=1)], r"in result\[0\], a Special came back as a Fixture"),
    "a key more": (Row, {"id": 1, "colour": "red"}, "another length"),
    "a subclass of str": (str, Loud("a"), "TypeError"),
    "an Enum's value": (Sport, "nfl", "a str came back as a Sport"),
    "a bool for an int": (list[int], [True], "ValidationError|bool"),
    "text for a number": (int, "5", "ValidationError"),
    "a number beyond MessagePack": (int, 2**64, "OverflowError"),
    "half a surrogate pair": (str, "\ud800", "UnicodeEncodeError"),
    "an object": (dict, {"a": object()}, "TypeError"),
    "a validator that is not idempotent": (Hashed, Hashed(secret="ab"), "a str came back as another"),
    "a field that is not written": (Hiding, Hiding(shown=1, hidden=2), r"in result.hidden, a int came back as another"),
    "private attributes": (WithPrivate, with_private(), "private attributes"),
    "a secret": (Secretive, Secretive(token="hush"), "TypeError"),
    "a model of another kind": (Model, Cat(lives=1), "Cat|Error"),
}


@pytest.mark.parametrize("case", UNLIKE)
def test_a_result_that_would_come_back_as_another_is_refused(case):
    """By whoever publishes; the text says where and of which types, and shows no value."""
    annotation, value, fault = UNLIKE[case]
    with pytest.raises(CodecError, match=fault) as caught:
        of(annotation).encode(value)
    assert "hush" not in str(caught.value)


def test_an_int_may_stand_for_a_float():
    """It comes back as the float that the annotation promises, and is equal."""
    assert of(list[float]).decode(of(list[float]).encode([1, 2.5])) == [1.0, 2.5]


def test_a_secret_is_never_written():
    """Not even where it could be read: pydantic writes asterisks, and those are another value."""
    with pytest.raises(CodecError):
        of(list[Secretive]).encode([Secretive(token="hush")])


T = TypeVar("T")


@pytest.mark.parametrize("annotation", [MISSING, Any, object, T])
def test_an_annotation_that_says_nothing_is_refused(annotation):
    """At decoration, with the way out."""
    with pytest.raises(ConfigurationError, match=r"^app\.f: .*annotate it.*codec="):
        of(annotation)


class Custom:
    pass


@pytest.mark.parametrize(
    ("annotation", "fault"),
    [
        (Custom, "test_codec.Custom"),
        (list[Custom], "test_codec.Custom"),
        (dict[str, tuple[int, Custom]], "test_codec.Custom"),
        (complex, "complex"),
        (Fixture | Special, "more than one dataclass"),
        (list["NoSuchName"], "NoSuchName"),  # noqa: F821
        (list[Model | Custom], "Custom"),
    ],
    ids=str,
)
def test_an_annotation_that_cannot_be_written_is_refused(annotation, fault):
    """At decoration: not when the first result is there."""
    with pytest.raises(ConfigurationError, match=fault) as caught:
        of(annotation)
    assert "codec=" in str(caught.value)


class Pickling:
    """What nobody should do; but it is theirs to choose."""

    def encode(self, value: Any) -> bytes:
        return pickle.dumps(value)

    def decode(self, body: bytes) -> Any:
        return pickle.loads(body)


def test_a_codec_of_ones_own_needs_no_annotation():
    """It answers for itself; what it raises is a CodecError all the same."""
    own = of(MISSING, codec=Pickling())
    assert own.decode(own.encode({1: (2,)})) == {1: (2,)}
    with pytest.raises(CodecError):
        own.encode(lambda: 1)
    with pytest.raises(CodecError):
        own.decode(b"nonsense")


def test_a_codec_of_ones_own_is_part_of_the_fingerprint():
    """Its bytes are not those of another."""
    plain, own = of(Fixture), of(Fixture, codec=Pickling())
    named = Pickling()
    named.fingerprint = "v2"
    assert (
        len(
            {plain.fingerprint, own.fingerprint, of(Fixture, codec=named).fingerprint, of(int, codec=named).fingerprint}
        )
        == 4
    )
    assert of(Any, codec=Pickling()).fingerprint == of(MISSING, codec=Pickling()).fingerprint


async def one() -> Fixture: ...


async def other() -> list[Fixture]: ...


async def unresolvable() -> NotAtRunTime: ...  # noqa: F821


class Unreadable:
    x: NotAtRunTime  # noqa: F821


def test_with_a_codec_of_ones_own_releases_are_told_apart_all_the_same():
    """By what the function is annotated to return, as far as that can be read."""
    own = Pickling()
    marks = [codec_of(each, name="f", codec=own).fingerprint for each in (one, other, unresolvable)]
    assert len(set(marks)) == 3
    assert marks[2] == of(MISSING, codec=own).fingerprint
    assert of(dataclasses.dataclass(Unreadable), codec=own).fingerprint == marks[2]


def test_without_one_the_annotation_decides():
    """And has to be there."""
    assert codec_of(one, name="f").fingerprint == of(Fixture).fingerprint
    with pytest.raises(ConfigurationError, match="NotAtRunTime"):
        codec_of(unresolvable, name="f")


def test_something_else_is_no_codec():
    """It must have both ways."""
    with pytest.raises(ConfigurationError, match="encode"):
        of(int, codec=object())


def test_without_msgspec_the_way_out_is_named(monkeypatch):
    """The core does not need it; a shared store does."""
    monkeypatch.setitem(sys.modules, "msgspec", None)
    with pytest.raises(ConfigurationError, match=r'pip install "coalesce-kit\[redis\]"'):
        of(int)
    assert of(int, codec=Pickling()).encode(1)


@pytest.mark.parametrize("annotation", [UUID, Fixture, list[Model], Page[Fixture], Nest, Aliased, Sport])
def test_bytes_that_are_no_result_are_refused(annotation):
    """With one kind of error, whatever they are."""
    decode = of(annotation).decode
    for body in (b"", b"\xc1", b"p", b"j{", b"p\xc1", b"\x93\x01\x02", b'{"a": 1}', b"\xff" * 100, b"x" + b"\x00"):
        with pytest.raises(CodecError):
            decode(body)


def test_a_field_of_another_type_is_refused():
    """Strictly: nothing is made to fit."""
    wrong = of(dict).encode({"home": "a", "away": 5})
    with pytest.raises(CodecError):
        of(Fixture).decode(wrong)
