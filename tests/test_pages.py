"""What the documents promise: links that lead somewhere, tables that are what was measured, a page for every name."""

from __future__ import annotations

import ast
import codeop
import dataclasses
import inspect
import json
import re

import pytest

import coalesce_kit
import coalesce_kit.errors
from coalesce_kit.stats.counters import Counters, Gauges
from tests.test_docs import DOCUMENTS, ROOT, read_blocks
from tools import compared, metrics_page
from tools.mutants.settings import read_settings


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_inside_the_project_leads_somewhere(document):
    """A relative link names a file that is there, and its anchor a heading of that file."""
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = document if not path else (document.parent / path).resolve()
        assert linked.exists(), f"{document.name} links to {target}"
        if anchor:
            assert anchor in anchors_of(linked.read_text(encoding="utf-8")), f"{document.name} links to {target}"


def anchors_of(text: str) -> set[str]:
    """The anchors of a document's headings: in small letters, spaces as hyphens, without other signs."""
    headings = re.findall(r"^#+ +(.+?) *$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


PASTED = [ROOT / "README.md", ROOT / "docs" / "tutorial.md", *sorted((ROOT / "docs" / "migration").glob("*.md"))]


@pytest.mark.parametrize("document", PASTED, ids=lambda path: path.stem)
def test_a_block_can_be_pasted_at_the_prompt(document):
    """At the prompt of ``python -m asyncio``, which takes line by line, each statement ends where it is meant to."""
    for block in read_blocks(document.read_text(encoding="utf-8")):
        if block.language == "python":
            where = f"{document.name}:{block.line}"
            assert statements_at_the_prompt(block.text) == len(ast.parse(block.text).body), where


def statements_at_the_prompt(text: str) -> int:
    """Return how many statements the lines make, one after the other, where an empty line ends a compound one.

    Raises:
        SyntaxError: the prompt would not take them.
    """
    compiler = codeop.CommandCompiler()
    compiler.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    statements, waiting = 0, list[str]()
    for line in [*text.splitlines(), ""]:
        waiting.append(line)
        if compiler("\n".join(waiting), "<prompt>") is not None:
            statements += len(ast.parse("\n".join(waiting)).body)
            waiting = []
    assert not "".join(waiting), waiting
    return statements


def test_readmes_table_is_what_was_measured():
    """The table of what happens when ... is the one that the kept results make: ``python -m tools.compared``."""
    readme = compared.README.read_text(encoding="utf-8")
    assert readme == compared.with_table(readme, json.loads(compared.RESULTS.read_text(encoding="utf-8")))


def test_the_page_of_metrics_is_what_the_code_says():
    """Each number's unit, rule and exported name, out of the docstrings: ``python -m tools.metrics_page``."""
    assert metrics_page.PAGE.read_text(encoding="utf-8") == metrics_page.page()


def test_the_page_of_metrics_has_every_number():
    """No field of a snapshot is without its rule."""
    rows = re.findall(r"^\| (`[^|]*`), ", metrics_page.page(), flags=re.MULTILINE)
    told = {name.strip("`") for row in rows for name in row.split(", ")}
    numbers = {field.name for field in dataclasses.fields(Counters)} | {
        field.name for field in dataclasses.fields(Gauges)
    }
    assert numbers <= told


def test_every_public_name_is_in_the_reference():
    """What the facade lists has its docstring on a page of the reference; errors come with their module."""
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "reference").glob("*.md"))
    shown = {name.rpartition(".")[2] for name in re.findall(r"^::: coalesce_kit\.([\w.]+)$", pages, flags=re.MULTILINE)}
    errors = {name for name, thing in vars(coalesce_kit.errors).items() if inspect.isclass(thing)}
    assert set(coalesce_kit.__all__) - shown - errors == {"__version__", "coalesced"}  # a text, and an instance


def test_every_change_that_nobody_can_notice_is_explained():
    """The page on decisions says of each row of ``mutants.toml``, by its function or constant, why it is there."""
    section = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    section = section.partition("### The changes that nobody can notice")[2].partition("\n## ")[0]
    words = {name.rpartition(".")[2] for name in re.findall(r"`([\w.]+)`", section)}
    rows = read_settings(ROOT / "tests" / "mutants.toml").rows
    assert rows
    assert {row.function.rpartition(".")[2] or row.old.partition(":")[0] for row in rows} <= words


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "how-to").glob("*.md")), ids=lambda path: path.stem)
def test_every_how_to_begins_with_what_to_do(page):
    """Whoever has ten seconds reads the second paragraph."""
    title, gist, *_ = page.read_text(encoding="utf-8").split("\n\n")
    assert title.startswith("# ")
    assert gist.startswith("**TL;DR** ")


def test_every_make_target_that_is_named_exists():
    """`make demo` in the documents is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    for document in [*DOCUMENTS, ROOT / "CONTRIBUTING.md"]:
        named = re.findall(r"(?:^|`|\$ )make ([a-z-]+)", document.read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert set(named) <= targets, document.name
