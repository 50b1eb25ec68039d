"""The envelope: what goes in comes out, and anything else is foreign."""

from __future__ import annotations

import math
import struct

import pytest

from coalesce_kit.backends import envelope
from coalesce_kit.backends.envelope import Envelope, Foreign, UnsealableError, open_envelope, seal
from coalesce_kit.entry import Lifetimes

TEXT = "fixtures:nfl:True:5"
LIFETIMES = Lifetimes(30.0, 10.0, 300.0, 27.0)
TAGS = (("odds", "v1"), ("league:nfl", "v2"))
SEALED = seal("value", b"body", text=TEXT, lifetimes=LIFETIMES, tags=TAGS)


@pytest.mark.parametrize("kind", ["value", "error"])
@pytest.mark.parametrize("body", [b"", b"\x00" * 70_000])
def test_what_is_sealed_is_found_again(kind, body):
    """Kind, body, lifetimes, tags."""
    data = seal(kind, body, text=TEXT, lifetimes=LIFETIMES, tags=TAGS)
    assert open_envelope(data, text=TEXT) == Envelope(kind, body, LIFETIMES, TAGS)


def test_lifetimes_may_be_endless_and_none():
    """A ttl of infinity is one; a result that is not kept has none."""
    endless = seal("value", b"", text=TEXT, lifetimes=Lifetimes(math.inf))
    assert open_envelope(endless, text=TEXT) == Envelope("value", b"", Lifetimes(math.inf))
    assert open_envelope(seal("value", b"", text=TEXT), text=TEXT) == Envelope("value", b"", Lifetimes(0.0))


def test_texts_may_hold_anything():
    """A tag is made of arguments."""
    tags = (("\ud800{}:", ""), ("", "naïve"))
    data = seal("value", b"", text="\udfff", tags=tags)
    opened = open_envelope(data, text="\udfff")
    assert isinstance(opened, Envelope)
    assert opened.tags == tags


def resealed(data: bytes) -> bytes:
    """The bytes with a checksum that fits them."""
    changed = bytearray(data)
    struct.pack_into(">I", changed, 8, len(data))
    struct.pack_into(">I", changed, 12, envelope._checksum(changed))
    return bytes(changed)


def changed(at: int, new: bytes) -> bytes:
    return SEALED[:at] + new + SEALED[at + len(new) :]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Foreign.SIZE),
        (SEALED[:51], Foreign.SIZE),
        (SEALED[:-1], Foreign.SIZE),
        (SEALED + b"\x00", Foreign.SIZE),
        (changed(0, b"PK"), Foreign.MAGIC),
        (changed(4, b"\x02"), Foreign.VERSION),
        (changed(4, b"\x00"), Foreign.VERSION),
        (changed(16, b"\x41"), Foreign.CHECKSUM),
        (SEALED[:-1] + b"Y", Foreign.CHECKSUM),
        (resealed(changed(53, b"X")), Foreign.KEY),
        (resealed(changed(5, b"\x07")), Foreign.CONTENT),
        (resealed(changed(16, struct.pack(">d", math.nan))), Foreign.CONTENT),
        (resealed(changed(24, struct.pack(">d", -1.0))), Foreign.CONTENT),
        (resealed(changed(6, b"\x00\xff")), Foreign.CONTENT),
        (resealed(changed(52 + len(TEXT), b"\xff")), Foreign.CONTENT),
        (resealed(changed(56 + len(TEXT), b"\xff")), Foreign.CONTENT),
        (resealed(changed(48, b"\xff\xff\xff\xff")), Foreign.KEY),
        (resealed(SEALED[:-5]), Foreign.CONTENT),
    ],
    ids=[
        *("empty", "a header cut", "cut", "padded", "magic", "a later layout", "an earlier layout"),
        *("damage before", "damage behind", "another key", "an unknown kind", "not a number", "negative"),
        *("more tags than there are", "a tag too long", "a tag that is no text", "a text too long", "a tag cut"),
    ],
)
def test_what_does_not_fit_is_foreign(data, reason):
    """With its reason, and without an error."""
    assert open_envelope(data, text=TEXT) is reason


def test_another_key_is_foreign():
    """Also one that only begins alike."""
    for text in (TEXT + "0", TEXT[:-1], ""):
        assert open_envelope(SEALED, text=text) is Foreign.KEY


def test_what_is_too_large_is_not_looked_at():
    """The limit is that of the whole."""
    assert open_envelope(SEALED, text=TEXT, max_bytes=len(SEALED) - 1) is Foreign.SIZE
    assert isinstance(open_envelope(SEALED, text=TEXT, max_bytes=len(SEALED)), Envelope)


def test_more_tags_than_an_envelope_can_name_are_refused():
    """When it is sealed."""
    with pytest.raises(UnsealableError):
        seal("value", b"", text=TEXT, tags=[("a", "b")] * 65_536)
