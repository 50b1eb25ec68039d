"""What functions return, in every shape that a codec has to bring back, and tools to try them with."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, TypedDict, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import msgspec
import pydantic

T = TypeVar("T")
LeagueId = NewType("LeagueId", int)


class Sport(enum.Enum):
    NFL = "nfl"
    NBA = "nba"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Perm(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass
class Fixture:
    home: str
    away: str
    kickoff: datetime | None = None
    odds: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    sport: Sport
    ids: frozenset[int] = frozenset()


@dataclasses.dataclass
class Tree:
    name: str
    children: list[Tree] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Page(Generic[T]):
    items: list[T]
    more: bool = False


class Row(TypedDict, total=False):
    id: int
    name: str


class Pair(NamedTuple):
    left: int
    right: str = ""


class Struct(msgspec.Struct, tag="struct", rename="camel"):
    home_team: str
    tags: set[str] = msgspec.field(default_factory=set)


class Other(msgspec.Struct, tag="other"):
    x: int


@attrs.define
class Attrs:
    x: int
    y: Decimal = Decimal("1.50")


class Model(pydantic.BaseModel):
    id: UUID
    at: datetime
    price: Decimal = Decimal("1.0")
    sport: Sport = Sport.NFL
    seen: set[int] = pydantic.Field(default_factory=set)


class Aliased(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    home: str = pydantic.Field(validation_alias="homeTeam", serialization_alias="HOME")
    raw: bytes = b""
    at: datetime | None = None


class Nest(pydantic.BaseModel):
    models: dict[str, list[Model]]
    fixture: Fixture
    url: pydantic.HttpUrl | None = None


class Cat(pydantic.BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int


class Dog(pydantic.BaseModel):
    kind: Literal["dog"] = "dog"
    name: str


@pydantic.dataclasses.dataclass
class Checked:
    x: int
    when: date


@dataclasses.dataclass
class Holder:
    model: Model
    more: list[Model] = dataclasses.field(default_factory=list)


BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2024, 11, 3, 12, 30, 1, 5, tzinfo=UTC)
MODEL = Model(id=UUID(int=7), at=NOON)
FULL = Model(id=UUID(int=8), at=datetime(2024, 7, 1, 12, tzinfo=timezone(timedelta(hours=2))), seen={1, 2})

# Annotation and value: what must come back equal, types included.
ROUND_TRIPS: dict[str, tuple[Any, Any]] = {
    "none": (None, None),
    "bool": (bool, False),
    "int": (int, -(2**63)),
    "float": (float, 1.5),
    "infinite": (float, float("inf")),
    "nan": (float, float("nan")),
    "str": (str, "naïve \x00 {}:"),
    "bytes": (bytes, b"\x00\xff"),
    "bytearray": (bytearray, bytearray(b"\x01")),
    "list": (list[int], [1, 2]),
    "tuple": (tuple[int, str], (1, "a")),
    "any length": (tuple[Fixture, ...], (Fixture("a", "b"),)),
    "set": (set[UUID], {UUID(int=1)}),
    "frozenset": (frozenset[tuple[int, int]], frozenset({(1, 2)})),
    "sequence": (Sequence[int], [1]),
    "mapping": (Mapping[str, int], {"a": 1}),
    "keys that are no strings": (dict[int, date], {1: date(2024, 6, 1)}),
    "tuples as keys": (dict[tuple[int, int], str], {(1, 2): "x"}),
    "enums as keys": (dict[Sport, float], {Sport.NBA: 0.5}),
    "json": (dict[str, Any], {"a": [1, {"b": None}], "c": "d", "e": 1.5, "f": True}),
    "bare dict": (dict, {"a": 1}),
    "bare list": (list, ["a", 2.0]),
    "enum": (Sport, Sport.NBA),
    "int enum": (Level, Level.HIGH),
    "flags": (Perm, Perm.READ | Perm.WRITE),
    "literal": (Literal["home", "away"], "home"),
    "uuid": (UUID, UUID(int=5)),
    "decimal": (Decimal, Decimal("1.500")),
    "aware": (datetime, NOON),
    "aware elsewhere": (datetime, datetime(2024, 7, 1, 12, tzinfo=BERLIN)),
    "naive": (datetime, NOON.replace(tzinfo=None)),
    "date": (date, date(2024, 7, 1)),
    "time": (time, time(1, 2, 3)),
    "timedelta": (timedelta, timedelta(days=-1, microseconds=3)),
    "optional": (Fixture | None, None),
    "union": (int | list[str] | None, ["a"]),
    "annotated": (Annotated[int, "a mark"], 3),
    "new type": (list[LeagueId], [LeagueId(3)]),
    "dataclass": (list[Fixture], [Fixture("a", "b", NOON, (1.5, 2.5)), Fixture("c", "d")]),
    "frozen slots": (Frozen, Frozen(Sport.NFL, frozenset({1, 2}))),
    "recursive": (Tree, Tree("a", [Tree("b"), Tree("c", [Tree("d")])])),
    "generic": (Page[Fixture], Page([Fixture("a", "b")], more=True)),
    "typed dict": (list[Row], [{"id": 1, "name": "x"}, {"id": 2}]),
    "named tuple": (Pair, Pair(1, "r")),
    "struct": (Struct, Struct("Bears", {"a", "b"})),
    "union of structs": (list[Struct | Other], [Struct("x"), Struct("y", {"t"})]),
    "attrs": (Attrs, Attrs(1)),
    "model": (Model, MODEL),
    "models": (list[Model], [MODEL, FULL]),
    "model or none": (Model | None, None),
    "strict model with aliases": (Aliased, Aliased(homeTeam="x", raw=b"\xff\x00")),
    "strict model with a time": (Aliased, Aliased(homeTeam="x", at=NOON)),
    "nested models": (
        Nest,
        Nest(models={"a": [MODEL]}, fixture=Fixture("a", "b", NOON), url="https://example.org/x"),
    ),
    "union of models": (list[Cat | Dog], [Dog(name="Rex"), Cat(lives=9)]),
    "pydantic dataclass": (Checked, Checked(1, date(2024, 1, 1))),
    "dataclass of models": (Holder, Holder(MODEL, [FULL])),
    "tuple with models": (tuple[int, dict[str, Model]], (1, {"a": FULL})),
}
