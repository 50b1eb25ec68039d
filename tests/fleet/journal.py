"""What several processes of one host write down together, and the truth that they ask for."""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import time
from pathlib import Path
from typing import Any

KEYS = 1024


class Journal:
    """A log that only grows: each entry one line, written at once, with the host's own clock."""

    def __init__(self, path: str | Path, who: str) -> None:
        self._descriptor = os.open(path, os.O_APPEND | os.O_WRONLY | os.O_CREAT)
        self.who = who

    def note(self, what: str, **facts: Any) -> float:
        """Write one entry and return its time."""
        now = time.monotonic()
        line = json.dumps({"what": what, "who": self.who, "at": now, **facts}) + "\n"
        os.write(self._descriptor, line.encode())
        return now

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def entries(path: str | Path) -> list[dict[str, Any]]:
    """Everything that was written so far, in the order of time; a line that is being written is left out."""
    with open(path, encoding="utf-8") as log:  # noqa: PTH123  # a plain read
        lines = log.read().splitlines(keepends=True)
    found = [json.loads(line) for line in lines if line.endswith("\n")]
    return sorted(found, key=lambda entry: entry["at"])


class Truth:
    """A number per key, in memory that all processes share: what the origin is asked for."""

    def __init__(self, path: str | Path) -> None:
        self._file = open(path, "r+b")  # noqa: SIM115, PTH123  # closed by close()
        self._map = mmap.mmap(self._file.fileno(), KEYS * 8)

    @staticmethod
    def create(path: Path) -> None:
        """Make the file: every key's number is 0."""
        path.write_bytes(bytes(KEYS * 8))

    def read(self, key: str) -> int:
        """Return a key's number."""
        at = _place(key)
        return int.from_bytes(self._map[at : at + 8], "big")

    def raise_(self, key: str) -> int:
        """Make a key's number one more and return it."""
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            number = self.read(key) + 1
            at = _place(key)
            self._map[at : at + 8] = number.to_bytes(8, "big")
            return number
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file."""
        self._map.close()
        self._file.close()


def _place(key: str) -> int:
    return int(key.removeprefix("k")) * 8
