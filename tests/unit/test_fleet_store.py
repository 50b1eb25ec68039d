"""Questions about several keys at once, where there is no server."""

from __future__ import annotations

import pytest

from coalesce_kit import StoreUnavailableError
from coalesce_kit.stores.redis import RedisStore


async def test_while_the_breaker_is_open_no_question_of_several_is_sent():
    """Each fails at once, and none is left behind."""
    store = RedisStore("redis://127.0.0.1:1", namespace="nowhere")
    for _ in range(3):
        with pytest.raises(StoreUnavailableError):
            await store.tag_versions(["a", "b"])
    stats = store.stats()
    assert stats.breaker_state != "closed"
    assert stats.pipeline_operations < 6
    await store.aclose()


async def test_nothing_is_asked_about_no_keys():
    """Not even whether there is a server."""
    store = RedisStore("redis://127.0.0.1:1", namespace="nowhere")
    await store.invalidate([])
    assert await store.renew([], lease_seconds=1) == []
    assert store.stats().pipeline_operations == 0
    await store.aclose()
