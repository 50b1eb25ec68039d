"""Which lines of the package each test runs: recorded once, and kept until something changes."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, Final

import coverage

from tools.mutants.changes import Mutant
from tools.mutants.forks import Recorder, in_fork, run_pytest
from tools.mutants.settings import MutantsError, Settings, content, digest

_SLOW_SECONDS: Final = 1.0
_FILES_ABOUT: Final = 3
"""So many files of tests count as those about a module. What has to be imported is first tried on these alone, because
collecting the others takes longer than running them."""


@dataclass(frozen=True, slots=True)
class Footprints:
    """Which lines each test runs.

    Attributes:
        seconds: how long each test takes.
        lines: the lines that each test runs, by file, as the bits of a number; under an empty name, those that run
            while tests are collected.
        red: tests that fail without any change.
    """

    seconds: dict[str, float]
    lines: dict[str, dict[str, int]]
    red: tuple[str, ...]

    def choose(self, mutant: Mutant, most: int) -> dict[str, float]:
        """Return the tests that run a mutant's line, or for what runs at import any line of its file, at most ``most``.

        First those of the files that have the module's name, such as ``test_flight_events.py`` for ``flight.py``. Then
        in turn: the one that runs the largest share of its lines in the module, the one that knows the module best (by
        that share and by how many lines it is), and one of each file.
        """
        by_file: dict[str, list[tuple[float, str]]] = {}
        shares: list[tuple[float, int, str]] = []
        wanted = self._bits_of(mutant)
        for test, files in self.lines.items():
            bits = files.get(mutant.file, 0)
            if test and bits & wanted and self.seconds[test] < _SLOW_SECONDS:
                count, of_all = bits.bit_count(), sum(lines.bit_count() for lines in files.values())
                shares.append((-count / of_all, count, test))
                by_file.setdefault(test.partition("::")[0], []).append((-count * count / of_all, test))
        each = [sorted(by_file[file]) for file in sorted(by_file)]
        name = f"test_{Path(mutant.file).stem}"
        named = [one[-1] for file in sorted(by_file) if name in file for one in sorted(by_file[file])]
        narrow = [one[-1] for one in sorted(shares)]
        knowing = [one[-1] for one in sorted(chain(*each))]
        mixed = [one[-1] for one in chain(*zip_longest(*each)) if one is not None]
        chosen = [*dict.fromkeys(chain(named, *zip(narrow, knowing, mixed, strict=True)))]
        return {test: self.seconds[test] for test in (chosen[:most] if most else chosen)}

    def files_about(self, file: str, tests: Iterable[str]) -> list[str]:
        """Return the few files of tests that run the most lines of ``file``."""
        reach: dict[str, int] = {}
        for test in tests:
            name = test.partition("::")[0]
            reach[name] = reach.get(name, 0) | self.lines[test].get(file, 0)
        return sorted(reach, key=lambda name: (-reach[name].bit_count(), name))[:_FILES_ABOUT]

    def tests_of(self, files: Collection[str]) -> dict[str, float]:
        """Return the tests of some files: also those that run no line, as of a dataclass that was made at import."""
        return {
            test: spent
            for test, spent in self.seconds.items()
            if test.partition("::")[0] in files and spent < _SLOW_SECONDS
        }

    def runs_at_import(self, mutant: Mutant) -> bool:
        """Whether a mutant's line runs while tests are collected, before its function's code is exchanged."""
        return bool(self.lines.get("", {}).get(mutant.file, 0) >> mutant.line & 1)

    def _bits_of(self, mutant: Mutant) -> int:
        if not mutant.function:
            return -1
        everything = 0
        for files in self.lines.values():
            everything |= files.get(mutant.file, 0)
        line = mutant.line  # the rest of an expression has no line of its own
        while line > mutant.first_line and not everything >> line & 1:
            line -= 1
        return 1 << line


def record(settings: Settings, state: Path) -> Footprints:
    """Run the tests whose footprints are not known, and return those of all. The tree is the current directory.

    Raises:
        MutantsError: the tests cannot be collected.
    """
    package = [path for file in settings.files for path in sorted(Path(file.split("/")[0]).rglob("*.py"))]
    shared = [path for path in sorted(Path("tests").rglob("*.py")) if not path.name.startswith("test_")]
    ground = digest(*dict.fromkeys(map(content, [*package, *shared])), *settings.files)
    keys = {str(path): digest(ground, content(path)) for path in settings.tests}
    store = state / "footprints.json"
    known: dict[str, Any] = json.loads(store.read_text()) if store.exists() else {}
    known = {file: one for file, one in known.items() if keys.get(file) == one["key"]}
    unknown = [file for file in keys if file not in known]
    if unknown:
        print(f"running the tests of {len(unknown)} files to see which lines each of them runs", flush=True)
        fresh, log = state / "recorded.json", state / "recording.log"
        fresh.unlink(missing_ok=True)
        os.waitpid(in_fork(lambda: _record(unknown, settings.files, fresh), log), 0)
        if not fresh.exists():
            raise MutantsError(f"the tests cannot be run: see {log}")
        recorded = json.loads(fresh.read_text())
        known |= {file: {**recorded.get(file, {"tests": {}, "red": []}), "key": keys[file]} for file in unknown}
        store.write_text(json.dumps(known))
    seconds, lines, red = {}, {"": dict[str, int]()}, []
    for one in known.values():
        red += one["red"]
        for test, (spent, masks) in one["tests"].items():
            bits = {file: int(mask, 16) for file, mask in masks.items()}
            if test:
                seconds[test], lines[test] = spent, bits
            else:
                lines[""] = {file: mask | lines[""].get(file, 0) for file, mask in bits.items()}
    return Footprints(seconds, lines, tuple(sorted(red)))


def _record(tests: Sequence[str], files: Sequence[str], result: Path) -> int:
    """Run tests under coverage, in a process of its own, and write down what each of them ran."""
    os.environ["COVERAGE_CORE"] = "ctrace"  # the one that knows contexts on every Python
    measured = coverage.Coverage(
        data_file=None, config_file=False, include=[str(Path(file).resolve()) for file in files]
    )
    recorder = Recorder(measured.switch_context)
    measured.start()
    code = run_pytest(tests, recorder)
    measured.stop()
    if code not in (0, 1):
        return code
    masks: dict[str, dict[str, int]] = {}
    data = measured.get_data()
    for file in files:
        for line, contexts in data.contexts_by_lineno(str(Path(file).resolve())).items():
            for test in contexts:
                of_test = masks.setdefault(test, {})
                of_test[file] = of_test.get(file, 0) | 1 << line
    recorded: dict[str, Any] = {file: {"tests": {}, "red": []} for file in tests}
    recorded[tests[0]]["tests"][""] = [0.0, {file: hex(mask) for file, mask in masks.get("", {}).items()}]
    for test, seconds in recorder.seconds.items():
        of_file = recorded[test.partition("::")[0]]
        if test in recorder.failed:
            of_file["red"].append(test)
        else:
            of_file["tests"][test] = [seconds, {file: hex(mask) for file, mask in masks.get(test, {}).items()}]
    result.write_text(json.dumps(recorded))
    return 0
