"""The scripts that the server runs, read when a store is first used."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from importlib import resources


@dataclass(frozen=True)
class Script:
    """One script: its text, and the digest by which the server knows it."""

    text: str
    digest: str


class Scripts:
    """Every script of ``lua/``, each with what is common to all before it."""

    @cached_property
    def acquire(self) -> Script:
        """Answer, give the lease, or say whom to wait for."""
        return _read("acquire")

    @cached_property
    def renew(self) -> Script:
        """Have a lease last."""
        return _read("renew")

    @cached_property
    def publish(self) -> Script:
        """End a lease with what it brought."""
        return _read("publish")

    @cached_property
    def abandon(self) -> Script:
        """End a lease without a result."""
        return _read("abandon")

    @cached_property
    def invalidate(self) -> Script:
        """Remove a record."""
        return _read("invalidate")

    @cached_property
    def read(self) -> Script:
        """Read a result."""
        return _read("read")

    @cached_property
    def tag_version(self) -> Script:
        """Tell or replace a tag's version."""
        return _read("tag_version")

    @cached_property
    def open(self) -> Script:
        """Tell what the user may not do."""
        return _read("open")


def _read(name: str) -> Script:
    folder = resources.files(__package__) / "lua"
    parts = [(folder / f"{part}.lua").read_text("utf-8") for part in ("common", name)]
    text = "\n".join(parts)
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
