"""What one fetch may hand to many callers: results that can be used more than once, and twins of its error.

A twin is an error as it was when the fetch ended: same class, args, attributes, slots, C fields, cause, context and
traceback, with a list of notes of its own. It is built without running anyone's ``__init__``, because ``copy.copy``
calls the class with ``args``: that fails for classes with other signatures, garbles those that rewrite their message,
and repeats side effects. Callers who raise twins cannot see each other's notes, contexts or tracebacks.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from types import FunctionType, GetSetDescriptorType, MemberDescriptorType
from typing import Any, Final, TypeVar

from .entry import Entry, SharedEntry
from .errors import UnshareableResultError

logger = logging.getLogger(__name__)

E = TypeVar("E", bound=BaseException)

_set: Final = BaseException.__setattr__

_PLAIN_RESULTS: Final = frozenset(
    # Entries too, which a fetch through a cache returns: it has looked at their values.
    {type(None), bool, int, float, str, bytes, list, dict, tuple, set, frozenset, Entry, SharedEntry}
)


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
    if isinstance(result, Coroutine):
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
    copied = _bare(error, _member)
    try:
        if copied is not None:
            # not by assignment: a frozen dataclass refuses that, and any class may have a __setattr__ of its own
            _set(copied, "__cause__", error.__cause__)
            _set(copied, "__context__", error.__context__)
            _set(copied, "__suppress_context__", error.__suppress_context__)
            _set(copied, "__traceback__", error.__traceback__)
    except Exception:  # a class may have anything under these names
        return None
    return copied


def bare_twin(error: E) -> E | None:
    """Return a twin that has no traceback, context or cause: nothing that keeps frames or arguments alive.

    Nor have the members of an exception group; with one that cannot be so, there is no such twin of the group.
    """
    return _bare(error, _bare_member)


def _bare(error: E, member_twin: Callable[[Any], Any]) -> E | None:
    kind = type(error)
    try:
        copied = _new(kind, error, member_twin)
        _copy_fields(error, copied)
    except Exception:  # foreign classes written in C may refuse in any way they like
        return None
    return copied if type(copied) is kind else None


def _member(error: BaseException) -> BaseException:
    return twin(error) or error


def _bare_member(error: BaseException) -> BaseException:
    copied = bare_twin(error)
    if copied is None:
        raise TypeError(f"there is no bare twin of a {type(error).__name__}")
    return copied


def keep_context(error: BaseException, context: BaseException | None) -> None:
    """Give an error that is being raised its own context back, in place of what its catcher was handling."""
    if context is not None and error.__context__ is not context:
        _set(error, "__context__", context)


def _new(kind: type[E], error: E, member_twin: Callable[[Any], Any]) -> E:
    """Call the first ``__new__`` of ``kind`` that is not written in Python; refuse when one in Python comes first."""
    constructor = next(vars(ancestor)["__new__"] for ancestor in kind.__mro__ if "__new__" in vars(ancestor))
    if isinstance(constructor, staticmethod | FunctionType):
        raise TypeError(f"{kind.__name__} has a __new__ of its own")
    if isinstance(error, BaseExceptionGroup):
        members = [member_twin(member) for member in error.exceptions]
        copied: E = constructor(kind, error.message, members)
        return copied
    copied = constructor(kind, *error.args)
    # OSError leaves its args to __init__ when a subclass has one, and no __init__ runs here
    BaseException.args.__set__(copied, error.args)  # type: ignore[attr-defined]  # a getset descriptor
    return copied


def _copy_fields(error: BaseException, copied: BaseException) -> None:
    ancestors = type(error).__mro__
    for ancestor in ancestors[: ancestors.index(BaseException)]:
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
    is shared as it is. Either way the traceback starts where the fetch ended and does not grow with the callers.
    """

    __slots__ = ("_original", "_pattern", "_traceback")

    def __init__(self, error: BaseException, *, shared: bool, note: str | None = None) -> None:
        self._original = error
        self._traceback = error.__traceback__
        # the leader may change the original before the next caller takes a twin, so the twins copy this one
        self._pattern = twin(error) if shared else None
        if note is not None and shared:
            _add_note(error if self._pattern is None else self._pattern, note)

    @property
    def can_be_twinned(self) -> bool:
        """Whether everybody but the leader takes an error of their own."""
        return self._pattern is not None

    def original(self) -> BaseException:
        """Take the error itself."""
        _set(self._original, "__traceback__", self._traceback)
        return self._original

    def twin(self) -> BaseException:
        """Take an error of one's own, or the original where there can be none."""
        copied = None if self._pattern is None else twin(self._pattern)
        return self.original() if copied is None else copied


def _add_note(error: BaseException, note: str) -> None:
    """Do what ``add_note`` does, also where the class refuses every assignment."""
    try:
        notes = vars(error).setdefault("__notes__", [])
        if isinstance(notes, list):
            notes.append(note)
    except Exception:  # a class may have anything under these names; it goes without
        logger.debug("note_not_added", exc_info=True)
