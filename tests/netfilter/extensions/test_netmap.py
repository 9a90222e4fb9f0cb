"""Addresses mapped host by host."""

from __future__ import annotations

import pytest

from netemu.net import Net
from netemu.netfilter.conntrack.connection import Connection, CtInfo, nf_ct_set
from netemu.netfilter.conntrack.tuple import Tuple, inverse
from netemu.netfilter.hook import Hook, Verdict
from netemu.wire.address import format_address
from tests.netfilter.extensions.packets import DESTINATION, SOURCE
from tests.netfilter.extensions.targets import apply, udp


@pytest.mark.parametrize(
    "hook, to, source, destination",
    [
        (Hook.PREROUTING, "192.168.7.0/24", "10.0.0.1", "192.168.7.2"),
        (Hook.OUTPUT, "192.168.7.0/16", "10.0.0.1", "192.168.0.2"),
        (Hook.POSTROUTING, "192.168.7.0/24", "192.168.7.1", "10.0.0.2"),
        (Hook.INPUT, "192.168.7.9", "192.168.7.9", "10.0.0.2"),
    ],
)
def test_mapping(hook: Hook, to: str, source: str, destination: str) -> None:
    net = Net()
    there = Tuple(SOURCE, DESTINATION, 17, 1000, 53)
    connection = Connection(there, inverse(there))
    skb = udp()
    nf_ct_set(skb, connection, CtInfo.NEW)
    words = f"-j NETMAP --to {to}"
    assert apply(words, skb, net=net, table="nat", hook=hook) == Verdict.ACCEPT
    assert format_address(connection.reply.dst) == source
    assert format_address(connection.reply.src) == destination
