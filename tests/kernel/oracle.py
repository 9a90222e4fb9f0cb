"""Asks a second kernel, 6.1 in a process of its own, for what the live one was built without.

The harness `ipvs-oracle` boots user-mode Linux with the host's own files; it is looked for beside
the checkout, or where NETEMU_ORACLE says. A job carries the package and the cases, and brings back
what `run_case` saw there.

User-mode Linux cannot restore the extended register state of processors that have AMX. A filter
makes it use the old register calls, and the guest's C library is told to leave AVX alone.
"""

from __future__ import annotations

import functools
import os
import pickle
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from netemu.livekernel.case import Case, Result

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path.home() / ".cache" / "netemu-oracle"
SECONDS = 600

WRAPPER = r"""#!/usr/bin/python3 -I
import ctypes, os, struct, sys

LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
PTRACE, GETREGSET, SETREGSET, NT_X86_XSTATE = 101, 0x4204, 0x4205, 0x202
ERRNO_EIO, ALLOW = 0x00050005, 0x7FFF0000
PROGRAM = b"".join(struct.pack("HBBI", *row) for row in (
    (LOAD, 0, 0, 0), (JUMP_IF_EQUAL, 0, 6, PTRACE),
    (LOAD, 0, 0, 16), (JUMP_IF_EQUAL, 1, 0, GETREGSET), (JUMP_IF_EQUAL, 0, 3, SETREGSET),
    (LOAD, 0, 0, 32), (JUMP_IF_EQUAL, 0, 1, NT_X86_XSTATE),
    (RETURN, 0, 0, ERRNO_EIO), (RETURN, 0, 0, ALLOW)))
buffer = ctypes.create_string_buffer(PROGRAM)

class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("program", ctypes.c_void_p)]

program = Filter(len(PROGRAM) // 8, ctypes.addressof(buffer))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
assert libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0  # PR_SET_SECCOMP
off = "AVX512F AVX512VL AVX512BW AVX512DQ AVX512CD AVX2 AVX ERMS FSRM RTM BMI2 XSAVE XSAVEC"
tunables = "GLIBC_TUNABLES=glibc.cpu.hwcaps=" + ",".join("-" + name for name in off.split())
os.execv(os.path.realpath(__file__) + ".real", [*sys.argv, tunables])
"""

JOB = """set -e
/run/modprobe -a 8021q vxlan macvlan
mkdir -p /tmp/py && cp -r netemu /tmp/py/
PYTHONPATH=/tmp/py python3 guest.py
"""

GUEST = """
import os, pickle, subprocess, time, traceback

run = subprocess.run
TUNED = {"GLIBC_TUNABLES": os.environ["GLIBC_TUNABLES"]}
subprocess.run = lambda *args, env, **more: run(*args, env=env | TUNED, **more)

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
def prepared() -> Path:
    """Fetch the oracle's kernel once; skip where that cannot be."""
    program = harness()
    if program is None:
        pytest.skip("the oracle's kernel is not beside the checkout (NETEMU_ORACLE says where)")
    linux = CACHE / "uml" / "linux"
    real = linux.with_name("linux.real")
    if not real.exists():
        command = [program, "setup", "--backend", "uml", "--cache", CACHE]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"the oracle's kernel cannot be fetched: {done.stderr.strip()[-200:]}")
        linux.rename(real)
    linux.write_text(WRAPPER)
    linux.chmod(0o755)
    return program


def ask(cases: Sequence[Case], folder: Path) -> list[Result]:
    """Run cases in one boot of the oracle's kernel; `folder` is for its files."""
    program = prepared()
    job, out = folder / "job", folder / "out"
    job.mkdir()
    shutil.copytree(ROOT / "netemu", job / "netemu", ignore=shutil.ignore_patterns("__pycache__"))
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
