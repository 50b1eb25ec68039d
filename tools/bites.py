"""Proof that the tests of each guarantee can fail: one small change to the package per row of ``tests/bites.toml``.

A mutation test written by hand. Each row is applied to a copy of the tree, in which only that guarantee's tests run;
one of them must go red: a test that fails, not tests that cannot be collected. Rows run side by side, one per core; a
run that takes several times as long as it does without the change hangs, which counts as red and is shown as such.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HANG_SECONDS = 60.0
"""What takes longer hangs in any case; a run of a changed tree hangs sooner, by what it takes without the change."""

_PATIENCE_SECONDS = 5.0
_TIMES_AS_LONG = 3
_NOT_COPIED = shutil.ignore_patterns(
    *(".git", ".venv", ".venvs", ".*_cache", ".hypothesis", ".mutants", ".coverage*", "dist", "build", "*.egg-info")
)  # but __pycache__: what is compiled already saves each run seconds, and knows its source by date and size
_TESTS_FAILED = 1  # pytest's exit code for that, and for nothing else
_COLUMN = 60


class BiteError(Exception):
    """A row that proves nothing: malformed, no longer applicable, or about tests that do not run."""


@dataclass(frozen=True, slots=True)
class Bite:
    """One row: a change that the tests of a guarantee must notice.

    Attributes:
        guarantee: its short name, such as ``G2``.
        file: the file to change, from the root.
        old: the line or lines to replace, indentation apart.
        new: what stands there instead.
        since: the first Python on which the row makes sense; ``None`` for all.
        tests: pytest's arguments; empty for every ``test_gNN_...``.
    """

    guarantee: str
    file: str
    old: str
    new: str
    since: tuple[int, ...] | None = None
    tests: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"G\d+", self.guarantee):
            raise BiteError(f"guarantee must be written like G2, not {self.guarantee!r}")

    @property
    def prefix(self) -> str:
        """How the guarantee's tests are named: ``test_g02_``."""
        return f"test_g{int(self.guarantee[1:]):02}_"

    @property
    def change(self) -> str:
        """The change, in one line."""
        old, new = (" ⏎ ".join(line.strip() for line in text.strip().splitlines()) for text in (self.old, self.new))
        return f"{old} → {new or '(nothing)'}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one run of a guarantee's tests.

    Attributes:
        red: the first test that failed; ``None`` when all were green.
        problem: why the run proves nothing; empty when it does.
        seconds: how long it took.
    """

    red: str | None = None
    problem: str = ""
    seconds: float = 0.0


def read_bites(path: Path) -> list[Bite]:
    """Read the rows of a ``bites.toml``.

    Raises:
        BiteError: a row has an unknown field, or lacks one.
    """
    rows = tomllib.loads(path.read_text(encoding="utf-8")).get("bite", [])
    bites = []
    for row in rows:
        since = tuple(map(int, row["since"].split("."))) if "since" in row else None
        try:
            bites.append(Bite(**{**row, "since": since, "tests": tuple(row.get("tests", ()))}))
        except TypeError as error:
            raise BiteError(f"{row}: {error}") from None
    return bites


def apply_change(text: str, bite: Bite) -> str:
    """Return ``text`` with the bite's lines replaced.

    Raises:
        BiteError: they do not occur exactly once.
    """
    lines = text.splitlines()
    old = [line.strip() for line in bite.old.strip().splitlines()]
    starts = [
        start
        for start in range(len(lines) - len(old) + 1)
        if [line.strip() for line in lines[start : start + len(old)]] == old
    ]
    if len(starts) != 1:
        raise BiteError(f"the change does not apply: {bite.file} has {len(starts)} places like it, not one")
    (start,) = starts
    indentation = lines[start][: len(lines[start]) - len(lines[start].lstrip())]
    new = textwrap.indent(textwrap.dedent(bite.new).strip("\n"), indentation).splitlines()
    return "\n".join([*lines[:start], *new, *lines[start + len(old) :], ""])


def select_tests(bite: Bite, root: Path) -> list[str]:
    """Return pytest's arguments for the guarantee's tests: only the files that have any are collected.

    Raises:
        BiteError: there is none.
    """
    if bite.tests:
        return list(bite.tests)
    named = re.compile(rf"^\s*(async )?def {bite.prefix}", re.MULTILINE)
    files = [
        str(path.relative_to(root))
        for path in sorted((root / "tests").rglob("test_*.py"))
        if named.search(path.read_text(encoding="utf-8"))
    ]
    if not files:
        raise BiteError(f"no test is named {bite.prefix}...")
    return [*files, "-k", bite.prefix]


def run_tests(selection: Sequence[str], tree: Path, python: str, hang_seconds: float) -> Outcome:
    """Run the selected tests in a tree until the first is red."""
    report = tree / "bites-report.xml"
    command = [python, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"]
    process = subprocess.Popen(
        [*command, f"--junitxml={report}", *selection],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=hang_seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return Outcome(red=f"(hung for {hang_seconds:.0f} s)")
    if process.returncode == 0:
        return Outcome()
    red = _first_red(report) if process.returncode == _TESTS_FAILED else None
    if red is None:
        return Outcome(problem=f"pytest ended with {process.returncode}:\n{textwrap.indent(output[-2000:], '    ')}")
    return Outcome(red=red)


def _first_red(report: Path) -> str | None:
    """Return the first test that failed; ``None`` if none did, or if a file of tests cannot be collected."""
    red = None
    for case in ET.parse(report).iter("testcase"):  # noqa: S314  # pytest wrote it a moment ago
        error = case.find("error")
        if error is not None and error.get("message") == "collection failure":
            return None
        if red is None and (error is not None or case.find("failure") is not None):
            red = case.get("name")
    return red


def try_bite(bite: Bite | None, selection: Sequence[str], root: Path, python: str, hang_seconds: float) -> Outcome:
    """Run the selected tests in a copy of the tree, changed as the bite says; unchanged for ``None``."""
    with tempfile.TemporaryDirectory(prefix="bites-") as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(root, tree, ignore=_NOT_COPIED)
        if bite is not None:
            changed = tree / bite.file
            try:
                changed.write_text(apply_change(changed.read_text(encoding="utf-8"), bite), encoding="utf-8")
                compile(changed.read_text(encoding="utf-8"), bite.file, "exec")
            except (BiteError, OSError, SyntaxError) as error:
                return Outcome(problem=str(error))
        began = time.monotonic()
        outcome = run_tests(selection, tree, python, hang_seconds)
        return replace(outcome, seconds=time.monotonic() - began)


def main(arguments: Sequence[str] | None = None) -> int:
    """Try every row, or those of the guarantees named, and print one line for each."""
    parser = argparse.ArgumentParser(prog="python -m tools.bites", description=__doc__)
    parser.add_argument("guarantees", nargs="*", help="only these, such as G2 G11; all without")
    parser.add_argument("--root", type=Path, default=ROOT, help="the tree to copy")
    parser.add_argument("--python", default=sys.executable, help="the Python that has pytest; this one without")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs side by side")
    parser.add_argument("--hang-seconds", type=float, default=HANG_SECONDS, help="a longer run counts as hung at last")
    options = parser.parse_args(arguments)
    root, started = options.root.resolve(), time.monotonic()
    bites = read_bites(root / "tests" / "bites.toml")
    if options.guarantees:
        bites = [bite for bite in bites if bite.guarantee in options.guarantees]
    bites.sort(key=lambda bite: int(bite.guarantee[1:]))
    version = _version_of(options.python)
    skipped = [bite for bite in bites if bite.since is not None and version < bite.since]
    tried = [bite for bite in bites if bite not in skipped]
    selections: list[list[str] | BiteError] = [_selection_or_error(bite, root) for bite in tried]

    def run_unchanged(selection: Sequence[str]) -> Outcome:
        return try_bite(None, selection, root, options.python, options.hang_seconds)

    def run_changed(bite: Bite, selection: Sequence[str], unchanged: Future[Outcome]) -> Outcome:
        patience = _PATIENCE_SECONDS + _TIMES_AS_LONG * unchanged.result().seconds
        return try_bite(bite, selection, root, options.python, min(patience, options.hang_seconds))

    with ThreadPoolExecutor(max_workers=options.jobs) as pool:
        unchanged = {
            tuple(selection): pool.submit(run_unchanged, selection)  # these first: the others wait for them
            for selection in selections
            if not isinstance(selection, BiteError)
        }
        changed = [
            None
            if isinstance(selection, BiteError)
            else pool.submit(run_changed, bite, selection, unchanged[tuple(selection)])
            for bite, selection in zip(tried, selections, strict=True)
        ]
        passed = failed = 0
        for bite, selection, future in zip(tried, selections, changed, strict=True):
            if isinstance(selection, BiteError) or future is None:
                verdict, good, seconds = str(selection), False, 0.0
            else:
                verdict, good = _judge(unchanged[tuple(selection)].result(), future.result())
                seconds = future.result().seconds
            passed, failed = passed + good, failed + (not good)
            change = f"{_cut(bite.change):<{_COLUMN}}"
            print(f"{bite.guarantee:<4} {change} {seconds:4.0f} s  {'' if good else 'FAILED: '}{verdict}", flush=True)
    for bite in skipped:
        print(f"{bite.guarantee:<4} {_cut(bite.change):<{_COLUMN}}  SKIPPED: needs a newer Python")
    if not bites:
        print("no bite to try: tests/bites.toml has no such row")
    print(f"tried with Python {'.'.join(map(str, version))} in {time.monotonic() - started:.0f} s")
    print(f"bites: {passed} passed, {failed} failed, {len(skipped)} skipped")
    return 1 if failed or not tried else 0


def _judge(unchanged: Outcome, changed: Outcome) -> tuple[str, bool]:
    """Return what to print about a row, and whether it holds."""
    if unchanged.problem:
        return f"without the change {unchanged.problem}", False
    if unchanged.red is not None:
        return f"red without the change: {unchanged.red}", False
    if changed.problem:
        return changed.problem, False
    if changed.red is None:
        return "every test stayed green", False
    return changed.red, True


def _selection_or_error(bite: Bite, root: Path) -> list[str] | BiteError:
    try:
        return select_tests(bite, root)
    except BiteError as error:
        return error


def _version_of(python: str) -> tuple[int, ...]:
    question = "import sys; print(*sys.version_info[:2])"
    answer = subprocess.run([python, "-c", question], capture_output=True, text=True, check=True)
    return tuple(map(int, answer.stdout.split()))


def _cut(text: str) -> str:
    return text if len(text) <= _COLUMN else text[: _COLUMN - 1] + "…"


if __name__ == "__main__":
    sys.exit(main())
