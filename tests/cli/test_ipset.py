"""`--ipset FILE`: sets for a bare rule file, and what replay leaves of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from netemu.wire.packet_text import parse_packet
from netemu.wire.pcap import PcapWriter

RULES = """\
*filter
:FORWARD DROP [0:0]
-A FORWARD -m set --match-set ALLOWED src -j SET --add-set SEEN src
-A FORWARD -m set --match-set ALLOWED src -j ACCEPT
COMMIT
"""
SETS = """\
create ALLOWED hash:net family inet hashsize 1024 maxelem 65536 bucketsize 12 initval 0x00000001
add ALLOWED 192.0.2.0/24
create SEEN hash:ip family inet hashsize 1024 maxelem 65536 bucketsize 12 initval 0x00000002
"""
UDP = "udp 192.0.2.9:1000 > 198.51.100.7:53"


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    rules, sets = tmp_path / "fw.rules", tmp_path / "sets"
    rules.write_text(RULES)
    sets.write_text(SETS)
    return str(rules), str(sets)


def test_a_trace_says_what_was_looked_up(netemu, files):
    rules, sets = files
    done = netemu("trace", rules, UDP, "--ipset", sets)
    assert done.code == 0
    assert "192.0.2.9 in ALLOWED (192.0.2.0/24)  add 192.0.2.9 to SEEN" in done.out


def test_without_sets_the_rule_is_refused_with_its_place(netemu, files):
    rules, _ = files
    done = netemu("trace", rules, UDP)
    assert done.code == 3
    assert done.err.startswith(f"{rules}:3:19: --match-set ALLOWED: Set ALLOWED doesn't exist")


def test_a_set_file_that_does_not_load_is_refused_with_its_place(netemu, files, tmp_path):
    rules, _ = files
    bad = tmp_path / "bad"
    bad.write_text("create a hash:ip\nadd a nowhere\n")
    done = netemu("trace", rules, UDP, "--ipset", str(bad))
    assert done.code == 3
    assert done.err.startswith(f"{bad}:2:7: Syntax error: cannot parse nowhere")


def test_a_set_file_that_is_not_there(netemu, files):
    assert netemu("trace", files[0], UDP, "--ipset", "nosuch").code == 3


def test_replay_leaves_the_sets(netemu, files, tmp_path):
    rules, sets = files
    capture = tmp_path / "in.pcap"
    with capture.open("wb") as stream:
        frame = parse_packet(UDP).frame(dst_mac=bytes.fromhex("020000010002"))
        PcapWriter(stream.write).write(1_700_000_000_000_000_000, frame)
    out = tmp_path / "out"
    netemu("replay", rules, "--in", f"eth0={capture}", "--ipset", sets, "--out", str(out))
    assert (out / "ipset-save").read_text() == SETS + "add SEEN 192.0.2.9\n"
