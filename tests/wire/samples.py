"""Bytes that a release wrote, one file each, and what they were: every later release reads them and writes the same.

``python -c "from tests.wire.samples import write_missing; write_missing()"`` writes the files that are missing. It
never touches one that is there: a sample that no longer fits is a layout, a fingerprint or a key that needs a number of
its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from coalesce_kit.backends.codec import codec_for
from coalesce_kit.backends.envelope import seal
from coalesce_kit.backends.record_key import record_key, record_prefix
from coalesce_kit.backends.remote_errors import encode_error
from coalesce_kit.entry import Lifetimes
from tests.keys_by_hand import ByHand
from tests.results import MODEL, NOON, Aliased, Attrs, Fixture, Level, Model, Page, Pair, Sport, Struct, Tree

FOLDER = Path(__file__).parent
LIFETIMES = Lifetimes(30.0, 10.0, 300.0, 27.0)
TEXT = "fixtures:nfl:True:5"
TAGS = (("odds", "3f2a"), ("league:nfl", "91c0"))


@dataclass(frozen=True)
class Result:
    """A result, its type, and what stands for both."""

    annotation: Any
    value: Any
    lifetimes: Lifetimes = LIFETIMES
    tags: tuple[tuple[str, str], ...] = ()

    def write(self) -> bytes:
        body = codec_for(self.annotation, name="f").encode(self.value)
        return seal("value", body, text=TEXT, lifetimes=self.lifetimes, tags=self.tags)


ELSEWHERE = datetime(2024, 7, 1, 12, tzinfo=timezone(timedelta(hours=2)))

RESULTS = {
    "none": Result(None, None, lifetimes=Lifetimes(math.inf)),
    "json": Result(dict[str, Any], {"a": [1, {"b": None}], "c": "naïve", "e": 1.5, "f": True}),
    "dataclasses": Result(list[Fixture], [Fixture("a", "b", ELSEWHERE, (1.5, 2.5)), Fixture("c", "d")], tags=TAGS),
    "generic": Result(Page[Fixture], Page([Fixture("a", "b", NOON)])),
    "recursive": Result(Tree, Tree("a", [Tree("b")])),
    "struct": Result(Struct, Struct("Bears", {"a"})),
    "attrs": Result(Attrs, Attrs(1, Decimal("2.50"))),
    "atoms": Result(
        tuple[UUID, Decimal, bytes, Sport, Level, timedelta, frozenset[int]],
        (UUID(int=5), Decimal("1.500"), b"\x00\xff", Sport.NBA, Level.HIGH, timedelta(seconds=90), frozenset({1})),
    ),
    "keys": Result(dict[int, Pair], {1: Pair(1, "r")}),
    "model": Result(list[Model], [MODEL]),
    "model in JSON": Result(Aliased, Aliased(homeTeam="x", at=NOON)),
}


def result_key(case: str) -> str:
    """The key of the record of a sample."""
    sample = RESULTS[case]
    codec = codec_for(sample.annotation, name="f")
    return record_key(record_prefix("odds", "app.fixtures", codec.fingerprint), TEXT)


class NotFound(LookupError):
    """A declared failure."""


def not_found() -> NotFound:
    error = NotFound("nfl", UUID(int=5), (1, 2.5))
    error.code = 404  # type: ignore[attr-defined]
    return error


ERRORS: dict[str, Callable[[], bytes]] = {
    "declared error": lambda: encode_error(not_found(), declared=[NotFound], origin="host:17"),
    "other error": lambda: encode_error(ValueError("secret"), declared=[NotFound], origin="host:17"),
    "other error with its message": lambda: encode_error(ValueError("why"), share_messages=True, origin="host:17"),
}


async def fixtures(sport: Any, day: Any = None, ids: Any = ()) -> None: ...


def stored_text(*args: Any, **options: Any) -> str:
    """The stored text of a call."""
    key = ByHand(fixtures, name="app.fixtures", **options)
    return key.recipe.stored_text(key(*args), digest_key=b"digest key")


TEXTS: dict[str, Callable[[], str]] = {
    "default key": lambda: stored_text("nfl", ELSEWHERE, [1, (2, "a")]),
    "template": lambda: stored_text("nfl", Decimal("1.00"), {"b": -0.0, "a": Sport.NBA}, key="f:{sport}:{day}:{ids}"),
    "hidden": lambda: stored_text("nfl", key="f:{sport!h}", ignore=("day", "ids")),
    "oversized": lambda: stored_text("nfl", None, list(range(2000))),
    "record": lambda: stored_text(Fixture("a:b", "{c}", NOON)),
}


def files() -> dict[str, bytes]:
    """What today's code writes, by the name of the file."""
    written = {f"{case}.result": sample.write() for case, sample in RESULTS.items()}
    written |= {f"{case}.failure": make() for case, make in ERRORS.items()}
    lines = [f"{case}: {result_key(case)}" for case in RESULTS] + [f"{case}: {make()}" for case, make in TEXTS.items()]
    written |= {"keys.txt": "".join(f"{line}\n" for line in lines).encode()}
    return {name.replace(" ", "-"): content for name, content in written.items()}


def write_missing() -> None:
    """Write the files that are missing."""
    for name, content in files().items():
        path = FOLDER / name
        if not path.exists():
            path.write_bytes(content)
