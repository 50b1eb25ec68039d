"""Twins of errors, kind by kind, and results that can be used only once."""

import asyncio
import gc
import http.client
import json
import pickle
import socket
import ssl
import subprocess
import traceback
import types
import urllib.error
import weakref
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import DivisionByZero
from enum import Enum
from pathlib import Path
from typing import Self

import attrs
import httpx
import msgspec
import pydantic
import pytest

from coalesce_kit.errors import UnshareableResultError
from coalesce_kit.sharing import Failure, bare_twin, keep_context, refuse_unshareable, twin

made: list[object] = []


class TwoArguments(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message


class KeywordOnly(Exception):
    def __init__(self, *, retry_after: float) -> None:
        self.retry_after = retry_after


class Rewrites(Exception):
    """``copy.copy`` makes "code code 5" of this one."""

    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}")


class HasSideEffects(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        made.append(self)


class Slots(Exception):
    __slots__ = ("code", "never_set")

    def __init__(self, code: int) -> None:
        super().__init__("slots")
        self.code = code


class MoreSlots(Slots):
    __slots__ = ("_private", "host")

    def __init__(self, code: int, host: str) -> None:
        super().__init__(code)
        self.host, self._private = host, [host]


class ForgetsSuper(Exception):
    def __init__(self, code: int) -> None:
        self.code = code


class OwnOSError(OSError):
    def __init__(self, service: str) -> None:
        super().__init__(111, f"{service} refused")
        self.service = service


class OwnKeyError(KeyError):
    def __str__(self) -> str:
        return f"no such thing: {self.args[0]}"


class BothParents(LookupError, RuntimeError):
    pass


class HasProperty(Exception):
    @property
    def code(self) -> object:
        return self.args[0]


class Reduces(Exception):
    def __init__(self, code: int, extra: str) -> None:
        super().__init__(code)
        self.extra = extra

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.args[0], self.extra)


class NeverCopy(Exception):
    def __copy__(self) -> object:
        raise AssertionError("copied")

    def __deepcopy__(self, memo: object) -> object:
        raise AssertionError("copied")

    def __reduce_ex__(self, protocol: object) -> object:
        raise AssertionError("pickled")


class Problem(Enum):
    LATE = "late"


@dataclass
class DataclassError(Exception):
    code: int
    details: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class FrozenError(Exception):
    code: int


@attrs.define(auto_exc=True)
class AttrsError(Exception):
    code: int


@attrs.frozen
class FrozenAttrsError(Exception):
    code: int


class Group(ExceptionGroup[Exception]):
    """A subclass without a ``__new__`` of its own."""


def raised_by(code: Callable[[], object]) -> BaseException:
    """Return what real code raises."""
    try:
        code()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def status_error() -> httpx.HTTPStatusError:
    request = httpx.Request("GET", "http://odds/")
    return httpx.HTTPStatusError("429 Too Many", request=request, response=httpx.Response(429, request=request))


def with_attribute() -> BaseException:
    error = ValueError("plain")
    error.request_id = "r-7"  # type: ignore[attr-defined]
    return error


KINDS: dict[str, Callable[[], BaseException]] = {
    "plain": lambda: ValueError("plain", 2),
    "no arguments": lambda: LookupError(),
    "with an attribute": with_attribute,
    "two arguments": lambda: TwoArguments(5, "late"),
    "keyword only": lambda: KeywordOnly(retry_after=1.5),
    "rewrites its message": lambda: Rewrites(5),
    "has side effects": lambda: HasSideEffects("once"),
    "slots": lambda: Slots(5),
    "slots of two classes": lambda: MoreSlots(5, "odds"),
    "forgets super": lambda: ForgetsSuper(5),
    "two parents": lambda: BothParents("both"),
    "has a property": lambda: HasProperty(5),
    "reduces": lambda: Reduces(5, "extra"),
    "never copied": lambda: NeverCopy("one"),
    "an argument that is not hashable": lambda: ValueError({"a": [1]}, Problem.LATE),
    "OSError": lambda: raised_by(lambda: Path("/no/such/file").stat()),
    "OSError of two files": lambda: OSError(18, "cross-device", "/a", None, "/b"),
    "OSError with its own class": lambda: OwnOSError("odds"),
    "ConnectionRefusedError": lambda: OSError(111, "refused"),
    "socket.gaierror": lambda: socket.gaierror(-2, "unknown"),
    "ssl": lambda: ssl.SSLCertVerificationError(1, "certificate"),
    "KeyError with its own text": lambda: OwnKeyError("sport"),
    "AttributeError": lambda: raised_by(lambda: object().sport),  # type: ignore[attr-defined]
    "NameError": lambda: raised_by(lambda: unknown_name),  # type: ignore[name-defined]  # noqa: F821
    "ImportError": lambda: ImportError("no", name="odds", path="/a"),
    "SyntaxError": lambda: raised_by(lambda: compile("a b", "file.py", "exec")),
    "UnicodeDecodeError": lambda: raised_by(lambda: b"\xff".decode()),
    "UnicodeEncodeError": lambda: raised_by(lambda: "\ud800".encode()),
    "StopIteration": lambda: StopIteration(7),
    "SystemExit": lambda: SystemExit(3),
    "CancelledError": lambda: asyncio.CancelledError("why"),
    "TimeoutError": lambda: TimeoutError("late"),
    "IncompleteReadError": lambda: asyncio.IncompleteReadError(b"ab", 5),
    "ExceptionGroup": lambda: ExceptionGroup("two", [ValueError(1), OSError(2, "x")]),
    "BaseExceptionGroup": lambda: BaseExceptionGroup("two", [ValueError(1), KeyboardInterrupt()]),
    "a group's subclass": lambda: Group("one", [TwoArguments(5, "late")]),
    "groups in groups": lambda: ExceptionGroup("outer", [ExceptionGroup("inner", [Slots(7)]), Rewrites(1)]),
    "dataclass": lambda: DataclassError(5, {"a": 1}),
    "frozen dataclass": lambda: FrozenError(5),
    "attrs": lambda: AttrsError(5),
    "frozen attrs": lambda: FrozenAttrsError(5),
    "json": lambda: raised_by(lambda: json.loads("{")),
    "xml": lambda: raised_by(lambda: ET.fromstring("<a>")),
    "pickle": lambda: pickle.UnpicklingError("bad"),
    "zip": lambda: zipfile.BadZipFile("bad"),
    "subprocess": lambda: subprocess.CalledProcessError(3, ["odds"], output=b"out"),
    "urllib": lambda: urllib.error.URLError(OSError(111, "refused")),
    "http.client": lambda: http.client.IncompleteRead(b"ab", 5),
    "decimal": lambda: DivisionByZero("by zero"),
    "httpx status": status_error,
    "httpx transport": lambda: httpx.ReadTimeout("late", request=httpx.Request("GET", "http://odds/")),
    "msgspec": lambda: raised_by(lambda: msgspec.json.decode(b"{", type=dict[str, int])),
}


def fields_of(error: BaseException) -> dict[str, object]:
    """Everything that can be read of an error, apart from its notes and methods."""
    with_value: dict[str, object] = {}
    for name in dir(error):
        if name.startswith("__") or name == "_request":
            continue
        try:
            value = getattr(error, name)
        except AttributeError:  # a slot that was never set
            continue
        except RuntimeError:  # httpx: no request was set
            continue
        if not isinstance(value, types.MethodType | types.BuiltinMethodType):
            with_value[name] = value
    return with_value


def same(one: object, other: object) -> bool:
    if isinstance(one, BaseExceptionGroup) and isinstance(other, BaseExceptionGroup):
        pairs = zip(one.exceptions, other.exceptions, strict=True)
        return one.message == other.message and all(same(*pair) for pair in pairs)
    if isinstance(one, BaseException) and isinstance(other, BaseException):
        return type(one) is type(other) and repr(one) == repr(other)
    if isinstance(one, tuple | list) and isinstance(other, tuple | list) and len(one) == len(other):
        return all(same(*pair) for pair in zip(one, other, strict=True))
    return one is other or one == other


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_a_twin_is_faithful(make: Callable[[], BaseException]) -> None:
    """A twin has the class, text, arguments and every field of the original, and is another object."""
    error = make()
    vars(error)["__notes__"] = ["a note"]  # a frozen class refuses add_note
    made.clear()
    copied = twin(error)

    assert copied is not None
    assert copied is not error
    assert type(copied) is type(error)
    assert (str(copied), repr(copied)) == (str(error), repr(error))
    assert same(copied.args, error.args)
    ours, theirs = fields_of(copied), fields_of(error)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert same(ours[name], value), name
    assert copied.__notes__ == ["a note"]
    assert copied.__notes__ is not error.__notes__
    assert made == []


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_a_twin_has_cause_context_and_traceback(make: Callable[[], BaseException]) -> None:
    """The chain and the traceback of a twin are those of the original; a bare twin has none of them."""
    error = make()
    cause, context = LookupError("cause"), LookupError("context")
    BaseException.__setattr__(error, "__cause__", cause)
    BaseException.__setattr__(error, "__context__", context)
    BaseException.__setattr__(error, "__suppress_context__", False)
    BaseException.__setattr__(error, "__traceback__", raised_by(lambda: 1 / 0).__traceback__)
    copied, bare = twin(error), bare_twin(error)

    assert copied is not None
    assert (copied.__cause__, copied.__context__) == (cause, context)
    assert copied.__suppress_context__ is False
    assert copied.__traceback__ is error.__traceback__
    assert bare is not None
    assert (bare.__cause__, bare.__context__, bare.__traceback__) == (None, None, None)


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_a_twin_goes_its_own_way(make: Callable[[], BaseException]) -> None:
    """What is done to a twin is not seen on the original, nor on a twin of the twin."""
    error = make()
    vars(error)["__notes__"] = ["a note"]
    first = twin(error)
    assert first is not None
    second = twin(first)
    assert second is not None
    vars(first)["__notes__"].append("mine")
    vars(first)["seen_by"] = "me"

    assert error.__notes__ == second.__notes__ == ["a note"]
    assert "seen_by" not in vars(error)
    assert "seen_by" not in vars(second)


class OwnNew(Exception):
    def __new__(cls, *args: object) -> Self:
        return super().__new__(cls, *args)


class GroupWithNew(ExceptionGroup[Exception]):
    def __new__(cls, errors: list[Exception]) -> Self:
        return super().__new__(cls, "mine", errors)


class OwnContext(Exception):
    @property
    def __context__(self) -> BaseException:  # type: ignore[override]
        raise RuntimeError("mine")


class OwnDict(Exception):
    @property
    def __dict__(self) -> dict[str, object]:  # type: ignore[override]
        raise RuntimeError("mine")


def validation_error() -> BaseException:
    class Model(pydantic.BaseModel):
        limit: int

    return raised_by(lambda: Model.model_validate({"limit": "many"}))


@pytest.mark.parametrize(
    "make",
    [
        lambda: OwnNew(1),
        lambda: GroupWithNew([ValueError()]),
        validation_error,
        lambda: OwnContext(),
        lambda: OwnDict(),
    ],
    ids=["__new__", "group with __new__", "pydantic", "__context__", "__dict__"],
)
def test_what_cannot_be_twinned_is_refused(make: Callable[[], BaseException]) -> None:
    """A class with a constructor or a chain of its own has no twin, and nothing is raised."""
    assert twin(make()) is None


def test_members_of_a_group_are_twins() -> None:
    """The members of a twin's group are twins, those apart that cannot be."""
    odd = OwnNew(1)
    error = ExceptionGroup("two", [ValueError(1), odd])
    copied = twin(error)

    assert copied is not None
    assert copied.exceptions[0] is not error.exceptions[0]
    assert copied.exceptions[1] is odd


def test_a_failure_is_as_it_was_when_the_fetch_ended() -> None:
    """What the leader does to the original does not reach twins that are taken later."""
    error = ValueError("x")
    failure = Failure(error, shared=True)
    original = failure.original()
    original.add_note("the leader's")
    original.args = ("changed",)
    original.__cause__ = LookupError("the leader's")

    copied = failure.twin()
    assert original is error
    assert (copied.args, copied.__cause__, hasattr(copied, "__notes__")) == (("x",), None, False)


@pytest.mark.parametrize("make", [lambda: ValueError("x"), lambda: OwnNew("x")], ids=["twinned", "as it is"])
def test_raising_what_a_failure_gives_does_not_grow_its_traceback(make: Callable[[], BaseException]) -> None:
    """Each taking starts from the traceback that the fetch left."""
    error = make()

    def fetch() -> None:
        raise error

    raised_by(fetch)
    failure = Failure(error, shared=True)
    lengths = set()
    for take in [failure.original, *[failure.twin] * 5]:

        def caller(take: Callable[[], BaseException] = take) -> None:
            raise take()

        lengths.add(len(traceback.extract_tb(raised_by(caller).__traceback__)))

    assert len(lengths) == 1


def test_a_failure_that_is_not_shared_is_not_twinned() -> None:
    """With one caller there is nothing to protect: whoever takes a twin gets the original."""
    error = ValueError("x")
    failure = Failure(error, shared=False, note="about a leader")

    assert failure.twin() is error
    assert not hasattr(error, "__notes__")


def test_a_note_goes_to_the_twins() -> None:
    """The note for those who are left does not reach the error that the origin may raise again."""
    error = ValueError("x")
    error.add_note("the origin's")
    failure = Failure(error, shared=True, note="about a leader")

    assert failure.twin().__notes__ == ["the origin's", "about a leader"]
    assert error.__notes__ == ["the origin's"]


def test_a_note_goes_to_what_cannot_be_twinned() -> None:
    """Shared as it is, the original is what they get."""
    failure = Failure(OwnNew("x"), shared=True, note="about a leader")

    assert not failure.can_be_twinned
    assert failure.twin().__notes__ == ["about a leader"]


class NotesAreATuple(Exception):
    def __init__(self) -> None:
        self.__notes__ = ("fixed",)


@pytest.mark.parametrize(
    ("make", "notes"),
    [(lambda: FrozenError(5), ["about a leader"]), (NotesAreATuple, ("fixed",)), (OwnDict, None)],
    ids=["frozen", "tuple", "__dict__"],
)
def test_a_note_is_never_a_reason_to_fail(make: Callable[[], BaseException], notes: object) -> None:
    """Where a class refuses attributes, the note is added all the same or left out."""
    failure = Failure(make(), shared=True, note="about a leader")

    assert getattr(failure.twin(), "__notes__", None) == notes


def test_keep_context_prefers_the_errors_own() -> None:
    """An error's own context comes back; without one, what its catcher was handling stays."""
    own, catchers = KeyError("own"), ValueError("catcher's")
    with_own, without = LookupError(), LookupError()
    with_own.__context__ = without.__context__ = catchers
    keep_context(with_own, own)
    keep_context(without, None)

    assert with_own.__context__ is own
    assert without.__context__ is catchers


def test_a_twin_keeps_nothing_alive_but_its_own() -> None:
    """A dropped twin dies at once."""

    class Weak(Exception):
        pass

    gc.disable()
    try:
        copied = twin(Weak("x"))
        assert copied is not None
        reference = weakref.ref(copied)
        del copied
        assert reference() is None
    finally:
        gc.enable()


# ---- results ----


class Rows:
    """An iterable, but no iterator: can be used as often as one likes."""

    def __iter__(self) -> Iterator[int]:
        return iter([1])


class Reader:
    """An iterator whose ``__iter__`` starts anew: can be used as often as one likes."""

    def __iter__(self) -> Iterator[int]:
        return Reader()

    def __next__(self) -> int:
        return 1


@dataclass
class Fixture:
    home: str


@pytest.mark.parametrize(
    "result",
    [None, False, 0, 0.0, "", b"", [], {}, (), set(), range(3), Rows(), Reader(), Fixture("a"), object(), Fixture, len],
    ids=lambda result: repr(result).partition(" at 0x")[0],
)
def test_results_that_can_be_shared(result: object) -> None:
    """Values, falsy ones included, containers and iterables are shared."""
    refuse_unshareable(result, name="odds")


async def test_a_task_can_be_shared() -> None:
    """A task or a future can be awaited by as many as like."""
    task = asyncio.ensure_future(asyncio.sleep(0))
    refuse_unshareable(task, name="odds")
    await task


async def test_a_refused_coroutine_is_closed() -> None:
    """A coroutine that nobody will await is closed, so that nothing warns of it."""

    async def forgotten() -> None: ...

    coroutine = forgotten()
    with pytest.raises(UnshareableResultError, match="odds returned a coroutine, which only one"):
        refuse_unshareable(coroutine, name="odds")

    assert coroutine.cr_frame is None
