"""The little of HTTP that a health endpoint needs: which form a client prefers, whether it may ask, and a response."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

Headers: TypeAlias = Iterable[tuple[bytes, bytes]]

JSON: Final = "application/json"
HTML: Final = "text/html"

_ALWAYS: Final = (
    (b"cache-control", b"no-store"),
    (b"vary", b"Accept, Authorization"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)

_MOST_RANGES: Final = 64
"""So many entries of an Accept header are read: no client sends more, and an attacker must not be able to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A response: complete, small and never to be stored.

    Attributes:
        status: the HTTP status.
        headers: those of its own, beside those that every response has.
        body: what a GET gets.
        is_news: it tells how things are now, and another worker would tell something else.
    """

    status: int
    headers: Sequence[tuple[bytes, bytes]] = ()
    body: bytes = b""
    is_news: bool = False

    def all_headers(self) -> list[tuple[bytes, bytes]]:
        """Return its headers, with the length of the body. A 204 has none."""
        length = [] if self.status == 204 else [(b"content-length", str(len(self.body)).encode())]
        return [*self.headers, *_ALWAYS, *length]


def header(headers: Headers, name: bytes) -> bytes | None:
    """Return a header's value, those of repeated ones joined by commas; ``None`` without it."""
    values = [value for key, value in headers if key.lower() == name]
    return b", ".join(values) if values else None


def prefers_html(headers: Headers) -> bool:
    """Whether HTML is what the client likes better than JSON, as browsers do; undecided clients are programs.

    Source: RFC 9110, 12.5.1: the most specific range that covers a type gives it its quality.
    """
    accept = header(headers, b"accept")
    if accept is None:
        return False
    ranges = [_media_range(entry) for entry in accept.decode("latin-1").split(",", _MOST_RANGES)]
    qualities = {media: quality for media, quality in reversed(ranges) if media}
    return _quality(qualities, HTML) > _quality(qualities, JSON)


def _media_range(entry: str) -> tuple[str, float]:
    """One entry of an Accept header as type and quality; no type where the entry cannot be understood."""
    media, *parameters = (part.strip().lower() for part in entry.split(";"))
    quality = "1"
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            quality = value.strip()
            break
    digits = quality.replace(".", "", 1)
    if not (digits.isascii() and digits.isdigit() and len(quality) <= 5 and float(quality) <= 1):
        return "", 0.0
    return media, float(quality)


def _quality(qualities: dict[str, float], media: str) -> float:
    family = media.partition("/")[0]
    for covering in (media, f"{family}/*", "*/*"):
        if covering in qualities:
            return qualities[covering]
    return 0.0


def has_token(headers: Headers, token: bytes) -> bool:
    """Whether a request carries the bearer token. Compares in constant time.

    Source: RFC 6750, 2.1.
    """
    scheme, _, given = (header(headers, b"authorization") or b"").strip().partition(b" ")
    return hmac.compare_digest(given.strip(), token) and scheme.lower() == b"bearer"
