"""What happens when ...: a table of behaviours, found by trying, with our own weak cells left in."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from . import subjects
from .children import HANGS, Child, SubjectError
from .environment import describe, side_by_side
from .probes import QUESTIONS, TRAITS
from .progress import Progress
from .report import environment_lines
from .subjects import OURS

_PATIENCE_SECONDS = 12.0

_found: dict[tuple[str, str, str], Any] = {}
"""What was seen so far, by subject, style and question: the same is not tried twice in one run."""


async def tried(name: str, style: str, questions: Sequence[str]) -> dict[str, Any]:
    """Try questions on a subject, in a process that is replaced when it hangs; return what was seen, by question.

    ``None`` stands for what the subject does not offer.
    """
    seen = {one: _found[name, style, one] for one in questions if (name, style, one) in _found}
    left = [one for one in questions if one not in seen]
    while left:
        try:
            async with Child(
                "benchmarks.prober", {"name": name, "style": style}, patience_seconds=_PATIENCE_SECONDS
            ) as child:
                while left:
                    seen[left[0]] = await child.ask(left[0])
                    left.pop(0)
        except SubjectError as error:
            says = str(error) if str(error) == HANGS else str(error)[:60]
            seen[left.pop(0)] = {"well": False, "says": says}
    _found.update({(name, style, question): one for question, one in seen.items()})
    return seen


async def traits(name: str, style: str) -> str:
    """Return which of our semantics a subject has, a letter each; ``.`` for one it has not, ``-`` where it cannot."""
    seen = await tried(name, style, list(TRAITS.values()))
    return "".join(
        "-" if seen[question] is None else letter if seen[question]["well"] else "."
        for letter, question in TRAITS.items()
    )


async def traits_of(everybody: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Return the traits of several subjects and styles, tried side by side."""
    turn = asyncio.Semaphore(side_by_side())

    async def one(name: str, style: str) -> tuple[tuple[str, str], str]:
        async with turn:
            return (name, style), await traits(name, style)

    return dict(await asyncio.gather(*(one(*subject) for subject in everybody)))


async def answer(rivals: Sequence[str] | None, *, quick: bool) -> dict[str, Any]:
    """Try every question on every subject."""
    cards, missing = subjects.rivals(rivals)
    environment = describe(one.distribution for one in cards)
    print("\n".join(environment_lines(environment)), flush=True)
    ours = subjects.card(OURS)
    everybody = [(OURS, ours.label, next(iter(ours.styles)))]
    everybody += [(one.name, one.label, style) for one in cards for style in one.styles]
    turn = asyncio.Semaphore(side_by_side())
    progress = Progress(len(everybody))

    async def one(name: str, label: str, style: str) -> dict[str, Any]:
        async with turn:
            seen = await tried(name, style, list(QUESTIONS))
        well = sum(bool(answer and answer["well"]) for answer in seen.values())
        of = sum(answer is not None for answer in seen.values())
        progress.did(f"{label}, {style}: {well} of {of} as wanted")
        return {"subject": label, "style": style, "as wanted": well, "tried": of, "seen": seen}

    found = await asyncio.gather(*(one(*subject) for subject in everybody))
    print_table(found)
    return {
        "question": "behaviours",
        "quick": quick,
        "environment": environment,
        "not installed": missing,
        "questions": {name: {"when": one.when, "wanted": one.wanted} for name, one in QUESTIONS.items()},
        "subjects": found,
    }


def print_table(found: Sequence[dict[str, Any]]) -> None:
    """Print a block for each question: what was seen, and of whom."""
    for name, question in QUESTIONS.items():
        print(f"\n{question.when}?  wanted: {question.wanted}")
        by_cell: dict[str, list[str]] = {}
        for subject, cell in zip(found, cells(found, name), strict=True):
            by_cell.setdefault(cell, []).append(
                subject["subject"] + (" *" if subject["style"] == "our semantics" else "")
            )
        for cell, names in sorted(by_cell.items()):
            print(f"  {cell}: {', '.join(names)}")


def cells(found: Iterable[dict[str, Any]], question: str) -> list[str]:
    """Return one row's cells: ``+`` before what is as wanted, ``x`` before what is not, ``-`` for nothing offered."""
    texts = []
    for subject in found:
        seen = subject["seen"].get(question)
        texts.append("-" if seen is None else f"{'+' if seen['well'] else 'x'} {seen['says']}")
    return texts
