"""The text of a key: for people, logs and a shared store.

Two texts of one function are equal exactly when its two keys are, as long as the keys hold nothing but the
canonical classes (``str, int, float, bool, None, bytes, Enum, UUID, datetime, date, timedelta, Decimal``) and
containers and records of these. What else there is shows its class and its address.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Collection, Iterable
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum, Flag
from hashlib import blake2b
from typing import Any, Final
from uuid import UUID

from .freezing import (
    ABSENT,
    ATOMS,
    BUFFER,
    DEFAULT,
    DIGEST,
    INSTANT,
    MAPPING,
    ORDERED,
    RECORD,
    SEQUENCE,
    SET,
    WHOLE,
    Pair,
    Shape,
)

MAX_WEIGHT: Final = 1024
"""The most parts and characters of a frozen argument that a key keeps; beyond, it keeps a digest."""

_BYTES_OF_A_DIGEST: Final = 16
_WEIGH_ONE: Final = ATOMS - {str, bytes}

# What a bare string must not look like: everything that another class writes without a bracket or a quote.
_WORDS: Final = frozenset({"None", "True", "False", "inf", "-inf", "nan"})
_NUMBER_OR_DATE: Final = re.compile(r"[-+]?\d[\d.:+\-eTZ]*")
_BRACKETS_AND_QUOTES: Final = frozenset("()[]{}<>'\"\\")


# Drawn once in each process: a short secret must not be found by trying digests of all of its kind.
_SEAL_KEY: Final = os.urandom(32)


class _NotCanonicalError(Exception):
    """A value has no text that will mean the same value when its object is gone."""


def literal(pair: Pair, *, strict: bool = False) -> str:
    """Write a frozen value as Python would, strings in quotes; where one ends can be seen without knowing it.

    Args:
        pair: its slot and form.
        strict: raise ``_NotCanonicalError`` where an address would have to be written.
    """
    slot, form = pair
    if isinstance(slot, Shape):
        return _SHAPES[slot](form, strict)
    if type(form) is slot:
        if slot in _CLASSES:
            return _CLASSES[slot](form)
        if isinstance(form, Enum):
            return _write_member(form, strict)
    if strict:
        raise _NotCanonicalError
    return at_address(type(form), id(form))


def part_of_template(pair: Pair, separators: frozenset[str]) -> str:
    """Write a frozen value to stand between the literals of a template: a plain string goes without quotes.

    Args:
        pair: its slot and form.
        separators: the characters by which a reader recognises the end of a part: what contains one of them is
            put in quotes, or in parentheses when it is no string.
    """
    slot, form = pair
    if slot is str:
        return form if _can_stand_bare(form, separators) else repr(form)
    text = literal(pair)
    return text if separators.isdisjoint(text) else f"({text})"


def sealed(text: str) -> str:
    """Return a digest that stands for ``text``, keyed at random in each process so that it cannot be guessed at."""
    return "#" + _digest(text, key=_SEAL_KEY).hex()


def condensed(pair: Pair) -> Pair:
    """Return ``pair``, its form replaced by a digest when it is oversized.

    What holds a value that is not canonical is kept whole: a digest of an address would outlive its object.
    """
    slot, form = pair
    if not isinstance(slot, Shape) or _weight(slot, form) <= MAX_WEIGHT:
        return pair
    try:
        return DIGEST, (form[0], _digest(literal(pair, strict=True)))
    except _NotCanonicalError:
        return pair


def at_address(cls: object, address: Any) -> str:
    """Write an object that has no text of its own: ``<OddsService 0x7f0c5a3e10>``."""
    return f"<{getattr(cls, '__name__', 'object')} {address:#x}>"


def is_declared(member: Enum) -> bool:
    """Whether an enum's class declares a member, and has not made it when it was asked for a value."""
    return type(member)._member_map_.get(member._name_) is member


def _can_stand_bare(text: str, separators: frozenset[str]) -> bool:
    return (
        text.isprintable()
        and text.strip(" ") == text != ""
        and text not in _WORDS
        and separators.isdisjoint(text)
        and _BRACKETS_AND_QUOTES.isdisjoint(text)
        and _NUMBER_OR_DATE.fullmatch(text) is None
    )


def _digest(text: str, *, key: bytes = b"") -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_BYTES_OF_A_DIGEST, key=key).digest()


def _weight(slot: object, form: Any) -> int:
    """Count the parts and characters of a form."""
    if slot is str or slot is bytes:
        return len(form) or 1  # an empty one is a part all the same
    if slot is SEQUENCE:
        return _total_weight(form[1], form[2])
    if slot is MAPPING:
        return 1 + sum([_weight(key_slot, key) + _weight(slot, value) for key_slot, key, slot, value in form[1]])
    if slot is SET:
        return 1 + sum([_weight(slot, item) for slot, item in form[1]])
    if slot is RECORD:
        return _total_weight(form[2], form[3])
    if slot is ORDERED:
        return _total_weight(*form[1]) + _total_weight(*form[2])
    return len(form[1]) if slot is BUFFER else 1


def _total_weight(slots: Collection[object], forms: Collection[Any]) -> int:
    if _WEIGH_ONE.issuperset(slots):
        return 1 + len(slots)
    return 1 + sum([_weight(slot, form) for slot, form in zip(slots, forms, strict=True)])


def _label(cls: type, strict: bool) -> str:
    """Name a class so that no other has the same name; one that cannot be found by its name gets its address."""
    module, qualname = cls.__module__, cls.__qualname__
    if module == "builtins":
        return qualname
    found: object = sys.modules.get(module)
    for name in qualname.split("."):
        found = getattr(found, name, None)
    if found is cls:
        return f"{module}.{qualname}"
    if strict:
        raise _NotCanonicalError
    return f"{module}.{qualname}@{id(cls):#x}"


def _write_int(value: int) -> str:
    # Python refuses to write very long numbers in decimal; how long can be set, but to no less than this.
    return repr(value) if value.bit_length() <= 2000 else f"int({value:#x})"


def _write_datetime(value: datetime) -> str:
    return value.isoformat() if value.tzinfo is None else value.replace(tzinfo=None).isoformat() + "Z"


def _write_decimal(value: Decimal) -> str:
    """Write the number and not its digits: 1.0 and 1.00 are equal. By hand: normalize() rounds to the context."""
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        return f"Decimal('{value}')"
    written = "".join(map(str, digits))
    stripped = written.rstrip("0")
    if not stripped:
        return "Decimal('0')"
    exponent += len(written) - len(stripped)
    if -len(stripped) < exponent < 0:
        return f"Decimal('{'-' * sign}{stripped[:exponent]}.{stripped[exponent:]}')"
    if 0 <= exponent < 6:
        return f"Decimal('{'-' * sign}{stripped}{'0' * exponent}')"
    return f"Decimal('{'-' * sign}{stripped}E{exponent}')"


def _write_member(member: Enum, strict: bool) -> str:
    name, value = member._name_, member._value_
    if is_declared(member):
        written = f".{name if name.isidentifier() else repr(name)}"
    elif isinstance(member, Flag) and _is_named_by_its_parts(member):
        written = f".{name}"
    elif type(value) in ATOMS:  # what an enum's own _missing_ makes may have the name of another
        written = f" {literal((type(value), value))}"
    elif strict:
        raise _NotCanonicalError
    else:
        return at_address(type(member), id(member))
    return f"<{_label(type(member), strict)}{written}>"


def _is_named_by_its_parts(flags: Flag) -> bool:
    parts = [type(flags)._member_map_.get(name) for name in str(flags._name_).split("|")]  # some have no name
    return None not in parts and sum(part._value_ for part in parts if part is not None) == flags._value_


_CLASSES: Final[dict[object, Callable[[Any], str]]] = {
    str: repr,
    bytes: repr,
    bool: repr,
    type(None): repr,
    int: _write_int,
    float: lambda value: repr(value + 0.0),  # -0.0 == 0.0
    Decimal: _write_decimal,
    UUID: repr,
    date: date.isoformat,
    datetime: _write_datetime,
    timedelta: lambda value: repr(value).removeprefix("datetime."),
}


def _join(slots: Iterable[object], forms: Iterable[object], strict: bool) -> list[str]:
    return [literal(pair, strict=strict) for pair in zip(slots, forms, strict=True)]


def _write_sequence(form: Any, strict: bool) -> str:
    cls, slots, forms = form
    items = _join(slots, forms, strict)
    if cls is tuple:
        return f"({', '.join(items)}{',' * (len(items) == 1)})"
    written = f"[{', '.join(items)}]"
    return written if cls is list else f"{_label(cls, strict)}({written})"


def _write_set(form: Any, strict: bool) -> str:
    cls, pairs = form
    written = f"{{{', '.join(sorted(literal(pair, strict=strict) for pair in pairs))}}}" if pairs else ""
    return written if cls is set and pairs else f"{cls.__name__}({written})"


def _write_mapping(form: Any, strict: bool) -> str:
    cls, items = form
    written = sorted(
        f"{literal((key_slot, key), strict=strict)}: {literal((slot, value), strict=strict)}"
        for key_slot, key, slot, value in items
    )
    braced = f"{{{', '.join(written)}}}"
    return braced if cls is dict else f"{_label(cls, strict)}({braced})"


def _write_ordered(form: Any, strict: bool) -> str:
    cls, keys, values = form
    items = zip(_join(keys[0], keys[1], strict), _join(values[0], values[1], strict), strict=True)
    return f"{_label(cls, strict)}({{{', '.join(f'{key}: {value}' for key, value in items)}}})"


def _write_record(form: Any, strict: bool) -> str:
    cls, names, slots, forms = form
    items = [
        f"*{text}" if name == WHOLE else f"{name if name.isidentifier() else repr(name)}={text}"
        for name, text in zip(names, _join(slots, forms, strict), strict=True)
    ]
    return f"{_label(cls, strict)}({', '.join(items)})"


_SHAPES: Final[dict[Shape, Callable[[Any, bool], str]]] = {
    SEQUENCE: _write_sequence,
    SET: _write_set,
    MAPPING: _write_mapping,
    ORDERED: _write_ordered,
    RECORD: _write_record,
    BUFFER: lambda form, _strict: f"bytearray({form[1]!r})",
    INSTANT: lambda form, _strict: f"datetime({form[1]}us)",
    DIGEST: lambda form, strict: f"<{_label(form[0], strict)} {form[1].hex()}>",
    DEFAULT: lambda _form, _strict: "<default>",
    ABSENT: lambda _form, _strict: "<absent>",
}
