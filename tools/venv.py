"""Making a virtual environment with the project and one of its dependency groups in it.

A stamp in the environment holds a digest of what was installed: when ``pyproject.toml`` changes, it is brought up to
date; when nothing changed, nothing is run.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def ensure_venv(folder: Path, python: Path, *, group: str) -> Path:
    """Return the Python of the virtual environment at ``folder``, made or brought up to date if need be.

    Args:
        folder: where it stands, or will.
        python: the interpreter it is made from.
        group: the dependency group of ``pyproject.toml`` to install beside the project.

    Raises:
        subprocess.CalledProcessError: something could not be installed; what was said stands on stderr.
    """
    inside = folder / "bin" / "python"
    stamp = folder / ".installed"
    wanted = hashlib.sha256(f"{group}\n{ROOT}\n{(ROOT / 'pyproject.toml').read_text()}".encode()).hexdigest()
    if inside.exists() and stamp.exists() and stamp.read_text() == wanted:
        return inside
    print(f"--- installing {folder.name} (once; again when pyproject.toml changes)", file=sys.stderr, flush=True)
    _run(python, "-m", "venv", "--clear", folder)
    # Dependency groups need pip 25.1; the one that comes with the interpreter may be older.
    _run(inside, "-m", "pip", "install", "-qq", "--upgrade", "pip>=25.1")
    _run(inside, "-m", "pip", "install", "-qq", "--group", group, "--editable", ".")
    stamp.write_text(wanted)
    return inside


def _run(*command: str | Path) -> None:
    subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)


def main() -> int:
    """Make the environment named on the command line from the Python that runs this."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--group", default="dev")
    options = parser.parse_args()
    try:
        ensure_venv(options.folder.resolve(), Path(sys.executable), group=options.group)
    except subprocess.CalledProcessError as error:
        print(f"could not make {options.folder}: {' '.join(map(str, error.cmd))} failed", file=sys.stderr)
        print("is the package registry reachable, and does this Python have venv and ensurepip?", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
