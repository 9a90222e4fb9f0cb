"""xt_pkttype: for whom the frame was."""

from __future__ import annotations

import pytest

from netemu.skb import PacketType
from tests.netfilter.extensions.packets import answer, described, packet


@pytest.mark.parametrize(
    "kind, word",
    [
        (PacketType.HOST, "unicast"),
        (PacketType.BROADCAST, "broadcast"),
        (PacketType.MULTICAST, "multicast"),
        (PacketType.OTHERHOST, "otherhost"),
        (PacketType.LOOPBACK, "broadcast"),
    ],
)
def test_evaluation(kind, word):
    skb = packet(b"", 17)
    skb.pkt_type = kind
    assert answer(f"-m pkttype --pkt-type {word}", skb) == "yes"
    assert answer(f"-m pkttype ! --pkt-type {word}", skb) == "no"
    assert described("-m pkttype --pkt-type host", skb) == word


def test_multicast_over_loopback():
    skb = packet(b"", 17)
    skb.pkt_type = PacketType.LOOPBACK
    skb.data[16] = 224
    assert answer("-m pkttype --pkt-type multicast", skb) == "yes"
