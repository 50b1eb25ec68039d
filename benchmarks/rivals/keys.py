"""Keys as their users would write them where a rival takes a key function: bound, with defaults, and typed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable
from typing import Any


def typed_and_bound(function: Callable[..., Any]) -> Callable[..., Hashable]:
    """Return what makes of a call's arguments a key that is the same however they are spelt, with their types."""
    signature = inspect.signature(function)

    def key(*args: Any, **kwargs: Any) -> Hashable:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return tuple((value.__class__, value) for value in bound.arguments.values())

    return key


def typed_and_bound_text(function: Callable[..., Any]) -> Callable[..., str]:
    """Return the same for rivals whose keys are strings."""
    key = typed_and_bound(function)

    def text(*args: Any, **kwargs: Any) -> str:
        return f"{function.__module__}.{function.__qualname__}{key(*args, **kwargs)!r}"

    return text
