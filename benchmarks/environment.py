"""What a measurement was taken on: versions, processor, state of the collector. No path, no host name, no user."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import importlib.util
import os
import platform
from collections.abc import Iterable
from pathlib import Path

import coalesce_kit


def has_uvloop() -> bool:
    """Whether rows on uvloop can be measured here."""
    return importlib.util.find_spec("uvloop") is not None


def last_core() -> int | None:
    """Return the core that workers are bound to, or ``None`` where the system cannot bind."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    return max(os.sched_getaffinity(0))


def side_by_side() -> int:
    """Return how many subjects are run at once where no CPU time is compared: a core for each, two at most."""
    return min(2, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def pin(core: int | None = None) -> None:
    """Bind this process to one core, the last one without: so both sides of a comparison run on the same."""
    chosen = last_core() if core is None else core
    if chosen is not None:
        os.sched_setaffinity(0, {chosen})


def describe(
    distributions: Iterable[str] = (), *, pinned: str | None = None, clock: str = "real time"
) -> dict[str, object]:
    """Return what a reader needs in order to judge the numbers.

    Args:
        distributions: the packages whose versions stand beside Python's.
        pinned: what is bound to which core, where the system can do that.
        clock: what times are taken by.
    """
    cores = os.cpu_count()
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return {
        "taken": dt.datetime.now(dt.UTC).date().isoformat(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": cores,
        "load at start": load,
        "pinned": "no" if pinned is None or last_core() is None else pinned,
        "collector": "on, unless a row says off",
        "clock": clock,
        "versions": {
            "coalesce-kit": coalesce_kit.__version__,
            **{name: version_of(name) for name in ("uvloop", *distributions) if name},
        },
    }


def version_of(distribution: str) -> str | None:
    """Return the installed version of a package, ``None`` if it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or "unknown"
