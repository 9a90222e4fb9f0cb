"""Numbers that NAT drew stand for each other, one for one."""

from __future__ import annotations

from netemu.livekernel.draws import Draws
from netemu.wire.address import parse_address
from netemu.wire.checksum import internet_checksum, l4_checksum
from netemu.wire.crc32c import crc32c
from netemu.wire.icmp import build_icmp
from netemu.wire.ipv4 import build_ipv4
from netemu.wire.udp import build_udp

A, B = parse_address("10.0.0.1"), parse_address("10.0.0.2")
HEADER = bytes(12) + b"\x08\x00"


def datagram(src_port: int, dst_port: int) -> bytes:
    body = build_udp(src=A, dst=B, src_port=src_port, dst_port=dst_port, payload=b"x")
    return HEADER + bytes(build_ipv4(src=A, dst=B, protocol=17, payload=body))


def error_about(frame: bytes) -> bytes:
    body = build_icmp(icmp_type=3, code=3, payload=frame[14:42])
    return HEADER + bytes(build_ipv4(src=B, dst=A, protocol=1, payload=body))


def test_a_drawn_port_is_translated_with_its_checksum() -> None:
    draws = Draws([datagram(40000, 53)])
    draws.learn(datagram(1111, 53), datagram(2222, 53))
    assert draws.translate(datagram(53, 1111)) == datagram(53, 2222)
    assert draws.text("udp 17 29 sport=53 dport=1111 x") == "udp 17 29 sport=53 dport=2222 x"
    assert draws.text("SPT=53 DPT=11110 ") == "SPT=53 DPT=11110 "


def test_a_quoted_port_is_translated() -> None:
    draws = Draws([])
    draws.learn(datagram(1111, 53), datagram(2222, 53))
    translated = draws.translate(error_about(datagram(1111, 53)))
    assert translated == error_about(datagram(2222, 53))
    assert internet_checksum(translated[34:]) == 0


def test_a_port_that_came_in_is_no_draw() -> None:
    draws = Draws([datagram(40000, 53)])
    draws.learn(datagram(40000, 53), datagram(2222, 53))
    assert draws.translate(datagram(53, 40000)) == datagram(53, 40000)


def test_one_number_stands_for_one() -> None:
    draws = Draws([])
    draws.learn(datagram(1111, 53), datagram(2222, 53))
    draws.learn(datagram(3333, 53), datagram(2222, 53))
    assert draws.translate(datagram(53, 3333)) == datagram(53, 3333)


def test_wrong_checksums_stay_wrong() -> None:
    draws = Draws([])
    draws.learn(datagram(1111, 53), datagram(2222, 53))
    bad = bytearray(datagram(53, 1111))
    bad[-1] ^= 0x55
    translated = draws.translate(bytes(bad))
    assert l4_checksum(A, B, 17, translated[34:]) != 0


def test_rows_that_differ_in_a_draw_only() -> None:
    draws = Draws([datagram(40000, 53)])
    row = "udp      17 src=1.1.1.1 sport=40000 dport=53 src=2.2.2.2 sport=53 dport={} mark=0"
    assert draws.learn_row(row.format(1111), row.format(2222))
    assert not draws.learn_row(row.format(40000), row.format(2222))
    assert not draws.learn_row(row.format(1111), row.format(2222).replace("mark=0", "mark=1"))


def test_what_lies_behind_a_packet_is_no_number() -> None:
    """An error cut by its own length field: the kernel trims the quoted ports."""
    draws = Draws([])
    draws.learn(datagram(1111, 53), datagram(2222, 53))
    cut = bytearray(error_about(datagram(1111, 53)))
    cut[16:18] = (47).to_bytes(2, "big")
    assert draws.translate(bytes(cut)) == bytes(cut)


def association(src_port: int, dst_port: int) -> bytes:
    """Return an INIT whose CRC is right."""
    ports = src_port.to_bytes(2, "big") + dst_port.to_bytes(2, "big")
    chunk = bytes.fromhex("0100001400000007000010000001000100000001")
    crc = crc32c(ports + bytes(8) + chunk).to_bytes(4, "little")
    body = ports + bytes(4) + crc + chunk
    return HEADER + bytes(build_ipv4(src=A, dst=B, protocol=132, payload=body))


def test_a_drawn_sctp_port_is_translated_with_its_crc() -> None:
    draws = Draws([association(40000, 500)])
    draws.learn(association(1111, 500), association(2222, 500))
    assert draws.translate(association(1111, 500)) == association(2222, 500)
    assert draws.translate(association(500, 1111)) == association(500, 2222)
    assert draws.text("sctp 132 9 sport=500 dport=1111 x") == "sctp 132 9 sport=500 dport=2222 x"
