"""One line about a packet, in the words of the one-line language."""

from __future__ import annotations

import pytest

from netemu.wire.describe import describe_frame, describe_packet
from netemu.wire.icmp import build_icmp
from netemu.wire.ipv4 import build_ipv4
from netemu.wire.packet_text import parse_packet

MAC = bytes.fromhex("020000000099")


@pytest.mark.parametrize(
    "text",
    [
        "tcp 192.0.2.9:40000 > 10.96.0.1:443 S",
        "tcp 192.0.2.9:40000 > 10.96.0.1:443 P.",
        "tcp 192.0.2.9:40000 > 10.96.0.1:443 none",
        "udp 10.0.0.1:53 > 10.0.0.2:1024",
        "sctp 10.0.0.1:53 > 10.0.0.2:1024",
        "icmp 10.0.0.1 > 10.0.0.2 echo id=7 seq=8",
        "icmp 10.0.0.1 > 10.0.0.2 echo-reply id=7 seq=8",
        "arp who-has 10.0.0.1 tell 10.0.0.2",
        "arp reply 10.0.0.1 is-at 02:00:00:00:00:05 to 10.0.0.2",
        "udp 10.0.0.1:53 > 10.0.0.2:1024 vlan=5",
    ],
)
def test_what_was_written_is_what_is_said(text):
    assert describe_frame(parse_packet(text).frame(dst_mac=MAC)) == text


def packet(protocol, payload, **fields):
    source, destination = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])
    made = build_ipv4(src=source, dst=destination, protocol=protocol, payload=payload, **fields)
    return bytes(made)


@pytest.mark.parametrize(
    "data,expected",
    [
        (packet(47, b""), "gre 10.0.0.1 > 10.0.0.2"),
        (packet(99, b""), "ip-proto-99 10.0.0.1 > 10.0.0.2"),
        (packet(17, bytes(8), more_fragments=True), "udp 10.0.0.1:0 > 10.0.0.2:0 frag 0+"),
        (packet(17, bytes(8), fragment_offset=2), "udp 10.0.0.1 > 10.0.0.2 frag 16"),
        (packet(6, b"\0\1"), "tcp 10.0.0.1 > 10.0.0.2"),
        (b"\x45", "ip, malformed header"),
        (b"", "ip, malformed header"),
        (
            packet(1, build_icmp(icmp_type=3, code=4, rest=1400, payload=packet(17, bytes(8)))),
            "icmp 10.0.0.1 > 10.0.0.2 frag needed, mtu 1400 about (udp 10.0.0.1:0 > 10.0.0.2:0)",
        ),
        (
            packet(1, build_icmp(icmp_type=3, code=3)),
            "icmp 10.0.0.1 > 10.0.0.2 port unreachable",
        ),
        (packet(1, build_icmp(icmp_type=11)), "icmp 10.0.0.1 > 10.0.0.2 time-exceeded"),
        (packet(1, build_icmp(icmp_type=99, code=1)), "icmp 10.0.0.1 > 10.0.0.2 type=99 code=1"),
    ],
)
def test_other_packets(data, expected):
    assert describe_packet(data) == expected


def test_other_ethertypes():
    assert describe_frame(MAC + MAC + b"\x88\xcc") == "lldp"
    assert describe_frame(MAC + MAC + b"\x12\x34") == "ethertype 0x1234"
    assert describe_frame(b"ab") == "2 octets, no whole Ethernet header"
    assert describe_packet(bytes(8) + bytes(31) + b"\1", 0x86DD) == "ipv6 :: > ::1"
    assert describe_packet(b"short", 0x0806) == "arp, cut short"
