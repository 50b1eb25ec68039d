"""What stands in the place of a struck object has what the object was made with."""

from __future__ import annotations

import pytest

from coalesce_kit import RequestCoalescer
from coalesce_kit.testing.chaos import Chaos, chaotic


def test_what_only_the_instance_has_is_there():
    """Attributes are often set when an object is made, and its class knows nothing of them."""
    struck = chaotic(RequestCoalescer(max_wait_seconds=2), Chaos())
    assert struck.max_wait_seconds == 2
    with pytest.raises(AttributeError, match="'ChaoticRequestCoalescer' object has no attribute '_tables'"):
        struck._tables  # noqa: B018  # it is what is asked
    with pytest.raises(AttributeError, match="no attribute 'most'"):
        struck.most  # noqa: B018  # the same
