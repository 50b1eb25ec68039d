"""What ``tests/mutants.toml`` says."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path


class MutantsError(Exception):
    """``tests/mutants.toml`` is malformed, or the tests cannot be run."""


@dataclass(frozen=True, slots=True)
class Row:
    """One mutant of which it is known that nothing notices it.

    Attributes:
        file: the module, from the root.
        function: as in ``Mutant``; empty for what runs at import.
        old: the lines as they are, in one.
        new: the lines as the mutant has them, in one.
        reason: why nothing can notice it, or why nothing has to.
        equivalent: it does what the original does, as far as anybody can tell; else it is a survivor that is known.
    """

    file: str
    function: str
    old: str
    new: str
    reason: str
    equivalent: bool

    @property
    def place(self) -> tuple[str, str, str, str]:
        """What it is compared by."""
        return self.file, self.function, self.old, self.new


@dataclass(frozen=True, slots=True)
class Settings:
    """What ``tests/mutants.toml`` says."""

    files: tuple[str, ...]
    tests: tuple[Path, ...]
    rows: tuple[Row, ...]


def read_settings(path: Path) -> Settings:
    """Read ``mutants.toml``.

    Raises:
        MutantsError: a row lacks a field or a reason, or has an unknown one.
    """
    text = tomllib.loads(path.read_text(encoding="utf-8"))
    rows = []
    for kind in ("equivalent", "survivor"):
        for fields in text.get(kind, ()):
            try:
                row = Row(**{"function": "", **fields}, equivalent=kind == "equivalent")
            except TypeError as error:
                raise MutantsError(f"{fields}: {error}") from None
            if not row.reason.strip():
                raise MutantsError(f"{row.place}: no reason is given")
            rows.append(row)
    root = path.parents[1]
    tests = {
        found.relative_to(root): None
        for pattern in text["tests"]
        for found in sorted(root.glob(pattern))
        if not any(found.match(other) for other in text.get("other_tests", ()))
    }
    return Settings(tuple(text["files"]), tuple(tests), tuple(rows))


def content(path: Path) -> str:
    """Return what a file of source holds."""
    return path.read_text(encoding="utf-8")


def digest(*parts: str) -> str:
    """Return a short name for texts: the same for the same ones."""
    return sha256("\0".join(parts).encode()).hexdigest()[:16]
