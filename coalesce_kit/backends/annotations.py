"""Annotations taken apart: what a function says that it returns, and a text that stands for the shape of that type.

The shape is what its bytes depend on: the names and types of fields, not the module in which a class stands nor the
order of a union. The digest of its text is the *fingerprint*: equal in every process that runs the same types, and
different as soon as a field, a type, a default or a name on the wire is.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING as NO_DEFAULT, fields, is_dataclass
from enum import Enum
from hashlib import blake2b
from typing import Any, Final

from ..entry import MISSING, MissingType
from ..errors import ConfigurationError

_UNUSABLE: Final = (MISSING, Any, object, inspect.Signature.empty)
_UNIONS: Final = (typing.Union, types.UnionType)


def return_annotation(function: Callable[..., object], *, name: str) -> object | MissingType:
    """Return what ``function`` is annotated to return, strings resolved; ``MISSING`` without an annotation.

    Only the return annotation is resolved: those of parameters may name what exists for a type checker only.

    Args:
        function: the wrapped function; a ``partial`` of one, or an object with an async ``__call__``, is looked into.
        name: the function's, for messages.

    Raises:
        ConfigurationError: the annotation names something that does not exist when the function is decorated.
    """
    written: Any = function
    while isinstance(written, functools.partial):
        written = written.func
    if not hasattr(written, "__annotations__") or isinstance(written, type):
        written = type(written).__call__
    written = getattr(written, "__func__", written)
    annotation: object = getattr(written, "__annotations__", {}).get("return", MISSING)
    if annotation is MISSING:
        return MISSING
    innermost = inspect.unwrap(written)
    try:
        return resolved(annotation, getattr(innermost, "__globals__", {}), _closure_of(innermost))
    except Exception as error:  # an annotation in quotes is code, and may do anything when it is run
        raise ConfigurationError(
            f"{name}: its return annotation {annotation!r} cannot be resolved when it is decorated"
            f" ({type(error).__name__}: {error}), and another process's answer is read into that type; define or import"
            " the type at run time above the function, or give the backend a codec="
        ) from error


def resolved(annotation: object, global_names: Mapping[str, object], local_names: Mapping[str, object]) -> object:
    """Return an annotation with the strings in it evaluated."""

    def holder() -> None: ...

    holder.__annotations__ = {"return": annotation}
    hints = typing.get_type_hints(holder, dict(global_names), dict(local_names), include_extras=True)
    return hints["return"]


def says_nothing(annotation: object) -> bool:
    """Whether an annotation tells nothing about the result: it is missing, ``Any``, ``object`` or a type variable."""
    while typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    return any(annotation is one for one in _UNUSABLE) or isinstance(annotation, typing.TypeVar)


def fingerprint(annotation: object, *, coded_by: str = "") -> str:
    """Return 16 characters that stand for the shape of a type and for what makes bytes of it."""
    text = f"{coded_by}\n{Shape().of(annotation)}"
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


class Shape:
    """The reading of one annotation.

    Attributes:
        models: the pydantic classes that were met.
    """

    def __init__(self) -> None:
        self.models: list[type] = []
        self._open: dict[object, int] = {}

    def of(self, annotation: Any) -> str:
        """Return the text of an annotation's shape."""
        if annotation is None or annotation is type(None):
            return "None"
        if annotation is Ellipsis:
            return "..."
        if isinstance(annotation, list | tuple):  # the parameters of a Callable, the unpacked ones of a tuple
            return self._listed(annotation)
        if isinstance(annotation, typing.TypeVar):
            return f"~{annotation.__name__}"
        origin, args = typing.get_origin(annotation), typing.get_args(annotation)
        if origin is typing.Annotated:
            return self._annotated(args[0], annotation.__metadata__)
        if origin is typing.Literal:
            return f"Literal[{', '.join(sorted(stable(one) for one in args))}]"
        if origin in _UNIONS:
            return " | ".join(sorted(set(map(self.of, args))))
        if origin is not None and origin is not annotation:
            # Of a generic record the arguments fill the variables that its fields mention.
            return self.of(origin) + (f"[{', '.join(map(self.of, args))}]" if args else "")
        if hasattr(annotation, "__supertype__"):  # a NewType
            return self.of(annotation.__supertype__)
        if hasattr(annotation, "__value__"):  # a `type` statement's alias
            return self._once(annotation, lambda: self.of(annotation.__value__))
        if isinstance(annotation, type):
            return self._class(annotation)
        return stable(annotation)

    def _listed(self, annotations: Iterable[object]) -> str:
        return f"[{', '.join(map(self.of, annotations))}]"

    def _annotated(self, annotation: object, metadata: Iterable[object]) -> str:
        return f"{self.of(annotation)} with {', '.join(map(stable, metadata))}"

    def _once(self, one: Any, read: Callable[[], str]) -> str:
        """Read a type that may contain itself: inside itself it is a number."""
        number = self._open.get(one)
        if number is not None:
            return f"^{number}"
        self._open[one] = len(self._open)
        try:
            return read()
        finally:
            del self._open[one]

    def _class(self, cls: type) -> str:
        if cls.__module__ == "builtins":
            return cls.__qualname__
        if issubclass(cls, Enum):
            members = [f"{name}={stable(member.value)}" for name, member in cls.__members__.items()]
            return f"enum {cls.__qualname__}({', '.join(members)})"
        return self._once(cls, lambda: self._record(cls))

    def _record(self, cls: type) -> str:
        """Read a class by the marks of its library, without importing it."""
        if hasattr(cls, "__pydantic_validator__"):
            self.models.append(cls)
            return self._model(cls)
        if isinstance(getattr(cls, "__struct_fields__", None), tuple):
            return self._struct(cls)
        if is_dataclass(cls):
            lines = [(field.name, _default_of(field)) for field in fields(cls)]
            return self._fields(f"dataclass {cls.__qualname__}", cls, lines)
        if isinstance(getattr(cls, "__attrs_attrs__", None), tuple):
            written: Any = cls
            attributes = [(one.name, stable(one.default)) for one in written.__attrs_attrs__]
            return self._fields(f"attrs {cls.__qualname__}", cls, attributes)
        if typing.is_typeddict(cls):
            required: frozenset[str] = getattr(cls, "__required_keys__", frozenset())
            keys = [(name, "" if name in required else "?") for name in sorted(cls.__annotations__)]
            return self._fields(f"TypedDict {cls.__qualname__}", cls, keys)
        if issubclass(cls, tuple) and hasattr(cls, "_fields"):
            defaults: dict[str, object] = getattr(cls, "_field_defaults", {})
            items = [(name, stable(defaults[name]) if name in defaults else "") for name in cls._fields]
            return self._fields(f"NamedTuple {cls.__qualname__}", cls, items)
        return f"{cls.__module__}.{cls.__qualname__}"

    def _fields(self, head: str, cls: type, lines: Iterable[tuple[str, str]]) -> str:
        hints = typing.get_type_hints(cls, include_extras=True)
        texts = [
            f"{name}: {self.of(hints.get(name, Any))}{f' = {default}' if default else ''}" for name, default in lines
        ]
        return f"{head}({', '.join(texts)})"

    def _struct(self, cls: Any) -> str:
        config = cls.__struct_config__
        switches = ("tag", "tag_field", "array_like", "forbid_unknown_fields", "omit_defaults")
        set_ones = [f"{name}={stable(getattr(config, name))}" for name in switches if getattr(config, name)]
        plain = len(cls.__struct_fields__) - len(cls.__struct_defaults__)
        lines = [
            (name, stable(cls.__struct_defaults__[index - plain]) if index >= plain else "")
            for index, name in enumerate(cls.__struct_fields__)
        ]
        wire = f" as {', '.join(cls.__struct_encode_fields__)}"
        head = f"Struct {cls.__qualname__}{wire if cls.__struct_encode_fields__ != cls.__struct_fields__ else ''}"
        return self._fields(f"{head}{{{', '.join(set_ones)}}}", cls, lines)

    def _model(self, cls: Any) -> str:
        declared: Mapping[str, Any] = getattr(cls, "__pydantic_fields__", None) or getattr(cls, "model_fields", {})
        config = getattr(cls, "model_config", None) or getattr(cls, "__pydantic_config__", None) or {}
        texts = [f"{name}={stable(config[name])}" for name in sorted(config)]
        for name, field in declared.items():
            aliases = (field.alias, field.validation_alias, field.serialization_alias)
            wire = f" as {', '.join(map(stable, aliases))}" if any(aliases) else ""
            default = "" if field.is_required() else f" = {stable(field.default_factory or field.default)}"
            metadata = f" with {', '.join(map(stable, field.metadata))}" if field.metadata else ""
            texts.append(f"{name}{wire}: {self.of(field.annotation)}{metadata}{default}")
        return f"model {cls.__qualname__}({', '.join(texts)})"


def stable(value: object) -> str:
    """Write a value as every process would: no address, no order that hangs on a hash."""
    if isinstance(value, Enum):
        return f"{type(value).__qualname__}.{value.name}"
    if value is None or isinstance(value, str | bytes | bool | int | float):
        return f"{type(value).__name__} {value!r}"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}[{', '.join(map(stable, value))}]"
    if isinstance(value, set | frozenset):
        return f"{type(value).__name__}[{', '.join(sorted(map(stable, value)))}]"
    if isinstance(value, dict):
        return f"{type(value).__name__}[{', '.join(sorted(f'{stable(k)}: {stable(v)}' for k, v in value.items()))}]"
    name = getattr(value, "__qualname__", None)
    if isinstance(name, str):
        return name
    if is_dataclass(value):
        inside = [f"{field.name}={stable(getattr(value, field.name, None))}" for field in fields(value)]
        return f"{type(value).__qualname__}({', '.join(inside)})"
    parts = getattr(value, "__rich_repr__", None)  # msgspec's Meta has no other way to say what it holds
    return f"{type(value).__qualname__}({stable(list(parts())) if parts is not None else ''})"


def _default_of(field: Any) -> str:
    if field.default is not NO_DEFAULT:
        return stable(field.default)
    return "" if field.default_factory is NO_DEFAULT else stable(field.default_factory)


def _closure_of(function: Any) -> dict[str, object]:
    """What a function sees of the one that it was defined in."""
    code, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None)
    seen: dict[str, object] = {}
    if code is not None and cells:
        for name, cell in zip(code.co_freevars, cells, strict=True):
            with contextlib.suppress(ValueError):  # a name that has no value yet
                seen[name] = cell.cell_contents
    return seen
