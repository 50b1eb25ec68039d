"""Which classes are records, and what their fields are: recognised by their marks, without importing a library.

A record is a dataclass, an attrs class, a pydantic model (version 1 or 2) or a msgspec ``Struct``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

_NOTHING: Final[tuple[str, ...]] = ()


class RecordFields(NamedTuple):
    """The fields of a class of records.

    Attributes:
        names: the fields that every instance has by its class, in order.
        takes_more: whether an instance may hold attributes of its own that count like fields: it is a subclass
            that was not made a record itself, so nobody declared what it added.
        extras: the attribute in which an instance keeps undeclared fields, if its library has one.
    """

    names: tuple[str, ...]
    takes_more: bool = False
    extras: str | None = None

    def names_of(self, record: object) -> tuple[str, ...]:
        """The names of the fields of one record, those it has by itself in alphabetical order at the end."""
        more: set[str] = set()
        if self.takes_more:
            more.update(getattr(record, "__dict__", _NOTHING))
        if self.extras is not None:
            more.update(getattr(record, self.extras, None) or _NOTHING)
        return self.names + tuple(sorted(more.difference(self.names))) if more else self.names


def fields_of_record(cls: type) -> RecordFields | None:
    """Return the fields of the instances of ``cls``, or ``None`` when it is no class of records."""
    if isinstance(getattr(cls, "__dataclass_fields__", None), dict):
        return _with_undeclared(cls, "__dataclass_fields__", tuple(field.name for field in dataclasses.fields(cls)))
    attributes = getattr(cls, "__attrs_attrs__", None)
    if isinstance(attributes, tuple):
        return _with_undeclared(cls, "__attrs_attrs__", tuple(attribute.name for attribute in attributes))
    struct_fields = getattr(cls, "__struct_fields__", None)
    if isinstance(struct_fields, tuple):
        return RecordFields(struct_fields)
    if hasattr(cls, "__pydantic_validator__"):
        model_fields = getattr(cls, "__pydantic_fields__", None) or getattr(cls, "model_fields", None)
        return RecordFields(tuple(model_fields or _NOTHING), extras="__pydantic_extra__")
    first_model_fields = getattr(cls, "__fields__", None)
    if isinstance(first_model_fields, Mapping) and hasattr(cls, "__fields_set__"):
        return RecordFields(tuple(first_model_fields), takes_more=True)
    return None


def fields_beside(cls: type, container: type) -> RecordFields:
    """Return the fields that ``cls``, a subclass of a builtin container, has beside what the container holds."""
    return RecordFields(tuple(_slots_before(container, cls)), takes_more=True)


def _with_undeclared(cls: type, mark: str, names: tuple[str, ...]) -> RecordFields:
    if mark in cls.__dict__:
        return RecordFields(names)
    marked = next(ancestor for ancestor in cls.__mro__ if mark in ancestor.__dict__)
    added = tuple(name for name in _slots_before(marked, cls) if name not in names)
    return RecordFields(names + added, takes_more=True)


def _slots_before(end: type, cls: type) -> Iterator[str]:
    for ancestor in cls.__mro__[: cls.__mro__.index(end)]:
        slots = ancestor.__dict__.get("__slots__", _NOTHING)
        for name in (slots,) if isinstance(slots, str) else slots:
            if name.startswith("__") and not name.endswith("__"):
                yield f"_{ancestor.__name__.lstrip('_')}{name}"
            elif name not in ("__dict__", "__weakref__"):
                yield name
