"""``make serve``: both processes, left running until Ctrl-C."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .metrics import METRICS_PATH, has_prometheus
from .processes import Server, interrupt_on_signals, running


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


def main() -> None:
    """Run both processes, print where they are, and stop them on Ctrl-C or SIGTERM."""
    interrupt_on_signals()
    with contextlib.suppress(KeyboardInterrupt), running_pair() as pair:
        metrics = f"metrics    {pair.service.url}{METRICS_PATH}\n" if has_prometheus() else ""
        print(
            f"service    {pair.service.url}/optic-odds/fixtures/nfl?live=true&limit=5\n"
            f"           {pair.service.url}/optic-odds/odds/nfl\n"
            f"dashboard  {pair.service.url}/health/coalescer   in a browser; JSON for programs\n"
            f"           {pair.service.url}/health/coalescer.txt\n"
            f"{metrics}"
            f"upstream   {pair.upstream.url}/control/counters\n"
            "Ctrl-C stops both.",
            flush=True,
        )
        threading.Event().wait()


if __name__ == "__main__":
    main()
