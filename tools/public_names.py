"""Every public name with what can be said of it in one line: what a program that uses the package relies on.

Public is what ``coalesce_kit.__all__`` lists, and what a page of the reference shows, with those members that the page
names, if it does. ``python -m tools.public_names`` writes the list to ``tests/public_names.txt``, which a test compares
with the package: a line that changes or goes breaks somebody's program, and ``docs/versioning.md`` says when it may.
"""

from __future__ import annotations

import enum
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Protocol

import coalesce_kit

ROOT: Final = Path(__file__).resolve().parents[1]
LIST: Final = ROOT / "tests" / "public_names.txt"
_SHOWN: Final = re.compile(
    r"^::: (?P<name>coalesce_kit[\w.]+)\n"
    r"(?:    options:\n(?:      .*\n)*?      members: (?P<members>\[.*\])\n)?",
    re.MULTILINE,
)
_KNOWN: Final = {"coalesce_kit", "builtins", "enum"}


def public_lines() -> list[str]:
    """Return a line for each public name and for each public attribute of it, in alphabetical order."""
    shown: dict[str, list[str] | None] = {f"coalesce_kit.{name}": None for name in coalesce_kit.__all__}
    for page in (ROOT / "docs" / "reference").glob("*.md"):
        for name, members in _SHOWN.findall(page.read_text(encoding="utf-8")):
            shown[name] = re.findall(r"\w+", members) if members else None
    return sorted({line for name, members in shown.items() for line in _lines(name, members)})


def _lines(path: str, members: list[str] | None) -> Iterator[str]:
    thing = _find(path)
    if inspect.ismodule(thing):
        for name, member in vars(thing).items():
            if getattr(member, "__module__", None) == path and not name.startswith("_"):
                yield from _lines(f"{path}.{name}", None)
    elif inspect.isclass(thing):
        bases = [base.__name__ for base in thing.__bases__ if base.__module__.partition(".")[0] in _KNOWN]
        made = "" if Protocol in thing.__bases__ or issubclass(thing, enum.Enum) else _signature(thing)
        yield f"{path}{made}: {', '.join(['class', *bases])}"
        for name in _members(thing) if members is None else members:
            yield _member(f"{path}.{name}", inspect.getattr_static(thing, name, None))
    else:
        yield _member(path, thing)


def _find(path: str) -> Any:
    module, _, name = path.rpartition(".")
    try:
        return import_module(path)
    except ModuleNotFoundError:
        return getattr(import_module(module), name)


def _members(thing: type) -> Iterator[str]:
    """Return the names of a class's methods and properties, and of the attributes that its docstring names."""
    for name in sorted({name for one in _ours(thing) for name in (*vars(one), *inspect.get_annotations(one))}):
        if name.startswith(("_", "test_")):
            continue
        member = inspect.getattr_static(thing, name, None)
        is_told = any(re.search(rf"^\s*{name}: ", one.__doc__ or "", flags=re.MULTILINE) for one in _ours(thing))
        if is_told or inspect.isroutine(member) or isinstance(member, property | enum.Enum):
            yield name


def _ours(thing: type) -> list[type]:
    return [one for one in thing.__mro__ if one.__module__.partition(".")[0] == "coalesce_kit"]


def _member(path: str, member: object) -> str:
    if isinstance(member, staticmethod | classmethod):
        return f"{path}{_signature(member.__func__)}: {type(member).__name__}"
    if callable(member) and not isinstance(member, enum.Enum):
        is_async = inspect.iscoroutinefunction(member) or inspect.isasyncgenfunction(member)
        return f"{path}{_signature(member)}{': async' if is_async else ''}"
    return f"{path}: member" if isinstance(member, enum.Enum) else path


def _signature(thing: Any) -> str:
    """Return the parameters with their defaults, where these are plain values; without annotations."""
    try:
        signature = inspect.signature(thing)
    except (TypeError, ValueError):
        return ""
    parameters = [
        parameter.replace(annotation=parameter.empty, default=_default(parameter.default))
        for parameter in signature.parameters.values()
    ]
    return str(inspect.Signature(parameters)).replace("=Ellipsis", "=...")


def _default(value: object) -> object:
    plain = value is inspect.Parameter.empty or value is None or isinstance(value, bool | int | float | str | tuple)
    return value if plain and not isinstance(value, enum.Enum) else Ellipsis


if __name__ == "__main__":
    LIST.write_text("\n".join([*public_lines(), ""]), encoding="utf-8")
