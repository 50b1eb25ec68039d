"""What a Redis store has on one loop: its connections, its breaker, its subscription."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import secrets
from collections import Counter
from typing import Final

from ..errors import StoreRefusedError, StoreUnavailableError
from .breaker import Breaker
from .redis_connections import Endpoint, close_client
from .redis_pipeline import Pipeline
from .redis_scripts import Scripts
from .redis_signals import RedisSignals

logger = logging.getLogger(__name__)


class RedisLink:
    """What a store has on one loop."""

    def __init__(self, endpoint: Endpoint, scripts: Scripts, namespace: str, timeout_seconds: float) -> None:
        self.breaker: Final = Breaker()
        self._client = endpoint.make_client()
        self.pipeline: Final = Pipeline(self._client, self.breaker, timeout_seconds=timeout_seconds)
        self.signals: Final = RedisSignals(
            endpoint,
            self._client,
            namespace=namespace,
            operation_timeout_seconds=timeout_seconds,
            connected=self.breaker.try_now,
        )
        self._scripts = scripts
        self._namespace = namespace
        loop = asyncio.get_running_loop()
        self._checking = loop.create_task(self._check_permissions(), context=contextvars.Context())

    def counted(self) -> Counter[str]:
        """Return what was counted. Any thread."""
        pipeline = self.pipeline
        return Counter(operations=pipeline.operations, noscript=pipeline.noscript, errors=pipeline.errors)

    async def close(self) -> None:
        """Close everything."""
        self._checking.cancel()
        await self.signals.close()
        await self.pipeline.close()
        await asyncio.gather(self._checking, return_exceptions=True)
        await close_client(self._client)

    async def _check_permissions(self) -> None:
        """Say once, by name, what the server does not let this user do."""
        key = f"cc1:{self._namespace}::open:{secrets.token_hex(8)}"
        channels = (self.signals.announce_channel, self.signals.wake_channel)
        try:
            refused = await self.pipeline.run(self._scripts.open, key, *channels)
        except StoreUnavailableError:
            return
        except StoreRefusedError as error:
            refused = [str(error).encode()]
        if refused:
            logger.error("store_permission_missing", extra={"refused": [one.decode() for one in refused]})
