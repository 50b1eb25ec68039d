"""Chaos in mappings: what is put and what is looked up is lost, or comes to nothing."""

from __future__ import annotations

import contextlib
from typing import Any

from .mishaps import Chaos


def strike_mapping(mapping: Any, chaos: Chaos) -> None:
    """Give a mapping a class of its own, between it and its methods: whoever holds it already is struck, too."""
    kind: Any = type(mapping)
    # The package's own cache is known by what MemoryCache asks it: testing/ does not know the room that it stands in.
    if isinstance(mapping, dict) or (hasattr(kind, "find") and hasattr(kind, "insert")):
        raise TypeError(
            f"a {kind.__name__} is asked past its [], where chaos could strike it, so that nothing would go wrong: "
            f"give a cache of cachetools, such as cachetools.LRUCache(...), or a collections.UserDict()"
        )

    def look(self: Any, key: Any) -> Any:
        if chaos.happens("throw", "get"):
            raise chaos.error("get", "failed")
        if chaos.happens("drop", "get"):
            with contextlib.suppress(KeyError):  # not `if key in self`: some ask for the item to know
                del self[key]
        return kind.__getitem__(self, key)

    def get(self: Any, key: Any, default: Any = None) -> Any:
        try:
            return kind.get(self, key, default)
        except KeyError:  # it was there when it was looked for, and forgotten when it was asked for
            return default

    def put(self: Any, key: Any, value: Any) -> None:
        answer_is_lost = chaos.happens("throw", "put")
        if not chaos.happens("drop", "put"):
            for _ in range(1 + chaos.happens("duplicate", "put")):
                kind.__setitem__(self, key, value)
        if answer_is_lost:
            raise chaos.error("put", "was done, and its answer got lost")

    # without slots of its own: or the class of what has no room for any could not be exchanged
    members = {"__getitem__": look, "get": get, "__setitem__": put, "__module__": kind.__module__, "__slots__": ()}
    mapping.__class__ = type(f"Chaotic{kind.__name__}", (kind,), members)
