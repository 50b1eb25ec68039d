"""The key of a record in a shared store: ``cc1:<namespace>:<name>:<fingerprint>:<text>``.

Releases whose result types differ have different fingerprints: neither reads nor overwrites what the other wrote, and
each coalesces among its own. The first part names the whole scheme and is for ever.
"""

from __future__ import annotations

from typing import Final

SCHEME: Final = "cc1"

# `:` divides the parts; what stands in `{}` would decide on which node of a cluster the record lives.
_ESCAPES: Final = str.maketrans({sign: f"%{ord(sign):02X}" for sign in "%{}:"})


_SIGNS: Final = tuple((escape, chr(sign)) for sign, escape in sorted(_ESCAPES.items(), reverse=True))
"""The sign that begins an escape comes last."""


def record_prefix(namespace: str, name: str, fingerprint: str) -> str:
    """Return what the keys of all records of one function begin with.

    Args:
        namespace: the store's: what tells the services on one server apart.
        name: the function's.
        fingerprint: of its result type (``ResultCodec.fingerprint``).
    """
    return ":".join([SCHEME, *(part.translate(_ESCAPES) for part in (namespace, name, fingerprint)), ""])


def record_key(prefix: str, text: str) -> str:
    """Return the key of one record.

    Two are equal exactly when their parts are.

    Args:
        prefix: what ``record_prefix`` returned.
        text: the key's text (``KeyRecipe.stored_text``).
    """
    return prefix + text.translate(_ESCAPES)


def record_text(prefix: str, key: str) -> str:
    """Return the text of a record's key; what ``record_key`` was given.

    Args:
        prefix: what ``record_prefix`` returned.
        key: what ``record_key`` returned.
    """
    text = key.removeprefix(prefix)
    if "%" in text:
        for escape, sign in _SIGNS:
            text = text.replace(escape, sign)
    return text
