"""What one fetch may hand to many callers: results that can be used more than once, and twins of its error.

A twin is an error as it was when the fetch ended: same class, args, attributes, slots, C fields, cause, context and
traceback, with a list of notes of its own. It is built without running anyone's ``__init__``, because ``copy.copy``
calls the class with ``args``: that fails for classes with other signatures, garbles those that rewrite their message,
and repeats side effects. Callers who raise twins cannot see each other's notes, contexts or tracebacks.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterator
from types import FunctionType, GetSetDescriptorType, MemberDescriptorType
from typing import Final, TypeVar

from .errors import UnshareableResultError

E = TypeVar("E", bound=BaseException)

_PLAIN_RESULTS: Final = frozenset({type(None), bool, int, float, str, bytes, list, dict, tuple, set, frozenset})


def refuse_unshareable(result: object, *, name: str) -> None:
    """Raise if ``result`` can be consumed only once; a coroutine among them is closed.

    Args:
        result: what the wrapped function returned.
        name: the function's name, for the message.

    Raises:
        UnshareableResultError: it is a coroutine, a generator or an iterator.
    """
    if result.__class__ in _PLAIN_RESULTS:
        return
    if inspect.iscoroutine(result):
        result.close()
        way_out = "await it inside the function and return what it gives"
    elif isinstance(result, Iterator) and iter(result) is result:
        way_out = "return a list or a tuple of its items"
    elif isinstance(result, AsyncIterator) and result.__aiter__() is result:
        way_out = "collect its items inside the function, [item async for item in ...], and return the list"
    else:
        return
    raise UnshareableResultError(
        f"{name} returned a {type(result).__name__}, which only one of its callers could use: {way_out}"
    )


def twin(error: E) -> E | None:
    """Return a twin of ``error``, or ``None`` for a class that cannot be built without its ``__new__``.

    Cause, context and traceback are the same objects; the list of notes is the twin's own. The members of an
    exception group are twins, too, as far as they can be.
    """
    copied = bare_twin(error)
    if copied is not None:
        copied.__cause__ = error.__cause__
        copied.__context__ = error.__context__
        copied.__suppress_context__ = error.__suppress_context__
        copied.__traceback__ = error.__traceback__
    return copied


def bare_twin(error: E) -> E | None:
    """Return a twin that has no traceback, context or cause: nothing that keeps frames or arguments alive."""
    kind = type(error)
    try:
        copied = _new(kind, error)
        _copy_fields(error, copied)
    except Exception:  # foreign classes written in C may refuse in any way they like
        return None
    return copied if type(copied) is kind else None


def _new(kind: type[E], error: E) -> E:
    """Call the first ``__new__`` of ``kind`` that is not written in Python; refuse when one in Python comes first."""
    for ancestor in kind.__mro__:
        constructor = ancestor.__dict__.get("__new__")
        if constructor is None:
            continue
        if isinstance(constructor, staticmethod | FunctionType):
            raise TypeError(f"{kind.__name__} has a __new__ of its own")
        if isinstance(error, BaseExceptionGroup):
            members = [twin(member) or member for member in error.exceptions]
            copied: E = constructor(kind, error.message, members)
            return copied
        copied = constructor(kind, *error.args)
        # OSError leaves its args to __init__ when a subclass has one, and no __init__ runs here
        BaseException.args.__set__(copied, error.args)  # type: ignore[attr-defined]  # a getset descriptor
        return copied
    raise TypeError(f"{kind.__name__} has no __new__")


def _copy_fields(error: BaseException, copied: BaseException) -> None:
    for ancestor in type(error).__mro__:
        if ancestor in (BaseException, object):
            break
        for name, descriptor in vars(ancestor).items():
            if isinstance(descriptor, MemberDescriptorType | GetSetDescriptorType) and name != "__dict__":
                _copy_field(descriptor, error, copied)
    attributes = vars(error)
    if attributes:
        vars(copied).update(attributes)
        notes = attributes.get("__notes__")
        if isinstance(notes, list):
            vars(copied)["__notes__"] = list(notes)


def _copy_field(descriptor: MemberDescriptorType | GetSetDescriptorType, error: BaseException, copied: object) -> None:
    try:
        value = descriptor.__get__(error, type(error))
        if value is not None:
            descriptor.__set__(copied, value)
    except (AttributeError, TypeError):
        pass  # never set, or read-only and therefore already set by __new__


class Failure:
    """The error of an ended fetch, ready to be handed to each of its callers, each of whom takes it once.

    The leader takes the original, everybody else a twin of it as it was when the fetch ended; what cannot be twinned
    is shared as it is. Either way the traceback starts where the fetch ended, so that it does not grow with the callers.
    """

    __slots__ = ("_original", "_pattern", "_traceback")

    def __init__(self, error: BaseException, *, shared: bool) -> None:
        self._original = error
        self._traceback = error.__traceback__
        # the leader may change the original before the next caller takes a twin, so the twins copy this one
        self._pattern = twin(error) if shared else None

    @property
    def can_be_twinned(self) -> bool:
        """Whether everybody but the leader takes an error of their own."""
        return self._pattern is not None

    def original(self) -> BaseException:
        """Take the error itself."""
        return self._original.with_traceback(self._traceback)

    def twin(self) -> BaseException:
        """Take an error of one's own, or the original where there can be none."""
        copied = None if self._pattern is None else twin(self._pattern)
        return self.original() if copied is None else copied
