"""Asks a second kernel, 6.1 in a process of its own, for what the live one was built without.

The harness `ipvs-oracle` boots user-mode Linux with the host's own files; it is looked for beside
the checkout, or where NETEMU_ORACLE says. A job carries the package and the cases, and brings back
what `run_case` saw there.

User-mode Linux cannot restore the extended register state of processors that have AMX; `xstate.c`
is preloaded to help it.
"""

from __future__ import annotations

import fcntl
import functools
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from netemu.livekernel.case import Case, Result

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path.home() / ".cache" / "netemu-oracle"
SECONDS = 600

WRAPPER = """#!/bin/sh
here=$(dirname "$0")
LD_PRELOAD="$here/xstate.so" exec "$here/linux.real" "$@"
"""

JOB = """set -e
/run/modprobe -a 8021q vxlan macvlan
PYTHONPATH=py python3 guest.py
"""

GUEST = """
import os, pickle, time, traceback

from netemu.livekernel.namespace import write_sysctl
from netemu.livekernel.runner import run_case

# The neighbour table is one for all namespaces, and only the first one may set its limits.
LIMITS = {"gc_thresh1": "128", "gc_thresh2": "512", "gc_thresh3": "1024"}

found = []
for case in pickle.load(open("cases.pickle", "rb")):
    print(f"{time.monotonic():8.1f} {case.name}", flush=True)
    for name, usual in LIMITS.items():
        key = "net.ipv4.neigh.default." + name
        write_sysctl(key, case.node.main.sysctls.get(key, usual))
    try:
        found.append(run_case(case))
    except Exception:
        found.append(traceback.format_exc())
pickle.dump(found, open(os.environ["OUT"] + "/results.pickle", "wb"))
"""


def harness() -> Path | None:
    """Return the program that boots the oracle; None where there is none."""
    told = os.environ.get("NETEMU_ORACLE")
    path = Path(told) if told else ROOT.parent / "shared" / "tools" / "ipvs-oracle"
    return path if path.is_file() else None


@functools.cache
def prepared(backend: str = "uml") -> Path:
    """Fetch an oracle's kernel once, one process at a time; skip where there is no oracle."""
    program = harness()
    if program is None:
        pytest.skip("the oracle's kernel is not beside the checkout (NETEMU_ORACLE says where)")
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if backend == "uml":
            _set_up_uml(program)
        elif not (CACHE / backend / "initrd").exists():
            _must(["qemu-system-x86_64", "--version"])
            _must([program, "setup", "--backend", backend, "--cache", CACHE])
    return program


def _set_up_uml(program: Path) -> None:
    linux = CACHE / "uml" / "linux"
    real = linux.with_name("linux.real")
    if not real.exists():
        _must([program, "setup", "--backend", "uml", "--cache", CACHE])
        linux.rename(real)
    shim = linux.with_name("xstate.so")
    if not shim.exists():
        source = Path(__file__).with_name("xstate.c")
        _must(["cc", "-O2", "-shared", "-fPIC", "-o", shim, source])
    if not linux.exists() or linux.read_text() != WRAPPER:
        linux.write_text(WRAPPER)
        linux.chmod(0o755)


def _must(command: Sequence[str | Path]) -> None:
    """Run a step of the set-up; where it fails, skip, or fail where kernel tests must run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        failed = done.stderr.strip()[-300:] if done.returncode != 0 else None
    except FileNotFoundError:
        failed = f"{command[0]} is not installed"
    if failed is not None:
        message = f"the oracle's kernel cannot be set up: {failed}"
        if os.environ.get("NETEMU_REQUIRE_KERNEL"):
            pytest.fail(message)
        pytest.skip(message)


FOREIGN = """
import sys
import netemu.livekernel.runner
for extra in sys.argv[1:]:
    __import__(extra)
for name in {name.partition(".")[0] for name in sys.modules}:
    print(getattr(sys.modules.get(name), "__file__", None) or "")
"""


def copy_packages(folder: Path, *extra: str) -> None:
    """Copy netemu, and what others made that it and `extra` need, where a job imports from."""
    command = [sys.executable, "-c", FOREIGN, *extra]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    folder.mkdir(parents=True)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "netemu", folder / "netemu", ignore=ignored)
    for file in [Path(line) for line in done.stdout.splitlines() if "site-packages" in line]:
        if file.name == "__init__.py":
            shutil.copytree(file.parent, folder / file.parent.name, ignore=ignored)
        elif file.parent.name == "site-packages" and file.suffix == ".py":
            shutil.copy(file, folder)


def ask(cases: Sequence[Case], folder: Path) -> list[Result]:
    """Run cases in one boot of the oracle's kernel; `folder` is for its files."""
    program = prepared()
    job, out = folder / "job", folder / "out"
    copy_packages(job / "py")
    (job / "cases.pickle").write_bytes(pickle.dumps(list(cases)))
    (job / "guest.py").write_text(GUEST)
    (job / "job.sh").write_text(JOB)
    command = [program, "run", job, out, "--backend", "uml", "--cache", CACHE]
    command += ["--timeout", str(SECONDS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    results = out / "results.pickle"
    if not results.exists():
        said = (out / "console.log").read_text(errors="replace")[-2000:]
        pytest.fail(f"the oracle gave no results: {done.stdout}{done.stderr}\n{said}")
    found: list[Result | str] = pickle.loads(results.read_bytes())
    failed = [item for item in found if isinstance(item, str)]
    if failed:
        pytest.fail(f"the oracle could not run {len(failed)} cases, the first since\n{failed[0]}")
    return [item for item in found if isinstance(item, Result)]
