"""The dashboard: one self-contained page, and the policy under which a browser runs it and nothing else."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

_INLINE: Final = re.compile(r"<(script|style)\b[^>]*>(.*?)</\1\s*>", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Page:
    """The page as it is sent.

    Attributes:
        body: its HTML.
        policy: the Content-Security-Policy: its own scripts and styles, by their hashes, and its own address to poll.
    """

    body: bytes
    policy: bytes


def read_page() -> Page:
    """Read the page that lies beside this file."""
    # Line ends as a browser's parser has them, as the hashes are of what it parses.
    text = (files(__package__) / "dashboard.html").read_text("utf-8").replace("\r\n", "\n")
    return Page(text.encode(), policy_for(text).encode())


def policy_for(html: str) -> str:
    """Return the policy for a page whose scripts and styles stand in it: everything else is forbidden."""
    directives = [
        "default-src 'none'",
        "connect-src 'self'",
        " ".join(["script-src", *_hashes(html, "script")]),
        " ".join(["style-src", *_hashes(html, "style")]),
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ]
    return "; ".join(directives)


def _hashes(html: str, tag: str) -> Iterator[str]:
    for found in _INLINE.finditer(html):
        if found[1].lower() == tag:
            yield f"'sha256-{base64.b64encode(hashlib.sha256(found[2].encode()).digest()).decode()}'"
