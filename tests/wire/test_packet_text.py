"""The one-line packet language: its defaults are the interface's, its errors have columns."""

from __future__ import annotations

import pytest

from netemu.errors import PacketTextError
from netemu.wire.address import format_address
from netemu.wire.arp import ARP
from netemu.wire.checksum import l4_checksum
from netemu.wire.composed import DEFAULT_SRC_MAC
from netemu.wire.icmp import ICMP
from netemu.wire.ipv4 import IPv4
from netemu.wire.packet_text import parse_packet
from netemu.wire.tcp import TCP, Flag
from netemu.wire.udp import UDP

DEVICE = bytes.fromhex("020000000099")


def test_tcp_defaults():
    """ttl 64, tos 0, id 1, DF, seq 1, win 64240, no options, empty payload, port 40000, SYN."""
    packet = parse_packet("tcp 192.0.2.9 > 10.96.0.1:443")
    ip = IPv4(bytearray(packet.network))
    assert (ip.ttl, ip.tos, ip.identification, ip.dont_fragment, ip.more_fragments) == (
        64, 0, 1, True, False,
    )  # fmt: skip
    assert (format_address(ip.src), format_address(ip.dst)) == ("192.0.2.9", "10.96.0.1")
    tcp = TCP(bytearray(packet.network[20:]))
    assert (tcp.src_port, tcp.dst_port, tcp.flags, tcp.seq, tcp.ack, tcp.window) == (
        40000, 443, Flag.SYN, 1, 0, 64240,
    )  # fmt: skip
    assert tcp.data_offset == 20
    assert len(packet.network) == 40
    assert l4_checksum(ip.src, ip.dst, 6, packet.network[20:]) == 0
    assert (packet.src, packet.dst, packet.mark, packet.vlan) == (ip.src, ip.dst, 0, None)


@pytest.mark.parametrize(
    "letters,flags",
    [
        ("S", Flag.SYN), ("S.", Flag.SYN | Flag.ACK), ("SA", Flag.SYN | Flag.ACK),
        (".", Flag.ACK), ("P.", Flag.PSH | Flag.ACK), ("F.", Flag.FIN | Flag.ACK),
        ("R", Flag.RST), ("[R.]", Flag.RST | Flag.ACK), ("none", 0), ("U", Flag.URG),
        ("SEW", Flag.SYN | Flag.ECE | Flag.CWR),
    ],
)  # fmt: skip
def test_tcp_flags_as_tcpdump_prints_them(letters, flags):
    packet = parse_packet(f"tcp 1.1.1.1:1 > 2.2.2.2:2 {letters}")
    assert TCP(bytearray(packet.network[20:])).flags == flags


def test_every_ip_option():
    packet = parse_packet(
        "udp 1.1.1.1:1 > 2.2.2.2:2 ttl=3 tos=0x10 id=9 df=0 mark=0x4000 vlan=5 "
        "src-mac=02:00:00:00:00:05 dst-mac=02:00:00:00:00:06 payload=hello"
    )
    ip = IPv4(bytearray(packet.network))
    assert (ip.ttl, ip.tos, ip.identification, ip.dont_fragment) == (3, 0x10, 9, False)
    assert (packet.mark, packet.vlan, packet.network[28:]) == (0x4000, 5, b"hello")
    assert packet.frame(dst_mac=DEVICE)[:18] == bytes.fromhex(
        "020000000006020000000005810000050800"
    )


def test_tcp_numbers():
    packet = parse_packet("tcp 1.1.1.1:1 > 2.2.2.2:2 . seq=7 ack=8 win=9 payload=0x00ff")
    tcp = TCP(bytearray(packet.network[20:]))
    assert (tcp.seq, tcp.ack, tcp.window, packet.network[40:]) == (7, 8, 9, b"\x00\xff")


def test_len_is_that_of_the_ip_packet():
    packet = parse_packet('udp 1.1.1.1:1 > 2.2.2.2:2 payload="a b" len=100')
    assert len(packet.network) == IPv4(bytearray(packet.network)).total_length == 100
    assert packet.network[28:32] == b"a b\0"
    assert UDP(bytearray(packet.network[20:])).length == 80


def test_icmp_id_is_the_messages():
    packet = parse_packet("icmp 1.1.1.1 > 2.2.2.2 echo id=7 seq=8 ip-id=9")
    icmp = ICMP(bytearray(packet.network[20:]))
    assert (icmp.type, icmp.code, icmp.identifier, icmp.sequence) == (8, 0, 7, 8)
    assert IPv4(bytearray(packet.network)).identification == 9


@pytest.mark.parametrize(
    "words,expected",
    [("", (8, 0)), ("echo-reply", (0, 0)), ("type=3 code=4", (3, 4)), ("pong", (0, 0))],
)
def test_icmp_types(words, expected):
    icmp = ICMP(bytearray(parse_packet(f"icmp 1.1.1.1 > 2.2.2.2 {words}").network[20:]))
    assert (icmp.type, icmp.code) == expected


def test_arp_asks_by_broadcast_with_the_senders_mac():
    packet = parse_packet("arp who-has 10.0.0.1 tell 10.0.0.2")
    frame = packet.frame(dst_mac=DEVICE)
    arp = ARP(bytearray(frame[14:]))
    assert frame[:14] == b"\xff" * 6 + DEFAULT_SRC_MAC + b"\x08\x06"
    assert (arp.operation, arp.sender_mac, arp.target_mac) == (1, DEFAULT_SRC_MAC, bytes(6))
    assert (format_address(arp.sender_ip), format_address(arp.target_ip)) == (
        "10.0.0.2",
        "10.0.0.1",
    )
    assert (packet.src, packet.dst) == (arp.sender_ip, arp.target_ip)


def test_arp_answers_go_to_the_device():
    packet = parse_packet("arp reply 10.0.0.1 is-at 02:00:00:00:00:05 to 10.0.0.2")
    frame = packet.frame(dst_mac=DEVICE)
    assert frame[:12] == DEVICE + bytes.fromhex("020000000005")
    assert ARP(bytearray(frame[14:])).operation == 2


def test_other_protocols_and_sctp():
    assert parse_packet("ip 1.1.1.1 > 2.2.2.2 proto=47").network[9] == 47
    sctp = parse_packet("sctp 1.1.1.1:5 > 2.2.2.2:6").network
    assert (sctp[9], sctp[20:24], sctp[32]) == (132, b"\0\5\0\6", 1)


@pytest.mark.parametrize(
    "text,column,message",
    [
        ("", 1, "ends where the protocol should be"),
        ("foo 1.1.1.1", 1, "'foo' is no packet kind"),
        ("tcp 1.2.3.4", 12, "ends where '>' should be"),
        ("tcp 1.2.3.400:1 > 2.2.2.2:80", 5, "'1.2.3.400' is no IPv4 address"),
        ("tcp 1.2.3.4:99999 > 2.2.2.2:80", 13, "port 99999 is not within 0-65535"),
        ("tcp 1.2.3.4:x > 2.2.2.2:80", 13, "port 'x' is no number"),
        ("tcp 1.2.3.4:9 > 2.2.2.2", 17, "'2.2.2.2' lacks its port"),
        ("tcp 1.2.3.4:9 > 2.2.2.2:80 X", 28, "'X' is no TCP flag"),
        ("tcp 1.2.3.4:9 > 2.2.2.2:80 S S", 30, "'S' is not expected here"),
        ("tcp 1.2.3.4:9 > 2.2.2.2:80 ttl=300", 32, "ttl 300 is not within 0-255"),
        ("tcp 1.2.3.4:9 > 2.2.2.2:80 bla=3", 28, "tcp has no bla="),
        ("tcp 1.2.3.4:9 > 2.2.2.2:80 ttl=3 ttl=3", 34, "ttl= is given twice"),
        ("tcp [::1]:9 > 2.2.2.2:80", 5, "is not ADDRESS:PORT"),
        ("icmp ::1 > ::2", 6, "IPv6"),
        ("icmp 1.1.1.1 > 2.2.2.2 what", 24, "'what' is none of"),
        ("udp 1.2.3.4:9 > 2.2.2.2:80 len=10", 32, "less than the 28 octets"),
        ("udp 1.2.3.4:9 > 2.2.2.2:80 payload=0xabc", 36, "no whole octets"),
        ("udp 1.2.3.4:9 - 2.2.2.2:80", 15, "'-' stands where '>' should be"),
        ("udp 1.2.3.4:9 > 2.2.2.2:80 src-mac=5", 36, "'5' is no MAC address"),
        ("ip 1.1.1.1 > 2.2.2.2", 21, "ip needs proto="),
        ("arp ask", 5, "'ask' stands where"),
    ],
)
def test_errors_name_the_column(text, column, message):
    with pytest.raises(PacketTextError, match=message) as caught:
        parse_packet(text)
    assert caught.value.column == column


def test_a_payload_that_cannot_fit_is_refused():
    with pytest.raises(PacketTextError, match="more than fit"):
        parse_packet("udp 1.1.1.1:1 > 2.2.2.2:2 payload=" + "x" * 66000)
