"""The ports through which the rooms of the package meet, and the values that pass through them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Literal, Protocol, TypeAlias, TypeVar, runtime_checkable

from .stats.counters import Counters
from .stats.observer import Observers

R = TypeVar("R")

Key: TypeAlias = Hashable
"""What a fetch is coalesced under. A decorated function's key is a tuple that begins with the function's identity."""

OnAbandon: TypeAlias = Literal["cancel", "finish"]
"""What becomes of a fetch whose last caller leaves: it is cancelled, or it goes on to its end."""

MAX_TEXT: Final = 200
"""The most characters of a key that stand in a message."""

CUT_GRACE_SECONDS: Final = 1.0
"""How long closing waits for what it has cancelled; what takes longer ignores its cancellation."""


def describe_key(key: Key) -> str:
    """Render a key for a message: a string as it is, anything else by its ``repr``, cut to 200 characters.

    Never raises.
    """
    try:
        text = key if isinstance(key, str) else repr(key)
    except Exception:  # a user's __repr__ may do anything; a message must not fail for it
        text = f"<unprintable {type(key).__name__}>"
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


class Ticket(Protocol):
    """A fetch's permission to be joined and to publish, taken in the fetch's own first step."""

    def is_good(self) -> bool:
        """Whether nothing has been invalidated since the ticket was taken. Any thread; never blocks."""
        ...


Reserve: TypeAlias = Callable[[], Ticket]


@dataclass(frozen=True, slots=True)
class FlightInfo:
    """What can be seen from outside of one fetch in the air.

    Attributes:
        key: the key it was begun under.
        age_seconds: how long it has been running.
        waiters: callers waiting for it now, the leader apart.
        zombie: it was given up (cancelled or timed out) and still runs.
        joinable: a new caller would join it, as far as the coalescer knows.
        good: its ticket is still good: nothing it read was invalidated since.
    """

    key: Key
    age_seconds: float
    waiters: int
    zombie: bool
    joinable: bool = True
    good: bool = True


@dataclass(frozen=True, slots=True)
class CloseReport:
    """What became of the work that was open when closing began.

    Attributes:
        finished: how many fetches ended by themselves before the deadline.
        cut: the keys, as text, of those that were cancelled.
    """

    finished: int
    cut: tuple[str, ...] = ()

    def __add__(self, other: CloseReport) -> CloseReport:
        return CloseReport(self.finished + other.finished, self.cut + other.cut)


class Inherit(Enum):
    """The type of ``INHERIT``, an option's way to say "as the coalescer has it"."""

    INHERIT = "as the coalescer has it"


INHERIT: Final = Inherit.INHERIT


@dataclass(frozen=True, slots=True, eq=False)
class FlightTerms:
    """The terms under which one function's fetches fly: one object per function.

    Attributes:
        max_wait_seconds: the longest wait of one waiter; ``None`` without limit, ``INHERIT`` the coalescer's own.
        fetch_timeout_seconds: the longest run of the fetch; ``None`` without limit.
        on_abandon: what becomes of a fetch whose last caller leaves.
        counters: where the function's numbers are counted.
        observers: who is told; ``None`` costs nothing.
        outside_key: names of the parameters that are not in the key, for the note on a failed fetch.
        look: asked by a flight in its first step, after the slot was won: what it returns, unless ``None``, is the
            answer, and no fetch is run. Whoever found nothing before the slot was taken may have been overtaken.
        refresh: these are the terms of fetches for nobody's request: their leader is counted apart.
        waits_first: a fetch may have to wait for another process before it calls the function. Its flight begins when
            the fetch says so, and until then ``max_wait_seconds`` bounds its leader too.
        anew: whoever asks under these terms wants the function to run. A flight of others that has not begun is joined
            if it will run it then, and not where it may be answered with what another process has.
        patient: whoever asks under these terms waits as long as the fetch takes: it is nobody's wait.
        describe: renders one of the function's keys, for messages.
    """

    name: str = "RequestCoalescer"
    counters: Counters = field(default_factory=Counters)
    max_wait_seconds: float | None | Inherit = INHERIT
    fetch_timeout_seconds: float | None = None
    on_abandon: OnAbandon = "cancel"
    observers: Observers | None = None
    outside_key: tuple[str, ...] = ()
    describe: Callable[[Key], str] = describe_key
    look: Callable[[Key], object | None] | None = None
    refresh: bool = False
    waits_first: bool = False
    anew: bool = False
    patient: bool = False


class Codec(Protocol):
    """Turns the results of one function into bytes, which another process turns back.

    Whatever either raises, the caller of the function gets his answer: a result that cannot be written is not shared,
    bytes that cannot be read are a miss.

    What two releases write is kept apart by the function's return type and by the codec: by its attribute
    ``fingerprint``, a text, if it has one, otherwise by the name of its class. A codec that begins to write otherwise
    needs another one.
    """

    def encode(self, value: Any, /) -> bytes:
        """Return bytes that ``decode`` makes an equal value of."""
        ...

    def decode(self, body: bytes, /) -> Any:
        """Return the value that the bytes stand for. They come from a store that others may write to."""
        ...


class Coalescer(Protocol):
    """Runs one fetch per key at a time, whoever asks."""

    async def get_or_fetch(
        self,
        key: Key,
        fetch: Callable[[], Awaitable[R]],
        /,
        *,
        reserve: Reserve | None = None,
        terms: FlightTerms | None = None,
    ) -> R:
        """Return what ``fetch()`` returns, sharing one run of it among all who ask for ``key`` meanwhile.

        Args:
            key: what is asked for.
            fetch: called without arguments, at most once, by the caller who leads.
            reserve: called right before ``fetch``; a flight whose ticket is no longer good is not joined.
            terms: limits, counters and observers; the coalescer's own without.
        """
        ...

    def forget(self, key: Key, /) -> bool:
        """Detach the fetch in flight, if any: it keeps its callers, later ones lead anew."""
        ...

    def flights(self) -> Sequence[FlightInfo]:
        """Every fetch in the air, of every loop. Any thread."""
        ...

    async def aclose(self, *, deadline_seconds: float = 10.0) -> CloseReport:
        """Refuse new calls on the running loop, drain to the deadline, cancel the rest and report it.

        Closing again does no harm.
        """
        ...


@runtime_checkable
class Drainable(Protocol):
    """A coalescer whose work on the running loop can be brought to an end without closing it."""

    async def drain(self, *, deadline_seconds: float = 10.0) -> CloseReport:
        """Let the running loop's fetches end, to the deadline; cancel the rest and report it."""
        ...
