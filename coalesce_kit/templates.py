"""Templates of keys and tags: what ``"fixtures:{sport}:{user.id}:{q[page]!r}"`` means, as Python source."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Collection, Iterable
from contextvars import ContextVar
from inspect import Signature
from string import Formatter
from typing import Any, Final, NamedTuple

from .errors import ConfigurationError, KeyDerivationError, KeyTemplateError

_PATH: Final = re.compile(r"([^.\[\]{}]+)((?:\.[^.\[\]{}]+|\[[^\[\]{}]+\])*)")
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[([^\[\]]+)\]")


class Field(NamedTuple):
    """A value found by way of a parameter: ``sport``, ``user.id``, ``q[page]``.

    Attributes:
        written: as the user wrote it, without the conversion.
        parameter: the name that it begins with.
        path: what follows it in Python source.
        conversion: ``r`` for its repr, ``s`` for its str, ``h`` to show it as a digest only, or ``None``.
    """

    written: str
    parameter: str
    path: str = ""
    conversion: str | None = None


class Template(NamedTuple):
    """A template taken apart: a literal, then a field and a literal, as often as there are fields."""

    literals: tuple[str, ...]
    fields: tuple[Field, ...]


class CompiledTags(NamedTuple):
    """The tags of a call.

    Attributes:
        source: a Python expression over the function's parameters and ``bindings``: a tuple of strings.
        bindings: the other names that the source needs.
    """

    source: str
    bindings: dict[str, object]


class Bindings:
    """What a piece of generated source needs beside the function's parameters, under names that avoid theirs.

    The names depend on the parameters only, so that bindings made for the same signature can be merged.
    """

    def __init__(self, parameters: Iterable[str]) -> None:
        self.objects: dict[str, object] = {}
        self._prefix = "__ck_"
        names = tuple(parameters)
        while any(name.startswith(self._prefix) for name in names):
            self._prefix = f"_{self._prefix}"

    def bind(self, name: str, value: object) -> str:
        """Bind ``value`` and return the name under which the source reaches it."""
        bound = self._prefix + name
        self.objects[bound] = value
        return bound

    def converted(self, source: str, conversion: str | None) -> str:
        """Return the source of a value's conversion. That of ``!h`` is the value: it is a matter of its text."""
        if conversion == "r":
            return f"{self.bind('repr', repr)}({source})"
        if conversion == "s":
            return f"{self.bind('str', str)}({source})"
        return source

    def variable(self, index: int, variable: ContextVar[Any]) -> str:
        """Return the source of a context variable's value."""
        return f"{self.bind(f'vary_{index}', reader_of(variable))}()"


def reader_of(variable: ContextVar[Any]) -> Callable[[], object]:
    """Return what reads ``variable`` and raises ``KeyDerivationError`` when it is not set and has no default."""
    get = variable.get

    def read() -> object:
        try:
            return get()
        except LookupError:
            raise KeyDerivationError(
                f"the context variable {variable.name!r} of vary= is not set here and has no default, so the key"
                " cannot tell whose answer this is; set it before the call, or give it a default:"
                f" ContextVar({variable.name!r}, default=None)"
            ) from None

    return read


def parse_template(template: str, names: Collection[str], *, where: str) -> Template:
    """Take a template apart.

    Args:
        template: text with placeholders in braces; ``{{`` and ``}}`` are braces.
        names: what the placeholders may begin with.
        where: the function and the option, for messages.

    Raises:
        KeyTemplateError: it is malformed, or names something that is not in ``names``.
    """
    literals: list[str] = [""]
    fields: list[Field] = []
    try:
        pieces = list(Formatter().parse(template))
    except ValueError as error:
        raise KeyTemplateError(f"{where} is no template: {error}; a brace itself is written {{{{ or }}}}") from None
    for text, written, spec, conversion in pieces:
        literals[-1] += text
        if written is None:
            continue
        if spec:
            raise KeyTemplateError(
                f"{where}: a key is made of values, not of formatted text; write {{{written}}} without ':{spec}'"
            )
        if fields and not literals[-1]:
            first = fields[-1].written
            raise KeyTemplateError(
                f"{where}: {{{first}}} and {{{written}}} stand side by side, so that nobody could tell where one ends;"
                f" put a separator between them: {{{first}}}:{{{written}}}"
            )
        fields.append(parse_field(written, names, where=where, conversion=conversion))
        literals.append("")
    return Template(tuple(literals), tuple(fields))


def parse_field(written: str, names: Collection[str], *, where: str, conversion: str | None = None) -> Field:
    """Understand one placeholder, or one of a sequence of names.

    Raises:
        KeyTemplateError: it is malformed, or begins with something that is not in ``names``.
    """
    match = _PATH.fullmatch(written)
    if match is None:
        raise KeyTemplateError(
            f"{where}: {written!r} is no name; write the name of a parameter, with attributes and items if need be,"
            " as in sport, user.id or q[page]"
        )
    parameter, steps = match[1], match[2]
    if parameter not in names:
        there_are = f"it has {', '.join(names)}" if names else "it has none"
        raise KeyTemplateError(f"{where}: the function has no parameter {parameter!r}; {there_are}")
    if conversion not in (None, "r", "s", "h"):
        raise KeyTemplateError(
            f"{where}: the conversion !{conversion} in {{{written}!{conversion}}} is unknown;"
            " there are !r (repr), !s (str) and !h (shown as a digest only)"
        )
    path = ""
    for attribute, item in _STEP.findall(steps):
        if item:
            path += f"[{int(item) if item.isdecimal() else item!r}]"
        elif attribute.isidentifier() and not keyword.iskeyword(attribute):
            path += f".{attribute}"
        else:
            raise KeyTemplateError(f"{where}: {attribute!r} in {written!r} cannot be the name of an attribute")
    return Field(written, parameter, path, conversion)


def compile_tags(
    tags: Iterable[str], signature: Signature, *, vary: Iterable[ContextVar[Any]] = (), name: str
) -> CompiledTags:
    """Compile the templates of a function's tags.

    A tag is plain text, as whoever invalidates it writes it: ``"league:{league}"`` of ``"nba"`` is ``league:nba``.
    Its placeholders may also name a context variable of ``vary=``.

    Args:
        tags: the templates; without a placeholder, a tag of every call.
        signature: the function's.
        vary: context variables whose values join the key.
        name: the function's, for messages.

    Raises:
        ConfigurationError: ``tags`` is a string, or holds something that is none.
        KeyTemplateError: a template is malformed, or names something that does not exist.
    """
    if isinstance(tags, str):
        raise ConfigurationError(f"{name}: tags={tags!r} is one string and no sequence; write tags=({tags!r},)")
    bindings = Bindings(signature.parameters)
    variables = {variable.name: (index, variable) for index, variable in enumerate(vary)}
    sources: list[str] = []
    for tag in tags:
        if not isinstance(tag, str) or not tag:
            raise ConfigurationError(f"{name}: a tag must be a non-empty string, not {tag!r}")
        where = f"{name}: the tag {tag!r}"
        template = parse_template(tag, {**signature.parameters, **variables}, where=where)
        values: list[str] = []
        for field in template.fields:
            if field.conversion == "h":
                raise KeyTemplateError(
                    f"{where}: a tag cannot hold a digest (!h), for whoever invalidates it could not write it;"
                    f" use {{{field.written}}}"
                )
            if field.parameter in signature.parameters:
                found = field.parameter
            else:
                found = bindings.variable(*variables[field.parameter])
            values.append(bindings.converted(found + field.path, field.conversion))
        pattern = "%s".join(literal.replace("%", "%%") for literal in template.literals)
        sources.append(f"{pattern!r} % ({', '.join(values)},)" if values else repr(template.literals[0]))
    return CompiledTags(f"({', '.join(sources)},)" if sources else "()", bindings.objects)
