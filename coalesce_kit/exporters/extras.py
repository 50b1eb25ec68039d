"""What an exporter says when the library that it shows to is not installed."""

from __future__ import annotations

from importlib.util import find_spec


def needed(module: str, *, extra: str) -> str:
    """Return the name of a library's module that is installed. The library itself is not imported.

    Args:
        module: the module.
        extra: the extra that brings it.

    Raises:
        ImportError: it is not installed; the message is one line, with the way out.
    """
    try:
        installed = find_spec(module) is not None
    except ImportError:  # not even the package that it is in
        installed = False
    if not installed:
        raise ImportError(f'{module} is not installed: pip install "coalesce-kit[{extra}]"', name=module)
    return module
