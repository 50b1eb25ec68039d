"""``top``: the numbers, live. One thread asks, another draws and listens to the keys."""

from __future__ import annotations

import os
import queue
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from .client import ClientError
from .screen import Choice, Moment, render_screen
from .terminal import StoppedError, draw, is_interactive, taken_terminal, wants_colour
from .workers import View, Workers

QUIT: Final = ("q", "Q", "\x04")  # Ctrl-C is no key but a signal
KEY_SECONDS: Final = 0.1


def run_top(workers: Workers, address: str, *, every_seconds: float, rounds: int | None, plain: bool) -> None:
    """Show the numbers until told to stop.

    Args:
        workers: whom to ask.
        address: what to call them.
        every_seconds: how often to ask.
        rounds: how many pictures are shown; ``None`` for no end.
        plain: print one picture below the other, without keys and colour, as where there is no terminal.

    Raises:
        ClientError: the very first question was not answered.
        KeyboardInterrupt: by Ctrl-C; the terminal has been given back.
    """
    if plain or not is_interactive():
        _print_pictures(workers, address, every_seconds=every_seconds, rounds=rounds)
    else:
        _draw_pictures(workers, address, every_seconds=every_seconds, rounds=rounds)


def _print_pictures(workers: Workers, address: str, *, every_seconds: float, rounds: int | None) -> None:
    width = shutil.get_terminal_size((100, 24)).columns
    view: View | None = None
    shown = 0
    while True:
        problem = ""
        try:
            view = workers.look()
        except ClientError as error:
            if view is None:
                raise
            problem = str(error)
        moment = Moment(address=address, clock=time.strftime("%H:%M:%S"), problem=problem)
        lines = render_screen(view, moment, Choice(), width=width, height=None, colour=False, keys=False)
        sys.stdout.write("\n".join([*lines, "", ""]))
        sys.stdout.flush()
        shown += 1
        if shown == rounds:
            return
        time.sleep(every_seconds)


def _draw_pictures(workers: Workers, address: str, *, every_seconds: float, rounds: int | None) -> None:
    view = workers.look()  # before the terminal is taken, so that a wrong address is told on it
    problem, shown, choice = "", 1, Choice()
    colour = wants_colour()
    try:
        with _asked_again(workers, every_seconds) as answers, taken_terminal() as keys:
            while True:
                size = os.get_terminal_size(sys.stdout.fileno())
                moment = Moment(address=address, clock=time.strftime("%H:%M:%S"), problem=problem)
                draw(
                    render_screen(view, moment, choice, width=size.columns, height=size.lines, colour=colour, keys=True)
                )
                if shown == rounds:
                    return
                key = _next_key_or_answer(keys.wait, answers)
                if key in QUIT:
                    return
                choice = choice.after(key)
                if not answers.empty():
                    answer = answers.get()
                    shown += 1
                    problem = answer if isinstance(answer, str) else ""
                    view = view if isinstance(answer, str) else answer
    except StoppedError:
        return


def _next_key_or_answer(wait: Callable[[float], str], answers: queue.SimpleQueue[View | str]) -> str:
    while True:
        # Keys first: answers that come faster than they can be drawn must not keep anybody from quitting.
        key = wait(KEY_SECONDS if answers.empty() else 0)
        if key or not answers.empty():
            return key


@contextmanager
def _asked_again(workers: Workers, every_seconds: float) -> Iterator[queue.SimpleQueue[View | str]]:
    """Ask at intervals, in a thread, so that a slow answer holds up no key; a text says why there is none."""
    answers: queue.SimpleQueue[View | str] = queue.SimpleQueue()
    over = threading.Event()

    def ask() -> None:
        while not over.wait(every_seconds):
            try:
                answers.put(workers.look())
            except ClientError as error:
                answers.put(str(error))

    # A daemon: who quits does not wait for an answer that may take long.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield answers
    finally:
        over.set()
        thread.join(KEY_SECONDS)
