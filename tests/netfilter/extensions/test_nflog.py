"""NFLOG tells what a program would get."""

from __future__ import annotations

from netemu.events import RecordSent
from netemu.net import Net
from tests.netfilter.extensions.targets import apply, heard, udp


def test_record():
    net = Net()
    events = heard(net)
    words = '-j NFLOG --nflog-group 3 --nflog-prefix "a b"'
    assert apply(words, udp(), net=net, table="filter") is None
    assert events == [RecordSent(to="nflog group 3", text="a b")]
