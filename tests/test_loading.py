"""What starts fast: commands load only what they need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

LOADED = """
import sys
from netemu.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print(",".join(sys.modules), file=sys.stderr)
"""


def loaded_by(*words: str) -> set[str]:
    """Return the modules that a command line loads."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *words], cwd=ROOT, capture_output=True, check=True
    )
    return set(done.stderr.decode().splitlines()[-1].split(","))


@pytest.mark.parametrize(
    "words",
    [
        ("trace", "rulesets/clusterip", "tcp 192.0.2.9:40000 > 10.96.0.10:80 S"),
        ("replay", "rulesets/clusterip", "--in", "captures/clusterip.pcapng"),
    ],
)
def test_packets_are_traced_and_replayed_without_scapy(words):
    assert not loaded_by(*words) & {"scapy", "jinja2", "pytest"}


def test_importing_netemu_loads_next_to_nothing():
    code = "import sys; import netemu; print(','.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    names = done.stdout.decode().strip().split(",")
    assert [name for name in names if name.startswith("netemu")] == ["netemu"]
    assert not {"scapy", "lark", "click", "rich"} & set(names)
