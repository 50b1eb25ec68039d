"""``coalesce-kit``: reads the arguments, and turns what can go wrong into one line and an exit code."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, NoReturn

from ..stats.health import STATUSES
from ..stats.version import __version__
from .client import ClientError, address_of, ask
from .colour import print_report
from .demo import run_demo
from .report import count_workers, render_json, render_reasons, render_report
from .top import run_top
from .workers import Workers

FAILED: Final = 3
"""The exit code of everything that is no status: 0, 1 and 2 are healthy, warning and degraded."""

INTERRUPTED: Final = 130
TOKEN_VARIABLE: Final = "COALESCE_KIT_TOKEN"  # noqa: S105  # the name of a variable

_EXIT_CODES: Final = """
exit codes:
  0  done; of `health`: healthy
  1  of `health`: warning
  2  of `health`: degraded
  3  anything else: no answer, a refused token, wrong arguments
"""


class _Parser(argparse.ArgumentParser):
    """A parser whose own errors are no status: argparse exits with 2, which would be `degraded`."""

    def error(self, message: str) -> NoReturn:
        self.exit(FAILED, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name and return its exit code.

    Args:
        arguments: without the program's name; by default those of the process.
    """
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal's encoding does not have is shown by its number, and no reason to fail.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        chosen = _parser().parse_args(arguments)
        command: Callable[[argparse.Namespace], int] = chosen.command
        return command(chosen)
    except ClientError as error:
        sys.stderr.write(f"coalesce-kit: {error}\n")
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Who read has gone, as `head` does. What is still buffered would be written, and fail, at the very end.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="coalesce-kit",
        description="What request coalescing does for a service.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"coalesce_kit {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")
    add = partial(_add, commands)

    stats = add("stats", _stats, "the numbers of all functions, once", asks=True)
    stats.add_argument("--json", action="store_true", help="for programs")

    top = add("top", _top, "the numbers, live; q quits", asks=True)
    top.add_argument("--every", type=_positive(float), default=2.0, metavar="SECONDS", help="how often to ask (2)")
    top.add_argument("--rounds", type=_positive(int), metavar="N", help="stop after so many pictures")
    top.add_argument("--plain", action="store_true", help="one picture below the other, as without a terminal")

    health = add("health", _health, "the status as an exit code, for probes", asks=True)
    health.add_argument("--quiet", action="store_true", help="print nothing")

    add("demo", _demo, "a stampede in this process, without coalescing and with it", asks=False)
    return parser


def _add(
    commands: Any, name: str, command: Callable[[argparse.Namespace], int], what: str, *, asks: bool
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=what, description=what, epilog=_EXIT_CODES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(command=command)
    if asks:
        parser.add_argument(
            "url", help="of the service or of its endpoint: localhost:8000, https://odds.example/health/coalescer"
        )
        parser.add_argument("--token", help=f"the endpoint's token; better in the environment, as {TOKEN_VARIABLE}")
        parser.add_argument(
            "--timeout", type=_positive(float), default=10.0, metavar="SECONDS", help="of one question (10)"
        )
        parser.add_argument("--workers", type=_positive(int), metavar="N", help="how many there are, where it is known")
    return parser


def _positive(kind: type[int | float]) -> Callable[[str], float]:
    def number(text: str) -> float:
        value = kind(text)
        if not 0 < value < 10**6:
            raise ValueError(text)
        return value

    number.__name__ = "number above 0"  # argparse says: invalid number above 0 value: '-1'
    return number


def _workers(chosen: argparse.Namespace) -> tuple[Workers, str]:
    address = address_of(chosen.url)
    token = chosen.token or os.environ.get(TOKEN_VARIABLE)
    return Workers(partial(ask, address, token=token, timeout_seconds=chosen.timeout)), address


def _stats(chosen: argparse.Namespace) -> int:
    workers, address = _workers(chosen)
    view = workers.find(expected=chosen.workers)
    if chosen.json:
        sys.stdout.write(f"{render_json(view, address)}\n")
    else:
        print_report(render_report(view, address), status=view.status)
    return 0


def _top(chosen: argparse.Namespace) -> int:
    workers, address = _workers(chosen)
    run_top(workers, address, every_seconds=chosen.every, rounds=chosen.rounds, plain=chosen.plain)
    return 0


def _health(chosen: argparse.Namespace) -> int:
    workers, _ = _workers(chosen)
    view = workers.find(expected=chosen.workers)
    if not chosen.quiet:
        print_report("\n".join([f"{view.status}  {count_workers(view)}", *render_reasons(view)]), status=view.status)
    return STATUSES.index(view.status) if view.status in STATUSES else FAILED


def _demo(_: argparse.Namespace) -> int:
    run_demo()
    return 0
