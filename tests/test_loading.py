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


CLEAN = """*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -i lan0 -s 10.0.0.0/8 -p tcp -m tcp --dport 22 -j ACCEPT
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -i lan0 -o eth0 -j ACCEPT
COMMIT
"""


def test_lint_loads_neither_the_engine_nor_extensions_that_no_rule_names(tmp_path: Path):
    """What makes `netemu lint` start fast: without a finding no packet has to be walked."""
    file = tmp_path / "clean.rules"
    file.write_text(CLEAN)
    loaded = loaded_by("lint", str(file))
    assert not loaded & {
        "difflib",
        "lark",
        "rich",
        "scapy",
        "tarfile",
        "netemu.ip.fib",
        "netemu.link.bridge",
        "netemu.netfilter.conntrack.core",
        "netemu.netfilter.extensions.hashlimit",
        "netemu.netfilter.extensions.nat",
        "netemu.netfilter.helpers",
        "netemu.netfilter.xtables.table",
        "netemu.sim.node",
        "netemu.sim.probe",
    }
    extensions = {name for name in loaded if name.startswith("netemu.netfilter.extensions.")}
    assert {name.rpartition(".")[2] for name in extensions} >= {"conntrack", "standard", "tcpudp"}
