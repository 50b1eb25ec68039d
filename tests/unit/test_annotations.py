"""What a function says that it returns, and what stands for the shape of it."""

from __future__ import annotations

import dataclasses
import enum
import functools
import os
import subprocess
import sys
import typing
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, Optional, TypedDict, TypeVar, Union

import attrs
import msgspec
import pydantic
import pytest

from coalesce_kit.backends.annotations import Shape, fingerprint, return_annotation, says_nothing
from coalesce_kit.entry import MISSING
from coalesce_kit.errors import ConfigurationError
from tests import results
from tests.results import ROUND_TRIPS, Fixture


def read(function):
    return return_annotation(function, name="app.f")


async def plain() -> list[Fixture]: ...


async def silent(): ...


class Service:
    async def method(self, x: NotAtRunTime) -> Fixture: ...  # noqa: F821

    @staticmethod
    async def static() -> dict[str, Fixture]: ...

    async def __call__(self) -> int: ...


def wrapped_elsewhere(function):
    @functools.wraps(function)
    async def inner(*args, **kwargs): ...

    return inner


@pytest.mark.parametrize(
    ("function", "annotation"),
    [
        (plain, list[Fixture]),
        (silent, MISSING),
        (Service.method, Fixture),
        (Service().method, Fixture),
        (Service.static, dict[str, Fixture]),
        (functools.partial(functools.partial(plain)), list[Fixture]),
        (Service(), int),
        (wrapped_elsewhere(plain), list[Fixture]),
    ],
    ids=["function", "no annotation", "method", "bound method", "static", "partial", "object", "wrapped"],
)
def test_strings_are_resolved_where_they_were_written(function, annotation):
    """Those of the return annotation only: parameters may name what exists for a type checker."""
    assert read(function) == annotation


def test_a_class_of_the_enclosing_function_is_found_if_the_function_sees_it():
    """In its closure; one that it does not use cannot be found."""

    class Local:
        pass

    async def sees() -> list[Local]:
        return [Local()]

    async def does_not_see() -> list[Local]: ...

    async def too_early():
        return later

    too_early.__annotations__["return"] = "later"
    assert read(sees) == list[Local]
    for function in (does_not_see, too_early):
        with pytest.raises(ConfigurationError, match=r"^app\.f: .*cannot be resolved.*codec=") as caught:
            read(function)
        assert "NameError" in str(caught.value)
    later = 1


def test_an_annotation_in_quotes_may_be_any_code():
    """What it raises is a ConfigurationError."""

    async def function(): ...

    function.__annotations__["return"] = "1 / 0"
    with pytest.raises(ConfigurationError, match="ZeroDivisionError"):
        read(function)


@pytest.mark.parametrize("annotation", [MISSING, Any, object, TypeVar("T"), Annotated[Any, 1]])
def test_some_annotations_say_nothing(annotation):
    """Whatever comes back would fit."""
    assert says_nothing(annotation)


@pytest.mark.parametrize("annotation", [None, dict, list[Any], int | None])
def test_others_say_something(annotation):
    """Even if it is little."""
    assert not says_nothing(annotation)


T = TypeVar("T")


class Made:
    """A place for classes of one name."""

    @staticmethod
    def fixture(**fields: Any) -> type:
        return dataclasses.make_dataclass("Fixture", [(name, *given) for name, given in fields.items()])


def variants() -> list[Any]:
    """Types of which no two are one."""
    field = dataclasses.field

    class Color(enum.Enum):
        RED = 1

    class Colour(enum.Enum):
        RED = 1
        BLUE = 2

    Colour.__qualname__ = Color.__qualname__

    class Other(enum.Enum):
        RED = "1"

    Other.__qualname__ = Color.__qualname__

    one = dataclasses.make_dataclass("One", [("x", int)])
    two = dataclasses.make_dataclass("Two", [("x", int)])
    return [
        *(int, str, float, bool, bytes, None, list, dict, Decimal),
        *(list[int], list[str], tuple[int, str], tuple[str, int], tuple[int, ...], dict[str, int], dict[int, str]),
        *(set[int], frozenset[int], Sequence[int], int | None, int | str, Annotated[int, msgspec.Meta(gt=0)]),
        *(Annotated[int, msgspec.Meta(gt=1)], Literal["a"], Literal["b"], Literal[1], Color, Colour, Other),
        *(one, two, list[one], one | None, dict[str, one]),
        Made.fixture(x=(int,)),
        Made.fixture(x=(str,)),
        Made.fixture(y=(int,)),
        Made.fixture(x=(int, 0)),
        Made.fixture(x=(int, 1)),
        Made.fixture(x=(int, field(default_factory=int))),
        Made.fixture(x=(int,), y=(int,)),
        Made.fixture(y=(int,), x=(int,)),
        Made.fixture(x=(one,)),
        Made.fixture(x=(two,)),
        attrs.make_class("Fixture", {"x": attrs.field(type=int)}),
        attrs.make_class("Fixture", {"x": attrs.field(type=int, default=1)}),
        NamedTuple("Fixture", [("x", int)]),
        TypedDict("Fixture", {"x": int}),
        TypedDict("Fixture", {"x": int}, total=False),
        msgspec.defstruct("Fixture", [("x", int)]),
        msgspec.defstruct("Fixture", [("x", int, 1)]),
        msgspec.defstruct("Fixture", [("x", int)], tag="a"),
        msgspec.defstruct("Fixture", [("x", int)], tag="b"),
        msgspec.defstruct("Fixture", [("x", int)], rename="upper"),
        msgspec.defstruct("Fixture", [("x", int)], array_like=True),
        pydantic.create_model("Fixture", x=(int, ...)),
        pydantic.create_model("Fixture", x=(str, ...)),
        pydantic.create_model("Fixture", x=(int, 1)),
        pydantic.create_model("Fixture", x=(int, pydantic.Field(alias="y"))),
        pydantic.create_model("Fixture", x=(int, pydantic.Field(gt=0))),
        pydantic.create_model("Fixture", x=(list[one], ...)),
        pydantic.create_model("Fixture", x=(int, ...), __config__=pydantic.ConfigDict(extra="allow")),
        results.Page[int],
        results.Page[str],
        results.Page[one],
        results.Tree,
        list[results.Tree],
    ]


def test_what_differs_has_different_fingerprints():
    """A field, a type, a default, a name on the wire, a tag, an order."""
    found: dict[str, Any] = {}
    for annotation in variants():
        mark = fingerprint(annotation)
        assert mark not in found, (annotation, found[mark])
        found[mark] = annotation
        assert mark == fingerprint(annotation)
        assert len(mark) == 16


SAME = [
    (int | str | None, Union[None, str, int]),  # noqa: UP007
    (Optional[int], int | None),  # noqa: UP045
    (Literal["a", "b"], Literal["b", "a"]),
    (results.LeagueId, int),
    (Made.fixture(x=(int,)), Made.fixture(x=(int,))),
    (type(None), None),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_what_is_written_alike_has_one_fingerprint(one, other):
    """Also when the two are two classes: bytes of the one are bytes of the other."""
    assert fingerprint(one) == fingerprint(other)


def test_a_class_may_move_to_another_module():
    """It is what it holds."""
    one, other = Made.fixture(x=(int,)), Made.fixture(x=(int,))
    one.__module__, other.__module__ = "__main__", "app"
    assert fingerprint(one) == fingerprint(other)


def test_a_changed_class_deep_inside_changes_the_fingerprint():
    """As deep as it may stand, also in a generic and in a recursive one."""

    def build(inner: Any) -> Any:
        leaf = dataclasses.make_dataclass("Leaf", [("x", inner)])
        model = pydantic.create_model("Model", leaf=(list[leaf], ...))
        return results.Page[dict[str, model | None]]

    assert fingerprint(build(int)) == fingerprint(build(int)) != fingerprint(build(str))


def test_what_writes_the_bytes_is_part_of_it():
    """The same type by another codec is another wire."""
    assert fingerprint(int, coded_by="a") != fingerprint(int, coded_by="b")


PRINT = """
from tests.results import ROUND_TRIPS
from coalesce_kit.backends.annotations import fingerprint
print(*(fingerprint(annotation) for annotation, _ in ROUND_TRIPS.values()))
"""


def test_every_process_finds_the_same():
    """Whatever the seed of its hashes and the addresses of its objects."""
    here = [fingerprint(annotation) for annotation, _ in ROUND_TRIPS.values()]
    for seed in ("1", "2"):
        ran = subprocess.run(
            [sys.executable, "-c", PRINT],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path.cwd())},
            capture_output=True,
            text=True,
            check=True,
        )
        assert ran.stdout.split() == here


class Validated(pydantic.BaseModel):
    x: Annotated[int, pydantic.AfterValidator(lambda value: value)]
    y: list[int] = pydantic.Field(default_factory=lambda: [1])
    z: Color = pydantic.Field(default=1, json_schema_extra={"a": {"b", "c"}})


class Color(enum.IntEnum):
    RED = 1


Validated.model_rebuild()


def test_functions_in_metadata_show_no_address():
    """A validator is its name."""
    assert "0x" not in Shape().of(Validated)
    assert "0x" not in Shape().of(Generic[T])


def test_parameters_in_lists_are_looked_at():
    """Those of a callable are a list of annotations."""
    one, other = (fingerprint(Callable[[parameter], None], coded_by="x") for parameter in (int, str))
    assert one != other
    assert one == fingerprint(Callable[[int], None], coded_by="x")


def test_dicts_in_metadata_are_written_in_one_order():
    """Whatever order they were made in."""
    one, other = ({"a": 1, "b": {2}}, {"b": {2}, "a": 1})
    assert fingerprint(Annotated[int, one], coded_by="x") == fingerprint(Annotated[int, other], coded_by="x")
    assert fingerprint(Annotated[int, one], coded_by="x") != fingerprint(Annotated[int, {"a": 2}], coded_by="x")


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there is no `type` statement")
def test_an_alias_says_what_it_stands_for():
    """A `type` statement's name is nothing to the bytes."""
    alias = typing.TypeAliasType("Ids", list[int])
    assert fingerprint(alias, coded_by="x") == fingerprint(typing.TypeAliasType("Ids", list[int]), coded_by="x")
    assert fingerprint(alias, coded_by="x") != fingerprint(typing.TypeAliasType("Ids", list[str]), coded_by="x")
