"""The facade: what it lists, what it shows, and that everything in it says what it is."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import coalesce_kit
from tools import public_names

ROOT = Path(__file__).parents[1]
NAMES = sorted(coalesce_kit.__all__)


def test_what_is_listed_is_what_is_visible():
    """`__all__` names every public name of the facade, and nothing else; its modules are reached by import."""
    shown = {name for name in dir(coalesce_kit) if not name.startswith("_")}
    modules = {name for name in shown if isinstance(getattr(coalesce_kit, name), ModuleType)}
    assert shown - modules - {"annotations"} == set(coalesce_kit.__all__) - {"__version__"}


def test_what_is_public_is_as_it_was():
    """A name, a parameter or a default that changes breaks somebody's program: ``docs/versioning.md`` says when it may.

    ``python -m tools.public_names`` writes the list anew, for whoever means it.
    """
    assert public_names.LIST.read_text(encoding="utf-8").splitlines() == public_names.public_lines()


def test_nothing_is_listed_twice():
    """Each name stands in `__all__` once."""
    assert len(coalesce_kit.__all__) == len(set(coalesce_kit.__all__))


def test_a_star_import_brings_what_is_listed():
    """Every name in `__all__` is there."""
    namespace: dict[str, object] = {}
    exec("from coalesce_kit import *", namespace)
    assert set(coalesce_kit.__all__) <= namespace.keys()


@pytest.mark.parametrize("name", NAMES)
def test_every_name_says_what_it_is(name):
    """A class or function has a docstring of its own that begins with a sentence."""
    thing = getattr(coalesce_kit, name)
    if not (inspect.isclass(thing) or inspect.isroutine(thing)):
        pytest.skip("an alias or a constant: the line below its definition says what it is")
    first = (vars(thing).get("__doc__") if inspect.isclass(thing) else thing.__doc__) or ""
    paragraph = inspect.cleandoc(first).partition("\n\n")[0]
    assert paragraph, f"{name} has no docstring"
    assert paragraph.endswith((".", ":", "::")), f"{name}: {paragraph!r} is no sentence"
    assert not paragraph.startswith(f"{name}("), f"{name} has the docstring that dataclasses make"


@pytest.mark.parametrize("name", [name for name in NAMES if inspect.isclass(getattr(coalesce_kit, name))])
def test_every_public_method_says_what_it_does(name):
    """What a class of the facade defines for the public has a docstring."""
    silent = [
        attribute
        for attribute, member in vars(getattr(coalesce_kit, name)).items()
        if not attribute.startswith("_")
        and (inspect.isfunction(member) or isinstance(member, property | classmethod | staticmethod))
        and not (member.fget if isinstance(member, property) else member).__doc__
    ]
    assert silent == []


def test_the_package_is_typed():
    """The marker for type checkers is there."""
    assert (ROOT / "coalesce_kit" / "py.typed").exists()


def test_testing_is_not_imported_with_the_facade():
    """Who imports the package does not pay for its test kit."""
    question = (
        "import sys, coalesce_kit; print([name for name in sys.modules if name.startswith('coalesce_kit.testing')])"
    )
    done = subprocess.run([sys.executable, "-c", question], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
