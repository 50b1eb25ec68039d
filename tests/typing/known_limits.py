"""What the static type of a decorated function cannot express.

Each ignore stands where something that works is rejected. ``mypy --strict`` reports an ignore that has become
unnecessary, so that a limit which is gone is noticed.
"""

from __future__ import annotations

from coalesce_kit import coalesced


class Service:
    @classmethod
    @coalesced
    async def outside(cls, league: str) -> str:
        return league

    @coalesced
    @classmethod
    async def inside(cls, league: str) -> str:
        return league

    @staticmethod
    @coalesced
    async def static(league: str) -> str:
        return league

    @coalesced
    @staticmethod
    async def static_inside(league: str) -> str:
        return league

    @coalesced
    async def method(self, league: str) -> str:
        return league


async def calls(service: Service) -> None:
    # through the class, the class itself is not filled in
    await Service.outside("nba")  # type: ignore[arg-type, call-arg]
    await Service.inside("nba")  # type: ignore[arg-type, call-arg]
    await service.outside("nba")
    await service.inside("nba")
    # through an instance, an instance is filled in where there is none
    await service.static("nba")  # type: ignore[call-arg]
    await service.static_inside("nba")  # type: ignore[call-arg]
    await Service.static("nba")
    await Service.static_inside("nba")
    # the attributes are not there through an instance: ``bound`` has them
    service.method.invalidate("nba")  # type: ignore[attr-defined]
