"""The source of a compiled call: text, made from the wrapped function's parameters and the parts of its key.

``call.py`` shows what comes out. A feature is a few lines of text that are there or not.
"""

from __future__ import annotations

import inspect
import keyword
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter, Signature
from typing import Final

from ..keys import KeyPart

_INDENT: Final = "    "

CELLS: Final = (
    "atoms",  # the classes whose shallow pair is the real one
    "bind",  # makes a closure of a function and one value
    "deepen",  # makes the real key of a shallow one
    "get_or_fetch",  # the coalescer's
    "origin",  # the wrapped function
    "recipe",  # the first element of every key
    "refusal",  # the error for a key that cannot be made
    "refuse",  # the same, and counts the call
    "release",  # gives a ticket back
    "take",  # takes a ticket
    "terms",  # of the function's fetches
    "watch",  # is told a method's instances
)
"""What the maker is given: the roles of the cells that all bodies share."""

_LOCALS: Final = ("make", "bodies", "fetch", "reserve", "key", "load", "ticket", "error", "value")


@dataclass(frozen=True, slots=True)
class MakerSource:
    """Source that defines one function, the maker, which returns the bodies and the shallow key's function.

    Attributes:
        text: the source.
        title: the name of the generated function.
        names: the name that every role has in it; none is the name of a parameter.
    """

    text: str
    title: str
    names: Mapping[str, str]


def write_maker(
    *,
    name: str,
    signature: Signature,
    by_keyword: bool,
    parts: Sequence[KeyPart],
    bindings: Collection[str],
    watches: bool,
) -> MakerSource:
    """Write the maker of one function's bodies.

    Args:
        name: the wrapped function's.
        signature: its parameters.
        by_keyword: whether ordinary parameters are handed on by keyword.
        parts: the parts of its key.
        bindings: the names, beside the parameters', that these need.
        watches: whether there is a body that tells the watch about instances.
    """
    parameters = list(signature.parameters.values())
    arguments = [parameter.name for parameter in parameters]
    title = name if name.isidentifier() and not keyword.iskeyword(name) else "coalesced_call"
    names = _free_names({title, *arguments, *bindings})
    definition = f"def {title}({_parameter_list(parameters)}):"
    handed_on = _argument_list(parameters, by_keyword=by_keyword)
    key, classes = _shallow_key(parts, arguments, names)
    cells = sorted({*(names[role] for role in CELLS), names["fetch"], names["reserve"], *bindings})

    def body(role: str, lines: list[str]) -> list[str]:
        # The cells are named after the end: bodies that name the same cells can replace each other.
        return [
            "",
            f"async {definition}",
            *_indent([*lines, ", ".join(cells)]),
            f"{names['bodies']}[{role!r}] = {title}",
        ]

    on = [*_making_the_key(key, classes, names), *_asking(arguments, names)]
    lines = [
        *_leading(arguments, handed_on, names),
        "",
        f"{names['bodies']} = {{}}",
        *body("on", on),
        *body("off", [f"return await {names['origin']}({handed_on})"]),
        *(body("watching", [f"{names['watch']}({arguments[0]})", *on]) if watches else ()),
        "",
        definition,
        *_indent(_guarded([f"return {key}"], "refusal", names)),
        "",
        f"return {names['bodies']}, {title}",
    ]
    given = [*(names[role] for role in CELLS), *sorted(bindings)]
    text = "\n".join([f"def {names['make']}({', '.join(given)}):", *_indent(lines), ""])
    return MakerSource(text, title, names)


def _shallow_key(
    parts: Sequence[KeyPart], arguments: Collection[str], names: Mapping[str, str]
) -> tuple[str, list[str]]:
    """Return the shallow key as an expression, and the classes that must all be atoms for it to be the real key."""
    items, classes = [names["recipe"]], []
    for number, part in enumerate(parts):
        if part.kind == "instance":
            items += [f"{part.parameter}.__class__", part.source]
            continue
        value = written = part.source
        if value not in arguments:  # evaluated once: a property, or a key function, may do anything
            value = f"{names['value']}{number}"
            written = f"({value} := {part.source})"
        items += [f"{written}.__class__", value]
        classes.append(f"{value}.__class__")
    return f"({', '.join(items)},)", classes


def _making_the_key(key: str, classes: list[str], names: Mapping[str, str]) -> list[str]:
    lines = [f"{names['key']} = {key}"]
    if classes:
        atomic = " and ".join(f"{one} in {names['atoms']}" for one in classes)
        lines += [f"if not ({atomic}):", f"{_INDENT}{names['key']} = {names['deepen']}({names['key']})"]
    return _guarded(lines, "refuse", names)


def _guarded(lines: list[str], refusal: str, names: Mapping[str, str]) -> list[str]:
    error = names["error"]
    return ["try:", *_indent(lines), f"except Exception as {error}:", f"{_INDENT}raise {names[refusal]}({error})"]


def _asking(arguments: list[str], names: Mapping[str, str]) -> list[str]:
    key, load, bind = names["key"], names["load"], names["bind"]
    return [
        f"{load} = [{', '.join(['None', key, *arguments])}]",
        f"return await {names['get_or_fetch']}(",
        f"{_INDENT}{key}, {bind}({names['fetch']}, {load}),",
        f"{_INDENT}reserve={bind}({names['reserve']}, {load}), terms={names['terms']},",
        ")",
    ]


def _leading(arguments: list[str], handed_on: str, names: Mapping[str, str]) -> list[str]:
    """Write the two functions that only a caller who leads will run."""
    key, load, ticket = names["key"], names["load"], names["ticket"]
    return [
        f"def {names['reserve']}({load}):",
        f"{_INDENT}{load}[0] = {ticket} = {names['take']}({load}[1])",
        f"{_INDENT}return {ticket}",
        "",
        f"async def {names['fetch']}({load}):",
        f"{_INDENT}{', '.join([ticket, key, *arguments])} = {load}",
        f"{_INDENT}try:",
        f"{_INDENT}{_INDENT}return await {names['origin']}({handed_on})",
        f"{_INDENT}finally:",
        f"{_INDENT}{_INDENT}if {ticket} is not None:",
        f"{_INDENT}{_INDENT}{_INDENT}{names['release']}({ticket})",
    ]


def _free_names(taken: Collection[str]) -> dict[str, str]:
    """Return a name for every role, none of which begins like one that is taken."""
    prefix = "ck_"
    while any(name.startswith(prefix) for name in taken):
        prefix += "_"
    return {role: prefix + role for role in (*CELLS, *_LOCALS)}


def _parameter_list(parameters: list[Parameter]) -> str:
    """Render parameters without defaults, which are set as objects."""
    bare = [one.replace(default=Parameter.empty, annotation=Parameter.empty) for one in parameters]
    return str(inspect.Signature(bare))[1:-1]


def _argument_list(parameters: list[Parameter], *, by_keyword: bool) -> str:
    forms = {
        Parameter.POSITIONAL_ONLY: "{0}",
        Parameter.POSITIONAL_OR_KEYWORD: "{0}={0}" if by_keyword else "{0}",
        Parameter.VAR_POSITIONAL: "*{0}",
        Parameter.KEYWORD_ONLY: "{0}={0}",
        Parameter.VAR_KEYWORD: "**{0}",
    }
    return ", ".join(forms[one.kind].format(one.name) for one in parameters)


def _indent(lines: list[str]) -> list[str]:
    return [line and _INDENT + line for line in lines]
