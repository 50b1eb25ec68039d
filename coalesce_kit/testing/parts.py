"""What an object is made of: what is in it, its attributes, and what it says of itself."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from types import FunctionType, MappingProxyType, MemberDescriptorType, MethodType, ModuleType
from typing import Any, Final, TypeAlias
from weakref import ReferenceType

Step: TypeAlias = tuple[str, object]
"""From an object to a part of it: how the part is reached, and which.

It is reached by "[]" or ".", or is an element or a key itself, "{}"; "" if no code reaches it.
"""

Parts: TypeAlias = Mapping[Step, object]

ORDER: Final[Step] = ("", "order")
"""Of an ``OrderedDict``, which is another one when its keys are in another order."""

FACTORY: Final[Step] = (".", "default_factory")

ATOMS: Final = frozenset({type(None), bool, int, float, complex, str, bytes})
PLAIN: Final = frozenset({list, tuple, dict, set})

_SAYING: Final = ("__reduce_ex__", "__reduce__", "__getstate__")
_CONTENT: Final[tuple[Any, ...]] = (int, float, complex, str, bytes)
_LEAVES: Final = (type, FunctionType, MethodType, ModuleType, Enum, ReferenceType)
_MACHINERY: Final = frozenset(
    {"asyncio", "_asyncio", "concurrent", "threading", "logging", "socket", "ssl", "selectors", "unittest"}
)
"""Whose objects live on while a result is used. A mock makes what it is asked for."""


class Nothing(Enum):
    """What is there where nothing is."""

    NOTHING = "nothing"

    def __repr__(self) -> str:
        return self.value


NOTHING: Final = Nothing.NOTHING


def parts_of(value: object) -> Parts | None:
    """Return what an object is made of, ``None`` for what has no parts."""
    kind = type(value)
    if kind in ATOMS or issubclass(kind, _LEAVES) or str(kind.__module__).partition(".")[0] in _MACHINERY:
        return None
    try:
        if kind in PLAIN:
            return _items_of(value)
        items, attributes, declared = _items_of(value), _attributes_of(value), _declared_by(value)
    except Exception:  # what it may be made of is endless
        return None
    if items is None and attributes is None and declared is None:
        return None
    parts = {**(items or {}), **(attributes or {})}
    if declared is not None:
        parts = {**_told_attributes(parts, declared), **_told_parts(kind, declared, has_attributes=bool(attributes))}
    return parts


def _reached(how: str, parts: Iterable[tuple[object, object]]) -> Parts:
    return {(how, key): part for key, part in parts}


def _keyed(mapping: dict[Any, object]) -> Parts:
    """Return what is in a mapping: its values, and those of its keys that are made of something."""
    return {
        **_reached("[]", mapping.items()),
        **_reached("{}", ((key, key) for key in mapping if type(key) not in ATOMS)),
    }


_READERS: Final[tuple[tuple[tuple[type, ...], Callable[[Any], Parts]], ...]] = (
    # Past whatever a class of the user's own makes of them, and copied at once: another thread may change them.
    ((OrderedDict,), lambda value: {**_keyed(dict.copy(value)), ORDER: tuple(OrderedDict.__iter__(value))}),
    ((defaultdict,), lambda value: {**_keyed(dict.copy(value)), FACTORY: value.default_factory}),
    ((dict,), lambda value: _keyed(dict.copy(value))),
    ((list,), lambda value: _reached("[]", enumerate(list.copy(value)))),
    ((tuple,), lambda value: _reached("[]", enumerate(tuple.__iter__(value)))),
    ((deque,), lambda value: _reached("[]", enumerate(list(deque.__iter__(value))))),
    ((MappingProxyType,), lambda value: _keyed(dict(value))),
    ((set, frozenset), lambda value: _reached("{}", ((element, element) for element in frozenset(value)))),
    ((bytearray, memoryview), lambda value: _reached("", [("content", bytes(value))])),
)
_READ: Final = tuple(kind for kinds, _ in _READERS for kind in kinds)


def _items_of(value: object) -> Parts | None:
    """Return what is in a container of Python, and the content of a number or a text of a class of its own."""
    for kinds, read in _READERS:
        if issubclass(type(value), kinds):
            return read(value)
    for plain in _CONTENT:
        if issubclass(type(value), plain):
            return _reached("", [("content", plain.__getnewargs__(value))])
    return None


def _attributes_of(value: object) -> Parts | None:
    """Return the attributes of an object that are in its slots or its dict, and ask no property."""
    slotted = [vars(ancestor) for ancestor in type(value).__mro__ if "__slots__" in vars(ancestor)]
    members = [member for names in slotted for member in names.values() if isinstance(member, MemberDescriptorType)]
    found = {member.__name__: part for member in members if (part := _slot_of(value, member)) is not NOTHING}
    own = _dict_of(value)
    if own is None and not slotted:
        return None
    # Those of the user's own first: where several are different, the first is told.
    return _reached(".", sorted((found | (own or {})).items(), key=lambda item: str(item[0]).startswith("_")))


def _slot_of(value: object, member: MemberDescriptorType) -> object:
    try:
        return member.__get__(value)
    except AttributeError:
        return NOTHING


def _dict_of(value: object) -> dict[str, object] | None:
    try:
        return dict(vars(value))
    except Exception:  # it has none, or its class makes something else of it
        return None


def _declared_by(value: object) -> tuple[Any, ...] | None:
    """Return what an object says of itself to be copied, if its class has an answer of its own to that."""
    kind: Any = type(value)
    says = any(getattr(kind, name) is not getattr(object, name) for name in _SAYING)
    if not says or issubclass(kind, _READ):
        return None
    try:
        declared = kind.__reduce_ex__(value, 4)
    except Exception:  # it cannot be copied: most say so in this way
        return None
    return declared if isinstance(declared, tuple) else None


def _told_parts(kind: type, declared: tuple[Any, ...], *, has_attributes: bool) -> Parts:
    """Return what an object says of itself beside its attributes."""
    parts: dict[Step, object] = {}
    for number, part in enumerate(declared[1:]):  # what makes one anew is no part of this one
        is_attributes = has_attributes and isinstance(part, dict)
        is_class = type(part) is tuple and all(one is kind for one in part)
        if not (part is None or is_attributes or is_class):
            parts["", number] = list(part) if isinstance(part, Iterator) else part
    return parts


def _told_attributes(attributes: Parts, declared: tuple[Any, ...]) -> Parts:
    """Leave out the private attributes that an object leaves out of its copies, such as what it has looked up."""
    state = declared[2] if len(declared) > 2 else None
    names = state if isinstance(state, dict) else ()
    return {step: part for step, part in attributes.items() if step[1] in names or not str(step[1]).startswith("_")}
