"""The programs that the heavy tests need: which are there, and installing Debian's if one is missing and we may.

::

    python -m tools.binaries            # which are there
    python -m tools.binaries --install  # install what is missing, if this is root on a Debian; else a loud line each

Nothing is left running: the tests start servers of their own, on free ports, and stop them by their number.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Program:
    """A program that tests are run against.

    Attributes:
        binary: what it is called.
        package: the Debian package that has it.
        needed: a check that must be complete is not, where it is missing.
    """

    binary: str
    package: str
    needed: bool = True


PROGRAMS: Final = (
    Program("redis-server", "redis-server"),
    Program("valkey-server", "valkey-server", needed=False),  # Debian has it from 13 on
    Program("chromium", "chromium"),
    Program("chromedriver", "chromium-driver"),
    Program("promtool", "prometheus"),
    Program("openssl", "openssl"),
)


def missing_programs() -> list[Program]:
    """Return those that are not here."""
    return [program for program in PROGRAMS if shutil.which(program.binary) is None]


def install(programs: Iterable[Program]) -> None:
    """Install those that apt knows, and stop what apt has started."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return
    # Without lists apt knows nothing; one that fails leaves the old ones.
    subprocess.run(["apt-get", "update", "-qq"], check=False, timeout=300)
    for package in [program.package for program in programs if _is_known(program.package)]:
        command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", package]
        # At runlevel 1 a package's service is not started.
        environment = os.environ | {"RUNLEVEL": "1", "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(command, check=False, timeout=900, env=environment, stdout=subprocess.DEVNULL)
        if shutil.which("service") is not None:
            subprocess.run(["service", package, "stop"], check=False, timeout=60, capture_output=True)


def version_of(path: str) -> str:
    """Return what a program says about its version."""
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, timeout=30)
    return (done.stdout or done.stderr).partition("\n")[0][:70]


def main(arguments: list[str] | None = None) -> int:
    """Tell which programs are here; return 1 if one is missing that is needed."""
    parser = argparse.ArgumentParser(prog="python -m tools.binaries", description=__doc__.partition("\n")[0])
    parser.add_argument("--install", action="store_true", help="install what is missing, if this may be done")
    if parser.parse_args(arguments).install and (missing := missing_programs()):
        install(missing)
    for program in PROGRAMS:
        path = shutil.which(program.binary)
        print(f"{program.binary}: {path}, {version_of(path)}" if path else _loud(program), flush=True)
    return int(any(program.needed for program in missing_programs()))


def _loud(program: Program) -> str:
    return f"!!! {program.binary} (Debian: {program.package}) is not here: nothing is tested against it"


def _is_known(package: str) -> bool:
    done = subprocess.run(["apt-cache", "policy", package], capture_output=True, text=True, check=False, timeout=60)
    return "Candidate:" in done.stdout and "Candidate: (none)" not in done.stdout


if __name__ == "__main__":
    sys.exit(main())
