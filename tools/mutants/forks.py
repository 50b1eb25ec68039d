"""How tests are run against mutants: in forks of a process that has collected them, or that has only imported pytest.

A mutant inside a function is tried in a fork of a process that has collected every test: the function's code is
exchanged in place, so that whoever has imported, wrapped or closed over the function calls the mutant. What runs at
import (constants, defaults, class bodies) is tried in a fork that has not imported the package, and imports the mutant.
Nothing is written to the package's files.
"""

from __future__ import annotations

import gc
import importlib
import mmap
import os
import resource
import signal
import sys
import time
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Final

import hypothesis
import pytest

from tools.mutants.changes import Mutant

SURVIVED, KILLED, CANNOT = 0, 1, 3
"""How a try ends. ``CANNOT``: the mutant has to be imported. Ended by a signal: a test hung, or the process crashed."""

_CPU_SECONDS: Final = 1.5
_REAL_SECONDS: Final = 8.0
_TIMES_AS_LONG: Final = 10
"""A test that takes so much, and so many times its own time beyond, hangs: by its processor time, and by the clock."""

_COLLECTING_SECONDS: Final = 6.0
"""The same for importing and collecting, which is mostly work: on a busy machine the clock says nothing of it."""

_BUSY: Final = 5
"""How many times as long that may take by the clock."""

_MEMORY_BYTES: Final = 2 << 30
_OPTIONS: Final = (
    *("-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-W", "ignore::pytest.PytestAssertRewriteWarning"),
    *("--hypothesis-profile", "mutants"),
)
_FAR_LIBRARIES: Final = ("asyncio", "attrs", "cachetools", "msgspec", "pydantic", "pytest_asyncio", "uvloop")


@dataclass(slots=True)
class Try:
    """One mutant and the tests that it is tried on.

    Attributes:
        mutant: what is tried.
        tests: their node ids, in the order in which they run, each with the seconds that it takes.
        result: how it ended; negative for a signal.
        test: the test that was running then.
    """

    mutant: Mutant
    tests: dict[str, float]
    result: int = SURVIVED
    test: str = ""


class Plugin:
    """What every run of pytest in here gets: the same examples from Hypothesis each time, and who has failed."""

    def __init__(self) -> None:
        self.failed: set[str] = set()

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self) -> None:
        """Have Hypothesis make the same examples each time."""
        hypothesis.settings.register_profile("mutants", derandomize=True, database=None, deadline=None)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note who has failed."""
        if report.failed:
            self.failed.add(report.nodeid)


def import_libraries() -> None:
    """Import what the tests need and what knows nothing of the package, so that forks have it."""
    for library in _FAR_LIBRARIES:
        importlib.import_module(library)


def run_pytest(arguments: Iterable[str], plugin: Plugin) -> int:
    """Run pytest in this process."""
    return int(pytest.main([*_OPTIONS, *arguments], plugins=[plugin]))


def in_fork(work: Callable[[], int], log: Path) -> int:
    """Start ``work`` in a fork that ends with what it returns; return its process id."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    result = 70
    try:
        with log.open("w") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        result = work()
    finally:
        os._exit(result)


# ---- mutants inside functions ----


class ManyForks(Plugin):
    """Collects every test once, and runs the tests of each mutant in a fork of its own.

    A red test counts if it is the first of its fork; otherwise it runs again, as the first of another. So what an
    earlier test has left, or a moment in which the machine was slow, kills no mutant.

    Args:
        tries: what is to be tried; ``told`` is called for each with its result.
        jobs: how many forks run side by side.
    """

    def __init__(self, tries: Iterator[Try], jobs: int, told: Callable[[Try], None]) -> None:
        super().__init__()
        self._tries = tries
        self._told = told
        self._again: list[Try] = []
        self._running: dict[int, tuple[Try, int]] = {}
        self._free = list(range(jobs))
        self._slots = mmap.mmap(-1, 4 * jobs)  # which test each fork is at, readable when it hangs

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Try mutant after mutant, instead of running the tests once."""
        items = {item.nodeid: item for item in session.items}
        functions = functions_of_package()
        while (one := self._next()) is not None:
            one.tests = {test: spent for test, spent in one.tests.items() if test in items}  # an id may hold an address
            slot = self._free.pop()
            pid = os.fork()
            if not pid:
                os._exit(self._try(one, slot, items, functions))
            self._running[pid] = one, slot
        return True

    def _next(self) -> Try | None:
        """Return what is to be tried next, when there is room for it; ``None`` when all has ended."""
        if not self._free:
            self._wait()
        one = self._again.pop() if self._again else next(self._tries, None)
        while one is None and self._running:
            self._wait()
            one = self._again.pop() if self._again else None
        return one

    def _wait(self) -> None:
        pid, status = os.wait()
        one, slot = self._running.pop(pid)
        self._free.append(slot)
        one.result = os.waitstatus_to_exitcode(status)
        index = int.from_bytes(self._slots[4 * slot : 4 * slot + 4])
        if one.result == KILLED and 0 < index < len(one.tests):
            one.tests = dict(list(one.tests.items())[index:])
            self._again.append(one)
            return
        one.test = list(one.tests)[index] if one.result != SURVIVED and index < len(one.tests) else ""
        self._told(one)

    def _try(self, one: Try, slot: int, items: dict[str, pytest.Item], functions: Functions) -> int:
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
        try:
            exchange_code(one.mutant, functions)
        except ValueError:
            return CANNOT
        chosen = [items[test] for test in one.tests]
        for index, (item, following) in enumerate(zip(chosen, [*chosen[1:], None], strict=True)):
            self._slots[4 * slot : 4 * slot + 4] = index.to_bytes(4)
            limit_time(one.tests[item.nodeid])
            try:
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            except BaseException:  # whatever gets through to here, the test was not green
                return KILLED
            if self.failed:
                return KILLED
        return SURVIVED


Functions = dict[tuple[str, str, int], list[types.FunctionType]]
"""The living functions, by file, qualified name and first line of their code."""


def functions_of_package() -> Functions:
    """Return the living functions that have a source of their own."""
    gc.unfreeze()  # the collector does not show what is frozen
    functions: Functions = {}
    for one in gc.get_objects():
        if isinstance(one, types.FunctionType):
            functions.setdefault(_place(one.__code__), []).append(one)
    gc.freeze()
    return functions


def exchange_code(mutant: Mutant, functions: Functions) -> None:
    """Give the function that the mutant stands in, wherever it is held, the mutant's code.

    Raises:
        ValueError: it closes over other variables than before, or nobody holds it.
    """
    module = compile(mutant.changed, os.path.abspath(mutant.file), "exec", dont_inherit=True)  # noqa: PTH100
    wanted = mutant.function, mutant.first_line
    (outermost,) = (code for code in _codes(module) if (code.co_qualname, code.co_firstlineno) == wanted)
    if not functions.get(_place(outermost)):
        raise ValueError(f"nobody holds {mutant.function}")
    for code in (outermost, *_codes(outermost)):
        for function in functions.get(_place(code), ()):
            iterable = function.__code__.co_flags & 0x100  # set by types.coroutine
            function.__code__ = code.replace(co_flags=code.co_flags | iterable)


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield constant
            yield from _codes(constant)


def _place(code: types.CodeType) -> tuple[str, str, int]:
    return code.co_filename, code.co_qualname, code.co_firstlineno


def limit_time(seconds: float, *, times_by_the_clock: int = 1) -> None:
    """Let this process be ended if what comes next takes much longer than ``seconds``."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_VIRTUAL, _CPU_SECONDS + _TIMES_AS_LONG * seconds)
    signal.setitimer(signal.ITIMER_REAL, (_REAL_SECONDS + _TIMES_AS_LONG * seconds) * times_by_the_clock)


# ---- mutants that are imported ----


class Chosen(Plugin):
    """Runs some of the tests collected, in a given order, until one is red."""

    def __init__(self, tests: dict[str, float]) -> None:
        super().__init__()
        self._tests = tests
        self.ran = 0

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave the tests that were chosen, in their order."""
        found = {item.nodeid: item for item in items}
        items[:] = [found[test] for test in self._tests if test in found]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Limit the time of a test."""
        limit_time(self._tests[item.nodeid])
        self.ran += 1
        return (yield)


class _Imported(Loader):
    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def exec_module(self, module: types.ModuleType) -> None:
        exec(compile(self._mutant.changed, os.path.abspath(self._mutant.file), "exec"), vars(module))  # noqa: PTH100, S102


class _Finder(MetaPathFinder):
    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant
        self._name = mutant.file.removesuffix(".py").replace("/", ".")

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name == self._name else None
        if spec is not None:
            spec.loader = _Imported(self._mutant)
        return spec


def start_imported(one: Try, log: Path) -> int:
    """Try a mutant in a fork that imports it; this process must not have imported the package. Return its id."""

    def work() -> int:
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
        sys.meta_path.insert(0, _Finder(one.mutant))
        chosen = Chosen(one.tests)
        limit_time(_COLLECTING_SECONDS, times_by_the_clock=_BUSY)
        code = run_pytest(["-x", *dict.fromkeys(test.split("::")[0] for test in one.tests)], chosen)
        print("\nred:", *chosen.failed)
        return SURVIVED if code == 0 and chosen.ran else KILLED

    return in_fork(work, log)


def end_imported(one: Try, status: int, log: Path) -> None:
    """Note how a try that was started has ended."""
    one.result = os.waitstatus_to_exitcode(status)
    red = [line.removeprefix("red: ") for line in log.read_text().splitlines() if line.startswith("red: ")]
    one.test = (red or ["(import)"])[0] if one.result != SURVIVED else ""


# ---- which test runs which line ----


class Recorder(Plugin):
    """Runs the tests and notes which lines of the package each of them runs.

    Args:
        switch: told of the test that begins, and with an empty name of its end.
    """

    def __init__(self, switch: Callable[[str], object]) -> None:
        super().__init__()
        self._switch = switch
        self.seconds: dict[str, float] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Note whose lines are run, and for how long."""
        self._switch(item.nodeid)
        began = time.perf_counter()
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid] = time.perf_counter() - began
            self._switch("")
