"""Dummy devices lose what is sent to them."""

from __future__ import annotations

from netemu.link.dummy import Dummy
from netemu.net import Net
from netemu.skb import Skb


def test_what_is_sent_there_is_lost() -> None:
    """No port sees it."""
    net = Net()
    dummy = Dummy(net, name="kube-ipvs0", ifindex=2, mac=bytes(6))
    skb = Skb(bytes(20), protocol=0x0800, fate=net.new_fate(), device=dummy)
    skb.mac_header = bytes(14)
    dummy.xmit(skb)
    assert (skb.fate.verdict, skb.fate.reason, dummy.noarp) == ("DROP", "NO_TX_TARGET", True)
