"""The loopback device."""

from __future__ import annotations

from netemu.link.device import dev_queue_xmit
from netemu.link.loopback import Loopback
from netemu.net import Net
from netemu.skb import PacketType, Skb


def test_lo_receives_what_it_sends_with_route_and_conntrack() -> None:
    """The packet comes back on lo, later at the same instant, keeping dst and conntrack."""
    net = Net()
    lo = Loopback(net)
    got: list[Skb] = []
    net.packet_handlers[0x0800] = got.append
    skb = Skb(b"packet", protocol=0x0800, fate=net.new_fate(), device=lo)
    skb.mac_header = bytes(12) + b"\x08\x00"
    route, connection = object(), object()
    skb.dst, skb.nfct, skb.sk = route, connection, object()
    dev_queue_xmit(net, skb)
    assert not got
    net.clock.run_soon()
    assert got == [skb]
    assert (skb.dst, skb.nfct, skb.sk) == (route, connection, None)
    assert (lo, PacketType.HOST) == (skb.device, skb.pkt_type)
    assert (lo.mtu, lo.noarp, lo.ifindex, lo.mac) == (65536, True, 1, bytes(6))
