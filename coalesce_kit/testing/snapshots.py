"""What an object is made of, remembered, so that it can be told later what has become of it."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Iterator, Mapping
from functools import partialmethod
from types import MappingProxyType, MemberDescriptorType
from typing import Final, NamedTuple

from .parts import ATOMS, FACTORY, NOTHING, ORDER, PLAIN, Parts, Step, parts_of

SHOWN: Final = 300
"""How many characters of a value, and of the way to it, are shown."""

_DEEPEST: Final = 4


class _Shot(NamedTuple):
    """One object as it was.

    Attributes:
        kind: its class.
        parts: what it was made of.
        shown: what it was shown as, if its parts do not show it.
    """

    kind: type
    parts: Parts
    shown: str | None


class _Way(NamedTuple):
    """How an object was reached, from the last step to the first."""

    step: Step
    before: _Way | None


class _Pair(NamedTuple):
    """What was there, what is there now, and the way to it; what that is a part of, if it has no way of its own."""

    was: object
    now: object
    way: _Way | None = None
    owner: _Pair | None = None


class Snapshot:
    """What an object and everything in it is made of, at one moment.

    Containers of Python are walked by what is in them, any other object by its attributes (``__dict__`` and
    ``__slots__``) and by what it says of itself to be copied (``__reduce__``, ``__getstate__``). Where its class says
    something of its own, private attributes that it leaves out are left out. What has no parts, such as a lock, is
    compared by equality. Functions, classes, modules, mocks, and what belongs to the machinery, such as a
    task or a logger, are not looked into.

    Args:
        value: the object. It, and what was in it, is held as long as the snapshot.
    """

    def __init__(self, value: object) -> None:
        self._value = value
        self._shots: dict[int, _Shot] = {}
        waiting = [value]
        while waiting:
            one = waiting.pop()
            if id(one) not in self._shots:
                parts = parts_of(one)
                if parts is not None:
                    shown = _repr_of(one) if any(not step[0] and step != ORDER for step in parts) else None
                    self._shots[id(one)] = _Shot(type(one), parts, shown)
                    waiting += [part for part in parts.values() if type(part) not in ATOMS]

    def difference(self) -> str | None:
        """Return what has become of the object, as ``result.rows[3].price: 1.9 is now 2.1``; ``None`` for nothing.

        Values that were exchanged for equal ones are nothing, and neither is what a ``functools.cached_property`` or
        another descriptor of its kind puts in its own place.
        """
        compared: dict[tuple[int, int], object] = {}
        waiting = deque([_Pair(self._value, self._value)])
        while waiting:
            pair = waiting.popleft()
            shot = self._shots.get(id(pair.was))
            if shot is None:
                if not _is_same(pair.was, pair.now):
                    return self._tell(pair)
            elif type(pair.now) is not shot.kind:
                return self._tell(pair)
            elif (id(pair.was), id(pair.now)) not in compared:
                compared[id(pair.was), id(pair.now)] = pair.now  # held, or its id could be another's next
                parts = parts_of(pair.now) or {}
                for step in (*parts, *shot.parts):
                    if (step in parts) is not (step in shot.parts) and not _is_computed(shot.kind, step):
                        return self._tell(pair, step, parts)
                waiting.extend(_pairs(pair, shot.parts, parts))
        return None

    def _tell(self, pair: _Pair, step: Step | None = None, parts: Parts | None = None) -> str:
        """Say what a pair was and is, or what is at the one step at which it differs, where the whole shows nothing."""
        before, after = self._texts(pair if pair.owner is None else pair.owner)
        if before == after and pair.owner is not None:
            before, after = self._texts(pair)
        if before == after and step is not None and parts is not None:
            was = self._shots[id(pair.was)].parts.get(step, NOTHING)
            return self._tell(_Pair(was, parts.get(step, NOTHING), _Way(step, pair.way)))
        return f"result{_text_of_way(pair.way)}: {before} is now {'another ' if before == after else ''}{after}"

    def _texts(self, pair: _Pair) -> tuple[str, str]:
        return self._text(pair.was), Snapshot(pair.now)._text(pair.now)  # noqa: SLF001  # another one of these

    def _text(self, value: object, depth: int = _DEEPEST) -> str:
        shot = self._shots.get(id(value))
        if shot is None or shot.shown is not None:
            return _cut(_repr_of(value) if shot is None or shot.shown is None else shot.shown)
        texts: dict[Step, str] = {}
        length = 0
        for step, part in shot.parts.items():
            if length <= SHOWN:  # of the rest nothing is shown
                texts[step] = self._text(part, depth - 1) if depth else "…"
                length += len(texts[step])
        return _cut(_assemble(shot.kind, texts))


def _pairs(pair: _Pair, before: Parts, now: Parts) -> Iterator[_Pair]:
    """Return the parts of a pair that are there before and now, as pairs."""
    for step, was in before.items():
        if step in now and not (was is now[step] and type(was) in ATOMS):
            if pair.owner is None and step[0]:
                yield _Pair(was, now[step], _Way(step, pair.way))
            else:
                yield _Pair(was, now[step], pair.way, pair.owner or pair)


def _is_same(was: object, now: object) -> bool:
    if was is now:
        return True
    try:
        return type(was) is type(now) and bool(was == now)
    except Exception:  # a user's __eq__ may do anything
        return False


def _is_computed(kind: type, step: Step) -> bool:
    """Whether an attribute is put in its own place by what computes it, as by a ``functools.cached_property``."""
    how, name = step
    found = inspect.getattr_static(kind, str(name), None) if how == "." else None
    if isinstance(found, MemberDescriptorType):  # attrs makes a slot of each
        fields = inspect.getattr_static(kind, "__attrs_attrs__", None)
        return fields is not None and all(field.name != name for field in fields)
    is_method = callable(found) or isinstance(found, classmethod | partialmethod)
    return hasattr(found, "__get__") and not hasattr(found, "__set__") and not is_method


# ---- how it is shown ----

_BRACKETS: Final = (
    (list, "[]"),
    (deque, "[]"),
    (dict, "{}"),
    (MappingProxyType, "{}"),
    ((set, frozenset), "{}"),
)


def _assemble(kind: type, texts: Mapping[Step, str]) -> str:
    """Return the text of an object, made of the texts of its parts."""
    keyed = issubclass(kind, dict | MappingProxyType)
    attributes = [
        f"{name}={text}"
        for (how, name), text in texts.items()
        if how == "." and not str(name).startswith("__") and not (keyed and (how, name) == FACTORY)
    ]
    if keyed:
        items = [f"{_repr_of(key)}: {text}" for (how, key), text in texts.items() if how == "[]"]
    else:
        items = [text for (how, _), text in texts.items() if how != "."]
    if kind is tuple:
        return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"
    bracket = next((bracket for base, bracket in _BRACKETS if issubclass(kind, base)), None)
    if bracket is not None:
        items = [f"{bracket[0]}{', '.join(items)}{bracket[1]}"]
    return items[0] if kind in PLAIN else f"{kind.__name__}({', '.join(items + attributes)})"


def _repr_of(value: object) -> str:
    try:
        return repr(value)
    except Exception:  # a user's __repr__ may do anything
        return f"<unprintable {type(value).__name__}>"


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def _text_of_way(way: _Way | None) -> str:
    """Return a way as it is written; of a long one, its end."""
    texts: list[str] = []
    length = 0
    while way is not None and length <= SHOWN:
        how, which = way.step
        texts.append(f".{which}" if how == "." else f"{how[0]}{_cut(_repr_of(which))}{how[1]}")
        length += len(texts[-1])
        way = way.before
    return ("" if way is None else "…") + "".join(reversed(texts))
