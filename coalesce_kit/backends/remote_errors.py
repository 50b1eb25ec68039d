"""A failure on its way to another process: types looked up in a declaration, data of a few known classes, no code.

The function's own declaration says which failures are shared as what they are (``error_ttl``, ``always_raise``,
``shared_errors=``). Nothing else is ever looked up by the name that stands in the bytes: it is compared with the
names of the declared classes, and every other failure arrives as a ``RemoteFetchError``.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from ..errors import RemoteFetchError

MAX_MESSAGE: Final = 2_000
"""The most characters of an error's message that travel."""

_MAX_DEPTH: Final = 8
_BARE: Final = (str, int, float, bool, type(None))


class _UnportableError(Exception):
    """A value that an error holds is of no class that travels."""


def encode_error(
    error: BaseException, *, declared: Iterable[type[BaseException]] = (), share_messages: bool = False, origin: str
) -> bytes:
    """Return the bytes of a failure. Never raises.

    Args:
        error: what the fetch raised.
        declared: the types that the function shares as what they are, with their arguments and attributes.
        share_messages: whether the message of any other failure travels.
        origin: which process this is, for people.
    """
    wanted = frozenset(declared)
    told: dict[str, object] = {"type": _name_of(type(error)), "origin": origin}
    kin = [cls for cls in type(error).__mro__ if cls in wanted]
    if kin:
        told["kin"] = [_name_of(cls) for cls in kin]
        try:
            told["args"] = _packed(list(error.args))
            told["attributes"] = _packed(dict(vars(error)))
        except Exception:  # an argument may be anything
            del told["kin"]
    if share_messages or kin:
        try:
            told["message"] = str(error)[:MAX_MESSAGE]
        except Exception:  # so may __str__
            told["message"] = ""
    return json.dumps(told).encode()


def decode_error(body: bytes, *, declared: Iterable[type[BaseException]] = ()) -> BaseException:
    """Return the failure that the bytes tell of, as one of the declared types or as a ``RemoteFetchError``.

    No ``__init__`` is run: the error is given the arguments and attributes that it had.

    Args:
        body: what ``encode_error`` returned.
        declared: the types that may be rebuilt; nothing else is.

    Raises:
        ValueError: the bytes tell of no failure.
    """
    try:
        told: dict[str, Any] = json.loads(body)
        type_name, origin = str(told["type"]), str(told["origin"])
        message = str(told.get("message", ""))
        kin = [name for name in told.get("kin", ()) if isinstance(name, str)]
        args, attributes = _unpacked(told.get("args")), _unpacked(told.get("attributes"))
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    except Exception as error:
        raise ValueError(f"no failure: {type(error).__name__}") from error
    known = {_name_of(cls): cls for cls in declared}
    cls = next((known[name] for name in kin if name in known), None)
    if cls is not None and isinstance(args, list) and isinstance(attributes, dict):
        rebuilt = _rebuilt(cls, args, attributes)
        if rebuilt is not None:
            rebuilt.add_note(f"raised as {type_name} in {origin}, which fetched for this process")
            return rebuilt
    said = f": {message}" if message else ""
    return RemoteFetchError(f"the fetch failed in {origin} with {type_name}{said}", type_name=type_name, origin=origin)


def _rebuilt(cls: type[BaseException], args: list[Any], attributes: dict[str, Any]) -> BaseException | None:
    builtin: type[BaseException] = next(one for one in cls.__mro__ if one.__module__ == "builtins")
    try:
        error: BaseException = builtin.__new__(cls, *args)
        error.args = tuple(args)
        vars(error).update((name, value) for name, value in attributes.items() if isinstance(name, str))
        vars(error).pop("__notes__", None)
    except Exception:  # it was made of other arguments than it kept
        return None
    return error


def _name_of(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _packed(value: Any, depth: int = 0) -> object:
    """Write a value for JSON: what JSON has not is a list of the name of its class and its text."""
    cls = type(value)
    if depth > _MAX_DEPTH:
        raise _UnportableError
    if cls in _BARE:
        return value
    if cls is list or cls is tuple or cls is set or cls is frozenset:
        return [cls.__name__, [_packed(one, depth + 1) for one in value]]
    if cls is dict:
        return ["dict", [[_packed(key, depth + 1), _packed(one, depth + 1)] for key, one in value.items()]]
    if cls is bytes:
        return ["bytes", base64.b64encode(value).decode()]
    if cls is timedelta:
        return ["timedelta", [value.days, value.seconds, value.microseconds]]
    if cls in (datetime, date, time):
        return [cls.__name__, value.isoformat()]
    if cls is UUID or cls is Decimal:
        return [cls.__name__, str(value)]
    raise _UnportableError


_READ: Final[dict[str, Callable[[Any], Any]]] = {
    "bytes": lambda text: base64.b64decode(text, validate=True),
    "timedelta": lambda parts: timedelta(*parts),
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "UUID": UUID,
    "Decimal": Decimal,
    "list": lambda items: [_unpacked(one) for one in items],
    "tuple": lambda items: tuple([_unpacked(one) for one in items]),
    "set": lambda items: {_unpacked(one) for one in items},
    "frozenset": lambda items: frozenset([_unpacked(one) for one in items]),
    "dict": lambda items: {_unpacked(key): _unpacked(one) for key, one in items},
}


def _unpacked(written: Any) -> Any:
    if isinstance(written, list):
        name, content = written
        return _READ[name](content)
    return None if isinstance(written, dict) else written
