"""Trying mutants on the tests that run their lines, and keeping what became of them."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from tools.mutants.changes import Mutant
from tools.mutants.forks import CANNOT, SURVIVED, ManyForks, Try, end_imported, in_fork, run_pytest, start_imported
from tools.mutants.lines import Footprints
from tools.mutants.settings import Settings, content, digest

Most = Callable[[Mutant], int]
"""On how many tests a mutant is tried at most; 0 for all that run its line."""


class Known:
    """What became of mutants in this run and in earlier ones, as far as that still holds.

    A mutant that was killed stays so while its module and the file of the test that killed it are as they were; one
    that survived, while nothing at all has changed.
    """

    def __init__(self, path: Path, settings: Settings, most: int) -> None:
        self._file = path.open("a+", encoding="utf-8")
        self._tests = {str(path): digest(content(path)) for path in settings.tests}
        self._everything = digest(str(most), *map(content, sorted(Path("tests").rglob("*.py"))))
        self._known: dict[str, dict[str, Any]] = {}
        self.read()

    def read(self) -> None:
        """Read what other processes have written."""
        self._file.seek(0)
        self._known = {one["key"]: one for one in map(json.loads, self._file)}

    def of(self, mutant: Mutant) -> dict[str, Any] | None:
        """Return what became of a mutant: ``result``, ``test``, ``imported``."""
        one = self._known.get(self._key(mutant))
        return one if one is not None and one["holds"] == self._holds(one["result"], one["test"]) else None

    def note(self, one: Try, *, imported: bool) -> None:
        """Write down how a try has ended."""
        facts = {"key": self._key(one.mutant), "result": one.result, "test": one.test, "imported": imported}
        self._file.write(json.dumps({**facts, "holds": self._holds(one.result, one.test)}) + "\n")
        self._file.flush()

    def _holds(self, result: int, test: str) -> str:
        return self._everything if result in (SURVIVED, CANNOT) else self._tests.get(test.partition("::")[0], "")

    @staticmethod
    def _key(mutant: Mutant) -> str:
        return digest(mutant.text, mutant.file, str(mutant.start), str(mutant.end), mutant.new)


def try_all(
    mutants: Sequence[Mutant], footprints: Footprints, known: Known, state: Path, *, jobs: int, most: Most
) -> None:
    """Try every mutant of which it is not known what becomes of it."""
    open_inside = [mutant for mutant in mutants if mutant.function and known.of(mutant) is None]
    if open_inside:
        _try_inside(open_inside, footprints, known, state, jobs=jobs, most=most)
        known.read()
    to_import = []
    for mutant in mutants:
        one = known.of(mutant)
        undecided = one is None or one["result"] == CANNOT
        if undecided or (
            one is not None and not one["imported"] and one["result"] == SURVIVED and footprints.runs_at_import(mutant)
        ):
            to_import.append(mutant)
    _try_imported(to_import, footprints, known, state, jobs=jobs, most=most)
    known.read()


def _try_inside(
    mutants: Sequence[Mutant], footprints: Footprints, known: Known, state: Path, *, jobs: int, most: Most
) -> None:
    killers: dict[str, list[str]] = {}
    counted = Progress(len(mutants), os.fdopen(os.dup(1), "w"))

    def tries() -> Iterator[Try]:
        for mutant in mutants:
            tests = footprints.choose(mutant, most(mutant))
            first = [test for test in reversed(killers.get(mutant.function, [])) if test in tests]
            yield Try(mutant, {**{test: tests[test] for test in first}, **tests})

    def told(one: Try) -> None:
        if one.test:
            of_function = killers.setdefault(one.mutant.function, [])
            if one.test in of_function:
                of_function.remove(one.test)
            of_function.append(one.test)
        known.note(one, imported=False)
        counted.step(one)

    files = sorted({test.partition("::")[0] for mutant in mutants for test in footprints.choose(mutant, most(mutant))})
    if not files:
        return
    forks = ManyForks(tries(), jobs, told)
    os.waitpid(in_fork(lambda: run_pytest(files, forks), state / "inside.log"), 0)


def _try_imported(
    mutants: Sequence[Mutant], footprints: Footprints, known: Known, state: Path, *, jobs: int, most: Most
) -> None:
    counted = Progress(len(mutants), sys.stdout)
    running: dict[int, tuple[Try, bool, Path]] = {}
    waiting: list[tuple[Try, bool]] = []
    for mutant in mutants:
        about = footprints.files_about(mutant.file, footprints.choose(mutant, 0))
        waiting.append((Try(mutant, footprints.tests_of(about)), False))
    waiting.reverse()
    number = 0
    while waiting or running:
        if waiting and len(running) < jobs:
            one, is_last = waiting.pop()
            number += 1
            log = state / f"imported-{number % (2 * jobs)}.log"
            running[start_imported(one, log)] = one, is_last, log
            continue
        pid, status = os.wait()
        one, is_last, log = running.pop(pid)
        end_imported(one, status, log)
        if one.result == SURVIVED and not is_last:
            waiting.append((Try(one.mutant, footprints.choose(one.mutant, most(one.mutant))), True))
            continue
        known.note(one, imported=True)
        counted.step(one)


class Progress:
    """One line that counts, where somebody looks."""

    def __init__(self, total: int, output: TextIO) -> None:
        self._total = total
        self._output = output
        self._done: Counter[str] = Counter()

    def step(self, one: Try) -> None:
        """Count one more."""
        self._done["survived" if one.result in (SURVIVED, CANNOT) else "killed"] += 1
        if self._output.isatty() or sum(self._done.values()) == self._total:
            end = "\n" if sum(self._done.values()) == self._total else ""
            counts = ", ".join(f"{count} {what}" for what, count in sorted(self._done.items()))
            print(
                f"\r{sum(self._done.values())} of {self._total} tried: {counts}", end=end, file=self._output, flush=True
            )
