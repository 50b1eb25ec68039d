"""The static types: what ``mypy --strict`` accepts, what it rejects, and what it cannot express."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ERROR = re.compile(r"^(?P<file>[^:]+):(?P<line>\d+): error: (?P<message>.*)$")


@pytest.fixture(scope="module")
def errors() -> dict[str, dict[int, str]]:
    """What mypy says: by file, the message of each line."""
    files = [HERE / f"{name}.py" for name in ("accepted", "known_limits", "rejected")]
    command = [sys.executable, "-m", "mypy", "--strict", *map(str, files)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found: dict[str, dict[int, str]] = {}
    for line in done.stdout.splitlines():
        match = ERROR.match(line)
        if match:
            found.setdefault(Path(match["file"]).name, {})[int(match["line"])] = match["message"]
    return found


def test_everything_accepted_is_accepted(errors: dict[str, dict[int, str]]) -> None:
    """No line of accepted.py is an error."""
    assert errors.get("accepted.py", {}) == {}


def test_every_marked_line_is_rejected_and_no_other(errors: dict[str, dict[int, str]]) -> None:
    """The lines of rejected.py that end in ``# E`` are errors, and no others."""
    lines = (HERE / "rejected.py").read_text().splitlines()
    marked = {number for number, line in enumerate(lines, 1) if line.endswith("# E")}
    assert marked
    assert set(errors.get("rejected.py", {})) == marked


def test_the_known_limits_are_still_there(errors: dict[str, dict[int, str]]) -> None:
    """Every ignore in known_limits.py is needed: an unnecessary one would be an error."""
    assert errors.get("known_limits.py", {}) == {}


def test_mypy_looks_at_the_package_itself(errors: dict[str, dict[int, str]]) -> None:
    """The package that these files import has no errors of its own."""
    assert set(errors) <= {"accepted.py", "known_limits.py", "rejected.py"}
