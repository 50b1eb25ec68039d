"""Which fetch an event is about, and which caller: numbers by which an observer puts events together."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import pytest

from coalesce_kit import Observer, RequestCoalescer
from tests.fakes import Origin, both_doors, outcomes, start, turns


class ByFlight(Observer):
    """Notes the names of the events of each flight, and the callers who joined and left."""

    def __init__(self) -> None:
        self.events: dict[int, list[str]] = defaultdict(list)
        self.joined: list[int] = []
        self.left: list[int] = []

    def fetch_started(self, event):
        self.events[event.flight].append("started")

    def fetch_ended(self, event):
        self.events[event.flight].append("ended")

    def waiter_joined(self, event):
        self.events[event.flight].append("joined")
        self.joined.append(event.waiter)

    def waiter_left(self, event):
        self.events[event.flight].append("left")
        self.left.append(event.waiter)


@pytest.mark.on_every_loop
@both_doors
async def test_all_events_of_a_fetch_have_its_number(door):
    """Two fetches in the air are told apart, and everybody who waits is told with the one that he waits for."""
    origin, watching = Origin(), ByFlight()
    asked = door(origin, observers=[watching])
    tasks = start(asked.ask("nfl"), asked.ask("nfl"), asked.ask("nba"), asked.ask("nba"))
    await turns()
    origin.answer()
    origin.answer()
    await outcomes(tasks)

    assert len(watching.events) == 2
    assert 0 not in watching.events
    for events in watching.events.values():
        assert sorted(events) == ["ended", "joined", "left", "started"]
        assert events[-1] == "left"


@pytest.mark.on_every_loop
@both_doors
async def test_a_waiter_leaves_with_the_number_it_joined_with(door):
    """However a wait ends, by an answer or by the caller's own leaving, it is told who it was, and of which fetch."""
    origin, watching = Origin(), ByFlight()
    asked = door(origin, observers=[watching])
    tasks = start(*(asked.ask() for _ in range(4)))
    await turns()
    tasks[2].cancel()
    await turns()
    assert watching.left == [watching.joined[1]]
    origin.answer()
    await outcomes(tasks)

    assert len(set(watching.joined)) == 3
    assert sorted(watching.left) == sorted(watching.joined)
    assert len(watching.events) == 1


async def test_a_detached_fetch_and_its_successor_have_numbers_of_their_own():
    """A key under which two fetches run has two numbers."""
    origin, watching = Origin(), ByFlight()
    coalescer = RequestCoalescer(observers=[watching])
    tasks = start(coalescer.get_or_fetch("nfl", origin))
    await turns()
    coalescer.forget("nfl")
    tasks += start(coalescer.get_or_fetch("nfl", origin))
    await turns()
    origin.answer()
    origin.answer()
    await asyncio.gather(*tasks)

    assert [*watching.events.values()] == [["started", "ended"], ["started", "ended"]]
