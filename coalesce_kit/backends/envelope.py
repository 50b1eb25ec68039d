"""The envelope around what a store keeps: bytes that say whose they are, and are believed only if everything fits.

Layout, all numbers big-endian::

    0   4   magic: CKE and a line feed
    4   1   version of the layout
    5   1   kind: what the body is
    6   2   how many tags
    8   4   size of the whole, in bytes
    12  4   CRC-32 of everything but itself
    16  32  lifetimes: four doubles of seconds: fresh, stale, fallback, refresh after
    48  4   size of the key's text
    52      the key's text in UTF-8; then for each tag: size (4) and text, size (4) and version; the rest is the body

It is framed by hand, so that opening it needs no library and can do nothing but compare and copy. The checksum finds
accidents, not liars: whoever may write to the store can say anything, and is answered with values, never with code.

The layout of version 1 is for ever; ``tests/wire`` holds samples of it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal, TypeAlias

from ..entry import Lifetimes

MAGIC: Final = b"CKE\n"
VERSION: Final = 1

BodyKind: TypeAlias = Literal["value", "error"]
"""What the body is: a result in the codec's bytes, or a failure (``remote_errors``)."""

_KINDS: Final[tuple[BodyKind, ...]] = ("value", "error")
_HEADER: Final = struct.Struct(">4sBBHII4dI")
_SIZE: Final = struct.Struct(">I")
_CHECKSUM_AT: Final = 12
_LIFETIMES_AT: Final = 16
_MAX_TAGS: Final = 0xFFFF

NO_LIFETIMES: Final = Lifetimes(0.0)
"""Of a result that is not kept."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """What was in an envelope of ours.

    Attributes:
        kind: what the body is.
        body: the bytes of the result or of the failure.
        lifetimes: as they were sealed by whoever fetched.
        tags: each tag with the version it had when the fetch began.
    """

    kind: BodyKind
    body: bytes
    lifetimes: Lifetimes = NO_LIFETIMES
    tags: tuple[tuple[str, str], ...] = ()


class Foreign(Enum):
    """Why bytes are none of ours. To the caller it is a miss; to the one who counts, a fact."""

    SIZE = "size"
    """They are cut, padded, or larger than allowed."""

    MAGIC = "magic"
    """Somebody else wrote them."""

    VERSION = "version"
    """A release wrote them whose layout this one does not know."""

    CHECKSUM = "checksum"
    """They were damaged."""

    KEY = "key"
    """They belong to another key, or to another kind of text."""

    CONTENT = "content"
    """The frame fits and what stands in it makes no sense."""


class UnsealableError(Exception):
    """What was to be sealed does not fit into an envelope."""


def seal(
    kind: BodyKind,
    body: bytes,
    *,
    text: str,
    lifetimes: Lifetimes = NO_LIFETIMES,
    tags: Iterable[tuple[str, str]] = (),
) -> bytes:
    """Return the bytes of an envelope.

    Args:
        kind: what the body is.
        body: its bytes.
        text: the full text of the key it belongs to (``KeyRecipe.stored_text``).
        lifetimes: how long the result may be used; none for one that is not kept.
        tags: each tag with the version it had when the fetch began.

    Raises:
        UnsealableError: more tags than an envelope can name, or more bytes than it can count.
    """
    pieces = [_encoded(text)]
    noted = tuple(tags)
    for pair in noted:
        for piece in pair:
            written = _encoded(piece)
            pieces += (_SIZE.pack(len(written)), written)
    pieces.append(body)
    size = _HEADER.size + sum(map(len, pieces))
    if len(noted) > _MAX_TAGS or size > 0xFFFFFFFF:
        raise UnsealableError(f"{len(noted)} tags and {size} bytes do not fit into an envelope")
    header = _HEADER.pack(
        MAGIC,
        VERSION,
        _KINDS.index(kind),
        len(noted),
        size,
        0,
        lifetimes.fresh_seconds,
        lifetimes.stale_seconds,
        lifetimes.fallback_seconds,
        lifetimes.refresh_after_seconds,
        len(pieces[0]),
    )
    data = bytearray(header)
    for each in pieces:
        data += each
    _SIZE.pack_into(data, _CHECKSUM_AT, _checksum(data))
    return bytes(data)


def open_envelope(data: bytes, *, text: str, max_bytes: int | None = None) -> Envelope | Foreign:
    """Return what is in an envelope, or why it is none of ours. Never raises, whatever the bytes.

    Args:
        data: what the store gave.
        text: the full text of the key that was asked for.
        max_bytes: more than this is not looked at.
    """
    if len(data) < _HEADER.size or (max_bytes is not None and len(data) > max_bytes):
        return Foreign.SIZE
    magic, version, kind, count, size, checksum, fresh, stale, fallback, refresh_after, length = _HEADER.unpack_from(
        data
    )
    if magic != MAGIC:
        return Foreign.MAGIC
    if version != VERSION:
        return Foreign.VERSION
    if size != len(data):
        return Foreign.SIZE
    if checksum != _checksum(data):
        return Foreign.CHECKSUM
    at = _HEADER.size + length
    if data[_HEADER.size : at] != _encoded(text):
        return Foreign.KEY
    seconds = (fresh, stale, fallback, refresh_after)
    if kind >= len(_KINDS) or not all(one >= 0 for one in seconds):
        return Foreign.CONTENT
    try:
        tags, at = _read_tags(data, at, count)
    except (struct.error, UnicodeDecodeError):
        return Foreign.CONTENT
    if at > len(data):
        return Foreign.CONTENT
    return Envelope(_KINDS[kind], bytes(data[at:]), Lifetimes(*seconds), tags)


def _encoded(text: str) -> bytes:
    # A tag may hold whatever an argument held; half a surrogate pair is no reason to fail.
    return text.encode("utf-8", "surrogatepass")


def _checksum(data: bytes | bytearray) -> int:
    view = memoryview(data)
    return zlib.crc32(view[_LIFETIMES_AT:], zlib.crc32(view[:_CHECKSUM_AT]))


def _read_tags(data: bytes, at: int, count: int) -> tuple[tuple[tuple[str, str], ...], int]:
    read: list[str] = []
    for _ in range(2 * count):
        (size,) = _SIZE.unpack_from(data, at)
        at += _SIZE.size + size
        read.append(str(data[at - size : at], "utf-8", "surrogatepass"))
    return tuple(zip(read[::2], read[1::2], strict=True)), at
