"""The test suite on every supported Python of this machine, and what it covers on the newest.

Each version has a virtual environment of its own under ``.venvs``, and as many run side by side as there are cores. The
heavy tests, which need servers and a browser, follow on the newest, with the machine to themselves. What is covered is
measured on the newest alone, because measuring makes a run take nearly twice as long. Files that have not come to the
goal yet are named in ``pyproject.toml``, and loudly here.

``python -m tools.every_python --newest`` makes the environment of the newest Python only, and prints its path. With
``--others`` the Python that runs this is left out, as ``make test`` has run the suite on it, unless it is the newest.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tools.interpreters import ROOT, Interpreter, find_interpreters
from tools.venv import ensure_venv

VENVS = ROOT / ".venvs"


def venv_of(interpreter: Interpreter) -> Path:
    """Return the Python of the interpreter's virtual environment, which is made if it is not there."""
    folder = VENVS / ".".join(map(str, interpreter.version))
    return ensure_venv(folder, interpreter.path, group="dev")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suite on every Python found; arguments it does not know go to pytest."""
    parser = argparse.ArgumentParser(prog="python -m tools.every_python", description=__doc__)
    parser.add_argument("--newest", action="store_true", help="only print the Python of the newest environment")
    parser.add_argument("--others", action="store_true", help="leave out this Python, unless it is the newest")
    options, for_pytest = parser.parse_known_args(arguments)
    search = find_interpreters()
    if options.newest:
        print(venv_of(search.newest))
        return 0
    for line in search.skipped:
        print(f"\n!!! {line}", flush=True)
    for old in ROOT.glob(".coverage*"):
        old.unlink()
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as side_by_side:
        # the newest first: it is measured, and takes longest
        order = sorted(search.chosen, key=lambda interpreter: interpreter.version, reverse=True)
        if options.others:
            order = [one for one in order if one is search.newest or one.version != sys.version_info[:2]]
        runs = side_by_side.map(lambda one: _run_suite(one, for_pytest, measured=one is search.newest), order)
        results = [(str(interpreter), *run) for interpreter, run in zip(order, runs, strict=True)]
    heavy = _run_suite(search.newest, ["-m", "heavy", *for_pytest], measured=True)
    results.append((f"{search.newest}, heavy tests", *heavy))
    covered = _report_coverage(venv_of(search.newest))
    print()
    for what, passed, seconds in results:
        print(f"{'passed' if passed else 'FAILED'}  {what}  {seconds:.0f} s")
    for line in search.skipped:
        print(f"!!! {line}")
    print(f"{'passed' if covered else 'FAILED'}  coverage, on {search.newest}")
    return 0 if covered and all(passed for _, passed, _ in results) else 1


def _run_suite(interpreter: Interpreter, for_pytest: Sequence[str], *, measured: bool) -> tuple[bool, float]:
    """Run one version's tests and print what they printed, in one piece: others run beside it."""
    started = time.monotonic()
    try:
        python = venv_of(interpreter)
    except subprocess.CalledProcessError as error:
        print(f"\n=== {interpreter}\n!!! its virtual environment could not be made: {error}", flush=True)
        return False, time.monotonic() - started
    under = ["-m", "coverage", "run"] if measured else []
    done = subprocess.run(
        [str(python), *under, "-m", "pytest", *for_pytest],
        cwd=ROOT,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    print(f"\n=== {interpreter}\n{done.stdout}", flush=True)
    return done.returncode == 0, time.monotonic() - started


def _report_coverage(python: Path) -> bool:
    """Merge and print what the light and the heavy tests covered; whether it is enough."""
    combined = subprocess.run([python, "-m", "coverage", "combine", "--quiet"], cwd=ROOT, check=False)
    print("\n=== coverage", flush=True)
    report = [str(python), "-m", "coverage", "report"]
    subprocess.run([*report, "--fail-under=0"], cwd=ROOT, check=False)
    short = short_files()
    for file in short:
        print(f"!!! the goal is not held for {file}", flush=True)
    held = subprocess.run([*report, "--format=total", f"--omit={','.join(short)}"], cwd=ROOT, check=False)
    return combined.returncode == 0 and held.returncode == 0


def short_files() -> list[str]:
    """Return the files that are younger than the tests they need; the list may only get shorter."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return [str(name) for name in settings["tool"]["every_python"]["short_of_coverage"]]


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
