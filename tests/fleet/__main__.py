"""The chaos as a table: ``python -m tests.fleet [words of a fault ...]``; what is promised in figures, measured:
``python -m tests.fleet acceptance [words of a measurement ...]``.

With ``--seeds N`` the storms of N seeds are played instead of two. The log of a story in which a promise was broken is
kept, and where it is, is said.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.fleet import outages  # noqa: F401  # lists its measurements
from tests.fleet.acceptance import MEASUREMENTS, Size
from tests.fleet.faults import FAULTS, SEEDS, storms
from tests.fleet.playing import Played, play
from tests.stores.servers import BINARIES

HEAD = ("fault · step", "answered", "failed", "slowest", "fetches", "stale serves", "fenced", "broken promises")


def line(played: Played) -> tuple[str, ...]:
    """One line of the table."""
    seen = played.row()
    stale = sum(" served " in one or " from the store " in one for one in played.complaints())
    figures = (seen["answered"], seen["failed"], f"{seen['slowest']:.2f} s", seen["fetches"], stale, seen["refused"])
    return played.name, *map(str, figures), str(len(played.complaints()) + len(played.disappointments()))


def keep_log(played: Played) -> Path:
    """Write a story's log into a file of its own and return where that is."""
    folder = Path(tempfile.mkdtemp(prefix="coalesce-kit-story-"))
    path = folder / "log"
    path.write_text("\n".join(map(str, played.log)), encoding="utf-8")
    return path


async def chaos(words: Sequence[str]) -> int:
    """Play the stories whose names hold all the words, one after the other, and print what came of each."""
    names = [name for name in FAULTS if all(word in name for word in words)]
    width = max(map(len, [*names, HEAD[0]]))
    print(HEAD[0].ljust(width), *HEAD[1:], sep="  ")
    broken = 0
    for name in names:
        played = await play(name)
        first, *rest = line(played)
        cells = (text.rjust(len(title)) for text, title in zip(rest, HEAD[1:], strict=True))
        print(first.ljust(width), *cells, sep="  ", flush=True)
        wrong = [*played.complaints(), *played.disappointments()]
        for one in wrong:
            print("   ", one)
        if wrong:
            print(f"    the log is {keep_log(played)}", flush=True)
        broken += len(wrong)
    print(f"{len(names)} faults over {BINARIES[0]}: {broken} broken promises")
    return 1 if broken else 0


async def acceptance(words: Sequence[str]) -> int:
    """Measure what has all the words in its name, and print each figure beside its bound."""
    short = count = 0
    for name, measure in MEASUREMENTS.items():
        if not all(word in name for word in words):
            continue
        print(f"--- {name}", flush=True)
        for figure in await measure(Size()):
            count += 1
            short += not figure.holds
            print(f"{'holds' if figure.holds else 'SHORT'}  {figure.what}: {figure.seen}  [{figure.bound}]", flush=True)
    print(f"{count} figures over {BINARIES[0]}: {short} short of their bounds")
    return 1 if short else 0


def main() -> int:
    """Print what is asked for; return whether something went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.fleet", description=__doc__)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--seeds", type=int, default=max(SEEDS))
    options = parser.parse_args()
    if not BINARIES:
        print("no server is installed: python -m tools.binaries --install")
        return 1
    for seed in range(max(SEEDS) + 1, options.seeds + 1):
        storms(seed)
    first, *others = [*options.words, ""]
    if first == "acceptance":
        return asyncio.run(acceptance([word for word in others if word]))
    return asyncio.run(chaos(options.words))


if __name__ == "__main__":
    sys.exit(main())
