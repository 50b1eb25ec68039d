"""What is compared: the package itself, the rivals and what is written by hand, each loaded by name."""

from __future__ import annotations

import ast
import contextlib
import importlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from .children import SubjectError
from .environment import version_of
from .rivals import NAMES

OURS = "ours"

NEVER_SECONDS = 86_400
"""A lifetime that does not end while something is measured."""


@dataclass(frozen=True)
class Subject:
    """One module of those names, with one of its styles.

    Attributes:
        module: the module, with the names that ``rivals/__init__.py`` lists.
        style: the key of its ``STYLES``.
    """

    module: ModuleType
    style: str

    @classmethod
    def load(cls, name: str, style: str) -> Subject:
        """Import a subject by its name: ``ours``, ``yardsticks``, or one of ``rivals``."""
        where = "benchmarks.rivals." if name in NAMES else "benchmarks."
        return cls(importlib.import_module(where + name), style)

    def offers(self, name: str) -> bool:
        """Whether the subject has this at all."""
        return hasattr(self.module, name)

    def cached(
        self, function: Callable[..., Any], *, ttl_seconds: float = NEVER_SECONDS, size: int = 1_000
    ) -> Callable[..., Any]:
        """Return ``function`` with its results kept.

        Raises:
            SubjectError: it keeps nothing.
        """
        cached: Callable[..., Any] = self._offered("cached")(function, self.style, ttl_seconds=ttl_seconds, size=size)
        return cached

    def shared(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``function`` with concurrent calls shared: keeping nothing, if the subject can do that alone."""
        if self.offers("coalesced"):
            shared: Callable[..., Any] = self.module.coalesced(function, self.style)
            return shared
        return self.cached(function)

    async def invalidate(self, decorated: Callable[..., Any], *args: object) -> None:
        """Drop a result.

        Raises:
            SubjectError: it cannot.
        """
        await self._offered("invalidate")(decorated, *args)

    def scope(self) -> AbstractContextManager[Any]:
        """Return the context in which its decorated functions are called. Decorate first."""
        scope: AbstractContextManager[Any] = self.module.scope() if self.offers("scope") else contextlib.nullcontext()
        return scope

    def _offered(self, name: str) -> Callable[..., Any]:
        offer: Callable[..., Any] | None = getattr(self.module, name, None)
        if offer is None:
            raise SubjectError("-")
        return offer


@dataclass(frozen=True)
class Card:
    """What is known of a subject without importing it.

    Attributes:
        name: the module, as ``--rival`` and ``Subject.load`` want it.
        label: what it is called.
        distribution: the package it comes from; empty for what stands in this folder.
        styles: its settings by name, in words.
    """

    name: str
    label: str
    distribution: str
    styles: Mapping[str, str]

    @property
    def installed(self) -> bool:
        """Whether it can be run here."""
        return not self.distribution or version_of(self.distribution) is not None


def card(name: str) -> Card:
    """Read a subject's card from its source: nothing of a rival is imported where nothing of it is measured."""
    values = {
        target: ast.literal_eval(value)
        for target, value in _constants(name).items()
        if target in ("LABEL", "DISTRIBUTION", "STYLES")
    }
    return Card(name, values["LABEL"], values["DISTRIBUTION"], values["STYLES"])


def names_in(name: str, constant: str) -> list[str]:
    """Return the keys of a dict that a subject's source spells out, such as ``REPLAYS``; none if it has none."""
    match _constants(name).get(constant):
        case ast.Dict(keys=keys):
            return [ast.literal_eval(key) for key in keys if key is not None]
        case _:
            return []


def _constants(name: str) -> dict[str, ast.expr]:
    folder = Path(__file__).parent / ("rivals" if name in NAMES else "")
    found: dict[str, ast.expr] = {}
    for statement in ast.parse((folder / f"{name}.py").read_text(encoding="utf-8")).body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=target)], value=value):
                found[target] = value
            case ast.AnnAssign(target=ast.Name(id=target), value=ast.expr() as value):
                found[target] = value
    return found


def rivals(names: Sequence[str] | None) -> tuple[list[Card], list[str]]:
    """Return the cards of the rivals asked for, of all without, and the labels of those that are not installed."""
    cards = [card(name) for name in (NAMES if names is None else names)]
    return [one for one in cards if one.installed], [one.label for one in cards if not one.installed]
