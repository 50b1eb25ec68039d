"""Invalidation after a POST: nobody who asks after it gets what was read before it."""

from django.http import HttpRequest, JsonResponse
from django.urls import path

from coalesce_kit import coalesced
from examples import shop


@coalesced
async def price_of(product: str) -> int:
    return await shop.read_price("acme", product)


async def price(request: HttpRequest, product: str) -> JsonResponse:
    if request.method == "POST":
        await shop.write_price("acme", product, int(request.POST["pence"]))
        await price_of.invalidate(product)
    return JsonResponse({"pence": await price_of(product)})


urlpatterns = [path("prices/<product>", price)]
