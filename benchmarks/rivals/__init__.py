"""One file per rival, each with the same few names; what a rival does not offer is not there, and prints ``-``.

========================================================  ==========================================================
``LABEL``, ``DISTRIBUTION``                               what it is called, and the package whose version is shown
``STYLES``                                                its settings by name, each with what is written in words:
                                                          ``documented`` is what its documentation shows first,
                                                          ``our semantics`` gets as near to ours as it can
``cached(function, style, *, ttl_seconds, size)``         the function, its results kept, at most ``size`` of them
``coalesced(function, style)``                            the function, concurrent calls shared and nothing kept
``async invalidate(decorated, *args)``                    the result kept for these arguments is not to be used again
``scope()``                                               the context in which the decorated function must be called
``REPLAYS``                                               its eviction policies by name: a size in, a look-up out
                                                          that keeps what it misses, a key in, hit or not out
``policies(function, *, ttl_seconds, size)``              for simulated time: its policies by name, each decorated
``CLOCK``                                                 why its time cannot be simulated, where that is so
========================================================  ==========================================================

Each file opens with the section of the rival's documentation that its settings follow.
"""

from __future__ import annotations

NAMES = (
    "async_lru",
    "aiocache",
    "cashews",
    "cachebox",
    "moka_py",
    "theine",
    "cachetools_async",
    "coalescer",
    "aiocoalesce",
    "fastapi_cache",
    "dialcache",
    "hand_written",
)
"""The modules of this folder, which are the names for ``--rival``."""
