"""What a namespace cannot set, asked of a Linux 6.1 whose first namespace is ours.

User-mode Linux tells how many flows a full table lets in. Its kernel tracks no DCCP, and its log
lacks the lines of full tables, so the rest is asked of a whole kernel in qemu. The answers are
recorded in tests/oracle and tests/netfilter/conntrack, too.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.kernel import oracle

ROOT = Path(__file__).parents[2]
DCCP_ROWS = ROOT / "tests" / "oracle" / "conntrack_dccp_6_1.txt"

GUEST_FILES = (
    "/usr/bin/python3.11",
    "/usr/lib/python3.11",
    "/lib/x86_64-linux-gnu/libffi.so.8",
    "/lib/x86_64-linux-gnu/libpthread.so.0",
)
"""What python needs in qemu's guest, which has no files of the host."""


def asked(folder: Path, backend: str, python: str, *parts: str) -> dict[str, object]:
    """Run parts of the job in an oracle and return what it printed."""
    program = oracle.prepared(backend)
    job, out = folder / "job", folder / "out"
    oracle.copy_packages(job / "py", "pytest")
    for name in ("kernel", "netfilter/conntrack"):
        shutil.copytree(ROOT / "tests" / name, job / "py" / "tests" / name)
    (job / "py" / "tests" / "oracle").mkdir()
    shutil.copy(DCCP_ROWS, job / "py" / "tests" / "oracle")
    (job / "job.sh").write_text(
        "export PYTHONPATH=$PWD/py PYTHONDONTWRITEBYTECODE=1\n"
        f"{python} py/tests/kernel/oracle_job.py {' '.join(parts)} > $OUT/answers.json\n"
    )
    command = [program, "run", job, out, "--backend", backend, "--cache", oracle.CACHE]
    command += ["--timeout", str(oracle.SECONDS)]
    if backend == "qemu":
        command += [word for path in GUEST_FILES for word in ("--include", path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (out / "console.log").read_text(errors="replace")[-3000:]
    found: dict[str, object] = json.loads((out / "answers.json").read_text())
    return found


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What a whole kernel answers."""
    return asked(tmp_path_factory.mktemp("qemu"), "qemu", "python3.11", "assured", "expect", "dccp")


def test_a_full_table_lets_in_as_many_as_recorded(tmp_path: Path) -> None:
    """The figures in tests/netfilter/conntrack/test_eviction.py, give or take the key of a boot."""
    full = asked(tmp_path, "uml", "python3", "full")["full"]
    for most, mean in (("100", 291), ("400", 300), ("50", 243)):
        passed = full[most]
        assert abs(sum(passed) / len(passed) - mean) <= 12, passed


def test_assured_connections_stay_and_the_log_says_so(answers) -> None:
    text = "nf_conntrack: nf_conntrack: table full, dropping packet"
    assert answers["assured"] == [0, text]


def test_one_expectation_too_many_drops_the_packet(answers) -> None:
    assert answers["expect"] == [
        "nf_conntrack: expectation table full",
        "nf_ct_ftp: dropping packet: cannot add expectation",
    ]


def test_dccp_is_tracked_as_recorded(answers) -> None:
    recorded = DCCP_ROWS.read_text().splitlines()
    rows = [row for row in recorded if not row.startswith("#")]
    assert len(rows) == len(answers["dccp"])

    def seconds_off(row: str) -> list[str]:
        return [word for word in row.split() if not word.isdigit() or word == "33"]

    assert sorted(map(seconds_off, rows)) == sorted(map(seconds_off, answers["dccp"]))
