"""A class-based view is built per request: its methods share nothing until ``self`` is no part of the key."""

from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views import View

from coalesce_kit import coalesced
from examples import shop


class UnsharedPrice(View):
    @coalesced
    async def price_of(self, tenant: str, product: str) -> int:
        return await shop.read_price(tenant, product)

    async def get(self, request: HttpRequest, product: str) -> JsonResponse:
        return JsonResponse({"pence": await self.price_of(request.headers["X-Tenant"], product)})


class Price(View):
    @coalesced(ignore=("self",))
    async def price_of(self, tenant: str, product: str) -> int:
        return await shop.read_price(tenant, product)

    async def get(self, request: HttpRequest, product: str) -> JsonResponse:
        return JsonResponse({"pence": await self.price_of(request.headers["X-Tenant"], product)})


urlpatterns = [path("unshared-prices/<product>", UnsharedPrice.as_view()), path("prices/<product>", Price.as_view())]
