"""What every coalescer does, whatever is behind it: subclass it, say how one is made, and all of it is tested.

::

    from coalesce_kit.testing.coalescer_contract import CoalescerContract

    class TestMyCoalescer(CoalescerContract):
        def make_coalescer(self) -> Coalescer:
            return MyCoalescer()

The tests are coroutines: pytest runs them with pytest-asyncio (in its strict mode with ``pytestmark =
pytest.mark.asyncio``) or anyio. For a coalescer that keeps its promises none waits for longer than a few hundredths of
a second. For one that does not, each test in which somebody waits for what will not come fails after five seconds, so
that all of them may take minutes: begin with ``pytest -x``.
"""

from __future__ import annotations

from .coalescer_ending import EndingContract
from .coalescer_sharing import SharingContract
from .coalescer_terms import TermsContract


class CoalescerContract(SharingContract, TermsContract, EndingContract):
    """Every line of what ``Coalescer`` promises, as tests. See the module for how it is used."""
