"""What a packet is about, with and without looking into its tunnels."""

from __future__ import annotations

import pytest

from netemu.ip.flow_dissector import FlowKeys, skb_flow_dissect
from netemu.wire.address import parse_address
from netemu.wire.ipv4 import build_ipv4
from netemu.wire.udp import build_udp

OUTER = (parse_address("10.0.0.1"), parse_address("10.0.0.2"))
INNER = (parse_address("172.16.0.1"), parse_address("172.16.0.2"))
INNER6 = (parse_address("2001:db8::1"), parse_address("2001:db8::2"))


def datagram(**more: bool) -> bytes:
    src, dst = INNER
    body = build_udp(src=src, dst=dst, src_port=1000, dst_port=53, payload=b"x")
    return bytes(build_ipv4(src=src, dst=dst, protocol=17, payload=bytes(body), **more))


def datagram6(before: bytes = b"", next_header: int = 17) -> bytes:
    body = before + b"\x03\xe8\x00\x35\x00\x08\x00\x00"
    head = b"\x60\x0a\xbc\xde" + len(body).to_bytes(2, "big") + bytes([next_header, 64])
    return head + INNER6[0] + INNER6[1] + body


def carried(protocol: int, payload: bytes) -> bytes:
    src, dst = OUTER
    return bytes(build_ipv4(src=src, dst=dst, protocol=protocol, payload=payload))


WHOLE = FlowKeys(*INNER, 17, 1000, 53, encapsulated=True)
WHOLE6 = FlowKeys(*INNER6, 17, 1000, 53, 0xABCDE, encapsulated=True)


@pytest.mark.parametrize(
    "packet,inner",
    [
        (carried(4, datagram()), WHOLE),
        (carried(4, carried(4, datagram())), WHOLE),
        (carried(41, datagram6()), WHOLE6),
        (carried(41, datagram6(bytes([17, 0]) + bytes(6), 60)), WHOLE6),
        (carried(47, b"\0\0\x08\0" + datagram()), WHOLE),
        # RFC 2784 and 2890: checksum, key and sequence number, in that order.
        (carried(47, b"\xb0\0\x08\0" + bytes(12) + datagram()), WHOLE),
        (carried(47, b"\0\0\x65\x58" + bytes(12) + b"\x08\0" + datagram()), WHOLE),
    ],
)
def test_tunnels_are_looked_through(packet: bytes, inner: FlowKeys) -> None:
    assert skb_flow_dissect(packet, into_tunnels=True) == inner
    outer = skb_flow_dissect(packet, into_tunnels=False)
    assert (outer.saddr, outer.daddr, outer.encapsulated) == (*OUTER, True)


@pytest.mark.parametrize(
    "packet",
    [
        carried(47, b"\0\1\x08\0" + datagram()),
        carried(47, b"\x40\0\x08\0" + datagram()),
        carried(47, b"\0"),
    ],
)
def test_other_gre_is_not(packet: bytes) -> None:
    """Version 1, source routes, a header that is cut short."""
    assert skb_flow_dissect(packet, into_tunnels=True) == FlowKeys(*OUTER, 47)


def test_a_fragment_has_no_ports() -> None:
    assert skb_flow_dissect(datagram(more_fragments=True), into_tunnels=True) == FlowKeys(
        *INNER, 17
    )
