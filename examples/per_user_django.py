"""Per-user data with a database in the signature: which replica answers is not part of the question."""

import random

from django.contrib.auth.models import Group
from django.http import HttpRequest, JsonResponse
from django.urls import path

from coalesce_kit import coalesced


@coalesced(ignore=("database",))
async def groups_of(user_id: int, database: str) -> list[str]:
    return [group.name async for group in Group.objects.using(database).filter(user=user_id)]


async def show_groups(request: HttpRequest, user_id: int) -> JsonResponse:
    replica = random.choice(("default", "replica"))
    return JsonResponse({"groups": await groups_of(user_id, replica)})


urlpatterns = [path("users/<int:user_id>/groups", show_groups)]
