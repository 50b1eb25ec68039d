"""The version of the package: here, so that a snapshot can say which one counted."""

from __future__ import annotations

__version__ = "0.1.0"
