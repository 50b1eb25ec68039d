"""Plays one story and tells what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.fleet import invariants
from tests.fleet.conductor import COHERENCE_SECONDS, LEASE_SECONDS, MAX_WAIT_SECONDS, fleet_over
from tests.fleet.faults import FAULTS, Expected
from tests.stores.servers import BINARIES, running

MARGIN_SECONDS = 4.0
"""How much longer a caller may take on a busy machine."""


@dataclass
class Played:
    """What came of a story."""

    name: str
    log: list[dict[str, Any]]
    expected: Expected

    def complaints(self) -> list[str]:
        """Which promises were broken."""
        rules = invariants.Rules(
            lease_seconds=LEASE_SECONDS,
            coherence_seconds=COHERENCE_SECONDS,
            longest_call_seconds=MAX_WAIT_SECONDS + MARGIN_SECONDS,
            is_strict="strict" in self.name,
        )
        return invariants.complaints(self.log, rules)

    def disappointments(self) -> list[str]:
        """What the story was to come to and did not."""
        seen, expected = self.row(), self.expected
        least, most = expected.fetches
        wrong = []
        if not least <= seen["fetches"] <= most:
            wrong.append(f"{seen['fetches']} fetches, not {least} to {most}")
        if seen["answered"] < expected.answered:
            wrong.append(f"{seen['answered']} callers were answered, not {expected.answered}")
        if seen["refused"] < expected.refused:
            wrong.append(f"{seen['refused']} publishes were refused, not {expected.refused}")
        if seen["failed"] and not self.name.startswith("all together"):
            wrong.append(f"{seen['failed']} callers got a failure")
        return wrong

    def row(self) -> dict[str, Any]:
        """What happened to the story's key."""
        return invariants.row(self.log, self.expected.key)


async def play(name: str) -> Played:
    """Play a story over a server of its own."""
    with running(BINARIES[0]) as server:
        async with fleet_over(server) as fleet:
            expected = await FAULTS[name](fleet)
        return Played(name, fleet.story, expected)
