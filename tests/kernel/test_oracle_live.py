"""What a namespace cannot set, asked of a Linux 6.1 whose first namespace is ours.

User-mode Linux tells how many flows a full table lets in. Its kernel tracks no DCCP, and its log
lacks the lines of full tables, so the rest is asked of a whole kernel in qemu, which takes some
minutes:

    ../shared/tools/ipvs-oracle setup --cache DIR --backend qemu
    NETEMU_ORACLE_CACHE=DIR python -m pytest tests/kernel/test_oracle_live.py

That part skips without a cache that was set up; its answers are recorded in tests/oracle and
tests/netfilter/conntrack, which CI does compare.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from tests.kernel import oracle

ROOT = Path(__file__).parents[2]
TOOL = ROOT.parent / "shared" / "tools" / "ipvs-oracle"
DCCP_ROWS = ROOT / "tests" / "oracle" / "conntrack_dccp_6_1.txt"
PACKAGES = (
    "lark", "msgspec", "click", "yaml", "pytest", "_pytest", "py.py", "pluggy", "iniconfig",
    "packaging", "pygments", "rich", "bitarray",
)  # fmt: skip
"""What the job imports, directly or not."""

GUEST_FILES = (
    "/usr/bin/python3.11",
    "/usr/lib/python3.11",
    "/lib/x86_64-linux-gnu/libffi.so.8",
)


@pytest.fixture(scope="module")
def small_answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Run the job in user-mode Linux and return what it printed."""
    program = oracle.prepared()
    job, out = tmp_path_factory.mktemp("job"), tmp_path_factory.mktemp("out")
    oracle.copy_packages(job / "py", "pytest")
    for folder in ("kernel", "netfilter/conntrack"):
        shutil.copytree(ROOT / "tests" / folder, job / "py" / "tests" / folder)
    (job / "py" / "tests" / "oracle").mkdir()
    shutil.copy(DCCP_ROWS, job / "py" / "tests" / "oracle")
    (job / "job.sh").write_text(
        "export PYTHONPATH=$PWD/py PYTHONDONTWRITEBYTECODE=1\n"
        "python3 py/tests/kernel/oracle_job.py > $OUT/answers.json\n"
    )
    command = [program, "run", job, out, "--backend", "uml", "--cache", oracle.CACHE]
    command += ["--timeout", str(oracle.SECONDS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (out / "console.log").read_text(errors="replace")[-3000:]
    found: dict[str, object] = json.loads((out / "answers.json").read_text())
    return found


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Run the job and return what it printed."""
    cache = os.environ.get("NETEMU_ORACLE_CACHE", "")
    if not TOOL.exists():
        pytest.skip("the oracle with a whole kernel is not beside the checkout")
    if not cache or not Path(cache, "qemu").is_dir() or shutil.which("qemu-system-x86_64") is None:
        pytest.skip("NETEMU_ORACLE_CACHE names no cache that `ipvs-oracle setup` filled for qemu")
    job, out = tmp_path_factory.mktemp("job"), tmp_path_factory.mktemp("out")
    shutil.copytree(ROOT / "netemu", job / "netemu")
    for folder in ("kernel", "netfilter/conntrack"):
        shutil.copytree(ROOT / "tests" / folder, job / "tests" / folder)
    (job / "tests" / "oracle").mkdir()
    shutil.copy(DCCP_ROWS, job / "tests" / "oracle")
    for name in PACKAGES:
        source = Path(sysconfig.get_path("purelib"), name)
        if source.is_dir():
            shutil.copytree(source, job / "site" / name)
        elif source.exists():
            shutil.copy(source, job / "site" / name)
    (job / "job.sh").write_text(
        "export PYTHONPATH=$PWD/site:$PWD PYTHONDONTWRITEBYTECODE=1\n"
        "python3.11 tests/kernel/oracle_job.py > $OUT/answers.json\n"
    )
    command = [str(TOOL), "run", str(job), str(out), "--cache", cache, "--backend", "qemu"]
    command += ["--timeout", "900"]
    for path in GUEST_FILES:
        command += ["--include", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (out / "console.log").read_text()[-3000:]
    found: dict[str, object] = json.loads((out / "answers.json").read_text())
    return found


def test_a_full_table_lets_in_as_many_as_recorded(small_answers) -> None:
    """The figures in tests/netfilter/conntrack/test_eviction.py, give or take the key of a boot."""
    full = small_answers["full"]
    for most, mean in (("100", 291), ("400", 300), ("50", 243)):
        passed = full[most]
        assert abs(sum(passed) / len(passed) - mean) <= 12, passed


def test_assured_connections_stay_and_the_log_says_so(answers) -> None:
    text = "nf_conntrack: nf_conntrack: table full, dropping packet"
    assert answers["full"]["assured"] == [0, text]


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
