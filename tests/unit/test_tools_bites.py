from __future__ import annotations

import re
from textwrap import dedent

import pytest

from tools.bites import ROOT, Bite, BiteError, apply_change, main, read_bites, select_tests

PACKAGE = """
def is_even(number):
    if number % 2:
        return False
    return True


def count_down(number):
    while number:
        number -= 1
    return number
"""

TESTS = """
import pytest
from toy import count_down, is_even

def test_g02_odd_numbers_are_not_even():
    assert not is_even(3)

def test_g02_even_numbers_are():
    assert is_even(4)

def test_g03_it_counts_down():
    assert count_down(3) == 0

def test_g04_is_red_anyway():
    assert False

@pytest.fixture
def tidy():
    yield
    assert not is_even(5), "left untidy"

def test_g05_leaves_nothing(tidy):
    pass
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A tree with a package, its tests, and a way to write its bites."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # a toy needs no plugins, and starts sooner
    (tmp_path / "toy.py").write_text(PACKAGE)
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "test_toy.py").write_text(TESTS)
    (tests / "test_other.py").write_text("def test_nothing(): pass\n")

    def write(rows: str):
        (tests / "bites.toml").write_text(dedent(rows))
        return tmp_path

    return write


def run(root, capsys, *arguments):
    """Run the tool on the toy tree; its exit code, and its lines without the last two."""
    code = main(["--root", str(root), "--jobs", "2", *arguments])
    lines = capsys.readouterr().out.splitlines()
    return code, lines[:-2], lines[-1]


BITE = Bite("G2", "toy.py", old="if number % 2:", new="if False:")


def test_a_bite_shows_the_guarantee_the_change_and_the_red_test(toy, capsys):
    """The line of a row that holds has its three facts, and the tree itself is unchanged."""
    root = toy("""
        [[bite]]
        guarantee = "G2"
        file = "toy.py"
        old = 'if number % 2:'
        new = 'if False:'
    """)
    code, (line,), summary = run(root, capsys)
    assert code == 0
    assert line.startswith("G2   if number % 2: → if False:   ")
    assert re.search(r" \d+ s  test_g02", line)  # and how long it took
    assert line.endswith("  test_g02_odd_numbers_are_not_even")
    assert summary == "bites: 1 passed, 0 failed, 0 skipped"
    assert (root / "toy.py").read_text() == PACKAGE


def test_a_failure_in_teardown_is_red(toy, capsys):
    """A leak check that fails after the test counts."""
    root = toy("""
        [[bite]]
        guarantee = "G5"
        file = "toy.py"
        old = 'return False'
        new = 'return True'
    """)
    code, (line,), _ = run(root, capsys)
    assert code == 0
    assert line.endswith("  test_g05_leaves_nothing")


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        ("guarantee = 'G2'\nfile = 'toy.py'\nold = 'number -= 1'\nnew = 'number = 0'", "every test stayed green"),
        ("guarantee = 'G2'\nfile = 'toy.py'\nold = 'if number % 3:'\nnew = ''", "toy.py has 0 places like it, not one"),
        ("guarantee = 'G4'\nfile = 'toy.py'\nold = 'return True'\nnew = 'return 1'", "test_g04_is_red_anyway"),
        ("guarantee = 'G6'\nfile = 'toy.py'\nold = 'return True'\nnew = 'return 1'", "no test is named test_g06_..."),
        ("guarantee = 'G2'\nfile = 'toy.py'\nold = 'return True'\nnew = 'return ('", "was never closed"),
        ("guarantee = 'G2'\nfile = 'gone.py'\nold = 'a'\nnew = 'b'", "gone.py"),
    ],
    ids=["green", "does not apply", "red anyway", "no tests", "syntax", "no file"],
)
def test_a_row_that_proves_nothing_fails(toy, capsys, row, verdict):
    """Whatever keeps a row from proving something is told, and the tool fails."""
    code, lines, summary = run(toy(f"[[bite]]\n{row}"), capsys)
    assert code == 1
    assert "FAILED: " in lines[0]
    assert verdict in "\n".join(lines)
    assert summary == "bites: 0 passed, 1 failed, 0 skipped"


def test_a_change_that_breaks_the_import_proves_nothing(toy, capsys):
    """Tests that cannot even be collected are not red."""
    root = toy("""
        [[bite]]
        guarantee = "G2"
        file = "toy.py"
        old = 'def is_even(number):'
        new = 'def is_odd(number):'
    """)
    code, lines, _ = run(root, capsys)
    assert code == 1
    assert "FAILED: pytest ended with" in lines[0]


def test_a_file_that_cannot_be_collected_beside_others_is_not_red(toy, capsys):
    """With several files of tests, pytest ends with one broken one as it does with a red test: that proves nothing."""
    root = toy("""
        [[bite]]
        guarantee = "G2"
        file = "toy.py"
        old = 'def count_down(number):'
        new = 'def count(number):'
        tests = ["tests/test_toy.py", "tests/test_other.py"]
    """)
    (root / "tests" / "test_toy.py").write_text("import toy\n\ntoy.count_down(3)\n\ndef test_g02_nothing(): pass\n")
    code, lines, summary = run(root, capsys)
    assert code == 1
    assert "FAILED: pytest ended with 1" in lines[0]
    assert summary == "bites: 0 passed, 1 failed, 0 skipped"


def test_a_hang_is_red(toy, capsys):
    """A change that makes a test hang is noticed, and shown as a hang."""
    root = toy("""
        [[bite]]
        guarantee = "G3"
        file = "toy.py"
        old = 'number -= 1'
        new = 'number += 1'
    """)
    code, (line,), _ = run(root, capsys, "--hang-seconds", "3")
    assert code == 0
    assert line.endswith("  (hung for 3 s)")


def test_a_row_for_a_newer_python_is_skipped_loudly(toy, capsys):
    """A row with `since` waits for its Python, and a run that tried nothing fails."""
    root = toy("""
        [[bite]]
        guarantee = "G2"
        file = "toy.py"
        old = 'if number % 2:'
        new = 'if False:'
        since = "99.0"
    """)
    code, (line,), summary = run(root, capsys)
    assert code == 1
    assert line.endswith("SKIPPED: needs a newer Python")
    assert summary == "bites: 0 passed, 0 failed, 1 skipped"


def test_only_the_guarantees_named_are_tried(toy, capsys):
    """Naming a guarantee leaves the others alone; naming none that exists fails."""
    root = toy("""
        [[bite]]
        guarantee = "G2"
        file = "toy.py"
        old = 'if number % 2:'
        new = 'if False:'
    """)
    code, lines, _ = run(root, capsys, "G3")
    assert code == 1
    assert lines == ["no bite to try: tests/bites.toml has no such row"]


def test_lines_match_without_their_indentation():
    """Several lines are one change; the new ones take the old ones' indentation and keep their own."""
    text = "def f():\n    if a:\n        b()\n    c()\n"
    bite = Bite("G1", "x.py", old="if a:\n    b()", new="while a:\n    d()")
    assert apply_change(text, bite) == "def f():\n    while a:\n        d()\n    c()\n"


def test_lines_can_be_removed():
    """An empty `new` removes the lines."""
    assert apply_change("a\n  b\nc\n", Bite("G1", "x.py", old="b", new="")) == "a\nc\n"


def test_a_line_that_occurs_twice_does_not_apply():
    """Two places like it are one too many."""
    with pytest.raises(BiteError, match="has 2 places like it, not one"):
        apply_change("a\nb\na\n", Bite("G1", "x.py", old="a", new="c"))


def test_only_files_with_tests_of_the_guarantee_are_collected(toy):
    """The selection names the files that have the guarantee's tests, and their prefix."""
    assert select_tests(BITE, toy("")) == ["tests/test_toy.py", "-k", "test_g02_"]


def test_a_row_may_name_its_tests(toy):
    """`tests` are pytest's arguments as they are."""
    bite = Bite("G2", "toy.py", "a", "b", tests=("tests/test_other.py::test_nothing",))
    assert select_tests(bite, toy("")) == ["tests/test_other.py::test_nothing"]


@pytest.mark.parametrize(
    "row", ['guarantee = "G2"', 'guarantee = "2"\nfile = ""\nold = ""\nnew = ""', 'guarantee = "G2"\nwhat = 1']
)
def test_a_malformed_row_is_refused(tmp_path, row):
    """A row that lacks a field, has one too many, or no guarantee's name is an error."""
    path = tmp_path / "bites.toml"
    path.write_text(f"[[bite]]\n{row}")
    with pytest.raises(BiteError):
        read_bites(path)


def test_the_projects_own_rows_apply():
    """Every change of the project's own rows finds its one place; whether it bites is for `make bites`."""
    for bite in read_bites(ROOT / "tests" / "bites.toml"):
        apply_change((ROOT / bite.file).read_text(encoding="utf-8"), bite)
