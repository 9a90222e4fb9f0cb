"""Outer headers of tunnels."""

from __future__ import annotations

import pytest

from netemu.ip.udp_tunnel import (
    LOCAL_PORTS,
    ecn_encapsulate,
    ip_dont_fragment,
    ip_tunnel_get_dsfield,
    udp_flow_src_port,
)
from netemu.net import Net
from netemu.skb import Fate, Skb
from netemu.wire.ipv4 import build_ipv4


def packet(port: int = 1, **header: int) -> Skb:
    data = build_ipv4(
        src=bytes(4),
        dst=bytes(4),
        protocol=17,
        payload=port.to_bytes(2, "big") + bytes(6),
        tos=header.get("tos", 0),
        dont_fragment=bool(header.get("df", 0)),
    )
    skb = Skb(data, protocol=0x0800, fate=Fate(packet_id=1))
    skb.mac_header = bytes(14)
    return skb


@pytest.mark.parametrize(("inner", "outer"), [(0, 0xB8), (1, 0xB9), (2, 0xBA), (3, 0xBA)])
def test_congestion_bits_go_outside(inner: int, outer: int) -> None:
    """RFC 6040 section 4.1, normal mode; a mark itself starts anew as ECT(0)."""
    assert ecn_encapsulate(0xB8, inner) == outer


def test_flows_have_ports_of_their_own() -> None:
    """One flow keeps its port; a range of one leaves no choice."""
    net = Net()
    drawn = [udp_flow_src_port(net, packet(port), 0, 0) for port in (1, 1, 2, 3)]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) > 1
    assert all(LOCAL_PORTS[0] <= port < LOCAL_PORTS[1] for port in drawn)
    assert udp_flow_src_port(net, packet(), 5000, 5001) == 5000


def test_what_is_looked_up_inside() -> None:
    """TOS and DF of IPv4, nothing of ARP."""
    other = packet(tos=0x10, df=1)
    other.protocol = 0x0806
    assert (ip_tunnel_get_dsfield(packet(tos=0x10)), ip_tunnel_get_dsfield(other)) == (0x10, 0)
    assert [ip_dont_fragment(skb) for skb in (packet(df=1), packet(), other)] == [
        True,
        False,
        False,
    ]
