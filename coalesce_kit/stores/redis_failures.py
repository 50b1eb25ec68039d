"""What an error of redis-py means for an operation: try again, not now, or not at all."""

from __future__ import annotations

import enum
from typing import Final

from redis import exceptions


class Failure(enum.Enum):
    """What to do about an operation that failed."""

    CUT = "the connection was lost: once more, it may have happened"
    LATE = "no answer in time"
    DEMOTED = "the server is no primary any more: find it again, once more"
    UNKNOWN_SCRIPT = "the server does not know the script: send its text"
    NOT_NOW = "the server is up and in no state to answer"
    REFUSED = "the server will not do it"


NOT_NOW_CODES: Final = ("LOADING", "CLUSTERDOWN", "MASTERDOWN", "BUSY", "NOREPLICAS", "TRYAGAIN", "UNKILLABLE")

_NOT_NOW: Final = (
    exceptions.BusyLoadingError,
    exceptions.ClusterDownError,
    exceptions.MasterDownError,
    exceptions.TryAgainError,
    exceptions.MaxConnectionsError,
)
_REFUSED: Final = (exceptions.AuthenticationError, exceptions.AuthorizationError)


def judge(error: BaseException) -> Failure:
    """Tell what an error means.

    The server's codes come first: redis-py has classes of its own for some, and for others a text that begins with
    the code; inside a script it may stand behind ``ERR``.
    """
    if isinstance(error, _REFUSED):
        return Failure.REFUSED
    if isinstance(error, _NOT_NOW):
        return Failure.NOT_NOW
    if isinstance(error, exceptions.NoScriptError):
        return Failure.UNKNOWN_SCRIPT
    if isinstance(error, exceptions.ReadOnlyError):
        return Failure.DEMOTED
    if isinstance(error, exceptions.TimeoutError | TimeoutError):
        return Failure.LATE
    if isinstance(error, exceptions.ConnectionError | OSError | EOFError | exceptions.InvalidResponse):
        return Failure.CUT
    code = str(error).removeprefix("ERR ").lstrip("-").partition(" ")[0]
    if code == "READONLY":
        return Failure.DEMOTED
    if code == "NOSCRIPT":
        return Failure.UNKNOWN_SCRIPT
    if code in NOT_NOW_CODES:
        return Failure.NOT_NOW
    if isinstance(error, exceptions.RedisClusterException) and not isinstance(error, exceptions.ResponseError):
        return Failure.CUT  # the client found no node that answers
    return Failure.REFUSED
