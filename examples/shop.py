"""An imaginary shop: the slow thing that the small programs ask."""

from __future__ import annotations

import asyncio

_pence = {("acme", "tea"): 300, ("globex", "tea"): 450}


async def read_price(tenant: str, product: str) -> int:
    """Return a price in pence, slowly."""
    await asyncio.sleep(0.05)
    return _pence[tenant, product]


async def write_price(tenant: str, product: str, pence: int) -> None:
    """Change a price."""
    await asyncio.sleep(0.05)
    _pence[tenant, product] = pence
