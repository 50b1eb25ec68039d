from __future__ import annotations

import os
from pathlib import Path

import pytest

from tools.interpreters import find_interpreters, supported_versions

SUPPORTED = ((3, 11), (3, 12))


@pytest.fixture
def machine(tmp_path):
    """A PATH on which interpreters are put that answer, or do not."""

    class Machine:
        environment = {"PATH": f"{tmp_path / 'first'}{os.pathsep}{tmp_path / 'second'}"}

        def put(self, name: str, script: str, *, folder: str = "first") -> None:
            path = tmp_path / folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"#!/bin/sh\n{script}\n")
            path.chmod(0o755)

        def python(self, name: str, release: str, *, complete: bool = True, folder: str = "first") -> None:
            self.put(name, f'echo "/opt/{folder}/{name}|{release}|{int(complete)}"', folder=folder)

        def search(self):
            return find_interpreters(SUPPORTED, self.environment)

    return Machine()


def releases(search):
    """The releases chosen, as text."""
    return [".".join(map(str, interpreter.release)) for interpreter in search.chosen]


def test_supported_is_what_the_classifiers_name(tmp_path):
    """Classifiers with two numbers are versions; the others are not."""
    pyproject = tmp_path / "pyproject.toml"
    lines = ["3", "3 :: Only", "3.12", "3.9", "Implementation :: CPython"]
    classifiers = [f"Programming Language :: Python :: {line}" for line in lines]
    pyproject.write_text(f"[project]\nclassifiers = {classifiers}")
    assert supported_versions(pyproject) == ((3, 9), (3, 12))


def test_the_project_supports_at_least_three_eleven():
    """The project's own classifiers can be read."""
    assert supported_versions()[0] == (3, 11)


def test_every_supported_version_on_the_path_is_chosen(machine):
    """One of each version, oldest first, whatever its name."""
    machine.python("python3", "3.12.1")
    machine.python("python3.11", "3.11.7")
    search = machine.search()
    assert releases(search) == ["3.11.7", "3.12.1"]
    assert search.skipped == ()
    assert search.newest.version == (3, 12)
    assert str(search.newest) == "3.12.1 at /opt/first/python3"


def test_a_later_folder_of_the_path_is_searched_too(machine):
    """The newest release of a version wins, wherever it stands on the PATH."""
    machine.python("python3.11", "3.11.2")
    machine.python("python3.11", "3.11.9", folder="second")
    assert machine.search().chosen[0].path == Path("/opt/second/python3.11")


def test_a_missing_version_is_a_loud_line(machine):
    """A supported version that is not there is told."""
    machine.python("python3", "3.12.1")
    assert machine.search().skipped == ("SKIPPED: no usable Python 3.11 on this machine",)


def test_an_interpreter_that_does_not_run_is_not_found(machine):
    """A shim that only complains is no interpreter."""
    machine.put("python3.11", "echo not installed >&2; exit 127")
    machine.python("python3", "3.12.1")
    assert releases(machine.search()) == ["3.12.1"]


def test_an_interpreter_without_venv_is_skipped_loudly(machine):
    """What cannot make a virtual environment is told, and another one of its version is taken."""
    machine.python("python3.11", "3.11.9", complete=False)
    machine.python("python3.11", "3.11.2", folder="second")
    machine.python("python3.12", "3.12.1")
    search = machine.search()
    assert releases(search) == ["3.11.2", "3.12.1"]
    (line,) = search.skipped
    assert line.startswith("SKIPPED: 3.11.9 at /opt/first/python3.11 has no venv")


def test_each_version_of_pyenv_is_tried(machine):
    """Every version that pyenv lists is asked by PYENV_VERSION; what does not run, or is not supported, is told."""
    machine.put(
        "pyenv",
        """
        [ "$1" = versions ] && { printf '%s\\n' 2.7.18 3.11.7 3.11.7/envs/work 3.12.0 broken; exit; }
        [ "$PYENV_VERSION" = broken ] && exit 1
        echo "/pyenv/$PYENV_VERSION/bin/python|$PYENV_VERSION|1"
        """,
    )
    search = machine.search()
    assert releases(search) == ["3.11.7", "3.12.0"]
    assert search.skipped == (
        "SKIPPED: pyenv lists broken, but it does not run",
        "SKIPPED, not supported: 2.7.18",
    )


def test_no_interpreter_at_all(machine):
    """Where nothing is found, asking for the newest says what was looked for."""
    search = machine.search()
    assert search.chosen == ()
    with pytest.raises(LookupError, match=r"no usable Python 3\.12"):
        _ = search.newest
