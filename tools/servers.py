"""The servers that the heavy tests run against: which are there, and installing Debian's if it is missing and we may.

::

    python -m tools.servers            # which are there
    python -m tools.servers --install  # install what is missing, if this is root on a Debian; else one loud line

Nothing is left running: the tests start servers of their own, on free ports, and stop them by their number.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from typing import Final

SERVERS: Final = {"redis-server": "redis-server", "valkey-server": "valkey-server"}
"""Each server's binary, and the Debian package that has it. Any one is enough; the tests run on every one."""


def find_servers() -> dict[str, str]:
    """Return where each server is that is there."""
    return {binary: path for binary in SERVERS if (path := shutil.which(binary)) is not None}


def version_of(path: str) -> str:
    """Return what a server says about its version."""
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, timeout=30)
    return " ".join(done.stdout.split()[:3])


def install_missing() -> None:
    """Install every server that is missing and that apt knows, and stop what apt has started."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return
    missing = [package for binary, package in SERVERS.items() if shutil.which(binary) is None]
    if missing:
        # Without lists apt knows nothing; one that fails leaves the old ones.
        subprocess.run(["apt-get", "update", "-qq"], check=False, timeout=300)
    for package in missing:
        if not _is_known(package):
            continue
        command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", package]
        # At runlevel 1 a package's service is not started.
        environment = os.environ | {"RUNLEVEL": "1", "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(command, check=False, timeout=600, env=environment, stdout=subprocess.DEVNULL)
        if shutil.which("service") is not None:
            subprocess.run(["service", package, "stop"], check=False, timeout=60, capture_output=True)


def main(arguments: list[str] | None = None) -> int:
    """Tell which servers are there; return 1 if there is none."""
    parser = argparse.ArgumentParser(prog="python -m tools.servers", description=__doc__.partition("\n")[0])
    parser.add_argument("--install", action="store_true", help="install what is missing, if this may be done")
    if parser.parse_args(arguments).install:
        install_missing()
    found = find_servers()
    for binary in SERVERS:
        if binary in found:
            print(f"{binary}: {found[binary]}, {version_of(found[binary])}")
        else:
            print(f"!!! {binary} is not here: nothing is tested against it", file=sys.stderr)
    return 0 if found else 1


def _is_known(package: str) -> bool:
    done = subprocess.run(["apt-cache", "policy", package], capture_output=True, text=True, check=False, timeout=60)
    return "Candidate:" in done.stdout and "Candidate: (none)" not in done.stdout


if __name__ == "__main__":
    sys.exit(main())
