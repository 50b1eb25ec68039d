"""The ports between one function's results in this process and those who share them with other processes.

Two objects stand behind every function whose backend shares its results. ``LocalResults`` is what the function has in
this process: announcements act on it. ``SharedFunction`` is what the fleet has of it: calls that found nothing local
ask it, invalidations go through it. An ``Errand`` is one fetch, sent by the first to the second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, runtime_checkable

from .entry import Lifetimes, SharedEntry
from .protocols import Coalescer, FlightTerms, Key


class Trust(Protocol):
    """Until when what this process has can be trusted to be valid in the others' eyes, too.

    Attributes:
        until: what is announced to everybody is known to have been heard up to a moment that makes local results good
            until this one. Read by every hit, in any thread.
        generation: of the subscription: what was announced between two generations may not have been heard.
        coherence_seconds: for so long what was asked for is good although nothing is heard.
    """

    coherence_seconds: float
    until: float
    generation: int


class Purpose(Enum):
    """What a fetch is for, as far as it matters to other processes."""

    ASK = "ask"
    """A caller wants the answer."""

    REPLACE = "replace"
    """The value at hand is stale, and a newer one is wanted."""

    REPLACE_EARLY = "replace early"
    """The value at hand will soon be stale. Where somebody else sees to it there is nothing to do."""

    RENEW = "renew"
    """Somebody has asked for a value that is newer than any there is, and has everybody told of it."""


class Errand(Protocol):
    """One fetch that may turn out to be another process's, and what it asks of the function it is for.

    Attributes:
        lease: the token of a lease that is ours already; ``None`` without.
    """

    lease: str | None

    @property
    def record(self) -> str:
        """What the store calls it."""
        ...

    @property
    def tags(self) -> tuple[str, ...]:
        """The call's tags, rendered."""
        ...

    @property
    def purpose(self) -> Purpose:
        """What it is for."""
        ...

    @property
    def at_hand(self) -> SharedEntry | None:
        """What this process has: to be confirmed, or to be replaced."""
        ...

    def let_nobody_join(self) -> None:
        """Void the ticket: callers who come from now on ask anew, and the result is not kept in this process."""
        ...

    def was_given_up(self) -> Callable[[], bool]:
        """Return what tells, at any later moment, whether the fetch was told to stop."""
        ...

    def begin(self) -> None:
        """Count the run of the function, and time it: it is called next."""
        ...

    async def run(self) -> object:
        """Call the function."""
        ...

    def seal(self, value: object, began: float) -> tuple[SharedEntry, Lifetimes | None]:
        """Seal what the function returned. Runs the user's code; raises only for what cannot be shared.

        Returns:
            The entry, and how long it may be used: ``None`` if it is for those who wait only.
        """
        ...

    def seal_error(self, error: Exception) -> tuple[SharedEntry, Lifetimes] | None:
        """Seal a failure, if it is to be remembered; whatever else a failure changes in this process is done, too."""
        ...

    def adopt(
        self,
        value: object,
        *,
        at: float,
        lifetimes: Lifetimes,
        error: BaseException | None = None,
        fetch_seconds: float = 0.0,
    ) -> SharedEntry:
        """Make an entry of what another process fetched."""
        ...

    def keep(self, entry: SharedEntry) -> None:
        """Keep an entry in this process, if the ticket is good."""
        ...

    def gives_at_once(self, entry: SharedEntry) -> bool:
        """Whether callers are given a stale entry without waiting for a newer one."""
        ...

    def give_after_wait(self, entry: SharedEntry) -> None:
        """Have callers who wait given a stale entry once they have waited as long as policy says, if it says so."""
        ...

    def replace_later(self, entry: SharedEntry, lease: str | None) -> bool:
        """Have ``entry`` replaced in the background, since it is given to callers although it is stale.

        Args:
            entry: what is stale.
            lease: a lease that is ours already.

        Returns:
            Whether the lease will be used.
        """
        ...


class LocalResults(Protocol):
    """What one function has in this process, as far as announcements act on it. Any thread."""

    def drop(self, record: str) -> None:
        """Drop the result of a record, and detach its fetches."""
        ...

    def drop_tags(self, tags: Sequence[str]) -> None:
        """Do so for what has one of the tags."""
        ...

    def drop_all(self) -> None:
        """Do so for everything."""
        ...

    def distrust(self) -> None:
        """Have every result looked at again at its next use: ``Trust.generation`` is another one."""
        ...


class Telling(Protocol):
    """One message to the store, and through it to every process.

    Attributes:
        told: whether the store has taken it; ``None`` while nobody knows.
    """

    @property
    def told(self) -> bool | None:
        """Whether the store has taken it."""
        ...

    async def wait(self) -> bool:
        """Wait until that is known. On any loop."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class FunctionToShare:
    """What a backend that shares results has to know of a function.

    Attributes:
        name: the function's, the same in every process.
        origin_name: ``module.qualname`` of the wrapped function.
        is_name_given: the author gave the name.
        function: the wrapped function, for what it is annotated to return.
        instance_in_key: the address of an instance is in its keys.
        hides: a part of its keys is hidden by ``!h``.
        terms: of its fetches.
        errors: the classes of errors that it declares.
        usable_seconds: the longest life of a result, as far as it is known beforehand.
        local: what it has in this process; held weakly.
        write_key: writes a key so that equal keys, and only those, have one text in every process. Takes the key and
            the secret for what ``!h`` hides; raises ``KeyDerivationError`` for what has no such text.
    """

    name: str
    origin_name: str
    is_name_given: bool
    function: Callable[..., object]
    instance_in_key: bool
    hides: bool
    terms: FlightTerms
    errors: tuple[type[Exception], ...]
    usable_seconds: float
    local: LocalResults
    write_key: Callable[[Key, bytes | None], str]


class SharedFunction(Protocol):
    """A function as the fleet sees it: one per function and process."""

    @property
    def trust(self) -> Trust:
        """Until when local results can be trusted."""
        ...

    @property
    def keeps_local(self) -> bool:
        """Whether results are kept in this process at all."""
        ...

    @property
    def serves_untrusted(self) -> bool:
        """Whether results that cannot be trusted are served all the same, because the store is out of reach."""
        ...

    def record_of(self, key: Key) -> str:
        """Return what the store calls a key.

        Raises:
            KeyDerivationError: it has no text that means the same in every process.
        """
        ...

    async def fetch(self, errand: Errand) -> SharedEntry:
        """Return the answer: the store's, or another process's, or what the function returns here."""
        ...

    def invalidate(self, record: str) -> Telling:
        """Have a record removed everywhere. Any thread, with or without a loop."""
        ...

    def invalidate_all(self) -> Telling:
        """Have every record of the function found dead everywhere."""
        ...

    def give_back(self, record: str, lease: str) -> None:
        """End a lease that nobody has a use for. On a running loop."""
        ...

    def prime(self, key: Key, entry: SharedEntry, lifetimes: Lifetimes | None, tags: Sequence[str]) -> Telling:
        """Have a record removed everywhere and a value put in its place, if it is to be kept."""
        ...

    def distance(self) -> tuple[int, int, bool]:
        """Return how many invalidations the store was not told yet, the breaker's state, and whether trust is lost."""
        ...


@runtime_checkable
class SharingCoalescer(Coalescer, Protocol):
    """A coalescer that shares the results of the functions that use it with other processes."""

    def share(self, function: FunctionToShare) -> SharedFunction:
        """Take a function on.

        Raises:
            ConfigurationError: its results cannot be shared.
        """
        ...

    def invalidate_tags(self, tags: Sequence[str]) -> Telling:
        """Have everything that has one of the tags found dead, in every process."""
        ...

    def invalidate_all(self) -> Telling:
        """Have everything of the store's namespace found dead, in every process."""
        ...
