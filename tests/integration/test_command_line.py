"""``coalesce-kit``, run as a program: what it prints, what it ends with, and the terminal that it gives back."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from coalesce_kit.cli.app import main
from tests.browser import until
from tests.endpoint import Endpoint, endpoint, worker_says
from tests.watched_service import watched_service

PATIENCE_SECONDS = 20.0
COMMAND = (sys.executable, "-m", "coalesce_kit")
# The program as a shell starts it: its standard input is the terminal that sends it signals for keys.
OWNING_ITS_TERMINAL = (
    sys.executable,
    "-c",
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])",
    *COMMAND,
)


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    """The loopback is asked directly, without a token and without a word on colour."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("TERM", "xterm")
    for name in ("COALESCE_KIT_TOKEN", "NO_COLOR", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def told() -> Iterator[Endpoint]:
    with endpoint() as told:
        told.say(worker_says(functions={"shop.fixtures": {"led_requests": 1, "coalesced_requests": 99, "fetches": 1}}))
        yield told


def test_stats_prints_a_table(told, capsys):
    """One line on the service, then the registry's own table"""
    assert main(["stats", told.url]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{told.url}/health/coalescer  healthy  1 worker\n\nfunction")
    assert re.search(r"^shop\.fixtures +99\.0% +99\.0% +100", out, flags=re.MULTILINE)


def test_stats_prints_json(told, capsys):
    """For programs: sums over the workers, ready to be read"""
    assert main(["stats", told.url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["functions"]["shop.fixtures"]["calls_saved_percent"] == 99.0


@pytest.mark.parametrize(("status", "code"), [("healthy", 0), ("warning", 1), ("degraded", 2), ("sleepy", 3)])
def test_health_is_an_exit_code(told, capsys, status, code):
    """0, 1, 2 for the three statuses, 3 for what is none; the reasons are printed"""
    told.say(worker_says(status=status, reasons=[{"code": "oldest_flight", "function": "f", "text": "It\nhangs."}]))
    assert main(["health", told.url, "--workers", "1"]) == code
    assert capsys.readouterr().out.split("\n")[1] == "  oldest_flight: It?hangs."
    assert len(told.asked) == 1
    assert main(["health", told.url, "--quiet"]) == code
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["health", "http://127.0.0.1:1"],
        ["stats", "ftp://x"],
        ["stats"],
        ["stats", "x", "--timeout", "0"],
        ["top", "x", "--every", "soon"],
        ["nothing"],
        [],
    ],
)
def test_what_goes_wrong_is_one_line_and_exit_code_3(capsys, arguments):
    """No traceback, nothing on standard output, and never an exit code that means a status"""
    try:
        code = main(arguments)
    except SystemExit as end:
        code = end.code
    out, error = capsys.readouterr()
    assert code == 3
    assert out == ""
    assert re.fullmatch(r"coalesce-kit.*: .*\n", error)


def test_the_token_comes_from_the_environment_at_the_call(told, monkeypatch, capsys):
    """The variable is read when it is needed, and --token goes before it"""
    told.token = "right-token"
    assert main(["health", told.url]) == 3
    assert "COALESCE_KIT_TOKEN" in capsys.readouterr().err
    monkeypatch.setenv("COALESCE_KIT_TOKEN", "right-token")
    assert main(["health", told.url]) == 0
    assert main(["health", told.url, "--token", "wrong"]) == 3
    assert "wrong" not in capsys.readouterr().err


def test_the_help_tells_the_exit_codes(capsys):
    """Whoever writes a probe finds them without a manual"""
    for arguments in (["--help"], ["health", "--help"]):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert end.value.code == 0
        assert "2  of `health`: degraded" in capsys.readouterr().out


def test_a_reader_who_has_enough_is_no_error(told, monkeypatch):
    """`coalesce-kit stats | head -1` ends in silence"""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as nobody_reads:
        monkeypatch.setattr(sys, "stdout", nobody_reads)
        assert main(["stats", told.url]) == 0
        nobody_reads.write("still buffered\n")  # what is written at the very end is no error either


def test_real_workers_are_found_and_summed(capsys):
    """Behind one address of a real server with several workers, the command hears them all and adds them up"""
    with watched_service(workers=3) as service:
        asked = {service.ask(10, key=str(number)) for number in range(6)}
        told, deadline = {}, time.monotonic() + PATIENCE_SECONDS
        while told.get("totals", {}).get("fetch_latency", {}).get("count") != 6 and time.monotonic() < deadline:
            assert main(["stats", service.url, "--json", "--workers", "3"]) == 0
            told = json.loads(capsys.readouterr().out)
    assert asked <= {worker["pid"] for worker in told["workers"]}
    totals = told["totals"]
    assert (totals["total_requests"], totals["fetches"], totals["coalesced_requests"]) == (60, 6, 54)


def test_what_it_prints_to_may_be_any_stream(told, monkeypatch):
    """A program that runs the command inside itself may catch what it prints"""
    caught = io.StringIO()
    monkeypatch.setattr(sys, "stdout", caught)
    assert main(["health", told.url]) == 0
    assert caught.getvalue() == "healthy  1 worker\n"


def test_a_terminal_without_the_signs_shows_their_numbers(told):
    """Where the encoding has no such letter, there is its number instead of a traceback"""
    told.say(worker_says(functions={"shop.spiele_für_dich": {"cache_hits": 1}}))
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run([*COMMAND, "stats", told.url], env=environment, capture_output=True, check=True)
    assert rb"spiele_f\xfcr_dich" in done.stdout


def test_the_demo_shows_a_stampede(capsys):
    """Without: a hundred calls, most refused. With: one call, everybody answered"""
    began = time.monotonic()
    assert main(["demo"]) == 0
    assert time.monotonic() - began < 10
    out = capsys.readouterr().out
    assert re.search(r"^without +5 +95 +100 ", out, flags=re.MULTILINE)
    assert re.search(r"^with @coalesced\(ttl=30\) +100 +0 +1 ", out, flags=re.MULTILINE)
    assert re.search(r"^and once more +100 +0 +0 ", out, flags=re.MULTILINE)
    assert re.search(r"^fixtures +99\.5% +49\.5% +200 +100 +1 ", out, flags=re.MULTILINE)


def test_top_without_a_terminal_prints_one_picture_below_the_other(told, capsys):
    """No escape, no key: text, as for a file"""
    assert main(["top", told.url, "--rounds", "2", "--every", "0.01"]) == 0
    out = capsys.readouterr().out
    assert out.count("\nshop.fixtures") == 2
    assert "\x1b" not in out


def test_top_keeps_the_last_numbers_while_there_is_no_answer(told, capsys):
    """A service that goes away is told in the picture; one that never was there ends the command"""
    # The first look asks three times.
    told.say(*[worker_says(functions={"shop.fixtures": {}})] * 3, *[(500, {"Content-Type": "text/html"}, "")] * 99)
    assert main(["top", told.url, "--rounds", "2", "--every", "0.01"]) == 0
    first, _, second = capsys.readouterr().out.partition("no answer: ")
    assert first.count("\nshop.fixtures") == second.count("\nshop.fixtures") == 1
    told.say((500, {"Content-Type": "text/html"}, ""))
    assert main(["top", told.url, "--rounds", "2"]) == 3


class Person(threading.Thread):
    """Somebody at a terminal, who waits for a text on it and then does something, step by step.

    Attributes:
        written: everything that was written to the terminal so far.
        failure: what did not come about.
    """

    def __init__(self, main_end: int, program_end: int, steps: Sequence[tuple[str, str | signal.Signals]]) -> None:
        super().__init__()
        self.main_end, self.program_end, self.steps = main_end, program_end, steps
        self.settings_before = self.settings()
        self.written = ""
        self.failure: AssertionError | None = None
        self.program_has_ended = threading.Event()
        self._main_thread = threading.main_thread().ident

    def settings(self) -> list[object]:
        """How the terminal is set: which keys are signals, whether what is typed is shown."""
        return termios.tcgetattr(self.program_end)

    def read(self) -> str:
        """Everything that was written so far."""
        while select.select([self.main_end], [], [], 0.01)[0]:
            self.written += os.read(self.main_end, 65536).decode("utf-8", "replace")
        return self.written

    def run(self) -> None:
        """Go through the steps; a step that does not come ends the program all the same."""
        seen = 0
        try:
            for text, act in self.steps:
                until(lambda text=text, seen=seen: text in self.read()[seen:], f"{text!r} in {self.written!r}")
                seen = self.written.index(text, seen) + len(text)
                if isinstance(act, signal.Signals):
                    signal.pthread_kill(self._main_thread, act)
                else:
                    os.write(self.main_end, act.encode())
        except AssertionError as failure:
            self.failure = failure
            os.write(self.main_end, b"q")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self.program_has_ended.is_set():
            self.read()  # a terminal that nobody looks at is full soon, and holds the program up
            if time.monotonic() > deadline and self.failure is None:
                handler = signal.getsignal(signal.SIGINT)
                self.failure = AssertionError(f"still there after {self.steps[-1]}; Ctrl-C: {handler}")
                os.write(self.main_end, b"q")


@contextmanager
def terminal(columns: int = 80, lines: int = 24) -> Iterator[tuple[int, int]]:
    """A terminal for as long as the block lasts: the end of the person, the end of the program."""
    main_end, program_end = pty.openpty()
    termios.tcsetwinsize(main_end, (lines, columns))
    try:
        yield main_end, program_end
    finally:
        os.close(main_end)
        os.close(program_end)


@pytest.fixture
def at_terminal(monkeypatch):
    """Runs the program in this process on a terminal, with a person at it; returns its exit code and the person."""

    def at_terminal(*arguments: str, steps: Sequence[tuple[str, str | signal.Signals]]) -> tuple[int, Person]:
        with terminal() as (main_end, program_end):
            person = Person(main_end, program_end, steps)
            with (
                open(program_end, encoding="utf-8", closefd=False) as stdin,
                open(program_end, "w", encoding="utf-8", closefd=False) as stdout,
                monkeypatch.context() as patched,
            ):
                interrupts = signal.signal(signal.SIGINT, signal.default_int_handler)
                patched.setattr(sys, "stdin", stdin)
                patched.setattr(sys, "stdout", stdout)
                person.start()
                try:
                    code = main(arguments)
                finally:
                    person.program_has_ended.set()
                    person.join()
                    signal.signal(signal.SIGINT, interrupts)
            person.read()
            assert person.settings() == person.settings_before
        if person.failure is not None:
            raise person.failure
        return code, person

    return at_terminal


def picture(written: str) -> list[str]:
    """The lines of the last whole picture."""
    last = written.rpartition("\x1b[J")[0].rpartition("\x1b[H")[2]
    return [re.sub(r"\x1b\[[0-9;]*[a-zA-Z]", "", line) for line in last.split("\r\n")]


@pytest.mark.parametrize(
    ("end", "code"),
    [("q", 0), ("Q", 0), ("\x04", 0), (signal.SIGTERM, 0), (signal.SIGHUP, 0), (signal.SIGINT, 130)],
    ids=["q", "Q", "Ctrl-D", "SIGTERM", "SIGHUP", "SIGINT"],
)
def test_top_gives_the_terminal_back(told, at_terminal, end, code):
    """However it ends: the settings, the cursor and the screen that was there are back, and the signals' handlers"""
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP)]
    ended, person = at_terminal("top", told.url, steps=[("q quit", end)])
    assert ended == code
    assert person.written.startswith("\x1b[?1049h\x1b[?25l")
    assert person.written.endswith("\x1b[?25h\x1b[?1049l")
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP)] == handlers


def test_top_rests_while_it_is_stopped(told, at_terminal, monkeypatch):
    """Ctrl-Z gives the terminal to the shell before it stops; continued, the view takes it again"""
    stops = []
    monkeypatch.setattr(os, "kill", lambda *what: stops.append(what))
    _, person = at_terminal("top", told.url, "--every", "0.05", steps=[("q quit", signal.SIGTSTP), ("q quit", "q")])
    assert stops == [(os.getpid(), signal.SIGSTOP)]
    assert person.written.count("\x1b[?25h\x1b[?1049l\x1b[?1049h\x1b[?25l") == 1


def test_top_is_a_program_like_any_other(told):
    """Started by a shell, stopped by Ctrl-Z, continued, and ended by Ctrl-C: exit code 130, and no traceback"""
    with terminal() as (main_end, program_end):
        person = Person(main_end, program_end, [])
        process = subprocess.Popen(
            [*OWNING_ITS_TERMINAL, "top", told.url, "--every", "0.1"],
            stdin=program_end,
            stdout=program_end,
            stderr=program_end,
            start_new_session=True,
        )
        try:
            until(lambda: "q quit" in person.read(), "the first picture")
            os.write(main_end, b"\x1a")
            until(lambda: "\x1b[?1049l" in person.read(), "the screen is given back")
            until(lambda: person.settings() == person.settings_before, "the settings are given back")
            person.written = ""
            process.send_signal(signal.SIGCONT)
            until(lambda: "q quit" in person.read(), "another picture")
            os.write(main_end, b"\x03")
            assert process.wait(PATIENCE_SECONDS) == 130
            assert "Traceback" not in person.read()
            assert person.settings() == person.settings_before
        finally:
            process.kill()
            process.wait()


def test_top_sorts_by_keys(told, at_terminal):
    """A key sorts, the same again turns round, and the head says by what; another answer changes neither"""
    told.say(worker_says(functions={"shop.b": {"cache_hits": 9}, "shop.a": {"cache_hits": 1}}))
    steps = [("q quit", "n"), ("function ↑", "n"), ("function ↓", "n"), ("function ↑", ""), ("q quit", "")]
    _, person = at_terminal("top", told.url, "--every", "0.05", steps=[*steps, ("q quit", "q")])
    names = [line.split()[0] for line in picture(person.written) if line.startswith("shop.")]
    assert names == ["shop.a", "shop.b"]


def test_top_fits_the_terminal(told, at_terminal):
    """At 80 columns nothing is wider, and nothing wraps"""
    told.say(worker_says(functions={f"shop.section_{number}.{'x' * 100}": {} for number in range(50)}))
    _, person = at_terminal("top", told.url, steps=[("q quit", "q")])
    lines = picture(person.written)
    assert len(lines) == 24
    assert max(map(len, lines)) <= 80


def test_top_shows_what_changes(told, at_terminal):
    """Between two answers of one worker there is a rate; without an answer the last numbers stay, and it is told"""
    first, *others = [
        worker_says(uptime=10.0 + number, functions={"shop.fixtures": {"cache_hits": 100 * number}})
        for number in range(8)
    ]
    told.say(first, first, first, *others, *[(500, {"Content-Type": "text/html"}, "")] * 99)
    steps = [("100 requests/s", ""), ("no answer: ", ""), ("shop.fixtures", "q")]
    at_terminal("top", told.url, "--every", "0.05", steps=steps)


def test_top_ends_after_its_rounds(told, at_terminal):
    """`--rounds` counts pictures with new numbers"""
    code, person = at_terminal("top", told.url, "--every", "0.01", "--rounds", "3", steps=[])
    assert code == 0
    assert len(told.asked) >= 5
    assert person.written.count("\x1b[H") >= 3


def test_top_without_colour(told, at_terminal, monkeypatch):
    """NO_COLOR is honoured: the screen is taken, nothing is coloured"""
    monkeypatch.setenv("NO_COLOR", "1")
    _, person = at_terminal("top", told.url, steps=[("q quit", "q")])
    assert re.findall(r"\x1b\[[0-9;]*m", person.written) == []


def test_top_on_a_dumb_terminal_is_plain(told, at_terminal, monkeypatch):
    """Where escapes mean nothing there are none"""
    monkeypatch.setenv("TERM", "dumb")
    _, person = at_terminal("top", told.url, "--rounds", "1", steps=[])
    assert "shop.fixtures" in person.written
    assert "\x1b" not in person.written


def test_top_tells_hostile_names_in_one_line(told, at_terminal):
    """A name cannot clear the screen, colour it, or name the window"""
    told.say(worker_says(functions={"\x1b[2J\x1b]0;owned\x07evil": {}, "two\nlines": {}, "y" * 10_000: {}}))
    _, person = at_terminal("top", told.url, steps=[("q quit", "q")])
    assert "?[2J?]0;owned?evil" in person.written
    assert "two?lines" in person.written
    assert "\x1b[2J" not in person.written
    assert "\x1b]0" not in person.written
