"""How many look-ups does a cache of a given size answer? Hit ratios by policy and size, on a trace of keys.

A trace is a file, plain or ``.xz``, of big-endian 32 or 64 bit keys, or of text lines ``time key size``. Without one, a
workload is made: Zipf's law over 50 000 keys whose order changes slowly, crossed by scans of keys asked for once.
"""

from __future__ import annotations

import array
import asyncio
import heapq
import lzma
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import subjects
from .children import Child, SubjectError, answering
from .environment import describe, side_by_side
from .progress import Progress
from .report import environment_lines, shown, text_table
from .subjects import OURS, Subject

FORMATS = ("u32", "u64", "text")
SIZES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
"""Room, as a share of the trace's distinct keys."""

MOST_REQUESTS = 600_000
MADE_REQUESTS = 300_000
OPTIMUM = "optimum (sees the future)"


def read(path: Path, *, form: str | None = None, most: int = MOST_REQUESTS) -> list[int]:
    """Return the keys of a trace, the first ``most``.

    Args:
        path: the file.
        form: one of ``FORMATS``; guessed without.
        most: where to stop.
    """
    raw = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
    form = guess(raw) if form is None else form
    if form == "text":
        return [int(line.split()[1]) for line in raw.decode().splitlines()[:most] if line.strip()]
    keys = array.array("I" if form == "u32" else "Q")
    width = keys.itemsize
    keys.frombytes(raw[: min(len(raw) // width, most) * width])
    if sys.byteorder == "little":
        keys.byteswap()
    return keys.tolist()


def guess(raw: bytes) -> str:
    """Return the format of a trace: 64 bit keys show by a first half that hardly changes."""
    head = raw[:4_000]
    if all(byte in b"0123456789 .\t\r\n" for byte in head):
        return "text"
    if len(raw) % 8 == 0:
        first_halves = {head[at : at + 4] for at in range(0, len(head) // 8 * 8, 8)}
        second_halves = {head[at + 4 : at + 8] for at in range(0, len(head) // 8 * 8, 8)}
        if len(first_halves) * 4 < len(second_halves):
            return "u64"
    return "u32"


def made(requests: int) -> list[int]:
    """Return the workload that stands in for a trace: the same for the same number of requests."""
    chance = random.Random(20)
    many = 50_000
    ranked = list(range(many))
    weights: list[float] = []
    total = 0.0
    for rank in range(many):
        total += 1 / (rank + 1) ** 0.9
        weights.append(total)
    keys: list[int] = []
    fresh = many
    while len(keys) < requests:
        keys += chance.choices(ranked, cum_weights=weights, k=5_000)
        for _ in range(100):  # what is popular changes
            one, other = chance.randrange(many), chance.randrange(many // 50)
            ranked[one], ranked[other] = ranked[other], ranked[one]
        keys += range(fresh, fresh + 500)
        fresh += 500
    return keys[:requests]


def optimum(keys: Sequence[int], size: int) -> float:
    """Return the hit ratio of a cache that drops the key whose next use is farthest away, be it the newcomer.

    *Source*: Belady, "A study of replacement algorithms for a virtual-storage computer", 1966.
    """
    never = len(keys)
    following = [never] * len(keys)
    seen: dict[int, int] = {}
    for at in range(len(keys) - 1, -1, -1):
        following[at] = seen.get(keys[at], never)
        seen[keys[at]] = at
    kept: dict[int, int] = {}
    farthest: list[tuple[int, int]] = []
    hits = 0
    for at, key in enumerate(keys):
        hits += key in kept
        kept[key] = following[at]
        heapq.heappush(farthest, (-following[at], key))
        while len(kept) > size:
            until, victim = heapq.heappop(farthest)
            if kept.get(victim) == -until:  # else its place is one of before it was used again
                del kept[victim]
    return hits / len(keys)


def replayed(keys: Sequence[int], hit: Callable[[object], bool]) -> float:
    """Return the hit ratio of a cache."""
    return sum(map(hit, keys)) / len(keys)


def make(job: dict[str, Any]) -> Callable[[str], object]:
    """Return what replays a trace through a policy of one subject: asked ``policy size``."""
    keys = read(Path(job["path"]), form=job["form"], most=job["most"]) if job["path"] else made(job["most"])
    if job["name"] == OPTIMUM:
        return lambda line: optimum(keys, int(line.rpartition(" ")[2]))
    replays = Subject.load(job["name"], "").module.REPLAYS

    def answer(line: str) -> float:
        policy, _, size = line.rpartition(" ")
        return replayed(keys, replays[policy](int(size)))

    return answer


async def answer(path: Path | None, rivals: Sequence[str] | None, *, form: str | None, quick: bool) -> dict[str, Any]:
    """Replay a trace through every policy at every size; its path is an absolute one."""
    most = 100_000 if quick else MADE_REQUESTS if path is None else MOST_REQUESTS
    keys = read(path, form=form, most=most) if path is not None else made(most)
    distinct = len(set(keys))
    sizes = [max(1, int(distinct * share)) for share in (SIZES[2:5:2] if quick else SIZES)]
    cards, missing = subjects.rivals(rivals)
    environment = describe((card.distribution for card in (*cards, subjects.card("yardsticks"))), clock="none")
    name = path.name if path is not None else "a made workload"
    print("\n".join(environment_lines(environment)))
    print(f"{name}: {len(keys)} requests, {distinct} distinct keys", flush=True)
    job = {"path": str(path) if path is not None else None, "form": form, "most": most}
    everybody = [(OURS, "coalesce_kit"), ("yardsticks", "cachetools"), *((card.name, card.label) for card in cards)]
    asked = [(OPTIMUM, OPTIMUM, "")]
    asked += [
        (module, f"{label} {policy}", policy)
        for module, label in everybody
        for policy in subjects.names_in(module, "REPLAYS")
    ]
    turn = asyncio.Semaphore(side_by_side())
    progress = Progress(len(asked))

    async def one(module: str, label: str, policy: str) -> dict[str, Any]:
        async with turn:
            row = await _row({**job, "name": module}, label, policy, sizes)
        progress.did(f"{label}: {', '.join(shown(row.get(str(size))) for size in sizes)}")
        return row

    rows = await asyncio.gather(*(one(*subject) for subject in asked))
    print("\n" + text_table(rows, ("policy", *(str(size) for size in sizes))))
    return {
        "question": "trace",
        "quick": quick,
        "environment": environment,
        "not installed": missing,
        "trace": name,
        "requests": len(keys),
        "distinct": distinct,
        "sizes": sizes,
        "rows": rows,
    }


async def _row(job: dict[str, Any], label: str, policy: str, sizes: Sequence[int]) -> dict[str, Any]:
    row: dict[str, Any] = {"policy": label}
    try:
        async with Child("benchmarks.trace", job, patience_seconds=120) as child:
            for size in sizes:
                row[str(size)] = round(await child.ask(f"{policy} {size}"), 4)
    except SubjectError as error:
        row[str(sizes[0])] = str(error)
    return row


if __name__ == "__main__":
    answering(make)
