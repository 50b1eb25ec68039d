"""The messages that scripts publish: rows of frames, each a length, a colon and so many bytes."""

from __future__ import annotations

from ..store_port import Dropped, Finished, Signal, TagMoved, Voided


def read_message(message: bytes) -> Signal | None:
    """Return the signal that a message is; ``None`` for one that means nothing here, whoever sent it."""
    try:
        kind, *fields = _frames(message)
        match kind, fields:
            case b"finished", [key, token, kept, fresh, usable, seconds, *body]:
                return Finished(
                    key.decode(),
                    token.decode(),
                    {b"keep": "keep", b"once": "once", b"error": "error"}[kept],  # type: ignore[arg-type]  # mypy reads str
                    body[0] if body else None,
                    _duration(int(fresh) / 1000),
                    _duration(int(usable) / 1000),
                    _duration(float(seconds)),
                )
            case b"voided", [key, token]:
                return Voided(key.decode(), token.decode())
            case b"dropped", [key, *version]:
                return Dropped(key.decode(), version[0].decode() if version else None)
            case b"moved", [tag, version]:
                return TagMoved(tag.decode(), version.decode())
    except (ValueError, KeyError, OverflowError):
        pass
    return None


def _duration(seconds: float) -> float:
    if not seconds >= 0:  # NaN is not, either
        raise ValueError(f"a duration is 0 or more seconds, not {seconds}")
    return seconds


def _frames(message: bytes) -> list[bytes]:
    frames, at = [], 0
    while at < len(message):
        colon = message.index(b":", at)
        end = colon + 1 + int(message[at:colon])
        if not colon < end <= len(message):  # a negative size would have the same frame read for ever
            raise ValueError("a frame is not as long as it says")
        frames.append(message[colon + 1 : end])
        at = end
    if not frames:
        raise ValueError("a message has frames")
    return frames
