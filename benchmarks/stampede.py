"""What happens in a stampede? Callers on one key at once, some of whom leave, on an origin that fails or hangs.

*Hurt* are innocent callers who did not get what they should: those who neither left nor were failed by the origin
itself, and who got an error, or nothing in time.
"""

from __future__ import annotations

import asyncio
import logging
import statistics
import time
import warnings
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from . import behaviours, subjects
from .children import Child, SubjectError, answering
from .environment import describe, side_by_side
from .progress import Progress
from .report import environment_lines, text_table
from .subjects import OURS, Card, Subject

COLUMNS = ("scenario", "subject", "does", "callers", "origin calls", "answered", "errors", "hurt", "p50 ms", "p99 ms")

LATENCY_SECONDS = 0.1
LEAVE_AFTER_SECONDS = 0.03
PATIENCE_SECONDS = 2.0
"""How long an innocent caller waits before it counts as hurt."""


class UpstreamDownError(Exception):
    """What the origin raises where it fails."""


@dataclass
class Report:
    """What one scenario did.

    Attributes:
        callers: how many asked.
        origin_calls: how often the origin ran.
        answered: how many got an answer.
        errors: how many got an error, by its name, those who left apart.
        hurt: how many of the innocent did not get what they should.
        waits: of those who got an answer or an error, in seconds.
    """

    callers: int = 0
    origin_calls: int = 0
    answered: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    hurt: int = 0
    waits: list[float] = field(default_factory=list)


class Scene:
    """One origin, decorated by a subject, and its callers."""

    def __init__(self, subject: Subject) -> None:
        self.report = Report()
        self.fails = False
        self.hangs_once = False
        self._subject = subject

        async def fixtures(sport: object, live: object = True, limit: object = 5) -> object:
            del live, limit
            self.report.origin_calls += 1
            if self.hangs_once:
                self.hangs_once = False
                await asyncio.sleep(3600)
            await asyncio.sleep(LATENCY_SECONDS)
            if self.fails:
                raise UpstreamDownError
            return sport

        self._call: Callable[..., Awaitable[object]] = subject.shared(fixtures)

    def crowd(self, number: int, *, gives_up_after: float | None = None) -> list[asyncio.Task[None]]:
        """Let callers ask at once."""
        return [asyncio.ensure_future(self._caller(gives_up_after)) for _ in range(number)]

    async def _caller(self, gives_up_after: float | None) -> None:
        began = time.perf_counter()
        self.report.callers += 1
        try:
            with self._subject.scope():
                if gives_up_after is None:
                    await asyncio.wait_for(self._call("nfl"), PATIENCE_SECONDS)
                else:
                    try:
                        await asyncio.wait_for(self._call("nfl"), gives_up_after)
                    except TimeoutError:
                        return  # left of its own will
        except TimeoutError:
            self._failed("no answer")
            return
        except asyncio.CancelledError:
            if asyncio.current_task().cancelling():  # type: ignore[union-attr]
                raise  # left of its own will
            self._failed("CancelledError")
        except Exception as error:
            self._failed(type(error).__name__)
        else:
            self.report.answered += 1
        self.report.waits.append(time.perf_counter() - began)

    def _failed(self, name: str) -> None:
        self.report.errors[name] = self.report.errors.get(name, 0) + 1
        self.report.hurt += not (self.fails and name == "UpstreamDownError")


async def calm(scene: Scene, callers: int) -> None:
    """Nobody leaves, nothing fails."""
    await asyncio.wait(scene.crowd(callers))


async def first_leaves(scene: Scene, callers: int) -> None:
    """The first caller is cancelled while the origin works."""
    crowd = scene.crowd(callers)
    await asyncio.sleep(LEAVE_AFTER_SECONDS)
    crowd[0].cancel()
    await asyncio.wait(crowd)


async def a_tenth_leaves(scene: Scene, callers: int) -> None:
    """Every tenth caller is cancelled while the origin works, the first one not."""
    crowd = scene.crowd(callers)
    await asyncio.sleep(LEAVE_AFTER_SECONDS)
    for caller in crowd[5::10]:
        caller.cancel()
    await asyncio.wait(crowd)


async def some_are_impatient(scene: Scene, callers: int) -> None:
    """A tenth of the callers, the first among them, give up by ``asyncio.wait_for``."""
    impatient = scene.crowd(callers // 10, gives_up_after=LEAVE_AFTER_SECONDS)
    await asyncio.wait([*impatient, *scene.crowd(callers - callers // 10)])


async def origin_fails(scene: Scene, callers: int) -> None:
    """The origin fails: its error is everybody's, once."""
    scene.fails = True
    await asyncio.wait(scene.crowd(callers))


async def origin_hangs(scene: Scene, callers: int) -> None:
    """The origin hangs, all callers give up in time, and then ten others ask an origin that is well again."""
    scene.hangs_once = True
    await asyncio.wait(scene.crowd(callers, gives_up_after=5 * LEAVE_AFTER_SECONDS))
    await asyncio.wait(scene.crowd(10))


SCENARIOS = {
    "calm": calm,
    "first leaves": first_leaves,
    "a tenth leaves": a_tenth_leaves,
    "a tenth gives up": some_are_impatient,
    "origin fails": origin_fails,
    "origin hangs, then ten more": origin_hangs,
}


def make(job: dict[str, Any]) -> Callable[[str], object]:
    """Return what plays one scenario with the subject of the job."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    callers = job.pop("callers")
    subject = Subject.load(**job)

    async def play(scenario: str) -> dict[str, Any]:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        scene = Scene(subject)
        await SCENARIOS[scenario](scene, callers)
        return asdict(scene.report)

    def answer(scenario: str) -> object:
        with asyncio.Runner() as runner:
            return runner.run(play(scenario))

    return answer


async def answer(rivals: Sequence[str] | None, *, quick: bool) -> dict[str, Any]:
    """Play every scenario with every subject."""
    cards, missing = subjects.rivals(rivals)
    environment = describe(card.distribution for card in cards)
    print("\n".join(environment_lines(environment)), flush=True)
    callers = 100 if quick else 1_000
    everybody = [(card, style) for card in (subjects.card(OURS), *cards) for style in card.styles]
    turn = asyncio.Semaphore(side_by_side())
    progress = Progress(len(everybody))

    async def one(card: Card, style: str) -> list[dict[str, Any]]:
        label = style if card.name == OURS else f"{card.label}, {style}"
        async with turn:
            does = None if style == "RequestCoalescer" else await behaviours.traits(card.name, style)
            head = {"subject": label, "does": does}
            rows = [
                {"scenario": scenario, **head, **await _played(card.name, style, scenario, callers)}
                for scenario in SCENARIOS
            ]
        progress.did(f"{label}: {sum(row.get('hurt') or 0 for row in rows)} hurt in {len(SCENARIOS)} scenarios")
        return rows

    rows = [row for found in await asyncio.gather(*(one(*subject) for subject in everybody)) for row in found]
    rows.sort(key=lambda row: list(SCENARIOS).index(row["scenario"]))
    print("\n" + text_table(rows, COLUMNS))
    return {"question": "stampede", "quick": quick, "environment": environment, "not installed": missing, "rows": rows}


async def _played(name: str, style: str, scenario: str, callers: int) -> dict[str, Any]:
    job = {"name": name, "style": style, "callers": callers}
    try:
        async with Child("benchmarks.stampede", job, patience_seconds=20) as child:
            report = await child.ask(scenario)
    except SubjectError as error:
        return {"errors": str(error)}
    waits = sorted(report["waits"])
    errors = ", ".join(f"{number} {name}" for name, number in report["errors"].items())
    return {
        "callers": report["callers"],
        "origin calls": report["origin_calls"],
        "answered": report["answered"],
        "errors": errors or "none",
        "hurt": report["hurt"],
        "p50 ms": statistics.median(waits) * 1000 if waits else None,
        "p99 ms": waits[min(len(waits) - 1, int(len(waits) * 0.99))] * 1000 if waits else None,
    }


if __name__ == "__main__":
    answering(make)
