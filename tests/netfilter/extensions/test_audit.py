"""AUDIT tells the record."""

from __future__ import annotations

from netemu.events import RecordSent
from netemu.net import Net
from tests.netfilter.extensions.targets import apply, heard, udp


def test_record():
    net = Net()
    events = heard(net)
    skb = udp()
    skb.mark = 5
    assert apply("-j AUDIT --type drop", skb, net=net) is None
    text = "mark=0x5 saddr=10.0.0.1 daddr=10.0.0.2 proto=17"
    assert events == [RecordSent(to="audit", text=text)]
