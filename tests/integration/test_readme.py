"""README's first program, run by itself as a new user would: what it prints is what the file says."""

from __future__ import annotations

import re
import subprocess
import sys

from examples.odds_service.processes import ROOT
from tests.test_docs import read_blocks

# As at the prompt of `python -m asyncio`: the module is __main__, and await stands at the top level.
PROMPT = """
import ast, asyncio, sys
asyncio.run(eval(compile(sys.stdin.read(), "README.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)))
"""


def without_times(text: str) -> list[str]:
    """The words of each line, its times and the lengths of its rules left open."""
    return [
        re.sub(r"\d+(?:\.\d+)?[mµ]?s\b", "TIME", re.sub("-{9,}", "RULE", " ".join(line.split())))
        for line in text.splitlines()
    ]


def test_the_first_program_prints_its_table():
    """A hundred callers and one more, one fetch: the registry as README shows it"""
    blocks = read_blocks((ROOT / "README.md").read_text(encoding="utf-8"))
    program, shown = [block for block in blocks if block.language in {"python", "text"}][:2]
    ran = subprocess.run(
        [sys.executable, "-c", PROMPT], input=program.text, cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert (program.language, shown.language) == ("python", "text")
    assert without_times(ran.stdout) == without_times(shown.text)
    assert "__main__.fixtures" in ran.stdout
