"""The chaos as a table: ``python -m tests.fleet [words of a fault ...]``."""

from __future__ import annotations

import asyncio
import sys

from tests.fleet.faults import FAULTS
from tests.fleet.playing import Played, play
from tests.stores.servers import BINARIES

HEAD = ("fault · step", "answered", "failed", "slowest", "fetches", "stale serves", "fenced", "broken promises")


def line(played: Played) -> tuple[str, ...]:
    """One line of the table."""
    seen, wrong = played.row(), played.complaints()
    stale = sum(" served " in one for one in wrong)
    figures = (seen["answered"], seen["failed"], f"{seen['slowest']:.2f} s", seen["fetches"], stale, seen["refused"])
    return played.name, *map(str, figures), str(len(wrong))


async def main(words: list[str]) -> int:
    """Play the stories whose names hold all the words, one after the other, and print what came of each."""
    if not BINARIES:
        print("no server is installed")
        return 1
    names = [name for name in FAULTS if all(word in name for word in words)]
    width = max(map(len, [*names, HEAD[0]]))
    print(HEAD[0].ljust(width), *(title.rjust(len(title)) for title in HEAD[1:]), sep="  ")
    broken = 0
    for name in names:
        played = await play(name)
        first, *rest = line(played)
        cells = (text.rjust(len(title)) for text, title in zip(rest, HEAD[1:], strict=True))
        print(first.ljust(width), *cells, sep="  ", flush=True)
        for wrong in played.complaints():
            broken += 1
            print("   ", wrong)
    print(f"{len(names)} faults over {BINARIES[0]}: {broken} broken promises")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
