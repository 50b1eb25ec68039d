"""The source of a compiled call: text, made from the wrapped function's parameters and the parts of its key.

``call.py`` shows what comes out. A feature is a few lines of text that are there or not.
"""

from __future__ import annotations

import inspect
import keyword
import re
from collections.abc import Collection, Mapping, Sequence
from inspect import Parameter, Signature
from typing import Final, NamedTuple

from ..keys import KeyPart

_INDENT: Final = "    "

CELLS: Final = (
    "answer",  # the read-through's: what a call does that was no hit in line
    "atoms",  # the classes whose shallow pair is the real one
    "bind",  # makes a closure of a function and one value
    "bring",  # makes a call to hand to the read-through
    "copy",  # makes what each caller receives
    "counters",  # of the function
    "deepen",  # makes the real key of a shallow one
    "find",  # looks a key up in the cache's storage
    "get_or_fetch",  # the coalescer's
    "origin",  # the wrapped function
    "recipe",  # the first element of every key
    "refusal",  # the error for a key that cannot be made
    "refuse",  # the same, and counts the call
    "release",  # gives a ticket back
    "tagged",  # knows the epoch of the function's tags
    "take",  # takes a ticket
    "terms",  # of the function's fetches
    "time",  # tells the time
    "trust",  # knows until when local results can be trusted
    "watch",  # is told a method's instances
)
"""What the maker is given: the roles of the cells that all bodies share."""

_LOCALS: Final = (
    "make", "bodies", "fetch", "reserve", "run", "tags", "miss",
    "key", "load", "ticket", "entry", "now", "error", "value",
)  # fmt: skip


_BODY_LOCALS: Final = ("key", "load", "entry", "now", "error")

_WORD: Final = re.compile(r"\w+")


class Features(NamedTuple):
    """What a function's compiled call does beside coalescing. What is off is not in the source.

    Attributes:
        watches: there is a body that tells the watch about instances.
        caches: results are kept.
        looks_in_line: the cache can be read without its lock.
        refreshes_ahead: a fresh hit may start a refresh.
        shares: results are shared with other processes: a hit is one only while everything announced was heard.
        copies: every caller receives a copy.
        tags: an expression for the call's tags, a tuple of strings; ``None`` without tags.
    """

    watches: bool = False
    caches: bool = False
    looks_in_line: bool = False
    refreshes_ahead: bool = False
    shares: bool = False
    copies: bool = False
    tags: str | None = None


class MakerSource(NamedTuple):
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
    features: Features,
) -> MakerSource:
    """Write the maker of one function's bodies.

    Args:
        name: the wrapped function's.
        signature: its parameters.
        by_keyword: whether ordinary parameters are handed on by keyword.
        parts: the parts of its key.
        bindings: the names, beside the parameters', that these need.
        features: what the call does beside coalescing.
    """
    parameters = list(signature.parameters.values())
    arguments = [parameter.name for parameter in parameters]
    title = name if name.isidentifier() and not keyword.iskeyword(name) else "coalesced_call"
    names = _free_names({title, *arguments, *bindings})
    definition = f"def {title}({_parameter_list(parameters)}):"
    handed_on = _argument_list(parameters, by_keyword=by_keyword)
    key, classes = _shallow_key(parts, arguments, names)
    helpers = ("run", "tags") if features.caches else ("fetch", "reserve")
    if features.caches:
        helping = [*_running(arguments, handed_on, features, names), "", *_missing(parts, names)]
        on = [
            *_guarded([f"{names['key']} = {key}"], "refuse", names),
            *(_hitting(features, names) if features.looks_in_line else ()),
            f"return {_received(_answer(arguments, names), features, names)}",
        ]
    else:
        helping = _leading(arguments, handed_on, names)
        making = [f"{names['key']} = {key}", *_deepening(classes, names)]
        on = [*_guarded(making, "refuse", names), *_asking(arguments, features, names)]
    bodies = {"on": on, "off": [f"return await {names['origin']}({handed_on})"]}
    if features.watches:
        bodies["watching"] = [f"{names['watch']}({arguments[0]})", *on]
    lines = [
        *helping,
        "",
        f"{names['bodies']} = {{}}",
        *_interchangeable(bodies, f"async {definition}", title, {*names.values(), *bindings}, names),
        "",
        definition,
        *_indent(_guarded([f"return {key}"], "refusal", names)),
        f"{names['bodies']}['shallow_key'] = {title}",
        "",
        definition,
        *_indent([f"return [{', '.join(arguments)}]"]),
        f"{names['bodies']}['gather'] = {title}",
        "",
        f"return {names['bodies']}, {', '.join(names[helper] for helper in helpers)}",
    ]
    given = [*(names[role] for role in CELLS), *sorted(bindings)]
    text = "\n".join([f"def {names['make']}({', '.join(given)}):", *_indent(lines), ""])
    return MakerSource(text, title, names)


def _interchangeable(
    bodies: Mapping[str, list[str]], definition: str, title: str, known: set[str], names: Mapping[str, str]
) -> list[str]:
    """Write bodies that can replace each other: all name the same cells, after their end.

    No more of them than are used: the interpreter copies every one at every call.
    """
    used = {word for lines in bodies.values() for line in lines for word in _WORD.findall(line)}
    cells = sorted((used & known) - {names[local] for local in _BODY_LOCALS})
    written: list[str] = []
    for role, lines in bodies.items():
        written += ["", definition, *_indent([*lines, ", ".join(cells)]), f"{names['bodies']}[{role!r}] = {title}"]
    return written


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


def _deepening(classes: list[str], names: Mapping[str, str]) -> list[str]:
    if not classes:
        return []
    atomic = " and ".join(f"{one} in {names['atoms']}" for one in classes)
    return [f"if not ({atomic}):", f"{_INDENT}{names['key']} = {names['deepen']}({names['key']})"]


def _guarded(lines: list[str], refusal: str, names: Mapping[str, str]) -> list[str]:
    error = names["error"]
    return ["try:", *_indent(lines), f"except Exception as {error}:", f"{_INDENT}raise {names[refusal]}({error})"]


def _hitting(features: Features, names: Mapping[str, str]) -> list[str]:
    """Write the hit: a fresh entry is the answer, and nothing is called but the clock."""
    entry, now = names["entry"], names["now"]
    conditions = [f"{entry} is not None"]
    if features.tags is not None or features.shares:
        conditions.append(f"{entry}.epoch == {names['tagged']}.epoch")
    ends = [f"{entry}.fresh_until"]
    ends += [f"{entry}.refresh_at"] * features.refreshes_ahead + [f"{names['trust']}.until"] * features.shares
    if len(ends) > 1:
        first, *others = ends
        conditions += [f"({now} := {names['time']}()) < {first}", *(f"{now} < {end}" for end in others)]
    else:
        conditions.append(f"{names['time']}() < {ends[0]}")
    return [
        "try:",
        f"{_INDENT}{entry} = {names['find']}({names['key']})",
        "except Exception:  # a container has no hash: nothing is kept under the shallow key of a call with one",
        f"{_INDENT}{entry} = None",
        f"if {' and '.join(conditions)}:",
        f"{_INDENT}{entry}.uses += 1",
        f"{_INDENT}{names['counters']}.cache_hits += 1",
        f"{_INDENT}return {_received(f'{entry}.value', features, names)}",
    ]


def _answer(arguments: list[str], names: Mapping[str, str]) -> str:
    return f"await {names['miss']}({names['key']}, [{', '.join(arguments)}])"


def _missing(parts: Sequence[KeyPart], names: Mapping[str, str]) -> list[str]:
    """Write what a call does that was no hit: away from the hit, whose every cell costs it a nanosecond or two."""
    key, load = names["key"], names["load"]
    classes = [f"{key}[{1 + 2 * number}]" for number, part in enumerate(parts) if part.kind != "instance"]
    deepening = _deepening(classes, names)
    return [
        f"def {names['miss']}({key}, {load}):",
        *_indent(_guarded(deepening, "refuse", names) if deepening else []),
        f"{_INDENT}return {names['answer']}({key}, {names['bring']}({names['run']}, {names['tags']}, {load}))",
    ]


def _running(arguments: list[str], handed_on: str, features: Features, names: Mapping[str, str]) -> list[str]:
    """Write the two functions that the read-through asks of a call that leads."""
    unpack = f"{', '.join(arguments)}, = {names['load']}" if arguments else "pass"
    tags = features.tags or "()"
    return [
        f"def {names['run']}({names['load']}):",
        f"{_INDENT}{unpack}",
        f"{_INDENT}return {names['origin']}({handed_on})",
        "",
        f"def {names['tags']}({names['load']}):",
        f"{_INDENT}{unpack}",
        f"{_INDENT}return {tags}",
    ]


def _asking(arguments: list[str], features: Features, names: Mapping[str, str]) -> list[str]:
    key, load, bind = names["key"], names["load"], names["bind"]
    opening, closing = (f"{names['copy']}(", "))") if features.copies else ("", ")")
    return [
        f"{load} = [{', '.join(['None', key, *arguments])}]",
        f"return {opening}await {names['get_or_fetch']}(",
        f"{_INDENT}{key}, {bind}({names['fetch']}, {load}),",
        f"{_INDENT}reserve={bind}({names['reserve']}, {load}), terms={names['terms']},",
        closing,
    ]


def _received(answer: str, features: Features, names: Mapping[str, str]) -> str:
    return f"{names['copy']}({answer})" if features.copies else answer


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
