"""Every error of the package, in one tree.

Each class is also the builtin that a caller who has never heard of this package would catch::

    CoalesceKitError
    ├── ConfigurationError (ValueError)        wrong use, told at decoration or construction
    │   └── KeyTemplateError                   a key template that cannot work
    ├── KeyDerivationError (TypeError)         these arguments make no safe key
    ├── UnshareableResultError (TypeError)     the result can be used only once
    ├── RecursiveFetchError (RecursionError)   waiting would wait for itself
    ├── FetchCancelledError (RuntimeError)     the fetch was cancelled, you were not
    ├── CoalescerClosedError (RuntimeError)    the coalescer was closed on this loop
    ├── FetchTimeoutError (TimeoutError)       the fetch outlasted fetch_timeout_seconds
    └── WaitTimeoutError (TimeoutError)        a waiter outlasted max_wait_seconds

Whatever the wrapped function raises passes through unwrapped.
"""

from __future__ import annotations


class CoalesceKitError(Exception):
    """The root of every error that this package raises of its own accord."""


class ConfigurationError(CoalesceKitError, ValueError):
    """The decorator, or a class of this package, was given something that cannot work."""


class KeyTemplateError(ConfigurationError):
    """A key template is malformed, or names something that the function does not have."""


class KeyDerivationError(CoalesceKitError, TypeError):
    """The arguments of one call make no key that is safe to share an answer under."""


class UnshareableResultError(CoalesceKitError, TypeError):
    """The wrapped function returned something that can be consumed only once."""


class RecursiveFetchError(CoalesceKitError, RecursionError):
    """Waiting for this fetch would, directly or over other fetches, wait for itself."""


class FetchCancelledError(CoalesceKitError, RuntimeError):
    """The shared fetch was cancelled although this caller was not.

    It is deliberately no ``CancelledError``: one that a caller did not ask for makes a
    ``TaskGroup`` finish as if nothing had happened.
    """


class CoalescerClosedError(CoalesceKitError, RuntimeError):
    """The coalescer was closed with ``aclose()`` on the running loop."""


class FetchTimeoutError(CoalesceKitError, TimeoutError):
    """The fetch ran longer than ``fetch_timeout_seconds`` and was cancelled for all its callers."""


class WaitTimeoutError(CoalesceKitError, TimeoutError):
    """This waiter waited longer than ``max_wait_seconds`` for a fetch begun by another caller."""
