"""How the arguments of a call become a key: ``key=``, ``ignore=`` and ``vary=`` turned into a ``KeyRecipe``.

Every parameter is accounted for: it is in the key, or the user has written that it is not.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from inspect import Parameter, Signature
from typing import Any, Final, TypeAlias

from .errors import ConfigurationError, KeyTemplateError
from .freezing import ATOMS
from .key_recipe import KeyPart, KeyRecipe
from .templates import Bindings, CompiledTags, Field, compile_tags, parse_field, parse_template

__all__ = ["ATOMS", "CompiledTags", "KeyPart", "KeyRecipe", "KeySpec", "compile_key", "compile_tags"]

KeySpec: TypeAlias = str | Sequence[str] | Callable[..., object] | None
"""What ``key=`` takes: nothing, a template, a sequence of names, or a function of the call's arguments."""

_IS_ASYNC: Final = (inspect.iscoroutinefunction, inspect.isasyncgenfunction)
_GATHERS: Final[dict[object, Callable[[Any], object]]] = {
    Parameter.VAR_POSITIONAL: tuple,
    Parameter.VAR_KEYWORD: dict,
}
_POSITIONAL: Final = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


def compile_key(
    function: Callable[..., object],
    signature: Signature,
    *,
    key: KeySpec = None,
    ignore: Iterable[str] = (),
    vary: Iterable[ContextVar[Any]] = (),
    name: str | None = None,
) -> KeyRecipe:
    """Compile what a user wrote about the key of ``function``.

    Args:
        function: the wrapped function.
        signature: its parameters.
        key: a template, a sequence of names (dotted ones too), a function of the call's arguments, or ``None`` for
            all arguments.
        ignore: parameters that are not in the key; ``("self",)`` for the instance of a method.
        vary: context variables whose values join the key.
        name: what the function is called in texts and messages; ``module.qualname`` without.

    Raises:
        KeyTemplateError: a template or a name in ``key`` is malformed, unknown or cannot be told from the next.
        ConfigurationError: a parameter is neither in the key nor ignored, or both; or an option is of a wrong type.
    """
    if name is None:
        name = f"{function.__module__}.{function.__qualname__}"
    return _Compiler(signature, ignore=ignore, vary=vary, name=name).compile(key)


class _Compiler:
    """One compilation."""

    def __init__(
        self, signature: Signature, *, ignore: Iterable[str], vary: Iterable[ContextVar[Any]], name: str
    ) -> None:
        self.name = name
        self.parameters = signature.parameters
        self.bindings = Bindings(self.parameters)
        self.ignored = self._check_ignore(ignore)
        self.variables = self._check_vary(vary)
        first = next(iter(self.parameters.values()), None)
        is_method = first is not None and first.name in ("self", "cls") and first.kind in _POSITIONAL
        self.instance = first.name if first is not None and is_method else None

    def compile(self, key: KeySpec) -> KeyRecipe:
        literals: tuple[str, ...] | None = None
        if key is None:
            parts = [self._part(Field(name, name)) for name in self.parameters if name not in self.ignored]
        elif isinstance(key, str):
            where = f"{self.name}: key={key!r}"
            template = parse_template(key, self.parameters, where=where)
            literals = template.literals
            if not template.fields:
                self._refuse_constant(key, where)
            parts = self._written(template.fields)
        elif callable(key):
            parts = self._called(key)
        elif isinstance(key, Sequence) and not isinstance(key, bytes | bytearray | memoryview):
            parts = self._written(self._named(key))
        else:
            raise ConfigurationError(
                f"{self.name}: key= takes a template such as 'fixtures:{{sport}}', a sequence of names such as"
                f" ('sport', 'user.id'), or a function of the call's arguments, not {key!r} ({type(key).__name__})"
            )
        for index, variable in enumerate(self.variables):
            source = self.bindings.variable(index, variable)
            parts.append(KeyPart(variable.name, source, variable=variable))
        return KeyRecipe(
            self.name,
            parts,
            bindings=self.bindings.objects,
            outside=[name for name in self.parameters if name in self.ignored],
            literals=literals,
        )

    def _check_ignore(self, ignore: Iterable[str]) -> frozenset[str]:
        if isinstance(ignore, str):
            raise ConfigurationError(
                f"{self.name}: ignore={ignore!r} is one string and no sequence; write ignore=({ignore!r},)"
            )
        ignored = tuple(ignore)
        for name in ignored:
            if name not in self.parameters:
                there_are = f"it has {', '.join(self.parameters)}" if self.parameters else "it has none"
                raise ConfigurationError(f"{self.name}: ignore= names {name!r}, which is no parameter; {there_are}")
        return frozenset(ignored)

    def _check_vary(self, vary: Any) -> tuple[ContextVar[Any], ...]:
        if isinstance(vary, ContextVar):
            raise ConfigurationError(
                f"{self.name}: vary= takes a sequence of context variables; write vary=({vary.name},)"
            )
        variables: tuple[object, ...] = tuple(vary)
        for variable in variables:
            if not isinstance(variable, ContextVar):
                raise ConfigurationError(
                    f"{self.name}: vary= takes contextvars.ContextVar objects, not {variable!r}"
                    f" ({type(variable).__name__}); an argument of the function belongs into key="
                )
        return tuple(variable for variable in variables if isinstance(variable, ContextVar))

    def _refuse_constant(self, key: str, where: str) -> None:
        names = [name for name in self.parameters if name != self.instance]
        if not key:
            raise KeyTemplateError(f"{where} is empty; leave key= out, which makes the key of all arguments")
        if names:
            one = key if key in names else names[0]
            raise KeyTemplateError(
                f"{where} has no placeholder and would give every call the same key, whatever its arguments;"
                f" write '{{{one}}}' or ({one!r},), or leave key= out and name what does not matter in ignore="
            )

    def _named(self, key: Sequence[str]) -> tuple[Field, ...]:
        fields: list[Field] = []
        for written in key:
            where = f"{self.name}: key={key!r}"
            if not isinstance(written, str):
                raise ConfigurationError(f"{where} must hold the names of parameters as strings, not {written!r}")
            path, mark, conversion = written.partition("!")
            fields.append(parse_field(path, self.parameters, where=where, conversion=conversion if mark else None))
            if fields[-1].written in [field.written for field in fields[:-1]]:
                raise ConfigurationError(f"{where} names {path!r} twice")
        return tuple(fields)

    def _written(self, fields: Sequence[Field]) -> list[KeyPart]:
        """Return the parts of a key that the user wrote out, once every parameter is accounted for."""
        named = {field.parameter for field in fields}
        if both := [name for name in self.parameters if name in named and name in self.ignored]:
            raise ConfigurationError(
                f"{self.name}: {both[0]!r} is both in the key and in ignore=; it can be only one of the two"
            )
        forgotten = [
            name for name in self.parameters if name not in named and name not in self.ignored and name != self.instance
        ]
        if forgotten:
            all_of_them = " and ".join(map(repr, forgotten))
            are, them = ("is", "it") if len(forgotten) == 1 else ("are", "them")
            raise ConfigurationError(
                f"{self.name}: {all_of_them} {are} neither in the key nor in ignore=: every caller would get the"
                f" answer made with the first caller's {', '.join(forgotten)}; put {them} into the key"
                f" ({', '.join(f'{{{name}}}' for name in forgotten)}), or into ignore={tuple(forgotten)!r}"
                f" if the answer does not depend on {them}"
            )
        return self._with_instance([self._part(field) for field in fields], named)

    def _called(self, key: Callable[..., object]) -> list[KeyPart]:
        """Return the part that a key function makes."""
        written = getattr(key, "__name__", type(key).__name__)
        if any(is_async(one) for one in (key, type(key).__call__) for is_async in _IS_ASYNC):
            raise ConfigurationError(
                f"{self.name}: the key function {written}() is async; the key is needed before anything can be"
                " awaited, so it must be a plain function"
            )
        arguments: list[str] = []
        positional: list[None] = []
        keywords: dict[str, None] = {}
        for name, parameter in self.parameters.items():
            if parameter.kind in _POSITIONAL:
                arguments.append(name)
                positional.append(None)
            elif parameter.kind is Parameter.KEYWORD_ONLY:
                arguments.append(f"{name}={name}")
                keywords[name] = None
            else:
                arguments.append(f"{'*' if parameter.kind is Parameter.VAR_POSITIONAL else '**'}{name}")
        call = f"({', '.join(arguments)})"
        try:
            takes = inspect.signature(key)
        except (TypeError, ValueError):  # a builtin may hide what it takes
            takes = None
        if takes is not None:
            try:
                takes.bind(*positional, **keywords)
            except TypeError as error:
                raise ConfigurationError(
                    f"{self.name}: the key function is called with exactly the call's arguments, {written}{call},"
                    f" but it takes {takes}: {error}"
                ) from None
        return self._with_instance([KeyPart("key", self.bindings.bind("key", key) + call)], frozenset())

    def _with_instance(self, parts: list[KeyPart], named: Iterable[str]) -> list[KeyPart]:
        instance = self.instance
        if instance is None or instance in self.ignored or instance in named:
            return parts
        return [self._part(Field(instance, instance)), *parts]

    def _part(self, field: Field) -> KeyPart:
        if field.written == self.instance and field.conversion in (None, "h"):
            source = f"{self.bindings.bind('id', id)}({field.parameter})"
            return KeyPart(field.written, source, "instance", parameter=field.parameter)
        source = self.bindings.converted(field.parameter + field.path, field.conversion)
        default = self.parameters[field.parameter].default
        whole = field.written == field.parameter
        gathers = _GATHERS.get(self.parameters[field.parameter].kind)
        return KeyPart(
            field.written,
            source,
            parameter=field.parameter,
            conversion=field.conversion,
            default=default if whole else Parameter.empty,
            gathers=gathers if whole else None,
        )
