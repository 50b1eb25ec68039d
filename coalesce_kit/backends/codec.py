"""Results to bytes and back: MessagePack, read into the type that the function is annotated to return.

A process that is given another's result must not be able to tell. Bytes are therefore decoded strictly into the return
annotation, never into whatever they look like; and because an annotation may say little (``dict``) or lie, whoever
publishes decodes its own bytes first and compares. A result that comes back as something else is its caller's all the
same; it is not shared, and it is counted.

What an annotation may hold is what ``msgspec`` knows: builtin types and containers, dataclasses, attrs classes,
``TypedDict``, ``NamedTuple``, ``Struct``, ``Enum``, ``UUID``, ``datetime`` and its kin, ``Decimal``, ``Literal``,
unions. Where a pydantic model occurs in it, pydantic's own ``TypeAdapter`` does the reading.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any, Final, Protocol

from ..entry import MISSING
from ..errors import ConfigurationError
from ..protocols import Codec
from .annotations import Shape, fingerprint, return_annotation, says_nothing
from .likeness import Likeness

_KEPT_AS_THEY_ARE: Final = (bytes, bytearray, memoryview)
_MESSAGEPACK: Final = b"p"
_JSON: Final = b"j"
_SUPPORTED: Final = (
    "builtin types and containers, dataclasses, TypedDict, NamedTuple, Struct, attrs classes, pydantic models, Enum,"
    " UUID, datetime, Decimal"
)


class CodecError(Exception):
    """A result has no bytes that bring it back, or bytes are no result. It never reaches a caller."""


class ResultCodec(Protocol):
    """The codec of one function."""

    @property
    def fingerprint(self) -> str:
        """What stands for the type and for how it is written; a part of the record's key."""
        ...

    def encode(self, value: Any) -> bytes:
        """Return bytes that ``decode`` makes an equal value of.

        Raises:
            CodecError: there are none; its text names types and places and no values.
        """
        ...

    def decode(self, body: bytes) -> Any:
        """Return the value that the bytes stand for.

        Raises:
            CodecError: they stand for none.
        """
        ...


def codec_of(function: Callable[..., object], *, name: str, codec: Codec | None = None) -> ResultCodec:
    """Return the codec of a function: that of its return annotation, or the given one, for that annotation if any.

    Raises:
        ConfigurationError: as ``return_annotation`` and ``codec_for``; with a ``codec`` only if that is none.
    """
    try:
        annotation = return_annotation(function, name=name)
    except ConfigurationError:
        if codec is None:
            raise
        annotation = MISSING
    return codec_for(annotation, name=name, codec=codec)


def codec_for(annotation: object, *, name: str, codec: Codec | None = None) -> ResultCodec:
    """Return the codec of a function.

    Args:
        annotation: what the function returns (``return_annotation``).
        name: the function's, for messages.
        codec: used instead of what the annotation says.

    Raises:
        ConfigurationError: the annotation says nothing, or holds what cannot be written, and there is no ``codec``; or
            ``msgspec`` is not installed.
    """
    if codec is not None:
        return _PluggedCodec(annotation, codec, name=name)
    if says_nothing(annotation):
        raise ConfigurationError(
            f"{name}: with a shared store the result must be read back in another process, and the function does not"
            " say what it returns; annotate it, as in `-> list[Fixture]`, or give the backend a codec="
        )
    try:
        import msgspec  # noqa: PLC0415  # an extra, and this file owns it
    except ImportError as error:
        raise ConfigurationError(
            f'{name}: a shared store needs msgspec to write results; pip install "coalesce-kit[redis]", or give the'
            " backend a codec="
        ) from error
    shape = Shape()
    try:
        shape.of(annotation)
        if shape.models:
            return _ModelCodec(annotation, msgspec)
        decoder = msgspec.msgpack.Decoder(annotation)
        unknown = _unknown_types(msgspec.inspect, msgspec.inspect.type_info(annotation))
    except Exception as error:  # libraries and annotations of users may fail as they like
        raise ConfigurationError(_cannot_write(name, annotation, f"{type(error).__name__}: {error}")) from error
    if unknown:
        raise ConfigurationError(_cannot_write(name, annotation, f"it holds {unknown[0]}"))
    return _TypedCodec(annotation, msgspec, decoder.decode)


class _Plain:
    """What msgspec writes by itself: plain values, and whatever it can take apart into them."""

    def __init__(self, msgspec: Any) -> None:
        self._plain = msgspec.to_builtins
        self._write = msgspec.msgpack.encode

    def __call__(self, value: object) -> bytes:
        # As texts datetimes keep their offset, which they lose as MessagePack's own timestamps.
        body: bytes = self._write(self._plain(value, builtin_types=_KEPT_AS_THEY_ARE))
        return body


class _TypedCodec:
    """The codec of a type that msgspec reads by itself."""

    def __init__(self, annotation: object, msgspec: Any, decode: Callable[[bytes], Any]) -> None:
        self.fingerprint = fingerprint(annotation, coded_by="msgpack 1")
        self._write = _Plain(msgspec)
        self._decode = decode
        self._likeness = Likeness()

    def encode(self, value: Any) -> bytes:
        try:
            body = self._write(value)
            difference = self._likeness.compare(value, self._decode(body)).difference
        except Exception as error:  # whatever a value of a user does when it is looked at
            raise _cannot_be_written(value, error) from error
        if difference is not None:
            raise CodecError(difference)
        return body

    def decode(self, body: bytes) -> Any:
        try:
            return self._decode(body)
        except Exception as error:
            raise _cannot_be_read(error) from error


class _ModelCodec:
    """The codec of what holds pydantic models: pydantic turns it into plain values and back.

    The first byte of a body says how the plain values are written: as MessagePack, or as pydantic's own JSON for what
    has no plain values but texts. Fields that were not given are left out where that brings the same value back, so
    that ``exclude_unset`` means the same in every process.
    """

    def __init__(self, annotation: object, msgspec: Any) -> None:
        adapter: Any = sys.modules["pydantic"].TypeAdapter(annotation)  # whoever has a model has the library
        by_name = "by_name" in inspect.signature(adapter.validate_python).parameters
        self.fingerprint = fingerprint(annotation, coded_by="pydantic 1")
        # Older releases know no names where a field has an alias.
        self._reading = {"by_name": True, "by_alias": False} if by_name else {}
        self._dumping = {"round_trip": True, "by_alias": not by_name, "warnings": False}
        self._adapter = adapter
        self._write = _Plain(msgspec)
        self._read = msgspec.msgpack.Decoder().decode
        self._first = _MESSAGEPACK
        self._likeness = Likeness()

    def encode(self, value: Any) -> bytes:
        reason: CodecError | None = None
        for form in (self._first, _JSON if self._first == _MESSAGEPACK else _MESSAGEPACK):
            for exclude_unset in (True, False):
                try:
                    body = form + self._dump(form, value, exclude_unset=exclude_unset)
                    verdict = self._likeness.compare(value, self._load(body))
                except Exception as error:  # validators and serializers of users may fail as they like
                    reason = reason or _cannot_be_written(value, error)
                    break
                if verdict.is_exact or (verdict.difference is None and not exclude_unset):
                    self._first = form
                    return body
                if verdict.difference is not None and not exclude_unset:
                    reason = reason or CodecError(verdict.difference)
        assert reason is not None
        raise reason

    def decode(self, body: bytes) -> Any:
        try:
            return self._load(body)
        except Exception as error:
            raise _cannot_be_read(error) from error

    def _dump(self, form: bytes, value: object, *, exclude_unset: bool) -> bytes:
        if form == _MESSAGEPACK:
            return self._write(self._adapter.dump_python(value, exclude_unset=exclude_unset, **self._dumping))
        dumped: bytes = self._adapter.dump_json(value, exclude_unset=exclude_unset, **self._dumping)
        return dumped

    def _load(self, body: bytes) -> Any:
        if body[:1] == _JSON:
            return self._adapter.validate_json(body[1:], **self._reading)
        if body[:1] == _MESSAGEPACK:
            return self._adapter.validate_python(self._read(body[1:]), **self._reading)
        raise ValueError("an unknown form")


class _PluggedCodec:
    """A codec that the user brought: it answers for itself."""

    def __init__(self, annotation: object, codec: Codec, *, name: str) -> None:
        if not (callable(getattr(codec, "encode", None)) and callable(getattr(codec, "decode", None))):
            raise ConfigurationError(
                f"{name}: codec= takes an object with encode(value) and decode(body), not {codec!r}"
                f" ({type(codec).__name__})"
            )
        cls = type(codec)
        coded_by = getattr(codec, "fingerprint", f"{cls.__module__}.{cls.__qualname__}")
        coded_by = f"codec {coded_by}"
        try:
            self.fingerprint = fingerprint(None if says_nothing(annotation) else annotation, coded_by=coded_by)
        except Exception:  # the codec may take what nobody can take apart
            self.fingerprint = fingerprint(None, coded_by=coded_by)
        self._codec = codec

    def encode(self, value: Any) -> bytes:
        try:
            return bytes(self._codec.encode(value))
        except Exception as error:
            raise _cannot_be_written(value, error) from error

    def decode(self, body: bytes) -> Any:
        try:
            return self._codec.decode(body)
        except Exception as error:
            raise _cannot_be_read(error) from error


def _cannot_be_written(value: object, error: Exception) -> CodecError:
    # The error's own text may quote the value.
    return CodecError(f"{type(error).__name__} while a {type(value).__name__} was written")


def _cannot_be_read(error: Exception) -> CodecError:
    return CodecError(f"{type(error).__name__} while a result was read")


def _cannot_write(name: str, annotation: object, why: str) -> str:
    return (
        f"{name}: results annotated {annotation!r} cannot be written for other processes ({why}); annotate what can be:"
        f" {_SUPPORTED}; or give the backend a codec="
    )


def _unknown_types(inspect: Any, info: Any) -> list[str]:
    """Return the names of the types that msgspec would hand to hooks, of which there are none."""
    unknown: list[str] = []
    seen: set[int] = set()
    waiting = [info]
    while waiting:
        one = waiting.pop()
        if isinstance(one, tuple | list):
            waiting.extend(one)
        elif isinstance(one, inspect.Type | inspect.Field) and id(one) not in seen:
            seen.add(id(one))
            if isinstance(one, inspect.CustomType):
                unknown.append(f"{one.cls.__module__}.{one.cls.__qualname__}")
            waiting.extend(getattr(one, name) for name in one.__struct_fields__)
    return unknown
