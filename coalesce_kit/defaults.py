"""The one place for mutable global state: the default coalescer, the registry of numbers, the decorated functions.

Everything here is made when it is first asked for. Decorated functions are listed weakly: being decorated keeps nothing
alive, and when a function dies its numbers are folded into the totals.
"""

from __future__ import annotations

import asyncio
import itertools
import linecache
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from types import CodeType
from typing import Any, Final, Protocol

from .backends.in_process import RequestCoalescer
from .durations import Duration, to_seconds
from .errors import ConfigurationError
from .protocols import CloseReport, Coalescer, Drainable
from .stats.counters import Counters
from .stats.observer import Observers
from .stats.process import process_registry
from .stats.registry import StatsRegistry
from .stats.showing import Limits


class Decorated(Protocol):
    """What stands behind one decorated function, as far as this room looks at it."""

    @property
    def name(self) -> str:
        """The label of the function, unique among those that live."""
        ...

    @property
    def origin_name(self) -> str:
        """``module.qualname`` of the wrapped function."""
        ...

    @property
    def counters(self) -> Counters:
        """Where its numbers are counted."""
        ...

    @property
    def observers(self) -> Observers | None:
        """Who is told what happens to it."""
        ...

    def coalescer(self) -> Coalescer | None:
        """Return its backend, or the default coalescer if it uses that and has looked it up."""
        ...

    def forget_default(self) -> None:
        """Look the default coalescer up again at the next call."""
        ...

    def register(self, registry: StatsRegistry) -> None:
        """Show its numbers in ``registry``."""
        ...

    def void_all(self) -> int:
        """Drop all its results, detach all its fetches in flight, and return how many there were."""
        ...

    def void_tags(self, tags: Sequence[str]) -> int:
        """Invalidate what has one of ``tags``; return how many fetches in flight were detached."""
        ...

    def clear(self) -> None:
        """Drop all its results and detach all its fetches, and count nothing."""
        ...

    @property
    def refreshing(self) -> int:
        """How many refreshes run in the background, on all loops."""
        ...

    async def drain(self, *, deadline_seconds: float) -> None:
        """Wait for what runs in the background on the running loop."""
        ...

    def text_of_call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], /) -> str:
        """Return the key of one call as text."""
        ...

    @property
    def enabled(self) -> bool:
        """Whether it coalesces."""
        ...

    def switch(self, *, enabled: bool) -> None:
        """Coalesce from now on, or run the original with nothing counted: for tests."""
        ...

    def exchange_origin(self, wrap: Callable[[Callable[..., Any]], Callable[..., Any]], /) -> Callable[[], None]:
        """Have fetches run ``wrap(function)`` until what is returned is called: for tests."""
        ...


class GeneratedSource:
    """Source text that was compiled, readable by tracebacks and debuggers for as long as this object lives."""

    __slots__ = ("__weakref__", "code", "filename")

    def __init__(self, text: str, filename: str) -> None:
        self.filename = filename
        self.code: CodeType = compile(text, filename, "exec")
        linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
        weakref.finalize(self, linecache.cache.pop, filename, None).atexit = False


class _State:
    """Everything in the package that is global and changes."""

    def __init__(self) -> None:
        # Re-entrant: an allocation under it may start the garbage collector, and with it a function's finaliser.
        self.lock = threading.RLock()
        self.coalescer: RequestCoalescer | None = None
        self.registry: StatsRegistry | None = None
        self.functions: weakref.WeakSet[Decorated] = weakref.WeakSet()
        self.by_name: weakref.WeakValueDictionary[str, Decorated] = weakref.WeakValueDictionary()
        self.sources: weakref.WeakValueDictionary[str, GeneratedSource] = weakref.WeakValueDictionary()
        self.source_numbers: Iterator[int] = itertools.count(1)


_state: Final = _State()


def get_request_coalescer() -> RequestCoalescer:
    """Return the coalescer of every function that was given no ``backend``. Made when first asked for."""
    with _state.lock:
        if _state.coalescer is None:
            _state.coalescer = RequestCoalescer()
        return _state.coalescer


def get_stats_registry() -> StatsRegistry:
    """Return the registry in which every decorated function has a row. Made when first asked for."""
    with _state.lock:
        if _state.registry is None:
            _state.registry = StatsRegistry(limits=_default_limits)
        return _state.registry


process_registry.find = get_stats_registry


def _default_limits() -> Limits:
    coalescer = get_request_coalescer()
    return Limits(
        max_wait_seconds=coalescer.max_wait_seconds,
        max_flight_seconds=coalescer.max_flight_seconds,
    )


def decorated_functions() -> list[Decorated]:
    """Return what stands behind every decorated function that lives, in no order."""
    with _state.lock:
        return list(_state.functions)


def known_coalescers() -> list[Coalescer]:
    """Return the default coalescer, if it was made, and the backend of every decorated function, each once."""
    with _state.lock:
        default: Iterable[Coalescer | None] = (_state.coalescer,)
        used = [*default, *(function.coalescer() for function in _state.functions)]
    return list({id(coalescer): coalescer for coalescer in used if coalescer is not None}.values())


def compiled_source(text: str, *, title: str) -> GeneratedSource:
    """Compile generated source once for all who live and have the same."""
    with _state.lock:
        source = _state.sources.get(text)
        if source is None:
            source = GeneratedSource(text, f"<coalesced {title} {next(_state.source_numbers)}>")
            _state.sources[text] = source
        return source


def listing() -> AbstractContextManager[bool]:
    """Keep other threads from listing functions, so that a name chosen in here is still free when it is listed."""
    return _state.lock


def choose_name(explicit: str | None, *, origin_name: str) -> str:
    """Return the name under which a function can be listed.

    Args:
        explicit: the name its author gave it, if any.
        origin_name: ``module.qualname`` of the wrapped function, which is the default name.

    A reloaded function takes over the row of the one that it replaces. Default names that collide are told apart by
    ``#2``, ``#3``, ...

    Raises:
        ConfigurationError: another function that lives has the explicit name.
    """
    with _state.lock:
        if explicit is None:
            numbered = (f"{origin_name}#{number}" for number in itertools.count(2))
            return next(name for name in itertools.chain((origin_name,), numbered) if name not in _state.by_name)
        holder = _state.by_name.get(explicit)
        if holder is None or holder.origin_name == origin_name:
            return explicit
        raise ConfigurationError(
            f"name={explicit!r} is taken by {holder.origin_name}, and {origin_name} wants it too: a name is one "
            f"function's row of numbers, so give this one another, or none"
        )


def list_function(function: Decorated) -> None:
    """List a function for as long as it lives, and show its numbers."""
    with _state.lock:
        _state.functions.add(function)
        _state.by_name[function.name] = function
        weakref.finalize(function, _fold, function.name, function.counters).atexit = False
        function.register(get_stats_registry())


def _fold(name: str, counters: Counters) -> None:
    """Keep a dead function's numbers in the totals. Takes no lock: the garbage collector may be calling."""
    registry = _state.registry
    if registry is not None:
        registry.fold(name, counters)


async def aclose(*, deadline_seconds: Duration = 10.0) -> CloseReport:
    """End everything that is open on the running loop: let fetches end, cut the rest at the deadline, and report.

    That is the default coalescer and the ``backend`` of every decorated function that lives. None of them is closed:
    functions stay usable, so that the next test, or the next ``asyncio.run``, finds them as they were.

    Args:
        deadline_seconds: how long fetches may go on; 0 cuts at once.

    Raises:
        ConfigurationError: the deadline is no duration.
    """
    deadline = to_seconds(deadline_seconds, name="deadline_seconds", zero=True)
    await asyncio.sleep(0)  # a refresh that a reader has just started takes its slot, and is seen
    drainable = [coalescer for coalescer in known_coalescers() if isinstance(coalescer, Drainable)]
    reports = await asyncio.gather(*(coalescer.drain(deadline_seconds=deadline) for coalescer in drainable))
    # refreshes in the background: by now their fetches have ended
    refreshing = [function for function in decorated_functions() if function.refreshing]
    await asyncio.gather(*(function.drain(deadline_seconds=deadline) for function in refreshing))
    return sum(reports, CloseReport(0))


@asynccontextmanager
async def lifespan(app: object = None, /, *, deadline_seconds: Duration = 10.0) -> AsyncIterator[None]:  # noqa: ARG001
    """Run ``aclose()`` at the end of a block, or of an application: ``FastAPI(lifespan=coalesce_kit.lifespan)``.

    Args:
        app: the application, which a framework hands in; not looked at.
        deadline_seconds: how long fetches may go on at the end.
    """
    try:
        yield
    finally:
        await aclose(deadline_seconds=deadline_seconds)


def reset_for_tests() -> None:
    """Make everything new: no default coalescer, a new registry in which every decorated function begins at zero.

    The coalescers that decorated functions have are kept, with numbers that begin at zero, and what they have in the
    air keeps its callers and is joined by nobody else.
    """
    with _state.lock:
        for coalescer in known_coalescers():
            _begin_anew(coalescer)
        _state.coalescer = None
        _state.registry = None
        registry = get_stats_registry()
        for function in decorated_functions():
            function.clear()
            function.counters.reset()
            function.forget_default()
            function.register(registry)


def _begin_anew(coalescer: Coalescer) -> None:
    """Have nobody join what a coalescer has in the air; of the package's own, the numbers begin at zero, too."""
    begin_anew = getattr(coalescer, "_begin_anew", None)
    if begin_anew is not None:
        begin_anew()
    else:
        for seen in coalescer.flights():
            coalescer.forget(seen.key)
