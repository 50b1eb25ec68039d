"""Chaos: whatever a coalescer, a store, a cache or a function is asked, now and then something goes wrong on the way.

::

    from coalesce_kit.testing.chaos import Chaos, chaotic

    chaos = Chaos(throw=0.1, drop=0.1, duplicate=0.1, delay=0.3, seed=7)
    store = chaotic(MemoryStore(server), chaos)
    coalescer = chaotic(RequestCoalescer(), chaos)
    upstream = chaotic(fetch_fixtures, chaos)
    cache = MemoryCache(cache=chaotic(cachetools.LRUCache(1000), chaos))

The same seed makes the same things go wrong, if the same is asked in the same order. ``print(chaos)`` says what did.
"""

from __future__ import annotations

import inspect
from collections.abc import MutableMapping
from functools import partial
from typing import Final, TypeVar, cast

from .chaos_in_mappings import strike_mapping
from .chaos_in_objects import strike_function, strike_object
from .mishaps import Chaos, ChaosError

__all__ = ["SPARED", "Chaos", "ChaosError", "chaotic"]

T = TypeVar("T")

SPARED: Final = ("aclose", "drain")
"""What nothing happens to by default: a test wants to end."""


def chaotic(target: T, chaos: Chaos, *, sparing: tuple[str, ...] = SPARED) -> T:
    """Return something that does what ``target`` does, with chaos on the way.

    Args:
        target: an async function, or a part of one; an object with async methods, such as a coalescer or a store, of
            which whatever is called and hands out something to await is struck, and an asynchronous iterator item by
            item; or a mapping, such as a cache of cachetools, which is changed in its place, and struck in
            ``[]`` and ``[] =``, and so in what goes through them. What is more than an awaitable,
            such as a context manager, is left alone, and so is what is no awaitable at all.
        chaos: what goes wrong.
        sparing: names of methods of an object that nothing happens to.

    Raises:
        TypeError: it is none of these, or a mapping that is asked past its items, such as a ``dict`` or the package's
            own ``S3FIFOCache``: nothing would ever happen to it; ``chaos`` is no ``Chaos``, or ``sparing`` one text.
        ValueError: what is to be spared is no method of the object.
    """
    if not isinstance(chaos, Chaos):
        raise TypeError(f"chaotic takes a Chaos, such as Chaos(throw=0.5), not {chaos!r}")
    _refuse_to_spare_nothing(target, sparing)
    if inspect.isroutine(target) or isinstance(target, partial):
        return cast("T", strike_function(target, chaos))
    if isinstance(target, MutableMapping):
        strike_mapping(target, chaos)
        return target
    if isinstance(target, type) or type(target).__module__ == "builtins":
        given = f"the class {target.__name__}: make one" if isinstance(target, type) else repr(target)
        raise TypeError(
            f"chaotic takes an async function, an object with async methods, or a mapping such as "
            f"cachetools.LRUCache(...), not {given}"
        )
    return cast("T", strike_object(target, chaos, frozenset(sparing)))


def _refuse_to_spare_nothing(target: object, sparing: tuple[str, ...]) -> None:
    if isinstance(sparing, str):
        raise TypeError(f"sparing takes names of methods, as in sparing=({sparing!r},), not the text {sparing!r}")
    is_object = not (inspect.isroutine(target) or isinstance(target, partial | MutableMapping))
    for name in sparing:
        if name not in SPARED and not (is_object and callable(getattr(target, name, None))):
            raise ValueError(f"sparing={sparing!r}: {target!r} has no method {name!r} that could be spared")
