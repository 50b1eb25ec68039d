"""A tenant in a context variable: named in ``vary``, it is part of the key."""

from collections.abc import Awaitable, Callable
from contextvars import ContextVar

from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.urls import path
from django.utils.decorators import async_only_middleware

from coalesce_kit import coalesced
from examples import shop

View = Callable[[HttpRequest], Awaitable[HttpResponseBase]]

tenant: ContextVar[str] = ContextVar("tenant")


@async_only_middleware
def tenant_middleware(view: View) -> View:
    async def enter_tenant(request: HttpRequest) -> HttpResponseBase:
        tenant.set(request.headers["X-Tenant"])
        return await view(request)

    return enter_tenant


@coalesced(vary=(tenant,))
async def price_of(product: str) -> int:
    return await shop.read_price(tenant.get(), product)


async def show_price(request: HttpRequest, product: str) -> JsonResponse:
    return JsonResponse({"pence": await price_of(product)})


urlpatterns = [path("prices/<product>", show_price)]
