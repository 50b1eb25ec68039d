"""``make serve``: the odds API and the service, left running until Ctrl-C; ``WORKERS=4 REDIS=1``: four of the service.

``REDIS=1`` starts a server of its own, ``REDIS=redis://...`` names one that runs.
"""

from __future__ import annotations

import argparse
import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .metrics import METRICS_PATH, has_prometheus
from .processes import Server, interrupt_on_signals, running
from .redis_server import running_redis


@dataclass(frozen=True, slots=True)
class Pair:
    """The service and the odds API that it asks."""

    service: Server
    upstream: Server


@contextlib.contextmanager
def running_pair(
    *, with_harmful_rows: bool = False, environment: Mapping[str, str] | None = None, logs: Path | None = None
) -> Iterator[Pair]:
    """Run the odds API and the service for as long as the block lasts.

    Args:
        with_harmful_rows: see ``create_app``.
        environment: of the service, beside the variables of this process: see ``policy_from``.
        logs: a directory that takes ``upstream.log`` and ``service.log``.
    """
    options = ("--with-harmful-rows",) if with_harmful_rows else ()
    with (
        running("examples.odds_service.upstream", log=logs and logs / "upstream.log") as upstream,
        running(
            "examples.odds_service.app",
            "--upstream",
            upstream.url,
            *options,
            environment=environment,
            log=logs and logs / "service.log",
        ) as service,
    ):
        yield Pair(service=service, upstream=upstream)


@dataclass(frozen=True, slots=True)
class Crew:
    """Several workers of the service, and the odds API that all of them ask."""

    workers: Sequence[Server]
    upstream: Server


@contextlib.contextmanager
def running_crew(
    count: int, *, redis_url: str | None, environment: Mapping[str, str] | None = None, logs: Path | None = None
) -> Iterator[Crew]:
    """Run the odds API and so many workers of the service, each at an address of its own.

    Args:
        count: how many.
        redis_url: the server over which they share; without one each shares for itself.
        environment, logs: as for a pair; the workers write ``service-1.log`` and so on.
    """
    shared = {"ODDS_REDIS_URL": redis_url} if redis_url else {}
    with contextlib.ExitStack() as stack:
        log = logs and logs / "upstream.log"
        upstream = stack.enter_context(running("examples.odds_service.upstream", log=log))
        workers = [
            stack.enter_context(
                running(
                    "examples.odds_service.app",
                    "--upstream",
                    upstream.url,
                    environment={**(environment or {}), **shared},
                    log=logs and logs / f"service-{number}.log",
                )
            )
            for number in range(1, count + 1)
        ]
        yield Crew(workers=workers, upstream=upstream)


@contextlib.contextmanager
def redis_at(where: str | None) -> Iterator[str | None]:
    """Give the address of a Redis server: the one that ``where`` names, or one that is started if it is ``"1"``."""
    if where != "1":
        yield where or None
        return
    with running_redis() as redis:
        yield redis.url


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the processes, print where they are, and stop them on Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m examples.odds_service.serve", description=__doc__)
    parser.add_argument("--workers", type=int, default=1, help="how many processes serve (1)")
    parser.add_argument("--redis", metavar="URL", help="they share over this server; 1 starts one")
    options = parser.parse_args(arguments)
    interrupt_on_signals()
    with (
        contextlib.suppress(KeyboardInterrupt),
        redis_at(options.redis) as redis_url,
        running_crew(options.workers, redis_url=redis_url) as crew,
    ):
        print(_addresses(crew, redis_url), flush=True)
        threading.Event().wait()


def _addresses(crew: Crew, redis_url: str | None) -> str:
    first, *others = crew.workers
    lines = [
        f"service    {first.url}/optic-odds/fixtures/nfl?live=true&limit=5",
        f"           {first.url}/optic-odds/odds/nfl",
        *(f"           {worker.url}   another worker, with the same addresses" for worker in others),
        f"dashboard  {first.url}/health/coalescer   in a browser; JSON for programs",
        f"           {first.url}/health/coalescer.txt",
    ]
    if has_prometheus():
        lines.append(f"metrics    {first.url}{METRICS_PATH}")
    lines.append(f"upstream   {crew.upstream.url}/control/counters")
    if redis_url:
        lines.append(f"redis      {redis_url}")
    return "\n".join([*lines, "Ctrl-C stops all." if others or redis_url else "Ctrl-C stops both."])


if __name__ == "__main__":
    main()
