"""What the documentation's site needs beside its pages: the repository's own way of writing them, made the site's.

The pages are written to be read in the repository too. There a link may lead out of ``docs/``, to a test or a program;
on the site, which has no such files, it is shown as the path that it is. A page may be a file that stands elsewhere in
the repository. A block that the tests compare with what is printed says so after its language, which the site's
Markdown does not know; and docstrings announce a block with two colons, of which it knows neither.
"""

from __future__ import annotations

import os.path
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"

_INCLUDE = re.compile(r'--8<-- "([^"]+)"\s*')
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)")
_PRINTS = re.compile(r"^( *```+text) prints$", flags=re.MULTILINE)


def on_page_markdown(markdown: str, *, page: Any, **_: object) -> str:
    """Rewrite one page before it is read, as MkDocs calls it."""
    folder = (DOCS / page.file.src_uri).parent
    if include := _INCLUDE.fullmatch(markdown):
        source = ROOT / include[1]
        markdown = source.read_text(encoding="utf-8")
        markdown = _LINK.sub(lambda link: _within_the_site(link, source.parent, folder), markdown)
    else:
        markdown = _LINK.sub(lambda link: _within_the_site(link, folder, folder), markdown)
    return _PRINTS.sub(r"\1", markdown)


def on_page_content(html: str, **_: object) -> str:
    """Rewrite what came of it: ``Example::`` announces what follows with one colon, ``::`` alone with none."""
    return html.replace("<p>::</p>", "").replace("::</p>", ":</p>")


def _pages_from_elsewhere() -> dict[Path, Path]:
    """Return which file of the repository is which page."""
    texts = {page: page.read_text(encoding="utf-8") for page in DOCS.glob("*.md")}
    includes = {page: _INCLUDE.fullmatch(text) for page, text in texts.items()}
    return {ROOT / include[1]: page for page, include in includes.items() if include}


def _within_the_site(link: re.Match[str], folder: Path, page_folder: Path) -> str:
    """Return a link, written in ``folder`` and shown in ``page_folder``, or as a path what is not on the site."""
    text, target = link.groups()
    path, mark, anchor = target.partition("#")
    if not path or re.match(r"[a-z]+:", path):
        return link[0]
    linked = (folder / path).resolve()
    linked = _pages_from_elsewhere().get(linked, linked)
    if linked.is_relative_to(DOCS):
        return f"[{text}]({Path(os.path.relpath(linked, page_folder)).as_posix()}{mark}{anchor})"
    path = linked.relative_to(ROOT).as_posix()
    shown = f"<code>{path.replace('/', '/<wbr>')}</code>"  # a narrow column may break it between its folders
    return shown if text.strip("`/") in path else f"{text} ({shown})"
