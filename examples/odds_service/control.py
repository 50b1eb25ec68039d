"""The odds API's control address, as a demonstration or a test uses it."""

from __future__ import annotations

from dataclasses import dataclass

import httpx


@dataclass(frozen=True, slots=True)
class Upstream:
    """The control address of the odds API.

    Attributes:
        client: asks it.
        url: of the API.
    """

    client: httpx.AsyncClient
    url: str

    async def reset(self) -> None:
        """Start counting anew: in order, nothing used of the rate limit, no answer held."""
        await self._post("reset")

    async def hold(self) -> None:
        """Hold the answers back."""
        await self._post("hold")

    async def release(self) -> None:
        """Let the answers go."""
        await self._post("release")

    async def go_down(self) -> None:
        """Fail every call from now on."""
        await self._post("down")

    async def come_up(self) -> None:
        """Answer again."""
        await self._post("up")

    async def seen(self, calls: int) -> dict[str, int]:
        """Wait until so many calls have reached the upstream, and return its counters."""
        response = await self.client.get(f"{self.url}/control/arrivals", params={"at_least": calls})
        counters: dict[str, int] = response.raise_for_status().json()
        return counters

    async def _post(self, action: str) -> None:
        (await self.client.post(f"{self.url}/control/{action}")).raise_for_status()
