"""The tool that changes the package in small ways: what it changes, what it leaves, and what it says of the tests."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from textwrap import dedent

import pytest

from tools.mutants.__main__ import ROOT
from tools.mutants.changes import find_mutants
from tools.mutants.lines import Footprints
from tools.mutants.settings import MutantsError, read_settings

pytestmark = pytest.mark.skipif(sys.version_info < (3, 12), reason="the tool needs the places of f-strings' parts")


def changes(source: str) -> set[str]:
    """The lines that the mutants of a source have in the place of its own."""
    return {mutant.new_lines for mutant in find_mutants(dedent(source), "x.py")}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a = b < c", {"a = b <= c"}),
        ("a = b >= c", {"a = b > c"}),
        ("a = b == c", {"a = b != c"}),
        ("a = b is not c", {"a = b is c"}),
        ("a = b not in c", {"a = b in c"}),
        ("a = b < c <= d", {"a = b <= c <= d", "a = b < c < d"}),
        ("a = b and c and d", {"a = b or c and d", "a = b and c or d"}),
        ("a = not b", {"a = b"}),
        ("a = -b", {"a = b"}),
        ("a = b + c * d", {"a = b - c * d", "a = b + c / d"}),
        ("a = (b) + (c)", {"a = (b) - (c)"}),
        ("a = 7", {"a = 8"}),
        ("a = 0.5", {"a = 2.0"}),
        ("a = True", {"a = False"}),
        ("a = 'word'", {"a = 'XXwordXX'"}),
        ("a = b if c else d", {"a = b if (not (c)) else d"}),
        ("a = [b for b in c if d]", {"a = [b for b in c if (not (d))]"}),
        ("a = lambda: b", {"a = lambda: None"}),
        ("a = min(b, c)", {"a = max(b, c)"}),
        ("a = all(b)", {"a = any(b)"}),
        ("a = b(c, d=e)", {"a = b(c, d=None)"}),
        ("a = b(c, d=1)", {"a = b(c, d=2)"}),
        ("a.b = c", {"pass"}),
        ("a[b] = c", {"pass"}),
        ("a += b", {"pass", "a -= b"}),
        ("a(b)", {"pass"}),
        ("del a", {"pass"}),
        ("raise a", {"pass"}),
        ("if a: b()", {"if (not (a)): b()", "if a: pass"}),
        ("a = f'{b + c} and more'", {"a = f'{b - c} and more'"}),
        ("a = 'ä', 1", {"a = 'XXäXX', 1", "a = 'ä', 2"}),
    ],
)
def test_what_is_changed(line: str, expected: set[str]) -> None:
    """Each rule makes its change and no other."""
    assert changes(line) == expected


@pytest.mark.parametrize(
    "source",
    [
        '"""Text."""',
        "a: Final[Literal['word']]",
        "Word: TypeAlias = Literal['word']",
        "__all__ = ['word']",
        "__slots__ = ('word',)",
        "T = TypeVar('T')",
        "a = 'a text for people'",
        "a = f'word{b}'",
        "assert a < 1",
        "import a",
        "class Colour(enum.Enum):\n    RED = 'red'",
        "@decorated(1)\ndef f(a: int = b) -> Literal[1]: ...",
        "a = b(name='word')",
        "a = zip(b, c, strict=True)",
        "a = SomeError(1)",
        "a = isinstance(b, C | D)",
        "a = cast('float', b)",
        "try:\n    ...\nexcept (A, B):\n    ...",
    ],
)
def test_what_is_left(source: str) -> None:
    """Texts for people, types, declarations, assertions and imports have no mutants."""
    assert changes(source) == set()


def test_what_is_done_inside_a_function() -> None:
    """Names lose their value, what is returned becomes nothing, and loops end or go on where they did not."""
    source = """
        def f():
            a = b()
            while a:
                if c:
                    break
                continue
            return a
    """
    assert changes(source) == {
        "a = None",
        "while (not (a)):",
        "if (not (c)):",
        "continue",
        "break",
        "return None",
    }


def test_a_log_can_be_left_out_and_says_what_it_says() -> None:
    """A call of a logger is left out as a statement; what it is given stays."""
    assert changes("def f():\n    logger.warning('word', extra={'a': 1})") == {"pass"}


def test_a_mutant_knows_its_function() -> None:
    """It is the outermost one, with its first line, decorators included; a default belongs to what runs at import."""
    source = "class A:\n    @b\n    def f(self, a=1):\n        def g():\n            return c\n"
    places = {(mutant.function, mutant.first_line, mutant.line) for mutant in find_mutants(source, "x.py")}
    assert places == {("", 0, 3), ("A.f", 2, 5)}


def test_every_mutant_of_the_package_is_python() -> None:
    """A mutant that cannot be compiled would be killed by nothing."""
    for file in read_settings(ROOT / "tests" / "mutants.toml").files:
        for mutant in find_mutants((ROOT / file).read_text(encoding="utf-8"), file)[::7]:
            ast.parse(mutant.changed)


def test_tests_that_are_named_after_a_module_are_asked_first() -> None:
    """Thousands run a line in the middle of everything, and only so many are asked."""
    lines = {
        "tests/test_much.py::test_all": {"toy/flight.py": 0b111110},
        "tests/test_flight_events.py::test_one": {"toy/flight.py": 0b10, "toy/other.py": 0b1111110},
    }
    footprints = Footprints(dict.fromkeys(lines, 0.1), lines, red=())
    (mutant, *_) = find_mutants("LIMIT = 3\n", "toy/flight.py")
    assert [*footprints.choose(mutant, 1)] == ["tests/test_flight_events.py::test_one"]


def test_a_row_needs_a_reason(tmp_path) -> None:
    """Whoever declares a mutant equivalent says why."""
    path = tmp_path / "tests" / "mutants.toml"
    path.parent.mkdir()
    row = "[[equivalent]]\nfile = 'a.py'\nold = 'a'\nnew = 'b'\nreason = ' '"
    path.write_text(f"files = []\ntests = []\n{row}")
    with pytest.raises(MutantsError, match="no reason"):
        read_settings(path)


MODULE = """
LIMIT = 3

def is_small(number):
    return number < LIMIT

def is_even(number):
    return number % 2 == 0

def count_down(number):
    while number > 0:
        number = number - 1
    return number

def half(number):
    return number // 2 if number else 0

def square(number):
    return number * number
"""

TESTS = """
from toy.numbers import count_down as count, half, is_even, is_small, square

def test_small():
    assert is_small(2) and not is_small(3)

def test_even():
    assert not is_even(3)

def test_count():
    assert count(3) == 0

def test_half():
    assert half(4) == 2

def test_square_of_one():
    assert square(1) == 1

def test_square_of_two():
    assert square(2) == 4

def test_red():
    assert not is_even(4)
"""

ROWS = """
files = ["toy/numbers.py"]
tests = ["tests/test_*.py"]

[[equivalent]]
file = "toy/numbers.py"
function = "half"
old = "return number // 2 if number else 0"
new = "return number // 2 if number else 1"
reason = "for the sake of the example"

[[survivor]]
file = "toy/numbers.py"
function = "is_small"
old = "return number < LIMIT"
new = "return number <= LIMIT"
reason = "it is killed, so the row is wrong"

[[survivor]]
file = "toy/numbers.py"
old = "LIMIT = 4"
new = "LIMIT = 5"
reason = "there is no such line"
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory) -> str:
    """What the command prints about a toy package; the code it ends with stands in the last line."""
    root = tmp_path_factory.mktemp("toy")
    for path, text in (("toy/numbers.py", MODULE), ("tests/test_numbers.py", TESTS), ("tests/mutants.toml", ROWS)):
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text(text)
    (root / "toy" / "__init__.py").touch()
    (root / "pyproject.toml").write_text("[tool.pytest.ini_options]\npythonpath = ['.']\n")
    command = [sys.executable, "-m", "tools.mutants", "--root", str(root), "--jobs", "1", "--most", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    return f"{done.stdout}{done.stderr}\nended with {done.returncode}"


def test_a_survivor_is_shown_with_its_change(said: str) -> None:
    """No test asks whether an even number is even: both of what nobody notices are printed."""
    assert "SURVIVED toy/numbers.py:8 is_even\n  - return number % 2 == 0\n  + return None" in said
    assert "return number % 2 == 1" not in said


def test_what_runs_at_import_is_tried_too(said: str) -> None:
    """The constant's mutant is killed: it is not among the survivors."""
    assert "LIMIT = 3" not in said


def test_a_function_is_changed_wherever_it_is_held(said: str) -> None:
    """A name imported before the change calls the mutant: one that never ends is ended, and counts as killed."""
    assert "count_down" not in said
    assert "by a hang)" in said
    assert "(0 by a hang)" not in said


def test_what_has_no_row_is_tried_on_all_tests(said: str) -> None:
    """The first test of ``square`` does not notice a division, and ``--most 1`` is meant for what has a row."""
    assert "square" not in said


def test_an_equivalent_mutant_is_not_held_against_the_tests(said: str) -> None:
    """It is counted by itself."""
    assert "1 equivalent" in said
    assert "else 1" not in said


def test_rows_that_are_not_true_are_told(said: str) -> None:
    """A row whose mutant is killed, and one that no mutant is like, are printed, and the command fails."""
    assert "KILLED by tests/test_numbers.py::test_small, so its row is wrong: toy/numbers.py:5" in said
    assert "GONE: no mutant is like this row: ('toy/numbers.py', '', 'LIMIT = 4', 'LIMIT = 5')" in said
    assert said.endswith("ended with 1")


def test_a_test_that_is_red_anyway_is_not_asked(said: str) -> None:
    """It would kill everything; it is named."""
    assert "red without any change, and therefore not asked: tests/test_numbers.py::test_red" in said
