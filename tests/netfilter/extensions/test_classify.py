"""CLASSIFY sets the priority."""

from __future__ import annotations

from netemu.events import MarkChanged
from netemu.net import Net
from tests.netfilter.extensions.targets import apply, heard, udp


def test_priority():
    net = Net()
    events = heard(net)
    skb = udp()
    assert apply("-j CLASSIFY --set-class 1:a0", skb, net=net) is None
    assert skb.priority == 0x100A0
    assert events == [MarkChanged(what="priority", before=0, after=0x100A0)]
