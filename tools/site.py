"""What the documentation's site needs beside its pages: the repository's own way of writing them, made the site's.

The pages are written to be read in the repository too. There a link may lead out of ``docs/``, to a test or a program;
on the site, which has no such files, it is shown as the path that it is. A block that the tests compare with what is
printed says so after its language, which the site's Markdown does not know.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
CHANGES = ROOT / "CHANGELOG.md"

_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)")
_PRINTS = re.compile(r"^( *```+text) prints$", flags=re.MULTILINE)


def on_page_markdown(markdown: str, *, page: Any, **_: object) -> str:
    """Rewrite one page, as MkDocs calls it."""
    folder = (DOCS / page.file.src_uri).parent
    return _PRINTS.sub(r"\1", _LINK.sub(lambda link: _within_the_site(link, folder), markdown))


def _within_the_site(link: re.Match[str], folder: Path) -> str:
    """Return a link as it is if it stays on the site, else what it would lead to, as a path."""
    text, target = link.groups()
    path = target.partition("#")[0]
    if not path or re.match(r"[a-z]+:", path):
        return link[0]
    linked = (folder / path).resolve()
    if linked.is_relative_to(DOCS):
        return link[0]
    if linked == CHANGES:
        return link[0].replace(target, f"{'../' * len(folder.relative_to(DOCS).parts)}changes.md")
    shown = linked.relative_to(ROOT).as_posix()
    return f"{text} (`{shown}`)" if text.strip("`") not in {shown, linked.name} else f"`{shown}`"
