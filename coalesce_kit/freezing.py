"""Freezing: an argument becomes a hashable pair that is equal exactly when the argument is, types included.

A value is represented by a *slot* and a *form*. The form of a plain value is the value itself and its slot the
class, so that ``1``, ``1.0`` and ``True`` differ. What has parts is taken apart: its slot is one of the shapes
below (private objects and no classes, so that no pair of a class and a value ever equals one), and its form nests
the slots and forms of the parts.

============  =============================================  ================================================
shape         made from                                      form
============  =============================================  ================================================
``SEQUENCE``  list, tuple, deque                             class, slots, forms
``SET``       set, frozenset                                 class, frozenset of (slot, form)
``MAPPING``   dict, defaultdict, Counter                     class, frozenset of (slot, form, slot, form)
``ORDERED``   OrderedDict                                    class, slots and forms of keys, those of values
``RECORD``    dataclass, attrs, pydantic, msgspec; subclass  class, names, slots, forms
``BUFFER``    bytearray                                      class, bytes
``INSTANT``   an aware datetime outside the years of UTC     class, microseconds since the year 1
``DIGEST``    anything frozen that is oversized              class, 128 bits of its text
``DEFAULT``   a parameter's own default that has no form     nothing
``ABSENT``    a field without a value                        nothing
============  =============================================  ================================================
"""

from __future__ import annotations

import enum
import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any, Final, TypeAlias, TypeVar
from uuid import UUID

from .records import RecordFields, fields_beside, fields_of_record

Pair: TypeAlias = tuple[object, Any]
"""A slot and a form."""

ATOMS: Final[frozenset[object]] = frozenset({str, int, float, bool, type(None), bytes, UUID, date, timedelta})
"""Classes whose values are their own form: nothing to look at inside, and hashing them cannot fail."""

MAX_DEPTH: Final = 64
"""The deepest nesting that is frozen; a container that contains itself is deeper than any."""

MAX_CLASSES: Final = 512
"""How many classes a freezer remembers before it forgets them all: those made at run time must not pile up."""


class Shape:
    """What stands in the slot of a value that was taken apart."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<{self.name}>"


SEQUENCE: Final = Shape("SEQUENCE")
SET: Final = Shape("SET")
MAPPING: Final = Shape("MAPPING")
ORDERED: Final = Shape("ORDERED")
RECORD: Final = Shape("RECORD")
BUFFER: Final = Shape("BUFFER")
INSTANT: Final = Shape("INSTANT")
DIGEST: Final = Shape("DIGEST")
DEFAULT: Final = Shape("DEFAULT")
ABSENT: Final = Shape("ABSENT")

WHOLE: Final = "*"
"""In a record made from a subclass of a container: the name of what the container itself holds."""


class _Absent:
    """The type of what is read from a field without a value."""


_NO_VALUE: Final = _Absent()
_YEAR_ONE: Final = datetime(1, 1, 1)  # noqa: DTZ001  # the face of a clock, in whatever zone
_MICROSECOND: Final = timedelta(microseconds=1)

# Compared by identity, and rightly so: there is one of each, or its maker returns the same one every time.
_ONE_OF_EACH: Final = (
    type,
    tzinfo,
    ContextVar,
    TypeVar,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    types.ModuleType,
    types.EllipsisType,
    types.NotImplementedType,
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
)


class UnfreezableError(Exception):
    """A value, or something inside it, has no form.

    Attributes:
        cls: the class of the offending value.
        fault: what is wrong with it, the predicate of a sentence.
        nested: it stands inside the argument rather than being it.
        by_identity: all that is wrong is that it is compared by identity.
    """

    def __init__(self, cls: type, fault: str, *, nested: bool, by_identity: bool = False) -> None:
        self.cls = cls
        self.fault = fault
        self.nested = nested
        self.by_identity = by_identity


class Freezer:
    """Freezes values and remembers for each class how that is done. Any thread."""

    __slots__ = ("_ways",)

    def __init__(self) -> None:
        self._ways: dict[type, Way] = dict(_WAYS)

    def freeze(self, value: object, depth: int = 0) -> Pair:
        """Return the slot and the form of ``value``.

        Raises:
            UnfreezableError: it has none, or stands too deep.
        """
        cls = type(value)
        if cls in ATOMS:
            return cls, value
        if depth > MAX_DEPTH:
            fault = f"is nested deeper than {MAX_DEPTH} levels, perhaps in itself"
            raise UnfreezableError(cls, fault, nested=depth > 0)
        way = self._ways.get(cls)
        if way is None:
            if len(self._ways) >= MAX_CLASSES:
                self._ways = dict(_WAYS)
            way = self._ways[cls] = _find_way(cls)
        return way(value, self, depth)

    def freeze_all(self, values: tuple[object, ...], depth: int) -> tuple[tuple[object, ...], tuple[object, ...]]:
        """Return the slots and the forms of ``values``, the parts of something at ``depth``.

        Raises:
            UnfreezableError: one of them has none.
        """
        slots: tuple[object, ...] = tuple(map(type, values))
        if ATOMS.issuperset(slots):
            return slots, values
        freeze = self.freeze
        pairs = [freeze(value, depth + 1) for value in values]
        return tuple([pair[0] for pair in pairs]), tuple([pair[1] for pair in pairs])


Way: TypeAlias = Callable[[Any, Freezer, int], Pair]
"""How the values of one class are frozen: value, freezer, depth."""

# Containers are read by the methods of the builtin class itself, so that these ways also read what a subclass
# with an __iter__ or items() of its own really holds. Each takes a snapshot first: the values of the parts may
# run Python code, and meanwhile another thread may change the container.


def _freeze_list(value: list[object], freezer: Freezer, depth: int) -> Pair:
    slots, forms = freezer.freeze_all(tuple(list.__iter__(value)), depth)
    return SEQUENCE, (list, slots, forms)


def _freeze_tuple(value: tuple[object, ...], freezer: Freezer, depth: int) -> Pair:
    slots, forms = freezer.freeze_all(tuple(tuple.__iter__(value)), depth)
    return SEQUENCE, (tuple, slots, forms)


def _freeze_deque(value: deque[object], freezer: Freezer, depth: int) -> Pair:
    slots, forms = freezer.freeze_all(tuple(deque.__iter__(value)), depth)
    return SEQUENCE, (deque, slots, forms)


def _freeze_set(value: set[object], freezer: Freezer, depth: int) -> Pair:
    slots, forms = freezer.freeze_all(tuple(set.__iter__(value)), depth)
    return SET, (set, frozenset(zip(slots, forms, strict=True)))


def _freeze_frozenset(value: frozenset[object], freezer: Freezer, depth: int) -> Pair:
    slots, forms = freezer.freeze_all(tuple(frozenset.__iter__(value)), depth)
    return SET, (frozenset, frozenset(zip(slots, forms, strict=True)))


def _mapping_way(cls: type) -> Way:
    def freeze_mapping(value: dict[object, object], freezer: Freezer, depth: int) -> Pair:
        items = dict.copy(value)
        key_slots, keys = freezer.freeze_all(tuple(items), depth)
        slots, forms = freezer.freeze_all(tuple(items.values()), depth)
        return MAPPING, (cls, frozenset(zip(key_slots, keys, slots, forms, strict=True)))

    return freeze_mapping


def _freeze_ordered(value: OrderedDict[object, object], freezer: Freezer, depth: int) -> Pair:
    items = tuple(OrderedDict.items(value))
    keys = freezer.freeze_all(tuple([key for key, _ in items]), depth)
    return ORDERED, (OrderedDict, keys, freezer.freeze_all(tuple([item for _, item in items]), depth))


def _freeze_bytearray(value: bytearray, _freezer: Freezer, _depth: int) -> Pair:
    return BUFFER, (bytearray, bytes(value))


def _freeze_datetime(value: datetime, _freezer: Freezer, depth: int) -> Pair:
    """Turn an aware datetime into UTC.

    Within one zone ``==`` looks at the face of the clock: an hour that it shows twice would be one key for two
    instants.
    """
    zone = value.tzinfo
    if zone is None or zone is UTC:
        return datetime, value
    face = value.replace(tzinfo=None)
    try:
        offset = value.utcoffset()
    except Exception as error:
        raise UnfreezableError(datetime, "has a time zone that fails", nested=depth > 0) from error
    if offset is None:
        return datetime, face
    try:
        return datetime, (face - offset).replace(tzinfo=UTC)
    except OverflowError:
        return INSTANT, (datetime, (face - _YEAR_ONE - offset) // _MICROSECOND)


def _freeze_leaf(value: object, _freezer: Freezer, depth: int) -> Pair:
    """Keep ``value`` as it is, its own ``==`` deciding, once it is known that it can be hashed."""
    try:
        hash(value)
    except Exception as error:
        raise UnfreezableError(type(value), "cannot be hashed", nested=depth > 0) from error
    return type(value), value


def _freeze_absent(_value: object, _freezer: Freezer, _depth: int) -> Pair:
    return ABSENT, None


def _refuse_unhashable(value: object, _freezer: Freezer, depth: int) -> Pair:
    raise UnfreezableError(type(value), "cannot be hashed", nested=depth > 0)


def _refuse_identity(value: object, _freezer: Freezer, depth: int) -> Pair:
    fault = "is compared by identity, so that two equal ones would never share"
    raise UnfreezableError(type(value), fault, nested=depth > 0, by_identity=True)


_WAYS: Final[dict[type, Way]] = {
    list: _freeze_list,
    tuple: _freeze_tuple,
    deque: _freeze_deque,
    set: _freeze_set,
    frozenset: _freeze_frozenset,
    dict: _mapping_way(dict),
    defaultdict: _mapping_way(defaultdict),
    Counter: _mapping_way(Counter),
    OrderedDict: _freeze_ordered,
    bytearray: _freeze_bytearray,
    datetime: _freeze_datetime,
    _Absent: _freeze_absent,
}


def _find_way(cls: type) -> Way:
    if issubclass(cls, enum.Enum):
        return _freeze_leaf
    fields = fields_of_record(cls)
    # The most derived comes first: an OrderedDict is a dict too.
    container = next((ancestor for ancestor in cls.__mro__ if ancestor in _WAYS and ancestor is not datetime), None)
    if container is not None:
        return _record_way(cls, fields or fields_beside(cls, container), _WAYS[container])
    if fields is not None:
        return _record_way(cls, fields, None)
    hashing = getattr(cls, "__hash__", None)
    if hashing is None:
        return _refuse_unhashable
    if hashing is object.__hash__ and not issubclass(cls, _ONE_OF_EACH):
        return _refuse_identity
    return _freeze_leaf


def _record_way(cls: type, fields: RecordFields, container: Way | None) -> Way:
    def freeze_record(value: object, freezer: Freezer, depth: int) -> Pair:
        try:
            names = fields.names_of(value)
            values = tuple([getattr(value, name, _NO_VALUE) for name in names])
        except Exception as error:
            raise UnfreezableError(cls, "has a field that cannot be read", nested=depth > 0) from error
        slots, forms = freezer.freeze_all(values, depth)
        if container is not None:
            slot, form = container(value, freezer, depth)
            names, slots, forms = (WHOLE, *names), (slot, *slots), (form, *forms)
        return RECORD, (cls, names, slots, forms)

    return freeze_record
