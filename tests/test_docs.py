"""The documentation runs: every python block of README.md and docs/, in order, one namespace per file.

A block may use ``await`` at its top level. What a block prints is held to the text block after it, when that says so
in its info string (```` ```text prints ````) or in a comment before it (``<!-- prints -->``); ``...`` and ``…`` in it
stand for anything within the line, as with times and addresses. A block that cannot run here stands after
``<!-- not run: the reason -->``; one that runs only where a package is installed after ``<!-- needs: its module -->``.

``python -m tests.test_docs`` runs them all and says how many there are.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import importlib.util
import inspect
import io
import linecache
import re
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    path for path in [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))] if path.exists()
]
FENCE = re.compile(r"^(?P<indent> *)(?P<fence>```+|~~~+) *(?P<info>[^`\n]*)$")
ANYTHING = re.compile(r"\.\.\.|…")


@dataclass(frozen=True)
class Block:
    """A fenced block: its first line's number in the file, what it is, and the comment right before it."""

    line: int
    info: str
    text: str
    comment: str

    @property
    def language(self) -> str:
        return self.info.partition(" ")[0]

    @property
    def runs(self) -> bool:
        return self.language == "python" and not self.comment.startswith("not run:")

    @property
    def missing(self) -> bool:
        """Whether it needs a package that is not installed."""
        said, _, module = self.comment.partition("needs:")
        return not said and bool(module) and importlib.util.find_spec(module.strip()) is None

    @property
    def prints(self) -> bool:
        return self.language == "text" and "prints" in (self.comment, *self.info.split()[1:])


def read_blocks(text: str) -> Iterator[Block]:
    """Every fenced block of a document."""
    lines = iter(enumerate(text.splitlines(), start=1))
    comment = ""
    for number, line in lines:
        opening = FENCE.match(line)
        if opening is None:
            if line.strip():
                said = re.fullmatch(r"\s*<!--\s*(.*?)\s*-->\s*", line)
                comment = said[1] if said else ""
            continue
        inside = []
        for _, inner in lines:
            if inner.strip() == opening["fence"]:
                break
            inside.append(inner.removeprefix(opening["indent"]))
        else:
            raise AssertionError(f"the block that begins in line {number} has no end")
        yield Block(number + 1, opening["info"].strip(), "\n".join(inside) + "\n", comment)
        comment = ""


class Page:
    """One document, run from its first block to its last in one namespace and one event loop."""

    def __init__(self, name: str, runner: asyncio.Runner) -> None:
        self.name = name
        self.module = types.ModuleType(re.sub(r"\W", "_", name))
        self._runner = runner

    def run(self, block: Block) -> str:
        """Run a block and return what it printed; its lines have the document's numbers in tracebacks."""
        tree = ast.increment_lineno(ast.parse(block.text, self.name), block.line - 1)
        code = compile(tree, self.name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            if code.co_flags & inspect.CO_COROUTINE:
                self._runner.run(self._await(code))
            else:
                exec(code, self.module.__dict__)
        return printed.getvalue()

    async def _await(self, code: types.CodeType) -> None:
        await eval(code, self.module.__dict__)


def run_document(name: str, text: str) -> int:
    """Run a document and hold what it prints to what it says; return how many blocks ran."""
    blocks = list(read_blocks(text))
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    ran, printed, missing = 0, None, False
    with asyncio.Runner() as runner:
        page = Page(name, runner)
        sys.modules[page.module.__name__] = page.module  # dataclasses and pickle look a class's module up
        try:
            for block in blocks:
                if block.runs:
                    missing = block.missing
                    if not missing:
                        ran, printed = ran + 1, page.run(block)
                elif block.prints and not missing:
                    assert printed is not None, f"{name}:{block.line}: nothing before this block prints"
                    check_output(f"{name}:{block.line}", said=block.text, printed=printed)
                    printed = None
        finally:
            del sys.modules[page.module.__name__], linecache.cache[name]
    return ran


def check_output(where: str, *, said: str, printed: str) -> None:
    """Compare line by line; ``...`` and ``…`` stand for anything within a line."""
    said_lines, printed_lines = said.strip("\n").splitlines(), printed.strip("\n").splitlines()
    patterns = [".*".join(map(re.escape, ANYTHING.split(line.rstrip()))) for line in said_lines]
    matches = len(said_lines) == len(printed_lines) and all(
        re.fullmatch(pattern, line.rstrip()) for pattern, line in zip(patterns, printed_lines, strict=True)
    )
    if not matches:
        raise AssertionError(f"{where} says\n\n{said}\nbut what is printed is\n\n{printed}")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_document_runs_and_prints_what_it_says(document, record_property):
    """Every python block of the document runs, and what it prints is what the document says."""
    record_property("blocks", run_document(str(document.relative_to(ROOT)), document.read_text(encoding="utf-8")))


def test_blocks_share_a_namespace_and_a_loop():
    """A later block sees what an earlier one made, and awaits at its top level on the same loop."""
    text = """
```python
import asyncio
loop = None
```
Then:
```python
loop = asyncio.get_running_loop()
await asyncio.sleep(0)
```
```python
await asyncio.sleep(0)
print(loop is asyncio.get_running_loop())
```
<!-- prints -->
```text
True
```
"""
    assert run_document("toy.md", text) == 3


def test_output_that_differs_is_told_with_the_line():
    """What is printed must be what the document says."""
    with pytest.raises(AssertionError, match=r"toy\.md:5 says\n\n2\n\nbut what is printed is\n\n3\n"):
        run_document("toy.md", "```python\nprint(1 + 2)\n```\n```text prints\n2\n```\n")


def test_dots_stand_for_anything_within_a_line():
    """A time or an address may be left open, a line may not."""
    run_document("toy.md", "```python\nprint('took 0.21 s')\n```\n```text prints\ntook … s\n```\n")
    with pytest.raises(AssertionError, match="says"):
        run_document("toy.md", "```python\nprint('a\\nb')\n```\n```text prints\n...\n```\n")


def test_a_text_block_without_the_word_is_only_text():
    """Only what says `prints` is compared."""
    assert run_document("toy.md", "```python\nprint(1)\n```\n```text\nanything\n```\n") == 1


def test_a_failure_names_the_documents_line():
    """A traceback points into the document."""
    with pytest.raises(ZeroDivisionError) as caught:
        run_document("toy.md", "# Title\n\n```python\nx = 1\nx / 0\n```\n")
    assert caught.traceback[-1].lineno == 4  # counted from 0


def test_a_block_that_is_not_run_says_why():
    """A comment with a reason keeps a block from being run."""
    assert run_document("toy.md", "<!-- not run: needs a server -->\n```python\n1 / 0\n```\n") == 0


@pytest.mark.parametrize(("module", "ran"), [("asyncio", 2), ("no_such_module", 1)])
def test_a_block_that_needs_a_package_runs_where_that_is(module, ran):
    """Without the package neither the block nor what it would have printed is looked at; the next block is."""
    text = f"<!-- needs: {module} -->\n```python\nprint(1)\n```\n```text prints\n1\n```\n"
    assert run_document("toy.md", text + "```python\nprint(2)\n```\n```text prints\n2\n```\n") == ran


def test_an_indented_block_runs():
    """A block inside a list is dedented."""
    assert run_document("toy.md", "- a list:\n\n  ```python\n  if True:\n      pass\n  ```\n") == 1


def test_a_block_without_an_end_is_an_error():
    """A fence that is never closed is no document."""
    with pytest.raises(AssertionError, match="line 1 has no end"):
        run_document("toy.md", "```python\nprint(1)\n")


class Counting:
    """A pytest plugin that adds up how many blocks ran."""

    def __init__(self) -> None:
        self.documents = self.blocks = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        ran = dict(report.user_properties).get("blocks")
        if report.when == "call" and isinstance(ran, int):
            self.documents, self.blocks = self.documents + 1, self.blocks + ran


def main() -> int:
    """Run every document, as the tests do, and say how many blocks ran, and why the others did not."""
    counting = Counting()
    status = pytest.main(["-q", "-k", test_a_document_runs_and_prints_what_it_says.__name__, __file__], [counting])
    left_out = [
        f"  {document.relative_to(ROOT)}:{block.line} {block.comment}"
        for document in DOCUMENTS
        for block in read_blocks(document.read_text(encoding="utf-8"))
        if block.language == "python" and (block.missing or not block.runs)
    ]
    print(
        f"{counting.blocks} python blocks of {counting.documents} documents ran; {len(left_out)} did not:",
        *left_out,
        sep="\n",
    )
    return status


if __name__ == "__main__":
    sys.exit(main())
