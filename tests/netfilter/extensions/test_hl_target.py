"""Time to live and hop limit stay within an octet."""

from __future__ import annotations

import pytest

from netemu.events import HeaderRewritten
from netemu.net import Net
from netemu.netfilter.extensions.hl_target import HopLimit, hl_tg6
from netemu.skb import Skb
from tests.netfilter.extensions.targets import apply, heard, is_whole, param, udp


@pytest.mark.parametrize(
    "words, before, after",
    [
        ("--ttl-set 9", 64, 9),
        ("--ttl-inc 5", 64, 69),
        ("--ttl-inc 250", 64, 255),
        ("--ttl-dec 63", 64, 1),
        ("--ttl-dec 70", 64, 0),
    ],
)
def test_ttl(words, before, after):
    skb = udp(ttl=before)
    assert apply(f"-j TTL {words}", skb) is None
    assert skb.data[8] == after
    assert is_whole(skb)


def test_a_change_is_told_and_only_a_change():
    net = Net()
    events = heard(net)
    apply("-j TTL --ttl-set 64", udp(), net=net)
    assert events == []
    apply("-j TTL --ttl-dec 1", udp(), net=net)
    assert events == [HeaderRewritten(what="ttl", before="64", after="63")]


def test_hop_limit():
    skb = Skb(bytes(7) + b"\x40" + bytes(32), protocol=0x86DD, fate=Net().new_fate())
    hl_tg6(HopLimit("dec", 4), skb, param(udp(), Net()))
    assert skb.data[7] == 60
