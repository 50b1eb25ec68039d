"""A failure on its way to another process."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from coalesce_kit.backends.remote_errors import MAX_MESSAGE, decode_error, encode_error
from coalesce_kit.errors import RemoteFetchError


class NotFound(LookupError):
    def __init__(self, what, *, code=404):
        assert not ran, "an __init__ was run"
        super().__init__(what, code)
        self.what = what
        self.code = code


class FixtureNotFound(NotFound):
    pass


class Odd(Exception):
    def __new__(cls, *args):
        raise AssertionError("a __new__ was run")


@dataclasses.dataclass
class Carrying(Exception):
    what: object


ran: list[bool] = []


@pytest.fixture(autouse=True)
def no_init_afterwards():
    """Whoever constructs a declared error after `sent` fails."""
    yield
    ran.clear()


def sent(error, *, declared=(), known=None, share=False):
    body = encode_error(error, declared=declared, share_messages=share, origin="host:17")
    ran.append(True)
    return decode_error(body, declared=declared if known is None else known)


def test_a_declared_error_is_rebuilt():
    """With its arguments and attributes, without running its __init__, and with a note of where it was."""
    back = sent(NotFound("nfl"), declared=[NotFound])
    assert type(back) is NotFound
    assert (back.args, back.what, back.code, str(back)) == (("nfl", 404), "nfl", 404, "('nfl', 404)")
    assert "NotFound in host:17" in back.__notes__[0]


def test_a_subclass_of_a_declared_error_is_rebuilt_as_that():
    """So that `except NotFound` works wherever the fetch ran; the nearest declared class decides."""
    assert type(sent(FixtureNotFound("x"), declared=[LookupError, NotFound])) is NotFound
    ran.clear()
    assert type(sent(FixtureNotFound("x"), declared=[FixtureNotFound, NotFound])) is FixtureNotFound
    ran.clear()
    assert type(sent(FixtureNotFound("x"), declared=[LookupError])) is LookupError


def test_any_other_error_is_a_remote_one():
    """With its type's name and its origin, and without a word of its message."""
    back = sent(ValueError("password=hunter2"), declared=[NotFound])
    assert isinstance(back, RemoteFetchError)
    assert (back.type_name, back.origin) == ("builtins.ValueError", "host:17")
    assert "hunter2" not in str(back)
    body = encode_error(ValueError("password=hunter2"), declared=[NotFound], origin="host:17")
    assert b"hunter2" not in body


def test_messages_travel_if_they_may():
    """Cut to a length."""
    assert "hunter2" in str(sent(ValueError("hunter2"), share=True))
    ran.clear()
    assert len(str(sent(ValueError("x" * 10_000), share=True))) < MAX_MESSAGE + 200


def test_only_what_the_reader_declares_is_rebuilt():
    """The bytes choose nothing."""
    back = sent(NotFound("x"), declared=[NotFound], known=[ValueError])
    assert isinstance(back, RemoteFetchError)
    body = json.dumps(
        {
            "type": "a",
            "origin": "b",
            "kin": ["os.system", "builtins.SystemExit"],
            "args": ["list", ["x"]],
            "attributes": ["dict", []],
        }
    ).encode()
    assert isinstance(decode_error(body, declared=[ValueError]), RemoteFetchError)


VALUES = [
    *(
        1,
        1.5,
        True,
        None,
        "x",
        b"\xff",
        UUID(int=1),
        Decimal("1.50"),
        datetime(2024, 1, 1, tzinfo=UTC),
        date(2024, 1, 1),
    ),
    *(time(1, 2), timedelta(days=1, microseconds=5), [1, "a"], (1, (2,)), {"a": [1]}, {(1, 2): {3}}, frozenset({1})),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__ + str(VALUES.index(value)))
def test_arguments_of_known_classes_travel(value):
    """Equal, and of the same class."""
    back = sent(NotFound(value), declared=[NotFound])
    assert type(back) is NotFound
    assert back.what == value
    assert type(back.what) is type(value)


@pytest.mark.parametrize(
    "value", [object(), Carrying(1), [[[[[[[[[[1]]]]]]]]]], lambda: 1], ids=["object", "error", "deep", "function"]
)
def test_an_error_that_holds_anything_else_is_a_remote_one(value):
    """Half of it would be another error; being declared, its message may travel."""
    back = sent(NotFound(value), declared=[NotFound])
    assert isinstance(back, RemoteFetchError)
    assert back.type_name.endswith("NotFound")


def test_builtin_errors_are_rebuilt():
    """OSError keeps its number, an error that is made of other arguments than it kept is a remote one."""
    back = sent(ConnectionRefusedError(111, "refused"), declared=[OSError])
    assert isinstance(back, OSError)
    assert back.errno == 111
    ran.clear()
    assert str(sent(KeyError("a"), declared=[KeyError])) == "'a'"
    ran.clear()
    grouped = sent(ExceptionGroup("g", [ValueError()]), declared=[ExceptionGroup])
    assert isinstance(grouped, RemoteFetchError)


def test_no_code_of_the_error_is_run():
    """Not even the class's own __new__."""
    error = Exception.__new__(Odd, "a")
    assert type(sent(error, declared=[Odd])) is Odd


class Mute(Exception):
    def __str__(self):
        raise RuntimeError


def test_an_error_that_cannot_say_what_it_is_travels_without():
    """Telling of a failure must not fail."""
    assert isinstance(sent(Mute(), share=True), RemoteFetchError)


def test_a_copy_of_a_rebuilt_error_carries_one_note():
    """The notes of the other process stay there."""
    error = NotFound("x")
    error.add_note("a secret of the other process")
    back = sent(error, declared=[NotFound])
    assert len(back.__notes__) == 1
    assert "secret" not in back.__notes__[0]


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"",
            b"\xff",
            b"null",
            b"[]",
            b"{}",
            b'{"type": 1}',
            b'{"type": "a", "origin": "b", "args": {"a": 1}, "kin": 5}',
        ),
        b'{"type": "a", "origin": "b", "args": ["eval", "1"]}',
        b'{"type": "a", "origin": "b", "args": ["timedelta", [1e400]]}',
        b'{"type": "a", "origin": "b", "args": [[], 1]}',
        b'{"type": "a", "origin": "b", "args": ' + b'["list", [' * 50_000 + b"]]" * 50_000 + b"}",
    ],
    ids=range(11),
)
def test_bytes_that_tell_of_no_failure_are_refused(body):
    """With one kind of error, or as a failure that is declared nowhere."""
    try:
        error = decode_error(body, declared=[NotFound])
    except ValueError:
        return
    assert isinstance(error, RemoteFetchError)


class Several(ExceptionGroup):
    """Cannot be made of other arguments than its own."""


def test_an_error_that_its_class_refuses_to_be_is_a_remote_one():
    """Bytes may name a declared class and hold arguments of which there can be none of it."""
    name = f"{Several.__module__}.{Several.__qualname__}"
    told = {"type": name, "origin": "host:17", "kin": [name], "args": ["list", []], "attributes": ["dict", []]}
    error = decode_error(json.dumps(told).encode(), declared=[Several])
    assert (type(error), error.type_name) == (RemoteFetchError, name)
