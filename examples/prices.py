"""A service whose prices are kept for a minute; ``test_prices.py`` beside it is how it is tested."""

from collections.abc import Awaitable, Callable

from coalesce_kit import bound, coalesced


class PriceService:
    def __init__(self, read_price: Callable[[str], Awaitable[int]]) -> None:
        self._read_price = read_price

    @coalesced(key="price:{product}", ttl=60)
    async def price_of(self, product: str) -> int:
        return await self._read_price(product)

    def price_has_changed(self, product: str) -> None:
        bound(self.price_of).invalidate(product)
