"""What methods need beyond functions: an instance that is one, and a warning when instances never come twice."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from types import FunctionType
from typing import Final

logger = logging.getLogger(__name__)

FIRST_PARAMETERS: Final = ("self", "cls")
"""A function whose first parameter is called so is a method; nothing else is guessed."""

_CALLS_WATCHED: Final = 100
_LAYERS_LOOKED_THROUGH: Final = 32
"""Decorators on top of a method that are looked through; a chain of ``__wrapped__`` may be a circle."""


def require_instance(first: object, call: FunctionType, *, attribute: str) -> None:
    """Refuse a method's attribute that was reached through an instance, and therefore cannot see it.

    Args:
        first: what should be an instance, or a class.
        call: the decorated method, which must stand in the MRO of ``first``.
        attribute: which attribute it was, for the message.

    Raises:
        TypeError: ``first`` does not have this method; ``bound`` is named as the way out.
    """
    classes = list(type(first).__mro__)
    if isinstance(first, type):
        classes = [*first.__mro__, *classes]
    spaces = [vars(one) for one in classes]
    if any(_leads_to(space.get(call.__name__), call) for space in spaces):
        return
    # under another name: an alias, or a decorator that renames
    if any(_leads_to(member, call) for space in spaces for member in space.values()):
        return
    method = call.__qualname__.rpartition("<locals>.")[2]
    raise TypeError(
        f"{attribute} of the method {method} takes the instance first, and {type(first).__name__} is no class with "
        f"this method: write bound(service.{call.__name__}).{attribute}(...), or {method}.{attribute}(service, ...)"
    )


def _leads_to(member: object, call: object) -> bool:
    for _ in range(_LAYERS_LOOKED_THROUGH):
        if member is call:
            return True
        member = getattr(member, "__func__", None) or getattr(member, "__wrapped__", None)
        if member is None:
            return False
    return False


class InstanceWatch:
    """Watches the first calls of a method, for services that are built anew for every request.

    Such a service never coalesces anything: its instance is part of the key. Instances are told apart by weak
    references, never by ``id`` alone, because the next service of the next request may get the address of the last one.

    Args:
        name: the method's name.
        first: the name of its first parameter.

    Attributes:
        end: called when there is nothing to watch any more.
        ended: there is nothing to watch any more.
        never_shared: every one of the calls watched came from another instance.
    """

    __slots__ = ("_first", "_name", "_seen", "_seen_calls", "end", "ended", "never_shared")

    def __init__(self, name: str, *, first: str) -> None:
        self._name = name
        self._first = first
        self.end: Callable[[], None]
        self._seen: dict[int, weakref.ref[object]] = {}
        self._seen_calls = 0
        self.ended = False
        self.never_shared = False

    def __call__(self, instance: object) -> None:
        """Take note of one call."""
        known = self._seen.get(id(instance))
        if known is not None and known() is instance:
            self._stop()  # it came twice: instances live longer than a call
            return
        try:
            self._seen[id(instance)] = weakref.ref(instance)
        except TypeError:
            self._stop()  # it cannot be told from the next one
            return
        self._seen_calls += 1
        if self._seen_calls == _CALLS_WATCHED:
            self.never_shared = True
            self._stop()
            logger.warning(
                "instance_per_call: %s",
                self.way_out(),
                extra={"function": self._name, "calls": _CALLS_WATCHED, "instances": _CALLS_WATCHED},
            )

    def way_out(self) -> str:
        """Say what is wrong with a method whose every call comes from another instance, and what to do."""
        return (
            f"the first {_CALLS_WATCHED} calls of {self._name} came from {_CALLS_WATCHED} instances, and the instance "
            f"is part of the key, so none of them was shared. Build the service once, or name in the key what tells "
            f'its answers apart: key="{{{self._first}.tenant}}:...", or ignore=("{self._first}",) if nothing does'
        )

    def _stop(self) -> None:
        self._seen = {}
        self.ended = True
        self.end()
