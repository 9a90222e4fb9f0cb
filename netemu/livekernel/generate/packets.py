"""Frames that machines around a node send: well-formed ones, and every way to spoil one."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from netemu.livekernel.generate.dice import Dice
from netemu.wire.address import parse_address
from netemu.wire.arp import build_arp
from netemu.wire.checksum import internet_checksum
from netemu.wire.ethernet import ethernet_header
from netemu.wire.fields import get16, set16
from netemu.wire.icmp import build_icmp
from netemu.wire.ipv4 import build_ipv4
from netemu.wire.tcp import build_tcp
from netemu.wire.udp import build_udp

BROADCAST_MAC = b"\xff" * 6
ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_ARP = 0x0806
ICMP, TCP, UDP = 1, 6, 17
FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
MSS = bytes((2, 4, 5, 0xB4))
SYN_OPTIONS = MSS + bytes((4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7))

ODD_SOURCES = tuple(
    parse_address(text)
    for text in ("127.0.0.1", "0.0.0.0", "224.0.0.5", "255.255.255.255", "240.0.0.1", "192.0.2.99")
)
ODD_TARGETS = tuple(
    parse_address(text)
    for text in (
        "127.0.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "224.1.2.3",
        "239.255.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "169.254.1.1",
    )
)


class Header(Struct, frozen=True, kw_only=True):
    """What of an IPv4 header may be odd."""

    src: bytes
    dst: bytes
    ttl: int = 64
    tos: int = 0
    identification: int = 1
    dont_fragment: bool = True
    options: bytes = b""


def ip_packet(header: Header, protocol: int, payload: bytes | bytearray) -> bytes:
    """Return a whole packet."""
    return bytes(
        build_ipv4(
            src=header.src,
            dst=header.dst,
            protocol=protocol,
            payload=payload,
            ttl=header.ttl,
            tos=header.tos,
            identification=header.identification,
            dont_fragment=header.dont_fragment,
            options=header.options,
        )
    )


def udp_packet(header: Header, src_port: int, dst_port: int, payload: bytes) -> bytes:
    """Return a UDP packet."""
    datagram = build_udp(
        src=header.src, dst=header.dst, src_port=src_port, dst_port=dst_port, payload=payload
    )
    return ip_packet(header, UDP, datagram)


def tcp_packet(  # noqa: PLR0913 - one parameter per field
    header: Header,
    src_port: int,
    dst_port: int,
    *,
    seq: int,
    ack: int,
    flags: int,
    payload: bytes = b"",
    options: bytes = b"",
    window: int = 64240,
) -> bytes:
    """Return a TCP packet."""
    segment = build_tcp(
        src=header.src,
        dst=header.dst,
        src_port=src_port,
        dst_port=dst_port,
        seq=seq,
        ack=ack,
        flags=flags,
        window=window,
        options=options,
        payload=payload,
    )
    return ip_packet(header, TCP, segment)


def icmp_packet(header: Header, kind: int, code: int, rest: int, payload: bytes) -> bytes:
    """Return an ICMP packet."""
    message = build_icmp(icmp_type=kind, code=code, rest=rest, payload=payload)
    return ip_packet(header, ICMP, message)


def ip_frame(target_mac: bytes, source_mac: bytes, packet: bytes) -> bytes:
    """Return an Ethernet frame with an IPv4 packet."""
    return bytes(ethernet_header(target_mac, source_mac, ETHERTYPE_IPV4)) + packet


def arp_frame(
    *,
    operation: int,
    sender_mac: bytes,
    sender_ip: bytes,
    target_mac: bytes = bytes(6),
    target_ip: bytes,
    frame_target: bytes = BROADCAST_MAC,
) -> bytes:
    """Return an Ethernet frame with an ARP message."""
    message = build_arp(
        operation=operation,
        sender_mac=sender_mac,
        sender_ip=sender_ip,
        target_mac=target_mac,
        target_ip=target_ip,
    )
    return bytes(ethernet_header(frame_target, sender_mac, ETHERTYPE_ARP)) + bytes(message)


def ipv6_packet(payload: bytes) -> bytes:
    """Return an IPv6 packet of an unassigned protocol between two link-local addresses."""
    head = b"\x60\x00\x00\x00" + len(payload).to_bytes(2, "big") + bytes((253, 64))
    one, other = (b"\xfe\x80" + bytes(13) + bytes((number,)) for number in (1, 2))
    return head + one + other + payload


def refresh_header_checksum(packet: bytearray) -> None:
    """Make the IPv4 header checksum right again."""
    length = (packet[0] & 15) * 4
    set16(packet, 10, 0)
    set16(packet, 10, internet_checksum(packet[:length]))


def fragments(packet: bytes, size: int) -> list[bytes]:
    """Cut a packet without options into fragments of at most `size` octets of payload."""
    size -= size % 8
    body = packet[20:]
    pieces: list[bytes] = []
    for offset in range(0, len(body), size):
        part = bytearray(packet[:20]) + body[offset : offset + size]
        more = 0x2000 if offset + size < len(body) else 0
        set16(part, 2, len(part))
        set16(part, 6, more | offset // 8)
        refresh_header_checksum(part)
        pieces.append(bytes(part))
    return pieces


IP_OPTIONS = (
    bytes((7, 11, 4, *bytes(8), 0)),  # record route, two slots
    bytes((7, 7, 8, 10, 9, 9, 9, 0)),  # record route, full
    bytes((68, 12, 13, 0, *bytes(8))),  # time stamp, full: the overflow is counted
    bytes((68, 12, 13, 0xF1, *bytes(8))),  # time stamp, full, overflow at its end
    bytes((1, 1, 1, 0)),  # NOP and end
    bytes((131, 7, 4, 10, 1, 0, 2, 0)),  # loose source route
    bytes((137, 7, 4, 10, 1, 0, 2, 0)),  # strict source route
    bytes((148, 4, 0, 0)),  # router alert
    bytes((7, 40, 4, 0)),  # longer than the header: parameter problem
    bytes((130, 11, *bytes(9), 0)),  # security
)


def odd_header(dice: Dice, header: Header) -> Header:
    """Spoil a header that is otherwise fine, still with a right checksum."""
    choices: list[tuple[int, Callable[[], Header]]] = [
        (4, lambda: replace(header, ttl=dice.pick((0, 1, 1, 2, 255)))),
        (2, lambda: replace(header, tos=dice.pick((0x10, 0x08, 0xB8, 0x03, 0xFF)))),
        (2, lambda: replace(header, options=dice.pick(IP_OPTIONS))),
        (3, lambda: replace(header, src=dice.pick(ODD_SOURCES))),
        (3, lambda: replace(header, dst=dice.pick(ODD_TARGETS))),
        (2, lambda: replace(header, dont_fragment=False, identification=dice.between(0, 9))),
    ]
    return dice.weighted(choices)()


def odd_frame(dice: Dice, frame: bytes) -> bytes:
    """Spoil a frame that holds an IPv4 packet."""
    maker: Callable[[Dice, bytearray], bytes] = dice.weighted(
        [
            (2, _bad_header_checksum),
            (3, _bad_payload_checksum),
            (2, _truncated),
            (2, _padded),
            (2, _bad_length),
            (2, _vlan),
            (2, _other_mac),
            (1, _group_mac),
            (1, _bad_version),
            (1, _short_header),
            (1, _reserved_bit),
            (1, _other_protocol),
            (1, _zero_udp_checksum),
        ]
    )
    return maker(dice, bytearray(frame))


def _bad_header_checksum(dice: Dice, frame: bytearray) -> bytes:
    frame[24] ^= 1 << dice.between(0, 7)
    return bytes(frame)


def _bad_payload_checksum(dice: Dice, frame: bytearray) -> bytes:
    frame[-1] ^= 0x55
    return bytes(frame)


def _truncated(dice: Dice, frame: bytearray) -> bytes:
    return bytes(frame[: dice.between(14, max(15, len(frame) - 1))])


def _padded(dice: Dice, frame: bytearray) -> bytes:
    return bytes(frame) + bytes(dice.between(1, 20))


def _bad_length(dice: Dice, frame: bytearray) -> bytes:
    """Say another length than the frame has; shorter ones are trimmed by the kernel."""
    packet = frame[14:]
    set16(packet, 2, max(0, get16(packet, 2) + dice.pick((-9, -1, 1, 100))))
    refresh_header_checksum(packet)
    return bytes(frame[:14] + packet)


def _vlan(dice: Dice, frame: bytearray) -> bytes:
    tci = dice.pick((0, 5, 0x2005, 0xE000))
    return bytes(frame[:12]) + b"\x81\x00" + tci.to_bytes(2, "big") + bytes(frame[12:])


def _other_mac(dice: Dice, frame: bytearray) -> bytes:
    return b"\x02\x00\x00\x00\xee" + bytes((dice.between(1, 3),)) + bytes(frame[6:])


def _group_mac(dice: Dice, frame: bytearray) -> bytes:
    group = dice.pick((BROADCAST_MAC, b"\x01\x00\x5e\x01\x02\x03", b"\x01\x80\xc2\x00\x00\x00"))
    return group + bytes(frame[6:])


def _bad_version(dice: Dice, frame: bytearray) -> bytes:
    packet = frame[14:]
    packet[0] = packet[0] & 15 | 0x60
    refresh_header_checksum(packet)
    return bytes(frame[:14] + packet)


def _short_header(dice: Dice, frame: bytearray) -> bytes:
    packet = frame[14:]
    packet[0] = 0x44
    refresh_header_checksum(packet)
    return bytes(frame[:14] + packet)


def _reserved_bit(dice: Dice, frame: bytearray) -> bytes:
    packet = frame[14:]
    packet[6] |= 0x80
    refresh_header_checksum(packet)
    return bytes(frame[:14] + packet)


def _other_protocol(dice: Dice, frame: bytearray) -> bytes:
    packet = frame[14:]
    packet[9] = dice.pick((2, 47, 50, 89, 132, 136, 255))
    refresh_header_checksum(packet)
    return bytes(frame[:14] + packet)


def _zero_udp_checksum(dice: Dice, frame: bytearray) -> bytes:
    if frame[23] == UDP and len(frame) >= 42 and frame[14] == 0x45:
        set16(frame, 40, 0)
    return bytes(frame)
