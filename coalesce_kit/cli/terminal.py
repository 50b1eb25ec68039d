"""The terminal: taken for a live view, and given back as it was, however the view ends."""

from __future__ import annotations

import importlib
import importlib.util
import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

ENTER: Final = "\x1b[?1049h\x1b[?25l"  # the other screen, so that what stood there comes back; and no cursor
LEAVE: Final = "\x1b[?25h\x1b[?1049l"
HOME: Final = "\x1b[H"
TO_LINE_END: Final = "\x1b[K"
TO_SCREEN_END: Final = "\x1b[J"
BOLD, DIM, RED, GREEN, YELLOW, PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"


def is_interactive() -> bool:
    """Whether there is a terminal on both sides that can be taken: keys from it, a screen on it."""
    return (
        sys.stdin.isatty()
        and sys.stdout.isatty()
        and os.environ.get("TERM", "dumb") != "dumb"
        and importlib.util.find_spec("termios") is not None
    )


def wants_colour() -> bool:
    """Whether colour is welcome: not where ``NO_COLOR`` says otherwise (https://no-color.org)."""
    return not os.environ.get("NO_COLOR")


class StoppedError(Exception):
    """A signal asks the program to end."""


class Keys:
    """Reads single keys."""

    def wait(self, seconds: float) -> str:
        """Return the next key that comes within so many seconds; an empty text if none does."""
        ready, _, _ = select.select([sys.stdin.fileno()], [], [], seconds)
        # Of several at once, pasted or held down, each in its turn: what is left in the terminal is there next time.
        return os.read(sys.stdin.fileno(), 1).decode("latin-1") if ready else ""


@contextmanager
def taken_terminal() -> Iterator[Keys]:
    """Take the terminal for as long as the block lasts, and give it back.

    Also when a signal ends the block: SIGTERM and SIGHUP raise ``StoppedError`` in it. While the program is stopped by
    Ctrl-Z the terminal is the shell's.
    """
    termios: Any = importlib.import_module("termios")  # not on Windows, where is_interactive() is false
    tty: Any = importlib.import_module("tty")
    where = sys.stdin.fileno()
    before = termios.tcgetattr(where)

    def take() -> None:
        tty.setcbreak(where)
        _say(ENTER)

    def give_back() -> None:
        termios.tcsetattr(where, termios.TCSADRAIN, before)
        _say(LEAVE)

    def stop(number: int, _: FrameType | None) -> None:
        raise StoppedError(signal.Signals(number).name)

    def suspend(_: int, __: FrameType | None) -> None:
        give_back()
        os.kill(os.getpid(), signal.SIGSTOP)  # here it rests until the shell continues it
        take()

    handlers = {signal.SIGTERM: stop, signal.SIGHUP: stop, signal.SIGTSTP: suspend}
    were = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        take()
        yield Keys()
    finally:
        give_back()
        for number, handler in were.items():
            signal.signal(number, handler)


def draw(lines: list[str]) -> None:
    """Put lines on the screen over those that are there, without a flash of an empty one."""
    _say(HOME + "\n".join(line + TO_LINE_END for line in lines) + TO_SCREEN_END)


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
