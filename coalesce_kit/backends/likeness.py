"""Whether what came back from bytes is what went into them: the check that a publisher makes of its own result.

A value that does not survive the way (a tuple where the annotation says nothing, a subclass with a field more, a date
that comes back as a string) would make the function answer differently depending on who asked first. Nobody but the
publisher can see that, so it looks, once per fetch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import islice
from operator import attrgetter
from typing import Any, Final, TypeAlias
from uuid import UUID

from ..records import RecordFields, fields_of_record

MAX_LOOKS: Final = 10_000
"""The most values that are looked at; a result that is larger was seen to be alike in these."""

MAX_ITEMS: Final = 256
"""Of a longer collection only so many items are looked at: the first, and others evenly spread."""

MAX_CLASSES: Final = 512
"""How many classes are remembered before all are forgotten: those made at run time must not pile up."""

# Equal and of one of these classes is the same. A float is, too, but for NaN, which is looked at again.
_PLAIN: Final = frozenset({str, int, bool, bytes, float, type(None), UUID, date, timedelta, Decimal})
_NOTHING: Final = object()
_WORD: Final = "came back as"


@dataclass(slots=True)
class Verdict:
    """What one comparison found.

    Attributes:
        difference: where and how the two differ first, in types and places and never in values; ``None`` if alike.
        complete: everything was looked at.
        fields_set_differ: alike but for what a pydantic model remembers about which fields were given.
        looks: how many values were looked at.
    """

    difference: str | None = None
    complete: bool = True
    fields_set_differ: bool = False
    looks: int = 0

    @property
    def is_exact(self) -> bool:
        """Whether everything was looked at, and nothing at all differed."""
        return self.difference is None and self.complete and not self.fields_set_differ


Fault: TypeAlias = tuple[str, str]
"""A place and what is wrong there."""

Way: TypeAlias = Callable[[Any, Any, Verdict], Fault | None]
"""How two values of one class are compared."""


class Likeness:
    """Compares values and remembers for each class how that is done. Any thread."""

    __slots__ = ("_ways",)

    def __init__(self) -> None:
        self._ways: dict[type, Way] = {}

    def compare(self, value: object, back: object) -> Verdict:
        """Compare a value with what came back."""
        verdict = Verdict()
        fault = self._look(value, back, verdict)
        if fault is not None:
            place, what = fault
            verdict.difference = f"{f'in result{place}' if place else 'the result'}, {what}"
        return verdict

    def _look(self, one: Any, other: Any, verdict: Verdict) -> Fault | None:
        verdict.looks += 1
        if verdict.looks > MAX_LOOKS:
            verdict.complete = False
            return None
        cls = type(one)
        if cls is not type(other):
            if cls is int and type(other) is float and one == other:  # as the annotation has it
                return None
            return "", f"a {cls.__name__} {_WORD} a {type(other).__name__}"
        way = self._ways.get(cls)
        if way is None:
            if len(self._ways) >= MAX_CLASSES:
                self._ways.clear()
            way = self._ways[cls] = self._find_way(cls)
        return way(one, other, verdict)

    def _find_way(self, cls: type) -> Way:
        fields = fields_of_record(cls)
        if fields is not None:
            return self._record_way(cls, fields)
        if issubclass(cls, list | tuple):
            return self._look_at_sequences
        if issubclass(cls, Mapping):
            return self._look_at_mappings
        if issubclass(cls, set | frozenset):
            return self._look_at_sets
        return _look_at_leaves

    def _look_at_all(
        self, ones: Sequence[Any], others: Sequence[Any], verdict: Verdict, place: Callable[[int], str]
    ) -> Fault | None:
        classes = list(map(type, ones))
        if _PLAIN.issuperset(classes) and classes == list(map(type, others)) and ones == others:
            verdict.looks += len(ones)
            return None
        for index, (one, other) in enumerate(zip(ones, others, strict=True)):
            fault = self._look(one, other, verdict)
            if fault is not None:
                return place(index) + fault[0], fault[1]
        return None

    def _look_at_sequences(self, one: Any, other: Any, verdict: Verdict) -> Fault | None:
        if len(one) != len(other):
            return "", f"a {type(one).__name__} {_WORD} one of another length"
        step = _step(len(one), verdict)
        return self._look_at_all(list(one[::step]), list(other[::step]), verdict, lambda index: f"[{index * step}]")

    def _look_at_mappings(self, one: Any, other: Any, verdict: Verdict) -> Fault | None:
        if len(one) != len(other):
            return "", f"a {type(one).__name__} {_WORD} one of another length"
        step = _step(len(one), verdict)

        def some(items: Iterable[Any]) -> list[Any]:
            return list(islice(items, 0, None, step))

        # Bytes keep the order; whoever iterates sees it. A key may be data, and is not shown.
        return self._look_at_all(some(one), some(other), verdict, lambda _: " (a key)") or self._look_at_all(
            some(one.values()), some(other.values()), verdict, lambda _: "[…]"
        )

    def _look_at_sets(self, one: Any, other: Any, verdict: Verdict) -> Fault | None:
        if len(one) != len(other) or not one <= other:
            return "", f"a {type(one).__name__} {_WORD} one of other members"
        # Equal members may be of two classes: 1, 1.0 and True are one.
        found = {each: each for each in other}
        some = list(islice(one, 0, None, _step(len(one), verdict)))
        return self._look_at_all(some, [found[each] for each in some], verdict, lambda _: " (a member)")

    def _record_way(self, cls: type, fields: RecordFields) -> Way:
        names_of, is_model = fields.names_of, hasattr(cls, "__pydantic_validator__")
        varying = fields.takes_more or fields.extras is not None
        read = attrgetter(*fields.names) if len(fields.names) > 1 and not varying else None

        def look_at_records(one: Any, other: Any, verdict: Verdict) -> Fault | None:
            names = fields.names
            try:
                if read is None:
                    raise AttributeError
                ones, others = read(one), read(other)
            except AttributeError:  # some fields may be without a value
                names = tuple(dict.fromkeys([*names_of(one), *names_of(other)]))
                ones, others = (tuple([getattr(each, name, _NOTHING) for name in names]) for each in (one, other))
            fault = self._look_at_all(ones, others, verdict, lambda index: f".{names[index]}")
            if fault is None and is_model:
                verdict.fields_set_differ |= _of(one, "__pydantic_fields_set__") != _of(
                    other, "__pydantic_fields_set__"
                )
                private = [_of(each, "__pydantic_private__") for each in (one, other)]
                return self._look_at_all(private[:1], private[1:], verdict, lambda _: " (its private attributes)")
            return fault

        return look_at_records


def _of(model: Any, name: str) -> Any:
    return getattr(model, name, None)


def _look_at_leaves(one: Any, other: Any, _verdict: Verdict) -> Fault | None:
    alike = bool(one == other)
    if isinstance(one, datetime | time):
        # What shows the same instant in another zone is equal, and reads differently.
        alike = alike and one.utcoffset() == other.utcoffset()
    elif isinstance(one, float | Decimal) and not alike:
        alike = bool(one != one and other != other)  # noqa: PLR0124  # NaN
    return None if alike else ("", f"a {type(one).__name__} {_WORD} another")


def _step(length: int, verdict: Verdict) -> int:
    if length <= MAX_ITEMS:
        return 1
    verdict.complete = False
    return -(-length // MAX_ITEMS)
