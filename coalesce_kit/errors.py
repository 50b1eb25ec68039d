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
    ├── WaitTimeoutError (TimeoutError)        a waiter outlasted max_wait_seconds
    ├── StoreUnavailableError (ConnectionError)  the store cannot be reached, or cannot answer now
    ├── StoreRefusedError (RuntimeError)       the store answered that it will not do this
    └── RemoteFetchError (RuntimeError)        the fetch failed in another process

Whatever the wrapped function raises passes through unwrapped.
"""

from __future__ import annotations

from functools import partial


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


class StoreUnavailableError(CoalesceKitError, ConnectionError):
    """The store cannot be reached, or is in no state to answer. Whether an operation happened is not known."""


class StoreRefusedError(CoalesceKitError, RuntimeError):
    """The store was reached and will not do this: no memory left, a permission missing, a key that is no record."""


class RemoteFetchError(CoalesceKitError, RuntimeError):
    """The fetch that this caller waited for failed in another process, with an error that is not rebuilt here.

    Attributes:
        type_name: the error's type in that process, as ``module.qualname``.
        origin: which process that was.
    """

    def __init__(self, message: str, *, type_name: str, origin: str) -> None:
        super().__init__(message)
        self.type_name = type_name
        self.origin = origin

    def __reduce__(self) -> tuple[object, ...]:
        make = partial(RemoteFetchError, type_name=self.type_name, origin=self.origin)
        return make, self.args, self.__dict__
