"""A virtual environment of the project's own, made with nothing but Python 3.11 or newer.

`ensure(extras)` returns the environment's python, installing only when pyproject.toml changed
since the last time. Debian's python3 comes without ensurepip: then the system's pip fills an
environment made without one, or virtualenv makes it; if neither is there, one line says which
package to install.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST_PYTHON = (3, 11)


def environment_dir() -> Path:
    """Directory of the environment: `.venv` in the checkout, or $NETEMU_VENV."""
    return Path(os.environ.get("NETEMU_VENV") or ROOT / ".venv")


def python_of(environment: Path) -> Path:
    """Path of the interpreter inside an environment."""
    if os.name == "nt":
        return environment / "Scripts" / "python.exe"
    return environment / "bin" / "python"


def ensure(extras: str = "") -> Path:
    """Make the environment if need be and install netemu with `extras`; return its python."""
    if sys.version_info < OLDEST_PYTHON:
        version = ".".join(map(str, sys.version_info[:2]))
        raise SystemExit(f"netemu needs Python 3.11 or newer; this is {version} ({sys.executable})")
    environment = environment_dir()
    python = python_of(environment)
    stamp = environment / f"netemu-installed-{extras or 'base'}"
    wanted = hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + bytes(ROOT)).hexdigest()
    if works(python) and stamp.exists() and stamp.read_text() == wanted:
        return python
    note(f"setting up {environment} (only the first time)")
    if not works(python):
        make(environment)
    target = f"{ROOT}[{extras}]" if extras else str(ROOT)
    arguments = ["install", "--quiet", "--disable-pip-version-check", "--editable", target]
    if subprocess.run([*pip_for(python), *arguments], check=False, cwd=ROOT).returncode:
        raise SystemExit("pip could not install netemu; its message stands above")
    stamp.write_text(wanted)
    return python


def works(python: Path) -> bool:
    """Tell whether the interpreter starts."""
    if not python.exists():
        return False
    try:
        return not subprocess.run([python, "-c", ""], check=False, capture_output=True).returncode
    except OSError:
        return False


def make(environment: Path) -> None:
    """Make an empty environment by the first way that works."""
    shutil.rmtree(environment, ignore_errors=True)
    ways = [[sys.executable, "-m", "venv", str(environment)]]
    if has_module("pip"):
        ways.append([sys.executable, "-m", "venv", "--without-pip", str(environment)])
    ways.append([sys.executable, "-m", "virtualenv", "--quiet", str(environment)])
    for way in ways:
        result = subprocess.run(way, check=False, capture_output=True)
        if result.returncode == 0 and works(python_of(environment)):
            return
        shutil.rmtree(environment, ignore_errors=True)
    version = ".".join(map(str, sys.version_info[:2]))
    raise SystemExit(
        f"this Python {version} cannot make a virtual environment (no ensurepip, no virtualenv).\n"
        f"Install one package and run this again:  apt-get install python3-venv"
    )


def pip_for(python: Path) -> list[str]:
    """Return the pip that installs into the environment: its own, else the system's."""
    own = [str(python), "-m", "pip"]
    if not subprocess.run([*own, "--version"], check=False, capture_output=True).returncode:
        return own
    return [sys.executable, "-m", "pip", "--python", str(python)]


def has_module(name: str) -> bool:
    """Tell whether this interpreter can run `-m name`."""
    command = [sys.executable, "-m", name, "--version"]
    return not subprocess.run(command, check=False, capture_output=True).returncode


def note(text: str) -> None:
    """Say something beside the results."""
    print(text, file=sys.stderr, flush=True)
