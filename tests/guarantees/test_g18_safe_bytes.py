"""G18: bytes from a store are a value of the annotated type, or a miss and a count; never an error, never code."""

from __future__ import annotations

import ast
import json
import os
import pickle
import resource
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings, strategies as st

import coalesce_kit
from coalesce_kit.backends.codec import CodecError, codec_for
from coalesce_kit.backends.envelope import Envelope, Foreign, open_envelope, seal
from coalesce_kit.backends.remote_errors import decode_error
from coalesce_kit.entry import Lifetimes
from coalesce_kit.store_port import Finished
from coalesce_kit.stores.redis_messages import read_message
from tests.results import ROUND_TRIPS, Fixture

TEXT = "fixtures:nfl"
SEALED = seal(
    "value", b"\x93\x01\x02\x03", text=TEXT, lifetimes=Lifetimes(30.0, 5.0), tags=(("odds", "v1"), ("nfl", "v2"))
)
CODECS = {case: codec_for(annotation, name="f") for case, (annotation, _) in ROUND_TRIPS.items()}
BODIES = {case: CODECS[case].encode(value) for case, (_, value) in ROUND_TRIPS.items()}
RUNS_CODE = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "yaml", "jsonpickle"}


class Bomb:
    """What a pickle can do to whoever reads it."""

    def __reduce__(self):
        return os.system, ("exit 1",)


def test_g18_nothing_in_the_package_can_turn_bytes_into_code():
    """No pickle and nothing like it is imported."""
    for path in Path(coalesce_kit.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not RUNS_CODE & {name.split(".")[0] for name in names}, path


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
@example(b"")
@example(pickle.dumps(Bomb()))
@example(SEALED[:52] + b"\xff" * 100)
def test_g18_random_bytes_are_foreign(data):
    """Whatever they are."""
    assert isinstance(open_envelope(data, text=TEXT), Foreign)


def test_g18_every_single_changed_byte_is_noticed():
    """Everywhere in the envelope: a damaged odd is not an odd."""
    for at in range(len(SEALED)):
        for change in (0x01, 0x80, 0xFF):
            data = bytearray(SEALED)
            data[at] ^= change
            assert isinstance(open_envelope(bytes(data), text=TEXT), Foreign), at


def test_g18_every_cut_is_noticed():
    """Front, back, and what was put behind; by the size, before anything is summed."""
    for at in range(len(SEALED)):
        assert open_envelope(SEALED[:at], text=TEXT) is Foreign.SIZE
        assert isinstance(open_envelope(SEALED[at + 1 :], text=TEXT), Foreign)
    assert open_envelope(SEALED * 2, text=TEXT) is Foreign.SIZE


def test_g18_the_bytes_of_another_key_are_foreign():
    """Who moves records about gives nobody another caller's answer."""
    assert open_envelope(SEALED, text="fixtures:nba") is Foreign.KEY


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(CODECS)), st.binary(max_size=60), st.data())
def test_g18_a_lying_body_is_a_value_of_the_annotated_type_or_refused(case, noise, data):
    """Of whoever knows the layout and the checksum: random bytes, and good ones damaged in any place."""
    good = BODIES[case]
    at = data.draw(st.integers(0, len(good)))
    start = good[:at]
    for body in (noise, start, start + noise, start + noise + good[at:], start + noise[:1] + good[at + 1 :]):
        opened = open_envelope(seal("value", body, text=TEXT), text=TEXT)
        assert isinstance(opened, Envelope)
        try:
            value = CODECS[case].decode(opened.body)
        except CodecError:
            continue
        allowed = ROUND_TRIPS[case][0]
        if isinstance(allowed, type):
            assert isinstance(value, allowed)


@pytest.mark.parametrize("case", sorted(CODECS))
def test_g18_bodies_that_are_bombs_are_refused(case):
    """Nested without end, of sizes that are not there, another format, code."""
    bombs = [
        b"\x91" * 100_000,
        b"p" + b"\x91" * 100_000,
        b"\x81\xa1a" * 50_000,
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"j" + b"[" * 100_000,
        b"j" + b"9" * 100_000,
        pickle.dumps(Bomb()),
        b"p" + pickle.dumps(Bomb()),
    ]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for bomb in bombs:
        try:
            value = CODECS[case].decode(bomb)
        except CodecError:
            continue
        assert type(value) is not Bomb
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
told = st.fixed_dictionaries(
    {"type": json_values, "origin": json_values},
    optional={"kin": json_values, "args": json_values, "attributes": json_values, "message": json_values},
)


class Declared(LookupError):
    def __init__(self, *args: Any) -> None:
        raise AssertionError("an __init__ was run")


KIN = ["tests.guarantees.test_g18_safe_bytes.Declared", f"{Declared.__module__}.Declared"]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | st.one_of(json_values, told).map(lambda value: json.dumps(value).encode()))
@example(b'{"type": "a", "origin": "", "kin": ["os.system"], "args": ["list", ["exit 1"]], "attributes": ["dict", []]}')
def test_g18_a_lying_failure_is_a_failure_or_refused(body):
    """It names no class that was not declared, and runs nothing."""
    try:
        error = decode_error(body, declared=[Declared])
    except ValueError:
        return
    assert type(error).__name__ in ("RemoteFetchError", "Declared")


def test_g18_a_lying_failure_cannot_change_a_class():
    """Attributes are data of one object."""
    body = (
        f'{{"type": "a", "origin": "b", "kin": ["{KIN[1]}"], "args": ["list", []], "attributes": ["dict",'
        ' [["__class__", "x"], ["__dict__", 1], ["args", 5], ["with_traceback", 1], ["__cause__", 3]]]}'
    ).encode()
    error = decode_error(body, declared=[Declared])
    assert type(error) is Declared
    assert error.args == ()
    assert error.__cause__ is None
    with pytest.raises(Declared):
        raise error


def test_g18_what_comes_from_a_store_runs_nothing_of_the_result():
    """But what the annotated class itself does when it is made."""
    body = CODECS["bare dict"].encode({"home": "a", "away": "b", "__class__": "x", "__init__": "y"})
    assert codec_for(Fixture, name="f").decode(body) == Fixture("a", "b")


def framed(*frames: bytes) -> bytes:
    """A message as the server's scripts write it."""
    return b"".join(b"%d:%s" % (len(frame), frame) for frame in frames)


FINISHED = framed(b"finished", b"key", b"token", b"keep", b"1000", b"2000", b"0.5", b"body")


def test_g18_a_message_is_read():
    """What the server's scripts send is understood."""
    assert read_message(FINISHED) == Finished("key", "token", "keep", b"body", 1.0, 2.0, 0.5)


@pytest.mark.parametrize(
    "message",
    [
        *(b"", b":", b"-3:", b"-1:x", b"8:finished-9:", b"99:short", b"1" * 5000 + b":"),
        framed(b"finished", b"key", b"token", b"keep", b"-1", b"2000", b"0.5", b"body"),
        framed(b"finished", b"key", b"token", b"keep", b"1000", b"2000", b"nan", b"body"),
        framed(b"finished", b"key", b"token", b"keep", b"9" * 400, b"2000", b"0.5", b"body"),
        framed(b"finished", b"key", b"token", b"pickle", b"1000", b"2000", b"0.5", b"body"),
        framed(b"moved", b"\xff", b"version"),
    ],
    ids=lambda message: repr(message[-40:]),
)
def test_g18_a_message_that_lies_means_nothing(message):
    """Whoever may publish can neither stop a process nor have it believe in a life that is none."""
    assert read_message(message) is None


@given(st.binary(max_size=100) | st.lists(st.binary(max_size=12)).map(lambda frames: framed(*frames)))
def test_g18_random_messages_are_harmless(message):
    """Any bytes on the channel are a signal or nothing, at once."""
    read_message(message)
