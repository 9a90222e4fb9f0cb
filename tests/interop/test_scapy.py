"""Scapy expressions become frames that do not depend on the machine; anything else is refused."""

from __future__ import annotations

import pytest

from netemu.errors import PacketTextError
from netemu.interop.scapy import LAYERS, compose, from_scapy, parse_expression, to_scapy
from netemu.wire.address import parse_address

DEVICE = bytes.fromhex("020000000099")
UDP = "IP(src='10.0.0.1', dst='10.0.0.2')/UDP(sport=1, dport=2)"


def test_bytes_to_packet_and_back():
    frame = parse_expression(UDP).frame(dst_mac=DEVICE)
    assert from_scapy(to_scapy(frame)) == frame
    assert to_scapy(frame).summary().startswith("Ether / IP / UDP 10.0.0.1:")


def test_a_packet_without_link_header():
    packet = parse_expression(UDP)
    assert (packet.src, packet.dst) == (parse_address("10.0.0.1"), parse_address("10.0.0.2"))
    assert packet.frame(dst_mac=DEVICE)[:14] == DEVICE + bytes.fromhex("0200000000010800")


def test_link_header_and_tag_are_kept_apart():
    packet = parse_expression(
        "Ether(src='02:00:00:00:00:05')/Dot1Q(vlan=5, prio=1)/" + UDP + "/(b'x' * 10)"
    )
    assert (packet.src_mac, packet.dst_mac, packet.vlan) == (
        bytes.fromhex("020000000005"),
        b"",
        0x2005,
    )
    assert packet.network[0] == 0x45
    assert packet.network.endswith(b"x" * 10)
    assert packet.src == parse_address("10.0.0.1")


def test_a_given_ethertype_and_an_inner_tag_stay():
    assert parse_expression("Ether(type=0x88cc)/Raw(b'lldp')").ethertype == 0x88CC
    packet = parse_expression("Dot1Q(vlan=5)/Dot1Q(vlan=6)/" + UDP)
    assert (packet.vlan, packet.ethertype, packet.network[:4]) == (5, 0x8100, b"\0\6\x08\0")


def test_arp_takes_the_frames_sender():
    packet = parse_expression("ARP(psrc='1.1.1.1', pdst='2.2.2.2')")
    frame = packet.frame(dst_mac=DEVICE)
    assert frame[:12] == b"\xff" * 6 + frame[22:28]
    given = parse_expression("ARP(psrc='1.1.1.1', pdst='2.2.2.2', hwsrc='02:00:00:00:00:07')")
    assert given.frame(dst_mac=DEVICE)[22:28] == bytes.fromhex("020000000007")


def test_a_quoted_packet_in_an_icmp_error():
    text = (
        "IP(src='1.1.1.1', dst='2.2.2.2')/ICMP(type=3, code=4, nexthopmtu=1400)/"
        "IPerror(src='2.2.2.2', dst='1.1.1.1')/UDPerror(sport=4)"
    )
    assert parse_expression(text).network[20:22] == b"\3\4"


def test_the_library_takes_packets_too():
    scapy = pytest.importorskip("scapy.layers.inet")
    packet = scapy.IP(src="10.0.0.1", dst="10.0.0.2") / scapy.UDP(sport=1, dport=2)
    assert compose(packet).network == parse_expression(UDP).network


def test_every_layer_of_the_allow_list_exists():
    assert {"IP", "TCP", "UDP", "ICMP", "ARP", "Ether", "Dot1Q", "SCTP", "Raw"} <= set(LAYERS)


@pytest.mark.parametrize(
    "text,message",
    [
        ("__import__('os').system('id')", "is no layer that may be used"),
        ("open('/etc/passwd')", "open is no layer that may be used"),
        ("(lambda: 1)()", "is no layer that may be used"),
        ("[x for x in (1, 2)]", "only layers, literals"),
        ("IP.__class__", "only layers, literals"),
        ("IP(**{'src': 1})", r"\*\* cannot be used"),
        ("IP(b'raw')", "takes its fields by name"),
        ("Raw(b'a' * 99999999)", "can be joined"),
        ("IP(dst='example.com')", "'example.com' is no address"),
        ("IP(src='1.1.1.1', dst='2.2.2.0/24')", "is no address"),
        ("IP(dst='1.1.1.1')/UDP()", "IP needs src=, since Scapy would ask this machine"),
        ("ARP(pdst='1.1.1.1')", "ARP needs psrc="),
        ("IP(src='1.1.1.1', dst='2.2.2.2', foo=1)", "IP has no field foo"),
        ("IP(src='1.1.1.1', dst='2.2.2.2', ttl='x')", "Scapy cannot build this packet"),
        ("3", "the expression is no packet"),
        ("IP(", "this is no Scapy expression"),
        ("", "this is no Scapy expression"),
        ("Ether()", "empty above Ether"),
        ("(" * 500 + ")" * 500, "no Scapy expression"),
    ],
)
def test_what_is_refused(text, message):
    with pytest.raises(PacketTextError, match=message):
        parse_expression(text)
