"""What a key may hold to mean the same in every process that shares a store.

In process a key may hold whatever can be compared; its text may show a class and an address. In a shared store the
text *is* the key: it may hold the canonical classes, and containers and records of them whose classes can be found by
their names, and nothing else. Two such texts of one function are equal exactly when its two keys are.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from hashlib import blake2b
from typing import Any, Final
from uuid import UUID

from .freezing import ATOMS, INSTANT, MAPPING, ORDERED, RECORD, SEQUENCE, SET, Pair, Shape, UnfreezableError
from .key_text import is_declared

CANONICAL: Final = (
    "str, int, float, bool, None, bytes, Enum, UUID, datetime, date, timedelta, Decimal, and tuples, lists, dicts,"
    " sets, dataclasses, models and Structs of these"
)
"""What a key may hold, for messages."""

_EXACT: Final = frozenset(
    {str, int, float, bool, type(None), bytes, UUID, datetime, date, timedelta, Decimal}  # and members of Enums
)
_NO_TEXT: Final = "has no text that means the same in another process"
_ADDRESS: Final = re.compile(r"\bat 0x[0-9a-fA-F]{4,}")
_LONGEST_KEY: Final = 64


class Canon:
    """The check of one key, part after part: what only the whole key can tell is noted on the way."""

    __slots__ = ("_aware", "_naive")

    def __init__(self) -> None:
        self._aware = False
        self._naive = False

    def require(self, pair: Pair, *, nested: bool = False) -> None:
        """Let a frozen value pass that has one text for all processes.

        An oversized value was made into a digest before, of a text that was checked for classes, not for NaN.

        Raises:
            UnfreezableError: it holds something else.
        """
        slot, form = pair
        if isinstance(slot, Shape):
            self._require_shape(slot, form, nested=nested)
        elif slot is float or slot is Decimal:
            if math.isnan(form):
                raise UnfreezableError(type(form), "is NaN and equals nothing, itself included", nested=nested)
        elif slot is datetime:
            self._note_zone(aware=form.tzinfo is not None, nested=nested)
        elif isinstance(form, Enum):
            _require_class(type(form), nested=nested)
            if not is_declared(form) and type(form._value_) not in ATOMS:
                raise UnfreezableError(type(form), _NO_TEXT, nested=nested)
        elif slot not in _EXACT:
            raise UnfreezableError(type(form), _NO_TEXT, nested=nested)

    def _require_shape(self, slot: Shape, form: Any, *, nested: bool) -> None:
        if slot is INSTANT:
            self._note_zone(aware=True, nested=nested)
        elif form is not None:  # a default or an absent field is nothing but that
            _require_class(form[0], nested=nested)
            for inner in _parts_of(slot, form):
                self.require(inner, nested=True)

    def _note_zone(self, *, aware: bool, nested: bool) -> None:
        self._aware |= aware
        self._naive |= not aware
        if self._aware and self._naive:
            has = "has a time zone while another of the same key has none"
            has_not = "has no time zone while another of the same key has one"
            raise UnfreezableError(datetime, has if aware else has_not, nested=nested)


def require_no_address(text: str) -> None:
    """Let a string pass that ``!r`` or ``!s`` made, unless it shows where in memory something stood.

    Raises:
        UnfreezableError: it does; another process has something else there.
    """
    if _ADDRESS.search(text):
        fault = "shows an address in memory, where another process has something else"
        raise UnfreezableError(str, fault, nested=False)


def stored_seal(text: str, *, where: str, digest_key: bytes) -> str:
    """Return the digest that stands for a text in a shared store.

    It is keyed, so that nobody who can read the store finds a short secret by trying all of its kind, and bound to
    its place, so that nobody sees that two functions were given the same.
    """
    key = digest_key if len(digest_key) <= _LONGEST_KEY else blake2b(digest_key).digest()
    data = f"{where}\0{text}".encode("utf-8", "surrogatepass")
    return "#" + blake2b(data, digest_size=16, key=key).hexdigest()


def _parts_of(slot: Shape, form: Any) -> Iterable[Pair]:
    if slot is SEQUENCE:
        return zip(form[1], form[2], strict=True)
    if slot is SET:
        return list(form[1])
    if slot is MAPPING:
        return (pair for item in form[1] for pair in (item[:2], item[2:]))
    if slot is ORDERED:
        return (pair for side in form[1:] for pair in zip(*side, strict=True))
    if slot is RECORD:
        return zip(form[2], form[3], strict=True)
    return ()  # bytes, or a digest


def _require_class(cls: type, *, nested: bool) -> None:
    found: object = sys.modules.get(cls.__module__)
    for name in cls.__qualname__.split("."):
        found = getattr(found, name, None)
    if found is not cls:
        fault = f"cannot be found as {cls.__module__}.{cls.__qualname__}, so that another process could not name it"
        raise UnfreezableError(cls, fault, nested=nested)
