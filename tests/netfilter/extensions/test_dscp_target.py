"""The TOS octet as Linux 6.18 leaves it; its checksum stays right."""

from __future__ import annotations

import pytest

from netemu.net import Net
from netemu.netfilter.extensions.dscp_target import dscp_tg
from netemu.netfilter.hook import Family
from netemu.skb import Skb
from tests.netfilter.extensions.targets import apply, is_whole, param, udp


@pytest.mark.parametrize(
    "words, before, after",
    [
        ("-j TOS --set-tos 0x10", 0xB9, 0x10),
        ("-j TOS --set-tos 0x10/0x3f", 0xB9, 0x90),
        ("-j TOS --xor-tos 0xff", 0xB9, 0x46),
        ("-j TOS --and-tos 0x0f", 0xB9, 0x09),
        ("-j TOS --or-tos 0x06", 0xB9, 0xBF),
        ("-j DSCP --set-dscp-class EF", 0x03, 0xBB),
        ("-j DSCP --set-dscp 0", 0xFF, 0x03),
        ("-j DSCP --set-dscp 0", 0x03, 0x03),
    ],
)
def test_tos(words, before, after):
    skb = udp(tos=before)
    assert apply(words, skb) is None
    assert skb.data[1] == after
    assert is_whole(skb)


def test_traffic_class():
    skb = Skb(b"\x60\x31" + bytes(38), protocol=0x86DD, fate=Net().new_fate())
    told = param(udp(), Net())
    told.family = Family.IPV6
    dscp_tg(0x2E, skb, told)
    assert skb.data[:2] == b"\x6b\xb1"
