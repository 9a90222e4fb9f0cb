"""Congestion bits of IP and TCP."""

from __future__ import annotations

import pytest

from netemu.netfilter.hook import Verdict
from tests.netfilter.extensions.targets import apply, is_whole, skb_of, tcp, udp


@pytest.mark.parametrize(
    "words, before, after",
    [
        ("--ecn-tcp-remove", 0xC2, 0x02),
        ("--ecn-tcp-ece 1", 0x82, 0xC2),
        ("--ecn-tcp-cwr 1 --ecn-tcp-ece 0", 0x42, 0x82),
        ("--ecn-tcp-cwr 0", 0x42, 0x42),
    ],
)
def test_tcp_flags(words, before, after):
    skb = tcp(flags=before)
    assert apply(f"-p tcp -j ECN {words}", skb) is None
    assert skb.data[33] == after
    assert is_whole(skb)


def test_ip_bits():
    skb = udp(tos=0xB9)
    assert apply("-j ECN --ecn-ip-ect 2", skb) is None
    assert skb.data[1] == 0xBA
    assert is_whole(skb)


def test_a_short_segment_is_dropped():
    assert apply("-p tcp -j ECN --ecn-tcp-remove", skb_of(bytes(19), 6)) == Verdict.DROP
