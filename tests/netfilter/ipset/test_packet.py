"""What of a packet is a port: headers that are cut, fragments, protocols without."""

from __future__ import annotations

import pytest

from netemu.netfilter.hook import Family
from netemu.netfilter.ipset.packet import Packet, Transport
from netemu.skb import Skb


def packet(payload: bytes, transport: Transport | None) -> Packet:
    skb = Skb(bytes(20) + payload, protocol=0x0800, fate=None)  # type: ignore[arg-type]
    return Packet(skb, Family.IPV4, "eth0", "", lambda: transport)


PORTS = bytes((0, 53, 1, 0)) + bytes(16)


@pytest.mark.parametrize(
    ("transport", "payload", "found"),
    [
        (Transport(6, 20), PORTS, (53, 6)),
        (Transport(6, 20), PORTS[:19], None),
        (Transport(17, 20), PORTS[:8], (53, 17)),
        (Transport(17, 20), PORTS[:7], None),
        (Transport(132, 20), PORTS[:12], (53, 132)),
        (Transport(1, 20), bytes((3, 4)) + bytes(6), (0x304, 1)),
        (Transport(47, 20), b"", (0, 47)),
        (Transport(47, 20, True), b"", (0, 47)),
        (Transport(6, 20, True), PORTS, None),
        (Transport(1, 20, True), PORTS, None),
        (Transport(0, 20), PORTS, None),
        (None, PORTS, None),
    ],
)
def test_source_port_and_protocol(transport, payload, found):
    assert packet(payload, transport).port(src=True) == found


def test_there_is_no_mac_without_a_link_header_or_when_it_is_zero():
    one = packet(b"", None)
    assert one.ether(src=True) is None
    one.skb.mac_header = bytes(6) + bytes((2, 0, 0, 0, 0, 1)) + b"\x08\x00"
    assert one.ether(src=False) is None
    assert one.ether(src=True) == bytes((2, 0, 0, 0, 0, 1))
