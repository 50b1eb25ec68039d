"""What the tests of a cache stand on: what they put in, and that what a subclass says is a decorator of coalesced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from .contract_tools import Contract, check_what_came

MOST: Final = 8
"""How many results the caches of these tests have room for."""

TTL_SECONDS: Final = 60.0

_USED: Final = ("invalidate", "invalidate_all", "peek", "prime", "refresh", "stats")


class Keeping(Protocol):
    """What a subclass of the contract says."""

    def __call__(self, *, most: int, ttl: float) -> Callable[[Callable[..., Any]], Any]:
        """Return a decorator with a new cache."""
        ...


class Colliding:
    """Keys that all have one hash and are equal only to themselves by number."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __hash__(self) -> int:
        return 7

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Colliding) and other.number == self.number


def decorator_of(contract: Contract, keeping: Keeping) -> Callable[[Callable[..., Any]], Any]:
    """Return the decorator that a contract says, with one new cache behind it.

    Raises:
        TypeError: ``keeping`` returned something else.
    """
    decorator = keeping(most=MOST, ttl=TTL_SECONDS)
    expected = "a decorator, such as coalesced(ttl=ttl, cache=...)"
    check_what_came(contract, "keeping", decorator, expected=expected)
    if not callable(decorator):
        raise TypeError(
            f"{type(contract).__name__}.keeping() has to return {expected}, but it returned a "
            f"{type(decorator).__name__}: give that to the decorator"
        )
    return decorator


def kept_by(contract: Contract, keeping: Keeping, function: Callable[..., Any]) -> Any:
    """Return a function behind a new cache.

    Raises:
        TypeError: ``keeping`` returned no decorator, or one that does not make a function of ``coalesced``.
    """
    decorated = decorator_of(contract, keeping)(function)
    expected = "a decorator that makes what coalesced makes"
    check_what_came(contract, "keeping", decorated, expected=expected, needed=_USED)
    return decorated
