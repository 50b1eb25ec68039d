"""The wheel, as somebody gets it who has neither the repository nor its tools: built, installed alone, and used."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.test_docs import read_blocks

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.heavy("packages")


class Alone:
    """A fresh environment with the wheel and cachetools in it, and the distributions it came from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.distributions = folder / "dist"
        run(sys.executable, "-m", "build", "--outdir", self.distributions, ROOT)  # the wheel is built from the sdist
        (self.wheel,) = self.distributions.glob("*.whl")
        (self.sdist,) = self.distributions.glob("*.tar.gz")
        run(sys.executable, "-m", "venv", folder / "venv")
        self.python = folder / "venv" / "bin" / "python"
        run(self.python, "-m", "pip", "install", "-q", self.wheel)

    def run(self, *arguments: str, stdin: str | None = None, fails: bool = False) -> str:
        """Run its Python and return what it printed, on both streams."""
        return run(self.python, *arguments, cwd=self.folder, stdin=stdin, fails=fails)


def run(*command: str | Path, cwd: Path | None = None, stdin: str | None = None, fails: bool = False) -> str:
    """Run a command without a trace of the repository in its environment, and return what it printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV"))}
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        input=stdin,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=300,
    )
    assert (done.returncode != 0) is fails, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Alone:
    """Built and installed once for all tests of this file."""
    return Alone(tmp_path_factory.mktemp("wheel"))


def shipped() -> set[str]:
    """The package's files that are under version control, or would be."""
    theirs = ("coalesce_kit", "pytest_coalesce_kit.py")
    listed = run("git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard", *theirs)
    return {line for line in listed.splitlines() if (ROOT / line).exists()}


def test_the_wheel_holds_the_package_and_nothing_else(alone):
    """Every file of the package is in the wheel; beside them there is only what says what it is."""
    inside = set(zipfile.ZipFile(alone.wheel).namelist())
    assert {name for name in inside if ".dist-info/" not in name} == shipped()
    assert "coalesce_kit/py.typed" in inside
    (entry_points,) = (name for name in inside if name.endswith("/entry_points.txt"))
    text = zipfile.ZipFile(alone.wheel).read(entry_points).decode()
    assert "[pytest11]\ncoalesce_kit = pytest_coalesce_kit" in text


def test_neither_is_large(alone):
    """Nothing was packed by mistake."""
    assert alone.wheel.stat().st_size < 500_000
    assert alone.sdist.stat().st_size < 4_000_000


def test_the_sdist_holds_what_the_tests_need(alone):
    """Whoever has the source distribution can run its tests."""
    with tarfile.open(alone.sdist) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"Makefile", "README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", "tests/conftest.py"} <= names
    assert not {name for name in names if "__pycache__" in name or name.startswith((".venv", "site/"))}


def test_it_needs_cachetools_and_nothing_else(alone):
    """The core has one dependency."""
    listed = alone.run("-m", "pip", "list", "--format=freeze")
    names = {line.partition("==")[0].lower() for line in listed.splitlines() if "==" in line}
    assert names - {"pip", "setuptools"} == {"cachetools", "coalesce-kit", "coalesce_kit"} & names
    assert "cachetools" in names


AWAITING = """
import ast, asyncio, sys
code = compile(sys.stdin.read(), "README.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
async def main():
    await eval(code, {"__name__": "__main__"})
asyncio.run(main())
"""


def test_the_readme_runs(alone):
    """The first program of the README prints the table that it shows."""
    blocks = read_blocks((ROOT / "README.md").read_text(encoding="utf-8"))
    program = next(block for block in blocks if block.language == "python")
    printed = alone.run("-c", AWAITING, stdin=program.text)
    assert "__main__.fixtures" in printed
    assert "99.0%" in printed


@pytest.mark.parametrize(
    ("statement", "extra"),
    [
        ("from coalesce_kit import RedisStore", "redis"),
        ("from coalesce_kit.exporters.prometheus import *", "prometheus"),
        ("from coalesce_kit.exporters.opentelemetry import *", "opentelemetry"),
    ],
)
def test_an_extra_that_is_missing_says_what_brings_it(alone, statement, extra):
    """One line names the command that installs what is missing."""
    *_, last = alone.run("-c", statement, fails=True).strip().splitlines()
    assert f'pip install "coalesce-kit[{extra}]"' in last


def test_the_package_helps_when_it_is_run(alone):
    """``python -m coalesce_kit`` and the command of the same name say what there is."""
    command = alone.python.with_name("coalesce-kit")
    assert "usage: coalesce-kit" in alone.run("-m", "coalesce_kit", "--help")
    assert "usage: coalesce-kit" in run(command, "--help")


def test_the_demo_needs_nothing_but_the_wheel(alone):
    """The demo runs where nothing else is installed."""
    printed = alone.run("-m", "coalesce_kit", "demo")
    assert "coalesc" in printed


def test_type_checkers_see_its_types(alone, tmp_path):
    """Installed, it is typed as in the repository."""
    accepted = tmp_path / "accepted.py"
    accepted.write_text((ROOT / "tests" / "typing" / "accepted.py").read_text(encoding="utf-8"), encoding="utf-8")
    mypy = [sys.executable, "-m", "mypy", "--strict", "--python-executable", alone.python, "--cache-dir", tmp_path]
    assert "Success" in run(*mypy, accepted, cwd=tmp_path)
