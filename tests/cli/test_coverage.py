"""`netemu replay --coverage`: the hits of this run, whatever the file's counters say."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from netemu.wire.packet_text import parse_packet
from netemu.wire.pcap import PcapWriter

RULES = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [50:4000]
:WEB - [0:0]
[900:90000] -A FORWARD -p tcp -m tcp --dport 80 -j WEB
[7:700] -A FORWARD -p udp -j ACCEPT
[8:800] -A WEB -s 192.0.2.9/32 -j ACCEPT
[8:800] -A WEB -s 192.0.2.8/32 -j ACCEPT
COMMIT
"""
PACKETS = (
    "tcp 192.0.2.9 > 10.1.0.1:80",
    "tcp 192.0.2.9 > 10.1.0.1:80",
    "icmp 192.0.2.9 > 10.1.0.1",
)


@pytest.fixture
def arguments(tmp_path) -> tuple[str, ...]:
    rules, capture = tmp_path / "web.rules", tmp_path / "in.pcap"
    rules.write_text(RULES)
    with capture.open("wb") as stream:
        writer = PcapWriter(stream.write)
        for number, text in enumerate(PACKETS):
            writer.write(number, parse_packet(text).frame(dst_mac=bytes.fromhex("020000010002")))
    return ("replay", "--coverage", str(rules), "--in", f"eth0={capture}")


def test_counts_are_those_of_the_run(netemu, arguments):
    done = netemu(*arguments, "--json")
    chains = json.loads(done.out)["coverage"]["tables"][0]["chains"]
    found = {chain["chain"]: [rule["hits"] for rule in chain["rules"]] for chain in chains}
    assert found == {"INPUT": [], "FORWARD": [2, 0], "OUTPUT": [], "WEB": [2, 0]}
    policies = {chain["chain"]: chain["policy"] for chain in chains}
    assert policies["FORWARD"] == {"verdict": "DROP", "line": 3, "hits": 1}
    assert policies["OUTPUT"]["line"] is None


def test_text_follows_the_report(netemu, arguments):
    done = netemu(*arguments)
    report, _, coverage = done.out.partition("\n\n")
    assert report.startswith("3 frames entered")
    assert coverage.startswith("coverage: 2 of 4 (50 %) rules hit\n")
    assert "      never  :6     -p udp -j ACCEPT\n" in coverage


def test_the_suffix_says_the_format(netemu, arguments, tmp_path):
    tracefile = tmp_path / "rules.info"
    words = [word for word in arguments if word != "--coverage"]
    assert netemu(*words, "--coverage-out", str(tracefile)).out.startswith("3 frames entered")
    assert "DA:5,2\nDA:6,0\nDA:7,2\nDA:8,0\n" in tracefile.read_text()


@pytest.mark.skipif(shutil.which("lcov") is None, reason="lcov is not installed")
def test_lcov_reads_the_tracefile(netemu, arguments, tmp_path):
    tracefile = tmp_path / "rules.info"
    netemu(*arguments, "--coverage-out", str(tracefile), "--coverage=lcov")
    done = subprocess.run(
        ["lcov", "--summary", str(tracefile)], capture_output=True, text=True, check=True
    )
    assert "3 of 6 lines" in done.stdout + done.stderr


def test_a_format_that_is_no_text_has_standard_output_for_itself(netemu, arguments):
    words = [word for word in arguments if word != "--coverage"]
    assert netemu(*words, "--coverage=lcov").out.startswith("TN:netemu\n")
    assert netemu(*words, "--coverage=lcov", "--json").code == 2
