"""Random choices follow what the capture shows."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from netemu.cli.follow import Signature, packet_in, signature_of, split_end, with_upcoming
from netemu.sim.replay import CapturedAt
from netemu.wire.address import parse_address
from netemu.wire.capture import Direction
from netemu.wire.packet_text import parse_packet
from netemu.wire.pcapng_writer import PcapngWriter

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

RULES = """\
*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:WEB - [0:0]
-A PREROUTING -d 10.96.0.10/32 -p tcp -m tcp --dport 80 -j WEB
-A POSTROUTING -o cni0 -j MASQUERADE --random-fully
-A WEB -m statistic --mode random --probability 0.33333333349 -j DNAT --to-destination 10.244.1.5
-A WEB -m statistic --mode random --probability 0.50000000000 -j DNAT --to-destination 10.244.1.6
-A WEB -p tcp -j DNAT --to-destination 10.244.1.7:8080
COMMIT
"""
ETH0, CNI0 = bytes.fromhex("020000010002"), bytes.fromhex("020000010003")
CLIENT, POD = bytes.fromhex("020000000001"), bytes.fromhex("020000000005")
NOW = 1_700_000_000_000_000_000


@pytest.fixture
def replayed(netemu, tmp_path):
    """Replay pairs of (what came in at eth0, what the capture says left through cni0)."""
    rules = tmp_path / "rules"
    rules.write_text(RULES)

    def call(*pairs: tuple[str, str], arguments=()):
        path: Path = tmp_path / "both.pcapng"
        with path.open("wb") as stream:
            writer = PcapngWriter(stream.write)
            eth0, cni0 = writer.add_interface("eth0"), writer.add_interface("cni0")
            for number, (came, went) in enumerate(pairs):
                at = NOW + number * 10_000_000
                frame = parse_packet(came).frame(dst_mac=ETH0, src_mac=CLIENT)
                writer.write(eth0, at, frame, direction=Direction.INBOUND)
                endpoint = parse_packet(went)
                mac = b"\x02\x00" + endpoint.dst
                left = endpoint.frame(dst_mac=mac, src_mac=CNI0)
                writer.write(cni0, at + 1, left, direction=Direction.OUTBOUND)
        done = netemu(
            "replay", str(rules), "--in", str(path), "--assume-neighbours", "--json",
            "--addr", "cni0=10.244.1.1/24", *arguments,
        )  # fmt: skip
        return json.loads(done.out)

    return call


def came(port: int) -> str:
    return f"tcp 192.0.2.9:{port} > 10.96.0.10:80 S id={port}"


def went(port: int, translated: int, endpoint: str) -> str:
    return f"tcp 10.244.1.1:{translated} > {endpoint} S id={port} ttl=63"


PAIRS = (
    (came(40001), went(40001, 1024, "10.244.1.7:8080")),
    (came(40002), went(40002, 65535, "10.244.1.5:80")),
    (came(40003), went(40003, 31337, "10.244.1.6:80")),
)


def test_endpoints_and_ports_are_those_of_the_capture(replayed):
    found = replayed(*PAIRS)
    assert found["expectations"]["met"] == 3
    assert "random choices of 3 packets follow the capture" in found["notes"]


def test_the_seed_alone_on_demand(replayed):
    found = replayed(*PAIRS, arguments=("--no-follow",))
    assert found["expectations"]["met"] == 0
    assert found["first_difference"] is not None


def test_what_no_choice_explains_is_said(replayed):
    found = replayed((came(40001), went(40001, 1024, "10.244.1.9:8080")))
    assert found["expectations"]["met"] == 0
    assert "no random choice makes 1 packets leave as captured" in found["notes"]


def test_signatures():
    packet = parse_packet("udp 10.0.0.1:5 > 10.0.0.2:6 id=9")
    expected = Signature(
        src=parse_address("10.0.0.1"), src_part=5, dst=parse_address("10.0.0.2"), dst_part=6,
        protocol=17, identification=9, length=28,
    )  # fmt: skip
    assert signature_of(packet.network) == expected
    assert packet_in(packet.frame(dst_mac=ETH0)) == packet.network
    tagged = parse_packet("udp 10.0.0.1:5 > 10.0.0.2:6 id=9 vlan=3").frame(dst_mac=ETH0)
    assert packet_in(tagged) == packet.network
    echo = signature_of(parse_packet("icmp 1.1.1.1 > 2.2.2.2 echo id=7").network)
    assert echo is not None and echo.src_part == 7
    assert signature_of(parse_packet("icmp 1.1.1.1 > 2.2.2.2 type=3").network) is None
    assert signature_of(b"") is None
    assert packet_in(b"") == b""
    assert split_end("1.1.1.1") == ("1.1.1.1", None)


def test_frames_come_with_those_of_the_next_seconds():
    items = [
        CapturedAt(time_ns=at * 10**9, device="eth0", frame=b"", file="f", index=at)
        for at in (0, 1, 3, 9)
    ]
    seen = [(one.index, [other.index for other in later]) for one, later in with_upcoming(items)]
    assert [number for number, _ in seen] == [0, 1, 3, 9]
    assert seen[0][1][:2] == [1, 3]
    assert seen[3][1] == []
