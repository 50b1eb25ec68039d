"""Finding the Pythons of this machine: which there are, which of them this project supports, and which one to take.

An interpreter counts as found when it runs ``-c "import sys"``. Candidates are the ``python3``s on the PATH, by name,
and, where ``pyenv`` exists, each of ``pyenv versions --bare``, tried by ``PYENV_VERSION``. Supported are the versions
in the classifiers of ``pyproject.toml``. Of one version the newest release that can make a virtual environment is
taken. Whatever was found, or ought to have been found, and is not used, is told in a loud line.

``python -m tools.interpreters`` prints what it found.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

Version: TypeAlias = tuple[int, int]

ROOT = Path(__file__).resolve().parents[1]
CLASSIFIER = "Programming Language :: Python :: "

# Asked of every candidate, of Python 2.7 too: where it is, what it is, and whether it can make a virtual environment.
_QUESTION = """
import sys
try:
    import ensurepip, venv
    complete = 1
except ImportError:
    complete = 0
print("%s|%s|%d" % (sys.executable, ".".join(str(n) for n in sys.version_info[:3]), complete))
"""
_ANSWER_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python that runs.

    Attributes:
        path: its executable, behind any shim.
        release: its full version.
        complete: it can make a virtual environment: ``venv`` and ``ensurepip`` are there.
    """

    path: Path
    release: tuple[int, int, int]
    complete: bool

    @property
    def version(self) -> Version:
        """Its version without the last number, which is what a project supports."""
        return self.release[:2]

    def __str__(self) -> str:
        return f"{'.'.join(map(str, self.release))} at {self.path}"


@dataclass(frozen=True, slots=True)
class Search:
    """What a search brought.

    Attributes:
        chosen: one interpreter of each supported version that was found, oldest first.
        skipped: one line for everything that was found, or ought to have been, and is not used.
    """

    chosen: tuple[Interpreter, ...]
    skipped: tuple[str, ...]

    @property
    def newest(self) -> Interpreter:
        """The newest interpreter found.

        Raises:
            LookupError: none was.
        """
        if not self.chosen:
            raise LookupError("no supported Python was found:\n" + "\n".join(self.skipped))
        return self.chosen[-1]


def supported_versions(pyproject: Path = ROOT / "pyproject.toml") -> tuple[Version, ...]:
    """Return the versions named in the classifiers, oldest first."""
    classifiers = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["classifiers"]
    tails = [line.removeprefix(CLASSIFIER).split(".") for line in classifiers if line.startswith(CLASSIFIER)]
    return tuple(sorted((int(tail[0]), int(tail[1])) for tail in tails if len(tail) == 2 and tail[1].isdecimal()))


def find_interpreters(
    supported: Iterable[Version] | None = None, environment: Mapping[str, str] = os.environ
) -> Search:
    """Look for every supported Python on this machine.

    Args:
        supported: the versions wanted; those of the classifiers without.
        environment: its PATH is searched.
    """
    wanted = supported_versions() if supported is None else tuple(sorted(supported))
    skipped: list[str] = []
    found = dict.fromkeys(_on_the_path(wanted, environment))
    for name, interpreter in _of_pyenv(environment):
        if interpreter is None:
            skipped.append(f"SKIPPED: pyenv lists {name}, but it does not run")
        else:
            found.setdefault(interpreter)
    outside = sorted({interpreter.release for interpreter in found if interpreter.version not in wanted})
    if outside:
        skipped.append(f"SKIPPED, not supported: {', '.join('.'.join(map(str, release)) for release in outside)}")
    chosen = []
    for version in wanted:
        best = None
        for interpreter in found:  # ties go to the first: the PATH before pyenv
            if interpreter.version != version:
                continue
            if not interpreter.complete:
                skipped.append(f"SKIPPED: {interpreter} has no venv or no ensurepip: install its venv package")
            elif best is None or interpreter.release > best.release:
                best = interpreter
        if best is None:
            skipped.append(f"SKIPPED: no usable Python {version[0]}.{version[1]} on this machine")
        else:
            chosen.append(best)
    return Search(tuple(chosen), tuple(skipped))


def _on_the_path(wanted: Iterable[Version], environment: Mapping[str, str]) -> list[Interpreter]:
    names = ["python3", *(f"python{major}.{minor}" for major, minor in wanted)]
    folders = environment.get("PATH", "").split(os.pathsep)
    candidates = [shutil.which(name, path=folder) for name in names for folder in folders]
    answers = [_ask(candidate, environment) for candidate in dict.fromkeys(candidates) if candidate is not None]
    return [answer for answer in answers if answer is not None]


def _of_pyenv(environment: Mapping[str, str]) -> list[tuple[str, Interpreter | None]]:
    pyenv = shutil.which("pyenv", path=environment.get("PATH"))
    if pyenv is None:
        return []
    listing = _output([pyenv, "versions", "--bare"], environment)
    names = [line.strip() for line in (listing or "").splitlines()]
    return [
        (name, _ask(pyenv, {**environment, "PYENV_VERSION": name}, "exec", "python"))
        for name in names
        if name and "/" not in name  # 3.12.1/envs/x is a virtual environment of 3.12.1
    ]


def _ask(command: str, environment: Mapping[str, str], *arguments: str) -> Interpreter | None:
    answer = _output([command, *arguments, "-c", _QUESTION], environment)
    if answer is None:
        return None
    path, release, complete = answer.strip().split("|")
    major, minor, micro = map(int, release.split("."))
    return Interpreter(Path(path), (major, minor, micro), complete == "1")


def _output(command: list[str], environment: Mapping[str, str]) -> str | None:
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_ANSWER_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def main() -> None:
    """Print what was found."""
    search = find_interpreters()
    for interpreter in search.chosen:
        print(f"found {interpreter}")
    for line in search.skipped:
        print(line)


if __name__ == "__main__":
    main()
