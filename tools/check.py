"""Check all: format, lint, types, tests, and the same packets against the live kernel.

    python3 tools/check.py                 everything, as CI does
    python3 tools/check.py tests           some parts: format lint types tests kernel
    python3 tools/check.py tests -- -k tcp what follows `--` goes to pytest

Needs nothing but Python 3.11; it sets up its own environment first. The kernel part needs root,
Linux and its network tools, and says what is missing where it skips.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import bootstrap

PARTS = ("format", "lint", "types", "tests", "kernel")
TESTS_FAILED = 1
NO_TESTS_COLLECTED = 5
BY_FILE = ("--dist", "loadfile")
"""A worker takes a file, then the next: what the tests of a file share is made once, and what asks
the live kernel takes turns, while what asks a kernel of its own goes on."""
NO_KERNEL = "--ignore=tests/kernel"
ALONE = ("-x", "--last-failed", "--last-failed-no-failures", "none")
"""A live kernel under load may be late with its timers: what differs side by side is asked once
more, alone, and differs only if it differs again. Both answers are printed."""


def command_of(part: str, python: str, extra: list[str]) -> list[str]:
    """Return the command line of one part."""
    module = [python, "-m"]
    return {
        "format": [*module, "ruff", "format", "--check", "--quiet", "."],
        "lint": [*module, "ruff", "check", "--quiet", "."],
        "types": [*module, "mypy"],
        "tests": [*module, "pytest", "-q", "-n", workers(), *BY_FILE, NO_KERNEL, *extra],
        "kernel": [*module, "pytest", "-q", "-n", workers(), *BY_FILE, "tests/kernel", *extra],
    }[part]


def workers() -> str:
    """One pytest worker per core, none where there is a single core."""
    cores = os.cpu_count() or 1
    return str(cores) if cores > 1 else "0"


def main() -> int:
    """Run the parts asked for; return 1 if any failed."""
    arguments, extra = split(sys.argv[1:])
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {' '.join(PARTS)}")
    parser.add_argument("--fix", action="store_true", help="repair format, lint and README first")
    chosen = parser.parse_args(arguments)
    unknown = [part for part in chosen.parts if part not in PARTS]
    if unknown:
        parser.error(f"no part {unknown[0]!r}; there are {' '.join(PARTS)}")
    python = str(bootstrap.ensure("dev"))
    if chosen.fix:
        run([python, "-m", "ruff", "format", "--quiet", "."])
        run([python, "-m", "ruff", "check", "--fix", "--quiet", "."])
        run([python, "tools/readme.py"])
    rows: list[tuple[str, str, float]] = []
    for part in chosen.parts or PARTS:
        print(f"== {part}", flush=True)
        start = time.monotonic()
        code = run(command_of(part, python, extra))
        if part == "kernel" and code == TESTS_FAILED:
            print("== kernel, once more: what failed, alone", flush=True)
            code = run([python, "-m", "pytest", "-q", *ALONE, "tests/kernel", *extra])
        ok = code == 0 or (code == NO_TESTS_COLLECTED and bool(extra))
        rows.append((part, "ok" if ok else "FAILED", time.monotonic() - start))
    print("\n".join(f"{part:8} {result:7} {seconds:6.1f} s" for part, result, seconds in rows))
    return int(any(result != "ok" for _, result, _ in rows))


def split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Split the command line at `--`."""
    if "--" not in arguments:
        return arguments, []
    place = arguments.index("--")
    return arguments[:place], arguments[place + 1 :]


def run(command: list[str]) -> int:
    """Run a command in the checkout; return its exit code."""
    return subprocess.run(command, check=False, cwd=bootstrap.ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
